"""Depth Pro: sharp metric depth and the camera's field of view from one image.

Source:
    Bochkovskii et al., "Depth Pro: Sharp Monocular Metric Depth in Less Than a Second" (2024), code apple/ml-depth-pro.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..geometry.camera import centred_intrinsics, intrinsics_from_fov
from ..geometry.estimate import Estimate
from ..geometry.valid import are_finite
from ..utils import constant
from .base import Annotator
from .family import Request, counted
from .graphs import Signature
from .networks.depth_pro import PASSES, DepthPro
from .preprocessing.resizing import Fixed, linear
from .preprocessing.steps import Resize, Steps
from .specs.base import HALF

MAX_DEPTH = 1e4
"""The authors' upper clamp, in metres; the sky is there."""
_FOV_RANGE = (1.0, 179.0)
"""Degrees to which the predicted field of view is clamped."""


class DepthProAnnotator(Annotator):
    """Depth Pro.

    The network has one input size, 1536 x 1536 pixels, to which every image is stretched; `size` has no effect.

    Convention:
        Depth in metres at image size, and intrinsics, for the predicted or the known field of view. Depth is proportional to the focal
        length. As by the authors, the inverse depth is resampled before it is inverted.
    """

    bytes_per_pixel = 1800
    network_class = DepthPro
    tensors = r"^(encoder\.upsample_latent0|depth_pro)\."
    no_graph = "its depth depends on a field of view that it finds beside it, which exported files do not describe"
    auto_dtypes = ("float16",)
    max_depth = MAX_DEPTH
    undoes_stretching = True

    def preprocess(self, size: int) -> Steps:
        side = self.spec.config.side
        return (Resize(Fixed(side, side), linear),)

    def scalar_inputs(self, request: Request) -> tuple[Any, ...]:
        """See `Family.scalar_inputs`: the callback that reports progress after each batch of passes."""
        return (counted(request.progress, PASSES * len(request.images)),)

    def predict(self, inputs: Tensor, scalar_inputs: Sequence[Any] = ()) -> tuple[Tensor, ...]:
        return self.network(inputs, *scalar_inputs)

    def postprocess(self, outputs: tuple[Tensor, ...], request: Request) -> Estimate:
        inverse_depth, fov = outputs
        height, width = request.image_size
        if request.fov:
            focal_length = intrinsics_from_fov(request.fov, height, width)[:, 0, 0].to(fov.device)
        else:
            focal_length = 0.5 * width / torch.tan(0.5 * torch.deg2rad(fov.clamp(*_FOV_RANGE)))
        inverse_depth = linear(inverse_depth * (width / focal_length)[:, None, None, None], height, width)
        depth = inverse_depth.clamp(min=1 / MAX_DEPTH).reciprocal_()
        # Keeps non-finite values, which the clamp would hide, for the later check.
        depth = torch.where(are_finite(inverse_depth), depth, constant(depth, math.nan))
        focal_length = focal_length.nan_to_num(width).expand(len(depth))
        return Estimate(depth, self.spec.quantity, intrinsics=centred_intrinsics(focal_length, focal_length, height, width))

    def signature(self) -> Signature:
        outputs = {
            "inverse_depth": "1 / metres along the optical axis for a focal length of the image's width in pixels",
            "fov": "(B,): degrees that the image's width spans",
        }
        return Signature(outputs, mean=HALF, std=HALF, dynamic_size=False, at_image_size=True)
