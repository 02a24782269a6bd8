"""The default rendering of depth, as ControlNet's models and ComfyUI's nodes expect it: near = white, metres as 1 / depth.

In metres, a far hill would take the grey levels from everything near. A thousandth of the metric pixels may be nearer than white, and as
many farther than black, so that an outlier does not darken the rest.

Source:
    The percentiles are those of ComfyUI's MoGeRender.
"""

from __future__ import annotations

from torch import Tensor

from ...utils import resize_map
from ..estimate import Estimate, Projection, Quantity
from ..levels import MeasureRange, depth_to_nearness, measure_range_of_most
from ..valid import are_all
from .render import NEAR, depth_to_image, share_of_range

METRIC_PERCENTILES = (0.1, 99.9)
"""Percentiles of metric depth between which the grey levels lie."""

_WHOLE_RANGE = (0.0, 100.0)


def default_depth_image(estimate: Estimate, normalisation: MeasureRange = measure_range_of_most, near: str = NEAR[0]) -> Tensor:
    """The image of an estimate's depth.

    Args:
        estimate: What has depth.
        normalisation: What finds the range between black and white, as `depth_to_image` takes it: each image's own, or one that goes on
            from call to call, such as the `update` of a `RunningRange`.
        near: "white" or "black".

    Returns:
        (B, 1, H, W) in [0, 1]; black where masked or without a value.

    Raises:
        ValueError: There is no depth.
    """
    depth, quantity, _ = estimate.known_depth()
    metric = quantity is Quantity.METRIC_DEPTH
    percentiles = METRIC_PERCENTILES if metric else _WHOLE_RANGE
    return depth_to_image(
        depth, quantity, near=near, normalisation=normalisation, percentiles=percentiles, as_disparity=metric, mask=estimate.mask
    )


def resized_depth_image(estimate: Estimate, height: int, width: int, ends: tuple[Tensor, Tensor], resampling: str = "bilinear") -> Tensor:
    """`default_depth_image` of `estimate.resized`, between two ends. Equivalently but faster, it resizes the levels where possible.

    Args:
        estimate: With depth.
        height, width: In pixels.
        ends: Of black and white, from `default_depth_range`.
        resampling: As `Estimate.resized`.

    Returns:
        (B, 1, height, width) in [0, 1]; black where masked or without a value.

    Raises:
        ValueError: There is no depth.
    """
    depth, quantity, valid = estimate.known_depth()
    # 1 / metres does not commute with resampling, and holes must be filled after resizing.
    if quantity is Quantity.METRIC_DEPTH or not are_all(valid):
        return default_depth_image(estimate.resized(height, width, resampling), lambda *_: ends)
    share, usable = share_of_range(depth_to_nearness(depth, quantity), *ends)
    share.mul_(usable)
    if resampling == "bilinear" and estimate.projection is Projection.PERSPECTIVE:
        return resize_map(share, height, width).clamp_(0, 1)  # without the checks of `resized` for holes and overshoot
    levels = Estimate(share, Quantity.DISPARITY, projection=estimate.projection)
    image = levels.resized(height, width, resampling).depth
    assert image is not None
    return image.clamp_(0, 1)


def default_depth_range(estimate: Estimate, normalisation: MeasureRange = measure_range_of_most) -> tuple[Tensor, Tensor]:
    """The ends of `default_depth_image` of each image, as nearness.

    Args:
        estimate: What has depth.
        normalisation: As `default_depth_image`.

    Returns:
        Of black and of white, (B, 1, 1, 1): 1 / metres, disparity, or relative depth below zero; infinite where no value is valid.

    Raises:
        ValueError: There is no depth.
    """
    depth, quantity, valid = estimate.known_depth()
    metric = quantity is Quantity.METRIC_DEPTH
    nearness = depth_to_nearness(depth if are_all(valid) else depth.where(valid, 1), quantity, as_disparity=metric)
    return normalisation(nearness, valid, METRIC_PERCENTILES if metric else _WHOLE_RANGE)
