"""Removes the lines that the zero padding of convolutions leaves along the borders of a network's maps."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# Where smoothing moves a pixel farther than this, there is an edge of the scene: of depth in units of its mean absolute deviation.
_EDGE = 0.1
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


_PASSES = (_straightening(8, 100), _straightening(14, 2000))


def without_border_lines(maps: Tensor, edge: float = _EDGE) -> Tensor:
    """Smooths a network's maps across their borders, where the padding of convolutions leaves lines, each channel by itself.

    Two passes: over the outermost 8 pixels, then, stiffer, over the outermost 14. The rest does not change. Where smoothing would move a
    pixel far, there is an edge of the scene: it stays.

    Args:
        maps: (B, C, H, W) float32; H and W at least 28.
        edge: How far that is; the default is one for depth in units of its mean absolute deviation.
    """
    for weights in _PASSES:
        for axis in (-2, -1):
            maps = _smoothed_ends(maps, torch.tensor(weights, dtype=maps.dtype, device=maps.device), edge, axis)
    return maps


def _smoothed_ends(maps: Tensor, weights: Tensor, edge: float, axis: int) -> Tensor:
    """Maps whose first and last rows, or columns, are smoothed by `_straightening`'s weights."""
    rows, taps = weights.shape
    length = maps.shape[axis]
    ends = torch.cat((maps.narrow(axis, 0, taps), maps.narrow(axis, length - taps, taps).flip(axis)), 1)
    is_upright, window = axis == -2, 2 * _ALONG + 1
    change = weights @ ends if is_upright else ends @ weights.mT
    change = change / (1 + (change.abs().amax(axis, keepdim=True) / edge) ** 2)
    kernel, padding = ((1, window), (0, _ALONG)) if is_upright else ((window, 1), (_ALONG, 0))
    first, last = F.avg_pool2d(change, kernel, 1, padding, count_include_pad=False).chunk(2, 1)
    changed = maps.narrow(axis, 0, rows) + first, maps.narrow(axis, length - rows, rows) + last.flip(axis)
    return torch.cat((changed[0], maps.narrow(axis, rows, length - 2 * rows), changed[1]), axis)
