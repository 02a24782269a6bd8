"""Recovers the camera of a point map with unknown shift in depth."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..checks import check_map, check_mask

SAMPLED = 64
"""The camera is found from a grid of SAMPLED x SAMPLED points."""
_LEAST_POINTS = 2  # of them must be valid
# Levenberg-Marquardt: rounds, initial damping, its factors after success and failure, and the relative error reduction below which it
# stops. Without this limit, point maps that fit no camera would be moved to infinity.
_ROUNDS = 32
_FIRST_DAMPING, _EASED, _TIGHTENED = 1e-3, 0.1, 10.0
_WORTHWHILE = 1e-3
# Minimum relative variation of depth that determines the shift.
_FRONTAL = 1e-4


def find_focal_and_shift(
    points: Tensor, plane: Tensor, mask: Tensor | None = None, focal_length: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Finds the focal length and depth shift that project a point map onto its own pixels.

    Minimises the sum of |f * (x, y) / (z + s) - (u, v)|^2 over 64 x 64 points. The best focal length for each shift is known in closed
    form, so only the shift is searched: on the CPU, in float64, because a thousand small steps are as slow as large ones on a GPU.

    Args:
        points: (B, 3, H, W) in OPENCV axes; z > 0 where the mask is set.
        plane: (1, 2, H, W), u and v of each pixel, on the same device; the focal length has its unit.
        mask: (B, 1, H, W) bool; None = True everywhere.
        focal_length: (B,), if known.

    Returns:
        Focal length and shift, (B,) float32 each, on the CPU. NaN and 0 with fewer than two valid points or if no positive focal length
        fits. The device is synchronised once.

    Raises:
        ValueError: Shapes that do not fit.

    Source:
        The problem: Wang et al., "MoGe" (2024), whose code minimises it with MINPACK. Solving for the focal length within the search:
        Golub and Pereyra, "The differentiation of pseudo-inverses and nonlinear least squares problems" (1973).
    """
    check_map(points, 3, "points")
    check_map(plane.expand(points.shape[0], -1, -1, -1), 2, "plane", points)
    check_mask(mask, points[:, :1])
    valid = torch.ones_like(points[:, :1]) if mask is None else mask.to(points.dtype)
    parts = (sampled(points), sampled(plane).expand(len(points), -1, -1, -1), sampled(valid))
    sample = torch.cat(parts, 1).cpu().flatten(2).double()
    valid = sample[:, 5:] > 0
    # Invalid pixels may hold anything, infinity included, and must not enter the sums.
    xy, z, uv = (torch.where(valid, part, neutral) for part, neutral in ((sample[:, :2], 0), (sample[:, 2:3], 1), (sample[:, 3:5], 0)))
    known_focal = None if focal_length is None else focal_length.cpu().double()[:, None, None]
    focal, shift = _search(xy, z, uv, z.amin(2, keepdim=True), known_focal)
    solved = (valid.sum((1, 2)) >= _LEAST_POINTS) & torch.isfinite(focal) & torch.isfinite(shift) & (focal > 0)
    return torch.where(solved, focal, torch.nan).float(), torch.where(solved, shift, 0).float()


def sampled(maps: Tensor) -> Tensor:
    """Samples maps (B, C, H, W) to (B, C, SAMPLED, SAMPLED)."""
    return maps if maps.shape[-2:] == (SAMPLED, SAMPLED) else F.interpolate(maps, size=(SAMPLED, SAMPLED), mode="nearest")


def _search(xy: Tensor, z: Tensor, uv: Tensor, nearest: Tensor, known: Tensor | None) -> tuple[Tensor, Tensor]:
    """Focal length and shift (B,) of points (B, 2 and 1, N). The shift stays above `-nearest`, the least z."""
    shift, damping = torch.zeros_like(nearest), torch.full_like(nearest, _FIRST_DAMPING)
    going_on = torch.ones_like(nearest, dtype=torch.bool)
    # A frontal wall fits any shift: a derivative of mere rounding must not move it.
    least = _FRONTAL**2 * _dot(uv, uv) / nearest.square()
    focal, residual, slope = _residual(xy, z, uv, shift, known)
    for _ in range(_ROUNDS):
        step = -_dot(residual, slope) / (_dot(slope, slope) * (1 + damping) + least)
        # Points in the camera's plane have no projection: go at most half of the way there in one step.
        tried = torch.maximum(shift + step, (shift - nearest) / 2)
        tried_focal, tried_residual, tried_slope = _residual(xy, z, uv, tried, known)
        error, tried_error = _dot(residual, residual), _dot(tried_residual, tried_residual)
        better = going_on & (tried_error < error)
        going_on &= ~better | (tried_error < (1 - _WORTHWHILE) * error)
        damping = damping * torch.where(better, _EASED, _TIGHTENED)
        shift, focal = torch.where(better, tried, shift), torch.where(better, tried_focal, focal)
        residual, slope = torch.where(better, tried_residual, residual), torch.where(better, tried_slope, slope)
        if not going_on.any():
            break
    return focal[:, 0, 0], shift[:, 0, 0]


def _residual(xy: Tensor, z: Tensor, uv: Tensor, shift: Tensor, known: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """The focal length, the reprojection error of each point (B, 2, N), and its derivative by the shift."""
    projected = xy / (z + shift)
    change = -projected / (z + shift)
    if known is not None:
        return known, known * projected - uv, known * change
    square = _dot(projected, projected)
    focal = _dot(projected, uv) / square
    focal_change = (_dot(change, uv) - 2 * focal * _dot(projected, change)) / square
    return focal, focal * projected - uv, focal_change * projected + focal * change


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum((1, 2), keepdim=True)
