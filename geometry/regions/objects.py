"""Segments the whole object at a point, without its support and other objects that it touches.

The image is divided into patches, and neighbours merge until the remaining borders are strong: valleys in depth between sides of
different colours, and depth steps. A valley alone, as between head and body, does not end an object of one colour; nor does a colour edge
alone. The required strength depends on how far the object stands out: in front of a distant wall, valleys within a person are shallow,
whatever their colours. Of several candidate regions, the largest one whose border is about as clear as the clearest is taken. On a floor, a
part without feet belongs to the part below it: a face to a coat, a coat to trousers. Where feet have the floor's depth, the object merges
with the floor; then colours separate them.

Planes of the scene are planes in inverse depth, whatever its scale and shift, so floors, tables and walls are found as planes with many
pixels. Planes behind the point support or surround the object. An object's own faces do not, as a convex object lies behind them. Lying on
such a plane counts like a colour: a plane that crosses an object by chance does not cut a slice out of it, as there is no valley around
the slice.

Further points add and remove parts (see `parts.corrected`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ...options.values import Point
from ...utils import resize_map
from ..filters.guided_filter import mask_at_image_edges
from ..filters.transforms import blurred, blurred_where
from .connected import holes_of, large_regions, numbered, opened, regions_with
from .parts import DROP_LIMIT, FAR_QUANTILE, STANDS_OUT, VALLEY_SCALE, clearness, corrected, drop_limit, is_plain, parts_of
from .planes import PLANE_DISTANCE, above_planes, image_places, largest_plane
from .selections import Pixels, check_maps_of_one, pixels_at, small_scene

_SEARCH_SIDE = 320  # pixels of the longer side at which the object is searched

# Planes behind the point. Distances are shares of the range of inverse depth.
_MOST_PLANES = 4
_LEAST_PLANE_SHARE = 0.06  # least share of the pixels on a plane
_LEAST_BORDER_SHARE = 0.05  # least share of the image's border on a plane
_MOST_BEHIND_PLANE = 0.3  # largest share of pixels behind a background plane
_BEND_SCALE = 0.06  # share of the width over which networks bend planes
_FLATNESS = (0.006, 0.0225)  # tolerated distance of flat pixels from their plane: bounds
_MOST_TILT = 0.006  # largest slope per pixel of flat pixels, relative to their plane
_OPENING = 2  # pixels: narrower pieces of a plane are removed
_LEAST_FLAT_REGION = 0.01  # least share of the pixels in a flat region
_IN_FRONT = 0.006  # least distance of the point from a plane behind it
_SUPPORT_RISE = 0.2  # a plane is a support if inverse depth rises by this towards the bottom of the image ...
_SUPPORT_AT_BOTTOM = 0.2  # ... and it covers this share of the bottom row

# Objects that stand out far: inverse depth is scaled down accordingly, and the clearest of several regions is taken.
_MERGE_LEVELS = (1.0, 1.25, 1.6, 2.0, 2.5)  # multiples of the merging cost
_MOST_OF_IMAGE = 0.9  # largest area of an object, as a share of the image
_AS_CLEAR = 0.85  # the largest region with at least this share of the best clearness is taken
_CLEARER_THAN_SMALLER = 1.03  # factor by which a larger part by colours must be clearer than a smaller one
_LEAST_DROP = 0.25  # least clearness, as a share of how far the object stands out

# On a support, a part without feet belongs to an adjacent part below it.
_FOOT_HEIGHT = 0.05  # largest height of a foot above the support, as a share of the range of inverse depth
_MOST_FEET = 15  # a part with more pixels at that height has feet
_LEAST_BELOW = 0.25  # one part is above another along at least this share of their border
_MOST_STEP = 0.3  # largest depth step between them, as a share of their height above the support

# A region that includes the floor is divided by colours.
_LEAKED_SHARE = 0.2  # share of the region on planes behind the point, from which it includes the floor
_COLOUR_LEVELS = (1.0, 2.0)

# The foreground.
_FOREGROUND_SCALE = 6.0  # pixels: narrower objects are blurred away
_AT_CORNERS = 0.5  # weight of nearness in the image's corners; 1 in the middle

_SMALLEST_VIEW = 16  # pixels of a background plane in a hole that stays open


def object_around(
    depth: Tensor, image: Tensor, x: float, y: float, more_points: Sequence[Point] = (), not_points: Sequence[Point] = ()
) -> Tensor:
    """Segments the object at a point, as a mask that follows the image's edges. Computed on the CPU, at about 320 pixels.

    Args:
        depth: (1, 1, H, W), positive and finite, in metres or of unknown scale.
        image: (1, 3, H, W) RGB in [0, 1].
        x, y: The point, 0 to 1 from left to right and from top to bottom.
        more_points: Other points on the object. A missing part at such a point is added.
        not_points: Points outside the object. A part at such a point is removed.

    Returns:
        (1, 1, H, W) in [0, 1]. At a point of a floor or a wall, that floor or wall.

    Raises:
        ValueError: Maps of wrong shapes, several images, depth that is not positive, or an image with pixels that are NaN or infinite.
    """
    return _object_at(_search_scene(depth, image), image, ((x, y), *more_points), not_points)


def foreground_object(depth: Tensor, image: Tensor) -> tuple[Point, Tensor]:
    """Segments the object that stands out most from floors, tables and walls; the middle of the image is preferred.

    Returns a point on the object, as relative x and y, and the mask of `object_around`, whose arguments and errors these are.
    """
    nearness, *_ = scene = _search_scene(depth, image)
    _, raised = above_planes(nearness, torch.ones_like(nearness, dtype=torch.bool))
    rows, columns = raised.shape
    away = image_places(rows, columns)[..., :2].square().sum(-1).float() / 2
    standing_out = blurred((raised * (1 - (1 - _AT_CORNERS) * away))[None, None], _FOREGROUND_SCALE)
    row, column = divmod(int(standing_out.argmax()), columns)
    point = (column + 0.5) / columns, (row + 0.5) / rows
    return point, _object_at(scene, image, (point,), ())


def _search_scene(depth: Tensor, image: Tensor) -> tuple[Tensor, Tensor, float]:
    """Nearness (h, w) and colours (1, 3, h, w) at the search resolution, and that resolution as a share of the image's."""
    check_maps_of_one(depth, image)
    height, width = depth.shape[-2:]
    share = _SEARCH_SIDE / max(height, width)  # small images are enlarged, as constants are in pixels of this size
    return *small_scene(depth, image, max(8, round(height * share)), max(8, round(width * share))), share


def _object_at(scene: tuple[Tensor, Tensor, float], image: Tensor, points: Sequence[Point], not_points: Sequence[Point]) -> Tensor:
    """`object_around` in a prepared scene."""
    sharp, small, share = scene
    pixels = pixels_at(points, not_points, *sharp.shape)
    behind, floors, raised, height_above = _planes_behind(sharp, *pixels.inside[0])
    region = _region(sharp, small, behind, floors, raised, height_above, *pixels.inside[0])
    region = corrected(region, sharp, small, behind, pixels, raised)
    region = _tidied(region, behind, pixels)[None, None].to(image)
    return mask_at_image_edges(resize_map(region, image.shape[-2], image.shape[-1]).clamp(0, 1), image, math.ceil(2 / share))


def _planes_behind(nearness: Tensor, row: int, column: int) -> tuple[Tensor, Tensor, float, Tensor | None]:
    """The planes behind a pixel: four values.

    Flat pixels on these planes, (H, W) bool. Pixels of the planes that the pixel is clearly in front of, (H, W) bool. How far the pixel
    stands out, in inverse depth, 0 in front of a support. Height above the supports in inverse depth, (H, W), None without a support.
    """
    places = image_places(*nearness.shape)
    random = torch.Generator().manual_seed(0)
    left, behind = torch.ones_like(nearness, dtype=torch.bool), torch.zeros_like(nearness, dtype=torch.bool)
    floors, above = behind.clone(), None
    here = (slice(max(0, row - 1), row + 2), slice(max(0, column - 1), column + 2))
    standing_out = float((nearness[here] - nearness.quantile(FAR_QUANTILE)).median())
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
        # Networks bend floors slightly: the local mean deviation from the plane is not an object.
        bend = blurred_where(off[None, None], on[None, None].float(), _BEND_SCALE * nearness.shape[1])[0, 0]
        raised = off - bend
        at_point = raised[here].median()
        is_background = (off < -PLANE_DISTANCE).float().mean() <= _MOST_BEHIND_PLANE and border.float().mean() >= _LEAST_BORDER_SHARE
        if not is_background or at_point < _IN_FRONT:
            continue
        floors |= on & (off[here].median() > 2 * PLANE_DISTANCE)
        is_support = 2 * float(plane[1]) >= _SUPPORT_RISE and on[-1].float().mean() >= _SUPPORT_AT_BOTTOM
        standing_out = 0.0 if is_support else min(standing_out, float(off[here].median()))
        if is_support:
            above = off if above is None else torch.minimum(above, off)
        # Pixels in a slice of a round object scatter over the whole tolerance; pixels of a plane do not.
        spread = max(3 * float(raised[on].abs().median()), _FLATNESS[0])
        if spread <= _FLATNESS[1]:
            tilt = torch.hypot(*torch.gradient(blurred_where(off[None, None], on[None, None].float(), VALLEY_SCALE)[0, 0]))
            close = (raised.abs() < spread) & (off.abs() < 2 * PLANE_DISTANCE) & (tilt < _MOST_TILT)  # and not where surfaces cross
            flat = opened(close, _OPENING)
            if flat[row, column]:  # a face of the object itself, from which its middle stands out
                continue
            behind |= large_regions(flat, round(_LEAST_FLAT_REGION * flat.numel()))
    return behind, floors, standing_out, above


def _region(
    sharp: Tensor, image: Tensor, behind: Tensor, floors: Tensor, raised: float, above: Tensor | None, row: int, column: int
) -> Tensor:
    """(H, W) bool: the object's region around a pixel. `behind`, `floors`, `raised` and `above` are from `_planes_behind`."""
    clear_regions = []
    if raised > STANDS_OUT:
        for parts in parts_of(sharp * (STANDS_OUT / raised), image, behind, _MERGE_LEVELS):
            region = parts == parts[row, column]
            clear = clearness(sharp, region, DROP_LIMIT * raised)
            if region.float().mean() < _MOST_OF_IMAGE and clear > _LEAST_DROP * raised:
                clear_regions.append((clear, region))
    if clear_regions:
        clearest = max(clear for clear, _ in clear_regions)
        chosen = whole = [region for clear, region in clear_regions if clear >= _AS_CLEAR * clearest][-1]
    else:
        (parts,) = parts_of(sharp, image, behind, (1.0,))
        chosen = whole = parts == parts[row, column]
        if above is not None and not is_plain(image):  # depth alone does not separate a coat from trousers
            whole = _with_carried(parts, chosen, sharp, above, floors)
    if floors[row, column]:
        return chosen
    if floors[chosen].float().mean() > _LEAKED_SHARE:
        return _part_by_colour(chosen, sharp, image, behind, row, column)
    return whole


def _with_carried(parts: Tensor, found: Tensor, sharp: Tensor, above: Tensor, floors: Tensor) -> Tensor:
    """Joins a part `found` (H, W) with the `parts` (H, W) above and below it, if there is no depth step between them.

    `above` is the height above the support in inverse depth. Parts that are mostly on `floors`, planes behind the object, are excluded.
    """
    parts = numbered(parts)
    numbers = parts.flatten()
    size = numbers.bincount().float()
    values = torch.stack((above.abs() < _FOOT_HEIGHT, above, floors), -1).flatten(0, 1)
    feet, heights, on_floors = _sums(numbers, values, len(size)).unbind(1)
    is_floor = on_floors > size / 2
    (upper, lower, steps), (left, right, steps_across) = (_border_steps(parts, sharp, dim) for dim in (0, 1))
    # Borders of each part: with parts below, above, to the right and to the left.
    sides = ((upper, lower, steps), (lower, upper, steps), (left, right, steps_across), (right, left, steps_across))
    taken = torch.zeros_like(is_floor)
    taken[parts[found]] = True
    while True:
        shared = [_sums(one, torch.stack((taken[other].float(), apart * taken[other]), 1), len(size)) for one, other, apart in sides]
        on, under = shared[0][:, 0], shared[1][:, 0]
        length, step = torch.stack(shared).sum(0).unbind(1)
        low = torch.minimum(heights / size, heights[taken].sum() / size[taken].sum()).clamp(min=0)
        is_carried = (on >= _LEAST_BELOW * length) & (feet <= _MOST_FEET)
        carries = (under >= _LEAST_BELOW * length) & (feet[taken].sum() <= _MOST_FEET)
        new = (length > 0) & ~taken & ~is_floor & (step <= _MOST_STEP * low * length) & (is_carried | carries)
        if not bool(new.any()):
            return taken[parts]
        taken |= new


def _sums(numbers: Tensor, values: Tensor, count: int) -> Tensor:
    """(count, C): the sums of the values (N, C) that have each number (N,)."""
    return values.new_zeros(count, values.shape[1]).index_add_(0, numbers, values)


def _border_steps(parts: Tensor, sharp: Tensor, dim: int) -> tuple[Tensor, Tensor, Tensor]:
    """The parts on both sides of each border pixel along an axis, and the difference of inverse depth one pixel away from the border."""
    last = parts.shape[dim] - 1
    first, second = parts.narrow(dim, 0, last), parts.narrow(dim, 1, last)
    places = torch.arange(last, device="cpu")
    before, after = sharp.index_select(dim, (places - 1).clamp(min=0)), sharp.index_select(dim, (places + 2).clamp(max=last))
    here = first != second
    return first[here], second[here], (before - after).abs()[here]


def _part_by_colour(whole: Tensor, sharp: Tensor, image: Tensor, behind: Tensor, row: int, column: int) -> Tensor:
    """(H, W) bool: the part around a pixel with the clearest border by depth and colours; the whole region if no part is clearer."""
    most = drop_limit(sharp, [(row, column)])
    best, clearest = clearness(sharp, whole, most, image), whole
    for parts in parts_of(sharp, image, behind, (), _COLOUR_LEVELS):
        part = whole & (parts == parts[row, column])
        clear = clearness(sharp, part, most, image)
        if clear > best:
            best, clearest = _CLEARER_THAN_SMALLER * clear, part
    return clearest


def _tidied(found: Tensor, behind: Tensor, pixels: Pixels) -> Tensor:
    """Removes threads, and parts without an inside pixel, and closes holes without an outside pixel or a plane visible in them."""
    marks = pixels.mark(found.shape)
    broad = opened(found, 1)
    if bool(broad[marks > 0].all()):
        found = regions_with(broad, marks > 0)
    holes = holes_of(found)
    holes &= ~regions_with(holes, marks < 0)
    return found | (holes & ~large_regions(holes & behind, _SMALLEST_VIEW))
