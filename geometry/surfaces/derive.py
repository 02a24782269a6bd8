"""Derives normals from an estimate's depth."""

from __future__ import annotations

from dataclasses import replace

from ..assumptions import assumed_depth, assumed_intrinsics
from ..estimate import Axes, Estimate, Quantity
from ..kinds import Projection
from ..panorama.normals import panorama_normals
from .normals import depth_to_normals


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
    _, _, valid = estimate.known_depth()
    depth = assumed_depth(estimate, near_far_ratio)
    if estimate.projection is Projection.EQUIRECTANGULAR:
        normals = panorama_normals(depth, estimate.mask, edges)
    else:
        normals = depth_to_normals(depth, assumed_intrinsics(estimate), estimate.mask, edges)
    # Where there is no depth the normals are invented, and only the mask can tell.
    return replace(estimate, normals=normals, axes=Axes.OPENGL, mask=estimate.mask if bool(valid.all()) else valid)
