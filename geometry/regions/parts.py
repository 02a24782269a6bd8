"""Image parts: patches without an inner edge, merged until the remaining borders are strong.

Borders are valleys in depth between sides of different colours, and steps. A valley alone, as between head and body, does not end a
part of one colour; nor does a colour edge alone, except at `colour_levels`.

Points correct a region by whole parts. Each point has a candidate part at several merging costs, by depth and by colours, and no part holds
both an inside and an outside point. The candidate is taken that gives the region's new border the best clearness, by depth
and colours, and that fits the point: users point at the middle of an error. So at a sliver of background beside hair the part is
small, although the whole person has a clearer border, and in the middle of a floor it is large.

Source:
    Valleys as borders: S. C. Stein et al., "Object Partitioning using Local Convexity" (2014).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from ...utils import without_autocast
from ..filters.box import box_sums
from ..filters.extremes import largest_within
from ..filters.transforms import blurred
from .connected import numbered
from .merging import Borders, merged_regions, watershed
from .points import Pixel, Pixels

STANDS_OUT = 0.2
"""Of what is farther before the planes behind it, inverse depth is measured by how far it is."""
VALLEY_SCALE = 2.0
"""Deviation in pixels of the blur before valleys in depth are measured."""
DROP_LIMIT = 0.5
"""Share of how far a thing stands out: a larger drop along its border counts no more."""
FAR_QUANTILE = 0.05
"""Of inverse depth: what is farthest."""

# Patches that are merged.
_PATCH_SCALE = 1.0  # pixels: the deviation of the blur before edges are found
_CREASE_WEIGHT = 20.0  # of a valley in depth, beside a slope of the colours
_SHALLOW = 3e-5  # of both: what a patch has around it at least. A level of 8 bits is 4e-3.

# Borders between regions.
_VALLEY_OFFSET = 2e-5  # is added to each valley in depth, so that an edge of colour alone is no border ...
_COLOUR_VALLEY_OFFSET = 1e-3  # ... and where colours alone are borders
_DEEPEST_VALLEY = 0.003  # what is deeper is a step
_STEP_WEIGHT = 0.03
_STEEPEST_STEP = 0.05
_HUE_WEIGHT = 5.0
_SHADE_WEIGHT = 0.6  # of the logarithm of brightness
_DARK_OFFSET = 0.03  # is added to brightness
_MOST_DIFFERENT = _SHADE_WEIGHT * math.log((1 + _DARK_OFFSET) / _DARK_OFFSET)  # white from black
_ALIKE_COST = 0.2  # what a valley between sides of the same colour counts ...
_ALIKE_COST_WITHOUT_COLOURS = 0.8  # ... in an image without colours
_SAME_COLOUR = 1 / 255  # an image whose colours differ less has none
_PLANE_BORDER_COST = 0.5  # added where one side is of a plane behind the point
_SMALL_REGION = 300.0  # pixels: regions of so many merge at half the cost
_BORDER_COST = 8.5e-4  # what costs more to merge across is a border

# How clear a region is.
_LEAST_DROP_LIMIT = 0.05  # share of the range of inverse depth: the least that may be the limit of what a drop counts
_DROP_REACH = 3  # pixels of the border within which depth falls off
_COLOUR_WEIGHT = 0.6  # of colours that differ, beside the drop's share of its limit
_COLOURS_APART = 0.2  # a larger difference counts no more

# Corrections. Levels are multiples of the cost, of parts by depth and of parts by colours.
_PART_LEVELS = (0.06, 0.12, 0.25, 0.5, 1.0, 2.0)
_COLOUR_PART_LEVELS = (0.12, 0.25, 0.5, 1.0, 2.0, 4.0)
# Of a disc around the point, up to the border of the region: what is changed has its area, up to so many times.
_MOST_DISCS = 2.0
_MISFIT_COST = 0.2  # of e times as much, or as little. Photographs and benchmarks/objects.py are best at 0.15 to 0.2.


def parts_of(
    sharp: Tensor,
    image: Tensor,
    behind: Tensor,
    levels: tuple[float, ...],
    colour_levels: tuple[float, ...] = (),
    marks: Tensor | None = None,
) -> Iterator[Tensor]:
    """(H, W) int64, for each level: the part number of each pixel. At `colour_levels`, colours alone form borders.

    No part holds pixels of both marks, which are 1 and -1 in (H, W).
    """
    fine = blurred(torch.cat((image, sharp[None, None]), 1), _PATCH_SCALE)[0]
    slopes = torch.stack(torch.gradient(fine, dim=(1, 2))).square().sum((0, 1)).sqrt()
    edges = slopes + _CREASE_WEIGHT * _valleys(sharp, _PATCH_SCALE).clamp(max=_DEEPEST_VALLEY)  # not at the foot of a step
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
    """How much nearer a region is than its surroundings, clamped to a limit: the mean along its border.

    With an added or removed part, only along the border that both share. With an image, as a share of the limit, and colour contrast
    across the border counts, too.
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
    """The limit of a drop along an object's border, by how far its pixels stand out from the farthest."""
    near = torch.stack([nearness[pixel] for pixel in inside]).median()
    return max(_LEAST_DROP_LIMIT, DROP_LIMIT * float(near - nearness.quantile(FAR_QUANTILE)))


def corrected(
    found: Tensor,
    nearness: Tensor,
    image: Tensor,
    behind: Tensor,
    pixels: Pixels,
    raised: float,
) -> Tensor:
    """Adds the missing parts at inside pixels, and removes parts at outside pixels.

    Near the region's border, only the border is moved.

    Args:
        found: (H, W) bool, on the CPU.
        nearness: (H, W), inverse depth as a share of its range.
        image: (1, 3, H, W) RGB in [0, 1].
        behind: (H, W) bool, pixels flat on the planes behind the object.
        pixels: Inside and outside pixels.
        raised: How far the object is before the planes behind it, 0 before a support.

    Returns:
        (H, W) bool.
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
    """How far a pixel is from the nearest of others, (H, W) bool, or the border of the image."""
    rows, columns = others.shape
    row, column = pixel
    down, right = (torch.arange(rows) - row)[:, None], torch.arange(columns) - column
    nearest = (down.square() + right.square()).masked_fill(~others, rows * rows + columns * columns).amin()
    return min(math.sqrt(float(nearest)), row + 1, column + 1, rows - row, columns - column)


@without_autocast
def _nearer_outside(marks: Tensor) -> Tensor:
    """(H, W) bool: what is nearer to a mark -1 than to a mark 1, of (H, W)."""
    places = torch.stack(torch.meshgrid(*map(torch.arange, marks.shape), indexing="ij"), -1).flatten(0, 1).float()
    inside, outside = (places[marks.flatten() == mark] for mark in (1, -1))
    if not len(inside) or not len(outside):
        return torch.zeros_like(marks, dtype=torch.bool)
    return (torch.cdist(places, outside).amin(1) < torch.cdist(places, inside).amin(1)).view_as(marks)


def _mostly(nearer: Tensor, parts: Tensor, marks: Tensor) -> Tensor:
    """What is `nearer`, by whole parts: a part with a mark is on its side, and one without where most of its pixels are."""
    sides = (2 * nearer.long() - 1).masked_fill(marks != 0, 0) - parts.numel() * marks
    return (torch.zeros(int(parts.max()) + 1, dtype=torch.int64).index_add_(0, parts.flatten(), sides.flatten()) > 0)[parts]


def _split(parts: Tensor, nearer: Tensor, marks: Tensor) -> Tensor:
    """Parts (H, W), those that hold both marks in two: what is nearer to an outside one, and what is not."""
    both = torch.zeros(2, int(parts.max()) + 1, dtype=torch.bool)
    both[0, parts[marks < 0]] = both[1, parts[marks > 0]] = True
    return 2 * parts + (nearer & both.all(0)[parts])


def _cost(alike: float, shallowest: float, borders: Borders) -> Tensor:
    """The cost of merging across borders: valley depth times the sides' difference, plus the step; reduced for small parts."""
    valley, step = borders.strength.T
    colour = borders.apart[:, :-1].square().sum(1).sqrt().clamp(max=_MOST_DIFFERENT)
    unlike = alike + colour + _PLANE_BORDER_COST * borders.apart[:, -1]
    return ((valley + shallowest) * unlike + _STEP_WEIGHT * step) * borders.smaller / (borders.smaller + _SMALL_REGION)


def _valleys(nearness: Tensor, scale: float) -> Tensor:
    """(H, W): the largest upward curvature of inverse depth; 0 on planes and bulges."""
    down, across = torch.gradient(blurred(nearness[None, None], scale)[0, 0])
    (dd, da), (_, aa) = torch.gradient(down), torch.gradient(across)
    return ((aa + dd) / 2 + torch.hypot((aa - dd) / 2, da)).clamp(min=0)
