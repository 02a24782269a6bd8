"""Metric3D v2: metric depth and normals from one image.

Source:
    Hu et al., "Metric3D v2: A Versatile Monocular Geometric Foundation Model" (2024), code YvanYin/Metric3D.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from ..geometry.camera import DEFAULT_FOV, intrinsics_from_fov, resize_intrinsics
from ..geometry.estimate import Axes, Estimate, Quantity
from .base import Annotator
from .family import Request
from .graphs import Signature, normals_output
from .networks.metric3d import Metric3d
from .preprocessing.resizing import Inside, linear, round_to_multiple
from .preprocessing.steps import CROP, Pad, Resize, limit_depth, scale_by_focal_length

CANONICAL_FOCAL_LENGTH = 1000.0
"""Focal length in pixels, at the network's size, for which the network's output is in metres."""
MAX_DEPTH = 300.0
"""The authors' upper clamp, in metres."""
_ASPECT = 38 / 22
_PADDING = (124 / 255, 116 / 255, 104 / 255)  # ImageNet's mean, rounded as in the authors' 8-bit images


class Metric3dAnnotator(Annotator):
    """Metric3D v2.

    Its `size` is the height of the network's input: 616 x 1064 pixels, according to the authors the only size that the networks were
    trained for. Images are fitted into that frame, aspect kept, and padded with grey; a portrait fills a third to a half of it.

    Convention:
        Depth in metres for the known field of view, else for `geometry.camera.DEFAULT_FOV` along the longer side, as in the estimate's
        intrinsics; it is proportional to the focal length. Normals in OPENCV axes. Confidence is the depth's: 1 minus the relative error
        that the network predicts.
    """

    network_class = Metric3d
    max_depth = MAX_DEPTH
    undoes_stretching = True

    def preprocess(self, size: int) -> tuple[Resize, Pad]:
        """See `Family.preprocess`: the image is fitted into the frame and padded with ImageNet's mean colour."""
        frame = round_to_multiple(size, self.spec.multiple_of), round_to_multiple(size * _ASPECT, self.spec.multiple_of)
        return Resize(Inside(*frame), linear), Pad(_PADDING, *frame)

    def predict(self, inputs: Tensor, scalar_inputs: Sequence[Any] = ()) -> tuple[Tensor, ...]:
        return self.network(inputs)[:3]

    def postprocess(self, outputs: tuple[Tensor, ...], request: Request) -> Estimate:
        """See `Family.postprocess`. Crops the padding and converts metres from the canonical to the assumed camera."""
        height, width = request.image_size
        resize, pad = self.preprocess_steps(request.size)
        assert isinstance(resize, Resize) and isinstance(resize.rule, Inside) and isinstance(pad, Pad)
        rows, columns = resize.size(height, width)
        left, _, top, _ = pad.margins(rows, columns)
        depth, confidence, normals = (each[..., top : top + rows, left : left + columns].contiguous() for each in outputs)
        camera = intrinsics_from_fov(DEFAULT_FOV, height, width, batch=len(depth))
        metres = (camera[:, 0, 0] * (resize.rule.scale(height, width) / CANONICAL_FOCAL_LENGTH)).to(depth.device)
        intrinsics = resize_intrinsics(camera, (height, width), (rows, columns)).to(depth.device)
        depth = depth * metres[:, None, None, None]
        kinds = {"quantity": Quantity.METRIC_DEPTH, "axes": Axes.OPENCV}
        return Estimate(depth, normals=normals, confidence=confidence, intrinsics=intrinsics, **kinds)

    def signature(self) -> Signature:
        outputs = {
            "metric_depth": f"metres along the optical axis for a focal length of {CANONICAL_FOCAL_LENGTH:g} pixels of the input",
            "confidence": "of the depth: 1 less the relative error that the network expects",
            **normals_output(Axes.OPENCV),
        }
        scale = scale_by_focal_length(DEFAULT_FOV, CANONICAL_FOCAL_LENGTH, "image")
        return Signature(outputs, afterwards=[CROP, scale, limit_depth(most=MAX_DEPTH)])

    def for_camera(self, estimate: Estimate, intrinsics: Tensor) -> Estimate:
        """See `Family.for_camera`. Depth is proportional to the focal length."""
        assert estimate.depth is not None and estimate.intrinsics is not None
        ratio = intrinsics[:, 0, 0] / estimate.intrinsics[:, 0, 0]
        return replace(super().for_camera(estimate, intrinsics), depth=estimate.depth * ratio[:, None, None, None])
