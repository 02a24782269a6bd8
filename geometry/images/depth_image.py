"""Reads depth images as numbers: the inverse of `render.depth_to_image`."""

from __future__ import annotations

import math
from dataclasses import replace

from torch import Tensor

from ...utils import resize_map
from ..checks import check_choice, check_map
from ..estimate import Estimate, Quantity
from .normal_map_image import image_to_normals
from .render import NEAR

LINEAR_IN = ("disparity", "depth")
"""Meanings of equal steps of grey: equal steps of inverse depth (most networks' images) or of depth (most renderers')."""


def image_to_depth(
    image: Tensor, *, near: str = "white", linear_in: str = "disparity", metric_range: tuple[float, float] | None = None
) -> tuple[Tensor, Quantity]:
    """The depth that a grey image shows.

    Args:
        image: (B, 1, H, W) in [0, 1].
        near: Which end of the grey levels is near, "white" or "black".
        linear_in: "disparity" or "depth".
        metric_range: Metres at the near and at the far end of the grey levels; None = unknown.

    Returns:
        (B, 1, H, W) and its quantity: metric depth where the range is known, else disparity or relative depth in [0, 1].

    Raises:
        ValueError: Not such an image, unknown names, or a range that is out of order or, for disparity, begins at 0.
    """
    check_map(image, 1, "image")
    check_choice("near", near, NEAR)
    check_choice("linear_in", linear_in, LINEAR_IN)
    nearness = image if near == "white" else 1 - image
    if metric_range is None:
        return (nearness, Quantity.DISPARITY) if linear_in == "disparity" else (1 - nearness, Quantity.RELATIVE_DEPTH)
    nearest, farthest = metric_range
    if not 0 <= nearest < farthest < math.inf:
        raise ValueError(f"the range goes from {nearest} m (near) to {farthest} m (far); expected 0 <= near < far")
    if linear_in == "depth":
        return farthest + (nearest - farthest) * nearness, Quantity.METRIC_DEPTH
    if nearest == 0:
        raise ValueError("the range begins at 0 m, where disparity is infinite; give the metres of the nearest grey level")
    return 1 / (1 / farthest + (1 / nearest - 1 / farthest) * nearness), Quantity.METRIC_DEPTH


def maps_to_estimate(
    depth: Tensor | None, normal_map: Tensor | None, coding: str, height: int, width: int, name: str = "the normal map"
) -> Estimate:
    """The estimate that maps of any program show: a depth image (near = white, disparity), a normal map, or both.

    Args:
        depth, normal_map: (B, 3, H, W) in [0, 1], of any size; None = there is none.
        coding: How the normal map stores its vectors.
        height, width: Of the images.
        name: Of the normal map, for the warning where it does not look like one.

    Returns:
        The estimate at that size; where one of the maps is of one image and the other of several, it is for all of them.

    Raises:
        ValueError: There is neither, or a coding is unknown.
    """
    parts = []
    if depth is not None:
        values, quantity = image_to_depth(resize_map(depth, height, width).mean(1, keepdim=True))
        parts.append(Estimate(values, quantity))
    if normal_map is not None:
        parts.append(Estimate(normals=image_to_normals(resize_map(normal_map, height, width), coding, name)))
    batch = max((part.batch for part in parts), default=0)
    sized = [part if part.batch == batch else part.expanded(batch) for part in parts]
    if not sized:
        raise ValueError("there is nothing to light by: link a normal map, a depth image (near = white), or geometry")
    return sized[0] if len(sized) == 1 else replace(sized[0], normals=sized[1].normals)
