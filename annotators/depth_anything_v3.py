"""Depth Anything 3: depth with sky, metric depth, or depth with confidence and the camera, of one image or of several of one scene.

Source:
    Lin et al., "Depth Anything 3" (2025), code ByteDance-Seed/Depth-Anything-3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..geometry.camera import DEFAULT_FOV, intrinsics_from_focal_length, intrinsics_from_fov
from ..geometry.estimate import Estimate
from .depth_anything import DinoAnnotator
from .family import Request
from .graphs.graph import Signature
from .networks.depth_anything import DepthAnything3, Prediction
from .preprocessing.kernels import by_area, cubic_or_area
from .preprocessing.resizing import LongSide
from .preprocessing.steps import Resize, Steps, scale_by_focal_length
from .specs.base import ModelSpec

CANONICAL_FOCAL_LENGTH = 300.0
"""Focal length in pixels, at the network's size, at which the metric network's output is in metres."""
_SKY_FROM = 0.3
_SKY_QUANTILE = 0.99
_SKY_LEAST_PIXELS = 10
_SKY_SAMPLES = 100_000
_OUTPUTS = {
    "depth": "depth, large = far, unknown scale; of the metric network metres for a focal length of 300 pixels of its input",
    "sky": "above 0.3 where the sky is",
    "confidence": "of the depth, at least 1, large = sure",
    "fov": "(B, 2) radians, vertical and horizontal",
}


class DepthAnything3Annotator(DinoAnnotator):
    """Depth Anything 3, each image by itself; `small`, `base` and `large` also a batch as views of one scene.

    Convention:
        Depth, large = far. `mono`: relative depth. `small`, `base`, `large`: metric depth up to scale. `metric`: metres for a camera whose
        longer side spans `geometry.camera.DEFAULT_FOV`, as the estimate's intrinsics state; where the field of view is known, metres for
        that. Sky is masked out (mask False) and as far as the farthest hundredth of the rest. `small`, `base` and `large` also estimate
        the camera; of a scene, they estimate depth up to one scale for all views, and the cameras' poses.
    """

    network_class = DepthAnything3

    @classmethod
    def sees_scenes(cls, spec: ModelSpec) -> bool:
        """See `Family.sees_scenes`. `small`, `base` and `large` do."""
        return spec.config.vit.alternating_from is not None

    def preprocess(self, size: int) -> Steps:
        """See `Family.preprocess`. As the authors do, the longer side is first made `size`, then both sides are rounded."""
        return Resize(LongSide(size, 1), by_area), Resize(LongSide(size, self.spec.multiple_of), cubic_or_area)

    def predict(self, inputs: Tensor, scalar_inputs: Sequence[Any] = ()) -> tuple[Tensor, ...]:
        prediction = self.network(inputs)
        return tuple(getattr(prediction, name) for name in self._output_names())

    def postprocess(self, outputs: tuple[Tensor, ...], request: Request) -> Estimate:
        found = dict(zip(self._output_names(), outputs, strict=True))
        return self._to_estimate(Prediction(found["depth"], found.get("sky"), found.get("confidence"), found.get("fov")))

    def infer_scene(self, request: Request) -> Estimate:
        """See `Annotator.infer_scene`. The world is about the reference view's camera; the network chooses that view."""
        pixels = self.resize_images(request.images, request.size)
        prediction = self.network(self.with_engine(None).normalised(pixels), one_scene=True)
        return replace(self._to_estimate(prediction), extrinsics=_extrinsics(prediction.pose))

    def signature(self) -> Signature:
        words = (
            f"the mask is where the output sky is below {_SKY_FROM}; where more than {_SKY_LEAST_PIXELS} pixels are inside it and as many "
            f"outside, those outside are as far as the {_SKY_QUANTILE} quantile of those inside"
        )
        sky = {"step": "sky", "below": _SKY_FROM, "quantile": _SKY_QUANTILE, "least_pixels": _SKY_LEAST_PIXELS, "samples": _SKY_SAMPLES}
        steps = [{**sky, "means": words}] if self.spec.config.dpt.sky else []
        if self.spec.in_metres:
            steps.append(scale_by_focal_length(DEFAULT_FOV, CANONICAL_FOCAL_LENGTH, "input"))
        return Signature({name: _OUTPUTS[name] for name in self._output_names()}, afterwards=steps)

    def _output_names(self) -> tuple[str, ...]:
        """The network's outputs, by their names in `_OUTPUTS`."""
        camera = ("fov",) if self.sees_scenes(self.spec) else ()
        dpt = self.spec.config.dpt
        return ("depth", *("sky",) * dpt.sky, *("confidence",) * (dpt.outputs == 2), *camera)

    def _to_estimate(self, prediction: Prediction) -> Estimate:
        """The estimate that a prediction stands for."""
        depth, sky, confidence, fov, _ = prediction
        height, width = depth.shape[-2:]
        intrinsics = mask = None
        if fov is not None:
            focal_y, focal_x = (0.5 * side / torch.tan(fov[:, i] / 2).clamp(min=1e-6) for i, side in enumerate((height, width)))
            intrinsics = intrinsics_from_focal_length(focal_x, height, width, focal_length_y=focal_y)
        if sky is not None:
            mask = sky < _SKY_FROM
            depth = _with_far_sky(depth, mask)
        if self.spec.in_metres:
            intrinsics = intrinsics_from_fov(DEFAULT_FOV, height, width, batch=len(depth)).to(depth.device)
            depth = depth * (intrinsics[0, 0, 0] / CANONICAL_FOCAL_LENGTH)
        return Estimate(depth=depth.contiguous(), quantity=self.spec.quantity, mask=mask, confidence=confidence, intrinsics=intrinsics)

    def for_camera(self, estimate: Estimate, intrinsics: Tensor) -> Estimate:
        """See `Family.for_camera`. The metric network's metres are proportional to the camera's focal length."""
        found = super().for_camera(estimate, intrinsics)
        if not self.spec.in_metres:
            return found
        assert estimate.depth is not None and estimate.intrinsics is not None
        ratio = _mean_focal_length(intrinsics) / _mean_focal_length(estimate.intrinsics)
        return replace(found, depth=estimate.depth * ratio[:, None, None, None])


def _extrinsics(pose: Tensor) -> Tensor:
    """From the world to the cameras, (B, 3, 4), of poses (B, 7) as `Prediction` has them."""
    place, (x, y, z, w) = pose[:, :3], F.normalize(pose[:, 3:], dim=-1).unbind(-1)
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)),
        (2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)),
        (2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)),
    )
    to_camera = torch.stack([torch.stack(row, -1) for row in rows], 1).mT
    return torch.cat((to_camera, -to_camera @ place[:, :, None]), -1)


def _mean_focal_length(intrinsics: Tensor) -> Tensor:
    return (intrinsics[:, 0, 0] + intrinsics[:, 1, 1]) / 2


def _with_far_sky(depth: Tensor, clear: Tensor) -> Tensor:
    """Depth with the sky of each image as far as its farthest hundredth, where there are both sky and other things."""
    depth = depth.clone()
    for each, is_clear in zip(depth, clear, strict=True):
        values = each[is_clear]
        if min(len(values), is_clear.numel() - len(values)) > _SKY_LEAST_PIXELS:
            sample = values[:: max(1, len(values) // _SKY_SAMPLES)]
            each[~is_clear] = torch.quantile(sample, _SKY_QUANTILE)
    return depth
