"""Derives normals from an estimate's depth, or leaves them out."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from ..assumptions import assumed_depth, assumed_intrinsics
from ..estimate import Axes, Estimate, Quantity
from ..kinds import Projection
from .normals import depth_to_normals
from .panorama_normals import panorama_normals


def with_normals(estimate: Estimate, edges: str = "auto", near_far_ratio: float | None = None) -> Estimate:
    """The estimate with normals of its own depth.

    An estimate that has normals comes back as it is; so does one of relative depth where no ratio is given: its zero is unknown, and so
    are its slopes.

    Args:
        estimate: Any estimate. If it does not know its camera or the zero of its depth, assumed ones are taken.
        edges: As `depth_to_normals`.
        near_far_ratio: As `assumed_depth`.

    Returns:
        An estimate whose `normals` are unit vectors in OPENGL axes if they were derived here; pixels without depth are masked then.
    """
    if estimate.normals is not None or (estimate.quantity is Quantity.RELATIVE_DEPTH and not near_far_ratio):
        return estimate
    normals = normals_of_depth(estimate, edges, near_far_ratio)
    return replace(estimate, normals=normals, axes=Axes.OPENGL, mask=mask_of_depth(estimate))


def normals_of_depth(estimate: Estimate, edges: str = "auto", near_far_ratio: float | None = None, fov: float | None = None) -> Tensor:
    """Normals of an estimate's depth, of photos and panoramas; the estimate's own normals are not looked at.

    Args:
        estimate: With depth of any quantity.
        edges: As `depth_to_normals`.
        near_far_ratio: As `assumed_depth`.
        fov: As `assumed_intrinsics`.

    Returns:
        (B, 3, H, W) unit vectors in OPENGL axes; where there is no depth they are invented (see `mask_of_depth`).

    Raises:
        ValueError: As `assumed_depth` and `assumed_intrinsics`.
    """
    depth = assumed_depth(estimate, near_far_ratio)
    if estimate.projection is Projection.EQUIRECTANGULAR and not fov:
        return panorama_normals(depth, estimate.mask, edges)
    return depth_to_normals(depth, assumed_intrinsics(estimate, fov), estimate.mask, edges)


def without_normals(estimate: Estimate, near_far_ratio: float | None = None) -> Estimate:
    """The estimate that `with_normals` gives, without its normals, which are not computed.

    Args:
        estimate: Any estimate; one without depth comes back as it is.
        near_far_ratio: As `with_normals`.

    Returns:
        Depth, and the mask that `with_normals` gives: depth that is resized comes out the same.
    """
    if estimate.depth is None or (estimate.quantity is Quantity.RELATIVE_DEPTH and not near_far_ratio and estimate.normals is None):
        return estimate
    if estimate.normals is not None:
        return replace(estimate, normals=None, axes=Axes.OPENGL)
    return replace(estimate, mask=mask_of_depth(estimate))


def mask_of_depth(estimate: Estimate) -> Tensor | None:
    """The mask, without pixels that have no depth: only it can tell that their normals are invented.

    Returns:
        (B, 1, H, W) bool; the estimate's own mask, or None, where all depth is valid.

    Raises:
        ValueError: No depth.
    """
    _, _, valid = estimate.known_depth()
    return estimate.mask if bool(valid.all()) else valid
