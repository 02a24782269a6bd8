"""Removes the lines that the zero padding of convolutions leaves along the borders of a depth map."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_EDGE = 0.1  # of the map's mean absolute deviation: where smoothing moves a pixel farther than this, there is an edge of the scene
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


def without_border_lines(depth: Tensor) -> Tensor:
    """Smooths a network's depth across its borders, where the padding of convolutions leaves lines. Normals of the depth show these.

    Two passes: over the outermost 8 pixels, then, stiffer, over the outermost 14. The rest does not change. Where smoothing would move a
    pixel far, there is an edge of the scene: it stays.

    Args:
        depth: (B, 1, H, W) float32, in units of its mean absolute deviation; H and W at least 28.
    """
    for weights in _PASSES:
        for _ in range(2):  # the upper and the lower border, then of the transposed map the left and the right one
            depth = _smoothed_ends(depth, torch.tensor(weights, dtype=depth.dtype, device=depth.device)).mT
    return depth.contiguous()


def _smoothed_ends(depth: Tensor, weights: Tensor) -> Tensor:
    """Depth whose first and last rows are smoothed by `_straightening`'s weights."""
    rows, taps = weights.shape
    change = weights @ torch.cat((depth[..., :taps, :], depth[..., -taps:, :].flip(-2)), 1)
    change = change / (1 + (change.abs().amax(-2, keepdim=True) / _EDGE) ** 2)
    change = F.avg_pool2d(change, (1, 2 * _ALONG + 1), 1, (0, _ALONG), count_include_pad=False)
    first, last = change.split(1, 1)
    middle = depth[..., rows:-rows, :]
    return torch.cat((depth[..., :rows, :] + first, middle, depth[..., -rows:, :] + last.flip(-2)), -2)
