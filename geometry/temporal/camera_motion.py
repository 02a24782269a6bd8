"""Estimates camera motion between two frames as one shift, rotation and zoom of the image."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ...utils import brightness, kept_for_sizes, resize_map, sample_at, sent_to, without_autocast

# Longer sides of the compared images, coarse to fine, and the largest number of steps at each size.
_LEVELS = (16, 32, 64, 128)
_STEPS = 3
# A step shorter than this, in pixels of such an image, is the last one.
_SETTLED = 0.02
# Motions are rejected if they are shorter than this many pixels at the corners, longer than this share of the width, or leave more than
# this share of the difference. Differences are those of blurred images, as warping blurs, which alone would reduce noise.
_SHORTEST, _LONGEST = 0.1, 0.25
_USELESS = 0.9
_DAMPING = 1e-4


@torch.no_grad()
@without_autocast
def camera_motion(before: Tensor, after: Tensor, start: Tensor | None = None) -> Tensor:
    """The global motion between frames (1, 3, H, W): one shift, rotation and zoom, robust to independently moving objects.

    Args:
        before, after: (1, 3, H, W) in [0, 1].
        start: An initial motion, such as the motion between two similar images; then only the finest level is searched. None = unknown.

    Returns:
        (1, 2, 3) as for `F.affine_grid` (`align_corners=False`): `moved(before, motion)` looks like `after`. The identity if no motion
        makes the images much more similar. Thumbnails are compared on the CPU, with one synchronisation of a GPU.

    Source:
        B. Lucas and T. Kanade, "An iterative image registration technique" (1981), coarse to fine; compositional, as S. Baker and I.
        Matthews, "Lucas-Kanade 20 years on" (2004), with the residuals weighted as in `scale_shift.fit_robustly`.
    """
    height, width = after.shape[-2:]
    pyramid = _pyramid(brightness(before), brightness(after), _LEVELS if start is None else _LEVELS[-1:])
    identity = torch.eye(3, dtype=torch.float32, device="cpu")
    motion = identity if start is None else _rescaled(square(start.cpu())[0], width, height)
    for first, second in pyramid:
        step = _Step(first, second)
        for _ in range(_STEPS):
            change = step.after(motion)
            motion = motion @ change
            if (change - identity).abs().amax() < 2 * _SETTLED / second.shape[-1]:
                break
    first, second = _blurred(_blurred(torch.cat(pyramid[-1]))).split(1)
    warped = moved(first, _as_theta(motion, *second.shape[-2:]))
    unmoved, remaining = ((second - each).abs_().mean() for each in (first, warped))
    # Homogeneous, in units of half the width.
    corner = identity.new_tensor([[1, 1, -1, -1], [sign * height / width for sign in (1, -1, 1, -1)], [1, 1, 1, 1]])
    far = ((motion - identity) @ corner)[:2].square().sum(0).sqrt().amax() * (width / 2)
    good = (remaining < _USELESS * unmoved) & (far > _SHORTEST) & (far < _LONGEST * width)
    return sent_to(after.device, _as_theta(torch.where(good, motion, identity), height, width))


def moved(values: Tensor, motion: Tensor, padding: str = "border") -> Tensor:
    """Warps maps (1, C, H, W) of one frame by a `camera_motion`; `padding` is "border" or "zeros"."""
    return sampled(values, sampling_grid(motion, *values.shape[-2:]), padding)


def sampling_grid(motion: Tensor, height: int, width: int) -> Tensor:
    """(1, H, W, 2): the sampling grid of `moved`. As expensive as sampling: maps of one size share it."""
    # Like F.affine_grid, whose matrix product takes a CPU four times as long.
    (a, b, c), (d, e, f) = (row.unbind() for row in motion[0].unbind())
    x, y = (torch.arange(1 - side, side, 2, dtype=torch.float32, device=motion.device) / side for side in (width, height))
    grid = motion.new_empty(1, height, width, 2)
    torch.add(x * a, (y * b + c)[:, None], out=grid[0, ..., 0])
    torch.add(x * d, (y * e + f)[:, None], out=grid[0, ..., 1])
    return grid


def sampled(values: Tensor, grid: Tensor, padding: str = "border") -> Tensor:
    """`moved` by a `sampling_grid`."""
    if padding == "border":
        return sample_at(values, grid.to(values))
    return F.grid_sample(values, grid.to(values), mode="bilinear", padding_mode=padding, align_corners=False)


def _pyramid(before: Tensor, after: Tensor, levels: tuple[int, ...]) -> list[tuple[Tensor, ...]]:
    """Both images (1, 1, H, W) at the longer sides `levels`, at most, on the CPU; each size is averaged from the next larger one."""
    height, width = after.shape[-2:]
    images, pyramid = torch.cat((before, after)), []
    for longest in reversed(levels):
        scale = min(1.0, longest / max(height, width))
        images = resize_map(images, max(4, round(height * scale)), max(4, round(width * scale))).cpu()
        pyramid.append(images.split(1))
    return pyramid[::-1]


def _as_theta(motion: Tensor, height: int, width: int) -> Tensor:
    """Converts a (3, 3) motion in units of half the width (y too) to `F.affine_grid`'s units."""
    return _rescaled(motion, height, width)[None, :2]


def _rescaled(motion: Tensor, height: int, width: int) -> Tensor:
    """Converts the y axis of a (3, 3) motion from units of half the width to units of half the height; with swapped sizes, back."""
    across, down = height / width, width / height
    return motion * motion.new_tensor(((1, across, 1), (down, 1, down), (1, 1, 1)))


def square(motion: Tensor) -> Tensor:
    """Extends (1, 2, 3) to (1, 3, 3), so that motions can be multiplied."""
    return torch.cat((motion, torch.eye(3, dtype=motion.dtype, device=motion.device)[None, 2:]), 1)


def _blurred(values: Tensor) -> Tensor:
    """Blurs like a shift by half a pixel and back, which is slightly more than a warp."""
    padded = F.pad(values, (1, 1, 1, 1), mode="replicate")
    across = padded[..., :-2].add(padded[..., 2:]).add_(padded[..., 1:-1], alpha=2)
    return across[..., :-2, :].add(across[..., 2:, :]).add_(across[..., 1:-1, :], alpha=2).div_(16)


class _Places(NamedTuple):
    """Constants of the steps between images of one size.

    Attributes:
        x, y: (H, W) coordinates of the pixels in units of half the width.
        pixels: (3, H * W): x, y and 1.
        sides: (2, 1) factors from these units to those of `F.grid_sample`.
        units: (3, 3, 4): the change of the matrix per unit of zoom, rotation, shift to the right and shift down.
        damping: (4, 4) regularisation.
        identity: (3, 3).
    """

    x: Tensor
    y: Tensor
    pixels: Tensor
    sides: Tensor
    units: Tensor
    damping: Tensor
    identity: Tensor


@kept_for_sizes
def _places(height: int, width: int, device: torch.device) -> _Places:
    columns, rows = (torch.arange(side, dtype=torch.float32, device=device) + 0.5 for side in (width, height))
    x = (columns * (2 / width) - 1).repeat(height, 1)
    y = ((rows - height / 2) * (2 / width))[:, None].repeat(1, width)
    identity = torch.eye(4, dtype=torch.float32, device=device)
    zoom, turn = torch.diag(identity.new_tensor((1.0, 1, 0))), identity.new_tensor(((0.0, -1, 0), (1, 0, 0), (0, 0, 0)))
    right, below = identity.new_tensor(((0.0, 0, 1), (0, 0, 0), (0, 0, 0))), identity.new_tensor(((0.0, 0, 0), (0, 0, 1), (0, 0, 0)))
    return _Places(
        x,
        y,
        torch.stack((x, y, torch.ones_like(x))).flatten(1),
        x.new_tensor((1, width / height))[:, None],
        torch.stack((zoom, turn, right, below), -1),
        _DAMPING * identity,
        identity[:3, :3].clone(),
    )


class _Step:
    """Gauss-Newton steps between two images (1, 1, H, W)."""

    def __init__(self, first: Tensor, second: Tensor) -> None:
        self._first, self._second, self._everywhere = first, second[0, 0], torch.ones_like(first)
        self._places = _places(second)
        # Derivatives by zoom, rotation and both shifts, and the residual.
        self._rows = first.new_empty(5, *second.shape[-2:])

    @without_autocast
    def after(self, motion: Tensor) -> Tensor:
        """(3, 3): the small motion that, after `motion`, brings the first image closer to the second."""
        places, (height, width) = self._places, self._second.shape
        grid = ((places.sides * motion[:2]) @ places.pixels).T.view(1, height, width, 2)
        warped, inside = sampled(self._first, grid), sampled(self._everywhere, grid, "zeros").flatten()
        padded = F.pad(warped, (1, 1, 1, 1), mode="replicate")[0, 0]
        zoom, turn, across, down, residual = self._rows
        torch.sub(padded[1:-1, 2:], padded[1:-1, :-2], out=across)
        torch.sub(padded[2:, 1:-1], padded[:-2, 1:-1], out=down)
        torch.mul(across, places.x, out=zoom).addcmul_(down, places.y)
        torch.mul(down, places.x, out=turn).addcmul_(across, places.y, value=-1)
        torch.sub(self._second, warped[0, 0], out=residual)
        rows = self._rows.flatten(1)
        typical = (rows[4].abs().mul_(inside)).mean() + 1e-4
        weight = torch.div(inside, (rows[4] / (3 * typical)).square_().add_(1).square_())
        # Differences of two pixels, for slopes in units of half the width.
        products = ((rows[:4] * weight) @ rows.T) * (width / 4)
        normal, right = products[:, :4] * (width / 4), products[:, 4:]
        normal = normal + (normal.diagonal().mean() + 1e-6) * places.damping
        return places.identity + places.units @ torch.linalg.solve_ex(normal, right).result[:, 0]
