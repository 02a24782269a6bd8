"""Surfaces whose depth and normals are known, and how far normals are from the true ones."""

import torch

from depth_normal.geometry.camera import pixel_rays
from depth_normal.geometry.conventions import convert_normals
from depth_normal.geometry.estimate import Axes
from tests.ray_traced_scenes import ball


def angles(found, truth):
    """(B, 1, H, W) degrees between unit vectors."""
    found, truth = torch.broadcast_tensors(found.double(), truth.double())
    across = torch.linalg.vector_norm(torch.linalg.cross(found, truth, dim=1), dim=1, keepdim=True)
    return torch.rad2deg(torch.atan2(across, (found * truth).sum(1, keepdim=True)))


def plane_depth(normal, intrinsics, height, width, distance):
    """Depth (1, 1, H, W) of a plane with this OpenGL normal (3,), and where the camera sees it."""
    rays = convert_normals(pixel_rays(intrinsics.double(), height, width), Axes.OPENCV, Axes.OPENGL)
    facing = -(normal.double().view(1, 3, 1, 1) * rays).sum(1, keepdim=True)
    visible = facing > 0.02
    return torch.where(visible, distance / facing, 0).float(), visible


def depth_of_things(things, intrinsics, height, width):
    """Depth (1, 1, H, W, float64) of the nearest of some things of `ray_traced_scenes`."""
    rays = pixel_rays(intrinsics.double(), height, width)[0].movedim(0, -1).numpy()
    return torch.stack([torch.from_numpy(thing(rays)[0]) for thing in things]).amin(0)[None, None]


def ball_before_wall(radius, intrinsics, height, width):
    """Depth, where the ball is, and OpenGL normals; float64."""
    centre, wall = (0.1, -0.05, 4.0), 8.0
    rays = pixel_rays(intrinsics.double(), height, width)
    depth = depth_of_things([ball(centre, radius)], intrinsics, height, width)
    hit = depth.isfinite()
    of_ball = convert_normals((rays * depth.where(hit, 0) - torch.tensor(centre).view(1, 3, 1, 1)) / radius, Axes.OPENCV, Axes.OPENGL)
    return depth.where(hit, wall), hit, of_ball.where(hit, torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1))
