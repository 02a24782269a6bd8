"""Finds stripes along silhouettes, such as rims, frames and outlines, and assigns them to the near object.

A network's depth falls over several pixels. Where an object has a stripe of another colour along its silhouette, the middle of this ramp
lies on the stripe, and colours alone cannot tell which edge of the stripe is the silhouette. A stripe that runs parallel to a silhouette
is hardly ever background, so it belongs to the object. Colours are averaged along short stretches of an edge, by distance from the middle
of the ramp; neighbouring stretches have to agree.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ...utils import constant, kept_constants, whole_numbers, without_autocast
from ..filters.box import box_means, box_sums
from ..filters.chosen_pixels import pixels_where, places_where, summed_rows
from ..filters.kernels import by_kernel
from .stretches import Stretches, share_above, shares_above

# Colour profiles across an edge. Distances are from the middle of the ramp, in pixels, positive on the far side.
_CELL = 4  # height and width of a cell, in pixels
_STRETCH = 1  # a stretch extends by so many cells on each side of its own
_BESIDE = 0.71  # largest distance of a pixel on the edge: half a pixel's diagonal
_BEYOND = 3  # profiles extend by so many pixels beyond the radius
_SUMS = 6  # sums of a profile at each distance
_FEW = 8  # a stretch needs more edge pixels than this

# The fall of depth is measured between the first two distances, as a ramp, and between the last two, as a step.
_FALL = (-2.0, 2.0, -0.5, 0.5)

# Criteria for a stripe.
_WIDEST = 1.6  # greatest width, in radii
_TOGETHER = 4096  # stretches per batch
_FIT_CACHE = 96  # stretches for which stripes of all widths fit a CPU's cache
_SOFT_FROM = 3  # pixels: from this width on, the pixels beside each end of a stripe may be mixtures of both colours
_CONTRAST = 0.16  # least difference of its colour from those of both sides
_LEFT = (0.1, 0.88)  # bounds of the ramp's value at the stripe's far end; ramps fall from 1 to 0
_GAIN = 0.45  # least share of a single edge's error, sharp or soft, that it removes
_EXPLAINED = 0.75  # least share of the colour variance that is explained ...
_OVER = 0.1  # ... and the margin above it that gives full confidence
_NOISE = 0.01  # share of the variance that is taken for noise
_STEEPEST = 0.8  # an edge that falls by this share of its four-pixel fall within one pixel is a step, and is skipped ...
_STEP = 0.3  # ... one whose share is smaller by this is a ramp; weights are linear in between

# Criteria for several stripes side by side: whatever differs from the far side's colour.
_ANY_GAIN = 0.6  # as `_GAIN`
_ANY_CONTRAST = 0.3  # as `_CONTRAST`
# Ramps of confidence (`share_above`) for one stripe and for several, in pairs: error relative to a single edge, error relative to the
# variance, and contrast.
_IS_STRIPE = (
    (1 - _GAIN, -0.5 * _GAIN),
    (1 - _ANY_GAIN, -0.1),
    *((1 - _EXPLAINED, -_OVER),) * 2,
    (_CONTRAST, 0.5 * _CONTRAST),
    (_ANY_CONTRAST, 0.5 * _ANY_CONTRAST),
)
_FAR = 4  # the last distances of a profile, which are surely on the far side
_DEVIATIONS = 6  # standard deviations of the far colour from which on a colour is another

# Agreement of neighbouring stretches.
_AGREE = 3  # cells on each side
_AGREED = 0.5  # mean confidence around that gives full confidence
_VARIES = 1.5  # standard deviation of the stripes' ends around, in pixels; twice as much gives confidence 0

_TINY = 1e-9  # least divisor


class Lines(NamedTuple):
    """Straight lines across edges, each through a pixel.

    Attributes:
        image: (N,) image index of each line; None if there is only one image.
        middle: (2, N) float: row and column of the pixel.
        way: (2, N) unit vectors (row, column) towards the far side.
        height, width: Size of the images.
    """

    image: Tensor | None
    middle: Tensor
    way: Tensor
    height: int
    width: int

    @classmethod
    def through(cls, pixels: tuple[Tensor, Tensor, Tensor], way: Tensor, size: tuple[int, ...]) -> Lines:
        """Lines through the pixels that `located` returned.

        Args:
            pixels: (N,) each: image, row and column.
            way: (2, N) directions (row, column) of any length.
            size: Number of images, height and width.
        """
        image, row, column = pixels
        middle, way = torch.stack((row, column)).to(way), way / torch.hypot(way[0], way[1]).clamp(min=_TINY)
        return cls(image if size[0] > 1 else None, middle, way, *size[1:])

    def at(self, steps: Tensor) -> Tensor:
        """Indices (K, N), through all images, of the pixels at K distances (K, 1), (N,) or (K, N) towards the far side.

        Positions are rounded and clamped to the image.
        """
        there = torch.addcmul(self.middle[:, None], self.way[:, None], steps).round_().long()
        row, column = there.clamp_(*constant(there, ((0, 0), (self.height - 1, self.width - 1)))[..., None, None])
        place = column.add_(row, alpha=self.width)
        return place if self.image is None else place.add_(self.image, alpha=self.height * self.width)

    def take(self, index: Tensor) -> Lines:
        """The lines at an index (M,)."""
        image, middle, way = (None if each is None else each.index_select(-1, index) for each in self[:3])
        return self._replace(image=image, middle=middle, way=way)


@without_autocast
def stripe_ends(inverse: Tensor, image: Tensor, low: Tensor, high: Tensor, edge: Tensor, radius: int) -> Tensor:
    """Locates silhouettes at the far end of the stripes along them.

    Args:
        inverse: (B, 1, H, W) float32, inverse depth with ramps at edges.
        image: (B, 3, H, W) float32 in [0, 1].
        low: (B, 1, H, W) inverse depth of the far side of the edge beside each pixel.
        high: (B, 1, H, W) inverse depth of the near side.
        edge: (B, 1, H, W) bool, where there is a ramp.
        radius: Half the width of ramps in pixels.

    Returns:
        (B, 5, H, W), 0 outside `edge`. Channel 0: distance to the silhouette in pixels, positive on the near side. Channel 1: distance to
        the middle of the ramp in pixels, positive on the far side. Channel 2: confidence that there is a stripe, in [0, 1]. Channels 3
        and 4: unit vector (row, column) towards the far side.
    """
    size = (len(inverse), *inverse.shape[-2:])
    smooth = F.pad(box_means(box_means(inverse, max(1, radius // 2)), max(1, radius // 2)), (1, 1, 1, 1), mode="replicate")
    inside = slice(1, -1)
    down, right = smooth[..., :-2, inside] - smooth[..., 2:, inside], smooth[..., inside, :-2] - smooth[..., inside, 2:]
    place, pixels = pixels_where(edge)
    maps = torch.cat((low, high, down, right, inverse, image), 1).transpose(0, 1).flatten(1)
    cells = Stretches(pixels, size, _CELL)
    votes, lines = _votes(maps, edge, place, *pixels, radius)
    end, sure = _agreed(votes)
    # Weighted by confidence, so that cells with a stripe decide for their neighbours.
    weight = sure + 1e-4
    end, weight = cells.between(torch.cat((end * weight, weight), 1))
    away, way = lines.split((1, 2))
    sure = (weight - 1e-4).clamp(0, 1) * (away.abs() < radius + 2)
    ends = torch.cat((end / weight - away, away, sure, way))
    maps = ends.new_zeros(len(ends), inverse.numel()).index_copy_(1, place, ends)
    return maps.unflatten(1, size).transpose(0, 1)


def _away(lines: Lines, inverse: Tensor, own: Tensor, bottom: Tensor, top: Tensor, reach: int) -> Tensor:
    """Distance (N,) of each pixel from the middle of its ramp, in pixels, positive on the far side; +-(`reach` + 1) if it is not found.

    Args:
        lines: N lines across the edges, through the pixels.
        inverse: (B * H * W,) inverse depth.
        own, bottom, top: (N,) inverse depth of the pixel, and of the far and the near side of its edge.
        reach: Greatest distance in pixels.
    """
    middle = torch.lerp(bottom, top, 0.5)
    sign = torch.where(own > middle, *constant(middle, (-1.0, 1.0)))
    steps = _steps(sign, 0, reach + 1)
    there = lines.at(sign * _steps(sign, 0, -reach - 1))
    above = (middle - inverse.index_select(0, there.flatten()).view_as(there)) * sign
    before, after = above[:-1].clamp(min=0), above[1:]
    crossing = steps[:-1] + before / (before - after).clamp(min=_TINY)
    return sign * torch.where(after <= 0, crossing, constant(crossing, reach + 1.0)).amin(0)


def _reaches(radius: int) -> tuple[int, int, int]:
    """How far profiles extend on the near and on the far side of a ramp's middle, and the greatest width of a stripe, in pixels."""
    widest = round(radius * _WIDEST)
    return radius + _BEYOND + widest, radius + _BEYOND, widest


@by_kernel(f"{__package__}.stripes_kernel")
def _votes(maps: Tensor, edge: Tensor, place: Tensor, image: Tensor, row: Tensor, column: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    """Finds the far end of the stripe in each cell.

    Args:
        maps: (8, B * H * W): inverse depth of the far and the near side of the edge beside each pixel, two differences of inverse depth
            (down and to the right) that point to the far side, inverse depth, RGB.
        edge: (B, 1, H, W) bool.
        place, image, row, column: (N,) each, the pixels of the edge, as from `pixels_where`.
        radius: Half the width of ramps in pixels.

    Returns:
        (B, 4, rows + 2, columns + 2) for cells and a border of one cell, 0 without a stretch: the end in pixels from the middle of the
        ramp times its confidence, this times the end, the confidence, and `_AGREED`. (3, N): distance from the middle of the ramp
        (`_away`), and direction to the far side.
    """
    bottom, top, *way, own = maps[:5].index_select(1, place)
    size = (len(edge), *edge.shape[2:])
    lines = Lines.through((image, row, column), torch.stack(way), size)
    away = _away(lines, maps[4], own, bottom, top, radius + 2)
    of_pixels = torch.cat((away[None], lines.way))
    cell, shape = Stretches((image, row, column), size, _CELL).bordered()
    on_edge = away.abs() <= _BESIDE
    if away.device.type == "cpu":  # elsewhere, selecting would synchronise the device for their number
        chosen = places_where(on_edge)
        lines, (cell, bottom, top, away, on_edge) = lines.take(chosen), (each[chosen] for each in (cell, bottom, top, away, on_edge))
    before, beyond, widest = _reaches(radius)
    there = lines.at(_distances(away, -before, beyond + 1) - away)
    shown = maps[4:].index_select(1, there.flatten()).unflatten(1, there.shape)
    (fall, depth), colour = shown[0].split((len(_FALL), len(there) - len(_FALL))), shown[1:, len(_FALL) :]
    ramp, step = fall[::2] - fall[1::2]
    weight = on_edge * share_above(step / ramp.clamp(min=_TINY), _STEEPEST, -_STEP)
    left = ((depth - bottom) / (top - bottom).clamp(min=_TINY)).clamp(0, 1)
    values = torch.cat((constant(left, 1.0).expand_as(left)[None], left[None], colour, colour.square().sum(0, keepdim=True))) * weight
    sums = values.new_zeros(math.prod(shape), _SUMS * len(depth)).index_add_(0, cell, values.flatten(0, 1).T.contiguous())
    occupied = places_where(sums[:, 0] > 0)
    around = occupied[:, None] + _cells_of_stretch(occupied, shape[2])
    profiles = summed_rows(sums, around).view(len(occupied), _SUMS, len(depth)).transpose(0, 1).contiguous()
    # A GPU computes all stretches: selecting some takes longer.
    some = places_where(_may_have_stripe(profiles)) if profiles.device.type == "cpu" else None
    looked_into = profiles if some is None else profiles.index_select(1, some)
    parts = [_stripe_end(part, before, widest) for part in looked_into.split(_TOGETHER, 1)]
    end, sure = map(torch.cat, zip(*parts, strict=True)) if len(parts) > 1 else parts[0]
    if some is not None:
        end, sure = (each.new_zeros(len(occupied)).index_copy_(0, some, each) for each in (end, sure))
    weighted = sure * end
    votes = torch.stack((weighted, weighted * end, sure, constant(sure, _AGREED).expand_as(sure)))
    return votes.new_zeros(len(votes), len(sums)).index_copy_(1, occupied, votes).view(-1, *shape).transpose(0, 1), of_pixels


def _agreed(votes: Tensor) -> tuple[Tensor, Tensor]:
    """The far end of the stripe in each cell as its neighbours vote, and its confidence: (B, 1, rows, columns) each."""
    moments, count, all_ = box_sums(votes, _AGREE)[..., 1:-1, 1:-1].split((2, 1, 1), 1)
    mean, square = (moments / count.clamp(min=_TINY)).split(1, 1)
    varies = torch.addcmul(square, mean, mean, value=-1).clamp_(min=0).sqrt_()
    return mean, (count / all_.clamp(min=_AGREED)).clamp_(max=1) * share_above(varies, 2 * _VARIES, -_VARIES)


@kept_constants
def _steps(first: int, end: int) -> Tensor:
    """(K, 1) integers as float32, from `first` up or down to `end` (exclusive)."""
    return torch.arange(first, end, 1 if first < end else -1, dtype=torch.float32)[:, None]


@kept_constants
def _distances(first: int, end: int) -> Tensor:
    """(4 + K, 1): the distances of `_FALL`, then the integers from `first` to `end` (exclusive)."""
    return torch.cat((torch.tensor(_FALL, dtype=torch.float32), torch.arange(first, end)))[:, None]


@kept_constants
def _cells_of_stretch(width: int) -> Tensor:
    """(K,) index offsets from a cell to the cells of its stretch, in a grid with rows of `width` cells."""
    along = torch.arange(-_STRETCH, _STRETCH + 1)
    return (along[:, None] * width + along).flatten()


def _may_have_stripe(profile: Tensor) -> Tensor:
    """Whether stripes could explain enough of a stretch's colours: (N,) bool. A cheap test before `_stripe_end`.

    However many edges are fitted, the variation along the stretch remains as an error.

    Args:
        profile: (6, N, D), as `_stripe_end`.
    """
    sums = F.pad(profile.cumsum(-1), (1, 0))
    whole = sums[..., -1:]
    until = sums[..., 2:-2]
    errors = _mean_and_error(torch.cat((whole, until, whole - until), -1))[1]
    total, (first, second) = errors[:, 0], errors[:, 1:].chunk(2, 1)
    single, along, noise = (first + second).amin(-1), _mean_and_error(profile)[1].sum(-1), _NOISE * total + _TINY
    gains = (along + noise < (1 - _GAIN) * (single + noise)) & (along < (1 - _EXPLAINED) * total)
    return gains & (profile[0].amax(-1) > _FEW)


def _stripe_end(profile: Tensor, before: int, widest: int) -> tuple[Tensor, Tensor]:
    """The far end of the stripe of each of N stretches, in pixels from the middle of the ramp, and its confidence in [0, 1]: (N,) each.

    Args:
        profile: (6, N, D) sums over pixels at D distances from near to far: their weight, their position on the ramp (1 near, 0 far), RGB,
            and squared colour.
        before: Number of distances on the near side of the ramp's middle.
        widest: Greatest width of a stripe in pixels.
    """
    rows = profile.mT.contiguous()  # (6, D, N), as distances are selected
    left = rows[1] / rows[0].clamp(min=_TINY)
    may_end = (left[:-1] < _LEFT[1]) & (left[1:] > _LEFT[0])
    # For many stretches, a CPU computes one width at a time: all widths together would not fit its cache.
    one_by_one = rows.device.type == "cpu" and rows.shape[-1] > _FIT_CACHE
    single, best, end, contrast = _best_stripe(rows, may_end, 0, 1 if one_by_one else widest + 1)
    for wide in range(1, widest + 1) if one_by_one else ():
        other, *stripe = _best_stripe(rows, may_end, wide, wide + 1)
        is_better, single = stripe[0] < best, torch.minimum(single, other)
        best, end, contrast = (torch.where(is_better, *each) for each in zip(stripe, (best, end, contrast), strict=True))
    far_end, error, peak, clear, total = _begin_of_far(rows, may_end)
    # The criteria of `_IS_STRIPE`, in its order.
    errors, noise = torch.stack((best, error)), _NOISE * total + _TINY
    gains = torch.stack(((errors + noise) / (single + noise), errors / total.clamp(min=_TINY), torch.stack((contrast, peak))))
    sure, also = shares_above(gains.flatten(0, 1), *_IS_STRIPE).unflatten(0, (3, 2)).prod(0)
    also = also * clear
    return torch.where(sure >= also, end, far_end).float() - (before - 0.5), torch.maximum(sure, also) * (rows[0].amax(0) > _FEW)


def _best_stripe(rows: Tensor, may_end: Tensor, first: int, stop: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Fits a single edge, and a stripe, to each profile.

    Args:
        rows: (6, D, N) profiles (`_stripe_end`) at D distances.
        may_end: (D - 1, N) bool, whether a stripe may have its last pixel at each distance but the last.
        first: Least width of the stripe in pixels; at 0 sharp edges are fitted too.
        stop: Its greatest width, plus one.

    Returns:
        (N,) each: the least error (sum of squared colour differences) of a single edge, sharp or soft; the least error of a stripe,
        infinite if none may end; the index of this stripe's last distance; and its contrast to the more similar side.
    """
    members, last, outside, is_stripe = _stripes(rows, rows.shape[1], first, stop)
    sums = torch.bmm(members.expand(len(rows), -1, -1), rows).unflatten(1, (-1, *outside.shape[:2]))
    mean, errors = _mean_and_error(sums[:, :-3])
    # A single edge: between two colours, with a linear transition over the width.
    near, line = mean[:, 0], mean[:, 1] - mean[:, 0]
    whole, share, square = sums[:, -3:].unbind(1)
    by_near = (near * whole[0]).addcmul_(line, share[0], value=2).sub_(whole[2:5], alpha=2)
    by_line = (line * square[0]).sub_(share[2:5], alpha=2)
    mixture = (near * by_near).addcmul_(line, by_line).sum(0).add_(whole[5]).clamp_(min=0)
    single = (errors[:2].sum(0) + mixture).masked_fill(outside, torch.inf).amin((0, 1))
    # A stripe between two colours, with mixed pixels beside its ends if it is wide.
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
    """All stripes of W widths and B beginnings, with at least two distances on both sides.

    Args:
        count: D, the number of distances.
        first, stop: As `_best_stripe`.

    Returns:
        (K * W * B, D) weights of the distances in K sums: before the stripe; beyond it; before, within and beyond it without the
        distances beside its ends, if it is wide enough for mixtures; each of those four distances alone, unless all widths are narrow;
        and within it, weighted by 1, t and t squared, with t from 0 to 1 along the stripe.
        (W, B) index of the last distance, clamped to D - 3.
        (W, B, 1) bool: where the stripe would have to be clamped.
        (W, B, 1) bool: valid stripes, which are not clamped and not of width 0.
    """
    width, begin, at = torch.arange(first, stop)[:, None, None], torch.arange(2, count - 2 - first)[:, None], torch.arange(count)
    outside, end, soft = begin + width >= count - 2, (begin + width).clamp(max=count - 2), (width >= _SOFT_FROM).long()
    sums = [at < begin + 0 * width, at >= end, at < begin - soft, (at >= begin + soft) & (at < end - soft), at >= end + soft]
    if stop > _SOFT_FROM:
        sums += [(at == each) & (soft > 0) for each in (begin - 1, begin, end - 1, end)]
    within, share = (at >= begin) & (at < end), (at.float() + 0.5 - begin) / width.clamp(min=1)
    sums += [within, within * share, within * share.square()]
    return torch.stack([each.float() for each in sums]).flatten(0, 2), end[..., 0] - 1, outside, ~outside & (width > 0)


def _begin_of_far(rows: Tensor, may_end: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Finds where the far side's colour begins, whatever stripes lie before it; arguments as `_best_stripe`.

    Returns:
        (N,) each: the index of the last distance with another colour; the error (sum of squared colour differences) with one colour for
        each distance up to there and the far colour beyond; the contrast there; a confidence in [0, 1], which is 0 outside the ramp and
        low for texture that varies along the stretch; and the error of a single colour for the whole profile.
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
    clear = torch.sub(constant(peak, 2.0), (spread / peak.clamp(min=_TINY)).sqrt_(), alpha=2).clamp_(0, 1)
    in_ramp = (last > 2) & may_end.gather(0, last.clamp(max=count - 2))
    error = torch.where(at > last, torch.addcmul(errors[:count], rows[0], apart), errors[:count]).sum(0)
    return last[0], error, peak.sqrt(), clear * in_ramp[0], errors[-1]


@kept_constants
def _one_by_one_and_together(count: int) -> Tensor:
    """(D + 2, D) weights for sums: over each of D distances alone, over the last `_FAR`, and over all."""
    return torch.cat((torch.eye(count), (torch.arange(count) >= count - _FAR)[None], torch.ones(1, count))).float()


def _mean_and_error(sums: Tensor) -> tuple[Tensor, Tensor]:
    """The mean colour (3, ...) and the sum of squared differences from it (...), of a profile's sums (6, ...)."""
    colour = sums[2:5]
    mean = colour / sums[0].clamp(min=_TINY)
    return mean, (sums[5] - (colour * mean).sum(0)).clamp_(min=0)
