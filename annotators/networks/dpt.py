"""The DPT head of Depth Anything: turns four feature maps of a transformer into one map at image size.

Parameter names are the official checkpoints'.

Source:
    Ranftl et al., "Vision Transformers for Dense Prediction" (2021); code DepthAnything/Depth-Anything-V2 (V1's head is the same) and
    ByteDance-Seed/Depth-Anything-3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .configs import DptConfig
from .layers import ExactConv2d, aspect_of, conv3x3, enlarged, middles

HEAD_CHANNELS = 32
"""Channels before the last convolution."""
COARSEST = 3
"""Level of the transformer's last map; the first map's is 0."""
_POSITION_WEIGHT, _POSITION_BASE = 0.1, 100.0


class ResidualUnit(nn.Module):
    """Two convolutions, each after a ReLU, and a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = conv3x3(channels, channels), conv3x3(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(F.relu(self.conv1(F.relu(x)), inplace=True)).add_(x)


class Fusion(nn.Module):
    """Adds a finer map, unless it `joins` none, to the path, refines it and resizes it for the next level."""

    def __init__(self, channels: int, outputs: int | None = None, joins: bool = True) -> None:
        super().__init__()
        if joins:
            self.resConfUnit1 = ResidualUnit(channels)
        self.resConfUnit2 = ResidualUnit(channels)
        self.out_conv = nn.Conv2d(channels, outputs or channels, 1)

    def forward(self, path: Tensor, finer: Tensor | None = None, size: Sequence[int] | None = None) -> Tensor:
        """Maps (B, channels, h, w), and a finer map of that size if any, to (B, outputs, *size); the default size is doubled."""
        if finer is not None:
            path = self.resConfUnit1(finer).add_(path)
        # The authors enlarge first. A 1x1 convolution gives the same either way, here over a quarter of the pixels.
        path = self.out_conv(self.resConfUnit2(path))
        if size is None:
            return enlarged(path)
        return resized(path, size)


def as_fusion(layer: Any) -> Fusion:
    """Converts a fusion layer of the transformers library, sharing its parameters."""
    with torch.device("meta"):
        fusion = Fusion(1)
    for own, other in ((fusion.resConfUnit1, layer.residual_layer1), (fusion.resConfUnit2, layer.residual_layer2)):
        own.conv1, own.conv2 = other.convolution1, other.convolution2
    fusion.out_conv = layer.projection
    return fusion.train(layer.training)


class _Scratch(nn.Module):
    """The fusion path and the output layers; named as in the checkpoints."""

    def __init__(self, config: DptConfig) -> None:
        super().__init__()
        for level, channels in enumerate(config.channels, 1):
            self.add_module(f"layer{level}_rn", nn.Conv2d(channels, config.features, 3, padding=1, bias=False))
            self.add_module(f"refinenet{level}", Fusion(config.features, joins=level < 4))
        half = config.features // 2
        self.output_conv1 = conv3x3(config.features, half)
        self.output_conv2 = _last_convolutions(half, config.outputs)
        if config.sky:
            self.sky_output_conv2 = _last_convolutions(half, 1)


class DptHead(nn.Module):
    """The head. Its last convolutions, at image size, always run in float32: see `ExactConv2d`."""

    def __init__(self, inputs: int, config: DptConfig) -> None:
        super().__init__()
        self.config = config
        first, second, _, last = config.channels
        if config.positions:
            self.norm = nn.LayerNorm(inputs)
        self.projects = nn.ModuleList(nn.Conv2d(inputs, channels, 1) for channels in config.channels)
        larger = nn.ConvTranspose2d(first, first, 4, 4), nn.ConvTranspose2d(second, second, 2, 2)
        self.resize_layers = nn.ModuleList((*larger, nn.Identity(), nn.Conv2d(last, last, 3, 2, 1)))
        self.scratch = _Scratch(config)

    def forward(self, maps: Sequence[Tensor], height: int, width: int) -> Tensor:
        """(B, outputs, height, width) float32, before any activation, of the transformer's four maps (B, inputs, rows, columns)."""
        return self.scratch.output_conv2(self.full_size(self.pyramid(maps, height, width)[-1], height, width))

    def pyramid(self, maps: Sequence[Tensor], height: int, width: int) -> list[Tensor]:
        """The coarsest map, then the fusion path from its coarsest to its finest level (B, features, h, w)."""
        grid = maps[0].shape[-2:]
        narrow = [self.narrowed(level, self.reassembled(level, x, aspect_of(height, width, x.device))) for level, x in enumerate(maps)]
        levels = [narrow[COARSEST], self.fused(COARSEST, narrow[COARSEST], None, grid)]
        for level in reversed(range(COARSEST)):
            levels.append(self.fused(level, levels[-1], narrow[level], grid))
        return levels

    def reassembled(self, level: int, x: Tensor, aspect: float | Tensor) -> Tensor:
        """A transformer map (B, inputs, rows, columns) with the channels and size of its level, 0 (the finest) to `COARSEST`.

        They have 4, 2, 1 and half times as many rows and columns. `aspect` is the image's width by its height.
        """
        if self.config.positions:
            x = self.norm(x.movedim(1, -1)).movedim(-1, 1)
        x = self.projects[level](x)
        if self.config.positions:
            x = x + _position_map(x, aspect).to(x.dtype)
        return self.resize_layers[level](x)

    def narrowed(self, level: int, x: Tensor) -> Tensor:
        """A reassembled map, projected to the fusion path's channels."""
        return self.scratch.get_submodule(f"layer{level + 1}_rn")(x)

    def fused(self, level: int, path: Tensor, finer: Tensor | None, grid: Sequence[int]) -> Tensor:
        """The next level of the fusion path, (B, features, h, w): from the coarsest 1, 2, 4 and 8 times the rows and columns of the grid.

        Args:
            path: The previous level; for `COARSEST` its narrowed map.
            finer: The level's narrowed map; None for `COARSEST`.
            grid: Rows and columns of the transformer's maps.
        """
        size = [side * 2 ** (COARSEST - level) for side in grid]
        return self.scratch.get_submodule(f"refinenet{level + 1}")(path, finer, size)

    def full_size(self, path: Tensor, height: int, width: int) -> Tensor:
        """The finest level of the path as (B, features / 2, height, width) float32: the last convolutions' input."""
        x = resized(self.scratch.output_conv1(path).float(), (height, width))
        return x + _position_map(x, aspect_of(height, width, x.device)) if self.config.positions else x


def _last_convolutions(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(ExactConv2d(inputs, HEAD_CHANNELS, 3, padding=1), nn.ReLU(inplace=True), ExactConv2d(HEAD_CHANNELS, outputs, 1))


def resized(x: Tensor, size: Sequence[int]) -> Tensor:
    """Resizes maps bilinearly with aligned corners."""
    return F.interpolate(x, size=list(size), mode="bilinear", align_corners=True)


def _position_map(like: Tensor, aspect: float | Tensor) -> Tensor:
    """Sines and cosines (1, C, H, W) of pixel positions in units of half the image's diagonal, to add to a map."""
    _, channels, height, width = like.shape
    diagonal = (aspect**2 + 1) ** 0.5
    quarter = channels // 4
    frequencies = _POSITION_BASE ** -(torch.arange(quarter, dtype=torch.float32, device=like.device) / quarter)

    def waves(length: int, span: float | Tensor) -> Tensor:
        phases = frequencies[:, None] * middles(length, span, like.device)
        return torch.cat((phases.sin(), phases.cos()))

    across = waves(width, aspect / diagonal)[:, None, :].expand(-1, height, -1)
    down = waves(height, 1 / diagonal)[:, :, None].expand(-1, -1, width)
    return _POSITION_WEIGHT * torch.cat((across, down))[None]
