"""Divides an image into parts: patches without inner edges, merged until the remaining borders are strong.

Borders are valleys in depth between sides of different colours, and depth steps. A valley alone, as between head and body, does not end a
part of one colour; nor does a colour edge alone, except at `colour_levels`. The cost of a border depends on its whole length, and on the
regions on both sides: so, unlike in region growing, a region does not leak through a gap in its border.

Points correct a region by whole parts. Each point has candidate parts at several merging costs, by depth and by colours; no part holds both
an inside and an outside point. The chosen candidate gives the region the clearest new border, by depth and colours, and is centred on the
point, as users point at the middle of an error. So the part at a sliver of background beside hair is small, although the whole person has a
clearer border, and the part in the middle of a floor is large.

Source:
    Valleys as borders: S. C. Stein et al., "Object Partitioning using Local Convexity" (2014). Patches: F. Meyer, "Topographic distance and
    watershed lines" (1994). Merging of pairs that are each other's best: F. Murtagh, "A Survey of Recent Advances in Hierarchical
    Clustering Algorithms" (1983), with means along borders as in P. Arbelaez et al., "Contour Detection and Hierarchical Image
    Segmentation" (2011). Merging near ties at once is our addition: rounding would choose among equals.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ...utils import without_autocast
from ..filters.box import box_sums
from ..filters.extremes import largest_within
from ..filters.transforms import blurred
from .connected import numbered
from .selections import Pixel, Pixels

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
    """Divides a map (H, W) on the CPU into basins, int64 numbers: pixels from which steepest descent leads to the same minimum.

    Basins at most `shallow` deep join their neighbour, because minima of a flat area are rounding errors.
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
        labels: (H, W) int64, initial regions, numbered from 0 on; so are those returned.
        values: (C, H, W), whose regional means are compared.
        strength: (S, H, W), S measures of the strength of a border through each pixel.
        cost: Function that returns the cost of merging across each border, (E,).
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


STANDS_OUT = 0.2
"""Inverse depth is scaled down for objects that stand out farther than this, as a share of its range."""
VALLEY_SCALE = 2.0
"""Deviation in pixels of the blur before valleys in depth are measured."""
DROP_LIMIT = 0.5
"""Limit of depth drops along an object's border, as a share of how far the object stands out."""
FAR_QUANTILE = 0.05
"""Quantile of inverse depth at the farthest pixels."""

# Patches that are merged.
_PATCH_SCALE = 1.0  # deviation in pixels of the blur before edges are detected
_CREASE_WEIGHT = 20.0  # weight of a valley in depth relative to the slope of colours
_SHALLOW = 3e-5  # least edge strength around a patch. One 8-bit level is 4e-3.

# Borders between regions.
_VALLEY_OFFSET = 2e-5  # added to valleys in depth; too little to make a border of a colour edge alone ...
_COLOUR_VALLEY_OFFSET = 1e-3  # ... and enough for it
_DEEPEST_VALLEY = 0.003  # deeper valleys count as steps
_STEP_WEIGHT = 0.03
_STEEPEST_STEP = 0.05
_HUE_WEIGHT = 5.0
_SHADE_WEIGHT = 0.6  # weight of the logarithm of brightness
_DARK_OFFSET = 0.03  # added to brightness
_MOST_DIFFERENT = _SHADE_WEIGHT * math.log((1 + _DARK_OFFSET) / _DARK_OFFSET)  # the difference of white and black
_ALIKE_COST = 0.2  # weight of a valley between sides of the same colour ...
_ALIKE_COST_WITHOUT_COLOURS = 0.8  # ... and in an image without colours
_SAME_COLOUR = 1 / 255  # an image whose values differ by less has no colours
_PLANE_BORDER_COST = 0.5  # added if only one side is on a plane behind the point
_SMALL_REGION = 300.0  # pixels: regions of this size merge at half the cost
_BORDER_COST = 8.5e-4  # regions merge up to this cost

# Clearness of a region.
_LEAST_DROP_LIMIT = 0.05  # least limit of depth drops, as a share of the range of inverse depth
_DROP_REACH = 3  # distance in pixels from the border at which drops are measured
_COLOUR_WEIGHT = 0.6  # weight of colour contrast; the drop, relative to its limit, has weight 1
_COLOURS_APART = 0.2  # limit of colour contrast

# Corrections. Levels are multiples of the merging cost, of parts by depth and of parts by colours.
_PART_LEVELS = (0.06, 0.12, 0.25, 0.5, 1.0, 2.0)
_COLOUR_PART_LEVELS = (0.12, 0.25, 0.5, 1.0, 2.0, 4.0)
# A changed area should be from one to this many times the disc around the point that touches the region's border.
_MOST_DISCS = 2.0
_MISFIT_COST = 0.2  # cost of a factor of e beyond. Photographs and benchmarks/objects.py are best at 0.15 to 0.2.


def parts_of(
    sharp: Tensor,
    image: Tensor,
    behind: Tensor,
    levels: tuple[float, ...],
    colour_levels: tuple[float, ...] = (),
    marks: Tensor | None = None,
) -> Iterator[Tensor]:
    """Yields the parts at each level, then at each of `colour_levels`: the part number of each pixel, (H, W) int64.

    Args:
        sharp: (H, W), inverse depth as a share of its range.
        image: (1, 3, H, W) RGB in [0, 1].
        behind: (H, W) bool, flat pixels on the planes behind the object.
        levels: Multiples of the merging cost, ascending.
        colour_levels: Multiples at which colour edges alone are borders, too.
        marks: (H, W) of 1 (inside), -1 (outside) and 0; no part holds both marks. None = 0.
    """
    fine = blurred(torch.cat((image, sharp[None, None]), 1), _PATCH_SCALE)[0]
    slopes = torch.stack(torch.gradient(fine, dim=(1, 2))).square().sum((0, 1)).sqrt()
    edges = slopes + _CREASE_WEIGHT * _valleys(sharp, _PATCH_SCALE).clamp(max=_DEEPEST_VALLEY)  # steps have deeper ones at their foot
    valley = largest_within(_valleys(sharp, VALLEY_SCALE)[None, None], 2)[0]
    strength = torch.cat((valley.clamp(max=_DEEPEST_VALLEY), (valley - _DEEPEST_VALLEY).clamp(0, _STEEPEST_STEP)))
    grey = image[0].mean(0) + _DARK_OFFSET
    values = torch.cat((_HUE_WEIGHT * image[0] / (3 * grey), (_SHADE_WEIGHT * grey.log())[None], behind[None].float()))
    alike = _ALIKE_COST_WITHOUT_COLOURS if is_plain(image) else _ALIKE_COST
    patches = watershed(blurred(edges[None, None], 0.7 * _PATCH_SCALE)[0, 0], _SHALLOW)
    marks = torch.zeros_like(patches) if marks is None else marks
    nearer = _nearer_outside(marks)
    patches = _split(patches, nearer, marks)
    for shallowest, multiples in ((_VALLEY_OFFSET, levels), (_COLOUR_VALLEY_OFFSET, colour_levels)):
        parts = patches
        for level in multiples:
            parts = numbered(parts)
            merged = merged_regions(parts, values, strength, partial(_cost, alike, shallowest), level * _BORDER_COST)
            parts = _split(merged, _mostly(nearer, parts, marks), marks)
            yield parts


def is_plain(image: Tensor) -> bool:
    """Whether an image (1, 3, H, W) has no colour contrast."""
    return bool((image.amax((-2, -1)) - image.amin((-2, -1)) < _SAME_COLOUR).all())


def clearness(nearness: Tensor, region: Tensor, most: float, image: Tensor | None = None, part: Tensor | None = None) -> float:
    """The mean drop of inverse depth across a region's border. Maps and masks are (H, W), the image (1, 3, H, W).

    Args:
        most: Limit of drops.
        image: If given, drops are relative to their limit, and the larger one of drop and colour contrast counts.
        part: An added or removed part. If given, only the border that it shares with the region counts.
    """
    inside = region[None, None].float()
    beside = (largest_within(inside, 1) > inside)[0, 0]
    if part is not None:
        beside &= largest_within(part[None, None].float(), 1)[0, 0] > 0
    if not bool(beside.any()):
        return 0.0
    near = largest_within(torch.where(region, nearness, -torch.inf)[None, None], _DROP_REACH)
    far = -largest_within(torch.where(region, -torch.inf, -nearness)[None, None], _DROP_REACH)
    drop = (near - far)[0, 0][beside].clamp(0, most)
    if image is None:
        return float(drop.mean())
    sums = box_sums(torch.cat((image * inside, inside, image * (1 - inside), 1 - inside), 1), _DROP_REACH + 1)[0][:, beside]
    apart = (sums[:3] / sums[3].clamp(min=1) - sums[4:7] / sums[7].clamp(min=1)).square().sum(0).sqrt()
    return float(torch.maximum(drop / most, _COLOUR_WEIGHT * (apart / _COLOURS_APART).clamp(max=1)).mean())


def drop_limit(nearness: Tensor, inside: list[Pixel]) -> float:
    """The limit of depth drops along an object's border, from how far its `inside` pixels stand out from the farthest pixels."""
    near = torch.stack([nearness[pixel] for pixel in inside]).median()
    return max(_LEAST_DROP_LIMIT, DROP_LIMIT * float(near - nearness.quantile(FAR_QUANTILE)))


def corrected(found: Tensor, nearness: Tensor, image: Tensor, behind: Tensor, pixels: Pixels, raised: float) -> Tensor:
    """Adds missing parts to a region (H, W) at inside pixels, and removes parts at outside pixels.

    For a pixel near the region's border, only the border is moved. Maps as in `parts_of`. `raised` is the distance of the object from the
    planes behind it, as a share of the range of inverse depth; 0 in front of a support.
    """
    if all(found[pixel] for pixel in pixels.inside) and not any(found[pixel] for pixel in pixels.outside):
        return found
    marks = pixels.mark(found.shape)
    scaled = nearness * min(1.0, STANDS_OUT / max(raised, 1e-6))
    levels = [*parts_of(scaled, image, behind, _PART_LEVELS, _COLOUR_PART_LEVELS, marks)]
    most = drop_limit(nearness, pixels.inside)
    for pixel in (*pixels.inside, *pixels.outside):
        is_inside = pixel in pixels.inside
        if bool(found[pixel]) == is_inside:
            continue
        nearby = pixels.around(pixel, found.shape)
        is_beside = bool((found[nearby] == is_inside).any())
        disc = math.pi * _distance(found == is_inside, pixel) ** 2
        best, changed = -math.inf, found
        for part in [nearby] if is_beside else [level == level[pixel] for level in levels]:
            region = found | part if is_inside else found & ~part
            discs = max(1, int((region ^ found).sum())) / disc
            misfit = max(0.0, math.log(discs / _MOST_DISCS), -math.log(discs))
            clear = clearness(nearness, region, most, image, part) - _MISFIT_COST * misfit
            if clear > best:
                best, changed = clear, region
        found = changed
    return found


def _distance(others: Tensor, pixel: Pixel) -> float:
    """The distance in pixels of a pixel from the nearest of `others`, (H, W) bool, or from the image's border."""
    rows, columns = others.shape
    row, column = pixel
    down, right = (torch.arange(rows, device="cpu") - row)[:, None], torch.arange(columns, device="cpu") - column
    nearest = (down.square() + right.square()).masked_fill(~others, rows * rows + columns * columns).amin()
    return min(math.sqrt(float(nearest)), row + 1, column + 1, rows - row, columns - column)


@without_autocast
def _nearer_outside(marks: Tensor) -> Tensor:
    """(H, W) bool: pixels that are closer to a mark -1 than to a mark 1; False without both kinds."""
    places = (
        torch.stack(torch.meshgrid(*(torch.arange(side, device="cpu") for side in marks.shape), indexing="ij"), -1).flatten(0, 1).float()
    )
    inside, outside = (places[marks.flatten() == mark] for mark in (1, -1))
    if not len(inside) or not len(outside):
        return torch.zeros_like(marks, dtype=torch.bool)
    return (torch.cdist(places, outside).amin(1) < torch.cdist(places, inside).amin(1)).view_as(marks)


def _mostly(nearer: Tensor, parts: Tensor, marks: Tensor) -> Tensor:
    """(H, W) bool: `nearer`, made constant in each part: a marked part follows its mark, another one the majority of its pixels."""
    sides = (2 * nearer.long() - 1).masked_fill(marks != 0, 0) - parts.numel() * marks
    return (parts.new_zeros(int(parts.max()) + 1).index_add_(0, parts.flatten(), sides.flatten()) > 0)[parts]


def _split(parts: Tensor, nearer: Tensor, marks: Tensor) -> Tensor:
    """Splits the parts (H, W) that hold both marks into the pixels that are `nearer` to an outside mark, and the others."""
    both = torch.zeros(2, int(parts.max()) + 1, dtype=torch.bool, device="cpu")
    both[0, parts[marks < 0]] = both[1, parts[marks > 0]] = True
    return 2 * parts + (nearer & both.all(0)[parts])


def _cost(alike: float, shallowest: float, borders: Borders) -> Tensor:
    """The cost of merging across borders (N,): valley depth times the difference of both sides, plus the step; less for small parts."""
    valley, step = borders.strength.T
    colour = borders.apart[:, :-1].square().sum(1).sqrt().clamp(max=_MOST_DIFFERENT)
    unlike = alike + colour + _PLANE_BORDER_COST * borders.apart[:, -1]
    return ((valley + shallowest) * unlike + _STEP_WEIGHT * step) * borders.smaller / (borders.smaller + _SMALL_REGION)


def _valleys(nearness: Tensor, scale: float) -> Tensor:
    """(H, W): the largest upward curvature of inverse depth; 0 on planes and bulges."""
    down, across = torch.gradient(blurred(nearness[None, None], scale)[0, 0])
    (dd, da), (_, aa) = torch.gradient(down), torch.gradient(across)
    return ((aa + dd) / 2 + torch.hypot((aa - dd) / 2, da)).clamp(min=0)
