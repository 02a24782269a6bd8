"""Sums and extremes of squares by a GPU's pooling: one or two launches, where doubling windows takes dozens."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

# How many values are read at most where all of a square are, in the time of about one launch more, and the widest line that is.
_READ_AT_ONCE, _WIDEST = 1 << 24, 64


def is_pooled(values: Tensor, radius: int) -> bool:
    """Whether `pooled` is the faster way: off the CPU, unless windows are so wide that reading them takes longer than launches do."""
    return values.device.type != "cpu" and radius <= _WIDEST


def pooled(pool: Callable[..., Tensor], values: Tensor, radius: int) -> Tensor:
    """Pools the square around every pixel of maps (B, C, H, W), a large one along rows and then along columns."""
    size = 2 * radius + 1
    if radius <= 2 or values.numel() * size**2 <= _READ_AT_ONCE:
        return pool(values, size, stride=1, padding=radius)
    along = pool(values, (1, size), stride=1, padding=(0, radius))
    return pool(along, (size, 1), stride=1, padding=(radius, 0))
