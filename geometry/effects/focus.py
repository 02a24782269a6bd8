"""Turns lens settings and a focus distance or point into circles of confusion for `depth_of_field`."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

from ...options.lens import LensOptions
from ..assumptions import assumed_intrinsics
from ..edges.depth_edges import edge_radius, sharpened_inverse
from ..estimate import Estimate
from ..filters.extremes import extremes_within, largest_within
from ..projections import need_perspective
from ..regions.before_sky import depth_before_sky
from .depths import Depths, depth_of, known_depths
from .lens import SHARP_SHARE, aperture_scale, circle_of_confusion, sharp_range


class Focused(NamedTuple):
    """Depth of field for one image.

    Attributes:
        circle: (1, 1, H, W) signed diameters in pixels.
        description: The sharp range, e.g. "focus 2.31 m, sharp from 2.02 m to 2.7 m".
    """

    circle: Tensor
    description: str


def focused(estimate: Estimate, image: Tensor, lens: LensOptions) -> Focused:
    """Computes the circles of one image.

    Args:
        estimate: With depth, of one image, at its size.
        image: (1, 3, H, W), to whose edges the depth's edges are aligned.
        lens: Focus and aperture.

    Raises:
        ValueError: No depth, metres or an f-number without metric depth, or a focus that is impossible with such a lens.
    """
    need_perspective(estimate, "depth of field")
    depths = known_depths(estimate)
    if lens.f_number and not depths.is_metric:
        raise ValueError("an f-number needs depth in metres, and this depth has none: give the blur in percent instead")
    # Pixels at the border of a near object have mixed colours, and belong to the object.
    shown = image.clamp(0, 1)
    soft = depth_before_sky(depths.depth, shown, estimate).reciprocal()
    inverse = sharpened_inverse(soft, edge_radius(*image.shape[-2:]), 1, shown)
    # A single far pixel within a near object would be a hole through which the blurred background shows.
    padded = F.pad(inverse, (2, 2, 2, 2), mode="replicate")  # so that the border's own values stay
    closed, _ = extremes_within(largest_within(padded, 1), 1)
    depths = depths._replace(depth=1 / closed[..., 2:-2, 2:-2])
    distance = depths.at_point(*lens.point) if lens.point else depth_of(depths, lens.focus, lens.unit, "focus")
    side = max(image.shape[-2:])
    if lens.f_number:
        scale = _scale_of_lens(estimate, lens, distance, side)
    else:
        span = 1 / depths.nearest - 1 / depths.farthest
        scale = lens.blur / 100 * side / (distance * span) if span * distance > 1e-6 else 0.0
    return Focused(circle_of_confusion(depths.depth, distance, scale), _words(depths, distance, scale, image))


def _scale_of_lens(estimate: Estimate, lens: LensOptions, distance: float, side: int) -> float:
    focal_length = lens.focal_length
    if not focal_length:
        along = 0 if estimate.width >= estimate.height else 1
        focal_length = float(assumed_intrinsics(estimate)[0, along, along]) / side * lens.sensor
    return float(aperture_scale(distance, lens.f_number, focal_length, lens.sensor, side))


def _words(depths: Depths, distance: float, scale: float, image: Tensor) -> str:
    near, far = sharp_range(distance, scale, SHARP_SHARE * math.hypot(*image.shape[-2:]))
    words = f"focus {depths.describe(distance)}, sharp from {depths.describe(near)} to {depths.describe(far)}"
    misses = far < depths.nearest or near > depths.farthest
    if depths.is_metric and not 0.99 * depths.nearest <= distance <= 1.01 * depths.farthest:
        words += f"; the scene reaches from {depths.describe_range()}" + (", nothing in it is sharp" if misses else "")
    return words if depths.is_metric else f"{words} (0 % the near end, 100 % the far end)"
