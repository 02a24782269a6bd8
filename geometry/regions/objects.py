"""The whole thing around a point of an image: without what it stands on, hangs on or touches.

In inverse depth a plane of the scene is a plane, whatever the scale and shift of the depth, so floors, tables and walls are found as planes
that many pixels lie on. What the point lies in front of carries or surrounds the thing; a thing's own faces do not, as a convex thing lies
behind them. What then hangs together with the point, without a step in depth, is the thing and what touches it. Things that touch have a
valley between them, mostly with an edge in the image: the region around the point that stays the same, however deep a valley is taken for
a border, is the thing alone.

Source:
    Valleys as borders: S. C. Stein et al., "Object Partitioning using Local Convexity" (2014). The region that stays the same: J. Matas et
    al., "Robust Wide Baseline Stereo from Maximally Stable Extremal Regions" (2002). Their use together, of one point, is ours.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...utils import resize_map
from ..checks import check_depth, check_map
from ..edges.depth_edges import depth_at_image_edges, largest_within
from ..edges.guided_filter import mask_at_image_edges
from ..images.levels import FAR_AND_NEAR_END, measure_range_of_samples
from ..textures.transforms import blurred, blurred_where
from .connected import connected_to, holes_of, large_regions, opened, region_around
from .planes import PLANE_DISTANCE, image_places, largest_plane

# Pixels of the longer side at which it is looked for.
_SIDE = 320
# Of planes: how many, the least share of the image and of its border, how far off their pixels are as shares of the range of inverse
# depth after what networks bend is taken out, over what share of the width, and by what the point is in front.
_PLANES, _LEAST, _AT_BORDER = 4, 0.06, 0.05
_CLOSE, _BENT, _IN_FRONT, _REGION = (0.006, 0.02), 0.06, 0.006, 0.01
# A step between neighbours, where inverse depth is so steep before it was sharpened: textures sharpen into steps, too.
_STEP, _STEEP = 0.02, 0.006
# The scale of valleys in pixels, the levels of their depth, and from which on, and over how many levels, a border is one.
_SCALE, _LEVELS, _GROWTH, _SURE, _STABLE = 2.0, 30, 1.25, 6e-4, 4
_SHALLOWEST = 1e-4
# A region is the same until it grows by that; and what is smaller than this share of all, or than so many pixels, is no thing.
_SAME, _PART, _FEW = 1.15, 0.04, 60
# How strong an edge of the image doubles a valley's depth, on top of the share that counts without one.
_EDGE, _WITHOUT = 0.1, 0.2
_HOLE, _STEPPED, _BROAD, _TILT = 16, 0.02, 2, 0.006


def object_around(depth: Tensor, image: Tensor, x: float, y: float) -> Tensor:
    """The thing that is seen at a point, as a mask whose border follows the image. Computed on the CPU, at about 320 pixels.

    Args:
        depth: (1, 1, H, W), positive and finite, in metres or of unknown scale.
        image: (1, 3, H, W) RGB in [0, 1].
        x, y: The point, 0 to 1 from left to right and from top to bottom.

    Returns:
        (1, 1, H, W) in [0, 1]. At a point of a floor or a wall, that floor or wall.

    Raises:
        ValueError: Maps of wrong shapes, or depth that is not positive.
    """
    check_depth(depth)
    check_map(image, 3, "image", like=depth)
    height, width = depth.shape[-2:]
    share = min(1.0, _SIDE / max(height, width))
    rows, columns = max(8, round(height * share)), max(8, round(width * share))
    small = resize_map(image, rows, columns).clamp(0, 1).cpu().float()
    soft = resize_map(1 / depth, rows, columns).cpu().float().clamp(min=1e-9)
    far, near = measure_range_of_samples(soft, torch.ones_like(soft, dtype=torch.bool), FAR_AND_NEAR_END)
    span = (near - far).clamp(min=1e-6 * near)
    sharp = (1 / depth_at_image_edges(1 / soft, small) / span)[0, 0]
    soft = (soft / span)[0, 0]
    row, column = min(int(y * rows), rows - 1), min(int(x * columns), columns - 1)
    behind = _planes_behind(sharp, row, column)
    surface = _surface(sharp, soft, ~behind, row, column)
    if _stepped_border(surface, sharp) < _STEPPED:  # the planes are faces of the thing itself, which fills the image
        behind = torch.zeros_like(behind)
        surface = _surface(sharp, soft, ~behind, row, column)
    found = _without_neighbours(surface, sharp, small, row, column)
    found = _tidied(found, behind, row, column)[None, None].to(image)
    return mask_at_image_edges(resize_map(found, height, width).clamp(0, 1), image, math.ceil(2 / share))


def _planes_behind(nearness: Tensor, row: int, column: int) -> Tensor:
    """(H, W) bool: the pixels of planes in front of which a pixel is."""
    places = image_places(*nearness.shape)
    random = torch.Generator().manual_seed(0)
    left, behind = torch.ones_like(nearness, dtype=torch.bool), torch.zeros_like(nearness, dtype=torch.bool)
    for _ in range(_PLANES):
        if left.float().mean() < _LEAST:
            break
        off = (nearness - places @ largest_plane(places, nearness.double(), left, random)).float()
        on = left & (off.abs() < PLANE_DISTANCE)
        if on.float().mean() < _LEAST:
            break
        left &= off.abs() >= 1.5 * PLANE_DISTANCE
        border = torch.cat((on[0], on[-1], on[:, 0], on[:, -1]))
        # Networks bend floors a little: what their planes are off nearby is no thing.
        bend = blurred_where(off[None, None], on[None, None].float(), _BENT * nearness.shape[1])[0, 0]
        raised = off - bend
        at_point = raised[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2].median()
        if border.float().mean() >= _AT_BORDER and at_point >= _IN_FRONT:
            spread = min(max(3 * float(raised[on].abs().median()), _CLOSE[0]), _CLOSE[1])
            tilt = torch.hypot(*torch.gradient(blurred_where(off[None, None], on[None, None].float(), _SCALE)[0, 0]))
            close = (raised.abs() < spread) & (off.abs() < 2 * PLANE_DISTANCE) & (tilt < _TILT)  # and not where surfaces cross
            flat = opened(close, _BROAD)
            behind |= large_regions(flat, round(_REGION * flat.numel()))
    return behind


def _surface(sharp: Tensor, soft: Tensor, allowed: Tensor, row: int, column: int) -> Tensor:
    """(H, W) bool: what hangs together with a pixel without a step."""
    allowed = allowed.clone()
    allowed[max(0, row - 2) : row + 3, max(0, column - 2) : column + 3] = True
    steep = torch.hypot(*torch.gradient(soft)) > _STEEP
    across = (sharp.diff(dim=1).abs() > _STEP) & (steep[:, :-1] | steep[:, 1:])
    down = (sharp.diff(dim=0).abs() > _STEP) & (steep[:-1] | steep[1:])
    return connected_to(row, column, allowed[:, :-1] & allowed[:, 1:] & ~across, allowed[:-1] & allowed[1:] & ~down)


def _stepped_border(surface: Tensor, sharp: Tensor) -> float:
    """The share of a region's border at which there is a step in depth."""
    sides = [surface.diff(dim=dim) for dim in (0, 1)]
    steps = [(sharp.diff(dim=dim).abs() > _STEP) & side for dim, side in enumerate(sides)]
    return sum(int(each.sum()) for each in steps) / max(1, sum(int(each.sum()) for each in sides))


def _without_neighbours(surface: Tensor, nearness: Tensor, image: Tensor, row: int, column: int) -> Tensor:
    """(H, W) bool: the part of a surface that the deepest valleys around a pixel bound; all of it where there are none."""
    valley = _valleys(nearness, surface) * (_WITHOUT + _image_edges(image) / _EDGE)
    parts = [_basin(surface, valley, _SHALLOWEST * _GROWTH**level, row, column) for level in range(_LEVELS)]
    areas, least = [int(part.sum()) for part in parts], max(_FEW, _PART * float(surface.sum()))
    first = 0
    while first < _LEVELS:
        last = first
        while last + 1 < _LEVELS and areas[last + 1] <= _SAME * areas[first] + 5:
            last += 1
        deepest = _SHALLOWEST * _GROWTH**last
        if last == _LEVELS - 1:
            break
        if last - first + 1 >= _STABLE and areas[first] > least and deepest > _SURE:
            return _grown(parts[last], surface & (valley < deepest) & ~parts[last], surface)
        first += 1
    return surface


def _valleys(nearness: Tensor, surface: Tensor) -> Tensor:
    """(H, W): how much inverse depth bends up, in the direction in which it does most; 0 on planes and on what bulges."""
    smooth = blurred_where(nearness[None, None], surface[None, None].float(), _SCALE)[0, 0]
    down, across = torch.gradient(smooth)
    (dd, da), (_, aa) = torch.gradient(down), torch.gradient(across)
    return ((aa + dd) / 2 + torch.hypot((aa - dd) / 2, da)).clamp(min=0)


def _image_edges(image: Tensor) -> Tensor:
    """(H, W): the greatest slope of the colours within two pixels."""
    slopes = torch.gradient(blurred(image, 0.75 * _SCALE)[0], dim=(1, 2))
    strength = torch.stack(slopes).square().sum((0, 1)).sqrt()
    return largest_within(strength[None, None], 2)[0, 0]


def _basin(surface: Tensor, valley: Tensor, depth: float, row: int, column: int) -> Tensor:
    """(H, W) bool: what of a surface is reached from a pixel without passing a valley of that depth."""
    allowed = surface & (valley < depth)
    around = slice(max(0, row - 1), row + 2), slice(max(0, column - 1), column + 2)
    allowed[around] |= surface[around]
    return region_around(torch.zeros_like(valley), allowed, row, column, 1.0)


def _grown(part: Tensor, others: Tensor, surface: Tensor) -> Tensor:
    """A part and the others grown over the valley between them until they meet."""
    for _ in range(6 * round(_SCALE)):
        more, more_others = (largest_within(each[None, None].float(), 1)[0, 0] > 0 for each in (part, others))
        part, others = part | (more & surface & ~others & ~more_others), others | (more_others & surface & ~part & ~more)
    return part | (surface & ~others & (largest_within(part[None, None].float(), 1)[0, 0] > 0))


def _tidied(found: Tensor, behind: Tensor, row: int, column: int) -> Tensor:
    """A region without threads of a pixel's width, and with its holes closed where no plane is seen through them."""
    broad = opened(found, 1)
    if broad[row, column]:
        found = region_around(torch.zeros(found.shape), broad, row, column, 1.0)
    holes = holes_of(found)
    return found | (holes & ~large_regions(holes & behind, _HOLE))
