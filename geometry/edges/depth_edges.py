"""Detects depth edges and turns soft ramps between near and far surfaces into steps, for views and effects.

Each pixel takes a value of the map beside it: fast, and enough where a step is only moved or blurred. `ramp_sharpening` fits planes to both
sides instead, and gives normals: for refined depth.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ...utils import constant
from ..checks import check_depth, check_map
from ..filters.box import box_means
from ..filters.chosen_pixels import ChosenPixels, pixels_where, values_at
from ..filters.coarse import enlarged, shrunk
from ..filters.extremes import extremes_around, extremes_within, largest_within, median_within
from ..filters.guided_filter import fit_of_means, fitted, moments
from .stripes import Lines, stripe_ends

EDGE = 1.05
"""Neighbours whose depths differ by more than this factor are different things: nothing is stretched between them."""

# How many times larger the span of a window twice as wide is: 2 on a slope, 1 where the window holds the whole ramp.
_WIDER = 1.8
# A ramp is worn away from its ends in this many rounds, and its values differ by this factor from one round to the next.
_ROUNDS, _STEEP = 6, 1.02
# Stripes are found at a size at which the radius is about so many pixels, and count from so sure on.
_COARSE, _SURE = 4, 0.25
# Steps are smoothed in a square of this radius, or of half the ramps'. Where there was no ramp, as on a wire, by this factor at most.
_RAGGED, _SMALL = 2, 1.1
# How many radii from the middle of a ramp its ends are.
_PAST = 1.2
# What stands for 0 in a divisor.
_TINY = 1e-9


def edge_radius(height: int, width: int) -> int:
    """Half of the width that depth edges have in networks' maps, in pixels of an image of that size."""
    return max(1, round(max(height, width) / 100))


def edge_growth(height: int, width: int) -> int:
    """By how many pixels `depth_at_image_edges` lets near things grow."""
    return max(1, edge_radius(height, width) // 4)


def depth_at_image_edges(depth: Tensor, image: Tensor) -> Tensor:
    """Depth with steps where the image has its edges: what a moved camera needs.

    Args:
        depth: (B, 1, H, W), known to be positive and finite, as that of `filled_depth` is: a GPU is not asked again.
        image: (B, 3, H, W) in [0, 1].

    Returns:
        (B, 1, H, W) of values of `depth`. Near things reach a little beyond their edges: the colours there are mixed ones and belong to
        them.
    """
    check_map(depth, 1, "depth", like=image)
    size = image.shape[-2:]
    return sharpen_known_depth(depth, edge_radius(*size), edge_growth(*size), image)


def sharpen_depth_edges(depth: Tensor, radius: int, growth: int = 0, image: Tensor | None = None, *, smooth: bool = True) -> Tensor:
    """Makes steps of the ramps between near and far things. Networks and resizing turn steps into ramps.

    A value on a ramp becomes that of its near or its far end, step by step from the ends; what is a step already stays.

    Args:
        depth: (B, 1, H, W), positive and finite.
        radius: Half the width in pixels of the ramps that are steepened.
        growth: By how many pixels near things grow at their edges, so that the image's mixed colours there move with them.
        image: (B, 3, H, W) in [0, 1]. With it the step is where the colours change from the near thing's to the far one's; without it,
            in the middle of the ramp.
        smooth: Whether single pixels that the image's colours put on the wrong side of a step go with those around. It rounds corners.

    Returns:
        (B, 1, H, W) of values of `depth`; slopes of surfaces stay as they are.

    Raises:
        ValueError: Not (B, 1, H, W), depth that is not positive and finite, or an image of another size.

    Source:
        H. P. Kramer and J. B. Bruckner, "Iterations of a non-linear transformation for enhancement of digital images" (1975), for the
        steps; the colours are our addition.
    """
    check_depth(depth, like=image)
    return sharpen_known_depth(depth, radius, growth, image, smooth=smooth)


def sharpen_known_depth(depth: Tensor, radius: int, growth: int = 0, image: Tensor | None = None, *, smooth: bool = True) -> Tensor:
    """`sharpen_depth_edges` of depth that is known to be positive and finite, as that of `filled_depth` is: a GPU is not asked again."""
    return sharpened_inverse(depth.reciprocal(), radius, growth, image, smooth=smooth).reciprocal()


def sharpened_inverse(soft: Tensor, radius: int, growth: int = 0, image: Tensor | None = None, *, smooth: bool = True) -> Tensor:
    """`sharpen_known_depth` of inverse depth, to inverse depth: both (B, 1, H, W)."""
    inverse = soft
    ramps = find_ramps(inverse, radius)
    pixels = ChosenPixels(ramps.edge)  # a small part of most images
    here, low, high = map(pixels.take, (inverse, ramps.low, ramps.high))
    nearness, middle = (here - low) / (high - low).clamp(min=_TINY), 0.5
    if image is not None:
        nearness, middle = nearness + pixels.take(_nearness_by_colour(image, inverse, ramps.wide_low, ramps.wide_high, radius)), 1.0
    step = max(1, round(radius / _ROUNDS))
    inverse = _worn(inverse, pixels, nearness > middle, step, math.ceil(radius / step))
    if image is not None:
        inverse = _with_stripes(inverse, soft, image, radius, ramps)
        if smooth:
            inverse = _without_ragged_pixels(inverse, soft, radius, ramps.edge)
    if growth == 0:
        return inverse
    grown = largest_within(inverse, growth, has_nan=False)
    return torch.where(grown > inverse * EDGE, grown, inverse)


class Ramps(NamedTuple):
    """Where there are ramps, (B, 1, H, W) bool, and the extremes of values in windows of one radius and of two."""

    edge: Tensor
    low: Tensor
    high: Tensor
    wide_low: Tensor
    wide_high: Tensor


def find_ramps(values: Tensor, radius: int) -> Ramps:
    """Where values change between two surfaces, and not along one.

    Args:
        values: (B, 1, H, W), finite and not negative, linear on planes, large = near.
        radius: Half the width of the ramps in pixels.
    """
    (low, high), (wide_low, wide_high) = extremes_around(values, radius, radius)
    # A window twice as wide sees twice the span of a slope, but hardly more of a ramp that the window holds already.
    return Ramps((high > low * EDGE) & (wide_high - wide_low < _WIDER * (high - low)), low, high, wide_low, wide_high)


def _with_stripes(sharp: Tensor, inverse: Tensor, image: Tensor, radius: int, ramps: Ramps) -> Tensor:
    """Inverse depth with steps, `sharp`: the stripes along silhouettes become a part of the near things.

    Args:
        sharp: (B, 1, H, W).
        inverse: The same with its ramps.
        image: (B, 3, H, W) in [0, 1].
        radius: Half the width of ramps.
        ramps: Of `inverse`.
    """
    height, width = sharp.shape[-2:]
    step = max(1, radius // _COARSE)
    small, coarse, reach = image.float(), inverse.float(), radius
    if step > 1:
        small, coarse = (shrunk(each, step) for each in (small, coarse))
        reach = round(radius / step)
        ramps = find_ramps(coarse, reach)
    ends = stripe_ends(coarse, small, ramps.wide_low.float(), ramps.wide_high.float(), ramps.edge, reach)
    if step > 1:
        ends = enlarged(ends, step, (height, width))
    place, pixels = pixels_where(ends[:, 2:3] > _SURE)
    of_pixels = ends.transpose(0, 1).flatten(1).index_select(1, place)
    inside, away, sure = of_pixels[:3]
    past = constant(away, ((-_PAST * radius,), (_PAST * radius,)))
    there = Lines.through(pixels, of_pixels[3:], (len(sharp), height, width)).at(torch.sub(past, away, alpha=step))
    own, (near, far) = values_at(sharp, place), values_at(sharp, there.flatten()).view_as(there)
    # Where a stripe's trace is lost, its end runs into the edge that there was.
    margin = (1 - sure) * reach
    new = torch.where(inside > margin, torch.maximum(own, near), torch.where(inside < -margin, torch.minimum(own, far), own))
    return sharp.flatten().index_copy(0, place, torch.where(near > far * EDGE, new, own)).view_as(sharp)


def _worn(inverse: Tensor, pixels: ChosenPixels, is_near: Tensor, step: int, rounds: int) -> Tensor:
    """Ramps at some pixels, of which `is_near` holds each (N,), worn away by so many pixels a round from both their ends."""
    if inverse.device.type == "cpu":
        for _ in range(rounds):
            here, below, above = map(pixels.take, (inverse, *extremes_within(inverse, step)))
            ramp = (above > here * _STEEP) & (here > below * _STEEP)
            inverse = pixels.put(inverse, torch.where(ramp, torch.where(is_near, above, below), here))
        return inverse
    # In few operations: the values and their negatives, whose greatest are the negative least ones.
    is_near, both = is_near.view_as(inverse), torch.cat((-inverse, inverse), 1)
    factors, signs = (constant(inverse, each).view(1, 2, 1, 1) for each in ((1 / _STEEP, _STEEP), (-1.0, 1.0)))
    factors = torch.where(pixels.chosen, factors, constant(inverse, math.inf))
    signs = torch.where(is_near, signs, -signs)
    for _ in range(rounds):
        ends = largest_within(both, step, has_nan=False)
        below, above = (ends > both * factors).split(1, 1)
        both = torch.where(below & above, torch.where(is_near, ends[:, 1:], ends[:, :1]) * signs, both)
    return both[:, 1:]


def _without_ragged_pixels(sharp: Tensor, inverse: Tensor, radius: int, edge: Tensor) -> Tensor:
    """Steps that do not jump from row to row, as they do where the image's colours are noisy: each pixel is the median of those around.

    Args:
        sharp: (B, 1, H, W) inverse depth with steps.
        inverse: The same with its ramps.
        radius: Half the width of ramps.
        edge: (B, 1, H, W) bool, where there are ramps.
    """
    reach = min(_RAGGED, radius // 2)
    if reach == 0:
        return sharp
    middle = median_within(sharp, reach)
    small = (middle < sharp * _SMALL) & (sharp < middle * _SMALL)
    return torch.where(edge & (small | (sharp != inverse)), middle, sharp)


def _nearness_by_colour(image: Tensor, inverse: Tensor, low: Tensor, high: Tensor, radius: int) -> Tensor:
    """The similarity of each pixel's colour to near surfaces around it (1) or to far ones (0): (B, 1, H, W)."""
    step = max(1, radius // 4)
    beside = torch.cat((2 * inverse > low + high, high > low * EDGE), 1).to(inverse)
    small, near, at_edges = shrunk(image, step), *shrunk(beside, step).split(1, 1)
    return fitted(colour_fit(small, near, at_edges, max(1, round(radius / step))), image, step)


def colour_fit(image: Tensor, near: Tensor, at_edges: Tensor, radius: int) -> Tensor:
    """The linear function of the colour that fits best, in a window around each pixel, which pixels there are near.

    Args:
        image: (B, 3, H, W), usually a smaller one.
        near: (B, 1, H, W) in [0, 1].
        at_edges: (B, 1, H, W), the weight of each pixel.
        radius: Of the window, in pixels.

    Returns:
        (B, 4, H, W): the factors of the three channels, and what is added.
    """
    means = box_means(moments(near, image) * at_edges, radius)
    return fit_of_means(means[:, 1:] / means[:, :1].clamp(min=_TINY), 1)
