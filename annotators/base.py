"""What every model family has in common: the way from a picture to an `Estimate`."""

from __future__ import annotations

import copy
import functools
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..geometry.camera import intrinsics_from_fov, resize_intrinsics
from ..geometry.estimate import Estimate
from .graph import Engine, Graph, GraphModule, Numbers
from .networks.names import StateDict
from .resizing import Fit, Resizing
from .specs.base import HALF as HALF
from .specs.base import IMAGENET_MEAN, IMAGENET_STD, RGB, CheckpointError, ModelSpec, shown
from .specs.base import WeightFile as WeightFile
from .specs.base import size_in_words as size_in_words

logger = logging.getLogger(__name__)

MAX_NETWORK_PIXELS = 64 * 2**20
MAX_ASPECT = 1000
"""How many times as long as its shorter side a picture may be. Of a longer strip, most would be what a family adds by rounding sides up."""

_LIBRARIES = ("transformers", "diffusers")

Progress = Callable[[int, int], None]


class Annotator(ABC):
    """A network with the pre- and post-processing of its family.

    A family implements `build` and `predict`. Where its authors resize in a way that no `Resizing` describes, it overrides `network_size`,
    `resize` or `run`; where the camera changes its numbers, `for_camera`.

    Attributes:
        spec: Its entry in the table.
        network: The module. The loader moves it between devices; nobody else does.
        bytes_per_pixel: Working memory per pixel of the network's input, in float32, as measured.
        needs_by_size: Whether that is what it takes at every `network_size`; else it may take much less.
        auto_dtypes: What "auto" may choose on devices that are fast in it, by the names of DTYPE_CHOICES, best first. In each of them the
            picture stays the same (benchmarks/families.py measures it). float32 comes last by itself.
        resampling: How its depth is brought to another size, "bilinear" or "bicubic", as its authors do.
        engine: What runs the network's `graph` in the place of torch; None = torch.
    """

    bytes_per_pixel: ClassVar[int] = 2000
    needs_by_size: ClassVar[bool] = True
    auto_dtypes: ClassVar[tuple[str, ...]] = ()
    resampling: ClassVar[str] = "bilinear"
    engine: Engine | None = None

    def __init__(self, spec: ModelSpec, network: nn.Module) -> None:
        self.spec = spec
        self.network = network.eval().requires_grad_(False)

    @classmethod
    @abstractmethod
    def build(cls, spec: ModelSpec, states: Mapping[str, StateDict], dtype: torch.dtype) -> Annotator:
        """Builds the network from its checkpoints, strictly, on the CPU.

        Args:
            spec: The entry of the table.
            states: State dict by the role of its file ("network" first of all), as read from disk, unwrapped.
            dtype: What the network computes in.

        Raises:
            CheckpointError: The tensors are not those of this architecture; the message names the first that differ.
        """

    @classmethod
    def check_requirements(cls, spec: ModelSpec) -> None:
        """Imports the libraries that the family needs beyond torch, so that nothing is downloaded in vain.

        Raises:
            ImportError: One is absent or broken; the message says how to mend it.
        """
        return

    @classmethod
    def name_contradicts(cls, spec: ModelSpec, path: str) -> str | None:
        """What a file's name says against its being `spec`'s, for families whose models have tensors of the same names and shapes.

        Args:
            spec: The model that the file is to be loaded as.
            path: The file's name or path.

        Returns:
            A sentence for a warning; None where the name contradicts nothing.
        """
        return None

    @classmethod
    def could_be(cls, spec: ModelSpec, names: Collection[str]) -> bool:
        """Whether tensors of these names are worth comparing with `spec`: to be answered at once, before any library is imported."""
        return True

    @classmethod
    def check_network(cls, spec: ModelSpec, state: StateDict) -> None:
        """Refuses what is not the file of `spec`'s network, by the names and shapes of its tensors alone.

        A family whose `build` needs more files, or numbers, overrides it.

        Args:
            spec: The entry of the table.
            state: As `build`'s for the role of the network, of torch's meta device.

        Raises:
            CheckpointError: As `build`.
        """
        cls.build(spec, {spec.file.role: state}, torch.float32)

    @classmethod
    def knows_camera(cls, spec: ModelSpec) -> bool:
        """Whether its estimates have intrinsics even where nobody says which camera took the pictures."""
        return False

    @classmethod
    def sees_scenes(cls, spec: ModelSpec) -> bool:
        """Whether it can look at several pictures at once as views of one scene: see `estimate_scene`."""
        return False

    @property
    def shareable(self) -> bool:
        """Whether several threads may run it at the same time. Libraries' networks keep notes of the picture that they look at."""
        return not any(type(module).__module__.partition(".")[0] in _LIBRARIES for module in self.network.modules())

    @property
    def dtype(self) -> torch.dtype:
        """What the network's first layers compute in."""
        return next(self.network.parameters()).dtype

    @classmethod
    def why_no_graph(cls, spec: ModelSpec) -> str | None:
        """Why the network is not one function of one tensor, in words; None where it is."""
        return None

    def graph(self) -> Graph:
        """The network as one function, for exporters and other engines.

        Raises:
            ValueError: It is none; the message says why.
        """
        raise ValueError(f"{self.spec.id} has no graph: {self.why_no_graph(self.spec)}")

    def with_engine(self, engine: Engine | None) -> Annotator:
        """The same pre- and post-processing, with the network's `graph` run by an engine; None = by torch again."""
        other = copy.copy(self)
        other.engine = engine
        return other

    def outputs(self, given: Tensor, numbers: tuple[float, ...] = ()) -> tuple[Tensor, ...]:
        """What the network says, by the engine if there is one: the one place from which it is run.

        Args:
            given: Pictures as `given` makes them of pixels, resized and normalised.
            numbers: What else it is told (`Graph.numbers`).
        """
        if self.engine is None:
            return self.network_outputs(given, numbers)
        told = [torch.full((), number, dtype=torch.float32, device=given.device) for number in numbers]
        return self.engine(given, torch.stack(told)) if told else self.engine(given)

    def network_outputs(self, given: Tensor, numbers: Sequence[Any] = ()) -> tuple[Tensor, ...]:
        """The same by torch: the outputs of the `graph`, before any cast to float32. `numbers` may be tensors without axes."""
        return (self.network(given),)

    def _graph(
        self, outputs: Mapping[str, str], mean: RGB = IMAGENET_MEAN, std: RGB = IMAGENET_STD, numbers: Numbers | None = None, **limits: Any
    ) -> Graph:
        """A graph of this network; `limits` are the last attributes of `Graph`."""
        return Graph(GraphModule(self), outputs, self.spec.multiple_of, mean, std, numbers, **limits)

    @abstractmethod
    def predict(self, pixels: Tensor) -> Estimate:
        """Runs the network.

        Args:
            pixels: (B, 3, h, w) float32 RGB in [0, 1] on the network's device; h and w as `network_size` gave them.

        Returns:
            The raw estimate, float32, at the network's output size.
        """

    def normalised(self, pixels: Tensor, mean: RGB = IMAGENET_MEAN, std: RGB = IMAGENET_STD) -> Tensor:
        """Pictures in [0, 1] as most networks take them: normalised, in the network's dtype, with channels last in memory."""
        subtracted, divisor = (pixels.new_tensor(value)[:, None, None] for value in (mean, std))
        return self.given((pixels - subtracted) / divisor)

    def given(self, pixels: Tensor) -> Tensor:
        """Pixels as the network takes them in memory: in its dtype with channels last; float32 and contiguous for another engine."""
        if self.engine is not None:
            return pixels.float().contiguous()
        return pixels.to(self.dtype).contiguous(memory_format=torch.channels_last)

    def network_size(self, height: int, width: int, size: int) -> tuple[int, int]:
        """(height, width) of the network's input for pictures of a size; `size` is the height of the frame of the spec's `resizing`."""
        return self.spec.resizing.input_size(height, width, size, self.spec.multiple_of)

    def resize(self, images: Tensor, height: int, width: int) -> Tensor:
        """Pictures (B, 3, H, W) at the network's size."""
        return self.spec.resizing.resample(images, height, width)

    def with_resizing(self, resizing: Resizing) -> Annotator:
        """The same network, fed with pictures that are resized in another way; families with a way of their own keep it."""
        other = copy.copy(self)
        other.spec = replace(self.spec, resizing=resizing)
        return other

    def estimate(
        self, images: Tensor, size: int | None = None, *, fov: float = 0.0, options: Any = None, progress: Progress | None = None
    ) -> Estimate:
        """Estimates a batch of pictures at once.

        Args:
            images: (B, 3, H, W) float32 RGB in [0, 1], on the network's device.
            size: What `network_size` takes; None = the spec's default.
            fov: Degrees that the longer side of the pictures spans, between 0 and 180 exclusive; 0 = not known.
            options: The family's own, where it has any.
            progress: Called with (passes done, passes in all) by families that take several for one picture.

        Returns:
            An estimate at the network's size, all maps float32 and finite.

        Raises:
            ValueError: The network's input would exceed MAX_NETWORK_PIXELS, or `fov` is out of range.
            TypeError: Options for a family that has none.
            ArithmeticError: The network gave NaN or infinity.
        """
        if options is not None:
            raise TypeError(f"{self.spec.id} takes no options; found {type(options).__name__}")
        height, width = images.shape[-2:]
        return self._finished(self.run(images, size), height, width, fov)

    def estimate_scene(self, images: Tensor, size: int | None = None, *, fov: float = 0.0) -> Estimate:
        """Estimates pictures at once as views of one scene that stands still.

        Args:
            images: As `estimate`; the views, in any order.
            size: As `estimate`.
            fov: As `estimate`, of the one camera that took all of them.

        Returns:
            An estimate as `estimate` gives it, whose depth has one scale for all views and is 0 at each camera, with the cameras'
            intrinsics and extrinsics. Depth and extrinsics have the same unit; where nothing tells metres, metric depth is up to scale.

        Raises:
            ValueError: The network sees each picture by itself, or the views are more than MAX_NETWORK_PIXELS in all.
            ArithmeticError: As `estimate`.
        """
        raise ValueError(f"{self.spec.id} sees each picture by itself, not several as views of one scene")

    def run(self, images: Tensor, size: int | None) -> Estimate:
        """The raw estimate of pictures, at the network's size; at the pictures' own size where they are stretched to the network's.

        Args:
            images: As `estimate`.
            size: As `estimate`.
        """
        height, width = images.shape[-2:]
        estimate = self.predict(self.resize(images, *self.checked_network_size(height, width, size)))
        # normals that follow from a stretched map would lean
        return estimate.resized(height, width, self.resampling) if self.spec.resizing.fit is Fit.STRETCHED else estimate

    def checked_network_size(self, height: int, width: int, size: int | None) -> tuple[int, int]:
        """`network_size`; a ValueError where it is more than any machine holds, or where the picture is a mere line."""
        size = size or self.spec.default_size
        log_used_size(self.spec, size)
        net_height, net_width = self.network_size(height, width, size)
        if net_height * net_width > MAX_NETWORK_PIXELS:
            raise ValueError(
                f"a picture of {width}x{height} at resolution {size} makes {self.spec.id} run at {net_width}x{net_height}, "
                f"more than {MAX_NETWORK_PIXELS // 2**20} megapixels: lower the resolution or crop the picture"
            )
        if max(height, width) > MAX_ASPECT * min(height, width):
            raise ValueError(
                f"a picture of {width}x{height} has one side more than {MAX_ASPECT} times as long as the other: "
                "crop it, or cut it in pieces"
            )
        return net_height, net_width

    def check_scene(self, views: int, height: int, width: int, size: int | None) -> None:
        """Refuses views of one scene that no machine holds at once.

        Raises:
            ValueError: As `checked_network_size`, or more than MAX_NETWORK_PIXELS in all.
        """
        net_height, net_width = self.checked_network_size(height, width, size)
        if views * net_height * net_width > MAX_NETWORK_PIXELS:
            raise ValueError(
                f"{views} views of one scene, which {self.spec.id} sees at once at {net_width}x{net_height} each, are more than "
                f"{MAX_NETWORK_PIXELS // 2**20} megapixels: give at most {MAX_NETWORK_PIXELS // (net_height * net_width)} views, "
                "or lower the resolution"
            )

    def for_camera(self, estimate: Estimate, intrinsics: Tensor) -> Estimate:
        """The family's estimate, for the camera that took the pictures. Here the maps stay what they are, and the camera is noted.

        Args:
            estimate: What `run` gave.
            intrinsics: (B, 3, 3), in pixels of the estimate's size.
        """
        return replace(estimate, intrinsics=intrinsics)

    def _finished(self, estimate: Estimate, height: int, width: int, fov: float) -> Estimate:
        """The estimate of pictures of a size, checked, for their camera. They have square pixels, the network's input has not quite."""
        self._check_finite({name: value for name in ("depth", "normals", "extrinsics") if (value := getattr(estimate, name)) is not None})
        if not fov:
            return estimate
        of_picture = intrinsics_from_fov(fov, height, width, batch=estimate.batch)
        intrinsics = resize_intrinsics(of_picture, (height, width), (estimate.height, estimate.width))
        return self.for_camera(estimate, intrinsics.to(estimate.device))

    def _check_finite(self, maps: Mapping[str, Tensor]) -> None:
        """Refuses maps, by their names, that hold NaN or infinity."""
        # NaN is the least and the greatest value of what holds it; one pass, and nothing as large as the map.
        ends = torch.stack([torch.stack(value.aminmax()) for value in maps.values()])
        finite = torch.isfinite(ends).all(1)
        if finite.all():  # a GPU is waited for here alone, once it has all its work
            return
        name = next(name for name, good in zip(maps, finite.tolist(), strict=True) if not good)
        dtype = self.dtype
        remedy = "check the weights file" if dtype == torch.float32 else "use float32, or check the weights file"
        raise ArithmeticError(f"{self.spec.id} in {dtype} gave {name} that is not finite: {remedy}")


def log_used_size(spec: ModelSpec, size: int) -> None:
    """Logs where a model does not run at the size that is asked for; once for each size, however many images there are."""
    if (used := spec.used_size(size)) != size:
        _log_once(f"{spec.id} runs at size {used}, its largest, in place of {size}")


@functools.lru_cache(maxsize=64)
def _log_once(text: str) -> None:
    logger.warning(text)


def count_keys(by_kind: Mapping[str, Iterable[str]]) -> list[str]:
    """In words how many keys of a checkpoint are of each kind, and the first of them; a kind without keys is left out."""
    ordered = {kind: sorted(keys) for kind, keys in by_kind.items()}
    return [f"{len(keys)} {kind} keys (first: {shown(keys[0])})" for kind, keys in ordered.items() if keys]


def checkpoint_mismatch(expected: StateDict, found: StateDict) -> str | None:
    """Why `found` cannot be loaded as `expected`, in words; None if it can."""
    shared = expected.keys() & found.keys()
    differing = sorted(key for key in shared if expected[key].shape != found[key].shape)
    parts = count_keys({"unexpected": found.keys() - expected.keys(), "missing": expected.keys() - found.keys()})
    if differing:
        key = differing[0]
        shapes = f"{tuple(found[key].shape)} instead of {tuple(expected[key].shape)}"
        parts.append(f"{len(differing)} tensors of another shape (first: {key}, {shapes})")
    if whole := sorted(key for key in shared if expected[key].is_floating_point() and not found[key].is_floating_point()):
        parts.append(f"{len(whole)} tensors of {found[whole[0]].dtype} in place of floating point numbers (first: {whole[0]}): quantised?")
    return ", ".join(parts) or None


def fill(network: nn.Module, state: StateDict, complaint: str) -> None:
    """Gives a network that was built on the meta device its tensors. They are taken as they are, not copied.

    Args:
        network: A module with no memory behind its parameters and buffers.
        state: What is to become of them.
        complaint: What to say of a file whose tensors are others: "not a checkpoint of tiny". The first that differ are added.

    Raises:
        CheckpointError: The tensors are not exactly the network's.
    """
    if mismatch := checkpoint_mismatch(network.state_dict(), state):
        raise CheckpointError(f"{complaint}: {mismatch}")
    network.load_state_dict(dict(state), assign=True)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that the device or the machine has no memory left."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in ("out of memory", "allocate memory"))
