"""Turns soft ramps of depth into steps at the image's edges, for refined depth; each side continues as a plane (see `depth_edges`).

For every pixel of a ramp, places around it belong to the near or the far side, as their nearness is above or below the ramp's middle.
The pixel's side follows from its colour similarity to both, and from its position between the two sides' planes; in doubt it is the
near one, as the opposite mistake is worse. The pixel takes the extrapolated nearness of that side's planes and the normals there: a
weighted mode of two bins instead of a mean, so that nothing in between remains. A slope is no ramp: both its sides have one plane.

Source:
    J. Kopf et al., "Joint bilateral upsampling" (2007), for the weights; D. Min, J. Lu and M. N. Do, "Depth video enhancement based on
    weighted mode filtering" (2012), for the mode. Planes in place of values, their straightness as a weight, and the ramp's own middle as
    the prior are our addition. A linear function of the colour (K. He et al., "Guided image filtering", 2010) would print textures; the
    solver of J. T. Barron and B. Poole, "The fast bilateral solver" (2016), minimises a squared difference and leaves values in between.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ...utils import constant, kept_constants, sent_to
from ..filters.box import box_means
from ..filters.chosen_pixels import places_where, values_at
from ..filters.extremes import largest_along_rows, largest_within
from .depth_edges import find_ramps

# Rings of sampled places, in radii, how many on each, and the reach of their weights.
_RINGS, _PLACES, _REACH = (0.7, 1.3, 2.0, 3.0), 8, 1.5
# How similar colours of one surface are, and the share of similarity that is no evidence.
_COLOUR, _DOUBT = 0.1, 0.05
# The weight of the place on a ramp, as a logarithm of odds from end to end; colours alone reach 3.
_PRIOR = 12.0
# Near taken for far is wrong by a larger share of the depth than far for near, by their ratio: the weight of its logarithm, up to a ratio.
_CAUTION, _MOST = 0.5, 20.0
# A place belongs to a side from this share of the span above or below the middle; its plane does from the second share on.
_CLEAR, _PLAIN = 0.25, 0.2
# Bends, as shares of nearness, that make a plane doubtful, and the weight that is left to the most doubtful.
_BEND, _LEAST = 0.003, 1e-4
# How far apart the planes of both sides are at least: shares of the span, of the far side, and what of the span may stay.
_APART, _STEP, _REST = 0.15, 1.03, 0.03
_TINY, _NO_WEIGHT, _UNKNOWN = 1e-9, 1e-7, 1e-14
# What is left of the weight of a plane that crosses the ramp, and components of normals that cancelled each other.
_IMPLAUSIBLE, _NO_DIRECTION = 1e-3, 1e-3
# The evidence of colours is averaged over so many pixels around: the radius divided by this.
_AVERAGED = 3
# So many pixels of ramps at a time, on a CPU and on a GPU, where all their places are read together.
_AT_ONCE, _AT_ONCE_ON_GPU = 2**15, 2**17
_STRETCHED = 4  # how many times longer than rows columns are at most, or the other way round, to be looked at in one go
# Widths of ramps are measured in windows of these radii, at so many pixels, where a span is no longer growing.
_WINDOWS, _SAMPLES, _GROWING, _STRONG = (1, 2, 4, 8, 16, 32), 2**17, 1.15, 0.1
# Of steps of a ramp that are hardly different, as where a map was enlarged, this decides which is the steepest: rounding must not.
_GRAIN = 0.02


def ramp_width(nearness: Tensor) -> float:
    """The median width of depth edges in pixels: 1 for steps, 0 without edges. Synchronises the device once.

    Args:
        nearness: (1, 1, H, W), not negative, large = near.

    Returns:
        The rise at an edge divided by its steepest step, as median over the edges.
    """
    stride = max(1, nearness.numel() // _SAMPLES)
    lines = [each for each in (nearness[..., ::stride, :], nearness.mT[..., ::stride, :]) if each.shape[-1] > 1]
    length = max((each.shape[-1] for each in lines), default=0)
    if nearness.device.type != "cpu" and lines and length <= _STRETCHED * min(each.shape[-1] for each in lines):
        # In one go, the shorter ones with their last value as often as it takes: that is no edge.
        lines = [torch.cat([F.pad(each[0], (0, length - each.shape[-1]), mode="replicate") for each in lines], 1)[None]]
    widths = torch.cat([_widths(each).flatten() for each in lines] or [nearness.new_full((1,), torch.nan)])
    width = float(widths.nanmedian())
    return width if width > 0 else 0.0


def _widths(lines: Tensor) -> Tensor:
    """The width of the ramp around every step of rows; NaN where there is no edge, or no end is found."""
    steps, both = lines.diff(dim=-1).abs(), torch.cat((lines, -lines), 1)
    around = _largest_in_windows(both, _WINDOWS)
    grained = steps * _grain(steps, steps.shape[-1])
    steepest = _largest_in_windows(grained, [2 * radius for radius in _WINDOWS[:-1]])
    top, less = torch.maximum(around[..., 1:], around[..., :-1]).split(1, 1)  # the greatest, and minus the least
    widths = (top + less) / steps.clamp(min=_TINY)
    width, wider = widths[:-1], widths[1:]
    is_edge = (top > less * -(1 + _STRONG))[:-1] & (grained >= steepest) & (wider < width * _GROWING)
    # Of the smallest window that holds the whole ramp.
    first = is_edge.to(torch.uint8).argmax(0, keepdim=True)
    return torch.where(is_edge.gather(0, first), width.gather(0, first), constant(width, math.nan))


def _largest_in_windows(lines: Tensor, radii: Sequence[int]) -> Tensor:
    """The largest in a window around every value of rows, one radius after the other, ascending: (N, C, H, W)."""
    windows, reached = [lines], 0
    for radius in radii:
        windows.append(largest_along_rows(windows[-1], radius - reached))
        reached = radius
    return torch.cat(windows[1:])


@kept_constants
def _grain(length: int) -> Tensor:
    """(length,) factors from 1 to 1 + `_GRAIN`, the same each time."""
    return 1 + _GRAIN * torch.rand(length, generator=torch.Generator().manual_seed(0))


def sharpen_ramps(nearness: Tensor, image: Tensor, radius: int, strength: float = 1.0, normals: Tensor | None = None) -> tuple[Tensor, ...]:
    """Turns ramps into steps.

    Args:
        nearness: (1, 1, H, W), finite and not negative, linear on planes (inverse depth up to scale); 0 = infinitely far.
        image: (1, 3, H, W) in [0, 1].
        radius: Half the width of the ramps in pixels, at least 1.
        strength: Weight of colours relative to the position on the ramp; 0: steps in the middle of ramps.
        normals: (1, 3, H, W) unit vectors to move to the sides too; None = none.

    Returns:
        Nearness (1, 1, H, W); where it changed, (1, 1, H, W) bool; and normals if given, not normalised. Unchanged elsewhere.
    """
    ramp, *bounds = find_ramps(nearness, radius)
    width, places = nearness.shape[-1], _places(radius)
    reach = max(max(abs(dy), abs(dx)) for dy, dx, _ in places)
    maps = [nearness, *_slopes_and_straightness(nearness), constant(nearness, 1.0).expand_as(nearness), image]
    maps += [] if normals is None else [normals]
    # A row holds everything about a pixel, so that one read gathers it.
    table = F.pad(torch.cat(maps, 1), (reach, reach, reach, reach))[0].flatten(1).T.contiguous()
    pixels = places_where(ramp)
    offsets = _Offsets.of(places, width + 2 * reach, nearness)
    at_once, extremes = _AT_ONCE if nearness.device.type == "cpu" else _AT_ONCE_ON_GPU, torch.cat(bounds)[:, 0].flatten(1)
    around = extremes.index_select(1, pixels)
    parts = zip(pixels.split(at_once), around.split(at_once, 1), strict=True)
    sums = torch.cat([_gather_sums(table, _padded_index(part, width, reach), offsets, bounds) for part, bounds in parts], -1).to(nearness)
    return _move_to_sides(nearness, normals, pixels, _weighed(sums, around, values_at(nearness, pixels)), radius, strength)


def _padded_index(pixels: Tensor, width: int, reach: int) -> Tensor:
    """Indices of pixels in maps with `reach` more pixels on every side."""
    rows = pixels.div(width, rounding_mode="floor")
    return torch.add(pixels, rows, alpha=2 * reach) + reach * (width + 2 * reach + 1)


class _Evidence(NamedTuple):
    """The evidence for N pixels of ramps, gathered from the places around each.

    Attributes:
        colour: (N,) logarithm of odds that a pixel is near, by the similarity of its colour to both sides.
        place: (N,) where its nearness lies between the planes of both sides: -0.5 on the far one, 0.5 on the near one.
        is_edge: (N,) bool, whether the two sides are different things.
        span: (N,) the rise of the whole ramp.
        near, far: (N,) the nearness of each side's planes at the pixel.
        near_normals, far_normals: (N, 3) or (N, 0), each side's normals, not unit.
    """

    colour: Tensor
    place: Tensor
    is_edge: Tensor
    span: Tensor
    near: Tensor
    far: Tensor
    near_normals: Tensor
    far_normals: Tensor


def _places(radius: int) -> list[tuple[int, int, float]]:
    """Offsets (rows, columns) of the sampled places, each once, with their weights."""
    weights = {}
    for ring, distance in enumerate(_RINGS):
        for place in range(_PLACES):
            angle = (place + ring % 2 / 2) * math.tau / _PLACES
            dy, dx = round(distance * radius * math.sin(angle)), round(distance * radius * math.cos(angle))
            if dy or dx:
                weights[dy, dx] = math.exp(-(dy * dy + dx * dx) / (2 * (_REACH * radius) ** 2))
    return [(dy, dx, weight) for (dy, dx), weight in weights.items()]


class _Offsets(NamedTuple):
    """The sampled places (K, 1) each: rows of a table from a pixel's own, rows and columns of the image, and weights."""

    row: Tensor
    down: Tensor
    right: Tensor
    weight: Tensor

    @classmethod
    def of(cls, places: list[tuple[int, int, float]], stride: int, like: Tensor) -> _Offsets:
        """Those of `_places`, of a table with `stride` rows for each line of the image."""
        numbers = torch.tensor(places)[..., None]
        down, right, weight = numbers.unbind(1)
        index = (down * stride + right).long()
        return cls(*(sent_to(like.device, each) for each in (index, down.to(like), right.to(like), weight.to(like))))

    def split(self) -> Iterator[_Offsets]:
        """All together; on a CPU one after the other, as a place of all pixels fills its cache."""
        return map(_Offsets, *(each.split(1 if each.device.type == "cpu" else len(each)) for each in self))


def _gather_sums(table: Tensor, index: Tensor, offsets: _Offsets, bounds: Tensor) -> Tensor:
    """Sums up what the places around some pixels say of the near side and of the far one.

    Args:
        table: (pixels of the padded maps, 8 or 11): nearness, slopes, straightness, whether it is inside, colour, normal.
        index: (N,) rows of the table.
        offsets: Of the places.
        bounds: (4, N): the extremes in windows of one and of two radii.

    Returns:
        (2, 4 or 7, N), of both sides: how many places, how similar their colours are, and weighted by trust 1, planes and normals.
    """
    low, high, wide_low, wide_high = bounds
    colour = table.index_select(0, index)[:, 5:8].T.contiguous()[:, None]
    middle, span, signs = (low + high) * 0.5, high - low, constant(table, ((1.0,), (-1.0,)))[..., None]
    clear, plain = _CLEAR * span, _PLAIN * span
    likely, unlikely = constant(table, 1.0), constant(table, _IMPLAUSIBLE)
    sums = table.new_zeros(2, table.shape[1] - 4, len(index))
    for offset, down, right, weight in offsets.split():
        there = table.index_select(0, (index + offset).flatten()).T.contiguous().view(table.shape[1], len(offset), len(index))
        value, slope_x, slope_y, straight, inside = there[:5]
        red, green, blue = there[5:8] - colour
        alike = (red * red).addcmul_(green, green).addcmul_(blue, blue).mul_(-0.5 / _COLOUR**2).exp_()
        plane = torch.addcmul(value, slope_x, right, value=-1).addcmul_(slope_y, down, value=-1).clamp_(wide_low, wide_high)
        # (2, K, N) whether the place belongs to the side, and whether its plane does.
        weights = (inside * weight) * ((value - middle) * signs > clear)
        trust = (alike + 0.01).mul_(straight) * weights * torch.where((plane - middle) * signs > plain, likely, unlikely)
        if len(offset) > 1:
            parts = (weights[:, None], (weights * alike)[:, None], trust[:, None], (trust * plane)[:, None], trust[:, None] * there[8:])
            return torch.cat([each.sum(2) for each in parts], 1)
        for total, factor, values in ((sums[:, 1], weights, alike), (sums[:, 3], trust, plane), (sums[:, 4:], trust[:, None], there[8:])):
            total.addcmul_(factor[..., 0, :], values[..., 0, :])
        for total, each in ((sums[:, 0], weights), (sums[:, 2], trust)):
            total += each[:, 0]
    return sums


def _weighed(sums: Tensor, bounds: Tensor, own: Tensor) -> _Evidence:
    """The evidence of sums of `_gather_sums` of N pixels.

    Args:
        sums: (2, 4 or 7, N).
        bounds: (4, N), as there.
        own: (N,) the pixels' nearness.
    """
    low, high = bounds[:2]
    (count, alike, weight, plane), normals = sums[:, :4].unbind(1), sums[:, 4:]
    similar = alike / count.clamp(min=_NO_WEIGHT) + _DOUBT
    colour = (similar[0] / similar[1]).log_().mul_((count > _NO_WEIGHT).all(0))
    trust, span = weight.clamp(min=_UNKNOWN), (high - low).clamp(min=_TINY)
    near, far = torch.where(weight > _UNKNOWN, plane / trust, torch.stack((high, low)))
    # Beside the infinitely far, nothing else is the far side: no plane reaches it.
    far = far * (low > 0)
    apart = near - far
    is_edge = (apart > _APART * span) & (near > far * _STEP)
    place = ((own - (near + far) * 0.5) / apart.clamp(min=_TINY)).clamp_(-0.5, 0.5)
    near_normals, far_normals = (normals / trust[:, None]).mT
    return _Evidence(colour, place, is_edge, span, near, far, near_normals, far_normals)


def _move_to_sides(
    nearness: Tensor, normals: Tensor | None, pixels: Tensor, evidence: _Evidence, radius: int, strength: float
) -> tuple[Tensor, ...]:
    """Moves each ramp's pixel to the side with the stronger evidence."""
    # A single pixel must not outvote all around it.
    votes = torch.stack((evidence.colour, constant(evidence.colour, 1.0).expand_as(evidence.colour)))
    spread = nearness.new_zeros(2, nearness.numel()).index_copy(1, pixels, votes).view(1, 2, *nearness.shape[-2:])
    around = max(1, radius // _AVERAGED)
    total, count = F.avg_pool2d(spread, 2 * around + 1, 1, around).flatten(2)[0, :, pixels]
    colour = total / count
    caution = (evidence.near / evidence.far.clamp(min=_TINY)).clamp_(1, _MOST).log_().mul_(evidence.far > 0)
    is_near = (colour * strength).add_(evidence.place, alpha=_PRIOR).add_(caution, alpha=_CAUTION) > 0
    here = values_at(nearness, pixels)
    value = torch.where(is_near, evidence.near, evidence.far)
    moves = evidence.is_edge & ((value - here).abs() > _REST * evidence.span)
    refined = nearness.flatten().index_copy(0, pixels, torch.where(moves, value, here)).view_as(nearness)
    moved = torch.zeros_like(nearness, dtype=torch.bool).flatten().index_copy(0, pixels, moves).view_as(nearness)
    if normals is None:
        return refined, moved
    directions = torch.where(is_near[:, None], evidence.near_normals, evidence.far_normals)
    known = evidence.is_edge & (directions.abs().amax(1) > _NO_DIRECTION)
    flat = normals[0].flatten(1)
    turned = torch.where(known[:, None], directions, flat[:, pixels].T)
    return refined, moved, flat.index_copy(1, pixels, turned.T).view_as(normals)


def _slopes_and_straightness(values: Tensor) -> tuple[Tensor, Tensor]:
    """Slopes along columns and rows, of 3x3 pixels; and 1 where the surroundings are a plane, next to nothing on ramps.

    At the border slopes are one-sided, so that planes are planes there too.
    """
    rises = _rises(values)
    slopes = box_means(torch.cat([before + after for before, after in rises], 1).mul_(0.5), 1)
    bend = torch.maximum(*((after - before).abs_() for before, after in rises))
    share = largest_within(bend, 1) / largest_within(values, 1).clamp(min=_TINY)
    return slopes, (share / _BEND).square_().add_(1).reciprocal_().add_(_LEAST)


def _rises(values: Tensor) -> list[tuple[Tensor, Tensor]]:
    """From the pixel before and to the pixel after, along columns and rows; the border's are those beside it."""
    rises = []
    for axis in (-1, -2):
        steps = values.diff(dim=axis) if values.shape[axis] > 1 else torch.zeros_like(values)
        length = values.shape[axis]
        steps = torch.cat((steps.narrow(axis, 0, 1), steps, steps.narrow(axis, steps.shape[axis] - 1, 1)), axis)
        rises.append((steps.narrow(axis, 0, length), steps.narrow(axis, 1, length)))
    return rises
