"""Runs a model family, by torch or by another engine; checks the network's inputs and outputs."""

from __future__ import annotations

import copy
import functools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isfinite
from typing import Any

import torch
from torch import Tensor, nn

from ..geometry.camera import intrinsics_from_fov, resize_intrinsics
from ..geometry.estimate import Estimate
from ..geometry.kinds import ZERO_AT_CAMERA, Quantity
from ..utils import constant
from .choices import wording
from .family import Family, Progress, Request
from .graphs import NOT_NORMALISED, Engine, Graph, GraphModule
from .preprocessing.resizing import Fit, Resizing, Size
from .preprocessing.steps import Metadata, Steps, for_one_size, limit_depth, resize_to_image, size_after
from .specs.base import ModelSpec

logger = logging.getLogger(__name__)

MAX_NETWORK_PIXELS = 64 * 2**20
MAX_ASPECT = 1000
"""The largest aspect ratio of an image. Beyond it, rounding of the shorter side would dominate the input."""

LEAST_METRES, LEAST_UP_TO_SCALE = 0.01, 1e-6
"""Lower bounds of metric depth in an estimate: in metres, and where the unit is unknown.

A prediction at or behind the camera (a ReLU's 0, a cubic's undershoot) means near, not a hole: holes are marked by the mask.
Photographs show nothing nearer than a centimetre, and its 1 / depth of 100 still leaves other pixels a share of the range.
Without a unit, a typical depth is about 1; `depth_to_normals`, too, ignores depths below a millionth of the median.
"""


def check_finite(spec: ModelSpec, network: nn.Module, maps: Mapping[str, Tensor]) -> None:
    """Raises an ArithmeticError, which names the first such map and the network's dtype, if maps hold NaN or infinity."""
    check_ends(spec, network, dict(zip(maps, ends_of(maps).tolist(), strict=True)))  # synchronises a GPU, after all work is queued


def ends_of(maps: Mapping[str, Tensor]) -> Tensor:
    """(N, 2): minimum and maximum of each map, both NaN if it contains NaN. One pass, no map-sized temporaries."""
    return torch.stack([end for value in maps.values() for end in value.aminmax()]).view(-1, 2)


def check_ends(spec: ModelSpec, network: nn.Module, ends: Mapping[str, Sequence[float]]) -> None:
    """`check_finite` for values of `ends_of` that the caller fetched along with others."""
    name = next((name for name, pair in ends.items() if not all(map(isfinite, pair))), "")
    if not name:
        return
    dtype = next(network.parameters()).dtype
    remedy = "check the weights file" if dtype == torch.float32 else "use float32, or check the weights file"
    raise ArithmeticError(f"{spec.id} in {dtype} gave {name} that is not finite: {remedy}")


def least_depth(spec: ModelSpec) -> float:
    """The least metric depth in a model's estimates."""
    return LEAST_METRES if spec.quantity is Quantity.METRIC_DEPTH else LEAST_UP_TO_SCALE


def other_size(spec: ModelSpec, size: int | None) -> str:
    """A message if a model cannot run at the requested size, else empty."""
    if not size or (used := spec.used_size(size)) == size:
        return ""
    which = "only one" if spec.smallest_size == spec.largest_size else "largest" if size > used else "smallest"
    return f"{spec.id} runs at size {used}, its {which}, in place of {size}"


def log_used_size(spec: ModelSpec, size: int) -> None:
    """Warns once per size if a model cannot run at the requested size."""
    if words := other_size(spec, size):
        _log_once(words)


@functools.lru_cache(maxsize=64)
def _log_once(text: str) -> None:
    logger.warning(text)


_LIBRARIES = ("transformers", "diffusers")
_OUT_OF_MEMORY = ("out of memory", "allocate memory", "bad_alloc", "cublas_status_alloc_failed", "cudnn_status_alloc_failed")


class Annotator(Family):
    """A family and the code that runs its network: from a batch of images to an `Estimate`.

    A family that needs one pass of its network overrides nothing here; one that needs several overrides `infer` or `infer_resized`.
    """

    default_options: Any = None
    """Options, of the family's `options_type`, of calls that pass none; None = that type's defaults."""
    engine: Engine | None = None
    """Runs the network's `graph` instead of torch; None = torch."""
    input_size: Size | None = None
    """Fixed height and width of the network's input; None = from `preprocess`."""

    # From images to an estimate

    def estimate(
        self,
        images: Tensor,
        size: int | None = None,
        *,
        fov: float = 0.0,
        options: Any = None,
        progress: Progress | None = None,
        normals: bool = True,
        sharp: bool = False,
        fetched: int = 0,
    ) -> Estimate:
        """Estimates a batch of images.

        Args:
            images: (B, 3, H, W) float32 RGB in [0, 1], on the network's device.
            size: As in `network_size`; None = the spec's default.
            fov: Field of view along the longer side, in degrees, in (0, 180); 0 = unknown.
            options: Of the family's `options_type`; None = its defaults.
            progress: Called with (passes done, total passes) by families that need several per image; its exceptions end the work.
            normals, sharp: As in `Request`.
            fetched: Estimates of at most this many pixels are copied to the CPU before they are checked, for callers that continue
                there. The GPU is then synchronised only once.

        Returns:
            An estimate at the network's size; all maps are float32 and finite, metric depth is positive (`LEAST_METRES`).

        Raises:
            ValueError: The network's input would exceed MAX_NETWORK_PIXELS, or `fov` is out of range.
            TypeError: Options of another family, or of any where the family has none.
            ArithmeticError: The network returned NaN or infinity.
        """
        options = self._checked_options(options)
        height, width = images.shape[-2:]
        self.checked_network_size(height, width, size)
        request = Request(images, size or self.spec.default_size, fov, options, progress, normals, sharp)
        estimate = self.infer(request)
        if estimate.height * estimate.width <= fetched:
            estimate = estimate.to("cpu")
        return self._finished(estimate, height, width, fov)

    def estimate_scene(self, images: Tensor, size: int | None = None, *, fov: float = 0.0, progress: Progress | None = None) -> Estimate:
        """Estimates images in one batch, as views of one static scene.

        Args:
            images, size, fov, progress: As in `estimate`; the views, in any order, share one camera.

        Returns:
            An estimate as from `estimate`, with intrinsics and extrinsics. Depth has one scale for all views and is 0 at each camera.
            Depth and extrinsics share a unit: metres, or unknown for scale-invariant models.

        Raises:
            ValueError: The network handles each image by itself, or the views exceed MAX_NETWORK_PIXELS in total.
            ArithmeticError: As for `estimate`.
        """
        if not self.sees_scenes(self.spec):
            raise ValueError(f"{self.spec.id} processes each image by itself, not several as views of one scene")
        height, width = images.shape[-2:]
        self.check_scene(len(images), height, width, size)
        return self._finished(self.infer_scene(Request(images, size or self.spec.default_size, fov, progress=progress)), height, width, fov)

    def infer(self, request: Request) -> Estimate:
        """The raw estimate at the network's size, or at the images' own if the network's input has another aspect."""
        return self.unstretched(self.infer_resized(self.resize_images(request.images, request.size), request), request)

    def unstretched(self, estimate: Estimate, request: Request) -> Estimate:
        """Resizes a raw estimate to the images' size if the network's input has another aspect."""
        stretched = self.input_size is not None or self.spec.resizing.fit is Fit.STRETCHED
        if self.undoes_stretching or not stretched:
            return estimate
        # Normals derived from a stretched map would be tilted. Resizing hides values that are not finite, except those of a single map on a
        # GPU, where the result is checked.
        if estimate.device.type == "cpu" or len(estimate.maps) > 1 or estimate.quantity in ZERO_AT_CAMERA:
            self._check_estimate(estimate)
        return self._clamped(estimate).resized(*request.image_size, self.resampling, checked=True)

    def infer_resized(self, pixels: Tensor, request: Request | None = None) -> Estimate:
        """The raw estimate of images at the network's size, by one pass of the network.

        Args:
            pixels: (B, 3, h, w) float32 RGB in [0, 1] on the network's device; h and w from `network_size`.
            request: The request that `pixels` come from; None = they are the images themselves.
        """
        request = request or self._request_of(pixels)
        outputs = self.run_network(self.normalised(pixels), self.scalar_inputs(request))
        return self.postprocess(outputs, request)

    def infer_scene(self, request: Request) -> Estimate:
        """The raw estimate of views of one scene; for families with `sees_scenes`."""
        raise NotImplementedError(f"{type(self).__name__} names scenes that it does not estimate")

    def _request_of(self, images: Tensor) -> Request:
        """The request of images with all defaults."""
        return Request(images, self.spec.default_size, options=self._checked_options(None))

    def _checked_options(self, options: Any) -> Any:
        options_type = self.options_type
        if options is None:
            return options_type() if options_type is not None and self.default_options is None else self.default_options
        if options_type is None:
            raise TypeError(f"{self.spec.id} takes no options; found {type(options).__name__}")
        if type(options) is not options_type:
            raise TypeError(f"{self.spec.id} takes {options_type.__name__}; found {type(options).__name__}")
        return options

    def _finished(self, estimate: Estimate, height: int, width: int, fov: float) -> Estimate:
        """Checks a raw estimate, applies the camera and clamps depth. Images have square pixels; network inputs only nearly so."""
        self._check_estimate(estimate)
        if fov:
            of_image = intrinsics_from_fov(fov, height, width, batch=estimate.batch)
            intrinsics = resize_intrinsics(of_image, (height, width), (estimate.height, estimate.width))
            estimate = self.for_camera(estimate, intrinsics.to(estimate.device))
        return self._clamped(estimate)

    def _check_estimate(self, estimate: Estimate) -> None:
        maps = {name: value for name in ("depth", "normals", "intrinsics", "extrinsics") if (value := getattr(estimate, name)) is not None}
        check_finite(self.spec, self.network, maps)

    def _clamped(self, estimate: Estimate) -> Estimate:
        """The estimate with metric depth clamped to [`least_depth`, the family's `max_depth`]."""
        if estimate.depth is None or estimate.quantity not in ZERO_AT_CAMERA:
            return estimate
        return replace(estimate, depth=estimate.depth.clamp(min=least_depth(self.spec), max=self.max_depth))

    # Sizes

    def preprocess_steps(self, size: int) -> Steps:
        """The steps from an image to the network's input; with a fixed `input_size` they end at that size."""
        steps = self.preprocess(size)
        return steps if self.input_size is None else for_one_size(steps, self.input_size)

    def resize_images(self, images: Tensor, size: int) -> Tensor:
        """Applies `preprocess_steps` to images (B, 3, H, W): (B, 3, h, w) in about [0, 1]."""
        for step in self.preprocess_steps(size):
            images = step.apply(images)
        return images

    def network_size(self, height: int, width: int, size: int) -> Size:
        """(height, width) of the network's input for images of this size; `size` as in `preprocess`."""
        return size_after(self.preprocess_steps(size), height, width)

    def checked_network_size(self, height: int, width: int, size: int | None) -> Size:
        """`network_size`, or a ValueError if the input is too large for any machine or the image's aspect is too extreme."""
        size = size or self.spec.default_size
        log_used_size(self.spec, size)
        rows, columns = self.network_size(height, width, size)
        if rows * columns > MAX_NETWORK_PIXELS:
            raise ValueError(
                f"an image of {width}x{height} at resolution {size} makes {self.spec.id} run at {columns}x{rows}, "
                f"more than {MAX_NETWORK_PIXELS // 2**20} megapixels: {wording().lower_size} or crop the image"
            )
        if max(height, width) > MAX_ASPECT * min(height, width):
            raise ValueError(
                f"an image of {width}x{height} has one side more than {MAX_ASPECT} times as long as the other: crop it, or cut it in pieces"
            )
        return rows, columns

    def check_scene(self, views: int, height: int, width: int, size: int | None) -> None:
        """Raises a ValueError as `checked_network_size`, or if the views of one scene exceed MAX_NETWORK_PIXELS in total."""
        rows, columns = self.checked_network_size(height, width, size)
        if views * rows * columns > MAX_NETWORK_PIXELS:
            raise ValueError(
                f"{views} views of one scene, which {self.spec.id} processes in one batch at {columns}x{rows} each, are more than "
                f"{MAX_NETWORK_PIXELS // 2**20} megapixels: give at most {MAX_NETWORK_PIXELS // (rows * columns)} views, "
                f"or {wording().lower_size}"
            )

    # What runs the network

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the network's first parameter."""
        return next(self.network.parameters()).dtype

    @property
    def shareable(self) -> bool:
        """Whether threads may share the network: those of transformers and diffusers cache per-image state."""
        return not any(type(module).__module__.partition(".")[0] in _LIBRARIES for module in self.network.modules())

    def normalised(self, pixels: Tensor) -> Tensor:
        """Pixels in [0, 1] as network inputs: normalised by the `signature`, then converted by `as_inputs`."""
        signature = self.signature()
        if (signature.mean, signature.std) == NOT_NORMALISED:
            return self.as_inputs(pixels)
        mean, std = (constant(pixels, tuple(value))[:, None, None] for value in (signature.mean, signature.std))
        return self.as_inputs((pixels - mean) / std)

    def as_inputs(self, pixels: Tensor) -> Tensor:
        """Pixels in the network's dtype and in channels-last memory; for an engine float32 and contiguous."""
        if self.engine is not None:
            return pixels.float().contiguous()
        return pixels.to(self.dtype, memory_format=torch.channels_last)

    def run_network(self, inputs: Tensor, scalar_inputs: Sequence[Any] = ()) -> tuple[Tensor, ...]:
        """The outputs of `predict`, or of the engine, which takes the `signature`'s scalars alone, for inputs as from `normalised`."""
        if self.engine is None:
            return self.predict(inputs, scalar_inputs)
        signature = self.signature()
        if signature.scalar_inputs is not None:
            used = scalar_inputs[: len(signature.scalar_inputs.example)]
            return self.engine(inputs, torch.stack([torch.full((), each, dtype=torch.float32, device=inputs.device) for each in used]))
        if not signature.one_image:
            return self.engine(inputs)
        return tuple(map(torch.cat, zip(*(self.engine(image) for image in inputs.split(1)), strict=True)))

    def graph(self) -> Graph:
        """The network as one function, for exporters and engines; raises a ValueError with the reason if it has none."""
        if why := self.why_no_graph(self.spec):
            raise ValueError(f"{self.spec.id} has no graph: {why}")
        module = GraphModule(self.network, self.predict, self.dtype)
        return Graph(**vars(self.signature()), module=module, multiple_of=self.spec.multiple_of)

    def with_engine(self, engine: Engine | None) -> Annotator:
        """A copy that runs its `graph` by an engine; None = by torch."""
        return self._with(engine=engine)

    def for_input_size(self, height: int, width: int) -> Annotator:
        """A copy with a fixed input size, as of an exported file or a compiled engine."""
        return self._with(input_size=(height, width))

    def with_options(self, options: Any) -> Annotator:
        """A copy with other default options; raises a TypeError as `estimate`."""
        return self._with(default_options=self._checked_options(options))

    def with_resizing(self, resizing: Resizing) -> Annotator:
        """A copy with another `resizing`; families whose `preprocess` ignores it do not change."""
        return self._with(spec=replace(self.spec, resizing=resizing))

    def _with(self, **attributes: Any) -> Annotator:
        other = copy.copy(self)
        vars(other).update(attributes)
        return other

    # Metadata of exported files

    def preprocess_metadata(self, size: int) -> Metadata:
        """The steps to the network's inputs, as metadata of an exported file."""
        scalar_inputs = self.signature().scalar_inputs
        steps = [step.metadata() for step in self.preprocess_steps(size)]
        return steps if scalar_inputs is None else [*steps, dict(scalar_inputs.step)]

    def postprocess_metadata(self) -> Metadata:
        """The steps from the network's outputs to maps at image size, as metadata of an exported file."""
        signature = self.signature()
        unit = "m" if self.spec.quantity is Quantity.METRIC_DEPTH else "of the output's unit"
        limit = [limit_depth(least_depth(self.spec), unit=unit)] if self.spec.quantity in ZERO_AT_CAMERA else []
        resize = [] if signature.at_image_size else [resize_to_image(self.resampling)]
        return [*signature.afterwards, *limit, *resize]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that the device or the machine ran out of memory."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and says_out_of_memory(error)  # not ValueError: its message may quote a file name


def says_out_of_memory(error: BaseException) -> bool:
    """Whether an exception's message, whatever its type, reports exhausted memory: engines raise their own types."""
    message = str(error).lower()
    return any(words in message for words in _OUT_OF_MEMORY)
