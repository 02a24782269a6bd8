"""Depth edges: where one thing ends before another, and ramps there made steps again."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .checks import check_depth

EDGE = 1.05
"""Neighbours whose depths differ by more than this factor are different things: nothing is stretched between them."""


def sharpen_depth_edges(depth: Tensor, radius: int, growth: int = 0) -> Tensor:
    """Makes steps of the ramps between near and far things. Networks and resizing turn steps into ramps.

    Args:
        depth: (B, 1, H, W), positive and finite.
        radius: Half the width in pixels of the ramps that are steepened.
        growth: By how many pixels near things grow at their edges, so that the picture's mixed colours there move with them.

    Returns:
        (B, 1, H, W) of values of `depth`; slopes of surfaces stay as they are.

    Raises:
        ValueError: Not (B, 1, H, W), or depth that is not positive and finite.
    """
    check_depth(depth)
    inverse = 1 / depth
    low, high = -largest_within(-inverse, radius), largest_within(inverse, radius)
    wide_span = largest_within(inverse, 2 * radius) + largest_within(-inverse, 2 * radius)
    # A window twice as wide sees twice the span of a slope, but no more of a ramp that the window holds already.
    ramp = (high > low * EDGE) & (wide_span < 1.5 * (high - low))
    inverse = torch.where(ramp, torch.where(inverse - low > high - inverse, high, low), inverse)
    grown = largest_within(inverse, growth)
    return 1 / torch.where(grown > inverse * EDGE, grown, inverse)


def largest_within(values: Tensor, radius: int) -> Tensor:
    """The largest value in a square around every pixel.

    Args:
        values: (B, C, H, W).
        radius: The square reaches this many pixels in each direction; 0 = the pixel itself.

    Returns:
        (B, C, H, W); at the border, of the pixels that there are.
    """
    size = 2 * radius + 1
    rows = F.max_pool2d(values, (size, 1), stride=1, padding=(radius, 0))
    return F.max_pool2d(rows, (1, size), stride=1, padding=(0, radius))
