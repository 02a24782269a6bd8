"""Truth: relief that repeats as noise does. Depth of pebbles, bricks and waves must not be flattened."""

import math

import numpy as np
import pytest
import torch

from depth_normal.geometry.camera import intrinsics_from_fov
from depth_normal.geometry.conventions import unit_normals
from depth_normal.geometry.surfaces.noise import measure_noise
from depth_normal.geometry.surfaces.normals import depth_to_normals
from tests.geometry.known_surfaces import angles

HEIGHT, WIDTH = 240, 320
WALL = 0.5  # inverse depth of a wall 2 m away


def pebbles(u, v, radius=8.0):
    """Half balls in rows, each a little off its place."""
    pitch = 1.9 * radius
    shift = np.random.default_rng(0).normal(0, 0.1 * radius, (2, 64, 64))
    row, column = (np.floor(x / pitch).astype(int) for x in (v, u))
    du, dv = u - (column + 0.5) * pitch - shift[0, row, column], v - (row + 0.5) * pitch - shift[1, row, column]
    return 0.008 * np.sqrt(np.maximum(0, 1 - (du**2 + dv**2) / radius**2))


def bricks(u, v):
    """Bricks of 40 x 16 pixels that stand out 1 cm."""
    u = u + (np.floor(v / 16) % 2) * 20
    inside = np.minimum(np.minimum(u % 40, 40 - u % 40), np.minimum(v % 16, 16 - v % 16))
    return 0.0025 / (1 + np.exp(-(inside - 2.5) / 0.5))


# relief: the mean error in degrees that windows of 3x3 pixels reach, clean and with white noise of 0.1 %
RELIEFS = {
    "pebbles": (pebbles, 8.16, 12.11),
    "half pebbles": (lambda u, v: np.where(u < WIDTH / 2, 0, pebbles(u, v)), 3.82, 6.53),
    "bricks": (bricks, 2.96, 6.69),
    "a sheet along x": (lambda u, v: 0.001 * np.sin(2 * math.pi / 12 * u), 0.24, 3.63),
    "a sheet across": (lambda u, v: 0.001 * np.sin(2 * math.pi / 12 * (u + v) / math.sqrt(2)), 1.28, 4.04),
}


def wall_with(relief):
    """Depth (1, 1, H, W) float64 of a wall with a relief of inverse depth, its normals, and the intrinsics."""
    v, u = np.mgrid[:HEIGHT, :WIDTH].astype(float)
    intrinsics = intrinsics_from_fov(55, HEIGHT, WIDTH)
    (fx, _, cx), (_, fy, cy) = intrinsics[0, :2].tolist()
    inverse, near = WALL + relief(u, v), 1e-4
    slope_u = (relief(u + near, v) - relief(u - near, v)) / (2 * near)
    slope_v = (relief(u, v + near) - relief(u, v - near)) / (2 * near)
    normals = torch.from_numpy(np.stack([-fx * slope_u, fy * slope_v, inverse - (u - cx) * slope_u - (v - cy) * slope_v]))
    return torch.from_numpy(1 / inverse)[None, None], unit_normals(normals[None]), intrinsics


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("name", RELIEFS)
@pytest.mark.parametrize("is_noisy", [False, True])
def test_relief_is_neither_smoothed_away_nor_noise_that_pixels_share(name, is_noisy):
    depth, normals, intrinsics = wall_with(RELIEFS[name][0])
    noise = torch.randn(depth.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    depth = depth * (1 + 0.001 * noise) if is_noisy else depth
    assert angles(depth_to_normals(depth.float(), intrinsics), normals).mean() < 1.05 * RELIEFS[name][1 + is_noisy]
    inverse = (2 / depth).float()
    assert measure_noise(inverse, torch.ones_like(inverse)).noise_length == 1
