"""What every model family has in common: the way from a picture to an `Estimate`."""

from __future__ import annotations

import copy
import functools
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..geometry.camera import intrinsics_from_fov, resize_intrinsics
from ..geometry.estimate import Estimate, Quantity
from .checkpoints import checkpoint_mismatch as checkpoint_mismatch
from .checkpoints import count_keys as count_keys
from .checkpoints import fill as fill
from .graph import Engine, Graph, GraphModule, Numbers
from .networks.names import StateDict
from .resizing import Fit, Resizing, Size
from .specs.base import HALF as HALF
from .specs.base import IMAGENET_MEAN, IMAGENET_STD, RGB, ModelSpec
from .specs.base import CheckpointError as CheckpointError
from .specs.base import WeightFile as WeightFile
from .specs.base import size_in_words as size_in_words
from .steps import Metadata, Resize, Steps, for_one_size, limit_depth, resize_to_image, size_after
from .wording import wording

logger = logging.getLogger(__name__)

MAX_NETWORK_PIXELS = 64 * 2**20
MAX_ASPECT = 1000
"""How many times as long as its shorter side a picture may be. Of a longer strip, most would be what a family adds by rounding sides up."""

LEAST_METRES, LEAST_UP_TO_SCALE = 0.01, 1e-6
"""The least metric depth in a network's estimate: in metres, and where the unit is unknown.

What a network predicts at the camera or behind it (the 0 of a ReLU, a cubic's undershoot) is near and not a hole: holes are what its mask
leaves out. A centimetre is nearer than what photographs show, and 1 / depth of it, 100, leaves other pixels a share of the range. Without a
unit, a usual depth is about 1; less than a millionth of the usual depth is nothing to `depth_to_normals` either.
"""

_LIBRARIES = ("transformers", "diffusers")

Progress = Callable[[int, int], None]


class Annotator(ABC):
    """A network with the pre- and post-processing of its family.

    A family implements `build` and `predict`. Where its authors prepare images in a way that no `Resizing` describes, it overrides
    `_preprocess_steps`; what follows the network, `run`; where the camera changes its numbers, `for_camera`.

    Attributes:
        spec: Its entry in the table.
        network: The module. The loader moves it between devices; nobody else does.
        bytes_per_pixel: Working memory per pixel of the network's input, in float32, as measured.
        needs_by_size: Whether that is what it takes at every `network_size`; else it may take much less.
        auto_dtypes: What "auto" may choose on devices that are fast in it, by the names of DTYPE_CHOICES, best first. In each of them the
            picture stays the same (benchmarks/families.py measures it). float32 comes last by itself.
        resampling: How its depth is brought to another size, "bilinear" or "bicubic", as its authors do.
        engine: What runs the network's `graph` in the place of torch; None = torch.
        input_size: Height and width of the network's input, whatever the image; None = as the steps before it decide.
    """

    bytes_per_pixel: ClassVar[int] = 2000
    needs_by_size: ClassVar[bool] = True
    auto_dtypes: ClassVar[tuple[str, ...]] = ()
    resampling: ClassVar[str] = "bilinear"
    engine: Engine | None = None
    input_size: Size | None = None

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

    def preprocess_steps(self, size: int) -> Steps:
        """The steps from an image to the network's input, all but the normalisation of its values.

        Args:
            size: As in `estimate`; by default the height of the frame of the spec's `resizing`.
        """
        steps = self._preprocess_steps(size)
        return steps if self.input_size is None else for_one_size(steps, self.input_size)

    def _preprocess_steps(self, size: int) -> Steps:
        """The same for a network that takes images of any size."""
        resizing = self.spec.resizing
        return (Resize(resizing.rule(size, self.spec.multiple_of), resizing.resample),)

    def preprocess(self, images: Tensor, size: int | None) -> Tensor:
        """Runs the steps from images to the network's input.

        Args:
            images: As in `estimate`.
            size: As in `estimate`.

        Returns:
            (B, 3, h, w) in about [0, 1], h and w as `network_size` gives them.

        Raises:
            ValueError: As `checked_network_size`.
        """
        self.checked_network_size(images.shape[-2], images.shape[-1], size)
        for step in self.preprocess_steps(size or self.spec.default_size):
            images = step.apply(images)
        return images

    def preprocess_metadata(self, size: int) -> Metadata:
        """What an exported file says of the steps to its inputs: those of `preprocess_steps`, and where further inputs come from."""
        return [step.metadata() for step in self.preprocess_steps(size)]

    def postprocess_metadata(self) -> Metadata:
        """What an exported file says of the steps from its outputs to maps of the image's size."""
        return [*self._least_depth_metadata(), resize_to_image(self.resampling)]

    def _least_depth_metadata(self) -> Metadata:
        """What an exported file says of what `_in_front` does."""
        if self.spec.quantity is not Quantity.METRIC_DEPTH:
            return []
        return [limit_depth(self._least_depth(), unit="m" if self.spec.in_metres else "of the output's unit")]

    def network_size(self, height: int, width: int, size: int) -> Size:
        """(height, width) of the network's input for images of height x width; `size` as in `preprocess_steps`."""
        return size_after(self.preprocess_steps(size), height, width)

    def for_input_size(self, height: int, width: int) -> Annotator:
        """The same network, whose input has one size whatever the image, as a file or an engine that was made for it."""
        other = copy.copy(self)
        other.input_size = (height, width)
        return other

    def with_resizing(self, resizing: Resizing) -> Annotator:
        """The same network with images resized by another frame; families whose steps are not by a frame keep them."""
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
            An estimate at the network's size, all maps float32 and finite, metric depth above 0 (`LEAST_METRES`).

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
        estimate = self.predict(self.preprocess(images, size))
        if self.input_size is None and self.spec.resizing.fit is not Fit.STRETCHED:
            return estimate
        # Normals that follow from a stretched map would lean. Resizing takes what is not finite or not positive for a hole.
        self._check_estimate(estimate)
        return self._in_front(estimate).resized(height, width, self.resampling)

    def checked_network_size(self, height: int, width: int, size: int | None) -> tuple[int, int]:
        """`network_size`; a ValueError where it is more than any machine holds, or where the picture is a mere line."""
        size = size or self.spec.default_size
        log_used_size(self.spec, size)
        net_height, net_width = self.network_size(height, width, size)
        if net_height * net_width > MAX_NETWORK_PIXELS:
            raise ValueError(
                f"a picture of {width}x{height} at resolution {size} makes {self.spec.id} run at {net_width}x{net_height}, "
                f"more than {MAX_NETWORK_PIXELS // 2**20} megapixels: {wording().lower_size} or crop the picture"
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
                f"or {wording().lower_size}"
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
        self._check_estimate(estimate)
        if fov:
            of_picture = intrinsics_from_fov(fov, height, width, batch=estimate.batch)
            intrinsics = resize_intrinsics(of_picture, (height, width), (estimate.height, estimate.width))
            estimate = self.for_camera(estimate, intrinsics.to(estimate.device))
        return self._in_front(estimate)

    def _in_front(self, estimate: Estimate) -> Estimate:
        """The estimate, whose metric depth is nowhere below `LEAST_METRES`, of an unknown unit `LEAST_UP_TO_SCALE`."""
        if estimate.depth is None or estimate.quantity is not Quantity.METRIC_DEPTH:
            return estimate
        return replace(estimate, depth=estimate.depth.clamp(min=self._least_depth()))

    def _least_depth(self) -> float:
        return LEAST_METRES if self.spec.in_metres else LEAST_UP_TO_SCALE

    def _check_estimate(self, estimate: Estimate) -> None:
        """Refuses an estimate that holds NaN or infinity."""
        self._check_finite({name: value for name in ("depth", "normals", "extrinsics") if (value := getattr(estimate, name)) is not None})

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


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that the device or the machine has no memory left."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in ("out of memory", "allocate memory"))
