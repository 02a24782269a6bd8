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

# Colour variance, for colours in [0, 1], below which colours are not used.
_ALIKE = 1e-3
_CONTRAST = 1.6


@in_float32
def mask_at_image_edges(mask: Tensor, image: Tensor, radius: int) -> Tensor:
    """Moves the border of a mask (B, 1, H, W) in [0, 1] to the edges of the image (B, 3, H, W), at most `radius` pixels away.

    A band of that half width around the border becomes an alpha matte, which is soft where the image is (hair, leaves).
    """
    check_map(image, 3, "image")
    check_map(mask, 1, "mask", like=image)
    step = max(1, radius // 4)
    small, share = (shrunk(each, step) for each in (image, mask))
    means = box_means(moments(share, small)[:, 1:], max(1, round(radius / step)))
    mean = means[:, :1]
    alpha = fitted(fit_of_means(means, max(1, round(radius / step / 2))), image, step)
    # Stretched, so that inside and outside stay at 1 and 0.
    alpha = ((alpha - 0.5) * _CONTRAST + 0.5).clamp(0, 1)
    # Where the window contains both sides.
    band = enlarged(((mean > _ALIKE) & (mean < 1 - _ALIKE)).to(image), step, image.shape[-2:], mode="nearest") > 0
    return torch.where(band, alpha, mask)


def moments(values: Tensor, image: Tensor) -> Tensor:
    """The products whose means determine the linear function of the colour that fits a map (B, 1, H, W) best.

    (B, 14, H, W): 1, the map, the three channels, the map times these, and the products rr, rg, rb, gg, gb, bb.
    """
    numbers = torch.cat((constant(values, 1.0).expand_as(values), values, image), 1)
    first, second = numbers.index_select(1, _pairs(numbers, True)).chunk(2, 1)
    return first * second


def fit_of_means(means: Tensor, radius: int) -> Tensor:
    """Fits a linear function of the colour to a map, in a window around each pixel, averaged over a window of `radius` pixels.

    `means` (B, 13, H, W) are those of `moments` without the first one, which is 1. (B, 4, H, W): three factors, and the offset.
    """
    first, second = means[:, :4].index_select(1, _pairs(means, False)).chunk(2, 1)
    slope = _solved(torch.addcmul(means[:, 4:], first, second, value=-1))
    start = torch.sub(means[:, :1], (slope * means[:, 1:4]).sum(1, keepdim=True))
    return box_means(torch.cat((slope, start), 1), radius)


def fitted(fit: Tensor, image: Tensor, pitch: int) -> Tensor:
    """Applies the functions (B, 4, h, w) of `fit_of_means`, one per square of `pitch` pixels, to an image: (B, 1, H, W)."""
    fit = enlarged(fit, pitch, image.shape[-2:])
    return (fit[:, :3] * image).sum(1, keepdim=True) + fit[:, 3:]


@kept_constants
def _pairs(with_one: bool) -> Tensor:
    """Indices of the channels that `moments` multiplies: all first factors, then all second ones. `with_one`: the first channel is 1."""
    own = int(with_one)
    pairs = [(0, each) for each in range(5 * own)] + [(own, own + each) for each in (1, 2, 3)]
    pairs += [(own + 1 + first, own + 1 + second) for first in range(3) for second in range(first, 3)]
    return torch.tensor(pairs).T.flatten()


def _solved(covariances: Tensor) -> Tensor:
    """Solves a symmetric system of three equations for each pixel, (B, 3, H, W), regularised where colours hardly vary.

    `covariances` are (B, 9, H, W): the right side, and the matrix rr, rg, rb, gg, gb, bb.
    """
    diagonal, factors, columns = _adjugate(covariances)
    steady = covariances + diagonal.to(covariances)
    numbers = steady.index_select(1, factors)
    one, other, third, fourth = numbers[:, :24].chunk(4, 1)
    adjugate = (one * other).addcmul_(third, fourth, value=-1)
    terms = adjugate.index_select(1, columns).mul_(numbers[:, 24:])
    # Sums of three, written out for a CPU: the solution times the determinant, and the determinant.
    sums = terms[:, :4].add(terms[:, 4:8]).add_(terms[:, 8:])
    return sums[:, :3] / sums[:, 3:]


@kept_constants
def _adjugate() -> tuple[Tensor, Tensor, Tensor]:
    """Constants for solving symmetric 3 x 3 systems by the adjugate, which also has the six numbers rr, rg, rb, gg, gb, bb.

    (1, 9, 1, 1): the regularisation, to be added to the nine numbers of each system. (36,): indices among the nine numbers. The first 24,
    in four groups: group 1 times group 2 minus group 3 times group 4 is the adjugate. The last 12: factors from the right side and from the
    matrix's first row. (12,): indices of the adjugate's numbers that those 12 are multiplied with.
    """
    rr, rg, rb, gg, gb, bb = range(6)
    factors = (gg, gb, rg, rr, rb, rr), (bb, rb, gb, bb, rg, gg), (gb, rg, gg, rb, rr, rg), (gb, bb, rb, rb, gb, rg)
    diagonal = torch.tensor([_ALIKE * (each - 3 in (rr, gg, bb)) for each in range(9)], dtype=torch.float32).view(1, 9, 1, 1)
    multiplied = [number for right, own in enumerate((rr, rg, rb)) for number in (right, right, right, 3 + own)]
    columns = torch.tensor((rr, rg, rb, rr, rg, gg, gb, rg, rb, gb, bb, rb))
    return diagonal, torch.cat((torch.tensor(factors).flatten() + 3, torch.tensor(multiplied))), columns
