"""Sparse 3D convolutions in plain torch: voxels that exist, which of them are neighbours, and the coarser voxels they lie in.

A convolution adds one tap of its kernel after the other, for the pairs of voxels that the tap joins. So it takes the memory of one copy of
its input, not of one for each of the 27 taps, and the same voxels give the same bits, on a GPU as well.

Source:
    The submanifold convolution of Graham et al., "3D Semantic Segmentation with Submanifold Sparse Convolutional Networks" (2018).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

_STEPS = (-1, 0, 1)
_HALF = tuple(offset for offset in itertools.product(_STEPS, _STEPS, _STEPS) if offset > (0, 0, 0))
"""Half of a kernel's offsets (row, column, bin) around its middle; the others are their opposites."""
_NUMBERS_AT_ONCE = 1 << 23
"""Numbers that are gathered at a time: 32 MB."""


class Pairs(NamedTuple):
    """The voxels that lie at one offset from each other.

    Attributes:
        offset: (row, column, bin), each -1, 0 or 1.
        voxels: (P,) int64: indices of voxels that have a neighbour at the offset, each once.
        neighbours: (P,) int64: the indices of those neighbours, each once.
    """

    offset: tuple[int, int, int]
    voxels: Tensor
    neighbours: Tensor


class Level(NamedTuple):
    """The voxels of one level of detail.

    Attributes:
        places: (N, 3) int64: row, column and bin of each, none of them negative, no two the same.
        pairs: Of each offset of one half of the kernel; see `SubmanifoldConv`.
    """

    places: Tensor
    pairs: tuple[Pairs, ...]


class Coarsening(NamedTuple):
    """How the voxels of one level lie in those of the next, twice as large each way.

    Attributes:
        parents: (N,) int64: index of the coarser voxel that each voxel lies in.
        children: Of each of the eight places in a coarser voxel, the indices of the voxels there.
        counts: (M, 1) float32: the number of voxels in each coarser one, at least 1.
    """

    parents: Tensor
    children: tuple[Tensor, ...]
    counts: Tensor

    def mean(self, features: Tensor) -> Tensor:
        """Features (M, C) of the coarser voxels: the mean of those (N, C) in each."""
        total = features.new_zeros(len(self.counts), features.shape[1])
        # A coarser voxel has at most one child at each place: added place by place, the sum does not depend on the order of threads.
        for children in self.children:
            total.index_add_(0, self.parents[children], features[children])
        return total / self.counts.to(total.dtype)


def pixel_level(bins: Tensor) -> Level:
    """The voxels of an image with one voxel a pixel, in the order of its pixels.

    Args:
        bins: (rows, columns) int64, not negative.
    """
    rows, columns = bins.shape
    indices = torch.arange(rows * columns, device=bins.device).view(rows, columns)
    pairs = []
    for down, right in sorted({offset[:2] for offset in _HALF} - {(0, 0)}):  # no other voxel shares a pixel
        here = slice(0, rows - down), slice(max(0, -right), columns - max(0, right))
        there = slice(down, rows), slice(max(0, right), columns + min(0, right))
        steps = bins[there] - bins[here]
        for step in _STEPS:
            joined = steps == step
            pairs.append(Pairs((down, right, step), indices[here][joined], indices[there][joined]))
    places = torch.cartesian_prod(torch.arange(rows, device=bins.device), torch.arange(columns, device=bins.device))
    return Level(torch.cat((places, bins.reshape(-1, 1)), 1), tuple(pairs))


def coarser_level(level: Level) -> tuple[Level, Coarsening]:
    """The level of voxels twice as large each way, in the order of their places, and how the finer ones lie in them."""
    halved = level.places // 2
    sizes = (halved.amax(0) + 1).tolist()
    keys, parents, counts = torch.unique(_keys(halved, sizes), return_inverse=True, return_counts=True)
    row, column, last = ((level.places % 2) == 1).unbind(1)
    corners = 4 * row.long() + 2 * column.long() + last.long()
    children = tuple((corners == corner).nonzero()[:, 0] for corner in range(8))
    places = halved.new_empty(len(keys), 3)
    places[parents] = halved  # all children say the same
    return Level(places, _pairs_of_sorted(keys, sizes)), Coarsening(parents, children, counts[:, None].float())


def _keys(places: Tensor, sizes: Sequence[int]) -> Tensor:
    """One number for each place (N, 3), ascending by row, column and bin, with a free number before and after each line of places."""
    row, column, last = places.unbind(1)
    return ((row + 1) * (sizes[1] + 2) + column + 1) * (sizes[2] + 2) + last + 1


def _pairs_of_sorted(keys: Tensor, sizes: Sequence[int]) -> tuple[Pairs, ...]:
    """The pairs of voxels by their ascending keys."""
    found = []
    for offset in _HALF:
        wanted = keys + (offset[0] * (sizes[1] + 2) + offset[1]) * (sizes[2] + 2) + offset[2]
        places = torch.searchsorted(keys, wanted).clamp(max=len(keys) - 1)
        voxels = (keys[places] == wanted).nonzero()[:, 0]
        found.append(Pairs(offset, voxels, places[voxels]))
    return tuple(found)


class SubmanifoldConv(nn.Module):
    """A 3x3x3 convolution (cross-correlation) whose output has the voxels of its input; absent neighbours count as 0.

    The weight is (outputs, 27, inputs), the taps by row, column and bin.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(outputs, 27, inputs))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, features: Tensor, pairs: Sequence[Pairs]) -> Tensor:
        """Features (N, outputs) of voxels with the features (N, inputs)."""
        taps, rows = self.weight.permute(1, 2, 0), max(1, _NUMBERS_AT_ONCE // max(self.weight.shape[::2]))
        result = torch.addmm(self.bias, features, taps[13])
        for (row, column, last), voxels, neighbours in pairs:
            tap = 13 + 9 * row + 3 * column + last
            there, back = taps[tap], taps[26 - tap]
            for here, other in zip(voxels.split(rows), neighbours.split(rows), strict=True):
                result.index_add_(0, here, features[other] @ there)
                result.index_add_(0, other, features[here] @ back)
        return result
