"""Turns soft depth ramps into steps at the image's edges, for refined depth. `depth_edges` has a faster method for warping and blurring.

The surroundings of each ramp pixel are sampled. A sample belongs to the near side if its nearness is above the middle of the ramp's range,
and to the far side if it is below. The pixel's own side follows from its colour similarity to both sides and from its position between
their planes; in doubt it is near, as the opposite mistake is worse. The pixel takes the extrapolated nearness of its side's planes, and
this side's normals: a weighted mode of two bins instead of a mean, so that no values in between remain. A slope is not a ramp, as both
its sides lie in one plane.

Source:
    J. Kopf et al., "Joint bilateral upsampling" (2007), for the weights; D. Min, J. Lu and M. N. Do, "Depth video enhancement based on
    weighted mode filtering" (2012), for the mode. Planes instead of values, weights by planarity, and the prior from the position on the
    ramp are our addition. A linear function of the colour (K. He et al., "Guided image filtering", 2010) would copy textures into the
    depth. The solver of J. T. Barron and B. Poole, "The fast bilateral solver" (2016), minimises a squared difference, which leaves
    values in between.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ...utils import constant, joined, kept_constants, largest_channel, sent_to
from ..filters.box import box_means
from ..filters.chosen_pixels import places_where
from ..filters.extremes import largest_along_rows, largest_within
from .depth_edges import find_ramps

# Samples: radii of their rings and the standard deviation of their weights, both in ramp radii, and samples per ring.
_RINGS, _PLACES, _REACH = (0.7, 1.3, 2.0, 3.0), 8, 1.5
# Standard deviation of RGB within one surface, and the floor of colour similarities.
_COLOUR, _DOUBT = 0.1, 0.05
# Log-odds between both ends of a ramp from the position on it. Colours alone reach log-odds of 3.
_PRIOR = 12.0
# A near pixel moved to the far side has a larger relative error than the reverse, by the ratio of the two depths.
# Weight of the ratio's logarithm, and the largest ratio.
_CAUTION, _MOST = 0.5, 20.0
# Least distance from the middle of the ramp, as a share of its span: of a sample's nearness, and of its plane at the pixel.
_CLEAR, _PLAIN = 0.25, 0.2
_SHARES = tuple((0.5 + apart, 0.5 - apart) for apart in (_CLEAR, _PLAIN))  # of both sides' limits, from the ramp's low to its high end
# Second difference, as a share of nearness, that halves a plane's weight, and the least weight.
_BEND, _LEAST = 0.003, 1e-4
# Least distance between both planes, as a share of the span; their least ratio; shortest move of a pixel, as a share of the span.
_APART, _STEP, _REST = 0.15, 1.03, 0.03
_TINY, _NO_WEIGHT, _UNKNOWN = 1e-9, 1e-7, 1e-14
# Weight factor of a plane that crosses the ramp, and components below which summed normals have cancelled out.
_IMPLAUSIBLE, _NO_DIRECTION = 1e-3, 1e-3
# Colour evidence is averaged within the ramp radius divided by this.
_AVERAGED = 3
# Columns of the table of pixels, after slopes, planarity and 1 inside the image: RGB; nearness; nearness and the normal.
_RGB, _NEARNESS, _VALUES = slice(4, 7), 7, slice(7, None)
# Ramp pixels per batch on a CPU, and on a GPU, which reads all their samples together.
_AT_ONCE, _AT_ONCE_ON_GPU = 2**15, 2**17
# Largest aspect ratio of a map whose rows and columns a GPU measures in one batch.
_STRETCHED = 4
# Ramp widths are measured in windows of these radii, at most at so many pixels. The smallest window whose range grows by less than
# _GROWING in the next one holds the whole ramp. A ramp is an edge if its ends differ by more than the share _STRONG.
_WINDOWS, _SAMPLES, _GROWING, _STRONG = (1, 2, 4, 8, 16, 32), 2**17, 1.15, 0.1
# Random factors up to 1 + _GRAIN choose the steepest of nearly equal steps, as in enlarged maps: rounding errors must not.
_GRAIN = 0.02


def ramp_width(nearness: Tensor) -> float:
    """The median width of depth edges in pixels: 1 for steps, 0 without edges. Synchronises the device once.

    Args:
        nearness: (1, 1, H, W), not negative, large = near.

    Returns:
        The median, over all edges, of the rise at an edge divided by its steepest step between neighbouring pixels.
    """
    stride = max(1, nearness.numel() // _SAMPLES)
    lines = [each for each in (nearness[..., ::stride, :], nearness.mT[..., ::stride, :]) if each.shape[-1] > 1]
    length = max((each.shape[-1] for each in lines), default=0)
    if nearness.device.type != "cpu" and lines and length <= _STRETCHED * min(each.shape[-1] for each in lines):
        # In one batch. Shorter lines are padded with their last value, which adds no edge.
        lines = [torch.cat([F.pad(each[0], (0, length - each.shape[-1]), mode="replicate") for each in lines], 1)[None]]
    widths = joined([_widths(each).flatten() for each in lines] or [nearness.new_full((1,), torch.nan)])
    width = widths.nanmedian().item()
    return width if width > 0 else 0.0


def _widths(lines: Tensor) -> Tensor:
    """The width in pixels of the ramp around each step between neighbours in a row; NaN without an edge, or if no window holds it.

    Args:
        lines: (1, 1, N, W).

    Returns:
        (1, 1, N, W - 1).
    """
    steps = lines.diff(dim=-1).abs()
    grained = steps * _grain(steps, steps.shape[-1])
    windows, reached = [torch.cat((lines, -lines, F.pad(grained, (0, 1))), 1)], 0
    for radius in _WINDOWS:  # each is twice the one before
        windows.append(largest_along_rows(windows[-1], radius - reached))
        reached = radius
    largest = torch.cat(windows[1:])
    steepest = largest[1:, 2:, :, :-1]
    top, less = torch.maximum(largest[:, :2, :, 1:], largest[:, :2, :, :-1]).split(1, 1)  # maximum, and negated minimum
    widths = (top + less) / steps.clamp(min=_TINY)
    width, wider = widths[:-1], widths[1:]
    is_edge = (top > less * -(1 + _STRONG))[:-1] & (grained >= steepest) & (wider < width * _GROWING)
    # The smallest window that holds the whole ramp: widths grow with the window.
    least = torch.where(is_edge, width, constant(width, math.inf)).amin(0, keepdim=True)
    return least.nan_to_num_(posinf=math.nan)


@kept_constants
def _grain(length: int) -> Tensor:
    """(length,) random factors from 1 to 1 + `_GRAIN`, the same in every call."""
    return 1 + _GRAIN * torch.rand(length, generator=torch.Generator().manual_seed(0), dtype=torch.float32, device="cpu")


@torch.no_grad()
def sharpen_ramps(nearness: Tensor, image: Tensor, radius: int, strength: float = 1.0, normals: Tensor | None = None) -> tuple[Tensor, ...]:
    """Turns depth ramps into steps.

    Args:
        nearness: (1, 1, H, W), finite and not negative, linear on planes (inverse depth up to scale); 0 = infinitely far.
        image: (1, 3, H, W) in [0, 1].
        radius: Half the width of the ramps in pixels, at least 1.
        strength: Weight of colours relative to the position on the ramp; 0 = position alone.
        normals: (1, 3, H, W) unit vectors, sharpened along with the nearness; None = none.

    Returns:
        Nearness (1, 1, H, W); where it changed, (1, 1, H, W) bool; and, if normals were given, normals (1, 3, H, W), not normalised on
        ramps. Pixels outside ramps are unchanged.
    """
    ramps = find_ramps(nearness, radius)
    width, places = nearness.shape[-1], _places(radius)
    reach = max(max(abs(dy), abs(dx)) for dy, dx, _ in places)
    maps = [*_slopes_and_straightness(nearness), constant(nearness, 1.0).expand_as(nearness), image, nearness]
    maps += [] if normals is None else [normals]
    # One row holds all channels of a pixel, so that one read gathers them.
    table = F.pad(torch.cat(maps, 1), (reach, reach, reach, reach))[0].flatten(1).T.contiguous()
    pixels = places_where(ramps.edge)
    index, offsets = _padded_index(pixels, width, reach), _Offsets.of(places, width + 2 * reach, nearness)
    own = table.index_select(0, index).T.contiguous()
    bounds = torch.cat((ramps.high, ramps.low, ramps.wide_low, ramps.wide_high))[:, 0].flatten(1).index_select(1, pixels)
    at_once = _AT_ONCE if nearness.device.type == "cpu" else _AT_ONCE_ON_GPU
    parts = zip(index.split(at_once), own[_RGB].split(at_once, 1), bounds.split(at_once, 1), strict=True)
    sums = joined([_gather_sums(table, offsets, *part) for part in parts], -1).to(nearness)
    return _move_to_sides(nearness, normals, pixels, own[_VALUES], _weighed(sums, bounds, own[_NEARNESS]), radius, strength)


def _padded_index(pixels: Tensor, width: int, reach: int) -> Tensor:
    """Converts pixel indices (N,) of a map with `width` columns to those of the map padded by `reach` on every side."""
    rows = pixels.div(width, rounding_mode="floor")
    return torch.add(pixels, rows, alpha=2 * reach) + reach * (width + 2 * reach + 1)


class _Evidence(NamedTuple):
    """Evidence about the side of N ramp pixels, from the samples around each.

    Attributes:
        colour: (N,) log-odds that the pixel is near, from its colour similarity to both sides.
        place: (N,) position of its nearness between both sides' planes: -0.5 = far plane, 0.5 = near plane.
        is_edge: (N,) bool, whether the two sides are different surfaces.
        span: (N,) range of nearness around the pixel.
        near, far: (N,) nearness of each side's planes, extrapolated to the pixel.
        near_normals, far_normals: (3, N), or (0, N) without normals: each side's mean normal, not normalised.
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
    """Row offset, column offset and weight of each sample; without duplicates."""
    weights = {}
    for ring, distance in enumerate(_RINGS):
        for place in range(_PLACES):
            angle = (place + ring % 2 / 2) * math.tau / _PLACES
            dy, dx = round(distance * radius * math.sin(angle)), round(distance * radius * math.cos(angle))
            if dy or dx:
                weights[dy, dx] = math.exp(-(dy * dy + dx * dx) / (2 * (_REACH * radius) ** 2))
    return [(dy, dx, weight) for (dy, dx), weight in weights.items()]


class _Offsets(NamedTuple):
    """The K samples around a pixel, (K, 1) each.

    Attributes:
        row: Offset in rows of the table of pixels.
        down, right: Offset in the image, in pixels.
        weight: Weight of the sample.
    """

    row: Tensor
    down: Tensor
    right: Tensor
    weight: Tensor

    @classmethod
    def of(cls, places: list[tuple[int, int, float]], stride: int, like: Tensor) -> _Offsets:
        """Converts the result of `_places`, for a table with `stride` rows per image row, to tensors on the device of `like`."""
        numbers = torch.tensor(places, dtype=torch.float32)[..., None]
        down, right, weight = numbers.unbind(1)
        index = (down * stride + right).long()
        return cls(*(sent_to(like.device, each) for each in (index, down.to(like), right.to(like), weight.to(like))))

    def split(self, count: int) -> Iterator[_Offsets]:
        """The samples in batches of `count`."""
        return map(_Offsets, *(each.split(count) for each in self))


def _gather_sums(table: Tensor, offsets: _Offsets, index: Tensor, colour: Tensor, bounds: Tensor) -> Tensor:
    """Sums the samples around N pixels, for the near and the far side.

    Args:
        table: (M, 8), or (M, 11) with normals, of the M pixels of the padded maps: slopes to the right and downwards, planarity, 1 inside
            the image and 0 in the padding, RGB, nearness, normal.
        offsets: The samples.
        index: (N,) rows of the table.
        colour: (3, N) RGB.
        bounds: (4, N): maximum and minimum nearness in a window of one radius, minimum and maximum in a window of two.

    Returns:
        (2, 4, N), or (2, 7, N) with normals; near side first. Sums of the samples' weights; of weight times colour similarity; of trust;
        of trust times the plane's nearness at the pixel; and of trust times normal.
    """
    high, low, wide_low, wide_high = bounds
    signs, shares = constant(low, ((1.0,), (-1.0,)))[..., None], constant(low, _SHARES)[..., None, None]
    # Limits of both sides, (2, 1, N) each, above which a sample's nearness and its plane, times the sign, belong to the side.
    clear, plain = torch.lerp(low, high, shares).mul_(signs)
    likely, unlikely = constant(table, 1.0), constant(table, _IMPLAUSIBLE)
    # On a CPU one sample at a time: the values of one sample for all pixels fill its cache.
    sums, at_once = table.new_zeros(2, table.shape[1] - 4, len(index)), 1 if table.device.type == "cpu" else len(offsets.row)
    parts = table.new_empty(*sums.shape[:2], at_once, len(index))
    weights, trust = parts[:, 0], parts[:, 2]
    for offset, down, right, weight in offsets.split(at_once):
        there = table.index_select(0, (index + offset).flatten()).T.contiguous().view(table.shape[1], len(offset), len(index))
        slope_x, slope_y, straight, inside = there[:4]
        values, (red, green, blue) = there[_VALUES], there[_RGB] - colour[:, None]
        alike = (red * red).addcmul_(green, green).addcmul_(blue, blue).mul_(-0.5 / _COLOUR**2).exp_()
        # (2, K, N): weight if the sample belongs to the side; trust, which is lower if its plane does not.
        torch.mul(inside * weight, values[0] * signs > clear, out=weights)
        values[0].addcmul_(slope_x, right, value=-1).addcmul_(slope_y, down, value=-1).clamp_(wide_low, wide_high)  # the plane's
        of_plane = torch.where(values[0] * signs > plain, likely, unlikely)
        torch.mul((alike + 0.01).mul_(straight) * weights, of_plane, out=trust)
        products = (1, weights, alike), (slice(3, None), trust[:, None], values)
        if at_once > 1:
            for place, factor, value in products:
                torch.mul(factor, value, out=parts[:, place])
            return parts.sum(2)
        for place, factor, value in products:
            sums[:, place].addcmul_(factor[..., 0, :], value[..., 0, :])
        sums[:, 0:4:2] += parts[:, 0:4:2, 0]
    return sums


def _weighed(sums: Tensor, bounds: Tensor, own: Tensor) -> _Evidence:
    """Computes the evidence for N pixels.

    Args:
        sums: (2, 4 or 7, N), from `_gather_sums`.
        bounds: (4, N), as in `_gather_sums`.
        own: (N,) nearness of the pixels.
    """
    high, low = bounds[:2]
    # Of the samples' weights, and of trust.
    weights, least = sums[:, 0:4:2], constant(sums, ((_NO_WEIGHT,), (_UNKNOWN,)))
    divisors, (has_some, is_known) = torch.maximum(weights, least), (weights > least).unbind(1)
    alike, plane = (sums[:, 1:4:2] / divisors).unbind(1)
    similar, span = alike + _DOUBT, (high - low).clamp(min=_TINY)
    colour = (similar[0] / similar[1]).log_().mul_(has_some.all(0))
    near, far = torch.where(is_known, plane, bounds[:2])
    # Beside an infinitely far region, the far side is infinitely far, as no plane reaches it.
    far = far * (low > 0)
    apart = near - far
    is_edge = (apart > _APART * span) & (near > far * _STEP)
    place = (torch.sub(own, near + far, alpha=0.5) / apart.clamp(min=_TINY)).clamp_(-0.5, 0.5)
    near_normals, far_normals = sums[:, 4:] / divisors[:, 1:]
    return _Evidence(colour, place, is_edge, span, near, far, near_normals, far_normals)


def _move_to_sides(
    nearness: Tensor, normals: Tensor | None, pixels: Tensor, own: Tensor, evidence: _Evidence, radius: int, strength: float
) -> tuple[Tensor, ...]:
    """Moves each ramp pixel to the side with the stronger evidence. `own` are its nearness and normal. Returns as `sharpen_ramps`."""
    # Averaged, as a single pixel must not outvote its surroundings.
    votes = torch.stack((evidence.colour, constant(evidence.colour, 1.0).expand_as(evidence.colour)))
    spread = nearness.new_zeros(2, nearness.numel()).index_copy(1, pixels, votes).view(1, 2, *nearness.shape[-2:])
    around = max(1, radius // _AVERAGED)
    total, count = F.avg_pool2d(spread, 2 * around + 1, 1, around).flatten(2)[0, :, pixels]
    colour = total / count
    caution = (evidence.near / evidence.far).nan_to_num_(1, 1).clamp_(1, _MOST).log_()  # none before what is infinitely far
    is_near = (colour * strength).add_(evidence.place, alpha=_PRIOR).add_(caution, alpha=_CAUTION) > 0
    here, value = own[0].to(nearness), torch.where(is_near, evidence.near, evidence.far)
    moves = evidence.is_edge & ((value - here).abs() > _REST * evidence.span)
    refined = nearness.flatten().index_copy(0, pixels, torch.where(moves, value, here)).view_as(nearness)
    if normals is None:
        return refined, refined != nearness
    directions = torch.where(is_near, evidence.near_normals, evidence.far_normals)
    known = evidence.is_edge & (directions.abs().amax(0) > _NO_DIRECTION)
    turned = torch.where(known, directions, own[1:]).to(normals)
    return refined, refined != nearness, normals[0].flatten(1).index_copy(1, pixels, turned).view_as(normals)


def _slopes_and_straightness(values: Tensor) -> tuple[Tensor, Tensor]:
    """Slopes of 3x3 pixels, and planarity.

    Args:
        values: (1, 1, H, W).

    Returns:
        (1, 2, H, W): change per pixel to the right and downwards; one-sided at borders, so that planes stay planes. And (1, 1, H, W): 1
        where the surroundings are a plane, near 0 on ramps.
    """
    before, after = (torch.cat(rises, 1) for rises in zip(*_rises(values), strict=True))
    slopes, bend = box_means(torch.lerp(before, after, 0.5), 1), largest_channel((after - before).abs_())
    share = largest_within(bend, 1) / largest_within(values, 1).clamp(min=_TINY)
    return slopes, torch.addcmul(constant(share, 1.0), share, share, value=1 / _BEND**2).reciprocal_().add_(_LEAST)


def _rises(values: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Differences to the previous and to the next pixel, along the x axis and then the y axis.

    At borders the missing difference equals the other one.
    """
    rises = []
    for axis in (-1, -2):
        steps = values.diff(dim=axis) if values.shape[axis] > 1 else torch.zeros_like(values)
        length = values.shape[axis]
        steps = torch.cat((steps.narrow(axis, 0, 1), steps, steps.narrow(axis, steps.shape[axis] - 1, 1)), axis)
        rises.append((steps.narrow(axis, 0, length), steps.narrow(axis, 1, length)))
    return rises
