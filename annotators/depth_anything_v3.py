"""Depth Anything 3 for one picture: depth with sky, metric depth, or depth with confidence and the camera's field of view.

Source:
    Lin et al., "Depth Anything 3" (2025), code ByteDance-Seed/Depth-Anything-3.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..geometry.camera import DEFAULT_FOV, intrinsics_from_focal_length, intrinsics_from_fov
from ..geometry.estimate import Estimate, Quantity
from ..utils import resize_picture
from .base import ModelSpec, StateDict
from .depth_anything import DepthAnythingConfig, DinoAnnotator, fill
from .dpt import DptConfig, DptHead
from .vit import VisionTransformer, VitConfig, hub_to_official

CANONICAL_FOCAL_LENGTH = 300.0
"""Focal length in pixels, at the network's size, at which the metric network's output is in metres."""
_SKY_FROM = 0.3
_SKY_QUANTILE = 0.99
_SKY_LEAST_PIXELS = 10
_SKY_SAMPLES = 100_000

_LAST_ODD = (5, 7, 9, 11)
V3_SMALL = DepthAnythingConfig(
    VitConfig(384, 12, 6, _LAST_ODD, alternating_from=4, norm_eps=1e-5),
    DptConfig((48, 96, 192, 384), 64, outputs=2, positions=True),
)
V3_BASE = DepthAnythingConfig(
    VitConfig(768, 12, 12, _LAST_ODD, alternating_from=4, norm_eps=1e-5),
    DptConfig((96, 192, 384, 768), 128, outputs=2, positions=True),
)
V3_LARGE = DepthAnythingConfig(
    VitConfig(1024, 24, 16, (4, 11, 17, 23), norm_eps=1e-5),
    DptConfig((256, 512, 1024, 1024), 256, sky=True),
)


class Prediction(NamedTuple):
    """What the network says of B pictures, float32.

    Attributes:
        depth: (B, 1, H, W), large = far, positive.
        sky: (B, 1, H, W), from 0 (none) upwards; None from the small networks.
        confidence: (B, 1, H, W), at least 1; None from the large networks.
        fov: (B, 2) radians, vertical and horizontal; None from the large networks.
    """

    depth: Tensor
    sky: Tensor | None
    confidence: Tensor | None
    fov: Tensor | None


class _CameraDecoder(nn.Module):
    """Fields of view from the camera's token."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        self.fc_fov = nn.Sequential(nn.Linear(width, 2), nn.ReLU())

    def forward(self, token: Tensor) -> Tensor:
        return self.fc_fov(self.backbone(token))


class DepthAnything3(nn.Module):
    """Depth Anything 3's part for one picture.

    Convention:
        Input as `DepthAnything`.
    """

    def __init__(self, vit: VitConfig, dpt: DptConfig) -> None:
        super().__init__()
        self.pretrained = VisionTransformer(vit)
        self.depth_head = DptHead(vit.channels, dpt)
        self.cam_dec = _CameraDecoder(vit.channels) if vit.alternating_from is not None else None

    def set_dtype(self, dtype: torch.dtype) -> None:
        """Brings the network to a dtype, but for the camera's decoder and what `DptHead.set_dtype` leaves in float32."""
        self.pretrained.to(dtype)
        self.depth_head.set_dtype(dtype)
        if self.cam_dec is not None:
            self.cam_dec.float()

    def forward(self, x: Tensor) -> Prediction:
        """The prediction for normalised pictures; see the class."""
        maps, camera = self.pretrained(x)
        height, width = x.shape[-2:]
        head = self.depth_head
        features = head.full_size(head.pyramid(maps, height, width)[-1], height, width)
        logits = head.scratch.output_conv2(features)
        sky = confidence = None
        if head.config.sky:
            sky = F.relu(head.scratch.sky_output_conv2(features))
        if logits.shape[1] == 2:
            confidence = logits[:, 1:].exp() + 1
        return Prediction(logits[:, :1].exp(), sky, confidence, None if self.cam_dec is None else self.cam_dec(camera.float()))


class DepthAnything3Annotator(DinoAnnotator):
    """Depth Anything 3, one picture at a time.

    Convention:
        Depth, large = far. `small`, `base` and `mono` networks: up to scale (and shift). `metric`: metres for a camera whose longer side
        spans `geometry.camera.DEFAULT_FOV`, which the estimate's intrinsics say; `for_camera` gives the metres of another camera.
        Sky is not trusted (mask False) and as far as the farthest hundredth of the rest. `small` and `base` also estimate the camera.
    """

    @classmethod
    def build(cls, spec: ModelSpec, states: Mapping[str, StateDict], dtype: torch.dtype) -> DepthAnything3Annotator:
        """See `Annotator.build`. Takes the authors' names and those of the files repackaged for ComfyUI."""
        with torch.device("meta"):
            network = DepthAnything3(spec.config.vit, spec.config.dpt)
        fill(network, official_names(states["network"]), spec)
        network.set_dtype(dtype)
        return cls(spec, network)

    def network_size(self, height: int, width: int, size: int) -> tuple[int, int]:
        """Size of the network's input: longer side `size`, aspect kept, sides to the nearest multiple (ties up)."""
        multiple = self.spec.multiple_of
        rows, columns = (max(multiple, (2 * side + multiple) // (2 * multiple) * multiple) for side in _bounded_size(height, width, size))
        return rows, columns

    def run(self, images: Tensor, size: int | None) -> Estimate:
        """See `Annotator.run`. As the authors do, pictures are first brought to the longer side `size`, then to `network_size`."""
        height, width = images.shape[-2:]
        self.checked_network_size(height, width, size)
        return super().run(resize_picture(images, *_bounded_size(height, width, size or self.spec.default_size)), size)

    def resize(self, images: Tensor, height: int, width: int) -> Tensor:
        """Pictures of the longer side `size` at the network's size: cubic where one side grows, else area average."""
        if height > images.shape[-2] or width > images.shape[-1]:
            return F.interpolate(images, size=(height, width), mode="bicubic", align_corners=False).clamp(0, 1)
        return resize_picture(images, height, width)

    def predict(self, pixels: Tensor) -> Estimate:
        """See `Annotator.predict`."""
        height, width = pixels.shape[-2:]
        depth, sky, confidence, fov = self.network(self.normalised(pixels))
        intrinsics = mask = None
        if fov is not None:
            focal_y, focal_x = (0.5 * side / torch.tan(fov[:, i] / 2).clamp(min=1e-6) for i, side in enumerate((height, width)))
            intrinsics = intrinsics_from_focal_length(focal_x, height, width, focal_length_y=focal_y)
        if sky is not None:
            mask = sky < _SKY_FROM
            depth = _with_far_sky(depth, mask)
        if self.spec.quantity == Quantity.METRIC_DEPTH:
            intrinsics = intrinsics_from_fov(DEFAULT_FOV, height, width, batch=len(pixels)).to(depth.device)
            depth = depth * (intrinsics[0, 0, 0] / CANONICAL_FOCAL_LENGTH)
        return Estimate(depth=depth.contiguous(), quantity=self.spec.quantity, mask=mask, confidence=confidence, intrinsics=intrinsics)


def for_camera(estimate: Estimate, intrinsics: Tensor) -> Estimate:
    """Metres of the metric network for the camera that took the picture: they are proportional to its focal length.

    Args:
        estimate: What the metric network gave, at any size, with the intrinsics that it assumed.
        intrinsics: (B, 3, 3) or (1, 3, 3) of the real camera, in pixels of the estimate's size.

    Returns:
        The estimate with its depth scaled and these intrinsics.

    Raises:
        ValueError: The estimate is not of metric depth, or has no intrinsics.
    """
    if estimate.depth is None or estimate.quantity != Quantity.METRIC_DEPTH or estimate.intrinsics is None:
        raise ValueError(f"expected metric depth with intrinsics, as depth-anything-3-metric-large gives; found {estimate.quantity}")
    intrinsics = intrinsics.to(estimate.depth).expand(estimate.batch, 3, 3)
    ratio = _mean_focal_length(intrinsics) / _mean_focal_length(estimate.intrinsics)
    return replace(estimate, depth=estimate.depth * ratio[:, None, None, None], intrinsics=intrinsics)


# Cameras given from outside, the camera's pose, and rays
_UNUSED = re.compile(r"^cam_enc\.|^cam_dec\.fc_(t|qvec)\.|_aux\.")


def official_names(state: StateDict) -> dict[str, Tensor]:
    """A state dict of version 3 under the names of `DepthAnything3`, without what one picture's depth does not need."""
    renamed: dict[str, Tensor] = {}
    for key, value in hub_to_official({key.removeprefix("model."): value for key, value in state.items()}).items():
        key = re.sub(r"^head\.", "depth_head.", key.removeprefix("backbone."))
        if not _UNUSED.search(key):
            renamed[key] = value
    return renamed


def _mean_focal_length(intrinsics: Tensor) -> Tensor:
    return (intrinsics[:, 0, 0] + intrinsics[:, 1, 1]) / 2


def _bounded_size(height: int, width: int, size: int) -> tuple[int, int]:
    scale = size / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def _with_far_sky(depth: Tensor, clear: Tensor) -> Tensor:
    """Depth with the sky of each picture as far as its farthest hundredth, where there are both sky and other things."""
    depth = depth.clone()
    for picture, is_clear in zip(depth, clear, strict=True):
        values = picture[is_clear]
        if min(len(values), is_clear.numel() - len(values)) > _SKY_LEAST_PIXELS:
            sample = values[:: max(1, len(values) // _SKY_SAMPLES)]
            picture[~is_clear] = torch.quantile(sample, _SKY_QUANTILE)
    return depth
