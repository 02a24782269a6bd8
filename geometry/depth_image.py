"""Depth pictures read as numbers: the inverse of `render.depth_to_image`."""

from __future__ import annotations

import math

from torch import Tensor

from .checks import check_choice, check_map
from .estimate import Quantity
from .render import NEAR

LINEAR_IN = ("disparity", "depth")
"""What equal steps of grey mean: equal steps of inverse depth (most networks' pictures) or of depth (most renderers')."""


def image_to_depth(
    image: Tensor, *, near: str = "white", linear_in: str = "disparity", metric_range: tuple[float, float] | None = None
) -> tuple[Tensor, Quantity]:
    """The depth that a grey picture shows.

    Args:
        image: (B, 1, H, W) in [0, 1].
        near: Which end of the grey levels is near, "white" or "black".
        linear_in: "disparity" or "depth".
        metric_range: Metres at the near and at the far end of the grey levels; None = unknown.

    Returns:
        (B, 1, H, W) and its quantity: metric depth where the range is known, else disparity or relative depth in [0, 1].

    Raises:
        ValueError: Not such a picture, unknown names, or a range that is out of order or, for disparity, begins at 0.
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
