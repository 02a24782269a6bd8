"""Cast shadows by marching rays from surfaces to a lamp through the depth map.

Rays start at every n-th pixel and are searched in the whole map. What they find is smoothed and enlarged along surfaces, not across their
edges. From surfaces to an area light each ray of a square of 4x4 goes to another part of it; smoothing brings the parts together.

Source:
    A. Keller and W. Heidrich, "Interleaved sampling" (2001); J. Kopf et al., "Joint bilateral upsampling" (2007).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ...utils import kept_constants, resize_map, unit_vectors, vector_lengths
from ..checks import check_depth, check_intrinsics
from ..edges.depth_edges import EDGE
from ..filters.box import box_means
from ..filters.chosen_pixels import ChosenPixels
from ..filters.extremes import largest_within, neighbours_largest
from ..levels import measure_range_of_samples
from ..surfaces.upsampling import ANOTHER, enlarged_along, means_along, middles, surface_slope
from .lights import Light, placed_on

_MIN_STEPS, _MAX_STEPS, _PIXELS_A_STEP = 64, 256, 4
# Rays along the longer side of the image, and how many points are processed in one batch: on a GPU, and in a CPU's cache.
_RAYS_ALONG, _POINTS_AT_ONCE, _POINTS_IN_CACHE = 480, 1 << 22, 1 << 17
# How far behind a surface a ray must pass to be in its shadow, in shares of that surface's depth: 8-bit depth has steps of almost 0.01.
_BIAS = 0.01
_PENUMBRA = 0.01
# The share of half an object's thickness over which its shadow begins at most: steps through thin objects seldom meet their middle.
_RIM = 0.25
# Shadows of objects near the border fade over this share of half the image, as what stands beyond it is unknown.
_BORDER = 0.1
# A pixel's distance from the rim of its object, in rays: what is measured, and what stands for farther ones.
_RADII, _WIDEST = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32), 1e4
# An object's thickness at its rim, as a share of its depth, and by how many times the distance from its rim it is thicker inside.
_THINNEST, _ROUND = 0.01, 2.0
# The parts of an area light: places in a square of rays, in an order that puts neighbours far apart.
_TILE = 4
_ORDER = (0, 8, 2, 10, 12, 4, 14, 6, 3, 11, 1, 9, 15, 7, 13, 5)
# By how many steps the rays of a tile differ in length: where a step of one just misses a rim, another's meets it. Smoothing brings them
# together, so that shadows end in straight lines, not in combs. Images below this many pixels are not worth the softness.
_STAGGER, _SMALL = 4.0, 128
# A network's error: of inverse depth, in shares of the geometric mean of its value and its range, and beyond that of the range of most
# pixels, between these percentiles; and of where the edge of a shadow lies, in shares of the way from what casts it.
_ERROR, _LEAST_ERROR, _MOST, _SPREAD = 0.03, 0.02, (5.0, 95.0), 0.08
# The standard deviations of the smoothings, in rays, by which shadows get as soft as they should be, and the weights of five rays in a line
# that have the variance of their distance, squared. Those of a tile's rays let no pattern of tiles pass.
_SMOOTHINGS = (1, 2, 4, 8)
_SPREAD_MEANS, _TILE_MEANS = (1, 4, 6, 4, 1), (1, 2, 3, 4, 3, 2, 1)


def cast_shadow(
    depth: Tensor,
    intrinsics: Tensor,
    light: Light,
    *,
    thickness: float = 0.3,
    doubt: Tensor | None = None,
    blur: Tensor | None = None,
) -> Tensor:
    """Shadows: where an object stands between the surface and the lamp.

    Args:
        depth: (B, 1, H, W) planar depth, positive and finite, in the unit of the lamp's position.
        intrinsics: (B, 3, 3), pixels.
        light: The lamp; its `size` makes its shadows soft.
        thickness: How far things reach behind what is seen of them, in shares of their depth. A depth map does not say it.
        doubt: (B, 1, 1, 1), 1 where depth is a network's, down to 0 where it is true. A network's ripples in a plain wall cast no shadows,
            and its shadows grow softer with the distance from what casts them. None = 0.
        blur: (B, 1, h, w) of any size, how far out of focus the photo is, as standard deviation in pixels of `depth`: a shadow there is as
            blurred as all else. None = 0.

    Returns:
        (B, 1, H, W), 0 (the lamp is seen) to 1 (hidden). Things outside the image cast no shadow. A directional light's rays are
        searched as far as the farthest surface, or as the surface's own depth where they come towards the viewer.

    Raises:
        ValueError: Maps or intrinsics of the wrong shape, or depth that is not positive and finite.
    """
    check_depth(depth)
    check_intrinsics(intrinsics, depth.shape[0], depth)
    return cast_shadows(depth, intrinsics, (light,), thickness=thickness, doubt=doubt, blur=blur)


def cast_shadows(
    depth: Tensor,
    intrinsics: Tensor,
    lights: Sequence[Light],
    *,
    thickness: float = 0.3,
    doubt: Tensor | None = None,
    blur: Tensor | None = None,
) -> Tensor:
    """`cast_shadow` of several lamps together, of depth and a camera that were checked: (B, lamps, H, W)."""
    if torch.finfo(depth.dtype).bits < 32:  # half precision cannot count the columns of an image
        return cast_shadows(depth.float(), intrinsics.float(), lights, thickness=thickness, doubt=doubt, blur=blur).to(depth)
    height, width = depth.shape[-2:]
    pitch = max(1, round(max(height, width) / _RAYS_ALONG))
    rows, columns = (middles(n, pitch, depth.device) for n in (height, width))
    inverse = 1 / depth
    by_column = inverse.index_select(3, columns)
    small = by_column.index_select(2, rows)
    places = _Places(rows.to(depth).view(-1, 1), columns.to(depth))
    doubt = None if doubt is None else doubt.to(depth)
    casters = inverse if doubt is None else _less_error(inverse, doubt)
    cameras = intrinsics.to(depth)
    halves = half_thickness(inverse, (cameras[:, 0, 0] + cameras[:, 1, 1]) / 2, thickness)
    images = list(zip(*(each.split(1) for each in (inverse, small, cameras, casters, halves)), strict=True))
    rays = [[_Rays.of(own, starts, camera, places, light) for light in lights] for own, starts, camera, *_ in images]
    # One question for all. Image by image: how many steps a ray takes depends on the image, and not on those beside it.
    lengths = iter(torch.stack([each.longest for of_image in rays for each in of_image]).tolist())
    tiled = [light.size > 0 or max(height, width) >= _SMALL for light in lights]
    marches = [
        [
            _RayMarch.of(own, starts, each, next(lengths), is_tiled).run(casting, half, doubt is not None)
            for each, is_tiled in zip(of_image, tiled, strict=True)
        ]
        for of_image, (own, starts, _, casting, half) in zip(rays, images, strict=True)
    ]
    hidden = torch.cat([torch.cat([each.hidden for each in of_image], 1) for of_image in marches])
    slopes = {axis: surface_slope(small, axis) for axis in (2, 3)}
    # Means over a tile, twice, let no pattern of tiles pass.
    parts = []
    for is_tiled, some in groupby(zip(tiled, hidden.split(1, 1), strict=True), key=lambda each: each[0]):
        part = torch.cat([each for _, each in some], 1)
        parts.append(_smoothed(part, small, slopes, _TILE_MEANS) if is_tiled else part)
    hidden = torch.cat(parts, 1)
    variance = None if blur is None else (resize_map(blur.to(depth), small.shape[2], small.shape[3]) / pitch).square()
    if doubt is not None:
        way = torch.cat([torch.cat([each.way for each in of_image if each.way is not None], 1) for of_image in marches])
        of_way = (doubt * _SPREAD / pitch * _mean_way(hidden, way)).square()
        variance = of_way if variance is None else variance + of_way
    if variance is not None:
        hidden = _softened(hidden, small, slopes, variance)
    if pitch == 1:
        return hidden
    return enlarged_along(enlarged_along(hidden, small, by_column, pitch, 2), by_column, inverse, pitch, 3)


def _less_error(inverse: Tensor, doubt: Tensor) -> Tensor:
    """Inverse depth of what casts shadows, moved away by what may be the network's error."""
    span = inverse.amax((2, 3), keepdim=True) - inverse.amin((2, 3), keepdim=True)
    far, near = measure_range_of_samples(inverse, torch.ones_like(inverse, dtype=torch.bool), _MOST)
    return inverse - (inverse * span).sqrt_().mul_(_ERROR).add_((near - far).mul_(_LEAST_ERROR)).mul_(doubt)


class _Places(NamedTuple):
    """The pixels of an image where rays start: rows (h, 1) and columns (w,)."""

    rows: Tensor
    columns: Tensor


class _Hidden(NamedTuple):
    """What rays from surfaces to a lamp meet.

    Attributes:
        hidden: (1, 1, h, w), how much of the lamp is hidden.
        way: How many pixels away on the screen stands what hides it; None where it is not measured.
    """

    hidden: Tensor
    way: Tensor | None


class _Rays(NamedTuple):
    """Rays of one image from surfaces to a lamp, up to the image's border.

    Attributes:
        places: Where rays start.
        inside: (1, 1, h, w), the share of the way to the lamp up to the image's border, where rays end.
        column_way, row_way, inverse_way: (1, 1, h, w), how far rays go to their ends.
        longest: (), how many pixels long they are on average.
    """

    places: _Places
    inside: Tensor
    column_way: Tensor
    row_way: Tensor
    inverse_way: Tensor
    longest: Tensor

    @classmethod
    def of(cls, inverse: Tensor, small: Tensor, intrinsics: Tensor, places: _Places, light: Light) -> _Rays:
        """The rays to a lamp, of an image and its camera (1, 3, 3)."""
        height, width = inverse.shape[-2:]
        rows, columns = places
        end_column, end_row, end_inverse = _ray_ends(small, rows, columns, intrinsics, light)
        column_way, row_way = end_column - columns, end_row - rows
        # Rays are searched as far as the border.
        inside = torch.minimum(_share_inside(columns, column_way, width), _share_inside(rows, row_way, height))
        column_way, row_way, inverse_way = (way * inside for way in (column_way, row_way, end_inverse - small))
        return cls(places, inside, column_way, row_way, inverse_way, torch.maximum(column_way.abs(), row_way.abs()).mean())


@dataclass(frozen=True)
class _RayMarch:
    """Rays of one image from surfaces to a lamp, straight lines on the screen, along which inverse depth is linear, too.

    Attributes:
        inverse: (1, 1, H, W) inverse depth of all pixels.
        small: (1, 1, h, w), where rays start.
        places: Where rays start.
        inside: (1, 1, h, w), the share of the way to the lamp up to the image's border, where rays end.
        column_way, row_way, inverse_way: (1, 1, h, w), how far rays go to their ends.
        steps: How many points of each are looked at.
    """

    inverse: Tensor
    small: Tensor
    places: _Places
    inside: Tensor
    column_way: Tensor
    row_way: Tensor
    inverse_way: Tensor
    steps: int

    @classmethod
    def of(cls, inverse: Tensor, small: Tensor, rays: _Rays, longest: float, tiled: bool) -> _RayMarch:
        """`longest` is that of the rays, as a number; `tiled` = those of a tile differ in length."""
        ways = rays.column_way, rays.row_way, rays.inverse_way
        steps = max(_MIN_STEPS, min(_MAX_STEPS, math.ceil(longest / _PIXELS_A_STEP)))
        if tiled:
            shortened = 1 - _tiled(small) * (_STAGGER / _TILE**2 / steps)
            ways = tuple(way * shortened for way in ways)
        return cls(inverse, small, rays.places, rays.inside, *ways, steps)

    def run(self, casters: Tensor, halves: Tensor, measured: bool) -> _Hidden:
        """Looks along the rays.

        Args:
            casters: (1, 1, H, W), the inverse depth of what casts shadows.
            halves: (1, 1, H, W), its `half_thickness`.
            measured: Whether the way is, too.
        """
        inverse, small = self.inverse, self.small
        width, on_cpu = inverse.shape[-1], inverse.device.type == "cpu"
        table, fade, halves = casters.reshape(-1), _fade(inverse).reshape(-1), halves.reshape(-1)
        from_column, from_row = self.places.columns + 0.5, self.places.rows + 0.5
        hidden, farness = torch.zeros_like(small), torch.zeros_like(small) if measured else None
        inverse_step = self.inverse_way.abs()
        for share, step in self._points():
            column = torch.addcmul(from_column, share, self.column_way).int()
            index = torch.addcmul(from_row, share, self.row_way).int().mul_(width).add_(column)
            ray = torch.addcmul(small, share, self.inverse_way)
            hit = table.index_select(0, index.flatten()).view_as(ray)
            if not on_cpu or len(ray) > 1:
                index = index.flatten()
                found = _cover(halves.index_select(0, index).view_as(ray), hit, ray, step * inverse_step, share * self.inside)
                most, first_most = found.mul_(fade.index_select(0, index).view_as(found)).max(0)
                if farness is not None:
                    farness = torch.where(most > hidden, share.flatten()[first_most], farness)
                hidden = torch.maximum(hidden, most, out=hidden)
                continue
            # Most rays pass before the surface, where nothing is hidden from them: the rest is done for the others alone.
            behind = ChosenPixels(hit > ray * (1 + _BIAS))
            index, hit, ray, half_step, way = map(behind.take, (index, hit, ray, inverse_step, self.inside))
            found = _cover(halves.index_select(0, index), hit, ray, half_step.mul_(step.flatten()), way.mul_(share.flatten()))
            found.mul_(fade.index_select(0, index))
            before = behind.take(hidden)
            if farness is not None:
                farness = behind.put(farness, torch.where(found > before, share.flatten(), behind.take(farness)))
            hidden = behind.put(hidden, found.maximum(before))
        return _Hidden(hidden.div_(_RIM), None if farness is None else farness * torch.hypot(self.column_way, self.row_way))

    def _points(self) -> Iterator[tuple[Tensor, Tensor]]:
        """How far along the rays each point is, and half the step to it, as shares of the rays: (n, 1, 1, 1, 1) each, n points at once."""
        inverse = self.inverse
        # Short steps near the surface, where contact shadows begin.
        shares, halves = (each.to(inverse) for each in _shares_of_steps(inverse, self.steps))
        at_once = max(1, (_POINTS_IN_CACHE if inverse.device.type == "cpu" else _POINTS_AT_ONCE) // self.small.numel())
        return zip(*(each.view(-1, 1, 1, 1, 1).split(at_once) for each in (shares, halves)), strict=True)


@kept_constants
def _shares_of_steps(steps: int) -> tuple[Tensor, Tensor]:
    """How far along a ray each of its points is, and half the step to it."""
    shares = (torch.arange(1, steps + 1, dtype=torch.float32) / steps) ** 1.5
    return shares, torch.cat((shares[:1], shares.diff())) / 2


def _cover(half: Tensor, hit: Tensor, ray: Tensor, half_step: Tensor, way: Tensor) -> Tensor:
    """How much of the lamp surfaces hide from rays, times _RIM, which spares a product; 0 or less where nothing.

    Args:
        half: Half the thickness of each surface, as a share of its depth.
        hit: Its inverse depth.
        ray: The ray's.
        half_step: Half a step of the ray, in inverse depth.
        way: The share of the whole ray that lies behind the point.
    """
    # The ray is tested half a step back and half a step on, so that it does not skip thin objects.
    half = torch.addcdiv(half, half_step, ray)
    # 1 where the ray passes behind the surface by at most the object's thickness; 0 on either side.
    behind = (hit / ray).sub_(1 + _BIAS)
    softness = torch.minimum((way * (4 * _PENUMBRA / _RIM)).add_(_PENUMBRA / _RIM), half)
    return half.sub_(behind.sub_(half).abs_()).div_(softness).clamp_(max=_RIM)


def _ray_ends(small: Tensor, rows: Tensor, columns: Tensor, intrinsics: Tensor, light: Light) -> tuple[Tensor, Tensor, Tensor]:
    """Columns, rows and inverse depth where the rays to the lamp end; all three are linear along them on the screen."""
    fx, skew, cx, fy, cy = (intrinsics[:, i, j].view(-1, 1, 1, 1) for i, j in ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2)))
    depth = 1 / small
    y = (rows - cy) / fy
    points = torch.cat(torch.broadcast_tensors(((columns - cx) - skew * y) / fx * depth, y * depth, depth), 1)
    right, up, back = light.position
    lamp = placed_on((right, -up, -back), small)
    way = lamp - points if light.is_point else unit_vectors(lamp).expand_as(points)
    if light.size > 0:
        way = way + light.size / 2 * _across(way)
    reach = vector_lengths(way)
    way = way / reach.clamp(min=1e-12)
    if not light.is_point:
        # Beyond the farthest surface nothing hides the lamp: neither other land nor the sky.
        away = way[:, 2:]
        reach = torch.where(away > 1e-6, (depth.amax((2, 3), keepdim=True) - depth) / away.clamp(min=1e-6), depth)
    # A ray that comes towards the viewer ends before it passes him.
    reach = torch.minimum(reach, 0.95 * depth / (-way[:, 2:]).clamp(min=1e-6))
    x, y, z = (points + reach * way).split(1, 1)
    return (fx * x + skew * y) / z + cx, fy * y / z + cy, 1 / z


def _across(way: Tensor) -> Tensor:
    """Offsets within a disk of radius 1 that faces each point, another one in each place of a tile: (B, 3, H, W).

    Source:
        T. Duff et al., "Building an orthonormal basis, revisited" (2017); H. Vogel, "A better way to construct the sunflower head" (1979).
    """
    x, y, z = unit_vectors(way).split(1, 1)
    sign = torch.where(z < 0, -1.0, 1.0)
    a = -1 / (sign + z)
    b = x * y * a
    right = torch.cat((1 + sign * x * x * a, sign * b, -sign * x), 1)
    up = torch.cat((b, sign + y * y * a, -y), 1)
    place = _tiled(way)
    radius = ((place + 0.5) / _TILE**2).sqrt()
    angle = place * (math.pi * (3 - math.sqrt(5)))
    return radius * (angle.cos() * right + angle.sin() * up)


def _tiled(like: Tensor) -> Tensor:
    """(H, W): the number of each pixel's place in its tile, in `_ORDER`, made on the device."""
    height, width = like.shape[-2:]
    return _tiles(like, -(-height // _TILE), -(-width // _TILE))[:height, :width].to(like)


@kept_constants
def _tiles(rows: int, columns: int) -> Tensor:
    """So many rows and columns of tiles, at the size of rays, which is small."""
    return torch.tensor(_ORDER, dtype=torch.float32).view(_TILE, _TILE).repeat(rows, columns)


def _share_inside(start: Tensor, way: Tensor, length: int) -> Tensor:
    """The share of a path along one axis that lies inside the image."""
    distance = torch.where(way > 0, length - 1 - start, start)
    return (distance / way.abs().clamp(min=1e-6)).clamp(max=1)


def half_thickness(inverse: Tensor, focal: Tensor, most: float = 0.3) -> Tensor:
    """Half the thickness of the object at each pixel behind its visible surface, as a share of its depth: (B, 1, H, W).

    A thing is about as thick as it is wide, and thinner at its rim.

    Args:
        inverse: (B, 1, H, W), 1 / depth.
        focal: (B,) focal length in pixels.
        most: Thickness beyond which nothing goes, as a share of depth.
    """
    pitch = max(1, round(max(inverse.shape[-2:]) / _RAYS_ALONG))
    farthest = -neighbours_largest(-inverse)
    rim = torch.where(inverse > farthest * EDGE, inverse, 0)
    rim, near = (F.max_pool2d(each, pitch, ceil_mode=True) for each in (rim, inverse))
    rims = []
    for before, radius in zip((0, *_RADII), _RADII, strict=False):
        rim = largest_within(rim, radius - before)
        rims.append(rim)
    # The first radius within which there is a rim of the pixel's own thing.
    ratio = near / torch.cat(rims, 1)
    radii = torch.where(ratio.sub_(1).abs_() < ANOTHER, _radii(near), _WIDEST)
    inside = radii.amin(1, keepdim=True)
    share = (_THINNEST + _ROUND * pitch * inside / focal.view(-1, 1, 1, 1)).clamp(max=max(most - _BIAS, _THINNEST)) / 2
    return F.interpolate(share, scale_factor=pitch, mode="nearest")[..., : inverse.shape[-2], : inverse.shape[-1]]


@kept_constants
def _radii() -> Tensor:
    """(1, N, 1, 1) `_RADII`."""
    return torch.tensor(_RADII, dtype=torch.float32).view(1, -1, 1, 1)


def _fade(inverse: Tensor) -> Tensor:
    """The strength of the shadow that each pixel's surface casts, (H, W): less near the border."""
    down, along = (_fade_along(inverse, n).to(inverse) for n in inverse.shape[-2:])
    return torch.minimum(down[:, None], along)


@kept_constants
def _fade_along(length: int) -> Tensor:
    """(N,) `_fade` along an axis."""
    along = 1 - ((2 * torch.arange(length) + 1).float() / length - 1).abs()
    return along.div_(_BORDER).clamp_(max=1)


def _smoothed(values: Tensor, inverse: Tensor, slopes: dict[int, Tensor], weights: tuple[int, ...], pitch: int = 1) -> Tensor:
    """`means_along` both axes."""
    along = means_along(values, inverse, slopes[3], 3, weights, pitch)
    return means_along(along, inverse, slopes[2], 2, weights, pitch)


def _mean_way(hidden: Tensor, way: Tensor) -> Tensor:
    """How far away what casts the shadows around each pixel stands, in pixels of the screen; 0 where there are none."""
    shadows, ways = box_means(torch.cat((hidden, hidden * way), 1), max(1, 4 * _SMOOTHINGS[-1])).chunk(2, 1)
    return ways / shadows.clamp(min=1e-3)


def _softened(hidden: Tensor, inverse: Tensor, slopes: dict[int, Tensor], variance: Tensor) -> Tensor:
    """Shadows smoothed along surfaces, at each pixel by its own variance, in rays, as far as smoothings reach.

    Source:
        H. Dammertz et al., "Edge-avoiding à-trous wavelet transform for fast global illumination filtering" (2010); the share of each
        smoothing is our addition.
    """
    for step in _SMOOTHINGS:
        # On a CPU, where asking costs nothing, sharp shadows end here.
        if variance.device.type == "cpu" and not bool((variance > 0).any()):
            break
        smooth = _smoothed(hidden, inverse, slopes, _SPREAD_MEANS, step)
        hidden = torch.lerp(hidden, smooth, (variance / step**2).clamp(max=1))
        variance = (variance - step**2).clamp(min=0)
    return hidden
