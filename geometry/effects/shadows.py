"""Cast shadows by marching rays from surfaces to a lamp through the depth map.

Rays start at every n-th pixel and are tested against the whole map. The result is smoothed and upsampled along surfaces, not across
edges. For an area light, each ray of a 4x4 tile goes to another part of it; smoothing merges the parts.

Source:
    A. Keller and W. Heidrich, "Interleaved sampling" (2001); J. Kopf et al., "Joint bilateral upsampling" (2007).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ...utils import constant, is_above, joined, kept_constants, resize_map, to_cpu, unit_vectors, vector_lengths
from ..checks import check_view
from ..edges.depth_edges import EDGE
from ..filters.box import box_means
from ..filters.chosen_pixels import ChosenPixels
from ..filters.coarse import enlarged, middles_of
from ..filters.extremes import largest_within, neighbours_largest
from ..levels import measure_range_of_samples
from ..surfaces.upsampling import ANOTHER, Line, enlarged_along, middles, smoothings
from .defocus import BlurByDepth
from .lights import Light

_MIN_STEPS, _MAX_STEPS, _PIXELS_A_STEP = 64, 256, 4
# Rays along the longer side of the image, and points per batch: on a GPU, and in a CPU's cache.
_RAYS_ALONG, _POINTS_AT_ONCE, _POINTS_IN_CACHE = 480, 1 << 23, 1 << 17
# Bias: least distance behind a surface at which a ray is shadowed, relative to its depth; 8-bit depth has steps of almost 0.01.
_BIAS = 0.01
# Rays towards the camera end at this share of their way to it.
_BEFORE_CAMERA = 0.95
_PENUMBRA = 0.01
# Maximum share of an object's half thickness over which its shadow begins: steps through thin objects seldom meet their middle.
_RIM = 0.25
# Shadows of objects near the border fade over this share of half the image, as objects beyond it are unknown.
_BORDER = 0.1
# A pixel's distance from its object's rim, in rays: measured radii, and the value for farther ones.
_RADII, _WIDEST = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32), 1e4
# An object's thickness at its rim relative to its depth, and the growth of thickness with the distance from the rim.
_THINNEST, _ROUND = 0.01, 2.0
# Sample positions on an area light: a square of rays, ordered so that neighbours are far apart.
_TILE = 4
_ORDER = (0, 8, 2, 10, 12, 4, 14, 6, 3, 11, 1, 9, 15, 7, 13, 5)
# Difference in length of a tile's rays, in steps: where one ray's step just misses a rim, another's meets it. Smoothing merges
# them, so that shadows end in lines, not combs. Smaller images than this many pixels are not worth the softness.
_STAGGER, _SMALL = 4.0, 128
# A network's error: of inverse depth, relative to the geometric mean of its value and range, plus a share of the range between these
# percentiles; and of a shadow's edge, relative to the distance from the caster.
_ERROR, _LEAST_ERROR, _MOST, _SPREAD = 0.03, 0.02, (5.0, 95.0), 0.08
# Standard deviations in rays of the smoothing steps for soft shadows, with weights of five rays in a line of variance
# pitch squared. A tile's weights cancel the tile pattern.
_SMOOTHINGS = (1, 2, 4, 8)
_SPREAD_MEANS, _TILE_MEANS = [Line((1, 4, 6, 4, 1), pitch) for pitch in _SMOOTHINGS], Line((1, 2, 3, 4, 3, 2, 1))


def cast_shadow(
    depth: Tensor, intrinsics: Tensor, light: Light, *, thickness: float = 0.3, doubt: Tensor | None = None, blur: Tensor | None = None
) -> Tensor:
    """Shadows: where an object stands between the surface and the lamp.

    Args:
        depth: (B, 1, H, W) planar depth, positive and finite, in the unit of the lamp's position.
        intrinsics: (B, 3, 3), pixels.
        light: The lamp; its `size` makes its shadows soft.
        thickness: Thickness of objects behind their visible surface relative to depth, which a depth map cannot tell.
        doubt: (B, 1, 1, 1), 1 for a network's depth, 0 for true depth. A network's ripples in a plain wall then cast no shadows,
            and shadows soften with the distance from the caster. None = 0.
        blur: (B, 1, h, w) of any size, the photo's defocus as standard deviation in pixels of `depth`, which shadows share.
            None = 0.

    Returns:
        (B, 1, H, W), 0 (lit) to 1 (hidden). Objects outside the image cast no shadow. A directional light's rays are
        traced as far as the farthest surface, or by the surface's own depth if they come towards the viewer.

    Raises:
        ValueError: Maps or intrinsics of the wrong shape, or depth that is not positive and finite.
    """
    check_view(depth, intrinsics)
    return cast_shadows(depth, intrinsics, (light,), thickness=thickness, doubt=doubt, blur=blur)


@torch.no_grad()
def cast_shadows(
    depth: Tensor,
    intrinsics: Tensor,
    lights: Sequence[Light],
    *,
    thickness: float = 0.3,
    doubt: Tensor | None = None,
    blur: Tensor | BlurByDepth | None = None,
) -> Tensor:
    """`cast_shadow` for several lamps without checks: (B, lamps, H, W)."""
    if torch.finfo(depth.dtype).bits < 32:  # half precision cannot count an image's columns
        return cast_shadows(depth.float(), intrinsics.float(), lights, thickness=thickness, doubt=doubt, blur=blur).to(depth)
    height, width = depth.shape[-2:]
    pitch = max(1, round(max(height, width) / _RAYS_ALONG))
    inverse = depth.reciprocal()
    by_column = middles_of(inverse, (1, pitch))
    small = middles_of(by_column, (pitch, 1)).contiguous()
    doubt = None if doubt is None else doubt.to(depth)
    casters = inverse if doubt is None else _less_error(inverse, doubt)
    cameras = intrinsics.to(depth)
    halves = half_thickness(inverse, cameras.diagonal(dim1=1, dim2=2)[:, :2].mean(1), thickness)
    images = list(zip(*(each.split(1) for each in (small, cameras, casters, halves)), strict=True))
    # Lamp by lamp on a CPU, so that the rays stay in its cache.
    groups = [(light,) for light in lights] if depth.device.type == "cpu" else [tuple(lights)]
    rays = [[_Rays.of(starts, camera, (height, width), pitch, group) for group in groups] for starts, camera, *_ in images]
    # One synchronisation for all. Per image: the number of steps must not depend on the rest of the batch.
    asked = {"longest": joined([each.longest() for of_image in rays for each in of_image])}
    fetched = to_cpu(asked | (blur.evidence if isinstance(blur, BlurByDepth) else {}))
    longest, blur = iter(fetched["longest"].tolist()), blur.blur(fetched) if isinstance(blur, BlurByDepth) else blur
    tiled = [light.size > 0 or max(height, width) >= _SMALL for light in lights]
    marches = []
    for of_image, (_, _, casting, half) in zip(rays, images, strict=True):
        met, is_tiled = [], iter(tiled)
        for each, group in zip(of_image, groups, strict=True):
            steps = [max(_MIN_STEPS, min(_MAX_STEPS, math.ceil(next(longest) / _PIXELS_A_STEP))) for _ in group]
            shortened = each.shortened(tuple(_STAGGER / _TILE**2 / count * next(is_tiled) for count in steps))
            met.append(_march(shortened, tuple(steps), casting, half, doubt is not None))
        marches.append(met)
    hidden = joined([joined([hidden for hidden, _ in met], 1) for met in marches], 0)
    blurred = blur is not None or doubt is not None
    evened, *softened = smoothings(small, (_TILE_MEANS, *(_SPREAD_MEANS if blurred else ())))
    if any(tiled):  # two tile means cancel the tile pattern
        smooth = evened(hidden)
        pairs = zip(tiled, hidden.split(1, 1), smooth.split(1, 1), strict=True)
        hidden = smooth if all(tiled) else torch.cat([even if is_tiled else own for is_tiled, own, even in pairs], 1)
    variance = None if blur is None else (resize_map(blur.to(depth), small.shape[2], small.shape[3]) / pitch).square()
    if doubt is not None:
        way = joined([joined([way for _, way in met if way is not None], 1) for met in marches], 0)
        # Mean distance to the occluders of the shadows around each pixel, in pixels; 0 without shadows.
        shadows, ways = box_means(torch.cat((hidden, hidden * way), 1), 4 * _SMOOTHINGS[-1]).chunk(2, 1)
        of_way = (doubt * (_SPREAD / pitch) * (ways / shadows.clamp(min=1e-3))).square()
        variance = of_way if variance is None else variance + of_way
    if variance is not None:
        hidden = _softened(hidden, softened, variance)
    if pitch == 1:
        return hidden
    by_column = by_column.contiguous()
    return enlarged_along(enlarged_along(hidden, small, by_column, pitch, 2), by_column, inverse, pitch, 3)


def _less_error(inverse: Tensor, doubt: Tensor) -> Tensor:
    """The casters' inverse depth, moved away by the network's possible error."""
    span = inverse.amax((2, 3), keepdim=True) - inverse.amin((2, 3), keepdim=True)
    far, near = measure_range_of_samples(inverse, None, _MOST)
    error = torch.add((near - far).mul_(_LEAST_ERROR), (inverse * span).sqrt_(), alpha=_ERROR)
    return torch.addcmul(inverse, error, doubt, value=-1)


class _Rays(NamedTuple):
    """Rays of one image from surfaces to L lamps: straight lines on the screen, along which inverse depth is linear, too.

    Attributes:
        starts: (1, 3, h, w): column, row and inverse depth.
        ways: (L, 3, h, w), the vectors to their ends.
        inside: (L, 1, h, w), the share of the way to the lamp up to the image's border, where rays end.
    """

    starts: Tensor
    ways: Tensor
    inside: Tensor

    @classmethod
    def of(cls, small: Tensor, intrinsics: Tensor, size: tuple[int, int], pitch: int, lights: Sequence[Light]) -> _Rays:
        """The rays to lamps from every `pitch`-th pixel of an image of `size` (height, width), with its camera's intrinsics (1, 3, 3).

        `small` (1, 1, h, w) is inverse depth at the starts.
        """
        rows, columns = (_middles(small, length, pitch) for length in size)
        starts = torch.cat(torch.broadcast_tensors(columns, rows[:, None], small), 1)
        ways = _ray_ends(starts, intrinsics, lights) - starts
        # Rays end at the border: the share of each axis's way inside the image.
        (height, width), flat, begin = size, ways[:, :2], starts[:, :2]
        room = torch.where(flat > 0, constant(small, (width - 1.0, height - 1.0)).view(1, 2, 1, 1) - begin, begin)
        along, down = room.div_(flat.abs().clamp_(min=1e-6)).split(1, 1)
        inside = torch.minimum(along, down).clamp_(max=1)
        return cls(starts, ways.mul_(inside), inside)

    def longest(self) -> Tensor:
        """(L,): mean length of the rays to each lamp in pixels."""
        along, down = self.ways[:, :2].abs().split(1, 1)
        return torch.maximum(along, down).mean((1, 2, 3))

    def shortened(self, shares: tuple[float, ...]) -> _Rays:
        """Shortens the rays of a tile, each by another multiple of the lamp's share."""
        if not any(shares):
            return self
        height, width = self.ways.shape[-2:]
        tiles = _order(self.ways)[:height, :width]
        kept = torch.addcmul(constant(self.ways, 1.0), tiles, constant(self.ways, shares).view(-1, 1, 1, 1), value=-1)
        return self._replace(ways=self.ways * kept)


def _march(rays: _Rays, steps: tuple[int, ...], casters: Tensor, halves: Tensor, measured: bool) -> tuple[Tensor, Tensor | None]:
    """Marches the rays of one image to its lamps, on a CPU to one lamp, with a number of `steps` for each lamp.

    `casters` (1, 1, H, W) is the inverse depth of the surfaces that cast shadows, `halves` (1, 1, H, W) their `half_thickness`.
    Returns (1, L, h, w) each: the hidden share of each lamp, and the screen distance to the occluder in pixels, None if not `measured`.
    """
    small = rays.inside
    on_cpu = small.device.type == "cpu"
    at_once = max(1, _POINTS_IN_CACHE // small.numel() if on_cpu else round(_POINTS_AT_ONCE / small.numel()))
    # Short steps near the surface, where contact shadows begin.
    points = zip(*(each.to(small).split(at_once) for each in _shares_of_steps(small, steps)), strict=True)
    starts = rays.starts + constant(small, (0.5, 0.5, 0.0)).view(1, 3, 1, 1)  # int() truncates, so this rounds
    look = _look_at_one if on_cpu and at_once == 1 else _look_at_some
    hidden, farness = look(rays._replace(starts=starts), points, casters, halves, measured)
    if farness is not None:
        farness = (farness * torch.hypot(rays.ways[:, :1], rays.ways[:, 1:2])).transpose(0, 1)
    return hidden.div_(_RIM).transpose(0, 1), farness


_Points = Iterator[tuple[Tensor, Tensor]]
"""Batches of n samples: position and half the step to it, as shares of the ray, (n, L, 1, 1, 1) each."""


def _look_at_some(rays: _Rays, points: _Points, casters: Tensor, halves: Tensor, measured: bool) -> tuple[Tensor, Tensor | None]:
    """`_march` with several samples at once: the hidden share times _RIM, and the occluder's position on the ray, (L, 1, h, w) each."""
    starts, ways, inside = rays
    width, table = casters.shape[-1], torch.cat((casters, halves, _fade(casters)), 1).view(3, -1)
    hidden, farness = torch.zeros_like(inside), torch.zeros_like(inside) if measured else None
    inverse_step, softness, least = ways[:, 2:].abs(), inside * (4 * _PENUMBRA / _RIM), constant(inside, _PENUMBRA / _RIM)
    for share, step in points:
        # These maps are large: free each as early as possible.
        index = torch.addcmul(starts[:, :2], share, ways[:, :2]).int()
        index = torch.add(index[:, :, :1], index[:, :, 1:], alpha=width)
        hit, half, fade = (each.view_as(index) for each in table.index_select(1, index.flatten()).unbind())
        del index
        ray = torch.addcmul(starts[:, 2:], share, ways[:, 2:])
        cover = _cover(half, hit, ray, step * inverse_step, torch.addcmul(least, share, softness))
        most, first_most = cover.mul_(fade).max(0)
        if farness is not None:
            there = share.expand(-1, -1, *most.shape[1:]).gather(0, first_most[None])[0]
            farness = torch.where(most > hidden, there, farness)
        hidden = torch.maximum(hidden, most, out=hidden)
    return hidden, farness


def _look_at_one(rays: _Rays, points: _Points, casters: Tensor, halves: Tensor, measured: bool) -> tuple[Tensor, Tensor | None]:
    """`_look_at_some` for one lamp and one sample at a time, which stays in a CPU's cache.

    Most rays pass in front of the surface, where nothing hides the lamp; only the others take the expensive part.
    """
    (from_column, from_row, small), (column_way, row_way, inverse_way) = rays.starts.split(1, 1), rays.ways.split(1, 1)
    width, fade = casters.shape[-1], _fade(casters)
    table, halves, fade = (each.reshape(-1) for each in (casters, halves, fade))
    hidden, farness = torch.zeros_like(small), torch.zeros_like(small) if measured else None
    inverse_step, softness = inverse_way.abs(), rays.inside * (4 * _PENUMBRA / _RIM)
    for share, step in (map(float, each) for each in points):
        column = torch.add(from_column, column_way, alpha=share).int()
        index = torch.add(from_row, row_way, alpha=share).int().mul_(width).add_(column)
        ray = torch.add(small, inverse_way, alpha=share)
        hit = table.index_select(0, index.flatten()).view_as(ray)
        behind = ChosenPixels(is_above(hit, ray * (1 + _BIAS)))
        index, hit, ray, half_step, soft = map(behind.take, (index, hit, ray, inverse_step, softness))
        cover = _cover(halves.index_select(0, index), hit, ray, half_step.mul_(step), soft.mul_(share).add_(_PENUMBRA / _RIM))
        cover.mul_(fade.index_select(0, index))
        before = behind.take(hidden)
        if farness is not None:
            farness = behind.put(farness, torch.where(cover > before, share, behind.take(farness)))
        hidden = behind.put(hidden, cover.maximum(before))
    return hidden, farness


@kept_constants
def _shares_of_steps(steps: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Position of each sample along the ray, and half the step to it: (N, L, 1, 1, 1) each.

    Rays with fewer steps than the longest repeat their last sample.
    """
    number, counts = torch.arange(1, max(steps) + 1, dtype=torch.float32)[:, None], torch.tensor(steps, dtype=torch.float32)
    before, shares = (((number - back).minimum(counts - back) / counts) ** 1.5 for back in (1, 0))
    return shares.view(*shares.shape, 1, 1, 1), ((shares - before) / 2).view(*shares.shape, 1, 1, 1)


def _cover(half: Tensor, hit: Tensor, ray: Tensor, half_step: Tensor, softness: Tensor) -> Tensor:
    """The share of the lamp that surfaces hide, times _RIM, which saves a product; at most 0 where unoccluded. Modifies its arguments.

    `half` is half the thickness of each surface, as a share of its depth, `hit` the surface's inverse depth, `ray` the ray's, `half_step`
    half a step of the ray, in inverse depth, and `softness` the width of the penumbra there, as a share of depth, over _RIM.
    """
    # The ray is tested half a step back and half a step on, so that it does not skip thin objects.
    half = half.addcdiv_(half_step, ray)
    # 1 where the ray passes behind the surface by at most the object's thickness; 0 on either side.
    behind = hit.div_(ray).sub_(1 + _BIAS)
    softness = torch.minimum(softness, half, out=softness)
    return half.sub_(behind.sub_(half).abs_()).div_(softness).clamp_(max=_RIM)


def _ray_ends(starts: Tensor, intrinsics: Tensor, lights: Sequence[Light]) -> Tensor:
    """Columns, rows and inverse depth of the ends of the rays to each lamp, (L, 3, h, w); all three are linear in screen space.

    `starts` (1, 3, h, w) are as in `_Rays`, `intrinsics` (1, 3, 3) of the image's camera.
    """
    inverse, one = starts[:, 2:], constant(starts, 1.0)
    of_points, sizes = (tuple(float(each) for each in some) for some in ([x.is_point for x in lights], [x.size / 2 for x in lights]))
    is_point = constant(starts, of_points).view(-1, 1, 1, 1)
    # Vectors to the lamps, divided by the surface's depth; unit vectors to distant ones.
    unit = one if not any(of_points) else inverse if all(of_points) else torch.lerp(one, inverse, is_point)
    ways = constant(starts, tuple(_aim(light) for light in lights)).view(-1, 3, 1, 1)
    if any(of_points):
        ways = torch.addcmul(ways * unit, _directions(starts, intrinsics), is_point, value=-1)
    if any(sizes):
        ways = torch.addcmul(ways, _across(ways, inverse), constant(starts, sizes).view(-1, 1, 1, 1) * unit)
        if not all(of_points):
            length = vector_lengths(ways).clamp_(min=1e-12)
            ways = ways / (torch.where(is_point > 0, one, length) if any(of_points) else length)
    away = ways[:, 2:]
    # A ray towards the camera ends in front of it.
    reach = constant(starts, -_BEFORE_CAMERA) / away.clamp(max=-_BEFORE_CAMERA)
    if any(not light.is_point and _aim(light)[2] + light.size / 2 > 0 for light in lights):
        # Nothing beyond the farthest surface occludes a distant lamp.
        farthest = (inverse / inverse.amin((2, 3), keepdim=True) - 1) / away.clamp(min=1e-6)
        is_behind = away > 1e-6
        reach = torch.where(is_behind & (is_point == 0) if any(of_points) else is_behind, farthest, reach)
    # A product of matrices, as it would be with TF32, is too coarse.
    of_x, of_y, of_z = F.pad(intrinsics[:, :2], (0, 0, 0, 1))[..., None].split(1, 2)
    x, y, z = ways.split(1, 1)
    on_screen = (x * of_x).addcmul_(y, of_y).addcmul_(z, of_z)
    return torch.addcmul(starts, reach, on_screen) / torch.addcmul(one, reach, away)


def _directions(starts: Tensor, intrinsics: Tensor) -> Tensor:
    """The points at depth 1, (1, 3, h, w), of rays that start at (1, 3, h, w), as in `_Rays`."""
    (fx, skew, cx), (_, fy, cy) = (row.view(3, 1, 1, 1, 1).unbind() for row in intrinsics[0, :2])
    columns, rows, _ = starts.split(1, 1)
    y = (rows - cy) / fy
    return torch.cat(torch.broadcast_tensors(torch.addcmul(columns - cx, skew, y, value=-1) / fx, y, constant(starts, 1.0)), 1)


def _aim(light: Light) -> tuple[float, float, float]:
    """A point lamp's position, or the unit vector towards a distant one, in camera axes."""
    right, up, back = light.position
    length = 1.0 if light.is_point else math.hypot(right, up, back)
    return right / length, -up / length, -back / length


def _across(way: Tensor, small: Tensor) -> Tensor:
    """Offsets on a unit disk perpendicular to `way`, a different one for each place of a tile: (L, 3, h, w).

    `way` (L, 3, h, w) or (L, 3, 1, 1) are the disks' normals, `small` (1, 1, h, w) is a map whose size the offsets take.

    Source:
        T. Duff et al., "Building an orthonormal basis, revisited" (2017); H. Vogel, "A better way to construct the sunflower head" (1979).
    """
    x, y, z = unit_vectors(way).split(1, 1)
    sign = torch.where(z < 0, constant(z, -1.0), constant(z, 1.0))
    slope = torch.reciprocal(sign + z).neg_()
    down, along = y * slope, sign * x
    both = x * down
    one = constant(small, 1.0)
    right = torch.cat((torch.addcmul(one, along * x, slope), sign * both, -along), 1)
    up = torch.cat((both, torch.addcmul(sign, y, down), -y), 1)
    across, upwards = _disk(small)[:, : small.shape[-2], : small.shape[-1]]
    return torch.addcmul(across * right, upwards, up)


@kept_constants
def _disk() -> Tensor:
    """(2, side, side), for all sizes of maps: the position on the disk of each ray."""
    place = _order(torch.empty(0))
    radius, angle = ((place + 0.5) / _TILE**2).sqrt(), place * (math.pi * (3 - math.sqrt(5)))
    return torch.stack((radius * angle.cos(), radius * angle.sin()))


@kept_constants
def _order() -> Tensor:
    """(side, side) float32, for all sizes of maps: the number of each ray in its tile."""
    tiles = -(-3 * _RAYS_ALONG // 2 // _TILE)  # a whole pitch makes up to half as many again
    return torch.tensor(_ORDER, dtype=torch.float32).view(_TILE, _TILE).repeat(tiles, tiles)


@kept_constants
def _middles(length: int, pitch: int) -> Tensor:
    """(N,) `middles` along an axis."""
    return middles(length, pitch, torch.device("cpu")).float()


def half_thickness(inverse: Tensor, focal: Tensor, most: float = 0.3) -> Tensor:
    """Half the thickness of the object at each pixel behind its visible surface, as a share of its depth: (B, 1, H, W).

    Assumes that an object is about as thick as it is wide, and thinner at its rim. `inverse` (B, 1, H, W) is 1 / depth, `focal` (B,) the
    focal length in pixels, `most` the upper bound of the whole thickness, as a share of depth.
    """
    pitch = max(1, round(max(inverse.shape[-2:]) / _RAYS_ALONG))
    above_farthest = neighbours_largest(-inverse).mul_(-EDGE)
    rim = torch.where(inverse > above_farthest, inverse, constant(inverse, 0.0))
    rim, near = (F.max_pool2d(each, pitch, ceil_mode=True) if pitch > 1 else each for each in (rim, inverse))
    rims = []
    for before, radius in zip((0, *_RADII), _RADII, strict=False):
        rim = largest_within(rim, radius - before)
        rims.append(rim)
    # The smallest radius that holds a rim of the pixel's own object.
    ratio = near / torch.cat(rims, 1)
    radii = torch.where(ratio.sub_(1).abs_() < ANOTHER, constant(near, _RADII).view(1, -1, 1, 1), constant(near, _WIDEST))
    inside, focal = radii.amin(1, keepdim=True), focal.view(-1, 1, 1, 1)
    thinnest = _THINNEST / 2
    share = torch.addcdiv(constant(near, thinnest), inside, focal, value=_ROUND * pitch / 2).clamp_(max=max((most - _BIAS) / 2, thinnest))
    return enlarged(share, pitch, inverse.shape[-2:], "nearest")


def _fade(inverse: Tensor) -> Tensor:
    """Strength of the shadow that each pixel's surface casts, (1, 1, H, W); fades towards the image border."""
    down, along = (_fade_along(inverse, n).to(inverse) for n in inverse.shape[-2:])
    return torch.minimum(down[:, None], along)[None, None]


@kept_constants
def _fade_along(length: int) -> Tensor:
    """(N,) `_fade` along an axis."""
    along = 1 - ((2 * torch.arange(length) + 1).float() / length - 1).abs()
    return along.div_(_BORDER).clamp_(max=1)


def _softened(hidden: Tensor, smoothed: Sequence[Callable[[Tensor], Tensor]], variance: Tensor) -> Tensor:
    """Shadows smoothed along surfaces, at each pixel by its own variance, in rays, as far as the smoothings of `_SPREAD_MEANS` reach.

    Source:
        H. Dammertz et al., "Edge-avoiding à-trous wavelet transform for fast global illumination filtering" (2010); the share of each
        smoothing is our addition.
    """
    squares = [each * each for each in _SMOOTHINGS]
    # The variance of each smoothing, and the total variance of previous smoothings.
    own, before = constant(variance, (tuple(squares), (0, *accumulate(squares[:-1])))).view(2, -1, 1, 1, 1, 1)
    for smoothing, share in zip(smoothed, ((variance - before) / own).clamp_(0, 1), strict=True):
        # Stops early for sharp shadows; on a CPU only, where the test needs no synchronisation.
        if share.device.type == "cpu" and not bool(share.any()):
            break
        hidden = torch.lerp(hidden, smoothing(hidden), share)
    return hidden
