"""Cheapest-path distances of pixels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_MOST_TURNS = 500  # of a path; more than a maze of the size of a small image has


def path_costs(start: Tensor, across: Tensor, down: Tensor) -> Tensor:
    """The cost of the cheapest path to each pixel, by steps to the pixels above, below, left and right.

    Args:
        start: (H, W) bool, where paths begin.
        across: (H, W - 1), 0 or more: cost of a step between a pixel and the one to its right.
        down: (H - 1, W), 0 or more: cost of a step between a pixel and the one below.

    Returns:
        (H, W) float64; infinite everywhere without a start.
    """
    costs = torch.zeros(start.shape, dtype=torch.float64, device=start.device).masked_fill(~start, torch.inf)
    if not bool(start.any()):
        return costs
    costs = costs.clamp(max=1e12)  # differences of infinite values are NaN
    lines = ((1, F.pad(across.double(), (1, 0)).cumsum(1)), (0, F.pad(down.double(), (0, 0, 1, 0)).cumsum(0)))
    for _ in range(_MOST_TURNS):
        before = costs
        for dim, line in lines:
            costs = line + (costs - line).cummin(dim).values
            back = line.flip(dim)
            costs = ((costs.flip(dim) + back).cummin(dim).values - back).flip(dim)
        costs = torch.minimum(costs, before)
        if bool((before - costs).amax() <= 1e-6):
            break
    return costs
