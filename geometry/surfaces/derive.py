"""Derives normals from an estimate's depth, of perspective images and of panoramas."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from ...utils import sample_at, unit_vectors, without_autocast
from ..assumptions import NEAR_FAR_RATIO, assumed_depth, assumed_intrinsics
from ..camera import ray_distance_to_depth
from ..checks import check_map, check_mask
from ..conventions import convert_normals
from ..estimate import Axes, Estimate, Quantity
from ..kinds import Projection
from ..sphere import cube_rotations, cut_view, in_view, panorama_directions, view_intrinsics
from ..valid import valid_depth
from .normals import depth_to_normals


def with_normals(estimate: Estimate, edges: str = "auto", near_far_ratio: float | None = None) -> Estimate:
    """Adds unit normals in OPENGL axes derived from the estimate's own depth, and masks pixels without depth.

    Estimates that have normals are returned unchanged, and so is relative depth without a ratio: its zero, and so its slopes, are unknown.
    Other unknown cameras and zeros of depth are assumed: `edges` as `depth_to_normals`, `near_far_ratio` as `assumed_depth`.
    """
    if estimate.normals is not None or (estimate.quantity is Quantity.RELATIVE_DEPTH and not near_far_ratio):
        return estimate
    normals = normals_of_depth(estimate, edges, near_far_ratio)
    return replace(estimate, normals=normals, axes=Axes.OPENGL, mask=mask_of_depth(estimate))


def with_assumed_normals(estimate: Estimate) -> Estimate:
    """As `with_normals`; the near-far ratio of relative depth is assumed, as by the effects."""
    return with_normals(estimate, near_far_ratio=NEAR_FAR_RATIO if estimate.quantity is Quantity.RELATIVE_DEPTH else None)


def normals_of_depth(estimate: Estimate, edges: str = "auto", near_far_ratio: float | None = None, fov: float | None = None) -> Tensor:
    """Normals (B, 3, H, W), OPENGL axes, of an estimate's depth, for perspective images and panoramas, ignoring its own normals.

    They are arbitrary where there is no depth (see `mask_of_depth`). Arguments as `with_normals`; `fov` as `assumed_intrinsics`. Raises
    ValueError: as `assumed_depth` and `assumed_intrinsics`.
    """
    depth = assumed_depth(estimate, near_far_ratio, fov)
    if estimate.projection is Projection.EQUIRECTANGULAR and not fov:
        return panorama_normals(depth, estimate.mask, edges)
    return depth_to_normals(depth, assumed_intrinsics(estimate, fov), estimate.mask, edges)


def without_normals(estimate: Estimate, near_far_ratio: float | None = None) -> Estimate:
    """The depth and mask of `with_normals`, without computing the normals, so that resized depth is the same."""
    if estimate.depth is None or (estimate.quantity is Quantity.RELATIVE_DEPTH and not near_far_ratio and estimate.normals is None):
        return estimate
    if estimate.normals is not None:
        return replace(estimate, normals=None, axes=Axes.OPENGL)
    return replace(estimate, mask=mask_of_depth(estimate))


def mask_of_depth(estimate: Estimate) -> Tensor | None:
    """Masks pixels without depth, because derived normals are arbitrary there.

    (B, 1, H, W) bool; the estimate's own mask, or None, if all depth is valid. Raises ValueError: no depth.
    """
    _, _, valid = estimate.known_depth()
    return estimate.mask if bool(valid.all()) else valid


# Half the field of view's tangent: larger than a cube's face, so that views overlap.
_TANGENT = 1.15
_KNOWN = 0.5


def panorama_normals(distance: Tensor, mask: Tensor | None = None, edges: str = "auto") -> Tensor:
    """Normals (B, 3, H, W) float32 of panoramas, OPENGL axes (+X right of their middle, +Y up, +Z behind), facing the camera.

    `depth_to_normals` of six perspective views, slightly larger than a cube's faces, rotated and blended: all directions are treated alike,
    including the poles and the left and right border. Raises ValueError: maps of the wrong shape, or unknown `edges`.

    Args:
        distance: (B, 1, H, W) along each pixel's ray, any unit. NaN, infinite, zero and negative values are holes.
        mask: (B, 1, H, W) bool; None = True everywhere.
        edges: As `depth_to_normals`.
    """
    check_map(distance, 1, "distance")
    check_mask(mask, distance)
    valid = valid_depth(distance, Quantity.METRIC_DEPTH, mask)
    return torch.cat([_normals(*image, edges) for image in zip(distance.float().split(1), valid.split(1), strict=True)])


@without_autocast
def _normals(distance: Tensor, valid: Tensor, edges: str) -> Tensor:
    """Normals of one image."""
    height, width = distance.shape[-2:]
    side = max(8, round(2 * _TANGENT * width / (2 * math.pi)))
    intrinsics = view_intrinsics(side, _TANGENT).to(distance.device)
    # Inverse distance is smooth on surfaces, and contributes 0 in holes.
    both = torch.cat((torch.where(valid, 1 / torch.where(valid, distance, 1), 0), valid.to(distance)), 1)
    directions = panorama_directions(height, width, distance.device)
    total = directions * -1e-6
    for rotation in cube_rotations(distance.device):
        inverse, share = cut_view(both, rotation, side, _TANGENT).split(1, 1)
        known = share > _KNOWN
        depth = ray_distance_to_depth(torch.where(known, share / torch.where(known, inverse, 1), 1), intrinsics)
        normals = convert_normals(depth_to_normals(depth, intrinsics, known, edges), Axes.OPENGL, Axes.OPENCV)
        turned = torch.einsum("rc,brhw->bchw", rotation, normals * known)
        places, weight = in_view(directions, rotation, _TANGENT)
        total += weight * sample_at(turned, places)
    return convert_normals(unit_vectors(total), Axes.OPENCV, Axes.OPENGL)
