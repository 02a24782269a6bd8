"""Minimum-cost regions, with a cost per pixel plus the length of the border, and cheapest-path distances of pixels."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def cheapest_region(cost: Tensor, across: Tensor, down: Tensor, start: Tensor, rounds: int) -> Tensor:
    """A minimum cut without a graph: the relaxation to shares from 0 to 1 is convex, and thresholding at a half gives an optimal region.

    Args:
        cost: (H, W), cost of including each pixel; negative = gain, infinite = excluded.
        across: (H, W - 1), 0 or more: cost of a border between a pixel and the one to its right.
        down: (H - 1, W), 0 or more: cost of a border between a pixel and the one below.
        start: (H, W) in [0, 1], initial shares.
        rounds: Number of steps.

    Returns:
        (H, W) shares in [0, 1].

    Source:
        M. Nikolova et al., "Algorithms for Finding Global Minimizers of Image Segmentation and Denoising Models" (2006); the steps are
        those of A. Chambolle and T. Pock, "A First-Order Primal-Dual Algorithm for Convex Problems" (2011).
    """
    # Thousands of operations on small maps: numpy's overhead is a fraction of torch's, with preallocated memory.
    own, most_right, most_below, share = (values.float().cpu().numpy() for values in (cost, across, down, start))
    right, below, rise_right, rise_below = (np.zeros_like(each) for each in (most_right, most_below) * 2)
    least_right, least_below = -most_right, -most_below
    flow, ahead, share = np.zeros_like(own), share.copy(), share.copy()
    step = np.float32(1 / math.sqrt(8))  # the norm of the differences
    for _ in range(rounds):
        for border, rise, axis, least, most in (
            (right, rise_right, 1, least_right, most_right),
            (below, rise_below, 0, least_below, most_below),
        ):
            after, before = (ahead[:, 1:], ahead[:, :-1]) if axis else (ahead[1:], ahead[:-1])
            np.subtract(after, before, out=rise)
            np.multiply(rise, step, out=rise)
            np.add(border, rise, out=border)
            np.maximum(border, least, out=border)
            np.minimum(border, most, out=border)
        flow.fill(0)
        flow[:, :-1] += right
        flow[:, 1:] -= right
        flow[:-1] += below
        flow[1:] -= below
        np.subtract(flow, own, out=flow)
        np.multiply(flow, step, out=flow)
        np.add(flow, share, out=flow)
        np.maximum(flow, 0, out=flow)
        np.minimum(flow, 1, out=flow)
        np.multiply(flow, 2, out=ahead)
        np.subtract(ahead, share, out=ahead)
        flow, share = share, flow
    return torch.from_numpy(share)


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
