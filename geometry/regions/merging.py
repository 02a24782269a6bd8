"""Region merging: patches without an inner edge are merged until every remaining border is strong.

The cost of a border depends on its whole length, and on the regions on both sides. So, unlike in region growing, a region does not leak
through a gap in its border; and a curved region of one colour stays whole where two regions of different colours are separated.

Source:
    Patches: F. Meyer, "Topographic distance and watershed lines" (1994). Merging of pairs that are each other's best: F. Murtagh, "A Survey
    of Recent Advances in Hierarchical Clustering Algorithms" (1983), with means along borders as in P. Arbelaez et al., "Contour
    Detection and Hierarchical Image Segmentation" (2011). Merging near ties at once is our addition: rounding would choose among equals.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .connected import numbered

_AS_CHEAP = 1.05  # relative to the cheapest border of both regions: a border up to this cost merges at once


class Borders(NamedTuple):
    """E borders between N regions.

    Attributes:
        first, second: (E,) int64, the regions on both sides.
        length: (E,) in pixels.
        strength: (E, S) means of S measures along the border.
        apart: (E, C) absolute differences of both regions' mean values.
        smaller: (E,) number of pixels of the smaller region.
    """

    first: Tensor
    second: Tensor
    length: Tensor
    strength: Tensor
    apart: Tensor
    smaller: Tensor


def watershed(height: Tensor, shallow: float = 0.0) -> Tensor:
    """Divides a map into basins: pixels from which steepest descent leads to the same minimum.

    Args:
        height: (H, W), on the CPU.
        shallow: Basins of at most this depth join their neighbour, because minima of a flat area are rounding errors.

    Returns:
        (H, W) int64 basin numbers from 0 on.
    """
    rows, columns = height.shape
    places = torch.arange(height.numel(), device="cpu").view(rows, columns)
    heights, numbers = F.pad(height, (1, 1, 1, 1), value=torch.inf), F.pad(places, (1, 1, 1, 1), value=height.numel())
    lowest, way = height, places
    for down in range(3):
        for across in range(3):
            there = slice(down, down + rows), slice(across, across + columns)
            lower = (heights[there] < lowest) | ((heights[there] == lowest) & (numbers[there] < way))
            lowest, way = torch.where(lower, heights[there], lowest), torch.where(lower, numbers[there], way)
    way = way.flatten()
    while not torch.equal(way, further := way[way]):
        way = further
    basins = numbered(way).view(rows, columns)
    return _joined_basins(basins, height, shallow) if shallow else basins


def _joined_basins(basins: Tensor, height: Tensor, shallow: float) -> Tensor:
    """Joins basins (H, W) that are at most `shallow` deep towards each other."""
    count = int(basins.max()) + 1
    lowest = height.new_full((count,), torch.inf).scatter_reduce_(0, basins.flatten(), height.flatten(), "amin")
    pairs = []
    for dim in (0, 1):
        last = basins.shape[dim] - 1
        one, other = basins.narrow(dim, 0, last), basins.narrow(dim, 1, last)
        border = one != other
        ends, passes = torch.stack((one[border], other[border])), torch.maximum(height.narrow(dim, 0, last), height.narrow(dim, 1, last))
        pairs.append(ends[:, passes[border] - lowest[ends].amax(0) <= shallow])
    ends = torch.cat(pairs, 1)
    return numbered(_linked(ends[0], ends[1], count))[basins]


def merged_regions(labels: Tensor, values: Tensor, strength: Tensor, cost: Callable[[Borders], Tensor], most: float) -> Tensor:
    """Merges regions, weakest border first, until every border costs more than `most`.

    Args:
        labels: (H, W) int64, initial regions, numbered from 0 on.
        values: (C, H, W), whose regional means are compared.
        strength: (S, H, W), S measures of the strength of a border through each pixel.
        cost: Function that returns the cost of merging across each border, (E,).
        most: Largest cost at which regions merge.

    Returns:
        (H, W) int64, labels of the merged regions.
    """
    count = int(labels.max()) + 1
    size = labels.flatten().bincount().double()
    sums = torch.zeros(count, len(values), dtype=torch.float64, device="cpu").index_add_(0, labels.flatten(), values.flatten(1).T.double())
    first, second, length, total = _pixel_borders(labels, strength)
    region = torch.arange(count, device="cpu")
    while len(first):
        means = sums / size.clamp(min=1)[:, None]
        apart = (means[first] - means[second]).abs()
        costs = cost(Borders(first, second, length, total / length[:, None], apart, torch.minimum(size[first], size[second])))
        best = costs.new_full((count,), torch.inf).scatter_reduce_(0, torch.cat((first, second)), costs.repeat(2), "amin")
        cheapest = (costs <= _AS_CHEAP * torch.minimum(best[first], best[second])) & (costs <= most)
        if not bool(cheapest.any()):
            break
        into = _linked(first[cheapest], second[cheapest], count)
        sums, size = torch.zeros_like(sums).index_add_(0, into, sums), torch.zeros_like(size).index_add_(0, into, size)
        region = into[region]
        first, second, length, total = _joined(into[first], into[second], length, total, count)
    return region[labels]


def _pixel_borders(labels: Tensor, strength: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The borders between all neighbouring pixels of different regions, as returned by `_joined`."""
    ends, strengths = [], []
    for dim in (-2, -1):
        last = labels.shape[dim] - 1
        one, other = labels.narrow(dim, 0, last), labels.narrow(dim, 1, last)
        here = one != other
        ends.append(torch.stack((one[here], other[here])))
        strengths.append(torch.maximum(strength.narrow(dim, 0, last), strength.narrow(dim, 1, last))[:, here])
    (first, second), total = torch.cat(ends, 1), torch.cat(strengths, 1).T.double()
    return _joined(first, second, torch.ones(len(total), dtype=torch.float64, device="cpu"), total, int(labels.max()) + 1)


def _joined(first: Tensor, second: Tensor, length: Tensor, total: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Combines the borders between the same two regions: regions, lengths and sums of strengths. Drops borders within a region."""
    apart = first != second
    first, second, length, total = (each[apart] for each in (first, second, length, total))
    pairs, which = (torch.minimum(first, second) * count + torch.maximum(first, second)).unique(return_inverse=True)
    length = which.bincount(length, minlength=len(pairs))
    total = total.new_zeros(len(pairs), total.shape[1]).index_add_(0, which, total)
    return pairs // count, pairs % count, length, total


def _linked(first: Tensor, second: Tensor, count: int) -> Tensor:
    """(count,) int64: the least number that each number is linked with, directly or indirectly."""
    joined = torch.arange(count, device="cpu")
    while not bool((joined[first] == joined[second]).all()):
        least = torch.minimum(joined[first], joined[second])
        joined = joined.scatter_reduce(0, torch.cat((first, second)), least.repeat(2), "amin")
        joined = joined[joined]
    return joined
