"""The region of least cost: what each pixel costs, and the length of the border."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def cheapest_region(cost: Tensor, across: Tensor, down: Tensor, start: Tensor, rounds: int) -> Tensor:
    """A minimal cut without a graph: the problem over shares from 0 to 1 is convex, and above a half they are a region of least cost.

    Args:
        cost: (H, W) of taking each pixel in; negative where that is a gain, and infinite where it must stay out.
        across: (H, W - 1), not negative, of a border between a pixel and the one to its right.
        down: (H - 1, W), between a pixel and the one below.
        start: (H, W) in [0, 1], shares to begin with.
        rounds: How many steps.

    Returns:
        (H, W) shares in [0, 1].

    Source:
        M. Nikolova et al., "Algorithms for Finding Global Minimizers of Image Segmentation and Denoising Models" (2006); the steps are
        those of A. Chambolle and T. Pock, "A First-Order Primal-Dual Algorithm for Convex Problems" (2011).
    """
    right, below = torch.zeros_like(across), torch.zeros_like(down)
    step = 1 / math.sqrt(8)  # the norm of the differences
    share = ahead = start
    for _ in range(rounds):
        right = torch.clamp(right + step * ahead.diff(dim=1), -across, across)
        below = torch.clamp(below + step * ahead.diff(dim=0), -down, down)
        flow = F.pad(right, (0, 1)) - F.pad(right, (1, 0)) + F.pad(below, (0, 0, 0, 1)) - F.pad(below, (0, 0, 1, 0))
        new = (share + step * (flow - cost)).clamp(0, 1)
        ahead, share = 2 * new - share, new
    return share
