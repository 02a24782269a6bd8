"""Maps enlarged along the edges of their picture."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from ..utils import resize_map


def guided_upsample(values: Tensor, guide: Tensor, radius: int, epsilon: float) -> Tensor:
    """Enlarges maps so that their edges follow those of a picture: around each point they are made linear in its brightness.

    Args:
        values: (B, C, h, w).
        guide: (B, 1, H, W), the picture's brightness in [0, 1], of any larger size.
        radius: Of the neighbourhoods, in pixels of the values.
        epsilon: Variance of brightness below which the picture is taken for flat: its texture leaves no trace.

    Returns:
        (B, C, H, W).

    Source:
        He, Sun, "Fast Guided Filter" (2015).
    """
    slope, offset = _linear_in(F.interpolate(guide, size=values.shape[-2:], mode="area"), values, radius, epsilon)
    height, width = guide.shape[-2:]
    return resize_map(slope, height, width) * guide + resize_map(offset, height, width)


def guided_detail(values: Tensor, guide: Tensor, radius: int, epsilon: float) -> Tensor:
    """Enlarges maps that are sharp already: they only gain what the picture shows finer than they are.

    Args:
        values: (B, C, h, w), h and w even.
        guide: As `guided_upsample`.
        radius: Of the neighbourhoods, in pixels of half the values' size, where they are fitted.
        epsilon: As `guided_upsample`.

    Returns:
        (B, C, H, W).
    """
    height, width = guide.shape[-2:]
    small = F.interpolate(guide, size=values.shape[-2:], mode="area")
    slope, _ = _linear_in(F.avg_pool2d(small, 2), F.avg_pool2d(values, 2), radius, epsilon)
    return resize_map(values, height, width) + resize_map(slope, height, width) * (guide - resize_map(small, height, width))


def _linear_in(guide: Tensor, values: Tensor, radius: int, epsilon: float) -> tuple[Tensor, Tensor]:
    """Slope and offset, smoothed, of the values around each point as a linear function of a guide of the same size."""

    def mean(x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 2 * radius + 1, 1, radius, count_include_pad=False)

    mean_guide, mean_values = mean(guide), mean(values)
    slope = (mean(guide * values) - mean_guide * mean_values) / (mean(guide * guide) - mean_guide**2 + epsilon)
    return mean(slope), mean(mean_values - slope * mean_guide)
