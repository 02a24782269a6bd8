"""Derives normals from an estimate's depth."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from ..assumptions import assumed_depth, assumed_intrinsics
from ..estimate import Axes, Estimate, Quantity
from ..kinds import Projection
from .normals import depth_to_normals
from .panorama_normals import panorama_normals


def with_normals(estimate: Estimate, edges: str = "auto", near_far_ratio: float | None = None) -> Estimate:
    """Adds normals derived from the estimate's own depth.

    Estimates that have normals are returned unchanged, and so is relative depth without a ratio: its zero, and so its slopes, are unknown.

    Args:
        estimate: Any estimate. Unknown cameras and zeros of depth are assumed.
        edges: As `depth_to_normals`.
        near_far_ratio: As `assumed_depth`.

    Returns:
        An estimate whose derived `normals` are unit vectors in OPENGL axes, with pixels without depth masked.
    """
    if estimate.normals is not None or (estimate.quantity is Quantity.RELATIVE_DEPTH and not near_far_ratio):
        return estimate
    normals = normals_of_depth(estimate, edges, near_far_ratio)
    return replace(estimate, normals=normals, axes=Axes.OPENGL, mask=mask_of_depth(estimate))


def normals_of_depth(estimate: Estimate, edges: str = "auto", near_far_ratio: float | None = None, fov: float | None = None) -> Tensor:
    """Normals of an estimate's depth, for perspective images and panoramas; its own normals are ignored.

    Args:
        estimate: With depth of any quantity.
        edges: As `depth_to_normals`.
        near_far_ratio: As `assumed_depth`.
        fov: As `assumed_intrinsics`.

    Returns:
        (B, 3, H, W) unit vectors in OPENGL axes; arbitrary where there is no depth (see `mask_of_depth`).

    Raises:
        ValueError: As `assumed_depth` and `assumed_intrinsics`.
    """
    depth = assumed_depth(estimate, near_far_ratio)
    if estimate.projection is Projection.EQUIRECTANGULAR and not fov:
        return panorama_normals(depth, estimate.mask, edges)
    return depth_to_normals(depth, assumed_intrinsics(estimate, fov), estimate.mask, edges)


def without_normals(estimate: Estimate, near_far_ratio: float | None = None) -> Estimate:
    """The depth and mask of `with_normals`, without computing the normals, so that resized depth is the same.

    Args:
        estimate: Any estimate; one without depth is returned unchanged.
        near_far_ratio: As `with_normals`.
    """
    if estimate.depth is None or (estimate.quantity is Quantity.RELATIVE_DEPTH and not near_far_ratio and estimate.normals is None):
        return estimate
    if estimate.normals is not None:
        return replace(estimate, normals=None, axes=Axes.OPENGL)
    return replace(estimate, mask=mask_of_depth(estimate))


def mask_of_depth(estimate: Estimate) -> Tensor | None:
    """Masks pixels without depth, because derived normals are arbitrary there.

    Returns:
        (B, 1, H, W) bool; the estimate's own mask, or None, if all depth is valid.

    Raises:
        ValueError: No depth.
    """
    _, _, valid = estimate.known_depth()
    return estimate.mask if bool(valid.all()) else valid
