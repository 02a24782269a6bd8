"""Turns soft ramps of depth into steps at the image's edges, for refined depth; each side continues as a plane (see `depth_edges`).

For every pixel of a ramp, places around it belong to the near or to the far side, as their nearness is above or below the ramp's middle.
The pixel's side follows from the similarity of its colour to both, and from its place between the two sides' planes; in doubt it is the
near one, as the other mistake is worse. The pixel takes the nearness of that side's planes, extrapolated to it, and the normals there: a
weighted mode of two bins and not a mean over both, so that nothing in between stays. A slope is no ramp: both its sides have one plane.

Source:
    J. Kopf et al., "Joint bilateral upsampling" (2007), for the weights; D. Min, J. Lu and M. N. Do, "Depth video enhancement based on
    weighted mode filtering" (2012), for the mode. Planes in place of values, their straightness as a weight, and the ramp's own middle as
    the prior are our addition. A linear function of the colour (K. He et al., "Guided image filtering", 2010) would print textures; the
    solver of J. T. Barron and B. Poole, "The fast bilateral solver" (2016), minimises a squared difference and leaves values in between.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ...utils import sent_to
from ..filters.box import box_means
from ..filters.chosen_pixels import places_where
from ..filters.extremes import largest_within
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
_AT_ONCE, _AT_ONCE_ON_GPU = 2**15, 2**16
# Widths of ramps are measured in windows of these radii, at so many pixels, where a span is no longer growing.
_WINDOWS, _SAMPLES, _GROWING, _STRONG = (1, 2, 4, 8, 16, 32), 2**17, 1.15, 0.1


def ramp_width(nearness: Tensor) -> float:
    """The width of depth edges in pixels: 1 for steps, 0 where there are no edges. Synchronises the device once.

    Args:
        nearness: (1, 1, H, W), not negative, large = near.

    Returns:
        The median over edges of what rises beside them by the steepest step.
    """
    stride = max(1, nearness.numel() // _SAMPLES)
    lines = (nearness[..., ::stride, :], nearness.mT[..., ::stride, :])
    widths = torch.cat([_widths(each).flatten() for each in lines if each.shape[-1] > 1] or [nearness.new_full((1,), torch.nan)])
    width = float(widths.nanmedian())
    return width if width > 0 else 0.0


def _widths(lines: Tensor) -> Tensor:
    """The width of the ramp around every step of rows; NaN where there is no edge, or no end is found."""
    steps, both = lines.diff(dim=-1).abs(), torch.cat((lines, -lines), 1)
    around = torch.cat([F.max_pool2d(both, (1, 2 * radius + 1), 1, (0, radius)) for radius in _WINDOWS])
    steepest = torch.cat([F.max_pool2d(steps, (1, 4 * radius + 1), 1, (0, 2 * radius)) for radius in _WINDOWS[:-1]])
    top, bottom = torch.maximum(around[..., 1:], around[..., :-1]).split(1, 1)
    bottom = -bottom
    widths = (top - bottom) / steps.clamp(min=_TINY)
    width, wider = widths[:-1], widths[1:]
    is_edge = (top > bottom * (1 + _STRONG))[:-1] & (steps >= steepest) & (wider < width * _GROWING)
    # Of the smallest window that holds the whole ramp.
    first = is_edge.to(torch.uint8).argmax(0, keepdim=True)
    return torch.where(is_edge.any(0, keepdim=True), width.gather(0, first), torch.nan)


def sharpen_ramps(nearness: Tensor, image: Tensor, radius: int, strength: float = 1.0, normals: Tensor | None = None) -> tuple[Tensor, ...]:
    """Steps where there were ramps.

    Args:
        nearness: (1, 1, H, W), finite and not negative, linear on planes (inverse depth up to scale); 0 = the infinitely far.
        image: (1, 3, H, W) in [0, 1].
        radius: Half the width of the ramps in pixels, at least 1.
        strength: The weight of colours beside the place on the ramp; 0: steps in the middle of ramps.
        normals: (1, 3, H, W) unit vectors to bring to the sides too; None = none.

    Returns:
        Nearness (1, 1, H, W); where it changed, (1, 1, H, W) bool; and normals if there were some, not unit. Elsewhere, all is as it was.
    """
    ramp, *bounds = find_ramps(nearness, radius)
    width, places = nearness.shape[-1], _places(radius)
    reach = max(max(abs(dy), abs(dx)) for dy, dx, _ in places)
    maps = [nearness, *_slopes(nearness), _straightness(nearness), torch.ones_like(nearness), image]
    maps += [] if normals is None else [normals]
    # A row holds everything about a pixel, so that one read gathers it.
    table = F.pad(torch.cat(maps, 1), (reach, reach, reach, reach))[0].flatten(1).T.contiguous()
    pixels = places_where(ramp)
    offsets = _Offsets.of(places, width + 2 * reach, nearness)
    at_once = _AT_ONCE if nearness.device.type == "cpu" else _AT_ONCE_ON_GPU
    found = [
        _gather_evidence(table, _padded_index(part, width, reach), offsets, torch.cat(bounds)[:, 0].flatten(1)[:, part])
        for part in pixels.split(at_once)
    ]
    return _move_to_sides(nearness, normals, pixels, _Evidence(*(torch.cat(parts) for parts in zip(*found, strict=True))), radius, strength)


def _padded_index(pixels: Tensor, width: int, reach: int) -> Tensor:
    """Indices of pixels in maps with `reach` more pixels on every side."""
    rows = pixels.div(width, rounding_mode="floor")
    return (rows + reach) * (width + 2 * reach) + (pixels - rows * width) + reach


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
    found = {}
    for ring, distance in enumerate(_RINGS):
        for place in range(_PLACES):
            angle = (place + ring % 2 / 2) * math.tau / _PLACES
            dy, dx = round(distance * radius * math.sin(angle)), round(distance * radius * math.cos(angle))
            if dy or dx:
                found[dy, dx] = math.exp(-(dy * dy + dx * dx) / (2 * (_REACH * radius) ** 2))
    return [(dy, dx, weight) for (dy, dx), weight in found.items()]


class _Offsets(NamedTuple):
    """The sampled places (K, 1) each: rows of a table from a pixel's own, rows and columns of the image, and weights."""

    index: Tensor
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


def _gather_evidence(table: Tensor, index: Tensor, offsets: _Offsets, bounds: Tensor) -> _Evidence:
    """Gathers the evidence of the places around some pixels.

    Args:
        table: (pixels of the padded maps, 8 or 11): nearness, slopes, straightness, whether it is inside, colour, normal.
        index: (N,) rows of the table.
        offsets: Of the places.
        bounds: (4, N): the extremes in windows of one and of two radii.
    """
    low, high, wide_low, wide_high = bounds
    here = table[index].T.contiguous()
    middle, span = (low + high) * 0.5, (high - low).clamp(min=_TINY)
    top, bottom = torch.add(middle, span, alpha=_CLEAR), torch.add(middle, span, alpha=-_CLEAR)
    plain_top, plain_bottom = torch.add(middle, span, alpha=_PLAIN), torch.add(middle, span, alpha=-_PLAIN)
    near, far = (_Side(middle, table.shape[1] - 8) for _ in range(2))
    for offset, down, right, weight in offsets.split():
        there = table.index_select(0, (index + offset).flatten()).T.contiguous().view(table.shape[1], len(offset), len(index))
        value, slope_x, slope_y, straight, inside = there[:5]
        red, green, blue = there[5:8] - here[5:8, None]
        alike = (red * red).addcmul_(green, green).addcmul_(blue, blue).mul_(-0.5 / _COLOUR**2).exp_()
        plane = torch.addcmul(value, slope_x, right, value=-1).addcmul_(slope_y, down, value=-1)
        plane = torch.maximum(torch.minimum(plane, wide_high), wide_low)
        trust, weights = (alike + 0.01).mul_(straight), inside * weight
        near.add(weights * (value > top), alike, trust * (plane > plain_top).to(trust).clamp_(min=_IMPLAUSIBLE), plane, there[8:])
        far.add(weights * (value < bottom), alike, trust * (plane < plain_bottom).to(trust).clamp_(min=_IMPLAUSIBLE), plane, there[8:])
    both_known = (near.count > _NO_WEIGHT) & (far.count > _NO_WEIGHT)
    colour = torch.log((near.likeness() + _DOUBT) / (far.likeness() + _DOUBT)).mul_(both_known)
    # Beside the infinitely far, nothing else is the far side: no plane reaches it.
    near_value, far_value = near.value(high), far.value(low).mul_(low > 0)
    is_edge = (near_value - far_value > _APART * span) & (near_value > far_value * _STEP)
    place = ((here[0] - (near_value + far_value) * 0.5) / (near_value - far_value).clamp(min=_TINY)).clamp(-0.5, 0.5)
    return _Evidence(colour, place, is_edge, span, near_value, far_value, near.directions(), far.directions())


class _Side:
    """The summed evidence of one side, of N pixels."""

    def __init__(self, like: Tensor, channels: int) -> None:
        self.count, self.colour, self.weight, self.sum = (torch.zeros_like(like) for _ in range(4))
        self.normals = like.new_zeros(channels, like.shape[0])

    def add(self, weights: Tensor, alike: Tensor, trust: Tensor, plane: Tensor, normals: Tensor) -> None:
        """Adds K places (K, N) of every pixel: their validity, colours' similarity, and the weights of their planes and normals."""
        trust = trust.mul_(weights)
        for total, each in ((self.count, weights), (self.weight, trust)):
            total += each.sum(0) if len(each) > 1 else each[0]
        for total, weight, each in ((self.colour, weights, alike), (self.sum, trust, plane), (self.normals, trust, normals)):
            if len(weight) > 1:
                total += (weight * each).sum(-2)
            else:
                total.addcmul_(weight[0], each[..., 0, :])

    def likeness(self) -> Tensor:
        """The similarity of the side's colours to the pixel's, 0 to 1."""
        return self.colour / self.count.clamp(min=_NO_WEIGHT)

    def value(self, otherwise: Tensor) -> Tensor:
        """The side's nearness at the pixel."""
        return torch.where(self.weight > _UNKNOWN, self.sum / self.weight.clamp(min=_UNKNOWN), otherwise)

    def directions(self) -> Tensor:
        """(N, 3) or (N, 0): the side's normals, not unit."""
        return (self.normals / self.weight.clamp(min=_UNKNOWN)).T


def _move_to_sides(
    nearness: Tensor, normals: Tensor | None, pixels: Tensor, evidence: _Evidence, radius: int, strength: float
) -> tuple[Tensor, ...]:
    """Moves each ramp's pixel to the side with the stronger evidence."""
    # A single pixel must not outvote all around it.
    votes = torch.stack((evidence.colour, torch.ones_like(evidence.colour)))
    spread = nearness.new_zeros(2, nearness.numel()).index_copy(1, pixels, votes).view(1, 2, *nearness.shape[-2:])
    around = max(1, radius // _AVERAGED)
    total, count = F.avg_pool2d(spread, 2 * around + 1, 1, around).flatten(2)[0, :, pixels]
    colour = total / count
    caution = torch.where(evidence.far > 0, (evidence.near / evidence.far.clamp(min=_TINY)).clamp(1, _MOST).log(), 0)
    is_near = colour * strength + evidence.place * _PRIOR + caution * _CAUTION > 0
    here = nearness.flatten()[pixels]
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


def _slopes(values: Tensor) -> list[Tensor]:
    """Slopes along columns and rows, of 3x3 pixels; at the border one-sided, so that planes are planes there too."""
    rises = _rises(values)
    return [box_means((before + after) * 0.5, 1) for before, after in rises]


def _straightness(values: Tensor) -> Tensor:
    """1 where the surroundings are a plane, next to nothing on ramps."""
    bend = torch.stack([(after - before).abs() for before, after in _rises(values)]).amax(0)
    share = largest_within(bend, 1) / largest_within(values, 1).clamp(min=_TINY)
    return (share / _BEND).square_().add_(1).reciprocal_().add_(_LEAST)


def _rises(values: Tensor) -> list[tuple[Tensor, Tensor]]:
    """From the pixel before and to the pixel after, along columns and rows; the border's are those beside it."""
    found = []
    for axis in (-1, -2):
        steps = values.diff(dim=axis) if values.shape[axis] > 1 else torch.zeros_like(values)
        length = values.shape[axis]
        steps = torch.cat((steps.narrow(axis, 0, 1), steps, steps.narrow(axis, steps.shape[axis] - 1, 1)), axis)
        found.append((steps.narrow(axis, 0, length), steps.narrow(axis, 1, length)))
    return found
