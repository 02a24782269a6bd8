"""Reads depth images as values: the inverse of `render.depth_to_image`."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...options.checks import check_choice
from ...options.map_images import LINEAR_IN, METRES, NEAR, VALUES
from ..checks import are_shapes_alike, check_map
from ..estimate import Estimate, Quantity
from ..levels import measure_range
from ..valid import depth_mask
from .normal_map_image import stored_values

logger = logging.getLogger(__name__)

_OVERSHOOT = 0.01  # of resampled grey levels
SLIGHT_TINT = 0.02
"""The mean difference between the channels of a grey image, by JPEG and rounding to 8 bits, at most."""
# The whole levels of sensors end below this share of 16 bits: 22 m in millimetres, 85 m in KITTI's.
_DARK = 1 / 3
# Channels are compared at about this many pixels along the longer side.
_LOOKED_AT = 1024


@dataclass(frozen=True)
class DepthCoding:
    """The meaning of a depth map's values, and advice for errors.

    Attributes:
        near: Which end of the grey levels is near, "white" or "black".
        values: One of `VALUES`.
        metric_range: Metres at the near and at the far end of the grey levels; None = unknown.
        quantity: The quantity of the unscaled values, instead of the above; None = they are grey levels.
        name: The map's name in errors.
        if_normals, if_metres, if_levels: Advice in errors if the map seems to be a normal map, metres read as grey levels, or grey levels
            read as metres.
        if_sensor: Advice in a note if the grey levels may be the distances of a depth sensor; "" = no note.
        may_be_levels: Whether metres that all lie within 0..1 are refused as grey levels; False for the floats of a file.
    """

    near: str = NEAR[0]
    values: str = LINEAR_IN[0]
    metric_range: tuple[float, float] | None = None
    quantity: Quantity | None = None
    name: str = "the depth map"
    if_normals: str = "a normal map is read as one"
    if_metres: str = 'read them with values "metres"'
    if_levels: str = "grey levels are read as disparity or depth"
    if_sensor: str = ""
    may_be_levels: bool = True

    def __post_init__(self) -> None:
        check_choice("near", self.near, NEAR)
        check_choice("values", self.values, VALUES)


def depth_map_to_estimate(image: Tensor, coding: DepthCoding = DepthCoding(), known: Tensor | None = None) -> Estimate:
    """Decodes any program's depth map; the single entry point for depth maps.

    Args:
        image: (B, C, H, W), the stored values, C = 1, 3 (equal up to JPEG noise) or 4 (with alpha).
        coding: Their meaning.
        known: (B or 1, 1, H, W) bool, pixels with a value; None = all.

    Returns:
        The estimate at the map's size. Its mask excludes pixels that are not `known`, less than half opaque or not finite; for metric depth
        also if not positive; and, unless the map is disparity, if infinitely far.

    Raises:
        ValueError: A coloured image, grey levels beyond [0, 1], metres that look like grey levels, or as `image_to_depth`.
    """
    colours, trusted = stored_values(image, known, coding.name)
    grey = _grey(colours, trusted, coding)
    low, high = torch.cat(measure_range(grey, trusted, per_clip=True)).flatten().tolist()
    quantity = Quantity.METRIC_DEPTH if coding.values == METRES else coding.quantity
    if quantity is Quantity.METRIC_DEPTH and coding.may_be_levels and low >= 0 and high <= 1:
        raise ValueError(f"all values of {coding.name} lie within 0..1, as an image's grey levels do, not metres; {coding.if_levels}")
    if quantity is not None:
        depth = grey
    else:
        if not (low >= -_OVERSHOOT and high <= 1 + _OVERSHOOT):
            problem = f"the values of {coding.name} go from {low:g} to {high:g}, grey levels from 0 to 1"
            raise ValueError(f"{problem}; if they are metres, {coding.if_metres}")
        if low == high and grey[0].numel() > 1:
            logger.warning("%s is %g everywhere, as metres are that were clipped to grey levels: nothing is near or far", coding.name, low)
        levels = grey.clamp(0, 1)
        if high < _DARK and coding.near == "white" and coding.if_sensor and _are_whole(levels.where(trusted, 0) * 65535):
            reading = f"the levels of {coding.name} end at {high * 65535:.0f} of 65535, and are read as near = white"
            logger.warning("%s; if they are distances of a depth camera, %s", reading, coding.if_sensor)
        depth, quantity = image_to_depth(levels, near=coding.near, linear_in=coding.values, metric_range=coding.metric_range)
    return Estimate(depth, quantity, mask=depth_mask(depth, quantity, trusted))


def _are_whole(levels: Tensor) -> bool:
    """Whether levels of 16 bits are whole numbers, and not all of 8 bits."""
    whole = levels.round()
    return bool(((levels - whole).abs() < 0.01).all() & (whole % 257 > 0).any())


def _grey(colours: Tensor, trusted: Tensor, coding: DepthCoding) -> Tensor:
    """The channel mean (B, 1, H, W), exact for equal channels. Raises ValueError for coloured images."""
    if colours.shape[1] == 1:
        return colours
    first = colours[:, :1]
    others = colours[:, 1:] - first
    step = -(-max(colours.shape[-2:]) // _LOOKED_AT)
    seen, differing = (each[..., ::step, ::step] for each in (trusted, others))
    differing = torch.where(seen, torch.cat((torch.zeros_like(differing[:, :1]), differing), 1), 0)
    spread = _mean(differing.amax(1, keepdim=True) - differing.amin(1, keepdim=True), seen)
    usual = _mean(torch.where(seen, first[..., ::step, ::step].abs(), 0), seen).clamp(min=1)
    if bool((spread > SLIGHT_TINT * usual).any()):
        raise ValueError(
            f"{coding.name} is coloured (its channels differ by {spread.max().item():.2f} on average), a depth map is grey; use depth "
            f"without a colour map; {coding.if_normals}"
        )
    return first + others.sum(1, keepdim=True) / 3


def _mean(values: Tensor, seen: Tensor) -> Tensor:
    """(B,) mean over the pixels where `seen` is True; the other values must be 0."""
    return values.sum((1, 2, 3)) / seen.sum((1, 2, 3)).clamp(min=1)


def image_to_depth(
    image: Tensor, *, near: str = "white", linear_in: str = "disparity", metric_range: tuple[float, float] | None = None
) -> tuple[Tensor, Quantity]:
    """Converts grey levels (B, 1, H, W) in [0, 1] to depth and its quantity.

    Metric depth if the range is known, otherwise disparity or relative depth in [0, 1]. Raises ValueError: wrong shape, unknown names, or a
    range that is not ascending, is infinite, or, for disparity, begins at 0.

    Args:
        near: Which end of the grey levels is near, "white" or "black".
        linear_in: The quantity that is linear in the grey levels, "disparity" or "depth".
        metric_range: Metres at the near and at the far end of the grey levels; None = unknown.
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


def joined_maps(depth: Estimate | None, normals: Estimate | None, height: int, width: int) -> Estimate:
    """Combines a depth map and a normal map of any sizes into an estimate at the image's size.

    A single map stays as it is if it is smaller and has the image's shape: normals must be derived before a depth map is enlarged, or they
    show its pixels. The estimate has no mask: masked pixels become NaN. A map with a batch of 1 is repeated for the other map's batch.
    Raises ValueError: both are None.
    """
    parts = [replace(each.where_known(each.mask), mask=None) for each in (depth, normals) if each is not None]
    if not parts:
        raise ValueError("there is nothing to light by: link a normal map, a depth image (near = white), or geometry")
    if len(parts) == 1:
        (own,) = parts
        is_smaller = own.height <= height and own.width <= width
        return own if is_smaller and are_shapes_alike((own.height, own.width), (height, width)) else own.resized(height, width)
    batch = max(part.batch for part in parts)
    sized = [part.resized(height, width) for part in parts]
    of_depth, of_normals = (part if part.batch == batch else part.expanded(batch) for part in sized)
    return replace(of_depth, normals=of_normals.normals)
