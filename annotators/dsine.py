"""DSINE: normals from one image and its field of view.

Source:
    Bae and Davison, "Rethinking Inductive Biases for Surface Normal Estimation" (2024), code baegwangbin/DSINE.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from ..geometry.camera import crop_intrinsics, intrinsics_from_fov, resize_intrinsics
from ..geometry.estimate import Axes, Estimate
from ..options.checks import check_whole, checked_switch
from ..options.legacy import DEFAULT_ITERATIONS, MAX_ITERATIONS
from .base import Annotator
from .family import Request
from .graphs import ScalarInputs, Signature
from .networks.dsine import DSINE, MULTIPLE, Pinhole
from .preprocessing.resizing import Size
from .preprocessing.steps import CROP, Margins, Pad, Resize, Steps

FALLBACK_FOV = 60.0
"""Degrees along the longer side that the authors assume for an unknown camera."""
_BORDER = Pad((0.0, 0.0, 0.0), multiple_of=MULTIPLE)
_OLD_MULTIPLE = 64
_CAMERA = "camera"


@dataclass(frozen=True)
class DsineOptions:
    """Options of one call.

    Attributes:
        iterations: Passes in which neighbours rotate each other's normals; trained with 5.
        old_camera: Whether to pass comfyui_controlnet_aux's camera instead of the true one: the focal length in pixels of the image before
            resizing, and another principal point. The padding is also as there.

    Raises:
        ValueError: A value outside its range.
    """

    iterations: int = DEFAULT_ITERATIONS
    old_camera: bool = False

    def __post_init__(self) -> None:
        check_whole("iterations", self.iterations, 1, MAX_ITERATIONS)
        checked_switch("old_camera", self.old_camera)


class DsineAnnotator(Annotator):
    """DSINE.

    Its `size` is the shorter side of the resized image, which the authors neither round nor stretch: it is padded with black to multiples
    of 32, and cropped again.

    Convention:
        Normals in SCANNET axes. An unknown field of view is assumed to be FALLBACK_FOV, without recording it in the estimate.
    """

    bytes_per_pixel = 800
    network_class = DSINE
    options_type = DsineOptions

    def preprocess(self, size: int) -> Steps:
        """See `Family.preprocess`: shorter side `size`, neither rounded nor stretched, padded with black."""
        return Resize(self.spec.resizing.rule(size, 1), self.spec.resizing.resample), _BORDER

    def predict(self, inputs: Tensor, scalar_inputs: Sequence[Any] = ()) -> tuple[Tensor, ...]:
        return (self.network(inputs, Pinhole(*scalar_inputs), DsineOptions().iterations),)

    def infer(self, request: Request) -> Estimate:
        """See `Annotator.infer`. Padding follows later, as it depends on the options."""
        return self.infer_resized(self.preprocess_steps(request.size)[0].apply(request.images), request)

    def infer_resized(self, pixels: Tensor, request: Request | None = None) -> Estimate:
        request = request or self._request_of(pixels)
        frame_of, iterations = _old_frame if request.options.old_camera else _frame, request.options.iterations
        height, width = pixels.shape[-2:]
        margins, camera = frame_of(request.fov or FALLBACK_FOV, request.image_size, (height, width))
        padded = F.pad(pixels, margins)
        if iterations == DsineOptions().iterations:
            (normals,) = self.run_network(self.normalised(padded), camera)
        else:  # the graph has a fixed number of iterations
            normals = self.network(self.with_engine(None).normalised(padded), camera, iterations)
        return Estimate(normals=normals[..., margins.top : margins.top + height, margins.left : margins.left + width], axes=Axes.SCANNET)

    def network_size(self, height: int, width: int, size: int) -> Size:
        """See `Annotator.network_size`: without the padding, which depends on `DsineOptions`."""
        return self.preprocess_steps(size)[0].size(height, width)

    def signature(self) -> Signature:
        words = (
            "fx, fy, cx, cy of the input in pixels, the centre of the first pixel at (0, 0): those of a camera whose longer side spans fov "
            "degrees (the camera's own if it is known) and whose axis goes through the image's middle, resized and padded with the image"
        )
        camera = ScalarInputs(
            _CAMERA,
            "(4,): fx, fy, cx, cy in pixels of the input; the centre of the first pixel is (0, 0)",
            example=(500.0, 500.0, 319.5, 239.5),
            step={"step": "camera", "input": _CAMERA, "fov": FALLBACK_FOV, "means": words},
        )
        return Signature.of(self.spec, scalar_inputs=camera, afterwards=[CROP])


def _frame(fov: float, image: Size, resized: Size) -> tuple[Margins, Pinhole]:
    """The black padding, and the camera of the whole, as by the authors: the image is centred, with its true camera."""
    margins = _BORDER.margins(*resized)
    intrinsics = resize_intrinsics(intrinsics_from_fov(fov, *image), image, resized)
    return margins, _pinhole(crop_intrinsics(intrinsics, -margins.left, -margins.top))


def _old_frame(fov: float, image: Size, resized: Size) -> tuple[Margins, Pinhole]:
    """`_frame` as in comfyui_controlnet_aux: the image is at the upper left, with the camera of the image before resizing."""
    rows, columns = (-side % _OLD_MULTIPLE for side in resized)
    top, left = (-side % _OLD_MULTIPLE // 2 for side in image)
    return Margins(0, columns, 0, rows), _pinhole(crop_intrinsics(intrinsics_from_fov(fov, *image), -left, -top))


def _pinhole(intrinsics: Tensor) -> Pinhole:
    (fx, _, cx), (_, fy, cy), _ = intrinsics[0].tolist()
    return Pinhole(fx, fy, cx, cy)
