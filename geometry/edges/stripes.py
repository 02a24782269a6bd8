"""Finds the stripes along silhouettes, such as rims, frames and outlines, so that they stay with the near thing.

A network's depth falls over several pixels. Where a thing has a stripe of another colour along its silhouette, the middle of that ramp
lies on the stripe, and the colours of both sides do not tell at which of the stripe's ends the silhouette is. Background is hardly ever
parallel to a thing's silhouette by accident, so a stripe that is belongs to the thing. Colours are averaged along short stretches of an
edge, by their distance from the middle of the ramp; neighbouring stretches have to agree.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ...utils import constant, kept_constants, whole_numbers
from ..filters.box import box_means, box_sums
from ..filters.chosen_pixels import located, places_where, summed_rows, values_at
from .stretches import Stretches, share_above

# Profiles of colours across an edge.
_CELL = 4  # height and width of cells, pixels
_STRETCH = 1  # how many cells on each side a stretch takes in
_BESIDE = 0.71  # pixels: up to here from the middle of its ramp, a pixel is on an edge
_BEYOND = 3  # pixels beyond the radius up to which colours are compared
_SUMS = 6  # how many sums a profile has at each distance
_FEW = 8  # pixels of an edge below which a stretch is too short

# Between the first two distances from an edge a ramp falls, and between the other two a step.
_FALL = (-2.0, 2.0, -0.5, 0.5)

# What is a stripe.
_WIDEST = 1.6  # radii
_TOGETHER = 4096  # stretches that are looked into at once
_FIT_CACHE = 96  # stretches whose stripes of all widths fit the cache of a CPU
_SOFT_FROM = 3  # pixels: from this width on, those where a stripe meets its neighbours may be mixtures of both
_CONTRAST = 0.16  # the least distance of its colour from those on both sides
_LEFT = (0.1, 0.88)  # of a ramp that falls from 1 to 0, what may be left at the stripe's far end
_GAIN = 0.45  # the share that it explains of what a single edge, sharp or soft, leaves of the colours' variance
_EXPLAINED = 0.75  # the share of the variance that it explains
_OVER = 0.1  # from how much above that on it is sure
_NOISE = 0.01  # the share of the variance that is taken for noise
_STEEPEST = 0.8  # a ramp that falls by this share of its fall over four pixels within one is a step, which stays ...
_STEP = 0.3  # ... one that falls by so much less is a ramp; in between it fades

# Several stripes: what is not of the far side's own colour.
_ANY_GAIN = 0.6  # as `_GAIN`
_ANY_CONTRAST = 0.3  # as `_CONTRAST`
_FAR = 4  # pixels that are surely far
_DEVIATIONS = 6  # in how many deviations of theirs another colour begins

# Whether stretches agree.
_AGREE = 3  # cells on each side
_AGREED = 0.5  # the share of the stretches around that have a stripe
_VARIES = 1.5  # pixels by which its end may vary among them

_TINY = 1e-9  # what stands for 0 in a divisor


class Lines(NamedTuple):
    """Straight lines across edges, through pixels of images.

    Attributes:
        image: (N,) the number of the image of each; None = there is only one.
        middle: (2, N) float, the pixels' rows and columns.
        way: (2, N) the direction of the far side, a unit vector: rows and columns.
        height: Of the images.
        width: Of the images.
    """

    image: Tensor | None
    middle: Tensor
    way: Tensor
    height: int
    width: int

    @classmethod
    def through(cls, place: Tensor, way: Tensor, size: tuple[int, ...]) -> Lines:
        """Lines through pixels (N,), counted through so many images of a height and width, in directions (2, N) of any length."""
        image, row, column = located(place, *size)
        middle, way = torch.stack((row, column)).to(way), way / torch.hypot(way[0], way[1]).clamp(min=_TINY)
        return cls(image if size[0] > 1 else None, middle, way, *size[1:])

    def at(self, steps: Tensor) -> Tensor:
        """The pixels (K, N) so many steps, (K, 1), (N,) or (K, N), towards the far side."""
        row, column = torch.addcmul(self.middle[:, None], self.way[:, None], steps).round_().long()
        row, column = row.clamp_(0, self.height - 1), column.clamp_(0, self.width - 1)
        place = column.add_(row, alpha=self.width)
        return place if self.image is None else place.add_(self.image, alpha=self.height * self.width)

    def take(self, index: Tensor) -> Lines:
        """Some of the lines."""
        image, middle, way = (None if each is None else each.index_select(-1, index) for each in self[:3])
        return self._replace(image=image, middle=middle, way=way)


def stripe_ends(inverse: Tensor, image: Tensor, low: Tensor, high: Tensor, edge: Tensor, radius: int) -> Tensor:
    """Finds where silhouettes are if the stripes along them belong to the near thing.

    Args:
        inverse: (B, 1, H, W) float32, inverse depth with ramps at edges.
        image: (B, 3, H, W) float32 in [0, 1].
        low: (B, 1, H, W) inverse depth of the far side of the edge beside each pixel.
        high: The same of the near side.
        edge: (B, 1, H, W) bool, where there is a ramp.
        radius: Half the width of ramps in pixels.

    Returns:
        (B, 5, H, W), 0 where there is no stripe: pixels from the silhouette towards the near side, negative beyond it; pixels from the
        middle of the ramp towards the far side; how sure there is a stripe, 0 to 1; and the direction of the far side, a unit vector: rows
        and columns.
    """
    size = (len(inverse), *inverse.shape[-2:])
    smooth = F.pad(box_means(box_means(inverse, max(1, radius // 2)), max(1, radius // 2)), (1, 1, 1, 1), mode="replicate")
    inside = slice(1, -1)
    down, right = smooth[..., :-2, inside] - smooth[..., 2:, inside], smooth[..., inside, :-2] - smooth[..., inside, 2:]
    place = places_where(edge)
    of_pixels = torch.cat((inverse, low, high, down, right), 1).transpose(0, 1).flatten(1).index_select(1, place)
    lines, cells = Lines.through(place, of_pixels[3:], size), Stretches(place, size, _CELL)
    own, bottom, top = of_pixels[:3].unbind()
    away = _away(lines, inverse, own, bottom, top, radius + 2)
    end, sure = _ends_on_grid(inverse, image, bottom, top, lines, cells, away, radius)
    # Sure cells decide for those beside them.
    weight = sure + 1e-4
    end, weight = cells.between(torch.cat((end * weight, weight), 1))
    sure = (weight - 1e-4).clamp(0, 1) * (away.abs() < radius + 2)
    found = torch.cat(((end / weight - away)[None], away[None], sure[None], lines.way))
    maps = found.new_zeros(len(found), inverse.numel()).index_copy_(1, place, found)
    return maps.unflatten(1, size).transpose(0, 1)


def _away(lines: Lines, inverse: Tensor, own: Tensor, bottom: Tensor, top: Tensor, reach: int) -> Tensor:
    """Pixels (N,) from the middle of the ramp, positive on the far side; more than `reach` where it is not found."""
    middle = (bottom + top) * 0.5
    sign = torch.where(own > middle, *constant(middle, (1.0, -1.0)))
    steps = _steps(sign, 0, reach + 1)
    there = lines.at(sign * steps)
    above = (values_at(inverse, there.flatten()).view_as(there) - middle) * sign
    before, after = above[:-1].clamp(min=0), above[1:]
    crossing = steps[:-1] + before / (before - after).clamp(min=_TINY)
    return -sign * torch.where(after <= 0, crossing, constant(crossing, reach + 1.0)).amin(0)


def _ends_on_grid(
    inverse: Tensor, image: Tensor, bottom: Tensor, top: Tensor, lines: Lines, cells: Stretches, away: Tensor, radius: int
) -> tuple[Tensor, Tensor]:
    """For each cell of a grid where stripes end, in pixels from the middle of the ramp, and how sure: (B, 1, rows, columns).

    Args:
        inverse, image, radius: As `stripe_ends`.
        bottom, top: (N,) inverse depth of the far side of the edge beside each pixel, and of the near side.
        lines: (N,) those across the edge.
        cells: The grid, of these pixels.
        away: (N,) as `_away`.
    """
    cell, shape = cells.bordered()
    on_edge = away.abs() <= _BESIDE
    if away.device.type == "cpu":  # elsewhere their number would wait for the device
        chosen = places_where(on_edge)
        lines, (cell, bottom, top, away, on_edge) = lines.take(chosen), (each[chosen] for each in (cell, bottom, top, away, on_edge))
    before, beyond, widest = radius + _BEYOND + round(radius * _WIDEST), radius + _BEYOND, round(radius * _WIDEST)
    there = lines.at(_distances(away, -before, beyond + 1) - away)
    shown = torch.cat((inverse, image), 1).transpose(0, 1).flatten(1).index_select(1, there.flatten()).unflatten(1, there.shape)
    (fall, depth), colour = shown[0].split((len(_FALL), len(there) - len(_FALL))), shown[1:, len(_FALL) :]
    steep = (fall[2] - fall[3]) / (fall[0] - fall[1]).clamp(min=_TINY)
    weight = on_edge * ((_STEEPEST - steep) / _STEP).clamp(0, 1)
    left = ((depth - bottom) / (top - bottom).clamp(min=_TINY)).clamp(0, 1)
    values = torch.cat((torch.ones_like(left[None]), left[None], colour, colour.square().sum(0, keepdim=True))) * weight
    sums = values.new_zeros(math.prod(shape), _SUMS * len(depth)).index_add_(0, cell, values.flatten(0, 1).T.contiguous())
    occupied = places_where(sums[:, 0] > 0)
    around = occupied[:, None] + _cells_of_stretch(occupied, shape[2])
    profiles = summed_rows(sums, around).view(len(occupied), _SUMS, len(depth)).transpose(0, 1).contiguous()
    # A GPU computes all: to ask which are worth it takes it longer.
    some = places_where(_may_have_stripe(profiles)) if profiles.device.type == "cpu" else None
    looked_into = profiles if some is None else profiles.index_select(1, some)
    parts = (_stripe_end(part, before, widest) for part in looked_into.split(_TOGETHER, 1))
    end, sure = (torch.cat(each) for each in zip(*parts, strict=True))
    if some is not None:
        end, sure = (each.new_zeros(len(occupied)).index_copy_(0, some, each) for each in (end, sure))
    weighted = sure * end
    votes = torch.stack((sure, weighted, weighted * end, torch.ones_like(sure)))
    maps = votes.new_zeros(len(votes), len(sums)).index_copy_(1, occupied, votes).view(-1, *shape).transpose(0, 1)
    count, first, second, all_ = box_sums(maps, _AGREE)[..., 1:-1, 1:-1].split(1, 1)
    mean, square = (torch.cat((first, second), 1) / count.clamp(min=_TINY)).split(1, 1)
    varies = torch.addcmul(square, mean, mean, value=-1).clamp_(min=0).sqrt_()
    return mean, (count / all_.clamp(min=1) / _AGREED).clamp_(max=1) * (2 - varies / _VARIES).clamp_(0, 1)


@kept_constants
def _steps(first: int, end: int) -> Tensor:
    """(K, 1): the whole numbers from the first one up to the end, which is not included."""
    return torch.arange(first, end, dtype=torch.float32)[:, None]


@kept_constants
def _distances(first: int, end: int) -> Tensor:
    """(4 + K, 1): those of `_FALL`, and the whole numbers from the first one up to the end, which is not included."""
    return torch.cat((torch.tensor(_FALL), torch.arange(first, end)))[:, None]


@kept_constants
def _cells_of_stretch(width: int) -> Tensor:
    """(K,) from a cell to those of its stretch, in a grid of that width."""
    along = torch.arange(-_STRETCH, _STRETCH + 1)
    return (along[:, None] * width + along).flatten()


def _may_have_stripe(profile: Tensor) -> Tensor:
    """(N,) bool, whether more than one edge may explain enough: only what varies along a stretch is left by any number of them."""
    number, colour = profile[:1].expand(3, -1, -1), profile[2:5]
    sums = F.pad(torch.cat((number, colour, colour, profile[5:])).cumsum(-1), (1, 0))
    whole = sums[..., -1:]
    until = sums[..., 2:-2]
    errors = _mean_and_error(torch.cat((whole, until, whole - until), -1))[1]
    total, (first, second) = errors[:, :1], errors[:, 1:].chunk(2, 1)
    single = (first + second).amin(-1, keepdim=True)
    along = (profile[5] - profile[2:5].square().sum(0) / profile[0].clamp(min=_TINY)).clamp(min=0).sum(-1, keepdim=True)
    return ((_gained(along, single, total, _GAIN, _TINY) > 0) & (profile[0].amax(-1, keepdim=True) > _FEW))[:, 0]


def _stripe_end(profile: Tensor, before: int, widest: int) -> tuple[Tensor, Tensor]:
    """Where the stripe of each of N stretches ends, in pixels from the middle of the ramp, and how sure there is one: (N,).

    Args:
        profile: (6, N, D) sums at D distances, `before` of them before the middle: number, depth as a share, colour, squared colour.
        before: As above.
        widest: How many pixels wide a stripe may be.
    """
    rows = profile.mT.contiguous()  # (6, D, N), as distances are chosen
    at = _steps(rows, 0, rows.shape[1])
    moments = torch.cat((rows[:1], rows[:1] * at, rows[:1] * (at * at), rows[2:5], rows[2:5] * at, rows[5:]))
    # Not padded: before torch 2.8 nothing, which there may be, cannot be.
    sums = torch.cat((torch.zeros_like(moments[:, :1]), moments.cumsum(1)), 1)
    left = rows[1] / rows[0].clamp(min=_TINY)
    # Of many, one width after the other on a CPU: all at once would not fit its cache.
    one_by_one = rows.device.type == "cpu" and rows.shape[-1] > _FIT_CACHE
    widths = [range(wide, wide + 1) for wide in range(widest + 1)] if one_by_one else [range(widest + 1)]
    found = (torch.stack(each) for each in zip(*(_best_stripe(moments, sums, left, part) for part in widths), strict=True))
    single, bests, ends, contrasts = found
    best, number = bests.min(0, keepdim=True)
    best, end, contrast = (each.T for each in (best, ends.gather(0, number) - before, contrasts.gather(0, number)))
    single, left, total = single.amin(0)[:, None], left.T, _mean_and_error(sums[:, -1:])[1].T
    enough = profile[0].amax(-1, keepdim=True) > _FEW
    sure = _gained(best, single, total, _GAIN, 0.5 * _GAIN) * share_above(contrast, _CONTRAST, 0.5 * _CONTRAST) * enough
    sure = torch.where(best < torch.inf, sure, constant(sure, 0.0))
    begin, also = _begin_of_far(profile, left, single, total, before)
    also = also * enough
    return torch.where(sure >= also, end, begin)[:, 0], torch.maximum(sure, also)[:, 0]


def _best_stripe(moments: Tensor, sums: Tensor, left: Tensor, widths: range) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The least error without a stripe and with one of so many pixels, that stripe's end as a distance, and its contrast: (N,) each.

    Args:
        moments: (10, D, N) at D distances: sums of 1, distance, its square, colour, colour times distance, squared colour.
        sums: (10, D + 1, N) of the moments of all smaller distances.
        left: (D, N) depth as a share.
        widths: Those of the stripe, ascending; 0 is none.
    """
    stripes = _Stripes(*_stripes(left, len(left), widths.start, widths.stop))

    def chosen(values: Tensor, index: Tensor) -> Tensor:
        """(C, D, N) values at tables of distances (K, W, begins): (C, K, W, begins, N)."""
        return values.index_select(1, index.flatten()).unflatten(1, index.shape)

    whole = sums[:, -1][:, None, None, None]
    # Without a stripe: an edge, or what goes evenly from near to far.
    until = chosen(sums, stripes.ends)
    (near, far), error = (each.unbind(-4) for each in _mean_and_error(torch.cat((until[:, :1], whole - until[:, 1:]), 1)))
    error = error[0] + error[1]
    mixture = _error_of_mixture(until[:, 1] - until[:, 0], near, far, stripes.to_middle, stripes.width)
    single = (error + mixture).masked_fill(stripes.outside, torch.inf).amin((0, 1))
    # With one, whose ends may be mixtures if it is wide.
    before_it, first, last, after_it = chosen(sums, stripes.around).unbind(1)
    mean, errors = _mean_and_error(torch.stack((before_it, last - first, whole[:, 0] - after_it), 1))
    near, stripe, far = mean.unbind(1)
    error = errors.sum(0)
    if widths.stop > _SOFT_FROM:
        one, other = torch.stack((near, near, stripe, stripe), 1), torch.stack((stripe, stripe, far, far), 1)
        error = torch.addcmul(error, _error_between(chosen(moments, stripes.beside), one, other).sum(0), stripes.is_soft)
    apart = (stripe[:, None] - torch.stack((near, far), 1)).square().sum(0).amin(0).sqrt()
    before_end, at_end = chosen(left[None], stripes.beside[2:])[0]
    nowhere = stripes.is_none | (at_end <= _LEFT[0]) | (before_end >= _LEFT[1])
    least, number = error.masked_fill(nowhere, torch.inf).flatten(0, 1).min(0)
    return single, least, stripes.ends[1].flatten().index_select(0, number) - 0.5, apart.flatten(0, 1).gather(0, number[None])[0]


class _Stripes(NamedTuple):
    """Stripes of W widths that begin at every one of B distances, with at least two pixels on both sides.

    Attributes:
        ends: (2, W, B) where they begin and end, at most two pixels before the last distance.
        around: (4, W, B) the same, and before and after the pixels there that may be mixtures.
        beside: (4, W, B) the pixels before and after where they begin, and those where they end.
        outside, is_none: (W, B, 1) bool, which ones would end later; those, and the ones without a width.
        to_middle: (B, 1) from the middle of the first pixel to the distance 0.
        width: (W, 1, 1), at least 1.
        is_soft: (W, 1, 1), 1 where mixtures are allowed for, else 0.
    """

    ends: Tensor
    around: Tensor
    beside: Tensor
    outside: Tensor
    is_none: Tensor
    to_middle: Tensor
    width: Tensor
    is_soft: Tensor


@kept_constants
def _stripes(count: int, first: int, stop: int) -> tuple[Tensor, ...]:
    """`_Stripes` of widths from the first one up to but not including `stop`, at so many distances."""
    width = torch.arange(first, stop)[:, None]
    begin = torch.arange(2, count - 2 - first).expand(len(width), -1)
    end = begin + width
    outside, end, soft = (end >= count - 2).unsqueeze(2), end.clamp(max=count - 2), (width >= _SOFT_FROM).long()
    return (
        torch.stack((begin, end)),
        torch.stack((begin - soft, begin + soft, end - soft, end + soft)),
        torch.stack((begin - 1, begin, end - 1, end)),
        outside,
        outside | (width < 1).unsqueeze(2),
        0.5 - begin[0].float()[:, None],
        width.clamp(min=1).float().unsqueeze(2),
        soft.float().unsqueeze(2),
    )


def _begin_of_far(profile: Tensor, left: Tensor, single: Tensor, total: Tensor, before: int) -> tuple[Tensor, Tensor]:
    """Where the far side's own colour begins after several stripes, and how sure that is a silhouette: (N, 1). As `_stripe_end`."""
    number = profile[0].clamp(min=_TINY)
    mean = profile[2:5] / number
    varies = (profile[5] / number - mean.square().sum(0)).clamp(min=0)
    outermost = profile[..., -_FAR:].sum(-1, keepdim=True)
    far, error = _mean_and_rest(outermost[0], outermost[2:5], outermost[5])
    least = (error / outermost[0].clamp(min=_TINY) * _DEVIATIONS**2).clamp_(min=_CONTRAST**2)
    apart, at = (mean - far).square().sum(0), whole_numbers(profile, 0, profile.shape[-1])
    last = torch.where(apart > least, at, constant(at, 2)).amax(-1, keepdim=True)
    after = (last + 1).clamp_(max=len(at) - 1)
    before_last = last - whole_numbers(profile, 0, 3)
    peak, spread = apart.gather(-1, before_last).amax(-1, keepdim=True).sqrt(), varies.gather(-1, before_last).amin(-1, keepdim=True).sqrt()
    in_ramp = (last > 2) & (left.gather(-1, last) < _LEFT[1]) & (left.gather(-1, after) > _LEFT[0])
    of_far = (far * (profile[0] * far).sub_(profile[2:5], alpha=2)).sum(0).add_(profile[5]).clamp_(min=0)
    error = torch.where(at > last, of_far, varies * number).sum(-1, keepdim=True)
    sure = _gained(error, single, total, _ANY_GAIN, 0.1) * share_above(peak, _ANY_CONTRAST, 0.5 * _ANY_CONTRAST) * in_ramp
    return last + (0.5 - before), sure * (2 - 2 * spread / peak.clamp(min=_TINY)).clamp(0, 1)


def _gained(error: Tensor, single: Tensor, total: Tensor, least: float, over: float) -> Tensor:
    """How surely an error is less than that of a single edge, by what share of it, and than the total."""
    noise = _NOISE * total + _TINY
    left, unexplained = (error + noise) / (single + noise), error / total.clamp(min=_TINY)
    return share_above(left, 1 - least, -over) * share_above(unexplained, 1 - _EXPLAINED, -_OVER)


def _mean_and_error(moments: Tensor) -> tuple[Tensor, Tensor]:
    """The mean colour (3, ...) and the sum of squared differences from it, of moments (10, ...) as `_stripe_end` sums them."""
    return _mean_and_rest(moments[0], moments[3:6], moments[9])


def _mean_and_rest(number: Tensor, colour: Tensor, squares: Tensor) -> tuple[Tensor, Tensor]:
    """The same of sums of 1, of colours (3, ...) and of squared colours."""
    mean = colour / number.clamp(min=_TINY)
    return mean, (squares - (colour * mean).sum(0)).clamp_(min=0)


def _error_of_mixture(moments: Tensor, near: Tensor, far: Tensor, to_middle: Tensor, wide: Tensor) -> Tensor:
    """The error of colours that go evenly from near to far over `wide` pixels, from where the first one's middle is at -`to_middle`."""
    number, first, second = moments[:3]
    rise = (far - near) / wide
    begin = torch.addcmul(near, rise, to_middle)
    by_begin = (begin * number).addcmul_(rise, first, value=2).sub_(moments[3:6], alpha=2)
    by_rise = (rise * second).sub_(moments[6:9], alpha=2)
    return (begin * by_begin).addcmul_(rise, by_rise).sum(0).add_(moments[9]).clamp_(min=0)


def _error_between(moments: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """The error of single pixels whose colour may be any mixture of two."""
    (mean, error), line = _mean_and_error(moments), second - first
    apart = mean - first
    share = ((apart * line).sum(0) / line.square().sum(0).clamp_(min=_TINY)).clamp_(0, 1)
    return torch.addcmul(error, moments[0], torch.addcmul(apart, share, line, value=-1).square_().sum(0))
