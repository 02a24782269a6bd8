"""MoGe-3's refiner: corrects the logarithm of z by a sparse 3D U-Net over the image's points, in plain torch.

A convolution adds one kernel tap at a time, over the pairs of voxels that the tap joins. It thus needs one copy of its input rather than
27, and is deterministic, on a GPU as well.

Source:
    The submanifold convolution of Graham et al., "3D Semantic Segmentation with Submanifold Sparse Convolutional Networks" (2018).
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .configs import RefinerConfig

_STEPS = (-1, 0, 1)
_HALF = tuple(offset for offset in itertools.product(_STEPS, _STEPS, _STEPS) if offset > (0, 0, 0))
"""Half of a kernel's offsets (row, column, bin) around its centre; the others are their negatives."""
_NUMBERS_AT_ONCE = 1 << 23
"""Maximum number of values gathered at once: 32 MB."""


class Pairs(NamedTuple):
    """Pairs of voxels at one offset from each other."""

    offset: tuple[int, int, int]  # (row, column, bin), each -1, 0 or 1
    voxels: Tensor  # (P,) int64: indices of voxels that have a neighbour at the offset; unique
    neighbours: Tensor  # (P,) int64: indices of those neighbours; unique


class Level(NamedTuple):
    """The voxels of one level of detail."""

    places: Tensor  # (N, 3) int64: row, column and bin of each; non-negative and unique
    pairs: tuple[Pairs, ...]  # for each offset of half the kernel; see `SubmanifoldConv`


class Coarsening(NamedTuple):
    """The map from the voxels of a level to those of the next, which are twice as large in each dimension."""

    parents: Tensor  # (N,) int64: each voxel's parent
    children: tuple[Tensor, ...]  # for each of the eight octants of a parent, the indices of the voxels there
    counts: Tensor  # (M, 1) float32: number of voxels per parent, at least 1

    def mean(self, features: Tensor) -> Tensor:
        """Features (M, C) of the parents: the mean of their children's (N, C)."""
        total = features.new_zeros(len(self.counts), features.shape[1])
        # A parent has at most one child per octant: summing octant by octant is independent of thread order.
        for children in self.children:
            total.index_add_(0, self.parents[children], features[children])
        return total / self.counts.to(total.dtype)


def pixel_level(bins: Tensor) -> Level:
    """The voxels of an image, one per pixel, in pixel order, from non-negative bins (rows, columns) int64."""
    rows, columns = bins.shape
    indices = torch.arange(rows * columns, device=bins.device).view(rows, columns)
    pairs = []
    for down, right in sorted({offset[:2] for offset in _HALF} - {(0, 0)}):  # no two voxels share a pixel
        here = slice(0, rows - down), slice(max(0, -right), columns - max(0, right))
        there = slice(down, rows), slice(max(0, right), columns + min(0, right))
        steps = bins[there] - bins[here]
        for step in _STEPS:
            joined = steps == step
            pairs.append(Pairs((down, right, step), indices[here][joined], indices[there][joined]))
    places = torch.cartesian_prod(torch.arange(rows, device=bins.device), torch.arange(columns, device=bins.device))
    return Level(torch.cat((places, bins.reshape(-1, 1)), 1), tuple(pairs))


def coarser_level(level: Level) -> tuple[Level, Coarsening]:
    """The next level, with voxels twice as large, ordered by position, and its relation to the finer level."""
    halved = level.places // 2
    sizes = (halved.amax(0) + 1).tolist()
    keys, parents, counts = torch.unique(_keys(halved, sizes), return_inverse=True, return_counts=True)
    row, column, last = ((level.places % 2) == 1).unbind(1)
    corners = 4 * row.long() + 2 * column.long() + last.long()
    children = tuple((corners == corner).nonzero()[:, 0] for corner in range(8))
    places = halved.new_empty(len(keys), 3)
    places[parents] = halved  # all children write the same value
    return Level(places, _pairs_of_sorted(keys, sizes)), Coarsening(parents, children, counts[:, None].float())


def _keys(places: Tensor, sizes: Sequence[int]) -> Tensor:
    """A key for each place (N, 3), ascending by row, column and bin, with a gap before and after each line of places."""
    row, column, last = places.unbind(1)
    return ((row + 1) * (sizes[1] + 2) + column + 1) * (sizes[2] + 2) + last + 1


def _pairs_of_sorted(keys: Tensor, sizes: Sequence[int]) -> tuple[Pairs, ...]:
    pairs = []
    for offset in _HALF:
        wanted = keys + (offset[0] * (sizes[1] + 2) + offset[1]) * (sizes[2] + 2) + offset[2]
        places = torch.searchsorted(keys, wanted).clamp(max=len(keys) - 1)
        voxels = (keys[places] == wanted).nonzero()[:, 0]
        pairs.append(Pairs(offset, voxels, places[voxels]))
    return tuple(pairs)


class SubmanifoldConv(nn.Module):
    """A 3x3x3 cross-correlation whose output has the voxels of its input; missing neighbours count as 0.

    The weight is (outputs, 27, inputs), taps ordered by row, column and bin.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(outputs, 27, inputs))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, features: Tensor, pairs: Sequence[Pairs]) -> Tensor:
        """Features (N, outputs) of voxels with features (N, inputs)."""
        taps, rows = self.weight.permute(1, 2, 0), max(1, _NUMBERS_AT_ONCE // max(self.weight.shape[::2]))
        result = torch.addmm(self.bias, features, taps[13])
        for (row, column, last), voxels, neighbours in pairs:
            tap = 13 + 9 * row + 3 * column + last
            there, back = taps[tap], taps[26 - tap]
            for here, other in zip(voxels.split(rows), neighbours.split(rows), strict=True):
                result.index_add_(0, here, features[other] @ there)
                result.index_add_(0, other, features[here] @ back)
        return result


class _Block(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels, eps=1e-6)
        self.conv1 = SubmanifoldConv(channels, channels)
        self.conv2 = SubmanifoldConv(channels, channels)

    def forward(self, x: Tensor, pairs: Sequence[Pairs]) -> Tensor:
        # In place: at most three copies of x, which bounds the refiner's memory.
        inner = self.conv1(F.silu(self.norm1(x), inplace=True), pairs)
        return self.conv2(F.silu(inner, inplace=True), pairs).add_(x)


def _projection(inputs: int, outputs: int) -> nn.Module:
    """A linear layer, nested for the authors' parameter names."""
    return nn.Sequential(OrderedDict(linear=nn.Linear(inputs, outputs)))


def _stage(channels: int) -> nn.ModuleList:
    return nn.ModuleList([_Block(channels)])


class Refiner(nn.Module):
    """Refines the points of one image.

    Each pixel is a voxel at its row, column and bin of the logarithm of z. Each level halves the image; the coarsest has one cell per
    token, where the encoder's features join.

    A step takes about 1.4 kB per pixel of the network's input, and 6.8 kB if depth is noise, whose voxels rarely share a parent.
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
        self.downsample_blocks = nn.ModuleList(_projection(fine, coarse) for fine, coarse in itertools.pairwise(channels))
        self.bottleneck_stage = _stage(channels[-1])
        self.upsample_blocks = nn.ModuleList(_projection(coarse, fine) for coarse, fine in upwards)
        self.up_stages = nn.ModuleList(_stage(fine) for _, fine in upwards)
        self.out_proj = nn.Linear(channels[0], 1)

    def forward(self, points: Tensor, features: Tensor) -> Tensor:
        """One step: the correction of the logarithm of z, (rows, columns).

        Args:
            points: (3, rows, columns) float32, finite: x / z, y / z and the logarithm of z.
            features: (C, token rows, token columns): the encoder's, with view positions; a token covers 16 x 16 points.
        """
        bins = (points[2] * self.bins).round().long()
        levels, coarsenings = [pixel_level(bins - bins.min())], []
        x = self.input_proj(points.flatten(1).T)
        skipped: list[Tensor] = []
        for index, stage in enumerate(self.down_stages):
            x = _through(stage, x, levels[index])
            if index < len(self.downsample_blocks):
                level, coarsening = coarser_level(levels[-1])
                levels.append(level)
                coarsenings.append(coarsening)
                skipped.append(x)
                x = self.downsample_blocks[index](coarsening.mean(x))
        row, column, _ = levels[-1].places.unbind(1)
        encoded = self.encoder_fuse(features[:, row, column].T)
        x = _through(self.bottleneck_stage, self.fuse_proj(torch.cat((x, encoded), 1)), levels[-1])
        for project, stage in zip(self.upsample_blocks, self.up_stages, strict=True):
            coarsening = coarsenings.pop()
            x = project(x)[coarsening.parents].add_(skipped.pop())
            x = _through(stage, x, levels[len(coarsenings)])
        return self.out_proj(x).view(points.shape[1:])


def _through(stage: nn.Module, x: Tensor, level: Level) -> Tensor:
    assert isinstance(stage, nn.ModuleList)
    for block in stage:
        x = block(x, level.pairs)
    return x
