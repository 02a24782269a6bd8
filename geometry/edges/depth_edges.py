"""Detects depth edges and turns soft ramps between near and far surfaces into steps, for views and effects.

Each pixel takes a value from the map beside it: fast, and sufficient where steps are only warped or blurred. `ramp_sharpening` fits planes
to both sides instead, and also gives normals: for refined depth.
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
"""Neighbours whose depths differ by more than this factor are different objects: nothing is stretched between them."""

# Ratio of the span in a window twice as wide: 2 on a slope, 1 if the smaller window holds the whole ramp.
_WIDER = 1.8
# Rounds in which a ramp is eroded from both ends, and the factor by which its values differ between rounds.
_ROUNDS, _STEEP = 6, 1.02
# Stripes are found at a resolution where the radius is about _COARSE pixels, and count from the confidence _SURE on.
_COARSE, _SURE = 4, 0.25
# Steps are smoothed in a square of this radius, or half the ramps'. Without a ramp, as on a wire, at most by the factor _SMALL.
_RAGGED, _SMALL = 2, 1.1
# Distance of a ramp's ends from its middle, in radii.
_PAST = 1.2
# Avoids division by 0.
_TINY = 1e-9


def edge_radius(height: int, width: int) -> int:
    """Half the width of depth edges in networks' maps, in pixels of an image of that size."""
    return max(1, round(max(height, width) / 100))


def edge_growth(height: int, width: int) -> int:
    """Number of pixels by which `depth_at_image_edges` dilates near objects."""
    return max(1, edge_radius(height, width) // 4)


def depth_at_image_edges(depth: Tensor, image: Tensor) -> Tensor:
    """Aligns depth steps with the image's edges, as a moved camera needs them.

    Args:
        depth: (B, 1, H, W), known to be positive and finite, as from `filled_depth`; unchecked, to avoid synchronising a GPU.
        image: (B, 3, H, W) in [0, 1].

    Returns:
        (B, 1, H, W) of values of `depth`. Near objects are slightly dilated, as the mixed colours at their edges belong to them.
    """
    check_map(depth, 1, "depth", like=image)
    size = image.shape[-2:]
    return sharpen_known_depth(depth, edge_radius(*size), edge_growth(*size), image)


def sharpen_depth_edges(depth: Tensor, radius: int, growth: int = 0, image: Tensor | None = None, *, smooth: bool = True) -> Tensor:
    """Turns ramps between near and far objects, made by networks and resizing, into steps.

    Values on a ramp become that of its near or far end, by erosion from both ends; existing steps are kept.

    Args:
        depth: (B, 1, H, W), positive and finite.
        radius: Half the width in pixels of the ramps that are steepened.
        growth: Pixels by which near objects are dilated, so that the mixed colours at their edges move with them.
        image: (B, 3, H, W) in [0, 1]. Places the step where the colours change; without it the step is in the middle of the ramp.
        smooth: Whether isolated pixels on the wrong side of a step follow their neighbours. Rounds corners.

    Returns:
        (B, 1, H, W) of values of `depth`; slopes of surfaces are kept.

    Raises:
        ValueError: Not (B, 1, H, W), depth that is not positive and finite, or an image of another size.

    Source:
        H. P. Kramer and J. B. Bruckner, "Iterations of a non-linear transformation for enhancement of digital images" (1975), for the
        steps; the colours are our addition.
    """
    check_depth(depth, like=image)
    return sharpen_known_depth(depth, radius, growth, image, smooth=smooth)


def sharpen_known_depth(depth: Tensor, radius: int, growth: int = 0, image: Tensor | None = None, *, smooth: bool = True) -> Tensor:
    """`sharpen_depth_edges` without the check that depth is positive and finite, which synchronises a GPU."""
    return sharpened_inverse(depth.reciprocal(), radius, growth, image, smooth=smooth).reciprocal()


def sharpened_inverse(
    soft: Tensor, radius: int, growth: int = 0, image: Tensor | None = None, *, smooth: bool = True, ramps: Ramps | None = None
) -> Tensor:
    """`sharpen_known_depth` of inverse depth to inverse depth, (B, 1, H, W); `ramps` are its `find_ramps`, if known."""
    inverse = soft
    ramps = find_ramps(inverse, radius) if ramps is None else ramps
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
    """Pixels on ramps, (B, 1, H, W) bool, and the extremes of values in windows of one radius and of two, (B, 1, H, W) each."""

    edge: Tensor
    low: Tensor
    high: Tensor
    wide_low: Tensor
    wide_high: Tensor


def find_ramps(values: Tensor, radius: int) -> Ramps:
    """Finds where values change between two surfaces instead of along one.

    Args:
        values: (B, 1, H, W), finite and not negative, linear on planes, large = near.
        radius: Half the width of the ramps in pixels.
    """
    (low, high), (wide_low, wide_high) = extremes_around(values, radius, radius)
    # A window twice as wide has twice the span of a slope, but hardly more of a ramp that fits into the smaller window.
    return Ramps((high > low * EDGE) & (wide_high - wide_low < _WIDER * (high - low)), low, high, wide_low, wide_high)


def _with_stripes(sharp: Tensor, inverse: Tensor, image: Tensor, radius: int, ramps: Ramps) -> Tensor:
    """Moves the stripes along silhouettes of stepped inverse depth `sharp` to the near objects.

    Args:
        sharp: (B, 1, H, W) inverse depth with steps.
        inverse: (B, 1, H, W) inverse depth with ramps.
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
    # Where a stripe fades out, its end joins the original edge.
    margin = (1 - sure) * reach
    new = torch.where(inside > margin, torch.maximum(own, near), torch.where(inside < -margin, torch.minimum(own, far), own))
    return sharp.flatten().index_copy(0, place, torch.where(near > far * EDGE, new, own)).view_as(sharp)


def _worn(inverse: Tensor, pixels: ChosenPixels, is_near: Tensor, step: int, rounds: int) -> Tensor:
    """Erodes ramps from both ends, by `step` pixels per round; `is_near` (N,) is the side of each of the selected `pixels`."""
    if inverse.device.type == "cpu":
        for _ in range(rounds):
            here, below, above = map(pixels.take, (inverse, *extremes_within(inverse, step)))
            ramp = (above > here * _STEEP) & (here > below * _STEEP)
            inverse = pixels.put(inverse, torch.where(ramp, torch.where(is_near, above, below), here))
        return inverse
    # Fewer operations: the maximum of the negated values is the negated minimum. Four maps: the negated values, the values, and the bounds
    # that the maxima of both exceed on a ramp.
    is_near, factors = is_near.view_as(inverse), (-1.0, 1.0, -1 / _STEEP, _STEEP)
    own, turned, nowhere = (
        constant(inverse, each).view(1, 4, 1, 1) for each in (factors, tuple(-each for each in factors), (-1.0, 1.0, math.inf, math.inf))
    )
    maps, factors_of_ends = inverse * torch.where(pixels.chosen, own, nowhere), torch.where(is_near, own, turned)
    for _ in range(rounds):
        ends = largest_within(maps[:, :2], step, has_nan=False)
        below, above = (ends > maps[:, 2:]).split(1, 1)
        maps = torch.where(below & above, torch.where(is_near, ends[:, 1:], ends[:, :1]) * factors_of_ends, maps)
    return maps[:, 1:2]


def _without_ragged_pixels(sharp: Tensor, inverse: Tensor, radius: int, edge: Tensor) -> Tensor:
    """Smooths steps that jump from row to row, as they do where the image's colours are noisy, by the median of surrounding pixels.

    Args:
        sharp: (B, 1, H, W) inverse depth with steps.
        inverse: (B, 1, H, W) inverse depth before sharpening, with ramps.
        radius: Half the width of ramps.
        edge: (B, 1, H, W) bool, where there are ramps.
    """
    reach = min(_RAGGED, radius // 2)
    if reach == 0:
        return sharp
    middle = median_within(sharp, reach)
    small = torch.maximum(middle, sharp) < torch.minimum(middle, sharp) * _SMALL
    return torch.where(edge & (small | (sharp != inverse)), middle, sharp)


def _nearness_by_colour(image: Tensor, inverse: Tensor, low: Tensor, high: Tensor, radius: int) -> Tensor:
    """The similarity of each pixel's colour to near surfaces around it (1) or to far ones (0): (B, 1, H, W)."""
    step = max(1, radius // 4)
    beside = torch.cat((2 * inverse > low + high, high > low * EDGE), 1).to(inverse)
    small, near, at_edges = shrunk(image, step), *shrunk(beside, step).split(1, 1)
    return fitted(colour_fit(small, near, at_edges, max(1, round(radius / step))), image, step)


def colour_fit(image: Tensor, near: Tensor, at_edges: Tensor, radius: int) -> Tensor:
    """Fits a linear function of the colour to nearness, in a window around each pixel.

    Args:
        image: (B, 3, H, W), usually a smaller one.
        near: (B, 1, H, W) in [0, 1].
        at_edges: (B, 1, H, W), the weight of each pixel.
        radius: Of the window, in pixels.

    Returns:
        (B, 4, H, W): the factors of the three channels, and the offset.
    """
    return fit_of_means(colour_means(image, near, at_edges, radius)[0], 1)


def colour_means(image: Tensor, near: Tensor, at_edges: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    """Weighted means in a window around each pixel, for `fit_of_means`, and the sums of weights that divide them.

    Args:
        image, near, at_edges, radius: As `colour_fit`.

    Returns:
        (B, 13, H, W), and the mean weights (B, 1, H, W), above 0.
    """
    means = box_means(moments(near, image) * at_edges, radius)
    weights = means[:, :1].clamp(min=_TINY)
    return means[:, 1:] / weights, weights
