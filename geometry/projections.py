"""Refuses panoramas where a perspective camera is needed."""

from __future__ import annotations

from ..options.effects import EFFECTS
from .estimate import Estimate
from .kinds import Projection

HANDLED = ", ".join(
    (
        "Render Depth, Render Normals, Preview Geometry",
        *(spec.title for spec in EFFECTS if spec.panoramas),
        "Save Geometry (npz, exr), Save Mesh, Geometry to Mesh, and Stereo 3D (vr180, 360-tb, 360-sbs)",
    )
)
"""Nodes that accept panoramas, for the error message."""


def need_perspective(estimate: Estimate, what: str) -> None:
    """Refuses panoramas by a ValueError about `what`: "stereo", "a .stl file", ..."""
    if estimate.projection is Projection.PERSPECTIVE:
        return
    raise ValueError(
        f"{what} needs images of a perspective camera, and this geometry is a panorama's ({estimate.projection.value}: its depth is the "
        f"distance along each pixel's ray). Estimate a perspective image by Depth & Normals instead. What takes a panorama: {HANDLED}"
    )
