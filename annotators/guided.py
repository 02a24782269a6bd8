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
    small = F.interpolate(guide, size=values.shape[-2:], mode="area")

    def mean(x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 2 * radius + 1, 1, radius, count_include_pad=False)

    mean_small, mean_values = mean(small), mean(values)
    slope = (mean(small * values) - mean_small * mean_values) / (mean(small * small) - mean_small**2 + epsilon)
    offset = mean_values - slope * mean_small
    height, width = guide.shape[-2:]
    return resize_map(mean(slope), height, width) * guide + resize_map(mean(offset), height, width)
