"""Converts depth and a camera to 3D Gaussian splats."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...utils import without_autocast
from ..assumptions import assumed_intrinsics
from ..conventions import convert_normals
from ..estimate import Axes, Estimate
from ..projections import need_perspective
from ..surfaces.normals import depth_to_normals
from .mesh import MeshOptions, SampledGrid, sampled_views
from .mesh_cuts import beside_cuts

# Standard deviation of a projected splat relative to the pixel distance, and the opacity at its centre.
_SPREAD, _OPACITY = 0.6, 0.98
# Maximum aspect ratio of a splat on a slanted surface; smaller at a silhouette, beyond which a long splat would protrude.
_LONGEST, _LONGEST_AT_CUTS = 8.0, 1.5
# Thickness relative to the shorter axis.
_THICKNESS = 0.1
_GREY = 0.5


@dataclass(frozen=True)
class Splats:
    """3D Gaussians in OPENCV axes (x right, y down, z forward), the convention of files and programs for Gaussian splatting.

    Attributes:
        points: (N, 3) float32 centres, in the unit of the depth.
        rotations: (N, 4) float32 unit quaternions w, x, y, z, with w >= 0. The rotated third axis is the surface normal, towards the
            camera.
        scales: (N, 3) float32 standard deviations along the three axes, in the unit of the depth.
        opacities: (N,) float32 in (0, 1).
        colours: (N, 3) float32 in [0, 1], sRGB.
    """

    points: np.ndarray
    rotations: np.ndarray
    scales: np.ndarray
    opacities: np.ndarray
    colours: np.ndarray


def depth_to_splats(estimate: Estimate, image: Tensor | None = None, options: MeshOptions | None = None) -> Splats:
    """Converts the visible surface of an image, or of all views of one scene, to Gaussian splats: a flat disc for each sampled pixel.

    In the camera's view each disc is round and a little wider than its pixel. It lies in the surface, so that a slanted wall has no gaps
    when the camera moves. Hidden surfaces are not filled. The splats follow the estimate's normals, or normals computed from depth if it
    has none, and are grey without an image. They are in camera axes, or, with extrinsics, in world axes. Arguments and errors as
    `depth_to_meshes`, and for the same pixels as a mesh without simplification; a panorama is refused.
    """
    options = options or MeshOptions()
    need_perspective(estimate, "a set of Gaussian splats")
    views = sampled_views(estimate, image, options)
    parts = [_splats(view, grid, options) for view, _, grid in views]
    return Splats(*(np.concatenate([getattr(part, name) for part in parts]) for name in Splats.__dataclass_fields__))


@without_autocast
def _splats(view: Estimate, grid: SampledGrid, options: MeshOptions) -> Splats:
    chosen = grid.valid[0, 0]
    intrinsics = assumed_intrinsics(view, options.fov).to(grid.depth)[0]
    # The points at depth 1 on the rays of the grid's pixels, (h, w, 3).
    lengths = (torch.arange(length, dtype=intrinsics.dtype, device=intrinsics.device) for length in grid.depth.shape[-2:])
    y, x = torch.meshgrid(*(grid.first + grid.step * length for length in lengths), indexing="ij")
    rays = torch.stack((x, y, torch.ones_like(x)), -1) @ torch.linalg.inv(intrinsics).T
    across, down = _footprints(view, grid, intrinsics, rays)
    longest = torch.where(beside_cuts(grid.joins, torch.ones_like(chosen)), _LONGEST_AT_CUTS, _LONGEST)
    rotations, scales = _axes(across[chosen], down[chosen], longest[chosen])
    points = (grid.depth[0, 0, ..., None] * rays)[chosen]
    if view.extrinsics is not None:
        rotation, moved = view.extrinsics[0].to(points).split((3, 1), 1)
        rotations, points = rotation.T @ rotations, (points - moved[:, 0]) @ rotation
    colours = torch.full_like(points, _GREY) if grid.colours is None else grid.colours[0].movedim(0, -1)[chosen].nan_to_num(0.0)
    opacities = torch.full_like(points[:, 0], _OPACITY)
    parts = (points, quaternions_of(rotations), scales, opacities, colours)
    return Splats(*(part.detach().float().contiguous().numpy() for part in parts))


def _footprints(view: Estimate, grid: SampledGrid, intrinsics: Tensor, rays: Tensor) -> tuple[Tensor, Tensor]:
    """The vectors on the surface from each sampled pixel to the next one to the right and below: two maps (h, w, 3), OPENCV camera axes."""
    normals = _normals(view, grid, intrinsics)
    steepest = -rays.norm(dim=-1, keepdim=True) / _LONGEST
    facing = torch.minimum((normals * rays).sum(-1, keepdim=True), steepest)
    depth = grid.depth[0, 0, ..., None] * grid.step

    def moved(ray: Tensor) -> Tensor:
        # In the tangent plane: the depth changes so that normal . point stays constant.
        return depth * (ray - rays * (normals * ray).sum(-1, keepdim=True) / facing)

    inverse = torch.linalg.inv(intrinsics)
    return moved(inverse[:, 0]), moved(inverse[:, 1])


def _normals(view: Estimate, grid: SampledGrid, intrinsics: Tensor) -> Tensor:
    """Unit normals (h, w, 3) in OPENCV axes; (0, 0, -1), towards the camera, where there is no direction."""
    if view.normals is None:
        depth_normals = depth_to_normals(grid.depth, grid.intrinsics(intrinsics), grid.valid)
        normals = convert_normals(depth_normals, Axes.OPENGL, Axes.OPENCV)
    else:
        normals = convert_normals(view.normals[grid.picked], view.axes, Axes.OPENCV)
    normals = normals[0].movedim(0, -1).to(grid.depth)
    length = normals.norm(dim=-1, keepdim=True)
    return torch.where((length > 0) & length.isfinite(), normals / length, normals.new_tensor([0.0, 0.0, -1.0]))


def _axes(across: Tensor, down: Tensor, longest: Tensor) -> tuple[Tensor, Tensor]:
    """Rotation matrices (N, 3, 3), whose columns are the axes of discs spanned by vectors (N, 3), and deviations (N, 3) along them.

    `longest` (N,) are maximum aspect ratios.
    """
    # The covariance is A A^T with A = (across, down). Its axes are A times the eigenvectors of A^T A, which have a closed form.
    uu, uv, vv = (across * across).sum(-1), (across * down).sum(-1), (down * down).sum(-1)
    middle, half = (uu + vv) / 2, torch.hypot((uu - vv) / 2, uv)
    angle = torch.atan2(2 * uv, uu - vv) / 2
    cos, sin = angle.cos()[:, None], angle.sin()[:, None]
    first = torch.nn.functional.normalize(across * cos + down * sin, dim=-1)
    second = torch.nn.functional.normalize(down * cos - across * sin, dim=-1)
    long = (middle + half).sqrt()
    short = ((uu * vv - uv * uv).clamp(min=0) / (middle + half)).sqrt()
    long = torch.minimum(long, short * longest)
    scales = _SPREAD * torch.stack((long, short, _THICKNESS * short), -1)
    return torch.stack((first, -second, torch.linalg.cross(second, first)), -1), scales


def quaternions_of(rotations: Tensor) -> Tensor:
    """Converts rotation matrices (N, 3, 3) to unit quaternions (N, 4) w, x, y, z, with w >= 0.

    Source:
        S. W. Shepperd, "Quaternion from rotation matrix" (1978): of four formulas, the one with the largest divisor.
    """
    m = rotations
    trace = m.diagonal(dim1=1, dim2=2).sum(1)
    squares = torch.cat((trace[:, None], 2 * m.diagonal(dim1=1, dim2=2) - trace[:, None]), 1)  # 4 w^2 - 1, 4 x^2 - 1, ...
    wx, wy, wz = m[:, 2, 1] - m[:, 1, 2], m[:, 0, 2] - m[:, 2, 0], m[:, 1, 0] - m[:, 0, 1]
    xy, xz, yz = m[:, 0, 1] + m[:, 1, 0], m[:, 0, 2] + m[:, 2, 0], m[:, 1, 2] + m[:, 2, 1]
    w, x, y, z = (1 + squares).unbind(1)
    table = torch.stack((w, wx, wy, wz, wx, x, xy, xz, wy, xy, y, yz, wz, xz, yz, z), 1).view(-1, 4, 4)
    chosen = torch.take_along_dim(table, squares.argmax(1).view(-1, 1, 1), 1)[:, 0]
    unit = torch.nn.functional.normalize(chosen, dim=1)
    return torch.where(unit[:, :1] < 0, -unit, unit)


SH_0 = 0.5 / math.sqrt(math.pi)
"""The spherical harmonic of degree 0, a constant. Files store colours as (colour - 0.5) / SH_0."""
