"""Removes the lines that the zero padding of convolutions leaves along the borders of a network's maps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ...utils import constant

EDGE = 0.1
"""Where smoothing moves depth farther than this, in units of its mean absolute deviation, there is an edge of the scene."""
_ALONG = 4  # pixels to each side, along the border, over which changes are averaged


def _straightening(rows: int, stiffness: float) -> list[list[float]]:
    """(rows, rows + 2): the changes of the outermost rows that smooth them, for the values of these and of the next two rows.

    The smoothed rows minimise the squared changes and `stiffness` times the squared second differences; the next two rows do not change.

    Source:
        Whittaker, "On a New Method of Graduation" (1923).
    """
    taps = rows + 2
    identity = torch.eye(taps, dtype=torch.float64, device="cpu")
    second = identity[:-2] - 2 * identity[1:-1] + identity[2:]
    cost = identity + stiffness * second.mT @ second
    fixed = torch.cat((identity[:rows, :rows], -cost[:rows, rows:]), 1)
    return (torch.linalg.solve(cost[:rows, :rows], fixed) - identity[:rows]).tolist()


def _of_both_ends(weights: list[list[float]]) -> tuple[tuple[float, ...], ...]:
    """The weights for the first rows, and mirrored for the last ones, as one matrix (2 * rows, 2 * taps)."""
    taps = len(weights[0])
    return (*((*row, *(0.0,) * taps) for row in weights), *((*(0.0,) * taps, *reversed(row)) for row in reversed(weights)))


_PASSES = tuple(_of_both_ends(_straightening(rows, stiffness)) for rows, stiffness in ((8, 100), (14, 2000)))


def without_border_lines(maps: Tensor, edges: float | Sequence[float] = EDGE) -> Tensor:
    """Smooths a network's maps across their borders, where the padding of convolutions leaves lines, each channel by itself.

    Two passes: over the outermost 8 pixels, then, stiffer, over the outermost 14. The rest does not change. Where smoothing would move a
    pixel far, there is an edge of the scene: it stays.

    Args:
        maps: (B, C, H, W) float32; H and W at least 28.
        edges: How far that is, of all channels or of each; the default is one for depth in units of its mean absolute deviation.
    """
    each = (float(edges),) if isinstance(edges, (int, float)) else tuple(edges)
    per_edge = constant(maps, tuple(1 / edge for edge in each)).view(-1, 1, 1, 1)
    smoothed = maps.clone()
    for weights in _PASSES:
        for axis in (-2, -1):
            smoothed = _with_smoothed_ends(smoothed, constant(maps, weights), per_edge, axis)
    return smoothed


def _with_smoothed_ends(maps: Tensor, weights: Tensor, per_edge: Tensor, axis: int) -> Tensor:
    """Maps whose first and last rows, or columns, are smoothed by `_of_both_ends`' weights; in the memory of the given ones."""
    rows, taps = (side // 2 for side in weights.shape)
    length = maps.shape[axis]
    ends = torch.cat((maps.narrow(axis, 0, taps), maps.narrow(axis, length - taps, taps)), axis)
    change = (weights @ ends if axis == -2 else ends @ weights.mT).unflatten(axis, (2, rows))
    far = change.abs().amax(axis, keepdim=True) * per_edge
    change = change / torch.addcmul(constant(far, 1.0), far, far)
    window = 2 * _ALONG + 1
    kernel, padding = ((1, window), (0, _ALONG)) if axis == -2 else ((window, 1), (_ALONG, 0))
    change = F.avg_pool2d(change.flatten(axis - 1, axis), kernel, 1, padding, count_include_pad=False)
    first, last = change.chunk(2, axis)
    maps.narrow(axis, 0, rows).add_(first)
    maps.narrow(axis, length - rows, rows).add_(last)
    return maps
