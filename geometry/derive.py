"""What follows from an estimate: normals from its depth."""

from __future__ import annotations

from dataclasses import replace

from .camera import intrinsics_from_fov
from .estimate import Axes, Estimate, Quantity
from .normals import DEFAULT_FOV, depth_to_normals, disparity_to_normals


def with_normals(estimate: Estimate, edges: str = "auto") -> Estimate:
    """The estimate with normals of its own depth, unless it has normals already.

    Where the camera is not known, a field of view of `DEFAULT_FOV` is assumed.

    Args:
        estimate: Any estimate.
        edges: As `depth_to_normals`.

    Returns:
        An estimate whose `normals` are unit vectors in OPENGL axes if they were derived here.

    Raises:
        ValueError: The depth is relative (affine-invariant) depth: no published rule says which plane it flattens.
    """
    if estimate.normals is not None or estimate.depth is None:
        return estimate
    if estimate.quantity is Quantity.DISPARITY:
        normals = disparity_to_normals(estimate.depth, estimate.mask, edges=edges)
    elif estimate.quantity is Quantity.METRIC_DEPTH:
        intrinsics = estimate.intrinsics
        if intrinsics is None:
            intrinsics = intrinsics_from_fov(DEFAULT_FOV, estimate.height, estimate.width, batch=estimate.batch).to(estimate.depth)
        normals = depth_to_normals(estimate.depth, intrinsics, estimate.mask, edges)
    else:
        raise ValueError("normals from relative depth need its shift and scale; give metric depth or disparity")
    return replace(estimate, normals=normals, axes=Axes.OPENGL)
