"""Depth edges and normals before and after `refine_geometry`, on scenes with known depth, normals and picture, in one run.

    python benchmarks/refine.py [SCENES] [--threads N] [--device cpu|cuda]

SCENES is a folder of .npz files as in `normals.py`, with `rgb` (H, W, 3) uint8 too.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from normals import DEFAULT_SCENES, Scene, load_scene, seconds
from torch import Tensor

from depth_normal.geometry.camera import intrinsics_from_fov
from depth_normal.geometry.edges import EDGE, depth_at_picture_edges, largest_within
from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.geometry.normals import depth_to_normals

# The source's size as a share of the picture's, the deviation of its blur in its own pixels, and how many pixels wide a ramp's half is.
SOURCES = {"1/2": (2, 0.0), "1/4": (4, 0.0), "1/2, blurred": (2, 1.0), "1/4, blurred": (4, 1.0)}
NEAR_JUMP, THIN, FAR_OFF = 3, 3, 10


@dataclass(frozen=True)
class Judged:
    """A scene with its picture (1, 3, H, W), and where its jumps (1, 1, H, W), what is near them and thin things are."""

    scene: Scene
    picture: Tensor
    jumps: Tensor
    near_jumps: Tensor
    thin: Tensor


def load(path: Path) -> Judged:
    """Reads one .npz file."""
    scene = load_scene(path)
    with np.load(path) as file:
        picture = torch.from_numpy(file["rgb"].astype(np.float32) / 255).movedim(-1, 0)[None]
    inverse = true_inverse(scene)
    jumps = edges_of(inverse)
    near_jumps = largest_within(jumps.float(), NEAR_JUMP - 1) > 0
    # What an opening takes away: nearer than all around, and nowhere wider than 2 THIN pixels.
    opened = largest_within(-largest_within(-inverse, THIN), THIN)
    return Judged(scene, picture, jumps, near_jumps & scene.mask, (inverse > opened * EDGE) & scene.mask)


def true_inverse(scene: Scene) -> Tensor:
    """Inverse depth; the sky four times as far as the farthest thing."""
    return 1 / torch.where(scene.mask, scene.depth, scene.depth[scene.mask].max() * 4)


def edges_of(inverse: Tensor) -> Tensor:
    """Pixels beside a jump: neighbours straight beyond which depths differ by more than a slope explains."""
    edges = torch.zeros_like(inverse, dtype=torch.bool)
    for axis in (-1, -2):
        length = inverse.shape[axis]
        before, here, there, after = (inverse.narrow(axis, start, length - 3) for start in range(4))
        rise = there - here
        slope = torch.maximum((here - before).abs(), (after - there).abs())
        jump = (rise.abs() > 0.04 * torch.minimum(here, there)) & (rise.abs() > 2.5 * slope)
        edges.narrow(axis, 1, length - 3).logical_or_(jump)
        edges.narrow(axis, 2, length - 3).logical_or_(jump)
    return edges


def as_networks_give(judged: Judged, source: str) -> Tensor:
    """Inverse depth of a smaller size, blurred, brought to the picture's size."""
    factor, blur = SOURCES[source]
    inverse = true_inverse(judged.scene).double()
    small = F.interpolate(inverse, scale_factor=1 / factor, mode="area")
    if blur:
        taps = torch.exp(-0.5 * (torch.arange(-4, 5, dtype=small.dtype) / blur) ** 2)
        taps = taps / taps.sum()
        small = F.conv2d(F.pad(small, (4, 4, 4, 4), mode="replicate"), taps.view(1, 1, 1, -1))
        small = F.conv2d(small, taps.view(1, 1, -1, 1))
    grown = F.interpolate(small, size=inverse.shape[-2:], mode="bicubic", align_corners=False)
    return grown.clamp(min=float(inverse.min()) * 0.25).float()


def normals_of(scene: Scene, inverse: Tensor, edges: str) -> Tensor:
    """Normals from depth, of the scene's camera."""
    return depth_to_normals(1 / inverse, scene.intrinsics, scene.mask, edges)


def angles(normals: Tensor, scene: Scene) -> Tensor:
    """(1, 1, H, W) degrees to the true normals."""
    cross = torch.linalg.vector_norm(torch.linalg.cross(normals, scene.normals, dim=1), dim=1)
    return torch.rad2deg(torch.atan2(cross, (normals * scene.normals).sum(1))).nan_to_num(90.0)[:, None]
