"""MoGe-3's refiner: corrects the logarithm of z by a sparse 3D U-net over the points of the image.

Parameter names are those of the authors' checkpoints; `annotators/moge.py` names the source.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .configs import RefinerConfig
from .sparse import Coarsening, Level, Pairs, SubmanifoldConv, coarser_level, pixel_level


class _Block(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels, eps=1e-6)
        self.conv1 = SubmanifoldConv(channels, channels)
        self.conv2 = SubmanifoldConv(channels, channels)

    def forward(self, x: Tensor, pairs: Sequence[Pairs]) -> Tensor:
        # In place: three copies of x at most, which is what bounds the refiner's memory.
        inner = self.conv1(F.silu(self.norm1(x), inplace=True), pairs)
        return self.conv2(F.silu(inner, inplace=True), pairs).add_(x)


class _Projection(nn.Module):
    """A linear layer under the name that the authors' modules of two parts give it."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x)


def _stage(channels: int) -> nn.ModuleList:
    return nn.ModuleList([_Block(channels)])


class Refiner(nn.Module):
    """Refines the points of one image.

    Each pixel is a voxel at its row, its column and the bin of its logarithm of z. A level halves the image; the coarsest has one cell a
    token, and there the encoder's features join.

    A step takes about 1.4 kB for each pixel of the network's input, and 6.8 kB where the depth is noise, whose voxels have no neighbours
    to share a coarser one with.
    """

    def __init__(self, config: RefinerConfig, encoder_channels: int) -> None:
        super().__init__()
        channels = config.channels
        self.bins = config.bins
        upwards = [(coarse, fine) for fine, coarse in itertools.pairwise(channels)][::-1]
        self.input_proj = nn.Linear(3, channels[0])
        self.encoder_fuse = nn.Linear(encoder_channels, channels[-1])
        self.fuse_proj = nn.Sequential(nn.Linear(2 * channels[-1], channels[-1]), nn.SiLU(), nn.Linear(channels[-1], channels[-1]))
        self.down_stages = nn.ModuleList(map(_stage, channels))
        self.downsample_blocks = nn.ModuleList(_Projection(fine, coarse) for fine, coarse in itertools.pairwise(channels))
        self.bottleneck_stage = _stage(channels[-1])
        self.upsample_blocks = nn.ModuleList(_Projection(coarse, fine) for coarse, fine in upwards)
        self.up_stages = nn.ModuleList(_stage(fine) for _, fine in upwards)
        self.out_proj = nn.Linear(channels[0], 1)

    def forward(self, points: Tensor, features: Tensor) -> Tensor:
        """One step: what is to be added to the logarithm of z, (rows, columns).

        Args:
            points: (3, rows, columns) float32, finite: x / z, y / z and the logarithm of z.
            features: (C, token rows, token columns): the encoder's, with the places in the view; a token is 16 x 16 of the points.
        """
        bins = (points[2] * self.bins).round().long()
        levels, coarsenings = _levels(pixel_level(bins - bins.min()), len(self.down_stages))
        x = self.input_proj(points.flatten(1).T)
        skipped: list[Tensor] = []
        for index, stage in enumerate(self.down_stages):
            x = _through(stage, x, levels[index])
            if index < len(coarsenings):
                skipped.append(x)
                x = self.downsample_blocks[index](coarsenings[index].mean(x))
        row, column, _ = levels[-1].places.unbind(1)
        encoded = self.encoder_fuse(features[:, row, column].T)
        x = _through(self.bottleneck_stage, self.fuse_proj(torch.cat((x, encoded), 1)), levels[-1])
        for project, stage in zip(self.upsample_blocks, self.up_stages, strict=True):
            coarsening = coarsenings.pop()
            x = project(x)[coarsening.parents].add_(skipped.pop())
            x = _through(stage, x, levels[len(coarsenings)])
        return self.out_proj(x).view(points.shape[1:])


def _levels(finest: Level, total: int) -> tuple[list[Level], list[Coarsening]]:
    levels, coarsenings = [finest], []
    while len(levels) < total:
        level, coarsening = coarser_level(levels[-1])
        levels.append(level)
        coarsenings.append(coarsening)
    return levels, coarsenings


def _through(stage: nn.Module, x: Tensor, level: Level) -> Tensor:
    assert isinstance(stage, nn.ModuleList)
    for block in stage:
        x = block(x, level.pairs)
    return x
