"""Directions of a panorama's pixels, and perspective views cut out of it.

Convention: a panorama's axes are OPENCV (+X right, +Y down, +Z away) of a level camera that looks at its middle: the middle column
is ahead, the first and the last are behind, the first row is the zenith, the last the nadir. Pixels are at their centres.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..utils import sample_at, without_autocast
from .camera import intrinsics_from_focal_length, pixel_rays
from .checks import check_map

VIEW_FOV = 90.0
"""Horizontal and vertical field of view of `view_rotations`, in degrees: together the views cover the sphere twice."""

_GOLDEN = (1 + math.sqrt(5)) / 2
_MARGIN = 2
# |y| beyond which a direction is too near a pole for "up" to define the view's roll.
_STEEP = 0.999


def panorama_directions(height: int, width: int, device: torch.device | str = "cpu") -> Tensor:
    """The unit direction of each pixel of a whole panorama: (1, 3, height, width) float32, OPENCV axes."""
    columns, rows = (torch.arange(side, dtype=torch.float64, device="cpu") + 0.5 for side in (width, height))
    longitude, latitude = (columns / width - 0.5) * (2 * math.pi), (0.5 - rows / height) * math.pi
    level = latitude.cos()[:, None]
    y = (-latitude.sin())[:, None].expand(-1, width)
    return torch.stack((level * longitude.sin(), y, level * longitude.cos())).float()[None].to(device)


def panorama_points(distance: Tensor) -> Tensor:
    """Unprojects a panorama's distances along the rays (B, 1, H, W) to points (B, 3, H, W), OPENCV axes, in the same unit."""
    check_map(distance, 1, "distance")
    return distance * panorama_directions(distance.shape[-2], distance.shape[-1], distance.device).to(distance.dtype)


def view_rotations() -> Tensor:
    """Twelve views that cover the sphere, (12, 3, 3) float32. They look at the corners of an icosahedron, none at a pole.

    Like all rotations here, they are from the panorama's axes to each view's (OPENCV).

    Source:
        The panorama code of Wang et al., "MoGe" (2024).
    """
    corners = [
        axes for one in (-1.0, 1.0) for long in (-_GOLDEN, _GOLDEN) for axes in ((0.0, one, long), (one, long, 0.0), (long, 0.0, one))
    ]
    return rotations_towards(torch.tensor(corners, dtype=torch.float32, device="cpu"))


def cube_rotations(device: torch.device | str = "cpu") -> Tensor:
    """Six views along the axes, (6, 3, 3), as `view_rotations`."""
    eye = torch.eye(3, dtype=torch.float32, device=device)
    return rotations_towards(torch.cat((eye, -eye)))


def rotations_towards(directions: Tensor) -> Tensor:
    """Rotations (N, 3, 3) of level views in directions (N, 3) of any length but 0. Straight up or down, the bottom points ahead."""
    forward = F.normalize(directions, dim=1)
    down = forward.new_tensor([[0.0, 1.0, 0.0]]).expand_as(forward)
    ahead = forward.new_tensor([[0.0, 0.0, 1.0]]).expand_as(forward)
    down = torch.where(forward[:, 1:2].abs() > _STEEP, ahead, down)
    right = F.normalize(torch.linalg.cross(down, forward), dim=1)
    return torch.stack((right, torch.linalg.cross(forward, right), forward), 1)


def view_intrinsics(side: int, tangent: float = 1.0) -> Tensor:
    """Intrinsics (1, 3, 3) of a square view of `side` pixels whose half field of view has this tangent; 1 = `VIEW_FOV`."""
    return intrinsics_from_focal_length(side / (2 * tangent), side, side).cpu()


@without_autocast
def cut_view(panorama: Tensor, rotation: Tensor, side: int, tangent: float = 1.0) -> Tensor:
    """Cuts a perspective view (B, C, side, side) by bilinear sampling. Resize the panorama to about its resolution first.

    `tangent` is that of half the field of view. Values are not modified: distances stay distances along the ray.
    """
    height, width = panorama.shape[-2:]
    rays = pixel_rays(view_intrinsics(side, tangent), side, side)[0].to(panorama.device)
    x, y, z = torch.einsum("cr,chw->rhw", rotation.to(rays), rays)
    column = (torch.atan2(x, z) / (2 * math.pi) + 0.5) * width + _MARGIN
    row = (torch.atan2(y, torch.hypot(x, z)) / math.pi + 0.5) * height + _MARGIN
    grid = torch.stack((column / (width + 2 * _MARGIN), row / (height + 2 * _MARGIN)), -1) * 2 - 1
    around = with_surroundings(panorama, _MARGIN)
    return sample_at(around, grid[None].expand(len(panorama), -1, -1, -1).to(around))


def with_surroundings(panorama: Tensor, margin: int, band: tuple[int, int] | None = None) -> Tensor:
    """Pads a panorama (B, C, H, W) by `margin` on all sides: it wraps around horizontally and continues across the poles vertically.

    `band`: only the rows from the first number to the second (exclusive), which count from the panorama's first row; None = all.
    """
    height, width = panorama.shape[-2:]
    rows = torch.arange(*(band or (-margin, height + margin)), device=panorama.device)
    beyond = (rows < 0) | (rows >= height)
    rows = torch.where(rows < 0, -1 - rows, rows)
    rows = torch.where(rows >= height, 2 * height - 1 - rows, rows).clamp(0, height - 1)
    columns = torch.arange(-margin, width + margin, device=panorama.device) % width
    whole = panorama[..., rows, :]
    turned = whole[..., (columns + width // 2) % width]
    return torch.where(beyond[:, None], turned, whole[..., columns])


@without_autocast
def in_view(directions: Tensor, rotation: Tensor, tangent: float = 1.0) -> tuple[Tensor, Tensor]:
    """Projects directions (1, 3, H, W) into a view of `cut_view`.

    Returns:
        Positions (1, H, W, 2), -1 and 1 at the view's borders, and blend weights (1, 1, H, W): 1 in the middle of the view, 0 at its border
        and outside.
    """
    x, y, z = torch.einsum("rc,bchw->rbhw", rotation.to(directions), directions)
    ahead = z > 1e-3
    depth = torch.where(ahead, z, 1) * tangent
    places = torch.stack((x / depth, y / depth), -1)
    inside = (1 - places.abs()).clamp_min(0) * ahead[..., None]
    return places.clamp(-2, 2), (inside[..., 0] * inside[..., 1])[:, None]
