"""Depth Anything: disparity (versions 1 and 2), metres, and depth with sky, confidence and the camera (version 3).

All versions, including 3 and the metric form of version 1, run on this pack's transformer (`networks.vit`) and head (`networks.dpt`). That
is less code than adapting transformers' classes, which lack version 3 and interpolate position embeddings unlike the authors at all sizes
but 518 x 518. And it needs only torch.

Source:
    Yang et al., "Depth Anything" (2024) and "Depth Anything V2" (2024); code LiheYoung/Depth-Anything, DepthAnything/Depth-Anything-V2.
    He et al., "Distill Any Depth" (2025); code Westlake-AGI-Lab/Distill-Any-Depth.
    Lin et al., "Depth Anything 3" (2025), code ByteDance-Seed/Depth-Anything-3.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..geometry.camera import DEFAULT_FOV, centred_intrinsics, intrinsics_from_fov
from ..geometry.estimate import Estimate, Quantity
from ..utils import constant
from .base import Annotator
from .family import Request
from .graphs import Signature
from .networks.depth_anything import DepthAnything, DepthAnything3, Prediction
from .networks.published import PublishedNetwork
from .preprocessing.resizing import LongSide, by_area, cubic_or_area
from .preprocessing.steps import Resize, Steps, scale_by_focal_length
from .specs.base import ModelSpec

logger = logging.getLogger(__name__)

# A relative network outputs disparity 0 only where nothing is near; metric weights in its place mostly give negative logits: all 0.
_SUSPICIOUS_SHARE = 0.75


class DinoAnnotator(Annotator):
    """Base of all families on DINOv2: builds their networks and interprets file names."""

    bytes_per_pixel = 2200
    auto_dtypes = ("float16",)

    @classmethod
    def network_of(cls, spec: ModelSpec) -> PublishedNetwork:
        return cls.network_class(spec.config.vit, spec.config.dpt)

    @classmethod
    def claims(cls, name: str) -> Mapping[str, str]:
        """See `Family.claims`: version and kind; empty for another family's name.

        V1 and V2, relative, indoor and outdoor networks of one size share names and shapes; so do version 3's mono and metric ones.
        """
        text = re.sub(r"[^a-z0-9]", "", name.lower())
        if "distillanydepth" in text:
            return {"version": "Distill Any Depth", "kind": "relative"}
        versions = re.findall(r"depthanythingv?([123](?!\d))|(?:^|depthanything)da(3)|depthanything()", text)
        if not versions or text == "depthanything":
            return {}
        version = "video" if "videodepthanything" in text else "".join(versions[-1]) or "1"
        kind = "metric" if "metric" in text else "mono" if "mono" in text else "relative"
        if version != "3" and kind == "metric":
            indoor, outdoor = re.search("indoor|hypersim|nyu", text), re.search("outdoor|kitti", text)
            kind = "metric indoor" if indoor else "metric outdoor" if outdoor else kind
        return {"version": "Video Depth Anything" if version == "video" else f"version {version}", "kind": kind}


class DepthAnythingAnnotator(DinoAnnotator):
    """Depth Anything V1 and V2, relative and metric, and Distill Any Depth.

    Convention:
        Relative networks: disparity, large = near, unknown scale and shift, never negative. Metric networks: metres, at most
        `max_depth` of their config.
    """

    network_class = DepthAnything
    _looked = False

    def predict(self, inputs: Tensor, scalar_inputs: Sequence[Any] = ()) -> tuple[Tensor, ...]:
        logits, max_depth = self.network(inputs), self.spec.config.max_depth
        return (F.relu(logits) if max_depth is None else logits.sigmoid() * max_depth,)

    def postprocess(self, outputs: tuple[Tensor, ...], request: Request) -> Estimate:
        """See `Family.postprocess`. Checks the first images for implausible depth, as from weights of another kind, and warns."""
        estimate = super().postprocess(outputs, request)
        if not self._looked:
            self._looked = True
            self._warn_of_other_weights(estimate)
        return estimate

    def _warn_of_other_weights(self, estimate: Estimate) -> None:
        depth, max_depth = estimate.depth, self.spec.config.max_depth
        assert depth is not None
        suspicious = depth <= 0 if max_depth is None else depth > 0.999 * max_depth
        if suspicious.float().mean() > _SUSPICIOUS_SHARE:
            other, sign = ("metric", "nothing near") if max_depth is None else ("relative", f"all at {max_depth:g} m")
            words = "%s sees %s in most of the image: if that is wrong, its weights file is of a %s model, whose tensors look the same"
            logger.warning(words, self.spec.id, sign, other)


CANONICAL_FOCAL_LENGTH = 300.0
"""Focal length in pixels, at the network's size, for which the metric network's output is in metres."""
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
    """Depth Anything 3 for single images; `small`, `base` and `large` also take a batch as views of one scene.

    Convention:
        Depth, large = far. `mono`: relative depth. `small`, `base`, `large`: scale-invariant depth. `metric`: metres
        for the known field of view, else for `geometry.camera.DEFAULT_FOV` along the longer side, as in the
        estimate's intrinsics. Sky is masked out (mask False), at the farthest hundredth of the rest. `small`, `base`
        and `large` also estimate the camera; of a scene, depth with one scale for all views, and the cameras' poses.
    """

    network_class = DepthAnything3

    @classmethod
    def sees_scenes(cls, spec: ModelSpec) -> bool:
        """See `Family.sees_scenes`. `small`, `base` and `large` do."""
        return spec.config.vit.alternating_from is not None

    def preprocess(self, size: int) -> Steps:
        """See `Family.preprocess`. As by the authors, the longer side is first scaled to `size`, then both sides are rounded."""
        return Resize(LongSide(size, 1), by_area), Resize(LongSide(size, self.spec.multiple_of), cubic_or_area)

    def predict(self, inputs: Tensor, scalar_inputs: Sequence[Any] = ()) -> tuple[Tensor, ...]:
        prediction = self.network(inputs)
        return tuple(getattr(prediction, name) for name in self._output_names())

    def postprocess(self, outputs: tuple[Tensor, ...], request: Request) -> Estimate:
        maps = dict(zip(self._output_names(), outputs, strict=True))
        return self._to_estimate(Prediction(maps["depth"], maps.get("sky"), maps.get("confidence"), maps.get("fov")))

    def infer_scene(self, request: Request) -> Estimate:
        """See `Annotator.infer_scene`. World axes are about the camera of a reference view that the network chooses."""
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
        if self.spec.quantity is Quantity.METRIC_DEPTH:
            steps.append(scale_by_focal_length(DEFAULT_FOV, CANONICAL_FOCAL_LENGTH, "input"))
        return Signature({name: _OUTPUTS[name] for name in self._output_names()}, afterwards=steps)

    def _output_names(self) -> tuple[str, ...]:
        camera = ("fov",) if self.sees_scenes(self.spec) else ()
        dpt = self.spec.config.dpt
        return ("depth", *("sky",) * dpt.sky, *("confidence",) * (dpt.outputs == 2), *camera)

    def _to_estimate(self, prediction: Prediction) -> Estimate:
        depth, sky, confidence, fov, _ = prediction
        height, width = depth.shape[-2:]
        intrinsics = mask = None
        if fov is not None:
            focal_y, focal_x = (constant(fov, (height / 2, width / 2)) / torch.tan(fov / 2).clamp(min=1e-6)).float().unbind(1)
            intrinsics = centred_intrinsics(focal_x, focal_y, height, width)
        if sky is not None:
            mask = sky < _SKY_FROM
            depth = _with_far_sky(depth, mask)
        if self.spec.quantity is Quantity.METRIC_DEPTH:
            intrinsics = intrinsics_from_fov(DEFAULT_FOV, height, width, batch=len(depth))
            depth = depth * (intrinsics[0, 0, 0] / CANONICAL_FOCAL_LENGTH)
            intrinsics = intrinsics.to(depth.device)
        return Estimate(depth=depth.contiguous(), quantity=self.spec.quantity, mask=mask, confidence=confidence, intrinsics=intrinsics)

    def for_camera(self, estimate: Estimate, intrinsics: Tensor) -> Estimate:
        """See `Family.for_camera`. The metric network's depth is proportional to the focal length."""
        rescaled = super().for_camera(estimate, intrinsics)
        if self.spec.quantity is not Quantity.METRIC_DEPTH:
            return rescaled
        assert estimate.depth is not None and estimate.intrinsics is not None
        ratio = _mean_focal_length(intrinsics) / _mean_focal_length(estimate.intrinsics)
        return replace(rescaled, depth=estimate.depth * ratio[:, None, None, None])


def _extrinsics(pose: Tensor) -> Tensor:
    """World-to-camera matrices (B, 3, 4) of poses (B, 7) as in `Prediction`."""
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
    """Sets the sky's depth to the farthest hundredth of the rest, in images that have both."""
    depth = depth.clone()
    for each, is_clear in zip(depth, clear, strict=True):
        values = each[is_clear]
        if min(len(values), is_clear.numel() - len(values)) > _SKY_LEAST_PIXELS:
            sample = values[:: max(1, len(values) // _SKY_SAMPLES)]
            each[~is_clear] = torch.quantile(sample, _SKY_QUANTILE)
    return depth
