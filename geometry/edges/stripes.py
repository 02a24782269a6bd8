"""Finds the stripes along silhouettes, such as rims, frames and outlines, so that they stay with the near thing.

A network's depth falls over several pixels. Where an object has a stripe of another colour along its silhouette, the middle of that ramp
lies on the stripe, and colours do not tell at which end of the stripe the silhouette is. Background is hardly ever
parallel to a silhouette by accident, so such a stripe belongs to the object. Colours are averaged along short stretches of an
edge, by their distance from the middle of the ramp; neighbouring stretches have to agree.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ...utils import constant, kept_constants, whole_numbers, without_autocast
from ..filters.box import box_means, box_sums
from ..filters.chosen_pixels import pixels_where, places_where, summed_rows, values_at
from .stretches import Stretches, share_above, shares_above

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
# From where on, and over what, one stripe and several are sure: the share of a single edge's error, of the total, and the contrast.
_IS_STRIPE = (
    (1 - _GAIN, -0.5 * _GAIN),
    (1 - _ANY_GAIN, -0.1),
    *((1 - _EXPLAINED, -_OVER),) * 2,
    (_CONTRAST, 0.5 * _CONTRAST),
    (_ANY_CONTRAST, 0.5 * _ANY_CONTRAST),
)
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
        image: (N,) image index of each; None = only one image.
        middle: (2, N) float, the pixels' rows and columns.
        way: (2, N) unit vector towards the far side: rows and columns.
        height, width: Of the images.
    """

    image: Tensor | None
    middle: Tensor
    way: Tensor
    height: int
    width: int

    @classmethod
    def through(cls, pixels: tuple[Tensor, Tensor, Tensor], way: Tensor, size: tuple[int, ...]) -> Lines:
        """Lines through pixels by `located` of so many images of a height and width, in directions (2, N) of any length."""
        image, row, column = pixels
        middle, way = torch.stack((row, column)).to(way), way / torch.hypot(way[0], way[1]).clamp(min=_TINY)
        return cls(image if size[0] > 1 else None, middle, way, *size[1:])

    def at(self, steps: Tensor) -> Tensor:
        """The pixels (K, N) so many steps, (K, 1), (N,) or (K, N), towards the far side."""
        there = torch.addcmul(self.middle[:, None], self.way[:, None], steps).round_().long()
        row, column = there.clamp_(*constant(there, ((0, 0), (self.height - 1, self.width - 1)))[..., None, None])
        place = column.add_(row, alpha=self.width)
        return place if self.image is None else place.add_(self.image, alpha=self.height * self.width)

    def take(self, index: Tensor) -> Lines:
        """Some of the lines."""
        image, middle, way = (None if each is None else each.index_select(-1, index) for each in self[:3])
        return self._replace(image=image, middle=middle, way=way)


@without_autocast
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
    place, pixels = pixels_where(edge)
    maps = torch.cat((low, high, down, right, inverse, image), 1).transpose(0, 1).flatten(1)
    of_pixels = maps[:5].index_select(1, place)
    bottom, top, own = of_pixels[0], of_pixels[1], of_pixels[4]
    lines, cells = Lines.through(pixels, of_pixels[2:4], size), Stretches(pixels, size, _CELL)
    away = _away(lines, inverse, own, bottom, top, radius + 2)
    end, sure = _ends_on_grid(maps[4:], bottom, top, lines, cells, away, radius)
    # Sure cells decide for those beside them.
    weight = sure + 1e-4
    end, weight = cells.between(torch.cat((end * weight, weight), 1))
    sure = (weight - 1e-4).clamp(0, 1) * (away.abs() < radius + 2)
    ends = torch.cat(((end / weight - away)[None], away[None], sure[None], lines.way))
    maps = ends.new_zeros(len(ends), inverse.numel()).index_copy_(1, place, ends)
    return maps.unflatten(1, size).transpose(0, 1)


def _away(lines: Lines, inverse: Tensor, own: Tensor, bottom: Tensor, top: Tensor, reach: int) -> Tensor:
    """Distance (N,) in pixels from the middle of the ramp, positive on the far side; more than `reach` if not found."""
    middle = torch.lerp(bottom, top, 0.5)
    sign = torch.where(own > middle, *constant(middle, (-1.0, 1.0)))
    steps = _steps(sign, 0, reach + 1)
    there = lines.at(sign * -steps)
    above = (middle - values_at(inverse, there.flatten()).view_as(there)) * sign
    before, after = above[:-1].clamp(min=0), above[1:]
    crossing = steps[:-1] + before / (before - after).clamp(min=_TINY)
    return sign * torch.where(after <= 0, crossing, constant(crossing, reach + 1.0)).amin(0)


def _ends_on_grid(
    maps: Tensor, bottom: Tensor, top: Tensor, lines: Lines, cells: Stretches, away: Tensor, radius: int
) -> tuple[Tensor, Tensor]:
    """For each cell of a grid, where stripes end, in pixels from the middle of the ramp, and the confidence: (B, 1, rows, columns).

    Args:
        maps: (4, B H W) inverse depth and colour.
        bottom, top: (N,) inverse depth of the far and near side of the edge beside each pixel.
        lines: (N,) those across the edge.
        cells: The grid, of these pixels.
        away: (N,) as `_away`.
        radius: As `stripe_ends`.
    """
    cell, shape = cells.bordered()
    on_edge = away.abs() <= _BESIDE
    if away.device.type == "cpu":  # elsewhere their number would wait for the device
        chosen = places_where(on_edge)
        lines, (cell, bottom, top, away, on_edge) = lines.take(chosen), (each[chosen] for each in (cell, bottom, top, away, on_edge))
    before, beyond, widest = radius + _BEYOND + round(radius * _WIDEST), radius + _BEYOND, round(radius * _WIDEST)
    there = lines.at(_distances(away, -before, beyond + 1) - away)
    shown = maps.index_select(1, there.flatten()).unflatten(1, there.shape)
    (fall, depth), colour = shown[0].split((len(_FALL), len(there) - len(_FALL))), shown[1:, len(_FALL) :]
    ramp, step = fall[::2] - fall[1::2]
    weight = on_edge * share_above(step / ramp.clamp(min=_TINY), _STEEPEST, -_STEP)
    left = ((depth - bottom) / (top - bottom).clamp(min=_TINY)).clamp(0, 1)
    values = torch.cat((constant(left, 1.0).expand_as(left)[None], left[None], colour, colour.square().sum(0, keepdim=True))) * weight
    sums = values.new_zeros(math.prod(shape), _SUMS * len(depth)).index_add_(0, cell, values.flatten(0, 1).T.contiguous())
    occupied = places_where(sums[:, 0] > 0)
    around = occupied[:, None] + _cells_of_stretch(occupied, shape[2])
    profiles = summed_rows(sums, around).view(len(occupied), _SUMS, len(depth)).transpose(0, 1).contiguous()
    # A GPU computes all: selecting takes longer.
    some = places_where(_may_have_stripe(profiles)) if profiles.device.type == "cpu" else None
    looked_into = profiles if some is None else profiles.index_select(1, some)
    parts = [_stripe_end(part, before, widest) for part in looked_into.split(_TOGETHER, 1)]
    end, sure = map(torch.cat, zip(*parts, strict=True)) if len(parts) > 1 else parts[0]
    if some is not None:
        end, sure = (each.new_zeros(len(occupied)).index_copy_(0, some, each) for each in (end, sure))
    weighted = sure * end
    votes = torch.stack((weighted, weighted * end, sure, constant(sure, _AGREED).expand_as(sure)))
    maps = votes.new_zeros(len(votes), len(sums)).index_copy_(1, occupied, votes).view(-1, *shape).transpose(0, 1)
    moments, count, all_ = box_sums(maps, _AGREE)[..., 1:-1, 1:-1].split((2, 1, 1), 1)
    mean, square = (moments / count.clamp(min=_TINY)).split(1, 1)
    varies = torch.addcmul(square, mean, mean, value=-1).clamp_(min=0).sqrt_()
    return mean, (count / all_.clamp(min=_AGREED)).clamp_(max=1) * share_above(varies, 2 * _VARIES, -_VARIES)


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
    """(N,) bool, whether several edges may explain enough: only variation along a stretch remains, whatever their number."""
    sums = F.pad(profile.cumsum(-1), (1, 0))
    whole = sums[..., -1:]
    until = sums[..., 2:-2]
    errors = _mean_and_error(torch.cat((whole, until, whole - until), -1))[1]
    total, (first, second) = errors[:, 0], errors[:, 1:].chunk(2, 1)
    single, along, noise = (first + second).amin(-1), _mean_and_error(profile)[1].sum(-1), _NOISE * total + _TINY
    gains = (along + noise < (1 - _GAIN) * (single + noise)) & (along < (1 - _EXPLAINED) * total)
    return gains & (profile[0].amax(-1) > _FEW)


def _stripe_end(profile: Tensor, before: int, widest: int) -> tuple[Tensor, Tensor]:
    """Where the stripe of each of N stretches ends, in pixels from the middle of the ramp, and how sure there is one: (N,).

    Args:
        profile: (6, N, D) sums at D distances, `before` of them before the middle: number, depth as a share, colour, squared colour.
        before: As above.
        widest: How many pixels wide a stripe may be.
    """
    rows = profile.mT.contiguous()  # (6, D, N), as distances are chosen
    left = rows[1] / rows[0].clamp(min=_TINY)
    may_end = (left[:-1] < _LEFT[1]) & (left[1:] > _LEFT[0])
    # Of many, one width after the other on a CPU: all at once would not fit its cache.
    one_by_one = rows.device.type == "cpu" and rows.shape[-1] > _FIT_CACHE
    single, best, end, contrast = _best_stripe(rows, may_end, 0, 1 if one_by_one else widest + 1)
    for wide in range(1, widest + 1) if one_by_one else ():
        other, *stripe = _best_stripe(rows, may_end, wide, wide + 1)
        is_better, single = stripe[0] < best, torch.minimum(single, other)
        best, end, contrast = (torch.where(is_better, *each) for each in zip(stripe, (best, end, contrast), strict=True))
    far_end, error, peak, clear, total = _begin_of_far(rows, may_end)
    # By how much an error is less than that of a single edge and than the total, with one stripe and with several.
    errors, noise = torch.stack((best, error)), _NOISE * total + _TINY
    gains = torch.stack(((errors + noise) / (single + noise), errors / total.clamp(min=_TINY), torch.stack((contrast, peak))))
    sure, also = shares_above(gains.flatten(0, 1), *_IS_STRIPE).unflatten(0, (3, 2)).prod(0)
    also = also * clear
    return torch.where(sure >= also, end, far_end) - (before - 0.5), torch.maximum(sure, also) * (rows[0].amax(0) > _FEW)


def _best_stripe(rows: Tensor, may_end: Tensor, first: int, stop: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The least error without a stripe and with one of so many pixels, that one's last distance, and its contrast: (N,) each.

    Args:
        rows: (6, D, N), a profile at D distances.
        may_end: (D - 1, N) bool, whether a stripe may end at each distance but the last.
        first: The stripe's least width; 0 is none.
        stop: Its greatest width, plus one.
    """
    members, last, outside, is_stripe = _stripes(rows, rows.shape[1], first, stop)
    sums = torch.bmm(members.expand(len(rows), -1, -1), rows).unflatten(1, (-1, *outside.shape[:2]))
    mean, errors = _mean_and_error(sums[:, :-3])
    # Without a stripe: an edge, or what goes evenly from near to far.
    near, line = mean[:, 0], mean[:, 1] - mean[:, 0]
    whole, share, square = sums[:, -3:].unbind(1)
    by_near = (near * whole[0]).addcmul_(line, share[0], value=2).sub_(whole[2:5], alpha=2)
    by_line = (line * square[0]).sub_(share[2:5], alpha=2)
    mixture = (near * by_near).addcmul_(line, by_line).sum(0).add_(whole[5]).clamp_(min=0)
    single = (errors[:2].sum(0) + mixture).masked_fill(outside, torch.inf).amin((0, 1))
    # With one, whose ends may be mixtures if it is wide.
    lines, error = mean[:, 3:5] - mean[:, 2:4], errors[2:].sum(0)
    lengths = lines.square().sum(0)
    if stop > _SOFT_FROM:
        apart = mean[:, 5:].unflatten(1, (2, 2)) - mean[:, 2:4, None]
        share = ((apart * lines[:, :, None]).sum(0) / lengths[:, None].clamp(min=_TINY)).clamp_(0, 1)
        apart = torch.addcmul(apart, share, lines[:, :, None], value=-1).square_().sum(0)
        error = error + (sums[0, 5:-3].unflatten(0, (2, 2)) * apart).sum((0, 1))
    is_stripe = may_end.index_select(0, last.flatten()).unflatten(0, last.shape) & is_stripe
    least, number = torch.where(is_stripe, error, constant(error, math.inf)).flatten(0, 1).min(0)
    return single, least, last.flatten().index_select(0, number), lengths.amin(0).sqrt_().flatten(0, 1).gather(0, number[None])[0]


@kept_constants
def _stripes(count: int, first: int, stop: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Stripes of W widths that begin at every one of B of so many distances, with at least two pixels on both sides.

    Args:
        count: D, how many distances there are.
        first, stop: As `_best_stripe`.

    Returns:
        (K W B, D), the weight of each distance in sums: before a stripe's begin; beyond its end; before it, within it and beyond it without
        those beside its ends, if it is wide enough for mixtures; these four one by one, unless all are narrow; within it all, then by how
        far they are on the way to its end, and by the square of that. (W, B) their last distances, at most the third but last.
        (W, B, 1) bool, which would end later; and which are stripes.
    """
    width, begin, at = torch.arange(first, stop)[:, None, None], torch.arange(2, count - 2 - first)[:, None], torch.arange(count)
    outside, end, soft = begin + width >= count - 2, (begin + width).clamp(max=count - 2), (width >= _SOFT_FROM).long()
    sums = [at < begin + 0 * width, at >= end, at < begin - soft, (at >= begin + soft) & (at < end - soft), at >= end + soft]
    if stop > _SOFT_FROM:
        sums += [(at == each) & (soft > 0) for each in (begin - 1, begin, end - 1, end)]
    within, share = (at >= begin) & (at < end), (at + 0.5 - begin) / width.clamp(min=1)
    sums += [within, within * share, within * share.square()]
    return torch.stack([each.float() for each in sums]).flatten(0, 2), end[..., 0] - 1, outside, ~outside & (width > 0)


def _begin_of_far(rows: Tensor, may_end: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Where several stripes end, and the far side's own colour begins; arguments as `_best_stripe`.

    Returns:
        (N,) each: their last distance, the error that they leave, their contrast, how sure they are no grain that varies along the stretch,
        and the error of a single colour.
    """
    count = rows.shape[1]
    sums = torch.bmm(_one_by_one_and_together(rows, count).expand(len(rows), -1, -1), rows)
    mean, errors = _mean_and_error(sums)
    varies = errors / sums[0].clamp(min=_TINY)
    least = (varies[count] * _DEVIATIONS**2).clamp_(min=_CONTRAST**2)
    apart, at = (mean[:, :count] - mean[:, count, None]).square().sum(0), whole_numbers(rows, 0, count)[:, None]
    last = torch.where(apart > least, at, constant(at, 2)).amax(0, keepdim=True)
    before_last = last - whole_numbers(rows, 0, 3)[:, None]
    peak, spread = apart.gather(0, before_last).amax(0), varies.gather(0, before_last).amin(0)
    clear = (2 - 2 * (spread / peak.clamp(min=_TINY)).sqrt()).clamp_(0, 1)
    in_ramp = (last > 2) & may_end.gather(0, last.clamp(max=count - 2))
    error = torch.where(at > last, torch.addcmul(errors[:count], rows[0], apart), errors[:count]).sum(0)
    return last[0], error, peak.sqrt(), clear * in_ramp[0], errors[-1]


@kept_constants
def _one_by_one_and_together(count: int) -> Tensor:
    """(D + 2, D) the weights of each of D distances alone, of the farthest together, and of all."""
    return torch.cat((torch.eye(count), (torch.arange(count) >= count - _FAR).float()[None], torch.ones(1, count)))


def _mean_and_error(sums: Tensor) -> tuple[Tensor, Tensor]:
    """The mean colour (3, ...) and the sum of squared differences from it, of sums (6, ...) as a profile has them."""
    colour = sums[2:5]
    mean = colour / sums[0].clamp(min=_TINY)
    return mean, (sums[5] - (colour * mean).sum(0)).clamp_(min=0)
