"""Estimates camera motion between two frames as one shift, rotation and zoom of the image."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ...utils import brightness, resize_map

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
    pyramid = _pyramid(brightness(before), brightness(after))
    for first, second in pyramid:
        step = _Step(first, second)
        for _ in range(_STEPS):
            motion = motion @ step.after(motion)
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
    # As F.affine_grid, whose product of matrices takes a CPU four times as long.
    (a, b, c), (d, e, f) = (row.unbind() for row in motion[0].unbind())
    x, y = (torch.arange(1 - side, side, 2, device=motion.device) / side for side in (width, height))
    grid = motion.new_empty(1, height, width, 2)
    torch.add(x * a, (y * b + c)[:, None], out=grid[0, ..., 0])
    torch.add(x * d, (y * e + f)[:, None], out=grid[0, ..., 1])
    return grid


def sampled(values: Tensor, grid: Tensor, padding: str = "border") -> Tensor:
    """`moved` by a `sampling_grid`."""
    return F.grid_sample(values, grid.to(values), mode="bilinear", padding_mode=padding, align_corners=False)


def _pyramid(before: Tensor, after: Tensor) -> list[tuple[Tensor, ...]]:
    """Both images (1, 1, H, W) with the longer side of `_LEVELS` at most; each size is averaged from the next larger one."""
    height, width = after.shape[-2:]
    images, pyramid = torch.cat((before, after)), []
    for longest in reversed(_LEVELS):
        scale = min(1.0, longest / max(height, width))
        images = resize_map(images, max(4, round(height * scale)), max(4, round(width * scale)))
        pyramid.append(images.split(1))
    return pyramid[::-1]


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


class _Step:
    """Gauss-Newton steps between two images (1, 1, H, W)."""

    def __init__(self, first: Tensor, second: Tensor) -> None:
        height, width = second.shape[-2:]
        self._first, self._second, self._everywhere = first, second, torch.ones_like(first)
        self._x = ((torch.arange(width, device=second.device) + 0.5) * (2 / width) - 1).expand(height, width)
        self._y = (((torch.arange(height, device=second.device) + 0.5) - height / 2) * (2 / width))[:, None].expand(height, width)
        self._places = torch.stack((self._x, self._y, torch.ones_like(self._x))).flatten(1)
        self._sides = second.new_tensor((1, width / height))[:, None]
        identity = torch.eye(4, device=second.device)
        self._damping = _DAMPING * identity
        # What a step of a unit of zoom, turn, shift to the right and shift down adds to the identity.
        zoom, turn = torch.diag(identity.new_tensor((1.0, 1, 0))), identity.new_tensor(((0.0, -1, 0), (1, 0, 0), (0, 0, 0)))
        right, below = identity.new_tensor(((0.0, 0, 1), (0, 0, 0), (0, 0, 0))), identity.new_tensor(((0.0, 0, 0), (0, 0, 1), (0, 0, 0)))
        self._units = torch.stack((zoom, turn, right, below), -1)
        self._none = identity[:3, :3]

    def after(self, motion: Tensor) -> Tensor:
        """(3, 3): the small movement that, after `motion`, brings the first image nearer to the second."""
        height, width = self._second.shape[-2:]
        grid = ((self._sides * motion[:2]) @ self._places).T.view(1, height, width, 2)
        warped, inside = sampled(self._first, grid), sampled(self._everywhere, grid, "zeros").flatten()
        padded = F.pad(warped, (1, 1, 1, 1), mode="replicate")[0, 0]
        across, down = (padded[1:-1, 2:] - padded[1:-1, :-2]) * (width / 4), (padded[2:, 1:-1] - padded[:-2, 1:-1]) * (width / 4)
        x, y = self._x, self._y
        slopes = torch.stack((across * x + down * y, down * x - across * y, across, down)).flatten(1)
        residual = (self._second - warped).flatten()
        typical = (inside * residual.abs()).mean() + 1e-4
        weighted = slopes * (inside / (1 + (residual / (3 * typical)).square()).square())
        normal = weighted @ slopes.T
        normal = normal + (normal.diagonal().mean() + 1e-6) * self._damping
        return self._none + self._units @ solve_positive_definite(normal, (weighted @ residual)[:, None])[:, 0]


def solve_positive_definite(matrix: Tensor, right: Tensor) -> Tensor:
    """The solution of a small, positive definite system, without synchronising the device.

    Args:
        matrix: (N, N).
        right: (N, M): M right sides.

    Returns:
        (N, M).
    """
    if matrix.device.type == "cpu":
        return torch.linalg.solve_ex(matrix, right).result  # a fifteenth of the time
    size = len(matrix)
    rows = torch.cat((matrix, right), 1)
    for index in range(size):
        row = rows[index] / rows[index, index]
        rows = rows - rows[:, index : index + 1] * row
        rows = torch.cat((rows[:index], row[None], rows[index + 1 :]))
    return rows[:, size:]
