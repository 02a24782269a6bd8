"""What the camera that took a picture changes in an estimate."""

from __future__ import annotations

from dataclasses import replace

from ..geometry.camera import intrinsics_from_fov, resize_intrinsics
from ..geometry.estimate import Estimate, Quantity
from .depth_anything_v3 import for_camera


def with_fov(estimate: Estimate, fov: float, height: int, width: int) -> Estimate:
    """The estimate for a camera of a known field of view.

    Metric depth that came with intrinsics is in metres for the camera that these say (Depth Anything 3): it is rescaled. All other depth
    stays what it is, and only the camera is noted.

    Args:
        estimate: What a network gave, at any size.
        fov: Degrees that the longer side of the picture spans, between 0 and 180 exclusive; 0 = not known: nothing changes.
        height: Of the picture, in pixels, before it was resized for the network.
        width: Of the picture, in pixels.

    Returns:
        The estimate with the camera's intrinsics, in pixels of its own size.

    Convention:
        The picture has square pixels; the network's input, whose sides are rounded, has not quite.

    Raises:
        ValueError: `fov` out of range.
    """
    if not fov:
        return estimate
    of_picture = intrinsics_from_fov(fov, height, width, batch=estimate.batch)
    intrinsics = resize_intrinsics(of_picture, (height, width), (estimate.height, estimate.width)).to(estimate.device)
    if estimate.quantity is Quantity.METRIC_DEPTH and estimate.intrinsics is not None:
        return for_camera(estimate, intrinsics)
    return replace(estimate, intrinsics=intrinsics)
