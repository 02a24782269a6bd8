"""Lets a sky grow over clouds, and over what is behind towers and trees, where a network is unsure of it."""

from __future__ import annotations

import torch
from torch import Tensor

from ...geometry.filters.box import box_means
from ...geometry.regions.sky import BRIGHT, WARM, fineness
from ...geometry.valid import are_all
from ...utils import brightness, resize_image, resize_map
from .guided_upsampling import guided_upsample

# The sky grows by squares of so many pixels, by up to so many of them in a step.
_SQUARE, _REACH, _STEPS = 8, 2, 24
# The sky in so many squares around says how it looks. What differs by less, in colour or in standard deviations of the sky's, is alike.
_AROUND, _ALIKE, _DEVIATIONS = 6, 0.06, 1.6
# So many times as finely drawn as the sky may a square be, and so finely drawn in any case: clouds are soft, trees in fog are not.
_AS_FINE, _EVEN = 1.2, 0.008
# Regions that are brighter than this do not grow, as the backdrops of studios are.
_WHITE = 0.93
# Wide is what fills so much of a square of this radius, and what is up to so many squares beside that.
_FILLED, _WIDE, _BESIDE = 0.6, 3, 4
# Of the guided filter that gives what is new the edges of the image.
_RADIUS, _EPSILON = 2, 1e-4
_LEAST = 1e-6
GROWTH: dict[str, float] = {
    "square": _SQUARE,
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
"""These numbers, for exported files."""


def grown_sky(sky: Tensor, suspected: Tensor, images: Tensor) -> Tensor:
    """Adds to a sky what is suspected beside it and looks like it.

    What looks like the sky around, in colour and fineness, joins it step by step. A sky that is white as a whole, or bright and warm, may
    be a backdrop or a wall: it stays as it is. A GPU is waited for twice, to learn whether there is a sky and whether it may grow.

    Args:
        sky: (B, 1, h, w) bool.
        suspected: (B, 1, h, w) bool, where else there may be sky.
        images: (B, 3, H, W) RGB in [0, 1], of any size.

    Returns:
        (B, 1, h, w) bool: True wherever `sky` is, and nowhere in an image without sky.
    """
    if not bool(sky.any()):
        return sky
    height, width = sky.shape[-2:]
    squares = max(1, height // _SQUARE), max(1, width // _SQUARE)
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
    """The parts of what is new that are wide, without the rims beside things, which a matte finds better: (B, 1, h, w) bool."""
    filled = (box_means(new.float(), _WIDE) > _FILLED).float()
    return new & (box_means(filled, _BESIDE) > _LEAST)


def _looks_like(looks: Tensor, sky: Tensor) -> Tensor:
    """Which squares look as the sky around them does: (B, 1, h, w) bool.

    Args:
        looks: (B, 4, h, w), the mean colour and fineness of each square.
        sky: (B, 1, h, w), 1 where there is sky, 0 elsewhere.
    """
    colour, fineness = looks.split((3, 1), 1)
    sums = box_means(torch.cat((colour * sky, colour.square() * sky, fineness * sky, sky), 1), _AROUND)
    mean, square, fine = (sums[:, :-1] / sums[:, -1:].clamp(min=_LEAST)).split((3, 3, 1), 1)
    variance, apart = (each.sum(1, keepdim=True) for each in (square - mean.square(), (colour - mean).square()))
    return (apart < (_DEVIATIONS**2 * variance).clamp(min=_ALIKE**2)) & (fineness < (_AS_FINE * fine).clamp(min=_EVEN))


def _may_be_backdrop(images: Tensor, sky: Tensor) -> Tensor:
    """(B, 1, 1, 1) bool: whether a sky is as white as the backdrop of a studio, or as bright and warm as a lit wall."""
    red, green, blue = ((images * sky).sum((2, 3), keepdim=True) / sky.sum((2, 3), keepdim=True).clamp(min=1)).split(1, 1)
    light = (red + green + blue) / 3
    return (light > _WHITE) | ((light > BRIGHT) & (blue - red < -WARM))
