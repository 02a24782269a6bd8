"""Maps of highlights, which are smaller than the image: one value for a square of pixels."""

from __future__ import annotations

from torch import Tensor

from ..edges.depth_edges import edge_radius


def pitch_of(height: int, width: int) -> int:
    """How many pixels of an image of that size the values of such a map lie apart."""
    return max(1, edge_radius(height, width) // 3)


def middles_of(values: Tensor, pitch: int) -> Tensor:
    """The middles of squares of pixels, of maps (B, C, H, W) that may be empty."""
    row, column = (max(0, min(pitch // 2, length - 1)) for length in values.shape[-2:])
    return values[..., row::pitch, column::pitch]
