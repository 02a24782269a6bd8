"""What a GPU would be asked, counted without one: launches, waits and copies, and the time that a simple model of a card gives them.

    python benchmarks/gpu_model.py networks [--card H100] [--size 640 480] [--narrow] [MODEL ...]
    python benchmarks/gpu_model.py videos [--card H100] [--size 640 480] [--narrow] [MODEL ...]
    python benchmarks/gpu_model.py effects [--card H100] [--size 480 270] [--eager] [ROW ...]

Tensors hold their numbers on the CPU and say that they are on a device of another kind. So the code takes the way that it takes on a GPU,
with real values. An operation on them is one launch (views none; sorts and the like several). The processor's clock moves by what a launch
costs, the card's by the largest of a floor, bytes / bandwidth and FLOP / rate. Where the program asks for a value, the processor waits.

- networks: `Model.estimate` of one image, with random weights; `network`: the launches within modules of torch. `--narrow`: few channels.
- videos: the mean frame of `Model.estimate_video`, network, alignment and smoothing.
- effects: rows of `effects.py` of the pack's own photograph, a parallax frame as the mean of its frames. `--eager`: without Triton.

A Triton kernel is one launch, of the values that the eager way gives.

`NETWORKS`, `VIDEOS`, `EFFECTS` and `EAGER` hold the limits of each; tests/test_gpu_model.py compares.

Checked against an H100 in a virtual machine, 2026-11-26: within a third. It knows neither Python's own time between operations, nor
caches, nor kernels that overlap: believe counts and ratios, not milliseconds.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any
from unittest import mock

import effects
import families
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.flop_counter import flop_registry

import depth_normal
import depth_normal.nodes  # so that `pack_on` finds what asks for the device
from depth_normal import utils
from depth_normal.geometry.estimate import Estimate
from depth_normal.geometry.filters.kernels import ByKernel

# torch knows this device type without a driver; nothing is computed on it
DEVICE = torch.device("lazy:0")
HALF = (torch.float16, torch.bfloat16)
FOLDERS = ("geometry", "annotators", "model_loader", "nodes", "media", "app")
VIEWS = frozenset(
    """
    view reshape expand permute transpose t squeeze unsqueeze select slice split chunk unbind as_strided alias detach movedim _unsafe_view
    narrow diagonal lift_fresh split_with_sizes unfold _reshape_alias transpose_ t_ squeeze_ unsqueeze_ is_same_size real imag
    view_as_real view_as_complex empty empty_strided empty_like new_empty new_empty_strided set_ resize_
    """.split()  # noqa: SIM905  a list of forty strings reads worse
)
LAUNCHES = {
    **dict.fromkeys(("sort", "argsort", "median", "nanmedian", "masked_select", "_linalg_solve_ex", "linalg_inv_ex"), 4),
    **dict.fromkeys(("topk", "kthvalue", "nonzero", "histc", "bincount", "multinomial"), 3),
    **dict.fromkeys(("index_put_", "index_put", "_index_put_impl_", "cumsum"), 2),
    **{"unique_dim": 6, "_unique2": 6, "_linalg_svd": 12, "_linalg_eigh": 10},
}
"""Operations of several kernels; all others count as one."""
WAITING = frozenset(
    ("nonzero", "equal", "allclose", "_unique2", "unique_dim", "masked_select", "is_nonzero", "bincount", "_linalg_check_errors")
)
FRAMES = 4
COPYING = frozenset(("_to_copy", "copy_"))


@dataclass(frozen=True)
class Card:
    """A graphics card.

    Attributes:
        bandwidth: Bytes per second of elementwise kernels.
        rate32, rate16: FLOP per second in float32 and in half precision.
        launch: CPU seconds per operation of eager torch.
        bus: Bytes per second between main memory and the card.
        floor: GPU seconds of an empty kernel.
        wait: CPU seconds per synchronisation.
    """

    bandwidth: float
    rate32: float
    rate16: float
    launch: float
    bus: float
    floor: float = 2.5e-6
    wait: float = 12e-6


CARDS = {
    "RTX-3060": Card(300e9, 10e12, 20e12, 8e-6, 12e9),
    "RTX-4090": Card(850e9, 60e12, 130e12, 6e-6, 20e9),
    "H100": Card(2500e9, 45e12, 350e12, 15e-6, 20e9),
}


@dataclass(frozen=True)
class Budget:
    """Limits for one image, frame or call.

    Attributes:
        outside: Launches outside of networks.
        waits: Synchronisations, for values or copies to the CPU.
        copies: Between the CPU and the card, both ways.
        host_ops: Torch operations on the CPU.
    """

    outside: int
    waits: int
    copies: int
    host_ops: int = 300


# Lower a budget along with its count, so that nothing grows back.
NETWORKS = {
    "tiny": Budget(107, 2, 3),
    "depth-anything-small": Budget(17, 2, 3),
    "depth-anything-v2-small": Budget(17, 2, 3),
    "depth-anything-v2-metric-indoor-small": Budget(19, 2, 3),
    "depth-anything-3-small": Budget(29, 2, 3),
    "depth-anything-3-metric-large": Budget(72, 4, 5),
    "video-depth-anything-metric-small": Budget(18, 2, 3),
    "moge-2-vits-normal": Budget(34, 2, 5),
    "moge-3-vitl": Budget(34, 351, 17),  # its sparse network synchronises for numbers of voxels
    "moge-vitl": Budget(25, 2, 5),
    "metric3d-vit-small": Budget(32, 2, 6),
    "depth-pro": Budget(28, 2, 3),
    "da2": Budget(10, 3, 4, 300),
    "midas-v2.1-small": Budget(11, 2, 3),
    "zoedepth-nyu": Budget(17, 2, 3),
    "zoe-depth-anything-indoor": Budget(16, 2, 3),
    "leres": Budget(11, 2, 3),
    "leres-boost": Budget(94, 3, 4),
    "bae-normal": Budget(25, 2, 3),
    "dsine": Budget(21, 2, 3),
    "zipdepth-base": Budget(11, 2, 3),
}
"""For one 640x480 image through a model."""
VIDEOS = {"tiny": Budget(121, 3, 6, 1800), "depth-anything-v2-small": Budget(16, 2, 4, 1800), "moge-2-vits-normal": Budget(33, 2, 5, 2100)}
"""For a 640x480 video frame, with its alignment on the CPU."""
EFFECTS = {
    "relight, sun (node)": Budget(532, 5, 8),
    "relight, low sun (node)": Budget(532, 5, 8),
    "relight, candle (node)": Budget(686, 6, 10),
    "relight, no shadow (node)": Budget(293, 4, 6),
    "relight, three lamps (node)": Budget(663, 5, 8),
    "cast_shadow, hard": Budget(119, 2, 2),
    "cast_shadow, soft": Budget(146, 2, 2),
    "parallax, a frame of 8": Budget(96, 3, 2),
    "stereo, both eyes": Budget(748, 12, 2),
    "refine, four times as large": Budget(220, 3, 4),
    "depth of field": Budget(222, 3, 4),
    "fog (node)": Budget(227, 5, 4),
    "sky (node)": Budget(240, 5, 3),
    "cut-out, by distance (node)": Budget(150, 5, 6, 9300),
    "cut-out, in a box (node)": Budget(148, 5, 6, 2000),
    "normal to height": Budget(291, 2, 0),  # 252 at 480x270
    "ambient occlusion of a height": Budget(195, 0, 0),
}
"""For rows of `effects.py` at 480x270, a parallax per frame: 2 % above today's counts, which depend on the CPU's rounding."""
EAGER = {
    "parallax, a frame of 8": Budget(133, 3, 2),
    "stereo, both eyes": Budget(1217, 13, 2),
    "depth of field": Budget(306, 3, 4),
    "fog (node)": Budget(414, 6, 4),
}
"""The same without Triton, where that is more."""


class OnGpu(Tensor):
    """A tensor that claims to be on the card; `elem` holds its data on the CPU."""

    elem: Tensor

    @staticmethod
    def __new__(cls, elem: Tensor) -> OnGpu:
        kind = {"dtype": elem.dtype, "layout": elem.layout, "device": DEVICE}
        offset = elem.storage_offset()
        made = Tensor._make_wrapper_subclass(cls, elem.shape, strides=elem.stride(), storage_offset=offset, **kind)  # pyright: ignore
        made.elem = elem
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl  # pyright: ignore

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return (Gpu.current or Gpu()).run(func, args, kwargs or {})

    def tolist(self) -> Any:
        """Synchronises once for all values."""
        return self.cpu().tolist()

    def __repr__(self, **_: Any) -> str:
        return f"OnGpu({tuple(self.shape)}, {self.dtype})"


class Gpu(TorchDispatchMode):
    """Within the context, counts operations on `DEVICE`, which then stay out of `torch.inference_mode`.

    Attributes:
        kernels: Whether there are Triton kernels.
        launches: Kernels, including those of torch's modules.
        network: Those of torch's modules.
        waits: Synchronisations.
        copies: Between the CPU and the card, both ways.
        host_ops: Operations on CPU tensors.
        busy: Seconds that the card computes.
        by_function: Launches of each function of the pack, as `file:function`.
        waits_by_function: Synchronisations of each.
    """

    current: Gpu | None = None

    def __init__(self, card: str = "H100") -> None:
        super().__init__()
        self.card, self.kernels = CARDS[card], True
        self._depth = 0
        self._exit = ExitStack()
        self.reset()

    def reset(self) -> None:
        """Resets the counts."""
        self.launches = self.network = self.waits = self.copies = self.host_ops = 0
        self.busy = self._cpu_clock = self._gpu_clock = 0.0
        self.by_function: Counter[str] = Counter()
        self.waits_by_function: Counter[str] = Counter()

    @property
    def outside(self) -> int:
        """Launches outside of torch's modules."""
        return self.launches - self.network

    @property
    def seconds(self) -> float:
        """The estimated total time."""
        return max(self._cpu_clock, self._gpu_clock)

    def __enter__(self) -> Gpu:
        enter = self._exit.enter_context
        Gpu.current = self
        self._exit.callback(setattr, Gpu, "current", None)
        lifting = torch._C._only_lift_cpu_tensors()  # pyright: ignore
        torch._C._set_only_lift_cpu_tensors(True)  # pyright: ignore
        self._exit.callback(torch._C._set_only_lift_cpu_tensors, lifting)  # pyright: ignore
        self._exit.callback(register_module_forward_pre_hook(self._enter_module).remove)
        self._exit.callback(register_module_forward_hook(self._leave_module, always_call=True).remove)
        enter(_WholeAttention())
        enter(mock.patch.object(ByKernel, "__call__", lambda of, *args: self._run_kernel(of, args)))
        enter(mock.patch.object(utils, "_SAMPLES_BORDERS", utils._SAMPLES_BORDERS | {DEVICE.type}))  # as CUDA, which is modelled
        self._exit.push(super().__exit__)
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._exit.close()

    def put(self, values: Tensor) -> Tensor:
        """Puts a tensor on the card, without counting a copy."""
        return OnGpu(values.contiguous())

    def exceeds(self, budget: Budget, times: int = 1) -> list[str]:
        """Phrases for the exceeded limits of a budget, for `times` images or frames."""
        where = {"outside": self.by_function, "waits": self.waits_by_function}
        return [
            f"{name} {count / times:g}, allowed {limit}; most in {dict(where.get(name, Counter()).most_common(5))}"
            for name, limit in vars(budget).items()
            if (count := getattr(self, name)) > times * limit
        ]

    def _enter_module(self, *_: Any) -> None:
        if not self._depth:
            self._before = self.launches
        self._depth += 1

    def _leave_module(self, *_: Any) -> None:
        self._depth -= 1
        if not self._depth:
            self.network += self.launches - self._before

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.run(func, args, kwargs or {})

    def run(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Runs one operation on the data and counts it."""
        name = func._schema.name.split("::")[1]
        there = [each for each in tree_leaves((args, kwargs)) if isinstance(each, OnGpu)]
        target = None if kwargs.get("device") is None else torch.device(kwargs["device"])
        to_gpu = target is not None and target.type == DEVICE.type
        if not there and not to_gpu:
            self.host_ops += 1
            return func(*args, **kwargs)
        self._refuse_mixed(name, args)
        named = {key: _numbers(value) for key, value in kwargs.items() if key != "pin_memory"}
        if to_gpu:
            named["device"] = torch.device("cpu")
        plain = tree_map(_numbers, args)
        result = func(*plain, **named)
        if name == "_local_scalar_dense":
            self._wait()
            return result
        leaves_gpu = bool(there) and target is not None and not to_gpu
        if name == "copy_":
            leaves_gpu, arrives = not isinstance(args[0], OnGpu), not isinstance(args[1], OnGpu)
        else:
            arrives = name == "_to_copy" and not there
        if leaves_gpu or arrives:
            self._copy(result, waits=leaves_gpu)
        elif name not in VIEWS:
            self._launch(func, name, there, plain, named, result)
            by_mask = name == "index" and any(isinstance(each, Tensor) and each.dtype in (torch.bool, torch.uint8) for each in args[1])
            if name in WAITING or by_mask:
                self._wait()
        if leaves_gpu:
            return args[0] if name == "copy_" else result
        known = {id(each.elem): each for each in there}  # modified in place

        def on_gpu(each: Any) -> Any:
            return known[id(each)] if id(each) in known else OnGpu(each) if isinstance(each, Tensor) else each

        return tree_map(on_gpu, result)

    @staticmethod
    def _refuse_mixed(name: str, args: Any) -> None:
        """Refuses mixed devices like a real GPU, except scalars and indices on the CPU."""
        leaves = [each for each in tree_leaves(args[:1] if name.startswith(("index", "_index")) else args) if isinstance(each, Tensor)]
        here = [each for each in leaves if not isinstance(each, OnGpu) and each.ndim]
        if here and len(here) < len(leaves) and name not in COPYING:
            raise RuntimeError(f"Expected all tensors to be on the same device, but {name} was given tensors on cpu and on {DEVICE}")

    def launch(self, launches: int, size: float, flop: float, half: bool) -> None:
        """Counts kernels that move `size` bytes and compute `flop` operations."""
        rate = self.card.rate16 if half else self.card.rate32
        taken = max(self.card.floor * launches, size / self.card.bandwidth, flop / rate)
        self.by_function[_place()] += launches
        self.launches += launches
        self._cpu_clock += self.card.launch * launches
        self._gpu_clock = max(self._gpu_clock, self._cpu_clock) + taken
        self.busy += taken

    def _run_kernel(self, function: ByKernel[Any], args: Any) -> Any:
        there = [each for each in tree_leaves(args) if isinstance(each, OnGpu)]
        if not (self.kernels and there):
            return function.eager(*args)
        with _disable_current_modes():
            made = function.eager(*tree_map(_numbers, args))
        self.launch(1, sum(each.nbytes for each in (*there, *tree_leaves(made))), 0, False)
        return tree_map(OnGpu, made)

    def _launch(self, func: Any, name: str, there: list[OnGpu], args: Any, kwargs: Any, result: Any) -> None:
        made = [each for each in tree_leaves(result) if isinstance(each, Tensor)]
        read = sum(min(each.elem.nbytes, each.elem.untyped_storage().nbytes()) for each in there)
        counted = flop_registry.get(func.overloadpacket)
        flop = counted(*args, **kwargs, out_val=result) if counted else 0
        half = any(each.dtype in HALF for each in made)
        self.launch(LAUNCHES.get(name, 1), read + sum(each.nbytes for each in made), flop, half)

    def _copy(self, values: Tensor, waits: bool) -> None:
        self.copies += 1
        self._cpu_clock += self.card.launch
        self._gpu_clock = max(self._gpu_clock, self._cpu_clock) + values.nbytes / self.card.bus
        if waits:
            self._wait()

    def _wait(self) -> None:
        self.waits += 1
        self.waits_by_function[_place()] += 1
        self._cpu_clock = max(self._cpu_clock, self._gpu_clock) + self.card.wait


class _WholeAttention(TorchFunctionMode):
    """Keeps attention in one operation, as it is one kernel on a GPU."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        gpu = Gpu.current
        if func is not F.scaled_dot_product_attention or gpu is None or not isinstance(args[0], OnGpu):
            return func(*args, **(kwargs or {}))
        with _disable_current_modes():
            found = func(*map(_numbers, args), **tree_map(_numbers, kwargs or {}))
            query, key = args[0].shape, args[1].shape
            size = sum(each.nbytes for each in (*args[:3], found))
            gpu.launch(1, size, 4.0 * query[:-1].numel() * key[-2] * query[-1], found.dtype in HALF)
            return OnGpu(found)


def _numbers(value: Any) -> Any:
    return value.elem if isinstance(value, OnGpu) else value


def _place() -> str:
    """The innermost function of the pack on the stack, as `file:function`."""
    frame = sys._getframe(2)
    while frame is not None:
        path = frame.f_code.co_filename
        if any(f"/{folder}/" in path for folder in FOLDERS) and "site-packages" not in path and "/tests/" not in path:
            return f"{'/'.join(path.split('/')[-2:])}:{frame.f_code.co_name}"
        frame = frame.f_back
    return "elsewhere"


@contextmanager
def pack_on(gpu: Gpu) -> Iterator[None]:
    """Within the context, the pack uses the modelled card as its device."""
    with ExitStack() as stack, gpu:
        for name, module in list(sys.modules.items()):
            if name.startswith("depth_normal") and hasattr(module, "default_device"):
                stack.enter_context(mock.patch.object(module, "default_device", lambda: DEVICE))
        yield


@torch.no_grad()
def count_network(model_id: str, gpu: Gpu, height: int, width: int) -> None:
    """Counts one image through a model, after a warm-up."""
    with pack_on(gpu):
        model = families.load(model_id, "float32" if model_id == "tiny" else "float16")
        sphere = model.spec.for_panoramas
        images = torch.rand(1, 3, height, 2 * height if sphere else width)  # on the CPU, as from a node or a reader
        estimate = model.estimate_panorama if sphere else model.estimate
        for _ in range(2):
            gpu.reset()
            estimate(images)


@torch.no_grad()
def count_video(model_id: str, gpu: Gpu, height: int, width: int) -> None:
    """Counts FRAMES video frames through a model and its alignment, after two as a warm-up."""
    arguments = argparse.Namespace(batch=1, height=height + 32, width=width)
    whole = families.make_images(arguments)
    with pack_on(gpu):
        model = families.load(model_id, "float32" if model_id == "tiny" else "float16")
        gpu.reset()
        frames = (whole[..., step : step + height, :] for step in range(FRAMES + 2))
        for number, _ in enumerate(model.estimate_video(frames)):
            if number == 1:
                gpu.reset()


@torch.no_grad()
def effect_rows(gpu: Gpu, height: int, width: int) -> dict[str, Callable[..., None]]:
    """The rows of `effects.py` by name; each callable counts the last of `times` (2) runs, a parallax with all its frames."""
    image = effects.read_image(Path(str(depth_normal.__file__)).parent / "app" / "coffee.jpg", (width, height))
    known = depth_normal.load_model("tiny", "float32", torch.device("cpu")).estimate(image.movedim(-1, 1))
    with pack_on(gpu):
        maps = {each.name: value for each in fields(known) if each.init and isinstance(value := getattr(known, each.name), Tensor)}
        there: Estimate = replace(known, **{name: gpu.put(value) for name, value in maps.items()})
        made = effects.rows(gpu.put(image), there, DEVICE)

    def counted(run: Callable[[], Any]) -> Callable[..., None]:
        def count(times: int = 2) -> None:
            with torch.no_grad(), pack_on(gpu):
                for _ in range(times):
                    gpu.reset()
                    run()

        return count

    return {name: counted(run) for name, run in made.items()}


def images_of(row: str) -> int:
    """The number of frames of a row of `effects.py`."""
    return effects.FRAMES if row == effects.PARALLAX else 1


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("networks", "videos", "effects"))
    parser.add_argument("names", nargs="*", metavar="NAME", help="models, or words that rows begin with; default: those with a budget")
    parser.add_argument("--card", choices=CARDS, default="H100")
    parser.add_argument("--size", nargs=2, type=int, metavar=("WIDTH", "HEIGHT"), help="of the image")
    parser.add_argument("--narrow", action="store_true", help="networks with few channels")
    parser.add_argument("--eager", action="store_true", help="without Triton's kernels")
    parser.add_argument("--places", type=int, default=8, metavar="N", help="functions that are named (default: %(default)s)")
    arguments = parser.parse_intermixed_args()
    torch.set_num_threads(1)
    gpu = Gpu(arguments.card)
    gpu.kernels = not arguments.eager
    print(f"{'':34} {'ms':>7} {'busy':>7} {'launches':>8} {'network':>7} {'outside':>7} {'waits':>5} {'copies':>6} {'on CPU':>6}")
    if arguments.what == "effects":
        width, height = arguments.size or (480, 270)
        for name, count in effect_rows(gpu, height, width).items():
            if not arguments.names or name.startswith(tuple(arguments.names)):
                count()
                print_row(name, gpu, EFFECTS if gpu.kernels else EFFECTS | EAGER, images_of(name), arguments.places)
        return
    families.mend_torchvision()
    budgets, count = (NETWORKS, count_network) if arguments.what == "networks" else (VIDEOS, count_video)
    ids = arguments.names or list(budgets)
    families.refuse_diffusion(parser, ids)
    width, height = arguments.size or (640, 480)
    with families.narrow(ids) if arguments.narrow else nullcontext():
        for name in ids:
            count(name, gpu, height, width)
            print_row(name, gpu, budgets, FRAMES if arguments.what == "videos" else 1, arguments.places)


def print_row(name: str, gpu: Gpu, budgets: Mapping[str, Budget], times: int, places: int) -> None:
    """Prints the counts per image or frame, and the functions that they come from."""
    milliseconds = "".join(f" {1e3 * each / times:7.2f}" for each in (gpu.seconds, gpu.busy))
    counts = ((gpu.launches, 8), (gpu.network, 7), (gpu.outside, 7), (gpu.waits, 5), (gpu.copies, 6), (gpu.host_ops, 6))
    budget = budgets.get(name)
    over = "  over its budget" if budget and gpu.exceeds(budget, times) else ""
    print(f"{name:34}{milliseconds}" + "".join(f" {count / times:{space}.0f}" for count, space in counts) + over)
    if places:
        asked, waited = (
            ", ".join(f"{place} {count}" for place, count in each.most_common(places)) for each in (gpu.by_function, gpu.waits_by_function)
        )
        print(f"    {asked}; waits: {waited}", flush=True)


if __name__ == "__main__":
    main()
