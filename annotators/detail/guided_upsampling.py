"""Guided upsampling: maps enlarged along the edges of their image."""

from __future__ import annotations

import torch
from torch import Tensor

from ...geometry.filters.box import box_means
from ...utils import resize_map


def guided_upsample(values: Tensor, guide: Tensor, radius: int, epsilon: float) -> Tensor:
    """Enlarges maps so that their edges follow those of an image: around each point they are made linear in its brightness.

    Args:
        values: (B, C, h, w).
        guide: (B, 1, H, W), the image's brightness in [0, 1], of any larger size.
        radius: Of the neighbourhoods, in pixels of the values.
        epsilon: Variance of brightness below which the image counts as flat, so that texture does not show in the maps.

    Returns:
        (B, C, H, W).

    Source:
        He, Sun, "Fast Guided Filter" (2015).
    """
    slope, offset = _linear_in(resize_map(guide, values.shape[-2], values.shape[-1]), values, radius, epsilon)
    height, width = guide.shape[-2:]
    return resize_map(offset, height, width).addcmul_(resize_map(slope, height, width), guide)


def guided_detail(values: Tensor, guide: Tensor, radius: int, epsilon: float) -> Tensor:
    """Enlarges maps that are sharp already: only detail finer than their resolution is added from the image.

    Args:
        values: (B, C, h, w), h and w even.
        guide: As `guided_upsample`.
        radius: Of the neighbourhoods, in pixels of half the values' size, where they are fitted.
        epsilon: As `guided_upsample`.

    Returns:
        (B, C, H, W).
    """
    height, width = guide.shape[-2:]
    rows, columns = values.shape[-2:]
    small = resize_map(guide, rows, columns)
    half = rows // 2, columns // 2
    slope, _ = _linear_in(resize_map(small, *half), resize_map(values, *half), radius, epsilon)
    finer = guide - resize_map(small, height, width)
    return torch.addcmul(resize_map(values, height, width), resize_map(slope, height, width), finer)


def _linear_in(guide: Tensor, values: Tensor, radius: int, epsilon: float) -> tuple[Tensor, Tensor]:
    """Slope and offset, smoothed, of the values around each point as a linear function of a guide of the same size."""
    channels = values.shape[1]
    means = box_means(torch.cat((guide, guide * guide, values, guide * values), 1), radius)
    mean_guide, mean_square, mean_values, mean_product = means.split((1, 1, channels, channels), 1)
    variance = torch.addcmul(mean_square, mean_guide, mean_guide, value=-1)
    slope = torch.addcmul(mean_product, mean_guide, mean_values, value=-1).div_(variance.add_(epsilon))
    smooth = box_means(torch.cat((slope, torch.addcmul(mean_values, slope, mean_guide, value=-1)), 1), radius)
    return smooth[:, :channels], smooth[:, channels:]
