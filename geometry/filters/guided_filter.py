"""Brings soft masks to the edges of the image: in a window around each pixel the mask is a linear function of the colour.

Source:
    K. He, J. Sun and X. Tang, "Guided image filtering" (2013); K. He and J. Sun, "Fast guided filter" (2015).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...utils import in_float32, kept_constants
from ..checks import check_map
from .box import box_means
from .coarse import enlarged, shrunk

# The variance of colours (of 0 to 1) below which they are no evidence.
_ALIKE = 1e-3
_CONTRAST = 1.6


@in_float32
def mask_at_image_edges(mask: Tensor, image: Tensor, radius: int) -> Tensor:
    """A mask whose border follows the image.

    Args:
        mask: (B, 1, H, W) in [0, 1], whose border is at most `radius` off.
        image: (B, 3, H, W) in [0, 1].
        radius: Half the width of the band around the border that is changed, in pixels.

    Returns:
        (B, 1, H, W) in [0, 1]: the mask, and in the band an alpha, soft where the image is (hair, leaves).

    Raises:
        ValueError: Maps of the wrong shapes.
    """
    check_map(image, 3, "image")
    check_map(mask, 1, "mask", like=image)
    step = max(1, radius // 4)
    small, share = (shrunk(each, step) for each in (image, mask))
    means = box_means(torch.cat((share, small, share * small, products(small)), 1), max(1, round(radius / step)))
    mean = means[:, :1]
    alpha = fitted(fit_of_means(means, max(1, round(radius / step / 2))), image, step).clamp(0, 1)
    # Mixtures at the border are stretched to the ends: inside and outside are what they were.
    alpha = ((alpha - 0.5) * _CONTRAST + 0.5).clamp(0, 1)
    # Where both sides are within the window.
    band = enlarged(((mean > _ALIKE) & (mean < 1 - _ALIKE)).to(image), step, image.shape[-2:], mode="nearest") > 0
    return torch.where(band, alpha, mask)


def fit_of_means(means: Tensor, radius: int) -> Tensor:
    """The linear functions of the colour that fit a map best, by the means in a window around each pixel.

    Args:
        means: (B, 13, H, W) of the map, the three channels, the map times these, and `products`.
        radius: Of the window over which the functions are averaged.

    Returns:
        (B, 4, H, W): the factors of the three channels, and what is added.
    """
    mean, colour = means[:, :1], means[:, 1:4]
    slope = solved(means[:, 7:] - products(colour), torch.addcmul(means[:, 4:7], colour, mean, value=-1))
    return box_means(torch.cat((slope, mean - (slope * colour).sum(1, keepdim=True)), 1), radius)


def fitted(fit: Tensor, image: Tensor, pitch: int) -> Tensor:
    """The map (B, 1, H, W) that functions of squares of `pitch` pixels, as of `fit_of_means`, make of an image (B, 3, H, W)."""
    fit = enlarged(fit, pitch, image.shape[-2:])
    return (fit[:, :3] * image).sum(1, keepdim=True) + fit[:, 3:]


def products(colour: Tensor) -> Tensor:
    """The six products of three channels: rr, rg, rb, gg, gb, bb."""
    if colour.device.type != "cpu":
        first, second = _pairs(colour)
        return colour.index_select(1, first) * colour.index_select(1, second)
    red, green, blue = colour.split(1, 1)
    return torch.cat((red * colour, green * colour[:, 1:], blue * blue), 1)


@kept_constants
def _pairs() -> tuple[Tensor, Tensor]:
    """The channels of `products`."""
    return torch.tensor((0, 0, 0, 1, 1, 2)), torch.tensor((0, 1, 2, 1, 2, 2))


def solved(covariance: Tensor, right: Tensor) -> Tensor:
    """The solution of a symmetric system of three equations in each pixel, steadied where the colours hardly differ."""
    diagonal, factors, columns = _adjugate(covariance)
    steady = covariance + diagonal.to(covariance)
    one, other, third, fourth = steady.index_select(1, factors).chunk(4, 1)
    adjugate = (one * other).addcmul_(third, fourth, value=-1)
    whole = adjugate.index_select(1, columns)
    first, second, last = whole.chunk(3, 1)
    if covariance.device.type != "cpu":
        determinant = (steady[:, :3] * first).sum(1, keepdim=True)
        return (whole.unflatten(1, (3, 3)) * right.unsqueeze(2)).sum(1).div_(determinant)
    x, y, z = right.split(1, 1)
    rr, rg, rb = steady[:, :3].split(1, 1)
    determinant = (rr * first[:, :1]).addcmul_(rg, first[:, 1:2]).addcmul_(rb, first[:, 2:])
    return (first * x).addcmul_(second, y).addcmul_(last, z).div_(determinant)


@kept_constants
def _adjugate() -> tuple[Tensor, Tensor, Tensor]:
    """How the adjugates of symmetric matrices are made of their six numbers, rr, rg, rb, gg, gb, bb.

    What is added to them first, (1, 6, 1, 1); four times six of them: products of the first and the second six, minus products of the third
    and the fourth, are the adjugate's six numbers; and which of these make its three columns.
    """
    rr, rg, rb, gg, gb, bb = range(6)
    factors = (gg, gb, rg, rr, rb, rr), (bb, rb, gb, bb, rg, gg), (gb, rg, gg, rb, rr, rg), (gb, bb, rb, rb, gb, rg)
    diagonal = torch.tensor([_ALIKE * (each in (rr, gg, bb)) for each in range(6)]).view(1, 6, 1, 1)
    return diagonal, torch.tensor(factors).flatten(), torch.tensor((rr, rg, rb, rg, gg, gb, rb, gb, bb))
