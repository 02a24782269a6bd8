"""Horizon-based ambient occlusion, weighted by the cosine to the normal."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...options.checks import check_range, check_whole
from ...utils import constant, dot_products
from ..assumptions import NEAR_FAR_RATIO, assumed_intrinsics, filled_depth
from ..camera import depth_to_points
from ..checks import check_depth, check_intrinsics, check_map, check_mask
from ..conventions import convert_normals, unit_normals
from ..estimate import Estimate
from ..kinds import Axes, Quantity
from ..projections import need_perspective
from ..surfaces.derive import with_normals
from ..surfaces.upsampling import enlarged_along, middles
from .height import FREE, SEAMLESS, check_maps, check_size
from .seamless import wrap
from .slopes import slopes_of

MAX_RADIUS = 1024.0
MIN_DIRECTIONS, MAX_DIRECTIONS = 4, 128

# Growth of sampling distances: near objects are sampled densely, far ones sparsely.
_GROWTH = 1.17
# Pixels per band on a CPU, to stay in its cache, and values per batch on a GPU.
_BAND_PIXELS, _VALUES_AT_ONCE = 2**16, 2**24
_LEAST_FACING = 0.05
# Minimum elevation above the own plane that occludes: normals do not fit the depth exactly.
_OWN_PLANE = 0.02
_LEAST_SQUARE = 1e-12
# Samples along a depth map's longer side, and the minimum radius in samples.
_ALONG, _LEAST_RADIUS = 960, 8
# Distance factor that moves missing surfaces far along their rays, where they occlude nothing.
_BEHIND = 1e3


@torch.no_grad()
def height_to_occlusion(
    height: Tensor, *, radius: float = 64.0, directions: int = 16, borders: str = FREE, weight: Tensor | None = None
) -> Tensor:
    """Ambient occlusion of a height field: the cosine-weighted share of the hemisphere that is open above each point.

    Args:
        height: (B, 1, H, W) in pixels, larger = nearer the viewer; orthographic.
        radius: Range of occluders in pixels, from 1 to `MAX_RADIUS`. Their weight falls from 1 at half of it to 0.
        directions: Number of directions around each point, from `MIN_DIRECTIONS` to `MAX_DIRECTIONS`.
        borders: "free" (nothing beyond them occludes) or "seamless" (the map tiles).
        weight: (B, 1, H, W) bool, where there is a surface; None = everywhere. Other pixels, and heights that are not finite, occlude
            nothing and get 1.

    Returns:
        (B, 1, H, W) in [0, 1]: 1 = the whole hemisphere above the surface is open. A plane has 1, the foot of an endless wall 0.5, a deep
        V-shaped groove with the opening angle a has (1 - cos a) / 2. The device is not synchronised.

    Raises:
        ValueError: Wrong shapes, numbers out of range, or too many pixels.

    Source:
        L. Bavoil, M. Sainz, R. Dimitrov, "Image-space horizon-based ambient occlusion" (2008); J. Jimenez and others, "Practical real-time
        strategies for accurate indirect occlusion" (2016), for the closed-form integral of the cosine above each direction's horizon.
    """
    check_maps(height, 1, "height", borders)
    _check_reach(radius, directions)
    check_mask(weight, height)
    surface = torch.isfinite(height) if weight is None else weight & torch.isfinite(height)
    level = torch.where(surface, height, 0).float()
    slopes = slopes_of(level, borders == SEAMLESS)
    standing, reach = torch.where(surface, level, -torch.inf), math.ceil(radius)
    standing = wrap(standing, (reach, reach)) if borders == SEAMLESS else F.pad(standing, (reach,) * 4, value=-torch.inf)
    open_share = torch.empty_like(level)
    for band in _bands(level):
        open_share[..., band, :] = _open_above(level[..., band, :], slopes[..., band, :], standing, band, radius, directions)
    return torch.where(surface, open_share.clamp_(0, 1), 1)


@torch.no_grad()
def depth_to_occlusion(
    depth: Tensor,
    intrinsics: Tensor,
    normals: Tensor,
    axes: Axes | str = Axes.OPENGL,
    *,
    radius: float = 64.0,
    directions: int = 16,
    weight: Tensor | None = None,
) -> Tensor:
    """Ambient occlusion (B, 1, H, W) in [0, 1], 1 = open, of the visible surfaces in perspective images, as `height_to_occlusion`.

    Args:
        depth: (B, 1, H, W) positive and finite, any unit.
        normals: (B, 3, H, W) unit vectors.
        radius: As there, at the depth of the occluded point. Occluders' weight also falls to 0 where they stand from one to two radii in
            front of the point, as their thickness is unknown.
        weight: (B, 1, H, W) bool, where there is a surface; None = everywhere. Other pixels, such as sky, occlude nothing and get 1.

    Raises:
        ValueError: Wrong shapes, numbers out of range, depth with holes, or too many pixels.

    Source:
        As `height_to_occlusion`; each horizon lies in a plane through the line of sight, as in Jimenez and others.
    """
    check_size(*depth.shape[-2:])
    check_depth(depth)
    check_map(normals, 3, "normals", like=depth)
    check_intrinsics(intrinsics, depth.shape[0], depth)
    check_mask(weight, depth)
    _check_reach(radius, directions)
    facing = unit_normals(convert_normals(normals, axes, Axes.OPENCV), Axes.OPENCV)
    weights = [None] * len(depth) if weight is None else weight.split(1)
    pairs = zip(depth.split(1), intrinsics.split(1), facing.split(1), weights, strict=True)
    return torch.cat([_open_in_view(*image, radius, directions) for image in pairs])


def estimate_to_occlusion(estimate: Estimate, *, radius: float = 64.0, directions: int = 16) -> Tensor:
    """`depth_to_occlusion` of an estimate with depth of any quantity; sky and holes are 1.

    Missing normals are computed from depth, a missing camera is assumed. Raises ValueError: no depth, a projection that is not perspective,
    numbers out of range, or too many pixels.
    """
    need_perspective(estimate, "ambient occlusion")
    if estimate.depth is None:
        raise ValueError("there are normals and no depth, and occlusion needs depth: give a height, as Normal to Height makes it")
    ratio = NEAR_FAR_RATIO if estimate.quantity is Quantity.RELATIVE_DEPTH else None
    surface = with_normals(estimate, near_far_ratio=ratio)
    assert surface.normals is not None
    camera = assumed_intrinsics(estimate)
    options = {"radius": radius, "directions": directions, "weight": surface.valid}
    return depth_to_occlusion(filled_depth(estimate), camera, surface.normals, surface.axes, **options)


def _check_reach(radius: float, directions: int) -> None:
    check_range("radius", radius, 1, MAX_RADIUS)
    check_whole("directions", directions, MIN_DIRECTIONS, MAX_DIRECTIONS)


def _bands(maps: Tensor) -> Iterator[slice]:
    """Slices of rows that are computed in one batch."""
    height, width = maps.shape[-2:]
    rows = height if maps.device.type != "cpu" else max(1, _BAND_PIXELS // width)
    for start in range(0, height, rows):
        yield slice(start, min(start + rows, height))


def _directions(count: int) -> Iterator[tuple[float, float]]:
    """Unit vectors (right, down), evenly spaced around the circle."""
    for index in range(count):
        angle = 2 * math.pi * (index + 0.5) / count
        yield math.cos(angle), math.sin(angle)


def _steps(radius: float, direction: tuple[float, float]) -> Iterator[tuple[int, int, float, float]]:
    """Samples along a direction: whole pixels to the right and downwards, distance in pixels, and weight."""
    distance, last = 1.0, (0, 0)
    while distance <= radius:
        offset = (round(direction[0] * distance), round(direction[1] * distance))
        if offset != last:
            fade = min(1.0, 2 * (1 - distance / radius)) if radius > 2 else 1.0
            if fade > 0:
                yield (*offset, math.hypot(*offset), fade)
        last, distance = offset, max(distance + 1, distance * _GROWTH)


def _open_above(level: Tensor, slopes: Tensor, standing: Tensor, band: slice, radius: float, directions: int) -> Tensor:
    """`height_to_occlusion` of a band of rows: heights (B, 1, h, W), slopes (B, 2, h, W), and its rows in the unpadded map.

    `standing` (B, 1, H, W), padded by the radius on every side, are the heights of occluders, -inf where nothing occludes.
    """
    reach, (rows, width) = math.ceil(radius), level.shape[-2:]
    towards = (slopes.square().sum(1, keepdim=True) + 1).rsqrt_()
    total, whole, (to_right, to_below) = torch.zeros_like(level), torch.zeros_like(level), slopes[None].split(1, 2)
    for some in _together(list(_directions(directions)), level):
        right, down = _numbers(level, some)
        own = _added(to_right * right, to_below, down)
        horizon = own.clone()
        for of_step in _steps_together(radius, some):
            places = [standing[..., reach + band.start + y :, reach + x :][..., :rows, :width] for x, y, *_ in of_step]
            rise = torch.stack(places).sub_(level) if len(places) > 1 else (places[0] - level)[None]
            # Relative to the surface's slope towards exactly these whole pixels, so that a plane does not occlude itself.
            ways = zip(of_step, some, strict=True)
            changes = [(fade / far, along - fade * x / far, below - fade * y / far) for (x, y, far, fade), (along, below) in ways]
            share, along, below = _numbers(level, changes)
            _added(_added(rise.mul_(share), to_right, along), to_below, below)
            torch.maximum(horizon, rise, out=horizon)
        along = -own * towards
        total += _open_to(horizon, along, towards).sum(0)
        whole += _open_to(own, along, towards).sum(0)
    return total.div_(whole)


def _together(directions: list[tuple[float, float]], maps: Tensor) -> Iterator[list[tuple[float, float]]]:
    """Directions in batches: one on a CPU, whose cache a map fills; on a GPU as many as `_VALUES_AT_ONCE` allows."""
    count = 1 if maps.device.type == "cpu" else max(1, _VALUES_AT_ONCE // maps.numel())
    for start in range(0, len(directions), count):
        yield directions[start : start + count]


def _steps_together(radius: float, directions: list[tuple[float, float]]) -> Iterator[list[tuple[int, int, float, float]]]:
    """`_steps` of several directions side by side; a direction with fewer steps repeats its last one."""
    steps = [list(_steps(radius, direction)) for direction in directions]
    for number in range(max(map(len, steps))):
        yield [of_direction[min(number, len(of_direction) - 1)] for of_direction in steps]


def _numbers(like: Tensor, rows: Sequence[tuple[float, ...]]) -> tuple[Any, ...]:
    """Transposes N rows of numbers to columns: tensors (N, 1, 1, 1, 1), or plain numbers if there is one row."""
    return rows[0] if len(rows) == 1 else constant(like, tuple(rows)).view(len(rows), -1, 1, 1, 1, 1).unbind(1)


def _added(total: Tensor, values: Tensor, share: Any) -> Tensor:
    """Adds `share * values` in place. `share` is a tensor or a number, which is faster on a CPU."""
    return total.add_(values, alpha=share) if isinstance(share, float) else total.addcmul_(values, share)


def _open_to(horizon: Tensor, along: Tensor, towards: Tensor) -> Tensor:
    """The integral, over all elevations above the horizon in one direction, of the cosine to the normal times the cosine of the elevation.

    `horizon` is the tangent of the horizon's elevation; `along` and `towards` are the normal's components in the direction and up.
    """
    cosine = (horizon * horizon).add_(1).reciprocal_()
    return (math.pi / 4 - 0.5 * (horizon.atan() + horizon * cosine)).mul_(along).add_(cosine.mul_(0.5).mul_(towards))


def _open_in_view(depth: Tensor, intrinsics: Tensor, normals: Tensor, weight: Tensor | None, radius: float, directions: int) -> Tensor:
    """`depth_to_occlusion` of one image. Heights are measured along each point's line of sight, distances perpendicular to it."""
    points = depth_to_points(depth, intrinsics).float()
    surface = torch.ones_like(depth, dtype=torch.bool) if weight is None else weight
    # The distance in pixels between points whose occlusion is computed. Their occluders are still read at full resolution.
    pitch = max(1, min(round(max(depth.shape[-2:]) / _ALONG), int(radius / _LEAST_RADIUS)))
    rows, columns = (middles(side, pitch, depth.device) for side in depth.shape[-2:])
    first = (int(min(pitch // 2, side - 1)) for side in depth.shape[-2:])
    around = _Around(points, surface, math.ceil(radius), pitch, tuple(first))
    points, facing = (each.index_select(2, rows).index_select(3, columns) for each in (points, normals))
    open_share = torch.empty_like(points[:, :1])
    for band in _bands(open_share):
        open_share[..., band, :] = _open_rows(points[..., band, :], facing[..., band, :], around, band, intrinsics, radius, directions)
    if pitch > 1:
        inverse = 1 / depth.float()
        by_column = inverse.index_select(3, columns)
        open_share = enlarged_along(open_share, by_column.index_select(2, rows), by_column, pitch, 2)
        open_share = enlarged_along(open_share, by_column, inverse, pitch, 3)
    return torch.where(surface, open_share.clamp_(0, 1), 1).to(depth.dtype)


class _Around:
    """Positions (1, 3, H, W), and their squared distances from the camera, around the points at every `pitch`-th pixel.

    Where there is no `surface` (1, 1, H, W), and beyond the border, nothing occludes. `reach` is the largest offset in pixels, `first` the
    row and column of the first point.
    """

    def __init__(self, points: Tensor, surface: Tensor, reach: int, pitch: int, first: tuple[int, ...]) -> None:
        padding = (reach,) * 4
        share = torch.where(F.pad(surface, padding), constant(points, 1.0), constant(points, _BEHIND))
        whole = F.pad(points, padding, mode="replicate") * share
        whole = torch.cat((whole, dot_products(whole, whole)), 1)
        self.pitch, self.start = pitch, tuple(reach + each for each in first)
        # Split by offset within the pitch, so that pixels that are read together are contiguous in memory.
        self.parts = [[whole[..., row::pitch, column::pitch].contiguous() for column in range(pitch)] for row in range(pitch)]

    def shifted(self, x: int, y: int, row: int, rows: int, columns: int) -> Tensor:
        """(1, 4, rows, columns): position and squared distance, x pixels right of and y pixels below the points from row `row` on."""
        down, part = divmod(self.start[0] + y, self.pitch)
        right, other = divmod(self.start[1] + x, self.pitch)
        return self.parts[part][other][..., down + row :, right:][..., :rows, :columns]


def _open_rows(points: Tensor, normals: Tensor, around: _Around, band: slice, intrinsics: Tensor, radius: float, directions: int) -> Tensor:
    away = dot_products(points, points).sqrt_()
    sight = points / -away
    towards = dot_products(normals, sight)
    # Turned, not only bounded: slopes of what is far away must stay the same.
    normals = torch.addcmul(normals, sight, (_LEAST_FACING - towards).clamp_(min=0))
    upright = normals / towards.clamp_(min=_LEAST_FACING)
    plane = dot_products(upright, points).neg_()
    focal_x, focal_y = intrinsics[:, 0, 0].view(1, 1, 1, 1), intrinsics[:, 1, 1].view(1, 1, 1, 1)
    # An occluder's weight falls from 1 to 0 between one and two radii in front of the point, with the radius converted to its depth.
    nearer = torch.minimum(focal_x, focal_y) / (-radius * away)
    most = away * nearer + 2
    total, whole = torch.zeros_like(away), torch.zeros_like(away)
    for right, down in _directions(directions):
        along = _along(torch.cat((right / focal_x, down / focal_y, torch.zeros_like(focal_x)), 1), sight, normals)
        own = -along / towards
        horizon = torch.zeros_like(away)
        for x, y, _, fade in _steps(radius, (right, down)):
            other = around.shifted(x, y, band.start, *away.shape[-2:])
            front = dot_products(other[:, :3], sight)
            beside = torch.addcmul(other[:, 3:], front, front, value=-1).clamp_(min=_LEAST_SQUARE).rsqrt_()
            weight = torch.addcmul(most, front, nearer, out=front).clamp_(0, fade)
            rise = dot_products(other[:, :3], upright).add_(plane).mul_(beside).sub_(_OWN_PLANE)
            torch.maximum(horizon, rise.mul_(weight), out=horizon)
        total += _open_to(horizon.add_(own), along, towards)
        whole += _open_to(own, along, towards)
    return total.div_(whole)


def _along(direction: Tensor, sight: Tensor, normals: Tensor) -> Tensor:
    """The normal's component in a direction (1, 3, 1, 1), projected perpendicular to the line of sight and normalised."""
    forward = dot_products(direction, sight)
    length = (dot_products(direction, direction) - forward * forward).sqrt_()
    return (dot_products(normals, direction) - forward * dot_products(normals, sight)) / length
