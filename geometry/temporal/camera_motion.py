"""Estimates camera motion between two frames as one shift, rotation and zoom of the image."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ...utils import resize_map

# Longer sides of the images compared, coarse to fine, and the steps taken on each.
_LEVELS = (16, 32, 64, 128)
_STEPS = 3
# A movement shorter than this many pixels at the corners is none, nor is one longer than this share of the width, or one that leaves more
# than this share of the difference. Of blurred images: moving an image blurs it, which alone would take noise away.
_SHORTEST, _LONGEST = 0.1, 0.25
_USELESS = 0.9
_DAMPING = 1e-4


def camera_motion(before: Tensor, after: Tensor) -> Tensor:
    """The motion of the image between two frames as one shift, rotation and zoom, robust to objects that move by themselves.

    Args:
        before: (1, 3, H, W) in [0, 1].
        after: The same shape.

    Returns:
        (1, 2, 3) as `F.affine_grid` takes it (corners not aligned): `moved(before, motion)` looks like `after`. The identity where no
        movement makes the images much more alike. The device is not synchronised.

    Source:
        B. Lucas and T. Kanade, "An iterative image registration technique" (1981), coarse to fine; compositional, as S. Baker and
        I. Matthews, "Lucas-Kanade 20 years on" (2004), with the residuals weighted as in `scale_shift.fit_robustly`.
    """
    height, width = after.shape[-2:]
    identity = torch.eye(3, device=after.device)
    motion = identity
    before, after = (each.mean(1, keepdim=True) for each in (before, after))
    pyramid = [_small(before, after, longest) for longest in _LEVELS]
    for first, second in pyramid:
        for _ in range(_STEPS):
            motion = motion @ _step(first, second, motion)
    first, second = (_blurred(_blurred(each)) for each in pyramid[-1])
    unmoved, remaining = (_difference(first, second, each) for each in (identity, motion))
    corner = torch.tensor([[1.0, 1, -1, -1], [1, -1, 1, -1], [1, 1, 1, 1]], device=after.device)
    corner[1] *= height / width
    far = ((motion - identity) @ corner)[:2].square().sum(0).sqrt().amax() * (width / 2)
    good = (remaining < _USELESS * unmoved) & (far > _SHORTEST) & (far < _LONGEST * width)
    return _as_theta(torch.where(good, motion, identity), height, width)


def moved(values: Tensor, motion: Tensor, padding: str = "border") -> Tensor:
    """Maps (1, C, H, W) of one frame where a `camera_motion` has brought them; what comes from outside is the border's, or "zeros"."""
    return sampled(values, sampling_grid(motion, *values.shape[-2:]), padding)


def sampling_grid(motion: Tensor, height: int, width: int) -> Tensor:
    """(1, H, W, 2): where `moved` takes each pixel of a map from. It takes as long as sampling: maps of one size share it."""
    return F.affine_grid(motion, [1, 1, height, width], align_corners=False)


def sampled(values: Tensor, grid: Tensor, padding: str = "border") -> Tensor:
    """`moved` by a `sampling_grid`."""
    return F.grid_sample(values, grid.to(values), mode="bilinear", padding_mode=padding, align_corners=False)


def _small(before: Tensor, after: Tensor, longest: int) -> tuple[Tensor, Tensor]:
    """Both images (1, 1, H, W) with the longer side `longest` at most."""
    height, width = after.shape[-2:]
    scale = min(1.0, longest / max(height, width))
    size = max(4, round(height * scale)), max(4, round(width * scale))
    return resize_map(before, *size), resize_map(after, *size)


def _as_theta(motion: Tensor, height: int, width: int) -> Tensor:
    """A (3, 3) movement in units of half the width, y too, as `F.affine_grid` counts."""
    aspect = torch.ones_like(motion)
    aspect[0, 1], aspect[1, 0], aspect[1, 2] = height / width, width / height, width / height
    return (motion * aspect)[None, :2]


def _blurred(values: Tensor) -> Tensor:
    """By half a pixel there and back: a little more than a movement blurs, and in place."""
    return F.avg_pool2d(F.avg_pool2d(F.pad(values, (1, 1, 1, 1), mode="replicate"), 2, 1), 2, 1)


def _difference(first: Tensor, second: Tensor, motion: Tensor) -> Tensor:
    return (second - moved(first, _as_theta(motion, *second.shape[-2:]))).abs().mean()


def _step(first: Tensor, second: Tensor, motion: Tensor) -> Tensor:
    """(3, 3): a Gauss-Newton step: the small movement that, after `motion`, brings the first image nearer to the second."""
    height, width = second.shape[-2:]
    grid = sampling_grid(_as_theta(motion, height, width), height, width)
    warped, inside = sampled(first, grid), sampled(torch.ones_like(first), grid, "zeros")
    x = ((torch.arange(width, device=second.device) + 0.5) * (2 / width) - 1).expand(height, width)
    y = (((torch.arange(height, device=second.device) + 0.5) - height / 2) * (2 / width))[:, None].expand(height, width)
    padded = F.pad(warped, (1, 1, 1, 1), mode="replicate")[0, 0]
    across, down = (padded[1:-1, 2:] - padded[1:-1, :-2]) * (width / 4), (padded[2:, 1:-1] - padded[:-2, 1:-1]) * (width / 4)
    # Of zoom, turn, shift to the right and shift down.
    slopes = torch.stack((across * x + down * y, down * x - across * y, across, down)).flatten(1)
    residual = (second - warped).flatten()
    typical = (inside.flatten() * residual.abs()).mean() + 1e-4
    weight = inside.flatten() / (1 + (residual / (3 * typical)).square()).square()
    normal = (slopes * weight) @ slopes.T
    normal = normal + _DAMPING * (normal.diagonal().mean() + 1e-6) * torch.eye(4, device=normal.device)
    zoom, turn, right, below = solve_positive_definite(normal, ((slopes * weight) @ residual)[:, None])[:, 0].unbind()
    one, zero = torch.ones_like(zoom), torch.zeros_like(zoom)
    rows = ((one + zoom, -turn, right), (turn, one + zoom, below), (zero, zero, one))
    return torch.stack([torch.stack(row) for row in rows])


def solve_positive_definite(matrix: Tensor, right: Tensor) -> Tensor:
    """The solution of a small, positive definite system, without synchronising the device.

    Args:
        matrix: (N, N).
        right: (N, M): M right sides.

    Returns:
        (N, M).
    """
    size = len(matrix)
    rows = torch.cat((matrix, right), 1)
    for index in range(size):
        row = rows[index] / rows[index, index]
        rows = rows - rows[:, index : index + 1] * row
        rows = torch.cat((rows[:index], row[None], rows[index + 1 :]))
    return rows[:, size:]
