"""Ramps between near and far things made steps where a picture has its edges, each side going on as the plane that it is.

For every pixel of a ramp, places around it speak for the near or the far side, as their nearness is above or below the ramp's middle. How
like its colour theirs are, together with how far up the ramp it stands, says to which side it belongs. It takes over what the planes of
that side, extrapolated to it, say of nearness, and the normals there: a weighted mode of two bins and not a mean over both, so that nothing
in between stays. A slope is no ramp: the planes of both its sides agree.

Source:
    J. Kopf et al., "Joint bilateral upsampling" (2007), for the weights; D. Min, J. Lu and M. N. Do, "Depth video enhancement based on
    weighted mode filtering" (2012), for the mode. Planes in place of values, their straightness as a weight, and the ramp's own middle as
    the prior are our addition. A linear function of the colour (K. He et al., "Guided image filtering", 2010) would print textures; the
    solver of J. T. Barron and B. Poole, "The fast bilateral solver" (2016), minimises a squared difference and leaves values in between.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .edges import EDGE, largest_within
from .plane_fit import by_bands

# Rings of places that are asked, in radii, how many on each, and the reach of their weights.
_RINGS, _PLACES, _REACH = (0.7, 1.3, 2.0, 3.0), 8, 1.5
# How alike colours of one thing are, and the share of likeness that says nothing.
_COLOUR, _DOUBT = 0.1, 0.05
# What the place on a ramp counts, as a logarithm of odds from end to end; colours alone reach 3.
_PRIOR = 12.0
# A place speaks for a side from this share of the span above or below the middle, and as a plane within that.
_CLEAR, _PLAIN = 0.25, 0.2
# Bends, as shares of nearness, that make a plane doubtful, and the weight that is left to the most doubtful.
_BEND, _LEAST = 0.003, 1e-4
# How far apart the planes of both sides are at least: shares of the span, of the far side, and what of the span may stay.
_APART, _STEP, _REST = 0.15, 1.03, 0.03
# The span of a window twice as wide, where the window holds the ramp.
_WIDER = 1.8
_TINY, _NO_WEIGHT = 1e-9, 1e-7
# Widths of ramps are measured in windows of these radii, at so many pixels, where a span is no longer growing.
_WINDOWS, _SAMPLES, _GROWING, _STRONG = (1, 2, 4, 8, 16, 32), 2**17, 1.15, 0.1


def ramp_width(nearness: Tensor) -> float:
    """How many pixels wide depth edges are: 1 for steps, 0 where there are no edges. Waits for the device once.

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
    """How wide the ramp around every step of rows is; NaN where that is no edge, or no end is seen."""
    steps = lines.diff(dim=-1).abs()
    widths, edges = [], []
    for radius in _WINDOWS:
        window = {"kernel_size": (1, 2 * radius + 1), "stride": 1, "padding": (0, radius)}
        high, low = F.max_pool2d(lines, **window), -F.max_pool2d(-lines, **window)
        top, bottom = torch.maximum(high[..., 1:], high[..., :-1]), torch.minimum(low[..., 1:], low[..., :-1])
        widths.append((top - bottom) / steps.clamp(min=_TINY))
        steepest = F.max_pool2d(steps, (1, 4 * radius + 1), 1, (0, 2 * radius))
        edges.append((top > bottom * (1 + _STRONG)) & (steps >= steepest))
    found = torch.full_like(steps, torch.nan)
    for width, wider, is_edge in reversed(list(zip(widths[:-1], widths[1:], edges[:-1], strict=True))):
        found = torch.where((wider < width * _GROWING) & is_edge, width, found)
    return found


def take_sides(nearness: Tensor, picture: Tensor, radius: int, strength: float = 1.0, normals: Tensor | None = None) -> tuple[Tensor, ...]:
    """Steps where there were ramps.

    Args:
        nearness: (1, 1, H, W), finite and not negative, linear on planes (inverse depth up to scale); 0 = the infinitely far.
        picture: (1, 3, H, W) in [0, 1].
        radius: Half the width of the ramps in pixels, at least 1.
        strength: What colours count beside the place on the ramp; 0: steps in the middle of ramps.
        normals: (1, 3, H, W) unit vectors to bring to the sides too; None = none.

    Returns:
        Nearness (1, 1, H, W); where a side was taken, (1, 1, H, W) bool; and normals if there were some, not unit. Elsewhere, all is as it was.
    """
    low, high = _extremes(nearness, radius)
    wide_low, wide_high = _extremes(nearness, 2 * radius)
    ramp = (high > low * EDGE) & (wide_high - wide_low < _WIDER * (high - low))
    straight = _straightness(nearness)
    slopes = _slopes(nearness)
    inside = torch.ones_like(nearness)
    maps = [low, high, wide_low, wide_high, ramp.to(nearness), nearness, *slopes, straight, inside, picture]
    maps += [] if normals is None else [normals]
    places = _places(radius)
    reach = max(max(abs(dy), abs(dx)) for dy, dx, _ in places) + 1

    def take_band(*padded: Tensor) -> tuple[Tensor, ...]:
        return _taken(padded, places, reach, strength)

    evidence, *sides = by_bands(take_band, reach, *maps)
    return _chosen(nearness, normals, evidence, sides)


def _places(radius: int) -> list[tuple[int, int, float]]:
    """Rows and columns to every place that is asked, each once, and its weight."""
    found = {}
    for ring, distance in enumerate(_RINGS):
        for place in range(_PLACES):
            angle = (place + ring % 2 / 2) * math.tau / _PLACES
            dy, dx = round(distance * radius * math.sin(angle)), round(distance * radius * math.cos(angle))
            if dy or dx:
                found[dy, dx] = math.exp(-(dy * dy + dx * dx) / (2 * (_REACH * radius) ** 2))
    return [(dy, dx, weight) for (dy, dx), weight in found.items()]


def _taken(padded: tuple[Tensor, ...], places: list[tuple[int, int, float]], reach: int, strength: float) -> tuple[Tensor, ...]:
    """Evidence for the near side, and both sides' nearness and normals, of maps with `reach` more pixels on every side."""
    low, high, wide_low, wide_high, ramp = (_at(each, reach, 0, 0) for each in padded[:5])
    nearness, slope_x, slope_y, straight, inside, picture = padded[5:11]
    normals = padded[11] if len(padded) > 11 else None
    middle, span = (low + high).mul_(0.5), (high - low).clamp_(min=_TINY)
    top, bottom = torch.add(middle, span, alpha=_CLEAR), torch.add(middle, span, alpha=-_CLEAR)
    plain_top, plain_bottom = torch.add(middle, span, alpha=_PLAIN), torch.add(middle, span, alpha=-_PLAIN)
    colours = [_at(each, reach, 0, 0) for each in picture.split(1, 1)]
    sides = [_Side(middle, normals is not None) for _ in range(2)]
    for dy, dx, weight in places:
        value = _at(nearness, reach, dy, dx)
        alike = _alike(picture, colours, reach, dy, dx)
        plane = torch.add(value, _at(slope_x, reach, dy, dx), alpha=-dx).add_(_at(slope_y, reach, dy, dx), alpha=-dy)
        plane = torch.maximum(torch.minimum(plane, wide_high), wide_low)
        trust = (alike + 0.01).mul_(_at(straight, reach, dy, dx))
        there = None if normals is None else _at(normals, reach, dy, dx)
        counts = _at(inside, reach, dy, dx) * weight
        sides[0].add(counts * (value > top), alike, trust * (plane > plain_top).to(trust).clamp_(min=1e-3), plane, there)
        sides[1].add(counts * (value < bottom), alike, trust * (plane < plain_bottom).to(trust).clamp_(min=1e-3), plane, there)
    near, far = sides
    seen = (near.count > _NO_WEIGHT) & (far.count > _NO_WEIGHT)
    place = (_at(nearness, reach, 0, 0) - middle) / span
    colour = torch.log((near.likeness() + _DOUBT) / (far.likeness() + _DOUBT)).mul_(seen)
    near_value, far_value = near.value(high), far.value(low)
    apart = (near_value - far_value > _APART * span) & (near_value > far_value * _STEP)
    edge = ramp * apart
    found = [colour * strength, place.mul_(_PRIOR), edge, span, near_value, far_value]
    if normals is not None:
        found += [near.directions(), far.directions()]
    return tuple([torch.cat(found[:4], 1), *found[4:]])


class _Side:
    """What the places of one side say, summed up."""

    def __init__(self, like: Tensor, with_normals: bool) -> None:
        self.count, self.colour, self.weight, self.sum = (torch.zeros_like(like) for _ in range(4))
        self.normals = like.new_zeros(1, 3, *like.shape[-2:]) if with_normals else None

    def add(self, counts: Tensor, alike: Tensor, trust: Tensor, plane: Tensor, normals: Tensor | None) -> None:
        """Takes in one place of every pixel: whether it counts, how alike its colour is, and what its plane and normal are worth."""
        self.count += counts
        self.colour.addcmul_(counts, alike)
        trust = trust.mul_(counts)
        self.weight += trust
        self.sum.addcmul_(trust, plane)
        if self.normals is not None and normals is not None:
            self.normals.addcmul_(trust, normals)

    def likeness(self) -> Tensor:
        """How alike the side's colours are to the pixel's, 0 to 1."""
        return self.colour / self.count.clamp(min=_NO_WEIGHT)

    def value(self, otherwise: Tensor) -> Tensor:
        """The side's nearness at the pixel."""
        return torch.where(self.weight > _NO_WEIGHT**2, self.sum / self.weight.clamp(min=_NO_WEIGHT**2), otherwise)

    def directions(self) -> Tensor:
        """The side's normals, zero where none is known; not unit."""
        assert self.normals is not None
        return self.normals / self.weight.clamp(min=_NO_WEIGHT**2)


def _chosen(nearness: Tensor, normals: Tensor | None, evidence: Tensor, sides: list[Tensor]) -> tuple[Tensor, ...]:
    """Each ramp's pixel on the side that speaks louder."""
    colour, place, edge, span = evidence.split(1, 1)
    # Single pixels must not speak against all around them.
    is_near = F.avg_pool2d(colour, 3, 1, 1, count_include_pad=False) + place > 0
    value = torch.where(is_near, sides[0], sides[1])
    taken = edge > 0
    moved = taken & ((value - nearness).abs() > _REST * span)
    refined = torch.where(moved, value, nearness)
    if normals is None:
        return refined, moved
    directions = torch.where(is_near, sides[2], sides[3])
    known = taken & (directions.abs().amax(1, keepdim=True) > 1e-3)
    return refined, moved, torch.where(known, directions, normals)


def _alike(picture: Tensor, colours: list[Tensor], reach: int, dy: int, dx: int) -> Tensor:
    """How alike every pixel's colour and that of a place beside it are, 0 to 1."""
    distance = torch.zeros_like(colours[0])
    for channel, colour in zip(picture.split(1, 1), colours, strict=True):
        difference = _at(channel, reach, dy, dx) - colour
        distance.addcmul_(difference, difference)
    return distance.mul_(-0.5 / _COLOUR**2).exp_()


def _at(padded: Tensor, reach: int, dy: int, dx: int) -> Tensor:
    """The values dy rows below and dx columns to the right of every pixel."""
    height, width = padded.shape[-2:]
    return padded[..., reach + dy : height - reach + dy, reach + dx : width - reach + dx]


def _slopes(values: Tensor) -> list[Tensor]:
    """Slopes along columns and rows, of 3x3 pixels."""
    padded = F.pad(values, (1, 1, 1, 1), mode="replicate")
    rises = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2], padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]
    return [F.avg_pool2d(rise * 0.5, 3, 1, 1, count_include_pad=False) for rise in rises]


def _straightness(values: Tensor) -> Tensor:
    """1 where the surroundings are a plane, next to nothing on ramps."""
    padded = F.pad(values, (1, 1, 1, 1), mode="replicate")
    double = values * 2
    bend = torch.maximum(
        (padded[..., 1:-1, 2:] + padded[..., 1:-1, :-2]).sub_(double).abs_(),
        (padded[..., 2:, 1:-1] + padded[..., :-2, 1:-1]).sub_(double).abs_(),
    )
    share = largest_within(bend, 1) / largest_within(values, 1).clamp(min=_TINY)
    return (share / _BEND).square_().add_(1).reciprocal_().add_(_LEAST)


def _extremes(values: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    return -largest_within(-values, radius), largest_within(values, radius)
