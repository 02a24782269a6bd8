"""Aligns soft masks with image edges: in a window around each pixel the mask is a linear function of the colour.

Source:
    K. He, J. Sun and X. Tang, "Guided image filtering" (2013); K. He and J. Sun, "Fast guided filter" (2015).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...utils import constant, in_float32, kept_constants
from ..checks import check_map
from .box import box_means
from .coarse import enlarged, shrunk

# Colour variance (of 0 to 1) below which colours are no evidence.
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
    means = box_means(moments(share, small)[:, 1:], max(1, round(radius / step)))
    mean = means[:, :1]
    alpha = fitted(fit_of_means(means, max(1, round(radius / step / 2))), image, step).clamp(0, 1)
    # Stretched, so that inside and outside stay at the ends.
    alpha = ((alpha - 0.5) * _CONTRAST + 0.5).clamp(0, 1)
    # Where the window contains both sides.
    band = enlarged(((mean > _ALIKE) & (mean < 1 - _ALIKE)).to(image), step, image.shape[-2:], mode="nearest") > 0
    return torch.where(band, alpha, mask)


def moments(values: Tensor, image: Tensor) -> Tensor:
    """What a linear function of the colour is fitted to a map by.

    Returns:
        (B, 14, H, W): 1, the map, the three channels, the map times these, and the products rr, rg, rb, gg, gb, bb.
    """
    numbers = torch.cat((constant(values, 1.0).expand_as(values), values, image), 1)
    first, second = numbers.index_select(1, _pairs(numbers, True)).chunk(2, 1)
    return first * second


def fit_of_means(means: Tensor, radius: int) -> Tensor:
    """The linear functions of the colour that fit a map best, by the means in a window around each pixel.

    Args:
        means: (B, 13, H, W) of `moments`, but for the first one, which is 1.
        radius: Of the window over which the functions are averaged.

    Returns:
        (B, 4, H, W): the factors of the three channels, and what is added.
    """
    first, second = means[:, :4].index_select(1, _pairs(means, False)).chunk(2, 1)
    slope = _solved(torch.addcmul(means[:, 4:], first, second, value=-1))
    start = torch.sub(means[:, :1], (slope * means[:, 1:4]).sum(1, keepdim=True))
    return box_means(torch.cat((slope, start), 1), radius)


def fitted(fit: Tensor, image: Tensor, pitch: int) -> Tensor:
    """The map (B, 1, H, W) that functions of squares of `pitch` pixels, as of `fit_of_means`, make of an image (B, 3, H, W)."""
    fit = enlarged(fit, pitch, image.shape[-2:])
    return (fit[:, :3] * image).sum(1, keepdim=True) + fit[:, 3:]


@kept_constants
def _pairs(with_one: bool) -> Tensor:
    """The channels that `moments` multiplies, all first ones and then all second ones; of maps with a 1 before them, or without."""
    own = int(with_one)
    pairs = [(0, each) for each in range(5 * own)] + [(own, own + each) for each in (1, 2, 3)]
    pairs += [(own + 1 + first, own + 1 + second) for first in range(3) for second in range(first, 3)]
    return torch.tensor(pairs).T.flatten()


def _solved(covariances: Tensor) -> Tensor:
    """The solution of a symmetric system of three equations in each pixel, steadied where the colours hardly differ.

    Args:
        covariances: (B, 9, H, W): the right side, and the matrix: rr, rg, rb, gg, gb, bb.
    """
    diagonal, factors, columns = _adjugate(covariances)
    steady = covariances + diagonal.to(covariances)
    numbers = steady.index_select(1, factors)
    one, other, third, fourth = numbers[:, :24].chunk(4, 1)
    adjugate = (one * other).addcmul_(third, fourth, value=-1)
    terms = adjugate.index_select(1, columns).mul_(numbers[:, 24:])
    # Sums of three, written out for a CPU: the solution times the determinant, and this.
    sums = terms[:, :4].add(terms[:, 4:8]).add_(terms[:, 8:])
    return sums[:, :3].div_(sums[:, 3:])


@kept_constants
def _adjugate() -> tuple[Tensor, Tensor, Tensor]:
    """How symmetric systems are solved by the adjugates of their matrices, whose six numbers are rr, rg, rb, gg, gb, bb.

    What is added to the nine numbers first, (1, 9, 1, 1). Four times six of the nine: products of the first and the second six, minus
    products of the third and the fourth, are the adjugate's six numbers; and three times four that are multiplied with numbers of the
    adjugate: of the right side, and of the matrix's first row. Which numbers of the adjugate these are.
    """
    rr, rg, rb, gg, gb, bb = range(6)
    factors = (gg, gb, rg, rr, rb, rr), (bb, rb, gb, bb, rg, gg), (gb, rg, gg, rb, rr, rg), (gb, bb, rb, rb, gb, rg)
    diagonal = torch.tensor([_ALIKE * (each - 3 in (rr, gg, bb)) for each in range(9)]).view(1, 9, 1, 1)
    multiplied = [number for right, own in enumerate((rr, rg, rb)) for number in (right, right, right, 3 + own)]
    columns = torch.tensor((rr, rg, rb, rr, rg, gg, gb, rg, rb, gb, bb, rb))
    return diagonal, torch.cat((torch.tensor(factors).flatten() + 3, torch.tensor(multiplied))), columns
