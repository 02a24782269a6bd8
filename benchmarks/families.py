"""The discriminative families at work: images a second, the share of our own code, peak memory, and what half precision changes.

    python benchmarks/families.py [--models ID ...] [--full] [--precision-only] [--size N]
        [--height 480 --width 640] [--batches 1 4] [--rounds 3] [--dtype float32] [--narrow] [--no-memory]

Without --models: the small member of each family that has one; --full: one more large one of each, and ZoeDepth, which is large only
(1.4 GB each, minutes on a CPU). The weights are random, loaded as a file's would be; neither time nor memory depend on them. The families
of diffusion models have a benchmark of their own, `diffusion.py`. --narrow: networks with few channels (except MiDaS's and ZipDepth's),
whose figures say nothing about the real ones: a quick check that a family runs.

- images/s: of warm calls of `Model.estimates`, from an image in [0, 1] to an estimate of raw depth (DA²: `estimate_panorama`, two passes).
- to bare: how many times longer a call takes than the bare forward, the network alone on the same normalised input, both measured in turn,
  the best of the rounds.
- outside: the share of a call that is not spent in the network's forward.
- peak: memory at its highest during a call beyond what was taken before it (weights, Python), and how many times that of the bare
  forward. On CUDA torch's own count; on a CPU the resident set of a fresh process each (Linux only).
- dtypes: largest difference from the float32 depth (of models without: normals) of the same random weights, relative to its largest value
  and to its deviation, where both are valid; masked: pixels that only one of them masks. "auto" marks what `precision auto` takes on a
  GPU that is fast in it.
"""

from __future__ import annotations

import argparse
import runpy
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from depth_normal.annotators import midas, zoe
from depth_normal.annotators.building import from_transformers
from depth_normal.annotators.diffusion import DiffusionAnnotator
from depth_normal.annotators.networks.configs import Da2Config, DepthProConfig, MogeConfig
from depth_normal.annotators.networks.leres import Leres, MergeNetwork
from depth_normal.annotators.networks.midas import MidasSmall
from depth_normal.annotators.registry import FAMILIES, MODELS
from depth_normal.annotators.specs.base import ModelSpec
from depth_normal.app.onnx_export import check_graph
from depth_normal.geometry.estimate import Estimate
from depth_normal.model_loader.comfy import devices
from depth_normal.model_loader.inference.model import Model
from depth_normal.model_loader.inference.network import LoadedNetwork
from depth_normal.model_loader.load import DTYPES, load_model

SMALL = ("midas-v2.1-small", "depth-anything-small", "depth-anything-v2-small", "depth-anything-3-small")
LARGE = (
    "midas-dpt-hybrid",
    "depth-anything-v2-large",
    "depth-anything-v2-metric-indoor-large",
    "depth-anything-3-metric-large",
    "zoedepth-nyu",
    "zoe-depth-anything-indoor",
)
MEGABYTE = 2**20
WHOLE = "whole"
TESTS = Path(__file__).resolve().parents[1] / "tests"
Calls = list[tuple[int, tuple[Any, ...], dict[str, Any]]]
"""For each call of a network: its index in `networks_of`, and its arguments."""


def main() -> None:
    """Prints the tables."""
    arguments = parse()
    mend_torchvision()
    with narrow(arguments.models) if arguments.narrow else nullcontext():
        measure(arguments)


def measure(arguments: argparse.Namespace) -> None:
    """Prints the tables, or in a separate process one peak."""
    if arguments.peak:
        print(peak_on_cpu(load(arguments.models[0], arguments.dtype), arguments))
        return
    device = devices.default_device()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(f"{name}; torch {torch.__version__}; images of {arguments.width}x{arguments.height}, {arguments.dtype}")
    if not arguments.precision_only:
        print_costs(arguments)
    print(f"\n{'model':32} {'dtype':>9} {'of max':>8} {'of std':>8} {'masked':>8}   difference from float32, largest")
    arguments.batch = 1
    for model_id in arguments.models:
        compare_dtypes(model_id, arguments)


def print_costs(arguments: argparse.Namespace) -> None:
    """Prints the table of time and memory."""
    peaks = "" if arguments.no_memory else f" {'peak MB':>8} {'to bare':>7}"
    print(f"{'model':32} {'batch':>5} {'network':>9} {'images/s':>10} {'to bare':>7} {'outside':>7}{peaks}")
    for model_id in arguments.models:
        model = load(model_id, arguments.dtype)
        for batch in arguments.batches:
            arguments.batch = batch
            calls = network_calls(model, make_images(arguments), arguments.size)
            taken = "" if arguments.no_memory else f" {memory(model, calls, arguments)}"
            print(f"{model_id:32} {batch:5} {speed(model, calls, arguments)}{taken}", flush=True)
        del model


def parse() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=MODELS, metavar="ID")
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--narrow", action="store_true", help="networks with few channels")
    parser.add_argument("--no-memory", action="store_true", help="neither of the columns of memory")
    parser.add_argument("--precision-only", action="store_true", help="no time, no memory: only what half precision changes")
    parser.add_argument("--size", type=int, help="of the network's input, as in `depth-normal estimate`; default: each model's own")
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--batches", nargs="+", type=int, default=(1, 4), metavar="N", help="images at once (default: 1 4)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dtype", choices=DTYPES, default="float32")
    parser.add_argument("--batch", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.models = arguments.models or (*SMALL, *(LARGE if arguments.full else ()))
    refuse_diffusion(parser, arguments.models)
    return arguments


def refuse_diffusion(parser: argparse.ArgumentParser, model_ids: Sequence[str]) -> None:
    """Exits if one of the models is a diffusion model, for which `load` cannot make random weights."""
    for model_id in model_ids:
        if is_diffusion(MODELS[model_id]):
            parser.error(f"{model_id} is a diffusion model: this benchmark has no random weights for it, benchmarks/diffusion.py does")


def is_diffusion(spec: ModelSpec) -> bool:
    """Whether a model belongs to diffusion.py."""
    return issubclass(FAMILIES[spec.family], DiffusionAnnotator)


def refuse_without_graph(parser: argparse.ArgumentParser, model_ids: Sequence[str]) -> None:
    """Exits if one of the models cannot be exported, before making weights."""
    for model_id in model_ids:
        try:
            check_graph(model_id)
        except ValueError as error:
            parser.error(str(error))


def load(model_id: str, dtype: str) -> Model:
    """A model with random weights (the bundled one with its own), built and placed as by `load_model`."""
    spec = MODELS[model_id]
    if spec.file.bundled:
        return load_model(model_id, dtype)
    states = {file.role: random_state(spec, file.role) for file in spec.files}
    annotator = FAMILIES[spec.family].build(spec, states, DTYPES[dtype])
    return Model(LoadedNetwork(annotator, DTYPES[dtype], devices.default_device(), Path()))


def mend_torchvision() -> None:
    """Makes transformers and diffusers importable beside a torchvision that does not match torch, as the tests do."""
    runpy.run_path(str(TESTS / "mend_torchvision.py"))


@contextmanager
def narrow(model_ids: Sequence[str]) -> Iterator[None]:
    """Within the context, gives these models' networks few channels, as the tests do. MiDaS, ZipDepth and tiny keep theirs."""
    depth, old = (runpy.run_path(str(TESTS / f"tiny_{name}.py")) for name in ("depth", "old_nodes"))
    encoder = {name: import_module(f"depth_normal.annotators.networks.{name}") for name in ("bae", "dsine", "efficientnet")}
    with ExitStack() as patches:
        old["shrink_encoder"](encoder, lambda *place: patches.enter_context(mock.patch.object(*place)))
        specs = {model_id: narrow_spec(MODELS[model_id], depth, old) for model_id in model_ids}
        patches.enter_context(mock.patch.dict(MODELS, specs))
        yield


def narrow_spec(spec: ModelSpec, depth: dict[str, Any], old: dict[str, Any]) -> ModelSpec:
    """The spec of a narrow network, by means of tests/tiny_depth.py and tests/tiny_old_nodes.py."""
    if isinstance(spec.config, MogeConfig):
        vit = replace(spec.config.vit, width=16, depth=4, heads=2, taken=(1, 3), grid=3)
        refiner = spec.config.refiner and replace(spec.config.refiner, channels=(4, 4, 8, 8, 16))
        return replace(spec, config=replace(spec.config, vit=vit, channels=(16, 12, 8, 8, 8), refiner=refiner), default_size=56)
    if isinstance(spec.config, Da2Config):
        vit = replace(spec.config.vit, width=16, depth=4, heads=2, taken=(0, 1, 2, 3), grid=3)
        return replace(spec, config=replace(spec.config, vit=vit, width=16, heads=2), default_size=56)
    if isinstance(spec.config, DepthProConfig):
        vit = replace(spec.config.vit, width=16, depth=4, heads=2, taken=(0, 2, 3), grid=8, patch=4)
        config = replace(spec.config, vit=vit, channels=(8, 8, 8, 8), features=16)
        sizes = dict.fromkeys(("default_size", "multiple_of", "largest_size", "smallest_size"), config.side)
        return replace(spec, config=config, **sizes)
    if spec.family in depth["FAMILIES"]:
        return depth["shrunk"](spec)
    return old["shrunk"](spec) if spec.family in old["SIZES"] else spec


def empty_network(spec: ModelSpec, role: str) -> nn.Module:
    """A spec's network on the meta device, with parameter names that its annotator loads."""
    family, config = FAMILIES[spec.family], spec.config
    with torch.device("meta"):
        if spec.family == "leres-boost":
            return MergeNetwork(config.merge) if role == "merge" else Leres(config.leres)
        if spec.family == "midas" and config.backbone == "efficientnet-lite3":
            return MidasSmall()
        if spec.family in ("midas", "zoedepth"):
            (network_class,) = from_transformers(f"{'DPT' if spec.family == 'midas' else 'ZoeDepth'}ForDepthEstimation")
            return network_class((midas if spec.family == "midas" else zoe).transformers_config(config))
        return family.network_of(spec)


def random_state(spec: ModelSpec, role: str = "network") -> dict[str, Tensor]:
    """Random weights with which signals neither vanish nor explode, so that precision errors are those of a real network."""
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, value in empty_network(spec, role).state_dict().items():
        if not value.is_floating_point():
            state[name] = torch.zeros(value.shape, dtype=value.dtype)
            continue
        noise = torch.randn(value.shape, generator=generator)
        if value.ndim > 1:
            state[name] = noise / (1 if "table" in name else value[0].numel() ** 0.5)
        elif name.endswith("running_var"):
            state[name] = 1 + 0.2 * noise.abs()
        else:
            scale_like = name.endswith(("weight", "gamma", "lambda1", "lambda_1", "lambda_2"))  # 1-dimensional weights are those of norms
            state[name] = (1 if scale_like else 0) + 0.2 * noise
    for name in ("points_head.output_blocks.4.weight", "refiner.out_proj.weight", "refiner.out_proj.bias"):
        if name in state and "refiner.out_proj.weight" in state:
            state[name] *= 0.01  # a surface, as of a photo: for noise the refiner has many times the voxels
    last = next((key for key in reversed(state) if state[key].shape == (1,) and key.endswith("bias")), None)
    if last is not None and spec.quantity == "disparity":
        state[last] += 3  # keeps the final ReLU active
    return state


def make_images(arguments: argparse.Namespace) -> Tensor:
    """Smooth random images."""
    coarse = torch.rand(arguments.batch, 3, 9, 12, generator=torch.Generator().manual_seed(0))
    size = (arguments.height, arguments.width)
    return nn.functional.interpolate(coarse, size=size, mode="bicubic").clamp(0, 1)


def networks_of(model: Model) -> list[nn.Module]:
    """The modules that the annotator calls: its network, or the children of one without a forward."""
    network = model.network
    return [network] if type(network).forward is not nn.Module.forward else list(network.children())


@contextmanager
def hooked(model: Model, before: Callable[..., None], after: Callable[..., None] = lambda *_: None) -> Iterator[None]:
    """Within the context, calls `before(index, args, kwargs)` and `after` around each call of a network of `networks_of`."""
    hooks = []
    for index, network in enumerate(networks_of(model)):
        first = lambda _, args, kwargs, index=index: before(index, args, kwargs)  # noqa: E731
        hooks += [network.register_forward_pre_hook(first, with_kwargs=True), network.register_forward_hook(after)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def network_calls(model: Model, images: Tensor, size: int | None) -> Calls:
    """The network's arguments in one call of the model."""
    calls: Calls = []
    with hooked(model, lambda *call: calls.append(call)):
        run(model, images, size)
    return calls


def run(model: Model, images: Tensor, size: int | None) -> Tensor:
    """Runs everything; returns the depth, or the normals of a model without depth, on the device."""
    return torch.cat([_numbers(estimate) for estimate in estimates(model, images, size)])


def estimates(model: Model, images: Tensor, size: int | None) -> list[Estimate]:
    """Runs everything, batch by batch."""
    return [model.estimate_panorama(images, size, any_aspect=True)] if model.spec.for_panoramas else list(model.estimates(images, size))


def _numbers(estimate: Estimate) -> Tensor:
    numbers = estimate.normals if estimate.depth is None else estimate.depth
    assert numbers is not None
    return numbers


@torch.no_grad()
def run_bare(model: Model, calls: Calls) -> None:
    """Runs the network alone."""
    networks = networks_of(model)
    for index, args, kwargs in calls:
        networks[index](*args, **kwargs)


def clock() -> float:
    """Seconds after synchronising the device; with one thread on a CPU its processor time, which excludes other programs."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    elif torch.get_num_threads() == 1:
        return time.process_time()
    return time.perf_counter()


def seconds(call: Callable[[], Any]) -> float:
    """The duration of a call."""
    start = clock()
    call()
    return clock() - start


def speed(model: Model, calls: Calls, arguments: argparse.Namespace) -> str:
    """Formats the columns of time."""
    images = make_images(arguments)
    whole, bare = [], []
    marks: list[float] = []
    for _ in range(arguments.rounds):
        marks.clear()
        with hooked(model, lambda *_: marks.append(clock()), lambda *_: marks.append(clock())):
            total = seconds(lambda: run(model, images, arguments.size))
        whole.append((total, 1 - (sum(marks[1::2]) - sum(marks[::2])) / total))
        bare.append(seconds(lambda: run_bare(model, calls)))
    best, outside = min(whole)
    height, width = model.network_size(arguments.height, arguments.width, arguments.size)
    return f"{f'{width}x{height}':>9} {arguments.batch / best:10.3g} {best / min(bare):7.2f} {outside:7.1%}"


def memory(model: Model, calls: Calls, arguments: argparse.Namespace) -> str:
    """Formats the columns of memory."""
    if torch.cuda.is_available():
        whole = peak_on_cuda(lambda: run(model, make_images(arguments), arguments.size))
        bare = peak_on_cuda(lambda: run_bare(model, calls))
    else:
        words = [sys.executable, __file__, "--models", model.spec.id, "--dtype", arguments.dtype, "--batch", arguments.batch]
        words += ["--height", arguments.height, "--width", arguments.width, *(["--size", arguments.size] if arguments.size else [])]
        words += ["--narrow"] * arguments.narrow
        with TemporaryDirectory() as folder:
            bare_calls = Path(folder, "calls.pt")
            torch.save(calls, bare_calls)
            kinds = (WHOLE, bare_calls)
            runs = [subprocess.run([*map(str, words), "--peak", kind], capture_output=True, text=True, check=True) for kind in kinds]
        whole, bare = (float(each.stdout) for each in runs)
    return f"{whole:8.0f} {whole / bare:7.2f}"


def peak_on_cuda(call: Callable[[], Any]) -> float:
    """Peak memory of a call in MB."""
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    return (torch.cuda.max_memory_allocated() - before) / MEGABYTE


def resident(field: str) -> float:
    """A field of the kernel's status of this process, in MB."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


def peak_on_cpu(model: Model, arguments: argparse.Namespace) -> float:
    """Peak memory, in MB, of the first call in this process: of the model, or of its network alone with the calls in a file."""
    images = make_images(arguments)
    calls: Calls = [] if arguments.peak == WHOLE else torch.load(arguments.peak, weights_only=False)
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before = resident("VmRSS")
    run_bare(model, calls) if calls else run(model, images, arguments.size)
    return resident("VmHWM") - before


def compare_dtypes(model_id: str, arguments: argparse.Namespace) -> None:
    """Prints the error of half precision relative to float32."""
    images = make_images(arguments)
    (exact,) = estimates(load(model_id, "float32"), images, arguments.size)
    expected = _numbers(exact)
    spec = MODELS[model_id]
    automatic = spec.auto_dtypes or FAMILIES[spec.family].auto_dtypes
    for dtype in ("bfloat16", "float16"):
        try:
            (found,) = estimates(load(model_id, dtype), images, arguments.size)
        except ArithmeticError as overflow:
            print(f"{model_id:32} {dtype:>9} {overflow}", flush=True)
            continue
        chosen = "auto" if dtype in automatic else ""
        both = (exact.valid & found.valid).expand_as(expected)
        values, masked = expected[both], (exact.valid != found.valid).float().mean()
        error = (_numbers(found)[both] - values).abs().amax()
        print(f"{model_id:32} {dtype:>9} {error / values.abs().amax():8.1e} {error / values.std():8.1e} {masked:8.1%} {chosen}", flush=True)


if __name__ == "__main__":
    main()
