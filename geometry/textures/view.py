"""Ambient occlusion of an estimate, with assumed values for what it leaves open."""

from __future__ import annotations

from torch import Tensor

from ..assumptions import NEAR_FAR_RATIO, assumed_intrinsics, filled_depth
from ..estimate import Estimate
from ..kinds import Quantity
from ..surfaces.derive import with_normals
from .occlusion import depth_to_occlusion


def estimate_to_occlusion(estimate: Estimate, *, radius: float = 64.0, directions: int = 16) -> Tensor:
    """Ambient occlusion of the things in images.

    Args:
        estimate: With depth of any quantity; without normals they are computed, without a camera an assumed one is taken.
        radius, directions: As `depth_to_occlusion`.

    Returns:
        (B, 1, H, W) in [0, 1], 1 = open, as sky and holes are.

    Raises:
        ValueError: No depth, or numbers out of range.
    """
    if estimate.depth is None:
        raise ValueError("there are normals and no depth, and occlusion needs depth: give a height, as Normal to Height makes it")
    ratio = NEAR_FAR_RATIO if estimate.quantity is Quantity.RELATIVE_DEPTH else None
    known = with_normals(estimate, near_far_ratio=ratio)
    assert known.normals is not None
    camera = assumed_intrinsics(estimate)
    options = {"radius": radius, "directions": directions, "weight": known.valid}
    return depth_to_occlusion(filled_depth(estimate), camera, known.normals, known.axes, **options)
