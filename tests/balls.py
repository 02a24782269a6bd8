"""Balls whose depth and normals are known, as a network would have to see them."""

import torch
from torch import Tensor

from depth_normal.geometry.camera import intrinsics_from_fov, pixel_rays

CENTRE, RADIUS = torch.tensor([0.3, -0.2, 4.0]).view(1, 3, 1, 1), 1.0
FACING = torch.tensor([0.0, 0.0, -1.0]).view(1, 3, 1, 1)


def ball_before_wall(height: int, width: int, fov: float) -> tuple[Tensor, Tensor, Tensor]:
    """Depth (1, 1, H, W) and OPENCV normals (1, 3, H, W) of a ball before a wall, and where the ball is."""
    rays = pixel_rays(intrinsics_from_fov(fov, height, width), height, width)
    along, square = (rays * CENTRE).sum(1, keepdim=True), (rays * rays).sum(1, keepdim=True)
    root = along**2 - square * ((CENTRE**2).sum() - RADIUS**2)
    hit = root > 0
    depth = torch.where(hit, (along - root.clamp(min=0).sqrt()) / square, 6.0) * rays[:, 2:]
    return depth, torch.where(hit, (rays * depth - CENTRE) / RADIUS, FACING), hit
