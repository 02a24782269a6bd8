"""The default rendering of depth, as ControlNet's models and ComfyUI's nodes expect it: near = white, metric depth as 1 / depth.

Linear in metres, a distant hill would leave few grey levels for near objects. Of metric depth, one pixel in a thousand is clipped at each
end of the range, so that outliers do not darken the rest.

Source:
    The percentiles are ComfyUI's, in MoGeRender.
"""

from __future__ import annotations

from torch import Tensor

from ...utils import resize_map
from ..estimate import Estimate, Projection, Quantity
from ..levels import MeasureRange, depth_to_nearness, measure_range_of_most
from ..valid import are_all
from .render import NEAR, depth_to_image, share_of_range

METRIC_PERCENTILES = (0.1, 99.9)
"""Percentiles of 1 / metric depth at black and at white."""

_WHOLE_RANGE = (0.0, 100.0)


def default_depth_image(estimate: Estimate, normalisation: MeasureRange = measure_range_of_most, near: str = NEAR[0]) -> Tensor:
    """Renders the depth of an estimate as grey levels.

    Args:
        estimate: With depth.
        normalisation: Function that measures the range from black to white, as for `depth_to_image`: the range of each image by default, or
            a stateful one, such as the `update` of a `RunningRange`.
        near: "white" or "black".

    Returns:
        (B, 1, H, W) in [0, 1]; black where depth is invalid.

    Raises:
        ValueError: No depth.
    """
    depth, quantity, _ = estimate.known_depth()
    metric = quantity is Quantity.METRIC_DEPTH
    percentiles = METRIC_PERCENTILES if metric else _WHOLE_RANGE
    return depth_to_image(
        depth, quantity, near=near, normalisation=normalisation, percentiles=percentiles, as_disparity=metric, mask=estimate.mask
    )


def resized_depth_image(estimate: Estimate, height: int, width: int, ends: tuple[Tensor, Tensor], resampling: str = "bilinear") -> Tensor:
    """`default_depth_image` of `estimate.resized`, with a given range. Resizes the grey levels instead, which is faster, where equivalent.

    Args:
        estimate: With depth.
        height, width: New size in pixels.
        ends: Nearness of black and of white, from `default_depth_range`.
        resampling: As `Estimate.resized`.

    Returns:
        (B, 1, height, width) in [0, 1]; black where depth is invalid.

    Raises:
        ValueError: No depth.
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
    """The range of `default_depth_image` of each image, as nearness.

    Args:
        estimate: With depth.
        normalisation: As `default_depth_image`.

    Returns:
        Nearness of black and of white, (B, 1, 1, 1) each: 1 / metres, disparity, or negated relative depth; infinite without valid pixels.

    Raises:
        ValueError: No depth.
    """
    depth, quantity, valid = estimate.known_depth()
    metric = quantity is Quantity.METRIC_DEPTH
    nearness = depth_to_nearness(depth if are_all(valid) else depth.where(valid, 1), quantity, as_disparity=metric)
    return normalisation(nearness, valid, METRIC_PERCENTILES if metric else _WHOLE_RANGE)
