"""Finds planes with many pixels: floors, tables and walls.

Planes of the scene are planes in inverse depth, whatever its scale and shift.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

PLANE_DISTANCE = 0.03
"""Maximum distance of a plane's pixels from it, as a share of the range of inverse depth."""

_MOST_PLANES = 4
_LEAST_SHARE = 0.08  # least share of the searched pixels on a plane
_MOST_BEHIND = 0.3  # largest share of pixels behind a background plane
_FARTHEST = 0.05  # quantile of inverse depth that replaces a background plane where there is none
_TRIALS, _SAMPLES, _AT_ONCE = 1000, 4000, 250  # RANSAC: planes tried, pixels to choose from, planes per batch
# Largest number of refits, as a few would end near the three random pixels, and the change of coefficients below which they end.
_FITS, _STILL = 20, 1e-4


def image_places(height: int, width: int) -> Tensor:
    """(H, W, 3) float64: x and y from -1 to 1, and 1. The inverse depth of a plane with three coefficients is `places @ plane`."""
    v, u = torch.meshgrid(*(torch.linspace(-1, 1, side, dtype=torch.float32, device="cpu") for side in (height, width)), indexing="ij")
    return torch.stack((u, v, torch.ones_like(u)), -1).double()


def largest_plane(places: Tensor, nearness: Tensor, left: Tensor, random: torch.Generator) -> Tensor:
    """The plane with the most pixels (RANSAC), (3,) float64 coefficients of x, y and 1.

    The best of many planes through three pixels, refitted to all its inliers. `nearness` is float64, inverse depth as a share of its range;
    `left` are the pixels to consider, `random` chooses the three pixels of each trial.
    """
    places, nearness, left = places.flatten(0, 1), nearness.flatten(), left.flatten()
    # Each sample is the next considered pixel in a fixed random order, so that adding or removing a pixel changes few samples.
    order = torch.randperm(len(left), generator=random, device="cpu")
    candidates = left[order].nonzero()[:, 0]
    chosen = torch.randint(len(left), (_SAMPLES,), generator=random, device="cpu")
    sample = order[candidates[torch.searchsorted(candidates, chosen) % len(candidates)]]
    threes = sample[torch.randint(_SAMPLES, (_TRIALS, 3), generator=random, device="cpu")]
    corners = places[threes]
    apart = torch.linalg.det(corners).abs() > 0.02
    if not bool(apart.any()):
        apart, corners = torch.ones_like(apart), corners + 0.1 * torch.eye(3, dtype=corners.dtype, device="cpu")
    planes = torch.linalg.solve(corners[apart], nearness[threes[apart]][..., None])[..., 0]
    # Batches small enough for the processor's cache.
    rows = torch.cat((planes, -torch.ones_like(planes[:, :1])), 1).split(_AT_ONCE)
    values = torch.cat((places, nearness[:, None]), 1).T / PLANE_DISTANCE  # (4, N); residuals of pixels on a plane are at most 1
    sampled = values[:, sample]
    disagree = torch.cat([(each @ sampled).clamp_(-1, 1).square_().sum(1) for each in rows])
    plane, steadied = planes[disagree.argmin()], 1e-9 / PLANE_DISTANCE**2 * torch.eye(3, dtype=places.dtype, device="cpu")
    values = values[:, left]
    at, inverse, transposed = values[:3], values[3], values.T
    for _ in range(_FITS):
        weights = (plane @ at).sub_(inverse).square_().add_(1).pow_(-2)
        square, right = ((at * weights) @ transposed).split((3, 1), 1)
        before, plane = plane, torch.linalg.solve(square + steadied, right).flatten()
        if float(torch.dist(plane, before, math.inf)) < _STILL:
            break
    return plane


def above_planes(nearness: Tensor, around: Tensor) -> tuple[Tensor, Tensor]:
    """Measures how far pixels are in front of planes, which are searched `around` (H, W).

    Two maps (H, W) of distances in inverse depth, positive in front. The first: from the closest plane; 1 without planes. The second: the
    least distance from the background planes, which have few pixels behind them, and from the farthest pixels.
    """
    places, random = image_places(*nearness.shape), torch.Generator().manual_seed(0)
    left, least = around.clone(), _LEAST_SHARE * int(around.sum())
    height, raised = torch.ones_like(nearness), nearness - nearness.quantile(_FARTHEST)
    for _ in range(_MOST_PLANES):
        if int(left.sum()) <= least:
            break
        off = (nearness - places @ largest_plane(places, nearness.double(), left, random)).float()
        if int((left & (off.abs() < PLANE_DISTANCE)).sum()) <= least:
            break
        left &= off.abs() >= 1.5 * PLANE_DISTANCE
        height = torch.where(off.abs() < height.abs(), off, height)
        if (off < -PLANE_DISTANCE).float().mean() <= _MOST_BEHIND:
            raised = torch.minimum(raised, off)
    return height, raised
