"""Brings soft masks to the edges of the image: in a window around each pixel the mask is a linear function of the colour.

Source:
    K. He, J. Sun and X. Tang, "Guided image filtering" (2013); K. He and J. Sun, "Fast guided filter" (2015).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...utils import in_float32
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
    mean, colour = means[:, :1], means[:, 1:4]
    slope = solved(means[:, 7:] - products(colour), means[:, 4:7] - colour * mean)
    fit = torch.cat((slope, mean - (slope * colour).sum(1, keepdim=True)), 1)
    fit = enlarged(box_means(fit, max(1, round(radius / step / 2))), step, image.shape[-2:])
    alpha = ((fit[:, :3] * image).sum(1, keepdim=True) + fit[:, 3:]).clamp(0, 1)
    # Mixtures at the border are stretched to the ends: inside and outside are what they were.
    alpha = ((alpha - 0.5) * _CONTRAST + 0.5).clamp(0, 1)
    # Where both sides are within the window.
    band = enlarged(((mean > _ALIKE) & (mean < 1 - _ALIKE)).to(image), step, image.shape[-2:], mode="nearest") > 0
    return torch.where(band, alpha, mask)


def products(colour: Tensor) -> Tensor:
    """The six products of three channels: rr, rg, rb, gg, gb, bb."""
    red, green, blue = colour.split(1, 1)
    return torch.cat((red * red, red * green, red * blue, green * green, green * blue, blue * blue), 1)


def solved(covariance: Tensor, right: Tensor) -> Tensor:
    """The solution of a symmetric system of three equations in each pixel, steadied where the colours hardly differ."""
    rr, rg, rb, gg, gb, bb = covariance.split(1, 1)
    rr, gg, bb = rr + _ALIKE, gg + _ALIKE, bb + _ALIKE
    rows = (gg * bb - gb * gb, gb * rb - rg * bb, rg * gb - gg * rb), (rr * bb - rb * rb, rb * rg - rr * gb), rr * gg - rg * rg
    (first, second, third), (fourth, fifth), sixth = rows
    x, y, z = right.split(1, 1)
    solution = torch.cat((first * x + second * y + third * z, second * x + fourth * y + fifth * z, third * x + fifth * y + sixth * z), 1)
    return solution / (rr * first + rg * second + rb * third)
