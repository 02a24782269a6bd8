"""MoGe's first version: points in space and a mask from one image, by DINOv2's transformer and a path of convolutions.

Parameter names are those of the authors' checkpoints; `annotators/moge.py` names the source.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .configs import Moge1Config
from .grids import aspect_of, shrunk
from .group_norm import GroupNorm
from .moge import MogeOutput, replicating_conv, view_plane
from .published import PublishedNetwork, StateDict
from .vit import PATCH, VisionTransformer, hub_to_official

_LAST_CHANNELS = 32
_CHANNELS_OF_A_GROUP = 32
_MASK_FROM = 0.5
_UNUSED = ("image_mean", "image_std", "backbone.mask_token")


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = 2 * channels
        self.layers = nn.Sequential(
            GroupNorm(1, channels),
            nn.ReLU(),
            replicating_conv(channels, inner),
            GroupNorm(max(1, inner // _CHANNELS_OF_A_GROUP), inner),
            nn.ReLU(),
            replicating_conv(inner, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class _Output(nn.Sequential):
    """Its last convolution computes in float32 whatever the rest does: half precision would show as steps in the depth."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(replicating_conv(inputs, _LAST_CHANNELS), nn.ReLU(), nn.Conv2d(_LAST_CHANNELS, outputs, 1))

    def forward(self, input: Tensor) -> Tensor:
        *before, last = self
        for layer in before:
            input = layer(input)
        return last(input.float())


class _Head(nn.Module):
    def __init__(self, config: Moge1Config) -> None:
        super().__init__()
        self.projects = nn.ModuleList(nn.Conv2d(config.vit.width, config.projected, 1) for _ in config.vit.taken)
        coarser = (config.projected, *config.channels[:-1])
        self.upsample_blocks = nn.ModuleList(
            nn.Sequential(
                nn.Sequential(nn.ConvTranspose2d(inputs + 2, own, 2, 2), replicating_conv(own, own)), _Residual(own), _Residual(own)
            )
            for inputs, own in zip(coarser, config.channels, strict=True)
        )
        self.output_block = nn.ModuleList(_Output(config.channels[-1] + 2, outputs) for outputs in (3, 1))

    def forward(self, maps: list[Tensor], height: int, width: int) -> list[Tensor]:
        """Points and mask at a size, float32; coordinates for an image of that size's aspect are concatenated to every map."""
        aspect = aspect_of(height, width, maps[0].device)
        x = torch.stack([project(each) for project, each in zip(self.projects, maps, strict=True)], 1).sum(1)
        for block in self.upsample_blocks:
            x = block(_with_places(x, aspect))
        x = _with_places(F.interpolate(x, (height, width), mode="bilinear"), aspect)
        return [output(x) for output in self.output_block]


class MoGe1(PublishedNetwork):
    """Version 1.

    Convention:
        Input (B, 3, H, W), normalised by ImageNet's mean and deviation, H and W at least 14. The transformer sees it at the next smaller
        multiples of 14; what comes out has the input's size.
    """

    def __init__(self, config: Moge1Config) -> None:
        super().__init__()
        self.backbone = VisionTransformer(config.vit)
        self.head = _Head(config)

    def set_dtype(self, dtype: torch.dtype) -> None:
        self.to(dtype)
        for block in self.head.output_block:
            list(block.children())[-1].float()

    def forward(self, pixels: Tensor, aspect: float | Tensor) -> MogeOutput:
        """The network's outputs; its unit is no metre, and its scale 1.

        Args:
            aspect: Width by height of the image. This version goes by the pixels' own.
        """
        height, width = pixels.shape[-2:]
        whole = (height // PATCH * PATCH, width // PATCH * PATCH)
        # in float32: torch has no antialiasing in float16 on a CPU
        whole_patches = shrunk(pixels.float(), *whole).to(pixels.dtype)
        maps, _ = self.backbone(whole_patches)
        points, mask = self.head(maps, height, width)
        return MogeOutput(points, mask - _MASK_FROM, points.new_ones(points.shape[0]), None)

    @staticmethod
    def official_names(state: StateDict) -> dict[str, Tensor]:
        renamed = {key.replace("pretrained.", "backbone.", 1): value for key, value in hub_to_official(state).items()}
        return {key: value for key, value in renamed.items() if key not in _UNUSED}


def _with_places(x: Tensor, aspect: float | Tensor) -> Tensor:
    places = view_plane(x.shape[-2], x.shape[-1], aspect, x.device).to(x.dtype)
    return torch.cat((x, places.expand(x.shape[0], -1, -1, -1)), 1)
