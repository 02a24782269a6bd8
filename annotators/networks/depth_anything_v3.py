"""Depth Anything 3: depth, sky, confidence and cameras, of images by themselves or of several views of one scene.

`annotators/depth_anything_v3.py` names the source.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .depth_anything import DinoNetwork
from .dpt import DptConfig
from .published import StateDict, rename
from .vit import VitConfig, hub_to_official


class Prediction(NamedTuple):
    """The network's outputs for B images, float32.

    Attributes:
        depth: (B, 1, H, W), large = far, positive.
        sky: (B, 1, H, W), from 0 (none) upwards; None from the networks that see scenes (`small`, `base`, `large`).
        confidence: (B, 1, H, W), at least 1; None from the others (`mono`, `metric`), as all that follows.
        fov: (B, 2) radians, vertical and horizontal.
        pose: (B, 7), from each camera to the world of its scene, OPENCV axes: where it stands, in the unit of depth, and its rotation
            as a quaternion x, y, z, w of any length.
    """

    depth: Tensor
    sky: Tensor | None
    confidence: Tensor | None
    fov: Tensor | None
    pose: Tensor | None = None


class _CameraDecoder(nn.Module):
    """Field of view and pose from the camera's token."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        self.fc_t = nn.Linear(width, 3)
        self.fc_qvec = nn.Linear(width, 4)
        self.fc_fov = nn.Sequential(nn.Linear(width, 2), nn.ReLU())

    def forward(self, token: Tensor) -> tuple[Tensor, Tensor]:
        features = self.backbone(token)
        return self.fc_fov(features), torch.cat((self.fc_t(features), self.fc_qvec(features)), -1)


class DepthAnything3(DinoNetwork):
    """Depth Anything 3 without rays and without known cameras as inputs.

    Convention:
        Input as `DepthAnything`.
    """

    def __init__(self, vit: VitConfig, dpt: DptConfig) -> None:
        super().__init__(vit, dpt)
        self.cam_dec = _CameraDecoder(vit.channels) if vit.alternating_from is not None else None

    def set_dtype(self, dtype: torch.dtype) -> None:
        """Brings the network to a dtype, but for the camera's decoder and what `DptHead.set_dtype` leaves in float32."""
        super().set_dtype(dtype)
        if self.cam_dec is not None:
            self.cam_dec.float()

    def forward(self, x: Tensor, one_scene: bool = False) -> Prediction:
        """The prediction for normalised images; see the class.

        Args:
            one_scene: Whether they are views of one scene, which the networks that can see them together.
        """
        maps, camera = self.pretrained(x, one_scene)
        height, width = x.shape[-2:]
        head = self.depth_head
        features = head.full_size(head.pyramid(maps, height, width)[-1], height, width)
        logits = head.scratch.output_conv2(features)
        sky = confidence = None
        if head.config.sky:
            sky = F.relu(head.scratch.sky_output_conv2(features))
        if logits.shape[1] == 2:
            confidence = logits[:, 1:].exp() + 1
        fov, pose = (None, None) if self.cam_dec is None else self.cam_dec(camera.float())
        return Prediction(logits[:, :1].exp(), sky, confidence, fov, pose)

    @staticmethod
    def official_names(state: StateDict) -> dict[str, Tensor]:
        """See `PublishedNetwork.official_names`. Takes the authors' names and those of the files repackaged for ComfyUI."""
        official = hub_to_official({key.removeprefix("model."): value for key, value in state.items()})
        return {name: value for key, value in official.items() if not _UNUSED.search(name := rename(key, _PARTS))}


_PARTS = ((r"^backbone\.", ""), (r"^head\.", "depth_head."))
# Cameras given from outside, and rays
_UNUSED = re.compile(r"^cam_enc\.|_aux\.")
