"""DSINE: normals from one picture and its field of view.

Source:
    Bae and Davison, "Rethinking Inductive Biases for Surface Normal Estimation" (2024), code baegwangbin/DSINE.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..geometry.camera import crop_intrinsics, intrinsics_from_fov, resize_intrinsics
from ..geometry.checks import check_range
from ..geometry.estimate import Axes, Estimate
from .base import Annotator, ModelSpec, Progress, fill
from .graph import Graph, Numbers, normals_output
from .networks.dsine import DSINE, MULTIPLE, Pinhole
from .networks.names import StateDict
from .resizing import Size
from .steps import Metadata, Pad, Resize, Steps, crop

FALLBACK_FOV = 60.0
"""Degrees on the longer side that the authors assume where the camera is not known."""
MAX_ITERATIONS = 20
_BORDER = Pad((0.0, 0.0, 0.0), multiple_of=MULTIPLE)
_OLD_MULTIPLE = 64
_CAMERA = Numbers(
    "camera", "(4,): fx, fy, cx, cy in pixels of the input; the centre of the first pixel is (0, 0)", (500.0, 500.0, 319.5, 239.5)
)


@dataclass(frozen=True)
class DsineOptions:
    """What can be chosen anew for each picture.

    Attributes:
        iterations: Passes in which normals are turned by their neighbours; trained with 5.
        old_camera: The network is told of the camera what comfyui_controlnet_aux told it, instead of the true one: the focal length in
            pixels of the picture before it was resized, and a middle that lies elsewhere. The picture is filled up as there, too.

    Raises:
        ValueError: A value outside its range.
    """

    iterations: int = 5
    old_camera: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.iterations, int):
            raise ValueError(f"iterations is {self.iterations!r}; accepted: whole numbers from 1 to {MAX_ITERATIONS}")
        check_range("iterations", self.iterations, 1, MAX_ITERATIONS)


class _Frame(NamedTuple):
    """How a picture lies in the network's input: black pixels added on each side, and the camera of the whole."""

    left: int
    right: int
    top: int
    bottom: int
    camera: Pinhole


class DsineAnnotator(Annotator):
    """DSINE.

    Its `size` is the shorter side of the picture that the network sees, which the authors neither round nor stretch: black is added
    around it, up to multiples of 32, and taken off again.

    Convention:
        Normals in SCANNET axes. A field of view that is not given is taken as FALLBACK_FOV, and not noted in the estimate.
    """

    bytes_per_pixel = 800

    @classmethod
    def build(cls, spec: ModelSpec, states: Mapping[str, StateDict], dtype: torch.dtype) -> DsineAnnotator:
        """See `Annotator.build`."""
        with torch.device("meta"):
            network = DSINE(spec.config)
        fill(network, DSINE.from_official(states["network"]), f"not a checkpoint of {spec.id}")
        network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]  torch's stubs lack it
        return cls(spec, network.to(dtype))

    def _preprocess_steps(self, size: int) -> Steps:
        """See `Annotator.preprocess_steps`: short side `size`, neither rounded nor stretched, in a black border."""
        return Resize(self.spec.resizing.rule(size, 1), self.spec.resizing.resample), _BORDER

    def preprocess_metadata(self, size: int) -> Metadata:
        """See `Annotator.preprocess_metadata`."""
        words = (
            "fx, fy, cx, cy of the input in pixels, the centre of the first pixel at (0, 0): those of a camera whose longer side spans fov "
            "degrees (the camera's own if it is known) and whose axis goes through the image's middle, resized and padded with the image"
        )
        return [*super().preprocess_metadata(size), {"step": "camera", "input": _CAMERA.name, "fov": FALLBACK_FOV, "means": words}]

    def postprocess_metadata(self) -> Metadata:
        """See `Annotator.postprocess_metadata`."""
        return [crop(), *super().postprocess_metadata()]

    def network_size(self, height: int, width: int, size: int) -> Size:
        """See `Annotator.network_size`: without the black border, which depends on `DsineOptions`."""
        return self.preprocess_steps(size)[0].size(height, width)

    def estimate(
        self,
        images: Tensor,
        size: int | None = None,
        *,
        fov: float = 0.0,
        options: DsineOptions | None = None,
        progress: Progress | None = None,
    ) -> Estimate:
        """See `Annotator.estimate`; `options` None = the defaults of `DsineOptions`."""
        if options is not None and not isinstance(options, DsineOptions):
            raise TypeError(f"{self.spec.id} takes DsineOptions; found {type(options).__name__}")
        estimate = self._seen(images, size, fov, options or DsineOptions())
        return self._finished(estimate, images.shape[-2], images.shape[-1], fov)

    def run(self, images: Tensor, size: int | None) -> Estimate:
        """See `Annotator.run`."""
        return self._seen(images, size, 0.0, DsineOptions())

    def predict(self, pixels: Tensor) -> Estimate:
        """See `Annotator.predict`."""
        sides = pixels.shape[-2], pixels.shape[-1]
        return self._framed(pixels, _frame(FALLBACK_FOV, sides, sides), DsineOptions().iterations)

    def network_outputs(self, given: Tensor, numbers: Sequence[Any] = ()) -> tuple[Tensor, ...]:
        """See `Annotator.network_outputs`."""
        return (self.network(given, Pinhole(*numbers), DsineOptions().iterations),)

    def graph(self) -> Graph:
        """See `Annotator.graph`."""
        return self._graph(normals_output(Axes.SCANNET), numbers=_CAMERA)

    def _seen(self, images: Tensor, size: int | None, fov: float, options: DsineOptions) -> Estimate:
        picture = images.shape[-2], images.shape[-1]
        seen = self.checked_network_size(*picture, size)
        frame = (_old_frame if options.old_camera else _frame)(fov or FALLBACK_FOV, picture, seen)
        return self._framed(self.preprocess_steps(size or self.spec.default_size)[0].apply(images), frame, options.iterations)

    def _framed(self, pixels: Tensor, frame: _Frame, iterations: int) -> Estimate:
        """The normals of pictures at the network's size."""
        *margins, camera = frame
        given = self.normalised(F.pad(pixels, margins))
        if iterations == DsineOptions().iterations:
            (normals,) = self.outputs(given, camera)
        else:  # of which the graph knows nothing
            normals = self.network(self.with_engine(None).given(given), camera, iterations)
        height, width = pixels.shape[-2:]
        return Estimate(normals=normals[..., frame.top : frame.top + height, frame.left : frame.left + width], axes=Axes.SCANNET)


def _frame(fov: float, picture: tuple[int, int], seen: tuple[int, int]) -> _Frame:
    """As the authors: the picture lies in the middle, and the camera is the one that took it.

    Args:
        fov: Degrees on the longer side.
        picture: (height, width).
        seen: (height, width) at which the network sees it.
    """
    margins = _BORDER.margins(*seen)
    intrinsics = resize_intrinsics(intrinsics_from_fov(fov, *picture), picture, seen)
    return _Frame(*margins, _pinhole(crop_intrinsics(intrinsics, -margins.left, -margins.top)))


def _old_frame(fov: float, picture: tuple[int, int], seen: tuple[int, int]) -> _Frame:
    """As comfyui_controlnet_aux: the picture lies at the upper left, and the camera is that of the picture before it was resized."""
    rows, columns = (-side % _OLD_MULTIPLE for side in seen)
    top, left = (-side % _OLD_MULTIPLE // 2 for side in picture)
    return _Frame(0, columns, 0, rows, _pinhole(crop_intrinsics(intrinsics_from_fov(fov, *picture), -left, -top)))


def _pinhole(intrinsics: Tensor) -> Pinhole:
    (fx, _, cx), (_, fy, cy), _ = intrinsics[0].tolist()
    return Pinhole(fx, fy, cx, cy)
