"""The whole thing around a point of an image: without what it stands on, hangs on or touches.

The image falls into patches, and neighbours merge until what borders are left are strong: valleys in depth between sides of different
colours, and steps. A valley alone, as between a head and a body, does not end a thing of one colour; nor does an edge of colour alone.
How strong a border is depends on how far the thing stands out: before a wall far behind, the valleys within a person are shallow, whatever
their colours. Of several such regions that is taken around which depth falls off most. Where its feet have the depth
of the floor, a thing merges with it; then colours part them.

In inverse depth a plane of the scene is a plane, whatever the scale and shift of the depth, so floors, tables and walls are found as planes
that many pixels lie on. What the point lies in front of carries or surrounds the thing; a thing's own faces do not, as a convex thing lies
behind them. To lie on such a plane counts like a colour: a plane that runs through a thing by chance cuts no slice out of it, as there is
no valley around the slice.

Further points add and remove parts. Each point has a part at each of several costs of merging, and no part holds both a point of the thing
and one that is not of it. Of these parts that is taken with which the new border of the thing is clearest, by depth and colours.

Source:
    Valleys as borders: S. C. Stein et al., "Object Partitioning using Local Convexity" (2014).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from ...utils import finite_bounds, resize_map
from ..checks import check_depth, check_map
from ..edges.depth_edges import depth_at_image_edges
from ..filters.box import box_sums
from ..filters.extremes import largest_within
from ..filters.guided_filter import mask_at_image_edges
from ..filters.transforms import blurred, blurred_where
from ..levels import FAR_AND_NEAR_END, measure_range_of_samples
from .connected import holes_of, large_regions, opened, regions_with
from .merging import Borders, merged_regions, watershed
from .planes import PLANE_DISTANCE, image_places, largest_plane

_SEARCH_SIDE = 320  # pixels of the longer side, at which the thing is looked for

# Planes in front of which the point may be. Lengths are shares of the range of inverse depth.
_MOST_PLANES = 4
_LEAST_PLANE_SHARE = 0.06  # of the pixels, on each
_LEAST_BORDER_SHARE = 0.05  # of the image's border, on each
_MOST_BEHIND_PLANE = 0.3  # share of the pixels: a plane with more behind it is no background
_BEND_SCALE = 0.06  # share of the width over which networks bend planes
_FLATNESS = (0.006, 0.0225)  # how far off its plane a flat pixel may be: at least, and at most
_MOST_TILT = 0.006  # a pixel, against its plane
_OPENING = 2  # pixels: narrower pieces of a plane are not taken for it
_LEAST_FLAT_REGION = 0.01  # share of the pixels
_IN_FRONT = 0.006  # by how much the point is before a plane behind it
_SUPPORT_RISE = 0.2  # a plane that rises by so much towards the bottom of the image ...
_SUPPORT_AT_BOTTOM = 0.15  # ... and takes up so much of its lowest row carries things
_FAR_QUANTILE = 0.05  # of inverse depth: the farthest

# Patches that are merged.
_PATCH_SCALE = 1.0  # pixels: the deviation of the blur before edges are found
_CREASE_WEIGHT = 20.0  # of a valley in depth, beside a slope of the colours

# Borders between regions.
_VALLEY_SCALE = 2.0  # pixels
_DEEPEST_VALLEY = 0.003  # what is deeper is a step
_VALLEY_OFFSET = 2e-5  # is added to each valley
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

# What stands out far: its inverse depth is measured by how far it does, and of several regions the clearest is taken.
_STANDS_OUT = 0.2
_MERGE_LEVELS = (1.0, 1.25, 1.6, 2.0, 2.5)  # multiples of the cost
_MOST_OF_IMAGE = 0.9  # a larger region is no thing
_CLEARER_THAN_SMALLER = 1.03  # by which factor a larger region must be clearer
_DROP_REACH = 3  # pixels of the border within which depth falls off
_DROP_LIMIT = 0.5  # share of how far the thing stands out: a larger drop counts no more
_LEAST_DROP = 0.25  # the same: the least that is clear

# A region that holds the floor, too: its parts by colour.
_LEAKED_SHARE = 0.2  # of it, on planes behind the point
_COLOUR_VALLEY_OFFSET = 1e-3  # in place of `_VALLEY_OFFSET`, so that colours count
_COLOUR_LEVELS = (1.0, 2.0)
_LEAST_DROP_LIMIT = 0.05
_COLOUR_WEIGHT = 0.6  # of colours that differ, beside the drop's share of its limit
_COLOURS_APART = 0.2  # a larger difference counts no more

_PART_LEVELS = (0.06, 0.12, 0.25, 0.5, 1.0, 2.0)  # multiples of the cost, for the parts at further points
_SMALLEST_VIEW = 16  # pixels of a plane in a hole that stays open


Point = tuple[float, float]
"""x and y, 0 to 1 of the image from its top left corner."""
_Pixel = tuple[int, int]


class _Pixels(NamedTuple):
    """Rows and columns of what a thing holds, the first of which finds it, and of what it does not hold."""

    inside: list[_Pixel]
    outside: list[_Pixel]

    def mark(self, shape: torch.Size) -> Tensor:
        """(H, W) int64: 1 at pixels inside, -1 at those outside, and 0 elsewhere."""
        marks = torch.zeros(shape, dtype=torch.int64)
        for pixels, mark in ((self.inside, 1), (self.outside, -1)):
            for pixel in pixels:
                marks[pixel] = mark
        return marks


def object_around(
    depth: Tensor, image: Tensor, x: float, y: float, more_points: Sequence[Point] = (), not_points: Sequence[Point] = ()
) -> Tensor:
    """The thing that is seen at a point, as a mask whose border follows the image. Computed on the CPU, at about 320 pixels.

    Args:
        depth: (1, 1, H, W), positive and finite, in metres or of unknown scale.
        image: (1, 3, H, W) RGB in [0, 1].
        x, y: The point, 0 to 1 from left to right and from top to bottom.
        more_points: Other points of the thing. Where it lacks one, the part that is seen there is added.
        not_points: Points that are not of the thing. Where it holds one, the part that is seen there is removed.

    Returns:
        (1, 1, H, W) in [0, 1]. At a point of a floor or a wall, that floor or wall.

    Raises:
        ValueError: Maps of wrong shapes, several images, depth that is not positive, or an image with pixels that are NaN or infinite.
    """
    check_depth(depth, batch=1)
    check_map(image, 3, "image", like=depth)
    finite_bounds(image)
    height, width = depth.shape[-2:]
    share = _SEARCH_SIDE / max(height, width)  # small images are enlarged: the numbers above are in pixels
    rows, columns = max(8, round(height * share)), max(8, round(width * share))
    small = resize_map(image.float(), rows, columns).clamp(0, 1).cpu()
    # Constant depth stays constant: nothing of its rounding may be taken for a range.
    soft = resize_map(1 / depth.cpu().double(), rows, columns).float()
    far, near = measure_range_of_samples(soft, torch.ones_like(soft, dtype=torch.bool), FAR_AND_NEAR_END)
    span = (near - far).clamp(min=1e-6 * near)
    sharp = ((1 / depth_at_image_edges(1 / soft, small) - far) / span)[0, 0]
    inside, outside = ([pixel_at(point, rows, columns) for point in points] for points in (((x, y), *more_points), not_points))
    pixels = _Pixels(inside, [pixel for pixel in outside if pixel not in inside])
    behind, floors, raised = _planes_behind(sharp, *inside[0])
    found = _region(sharp, small, behind, floors, raised, *inside[0])
    if more_points or not_points:
        found = _corrected(found, sharp, small, behind, raised, pixels)
    found = _tidied(found, behind, pixels)[None, None].to(image)
    return mask_at_image_edges(resize_map(found, height, width).clamp(0, 1), image, math.ceil(2 / share))


def pixel_at(point: Point, rows: int, columns: int) -> tuple[int, int]:
    """Row and column of the pixel at a point of an image of so many rows and columns."""
    x, y = point
    return min(int(y * rows), rows - 1), min(int(x * columns), columns - 1)


def _planes_behind(nearness: Tensor, row: int, column: int) -> tuple[Tensor, Tensor, float]:
    """The planes in front of which a pixel is.

    Returns:
        Their pixels that lie flat on them, (H, W) bool; all pixels of those far behind, (H, W) bool; and by how much the pixel stands out,
        0 before what carries things.
    """
    places = image_places(*nearness.shape)
    random = torch.Generator().manual_seed(0)
    left, behind = torch.ones_like(nearness, dtype=torch.bool), torch.zeros_like(nearness, dtype=torch.bool)
    floors = behind.clone()
    here = (slice(max(0, row - 1), row + 2), slice(max(0, column - 1), column + 2))
    standing_out = float((nearness[here] - nearness.quantile(_FAR_QUANTILE)).median())
    for _ in range(_MOST_PLANES):
        if left.float().mean() < _LEAST_PLANE_SHARE:
            break
        plane = largest_plane(places, nearness.double(), left, random)
        off = (nearness - places @ plane).float()
        on = left & (off.abs() < PLANE_DISTANCE)
        if on.float().mean() < _LEAST_PLANE_SHARE:
            break
        left &= off.abs() >= 1.5 * PLANE_DISTANCE
        border = torch.cat((on[0], on[-1], on[:, 0], on[:, -1]))
        # Networks bend floors a little: what their planes are off nearby is no thing.
        bend = blurred_where(off[None, None], on[None, None].float(), _BEND_SCALE * nearness.shape[1])[0, 0]
        raised = off - bend
        at_point = raised[here].median()
        is_background = (off < -PLANE_DISTANCE).float().mean() <= _MOST_BEHIND_PLANE and border.float().mean() >= _LEAST_BORDER_SHARE
        if not is_background or at_point < _IN_FRONT:
            continue
        floors |= on & (off[here].median() > 2 * PLANE_DISTANCE)
        is_support = 2 * float(plane[1]) >= _SUPPORT_RISE and on[-1].float().mean() >= _SUPPORT_AT_BOTTOM
        standing_out = 0.0 if is_support else min(standing_out, float(off[here].median()))
        # The pixels of a slice of something round are spread over the whole distance, those of a plane are not.
        spread = max(3 * float(raised[on].abs().median()), _FLATNESS[0])
        if spread <= _FLATNESS[1]:
            tilt = torch.hypot(*torch.gradient(blurred_where(off[None, None], on[None, None].float(), _VALLEY_SCALE)[0, 0]))
            close = (raised.abs() < spread) & (off.abs() < 2 * PLANE_DISTANCE) & (tilt < _MOST_TILT)  # and not where surfaces cross
            flat = opened(close, _OPENING)
            if flat[row, column]:  # a face of the thing itself, from which its middle stands out
                continue
            behind |= large_regions(flat, round(_LEAST_FLAT_REGION * flat.numel()))
    return behind, floors, standing_out


def _region(sharp: Tensor, image: Tensor, behind: Tensor, floors: Tensor, raised: float, row: int, column: int) -> Tensor:
    """(H, W) bool: the region of a pixel that stands out by so much."""
    found = None
    if raised > _STANDS_OUT:
        best = _LEAST_DROP * raised
        for parts in _parts(sharp * (_STANDS_OUT / raised), image, behind, _MERGE_LEVELS):
            region = parts == parts[row, column]
            clear = _clearness(sharp, region, _DROP_LIMIT * raised)
            if region.float().mean() < _MOST_OF_IMAGE and clear > best:
                best, found = _CLEARER_THAN_SMALLER * clear, region
    if found is None:
        (parts,) = _parts(sharp, image, behind, (1.0,))
        found = parts == parts[row, column]
    if not floors[row, column] and floors[found].float().mean() > _LEAKED_SHARE:
        return _part_by_colour(found, sharp, image, behind, row, column)
    return found


def _part_by_colour(whole: Tensor, sharp: Tensor, image: Tensor, behind: Tensor, row: int, column: int) -> Tensor:
    """(H, W) bool: the part of a region around a pixel that depth and colours set off most clearly; all of it, if none is clearer."""
    most = max(_LEAST_DROP_LIMIT, _DROP_LIMIT * float(sharp[row, column] - sharp.quantile(_FAR_QUANTILE)))
    best, found = _clearness(sharp, whole, most, image), whole
    for parts in _parts(sharp, image, behind, _COLOUR_LEVELS, _COLOUR_VALLEY_OFFSET):
        part = whole & (parts == parts[row, column])
        clear = _clearness(sharp, part, most, image)
        if clear > best:
            best, found = _CLEARER_THAN_SMALLER * clear, part
    return found


def _corrected(found: Tensor, sharp: Tensor, image: Tensor, behind: Tensor, raised: float, pixels: _Pixels) -> Tensor:
    """(H, W) bool: a region with the parts at pixels that it lacks, and without those at pixels that it must not hold.

    Of the parts at a pixel, that is taken with which the region's new border is clearest. Beside the border, only the border is moved.
    """
    scale = min(1.0, _STANDS_OUT / max(raised, 1e-6))
    levels = list(_parts(sharp * scale, image, behind, _PART_LEVELS, marks=pixels.mark(sharp.shape)))[::-1]
    standing_out = float(torch.stack([sharp[pixel] for pixel in pixels.inside]).median() - sharp.quantile(_FAR_QUANTILE))
    most = max(_LEAST_DROP_LIMIT, _DROP_LIMIT * standing_out)
    for pixel in (*pixels.inside, *pixels.outside):
        is_inside = pixel in pixels.inside
        if bool(found[pixel]) == is_inside:
            continue
        nearby = _nearby(found, pixel, pixels.outside if is_inside else pixels.inside)
        is_beside = bool((found[nearby] == is_inside).any())
        parts = [nearby] if is_beside else [level == level[pixel] for level in levels]
        regions = [found | part if is_inside else found & ~part for part in parts]
        clear = [_clearness(sharp, region, most, image, part) for region, part in zip(regions, parts, strict=True)]
        found = regions[clear.index(max(clear))]
    return found


def _nearby(found: Tensor, pixel: _Pixel, others: list[_Pixel]) -> Tensor:
    """(H, W) bool: the square around a pixel, but for what is as near to one of the others."""
    rows, columns = (torch.arange(side) for side in found.shape)
    down, right = (rows - pixel[0])[:, None], columns - pixel[1]
    nearby = (down.abs() <= _DROP_REACH) & (right.abs() <= _DROP_REACH)
    for row, column in others:
        nearby &= down.square() + right.square() < (rows - row).square()[:, None] + (columns - column).square()
    return nearby


def _clearness(nearness: Tensor, region: Tensor, most: float, image: Tensor | None = None, part: Tensor | None = None) -> float:
    """How much nearer a region is than what is beside it, up to a limit: the mean along its border.

    With a part that was added or removed, only along the border that both share. With an image as a share of the limit, and different
    colours beside the border count, too.
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


def _parts(
    sharp: Tensor,
    image: Tensor,
    behind: Tensor,
    levels: tuple[float, ...],
    shallowest: float = _VALLEY_OFFSET,
    marks: Tensor | None = None,
) -> Iterator[Tensor]:
    """(H, W) int64, for each level: the number of the thing, floor or wall of each pixel.

    None holds pixels of two marks, which are 1 and -1 in (H, W).
    """
    fine = blurred(torch.cat((image, sharp[None, None]), 1), _PATCH_SCALE)[0]
    slopes = torch.stack(torch.gradient(fine, dim=(1, 2))).square().sum((0, 1)).sqrt()
    edges = slopes + _CREASE_WEIGHT * _valleys(sharp, _PATCH_SCALE).clamp(max=_DEEPEST_VALLEY)  # not at the foot of a step
    valley = largest_within(_valleys(sharp, _VALLEY_SCALE)[None, None], 2)[0]
    strength = torch.cat((valley.clamp(max=_DEEPEST_VALLEY), (valley - _DEEPEST_VALLEY).clamp(0, _STEEPEST_STEP)))
    grey = image[0].mean(0) + _DARK_OFFSET
    is_plain = bool((image.amax((-2, -1)) - image.amin((-2, -1)) < _SAME_COLOUR).all())
    values = torch.cat((_HUE_WEIGHT * image[0] / (3 * grey), (_SHADE_WEIGHT * grey.log())[None], behind[None].float()))
    cost = partial(_cost, _ALIKE_COST_WITHOUT_COLOURS if is_plain else _ALIKE_COST, shallowest)
    parts = watershed(blurred(edges[None, None], 0.7 * _PATCH_SCALE)[0, 0])
    if marks is not None:
        parts = _split(parts, marks)
    for level in levels:
        parts = parts.unique(return_inverse=True)[1]
        parts = merged_regions(parts, values, strength, cost, level * _BORDER_COST, None if marks is None else _marks_of(parts, marks))
        yield parts


def _split(parts: Tensor, marks: Tensor) -> Tensor:
    """Parts (H, W) none of which holds two marks: 1 and -1 in (H, W). Such a part is split by which of its pixels is nearer."""
    places = torch.stack(torch.meshgrid(*map(torch.arange, parts.shape), indexing="ij"), -1).flatten(0, 1).float()
    inside, outside = (places[marks.flatten() == mark] for mark in (1, -1))
    if not len(outside):
        return parts
    nearer = (torch.cdist(places, outside).amin(1) < torch.cdist(places, inside).amin(1)).view_as(parts)
    return 2 * parts + (nearer & torch.isin(parts, parts[marks < 0]) & torch.isin(parts, parts[marks > 0]))


def _marks_of(parts: Tensor, marks: Tensor) -> Tensor:
    """(N,) int64: the mark of each of N parts, 0 of those without one."""
    return torch.zeros(int(parts.max()) + 1, dtype=torch.int64).index_add_(0, parts.flatten(), marks.flatten()).sign()


def _cost(alike: float, shallowest: float, borders: Borders) -> Tensor:
    """What merging across borders costs: how deep the valley is, times how much the sides differ, and the step; less of a small part."""
    valley, step = borders.strength.T
    colour = borders.apart[:, :-1].square().sum(1).sqrt().clamp(max=_MOST_DIFFERENT)
    unlike = alike + colour + _PLANE_BORDER_COST * borders.apart[:, -1]
    return ((valley + shallowest) * unlike + _STEP_WEIGHT * step) * borders.smaller / (borders.smaller + _SMALL_REGION)


def _valleys(nearness: Tensor, scale: float) -> Tensor:
    """(H, W): how much inverse depth bends up, in the direction in which it does most; 0 on planes and on what bulges."""
    down, across = torch.gradient(blurred(nearness[None, None], scale)[0, 0])
    (dd, da), (_, aa) = torch.gradient(down), torch.gradient(across)
    return ((aa + dd) / 2 + torch.hypot((aa - dd) / 2, da)).clamp(min=0)


def _tidied(found: Tensor, behind: Tensor, pixels: _Pixels) -> Tensor:
    """A region without threads of a pixel's width and what is not connected with pixels inside, and with its holes closed.

    A hole stays open where a plane is seen through it, or that holds a pixel outside.
    """
    marks = pixels.mark(found.shape)
    broad = opened(found, 1)
    if bool(broad[marks > 0].all()):
        found = regions_with(broad, marks > 0)
    holes = holes_of(found)
    holes &= ~regions_with(holes, marks < 0)
    return found | (holes & ~large_regions(holes & behind, _SMALLEST_VIEW))
