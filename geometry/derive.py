"""What follows from an estimate: normals from its depth."""

from __future__ import annotations

from dataclasses import replace

from .estimate import Axes, Estimate, Quantity
from .likely import likely_depth, likely_intrinsics
from .normals import depth_to_normals


def with_normals(estimate: Estimate, edges: str = "auto") -> Estimate:
    """The estimate with normals of its own depth.

    An estimate that has normals, or whose depth is relative, comes back as it is: relative depth has an unknown zero, so its slopes are
    unknown too.

    Args:
        estimate: Any estimate. If it does not know its camera or the zero of its depth, the likely ones are taken.
        edges: As `depth_to_normals`.

    Returns:
        An estimate whose `normals` are unit vectors in OPENGL axes if they were derived here; pixels without depth are masked then.
    """
    if estimate.normals is not None or estimate.depth is None or estimate.quantity is Quantity.RELATIVE_DEPTH:
        return estimate
    normals = depth_to_normals(likely_depth(estimate), likely_intrinsics(estimate), estimate.mask, edges)
    # Where there is no depth the normals are made up, and only the mask can say so.
    valid = estimate.depth_valid
    assert valid is not None
    return replace(estimate, normals=normals, axes=Axes.OPENGL, mask=estimate.mask if bool(valid.all()) else valid)
