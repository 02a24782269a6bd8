"""tiny's postprocessing: removes lines at borders, adds detail along image edges, and completes an uncertain sky."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..geometry.filters.box import box_means
from ..geometry.regions.sky import BRIGHT, WARM, fineness
from ..geometry.valid import are_all
from ..utils import brightness, constant, resize_image, resize_map

EDGE = 0.1
"""Smoothing that moves depth by more than this, in units of its mean absolute deviation, indicates an edge of the scene."""
_ALONG = 4  # pixels to each side along the border over which changes are averaged


def _straightening(rows: int, stiffness: float) -> list[list[float]]:
    """(rows, rows + 2): weights that map the outermost rows and the next two to the changes that smooth the outermost ones.

    The smoothed rows minimise the squared changes plus `stiffness` times the squared second differences; the next two rows are fixed.

    Source:
        Whittaker, "On a New Method of Graduation" (1923).
    """
    taps = rows + 2
    identity = torch.eye(taps, dtype=torch.float64, device="cpu")
    second = identity[:-2] - 2 * identity[1:-1] + identity[2:]
    cost = identity + stiffness * second.mT @ second
    fixed = torch.cat((identity[:rows, :rows], -cost[:rows, rows:]), 1)
    return (torch.linalg.solve(cost[:rows, :rows], fixed) - identity[:rows]).tolist()


def _of_both_ends(weights: list[list[float]]) -> tuple[tuple[float, ...], ...]:
    """The weights for the first rows and, mirrored, for the last ones, as one matrix (2 * rows, 2 * taps)."""
    taps = len(weights[0])
    return (*((*row, *(0.0,) * taps) for row in weights), *((*(0.0,) * taps, *reversed(row)) for row in reversed(weights)))


_PASSES = tuple(_of_both_ends(_straightening(rows, stiffness)) for rows, stiffness in ((8, 100), (14, 2000)))


def without_border_lines(*maps: Tensor, edges: float | Sequence[float] = EDGE) -> Tensor:
    """Smooths a network's maps across their borders, where the padding of convolutions leaves lines; each channel separately.

    Two passes: over the outermost 8 pixels, then, stiffer, over the outermost 14. Pixels that smoothing would move far are edges of the
    scene and stay.

    Args:
        maps: (B, C, H, W) float32 each; H and W at least 28.
        edges: How far that is, for all channels or each; the default is for depth in units of its mean absolute deviation.

    Returns:
        (B, C, H, W), the channels of all maps.
    """
    each = (float(edges),) if isinstance(edges, (int, float)) else tuple(edges)
    smoothed = torch.cat(maps, 1)
    per_edge = constant(smoothed, tuple(1 / edge for edge in each)).view(-1, 1, 1, 1)
    for weights in _PASSES:
        for axis in (-2, -1):
            smoothed = _with_smoothed_ends(smoothed, constant(smoothed, weights), per_edge, axis)
    return smoothed


def _with_smoothed_ends(maps: Tensor, weights: Tensor, per_edge: Tensor, axis: int) -> Tensor:
    """Smooths the first and last rows or columns of maps, in place, by the weights of `_of_both_ends`."""
    rows, taps = (side // 2 for side in weights.shape)
    length = maps.shape[axis]
    ends = torch.cat((maps.narrow(axis, 0, taps), maps.narrow(axis, length - taps, taps)), axis)
    change = (weights @ ends if axis == -2 else ends @ weights.mT).unflatten(axis, (2, rows))
    if change.device.type == "cpu":
        far = change.abs().amax(axis, keepdim=True) * per_edge
    else:
        far = torch.linalg.vector_norm(change, torch.inf, axis, keepdim=True) * per_edge
    change = change / torch.addcmul(constant(far, 1.0), far, far)
    window = 2 * _ALONG + 1
    kernel, padding = ((1, window), (0, _ALONG)) if axis == -2 else ((window, 1), (_ALONG, 0))
    change = F.avg_pool2d(change.flatten(axis - 1, axis), kernel, 1, padding, count_include_pad=False)
    first, last = change.chunk(2, axis)
    maps.narrow(axis, 0, rows).add_(first)
    maps.narrow(axis, length - rows, rows).add_(last)
    return maps


def guided_upsample(values: Tensor, guide: Tensor, radius: int, epsilon: float) -> Tensor:
    """Enlarges maps so that their edges follow an image's: locally, they become linear in its brightness.

    Args:
        values: (B, C, h, w).
        guide: (B, 1, H, W), the image's brightness in [0, 1], of any larger size.
        radius: Of the windows, in pixels of the values.
        epsilon: Variance of brightness below which the image counts as flat, to keep texture out of the maps.

    Returns:
        (B, C, H, W).

    Source:
        He, Sun, "Fast Guided Filter" (2015).
    """
    linear = _linear_in(resize_map(guide, values.shape[-2], values.shape[-1]), values, radius, epsilon)
    height, width = guide.shape[-2:]
    slope, offset = resize_map(linear, height, width).chunk(2, 1)
    return offset.addcmul_(slope, guide)


def guided_detail(values: Tensor, guide: Tensor, radius: int, epsilon: float) -> Tensor:
    """Enlarges maps that are already sharp: adds only image detail finer than their resolution.

    Args:
        values: (B, C, h, w), h and w even.
        guide: As in `guided_upsample`.
        radius: Of the windows, in pixels at half the values' size, where they are fitted.
        epsilon: As in `guided_upsample`.

    Returns:
        (B, C, H, W).
    """
    height, width = guide.shape[-2:]
    rows, columns = values.shape[-2:]
    small = resize_map(guide, rows, columns)
    half = rows // 2, columns // 2
    slope = _linear_in(resize_map(small, *half), resize_map(values, *half), radius, epsilon)[:, : values.shape[1]]
    finer = guide - resize_map(small, height, width)
    return torch.addcmul(resize_map(values, height, width), resize_map(slope, height, width), finer)


def _linear_in(guide: Tensor, values: Tensor, radius: int, epsilon: float) -> Tensor:
    """Smoothed local slopes, then offsets, of the values as a linear function of a guide of the same size."""
    maps = torch.cat((constant(guide, 1.0).expand_as(guide), guide, values), 1)
    means, products = box_means((maps[:, :2, None] * maps[:, None, 1:]).flatten(1, 2), radius).chunk(2, 1)
    mean_guide, mean_values = means[:, :1], means[:, 1:]
    covariances = torch.addcmul(products, mean_guide, means, value=-1)
    slope = covariances[:, 1:] / (covariances[:, :1] + epsilon)
    return box_means(torch.cat((slope, torch.addcmul(mean_values, slope, mean_guide, value=-1)), 1), radius)


# Colours are averaged in squares of this many pixels, and then over this many squares around, twice.
_SQUARE, _AROUND = 4, 6
# Pixels above the first share describe the sky, those below the second the land, weighted by the network's certainty.
_SKY_FROM, _LAND_BELOW = 0.2, 0.3
# Colours count where land is near, and sky above the first share; at the second share of such pixels, by half.
_SURE_FROM, _FEW = 0.4, 0.02
# Minimum standard deviation of a side's colours, and degrees of freedom of their Student's distribution (heavy tails).
_DEVIATION, _TAILS = 0.03, 3.0
# Weight of the colours (three channels, but correlated), and limits of the evidence for and against sky, in log-odds.
_COUNTS, _MOST_FOR, _MOST_AGAINST = 0.7, 1.0, 3.0
_CERTAIN, _LEAST = 1e-3, 1e-6
# Below this share the network is sure of land, which continues over gaps of this many squares, in this many steps.
_SURE_OF_LAND, _GAP, _STEPS = 0.1, 2, 24
# Clouds fill at least one square.
_WHOLE = 0.99
COLOURS: dict[str, float] = {
    "square": _SQUARE,
    "around": _AROUND,
    "sky_from": _SKY_FROM,
    "land_below": _LAND_BELOW,
    "sure_from": _SURE_FROM,
    "few": _FEW,
    "deviation": _DEVIATION,
    "tails": _TAILS,
    "counts": _COUNTS,
    "most_for": _MOST_FOR,
    "most_against": _MOST_AGAINST,
    "certain": _CERTAIN,
    "sure_of_land": _SURE_OF_LAND,
    "gap": _GAP,
    "whole": _WHOLE,
    "steps": _STEPS,
}
"""These constants, for exported files."""


def sky_by_colours(share: Tensor, images: Tensor) -> Tensor:
    """Raises the share of sky where a pixel looks like the surrounding sky, and lowers it where it looks like the surrounding land.

    Where the network is sure, or sky or land is far away, the share stays.

    Args:
        share: (B, 1, h, w), the probability of sky.
        images: (B, 3, H, W) RGB in [0, 1], of any size.

    Returns:
        (B, 1, h, w) in [0, 1].

    Source:
        Bayes' rule with the share as prior. Colours have a Student's distribution per side, whose tails rule out neither clouds nor lamps.
    """
    height, width = share.shape[-2:]
    # half precision has too few digits for variances
    given, dtype = share, torch.promote_types(share.dtype, torch.float32)
    share, images = share.to(dtype), resize_image(images, height, width).to(share.device, dtype)
    squares = max(1, height // _SQUARE), max(1, width // _SQUARE)
    small, pooled = resize_map(images, *squares), resize_map(share, *squares)
    sky, sure = (((pooled - least) / (1 - least)).clamp(min=0) for least in (_SKY_FROM, _SURE_FROM))
    land = (1 - pooled / _LAND_BELOW).clamp(min=0)
    (of_sky, _), (of_land, some_land) = (_colours(small, side) for side in (sky, land))
    trust = _many(_means(sure)) * _many(some_land)
    of_sky, of_land, trust = resize_map(torch.cat((of_sky, of_land, trust), 1), height, width).split((6, 6, 1), 1)
    evidence = _COUNTS * (_likelihood(images, of_sky) - _likelihood(images, of_land))
    odds = torch.logit(share.clamp(_CERTAIN, 1 - _CERTAIN)) + evidence.clamp(-_MOST_AGAINST, _MOST_FOR) * trust
    return torch.where(trust > 0, odds.sigmoid(), share).to(given)


def with_clouds(sky: Tensor, share: Tensor) -> Tensor:
    """Adds islands that are nowhere surely land, such as dark clouds, to a sky; not birds, balloons or thin things such as twigs.

    Args:
        sky: (B, 1, h, w) bool.
        share: (B, 1, h, w), the probability of sky before `sky_by_colours`.

    Returns:
        (B, 1, h, w) bool: True wherever `sky` is.
    """
    height, width = sky.shape[-2:]
    squares = max(1, height // _SQUARE), max(1, width // _SQUARE)
    maps = torch.cat((~sky, ~sky & (share < _SURE_OF_LAND)), 1).to(share)
    part, sure = resize_map(maps, *squares).split(1, 1)
    islands = (part > 0) & ~_spread(sure > 0, part > 0)
    clouds = _spread(islands & (part > _WHOLE), islands)
    return sky | (resize_map(clouds.to(share), height, width, "nearest-exact") > 0)


def _spread(start: Tensor, within: Tensor) -> Tensor:
    """The squares connected with the first ones over small gaps: (B, 1, h, w) bool."""
    for _ in range(_STEPS):
        wider = within & (box_means(start.float(), _GAP) > _LEAST)
        if are_all(wider == start):
            break
        start = wider
    return start


def _colours(images: Tensor, side: Tensor) -> tuple[Tensor, Tensor]:
    """Local mean and variance of a side's colours, (B, 6, h, w), and the local share of that side's pixels."""
    sums = _means(torch.cat((images * side, images.square() * side, side), 1))
    count = sums[:, 6:]
    mean, square = (sums[:, :6] / count.clamp(min=_LEAST)).split(3, 1)
    return torch.cat((mean, (square - mean.square()).clamp(min=0) + _DEVIATION**2), 1), count


def _means(values: Tensor) -> Tensor:
    return box_means(box_means(values, _AROUND), _AROUND)


def _many(count: Tensor) -> Tensor:
    return count / (count + _FEW)


def _likelihood(images: Tensor, colours: Tensor) -> Tensor:
    """The log-likelihood, up to a constant, of each pixel's colour given mean and variance: (B, 1, h, w)."""
    mean, variance = colours.split(3, 1)
    apart = ((images - mean).square() / variance).sum(1, keepdim=True)
    return -0.5 * variance.log().sum(1, keepdim=True) - (_TAILS + 3) / 2 * torch.log1p(apart / _TAILS)


# The sky grows in squares of this many pixels, by at most this many squares per step.
_LARGE_SQUARE, _REACH = 8, 2
# Limits of similarity to the sky around, as a colour difference and in standard deviations of the sky's colour.
_ALIKE, _DEVIATIONS = 0.06, 1.6
# Limits of a square's fineness, relative to the sky's and absolute: clouds are soft, trees in fog are not.
_AS_FINE, _EVEN = 1.2, 0.008
# Skies brighter than this, such as studio backdrops, do not grow.
_WHITE = 0.93
# Regions are wide if they fill this share of a window of this radius, or are at most this many squares beside such a place.
_FILLED, _WIDE, _BESIDE = 0.6, 3, 4
# Parameters of the guided filter that aligns added sky with image edges.
_RADIUS, _EPSILON = 2, 1e-4
GROWTH: dict[str, float] = {
    "square": _LARGE_SQUARE,
    "reach": _REACH,
    "steps": _STEPS,
    "around": _AROUND,
    "alike": _ALIKE,
    "deviations": _DEVIATIONS,
    "as_fine": _AS_FINE,
    "even": _EVEN,
    "white": _WHITE,
    "bright": BRIGHT,
    "warm": WARM,
    "filled": _FILLED,
    "wide": _WIDE,
    "beside": _BESIDE,
    "radius": _RADIUS,
    "epsilon": _EPSILON,
}
"""These constants, for exported files."""


def grown_sky(sky: Tensor, suspected: Tensor, images: Tensor) -> Tensor:
    """Grows a sky into suspected sky beside it that looks like it.

    Squares that match the nearby sky in colour and fineness join it step by step. A sky that is white, or bright and warm, as a whole may
    be a backdrop or a wall and does not grow. Synchronises a GPU twice.

    Args:
        sky: (B, 1, h, w) bool.
        suspected: (B, 1, h, w) bool, where else there may be sky.
        images: (B, 3, H, W) RGB in [0, 1], of any size.

    Returns:
        (B, 1, h, w) bool: a superset of `sky`; empty in images without sky.
        (B, 1, h, w) bool: True wherever `sky` is, and nowhere in an image without sky.
    """
    if not bool(sky.any()):
        return sky
    height, width = sky.shape[-2:]
    squares = max(1, height // _LARGE_SQUARE), max(1, width // _LARGE_SQUARE)
    allowed, start = (resize_map(each.to(images), *squares) > 0.5 for each in (suspected, sky))
    if not bool(_wide_parts(allowed & ~start).any()):
        return sky
    images = resize_image(images, height, width)
    light = brightness(images)
    looks = resize_map(torch.cat((images, fineness(light, torch.ones_like(light, dtype=torch.bool))), 1), *squares)
    allowed &= ~_may_be_backdrop(images, sky)
    grown = start
    for _ in range(_STEPS):
        weight = grown.to(looks)
        wider = grown | (allowed & (box_means(weight, _REACH) > _LEAST) & _looks_like(looks, weight))
        if are_all(wider == grown):
            break
        grown = wider
    new = _wide_parts(grown & ~start).to(looks)
    at_edges = guided_upsample(new.maximum(start.to(looks)), light, _RADIUS, _EPSILON) > 0.5
    return sky | (at_edges & suspected & (resize_map(box_means(new, 1), height, width) > _LEAST))


def _wide_parts(new: Tensor) -> Tensor:
    """The wide parts of a new region, without rims beside objects, which a matte handles better: (B, 1, h, w) bool."""
    filled = (box_means(new.float(), _WIDE) > _FILLED).float()
    return new & (box_means(filled, _BESIDE) > _LEAST)


def _looks_like(looks: Tensor, sky: Tensor) -> Tensor:
    """Squares that look like the sky around them: (B, 1, h, w) bool.

    Args:
        looks: (B, 4, h, w), mean colour and fineness of each square.
        sky: (B, 1, h, w), 1 for sky, else 0.
    """
    colour, fineness = looks.split((3, 1), 1)
    sums = box_means(torch.cat((colour * sky, colour.square() * sky, fineness * sky, sky), 1), _AROUND)
    mean, square, fine = (sums[:, :-1] / sums[:, -1:].clamp(min=_LEAST)).split((3, 3, 1), 1)
    variance, apart = (each.sum(1, keepdim=True) for each in (square - mean.square(), (colour - mean).square()))
    return (apart < (_DEVIATIONS**2 * variance).clamp(min=_ALIKE**2)) & (fineness < (_AS_FINE * fine).clamp(min=_EVEN))


def _may_be_backdrop(images: Tensor, sky: Tensor) -> Tensor:
    """(B, 1, 1, 1) bool: whether a sky is as white as a studio backdrop, or as bright and warm as a lit wall."""
    red, green, blue = ((images * sky).sum((2, 3), keepdim=True) / sky.sum((2, 3), keepdim=True).clamp(min=1)).split(1, 1)
    light = (red + green + blue) / 3
    return (light > _WHITE) | ((light > BRIGHT) & (blue - red < -WARM))
