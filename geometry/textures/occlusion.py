"""Horizon-based ambient occlusion, weighted by the cosine to the normal."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...options.checks import check_choice, check_range, check_whole
from ...utils import kept_constants
from ..assumptions import NEAR_FAR_RATIO, assumed_intrinsics, filled_depth
from ..camera import depth_to_points
from ..checks import check_depth, check_intrinsics, check_map, check_mask
from ..conventions import convert_normals, unit_normals
from ..estimate import Estimate
from ..kinds import Axes, Quantity
from ..projections import need_perspective
from ..surfaces.derive import with_normals
from ..surfaces.upsampling import enlarged_along, middles
from .height import BORDERS, FREE, SEAMLESS, check_size
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


def height_to_occlusion(
    height: Tensor, *, radius: float = 64.0, directions: int = 16, borders: str = FREE, weight: Tensor | None = None
) -> Tensor:
    """The share of the sky that a height field leaves open, in an orthographic view.

    Args:
        height: (B, 1, H, W) in pixels, larger = nearer the viewer.
        radius: What is farther than this many pixels hides nothing; from half of it on it hides less and less.
        directions: Round each point.
        borders: "free" (nothing stands beyond) or "seamless".
        weight: (B, 1, H, W) bool, where there is a surface; None = everywhere. The rest hides nothing and is open.

    Returns:
        (B, 1, H, W) in [0, 1]: 1 = all of the hemisphere above the surface is open. A plane is 1, the foot of an endless wall 0.5, a
        V-shaped groove of opening angle a (1 - cos a) / 2. The device is not synchronised.

    Raises:
        ValueError: Wrong shapes, numbers out of range, or too many pixels.

    Source:
        L. Bavoil, M. Sainz, R. Dimitrov, "Image-space horizon-based ambient occlusion" (2008). For each direction the integral of the
        cosine over all elevations above the horizon is taken in closed form, as J. Jimenez and others, "Practical real-time strategies for
        accurate indirect occlusion" (2016), do.
    """
    check_map(height, 1, "height")
    check_size(*height.shape[-2:])
    check_choice("borders", borders, BORDERS)
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
    """The share of the sky that the things in an image leave open to each point in it, as far as the image shows them.

    Args:
        depth: (B, 1, H, W) positive and finite, any unit.
        intrinsics: (B, 3, 3), pixels.
        normals: (B, 3, H, W) unit vectors.
        radius: How far things hide the sky, in pixels of the image at the point's own depth. What stands more than that in front of the
            point hides it less and less, for what is behind its edge is not known.
        directions: Round each point.
        weight: (B, 1, H, W) bool, where there is a surface; None = everywhere. The rest, such as sky, hides nothing and is open.

    Returns:
        (B, 1, H, W) in [0, 1], 1 = open.

    Raises:
        ValueError: Wrong shapes or numbers, depth with holes, or too many pixels.

    Source:
        As `height_to_occlusion`; horizons are measured in the planes that hold the line of sight, as Jimenez and others do.
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
    """Ambient occlusion of the things in images.

    Args:
        estimate: With depth of any quantity; without normals they are computed, without a camera an assumed one is taken.
        radius, directions: As `depth_to_occlusion`.

    Returns:
        (B, 1, H, W) in [0, 1], 1 = open, as sky and holes are.

    Raises:
        ValueError: No depth, or numbers out of range.
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
    """Rows to be computed together."""
    height, width = maps.shape[-2:]
    rows = height if maps.device.type != "cpu" else max(1, _BAND_PIXELS // width)
    for start in range(0, height, rows):
        yield slice(start, min(start + rows, height))


def _directions(count: int) -> Iterator[tuple[float, float]]:
    """(right, down) round the circle."""
    for index in range(count):
        angle = 2 * math.pi * (index + 0.5) / count
        yield math.cos(angle), math.sin(angle)


def _steps(radius: float, direction: tuple[float, float]) -> Iterator[tuple[int, int, float, float]]:
    """Whole pixels to the right and downwards along a direction, their distance, and their weight."""
    distance, last = 1.0, (0, 0)
    while distance <= radius:
        offset = (round(direction[0] * distance), round(direction[1] * distance))
        if offset != last:
            fade = min(1.0, 2 * (1 - distance / radius)) if radius > 2 else 1.0
            if fade > 0:
                yield (*offset, math.hypot(*offset), fade)
        last, distance = offset, max(distance + 1, distance * _GROWTH)


def _open_above(level: Tensor, slopes: Tensor, standing: Tensor, band: slice, radius: float, directions: int) -> Tensor:
    """`height_to_occlusion` of a band of rows, whose surroundings are in `standing`."""
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
            # Against the surface's own slope in the very direction of whole pixels: planes hide nothing of themselves.
            changes = [(fade / distance, -fade * x / distance, -fade * y / distance) for x, y, distance, fade in of_step]
            share, along, below = _numbers(level, changes)
            _added(_added(rise.mul_(share), to_right, right + along), to_below, down + below)
            torch.maximum(horizon, rise, out=horizon)
        along = -own * towards
        total += _open_to(horizon, along, towards).sum(0)
        whole += _open_to(own, along, towards).sum(0)
    return total.div_(whole)


def _together(directions: list[tuple[float, float]], maps: Tensor) -> Iterator[list[tuple[float, float]]]:
    """The directions that are looked into together: one on a CPU, whose cache a map fills, and as many on a GPU as memory is granted."""
    count = 1 if maps.device.type == "cpu" else max(1, _VALUES_AT_ONCE // maps.numel())
    for start in range(0, len(directions), count):
        yield directions[start : start + count]


def _steps_together(radius: float, directions: list[tuple[float, float]]) -> Iterator[list[tuple[int, int, float, float]]]:
    """`_steps` of several directions side by side; the last step is made again where there are fewer."""
    steps = [list(_steps(radius, direction)) for direction in directions]
    for number in range(max(map(len, steps))):
        yield [of_direction[min(number, len(of_direction) - 1)] for of_direction in steps]


def _numbers(like: Tensor, rows: Sequence[tuple[float, ...]]) -> tuple[Any, ...]:
    """The columns of rows of numbers, as tensors (N, 1, 1, 1, 1); numbers if there is one row."""
    return rows[0] if len(rows) == 1 else _columns(like, tuple(rows))


@kept_constants
def _columns(rows: tuple[tuple[float, ...], ...]) -> tuple[Tensor, ...]:
    return torch.tensor(rows).view(len(rows), -1, 1, 1, 1, 1).unbind(1)


def _added(total: Tensor, values: Tensor, share: Any) -> Tensor:
    """Adds so many times the values, in place; numbers in place of tensors take a CPU less time."""
    return total.add_(values, alpha=share) if isinstance(share, float) else total.addcmul_(values, share)


def _open_to(horizon: Tensor, along: Tensor, towards: Tensor) -> Tensor:
    """The integral, over all elevations above a horizon of one direction, of the cosine to the normal times that of the elevation.

    Args:
        horizon: Its slope; the tangent of its elevation.
        along: The normal's component in that direction.
        towards: The normal's component to the zenith.
    """
    cosine = (horizon * horizon).add_(1).reciprocal_()
    return (math.pi / 4 - 0.5 * (horizon.atan() + horizon * cosine)).mul_(along).add_(cosine.mul_(0.5).mul_(towards))


def _open_in_view(depth: Tensor, intrinsics: Tensor, normals: Tensor, weight: Tensor | None, radius: float, directions: int) -> Tensor:
    """`depth_to_occlusion` of one image. Heights are measured along the line of sight of each point, distances at right angles to it."""
    points = depth_to_points(depth, intrinsics).float()
    surface = torch.ones_like(depth, dtype=torch.bool) if weight is None else weight
    pitch = _pitch(depth, radius)
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


def _pitch(depth: Tensor, radius: float) -> int:
    """At every how many pixels occlusion is computed; all of the map is looked at from there."""
    return max(1, min(round(max(depth.shape[-2:]) / _ALONG), int(radius / _LEAST_RADIUS)))


class _Around:
    """The surroundings of the points at every `pitch`-th pixel: positions, and their squared distance from the camera."""

    def __init__(self, points: Tensor, surface: Tensor, reach: int, pitch: int, first: tuple[int, ...]) -> None:
        padding = (reach,) * 4
        whole = F.pad(points, padding, mode="replicate") * torch.where(F.pad(surface, padding), 1, _BEHIND)
        whole = torch.cat((whole, _dot(whole, whole)), 1)
        self.pitch, self.start = pitch, tuple(reach + each for each in first)
        # Pixels that are read together lie together in memory.
        self.parts = [[whole[..., row::pitch, column::pitch].contiguous() for column in range(pitch)] for row in range(pitch)]

    def shifted(self, x: int, y: int, row: int, rows: int, columns: int) -> Tensor:
        """(1, 4, rows, columns): x pixels to the right of and y below the points of the rows from `row` on."""
        down, part = divmod(self.start[0] + y, self.pitch)
        right, other = divmod(self.start[1] + x, self.pitch)
        return self.parts[part][other][..., down + row :, right:][..., :rows, :columns]


def _open_rows(points: Tensor, normals: Tensor, around: _Around, band: slice, intrinsics: Tensor, radius: float, directions: int) -> Tensor:
    away = _dot(points, points).sqrt_()
    sight = points / -away
    towards = _dot(normals, sight)
    # Turned, not only bounded: slopes of what is far away must stay the same.
    normals = torch.addcmul(normals, sight, (_LEAST_FACING - towards).clamp_(min=0))
    upright = normals / towards.clamp_(min=_LEAST_FACING)
    plane = _dot(upright, points).neg_()
    focal_x, focal_y = intrinsics[:, 0, 0].view(1, 1, 1, 1), intrinsics[:, 1, 1].view(1, 1, 1, 1)
    # How far in front of a point what hides it may stand: as far as the radius reaches to its sides.
    nearer = torch.minimum(focal_x, focal_y) / (-radius * away)
    most = away * nearer + 2
    total, whole = torch.zeros_like(away), torch.zeros_like(away)
    for right, down in _directions(directions):
        along = _along(torch.cat((right / focal_x, down / focal_y, torch.zeros_like(focal_x)), 1), sight, normals)
        own = -along / towards
        horizon = torch.zeros_like(away)
        for x, y, _, fade in _steps(radius, (right, down)):
            other = around.shifted(x, y, band.start, *away.shape[-2:])
            front = _dot(other[:, :3], sight)
            beside = torch.addcmul(other[:, 3:], front, front, value=-1).clamp_(min=_LEAST_SQUARE).rsqrt_()
            weight = torch.addcmul(most, front, nearer, out=front).clamp_(0, fade)
            rise = _dot(other[:, :3], upright).add_(plane).mul_(beside).sub_(_OWN_PLANE)
            torch.maximum(horizon, rise.mul_(weight), out=horizon)
        total += _open_to(horizon.add_(own), along, towards)
        whole += _open_to(own, along, towards)
    return total.div_(whole)


def _along(direction: Tensor, sight: Tensor, normals: Tensor) -> Tensor:
    """The normal's component in a direction (1, 3, 1, 1) that is made perpendicular to the line of sight and unit."""
    forward = _dot(direction, sight)
    length = (_dot(direction, direction) - forward * forward).sqrt_()
    return (_dot(normals, direction) - forward * _dot(normals, sight)) / length


def _dot(first: Tensor, second: Tensor) -> Tensor:
    """(B, 1, H, W). Written out: a sum over so few channels is many times as slow on a CPU."""
    a, b = first.split(1, 1), second.split(1, 1)
    return (a[0] * b[0]).addcmul_(a[1], b[1]).addcmul_(a[2], b[2])
