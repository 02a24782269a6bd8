"""Depth for effects: positive everywhere, with near and far ends, in metres or percent."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ...options.values import check_limit
from ...utils import constant, to_cpu
from ..assumptions import filled_depth, filled_with_ends
from ..estimate import Estimate, Quantity
from ..levels import FAR_AND_NEAR_END, at_percentiles, in_order, samples_of
from ..regions.selections import pixel_at
from ..valid import NoDepthError


class Depths(NamedTuple):
    """Depth of one image.

    Attributes:
        depth: (1, 1, H, W), positive and finite: metres, or assumed depth whose near end is 1. Holes are at the farthest value.
        hole: (1, 1, H, W) bool, where depth was unknown.
        is_metric: Whether it is in metres.
        nearest, farthest: The near and far end, the 2nd and 98th percentile; finite.
        is_whole: Whether there are no holes.
    """

    depth: Tensor
    hole: Tensor
    is_metric: bool
    nearest: float
    farthest: float
    is_whole: bool

    def share(self) -> Tensor:
        """(1, 1, H, W): 0 up to the near end, 1 from the far end on, linear in inverse depth; 0 where depth is constant."""
        near, far = 1 / self.nearest, 1 / self.farthest
        span = near - far
        if span <= 1e-6 * near:
            return torch.zeros_like(self.depth)
        return ((near - self.depth.reciprocal()) / span).clamp(0, 1)

    def at_share(self, share: float) -> float:
        """The depth at a share of the way from the near end (0) to the far end (1), linear in inverse depth; clamped."""
        near, far = 1 / self.nearest, 1 / self.farthest
        return 1 / (near + (far - near) * min(max(share, 0.0), 1.0))

    def share_at(self, depth: float) -> float:
        """The share of the way from the near end (0) to the far end (1) of a depth: the inverse of `at_share`."""
        near, far = 1 / self.nearest, 1 / self.farthest
        if depth <= self.nearest:
            return 0.0
        return min(max((near - 1 / depth) / (near - far), 0.0), 1.0) if near - far > 1e-6 * near else 0.0

    def at_point(self, x: float, y: float) -> float:
        """The median depth around a point in relative image coordinates (0 to 1). Synchronises the device."""
        row, column = pixel_at((x, y), *self.depth.shape[-2:])
        return float(self.depth[..., max(0, row - 1) : row + 2, max(0, column - 1) : column + 2].median())

    def describe(self, depth: float) -> str:
        """A depth as text: metres, or percent of the way from near to far."""
        if not self.is_metric:
            return f"{100 * self.share_at(depth):.0f} %"
        return "infinity" if math.isinf(depth) else f"{depth:.3g} m"


def known_depths(estimate: Estimate) -> Depths:
    """Prepares the depth of one image for the effects. Synchronises the device once.

    Disparity and relative depth become assumed depth (`assumptions`). Raises ValueError: no depth, or several images;
    NoDepthError: no valid pixel.
    """
    depth, quantity, valid = estimate.known_depth()
    if estimate.batch != 1:
        raise ValueError(f"the depth is of {estimate.batch} images; expected 1: pass them one by one")
    is_metric = quantity is Quantity.METRIC_DEPTH
    if quantity is Quantity.DISPARITY:
        filled, nearest, farthest, is_whole = filled_with_ends(estimate, valid)
    else:
        filled = torch.where(valid, depth, torch.where(valid, depth, constant(depth, 0.0)).amax()) if is_metric else filled_depth(estimate)
        fetched = to_cpu({"samples": samples_of(filled, valid), "valid": valid.all()})
        nearest, farthest = at_percentiles(in_order(fetched["samples"]), FAR_AND_NEAR_END)
        is_whole = bool(fetched["valid"])
        if math.isinf(nearest) and bool(valid.any()):  # a coarse grid may miss a few scattered values
            nearest, farthest = (float(end) for end in filled[valid].aminmax())
    if math.isinf(nearest):
        raise NoDepthError("no pixel of the image has a depth: all are transparent, masked or NaN; check the image and its depth")
    return Depths(filled, ~valid, is_metric, nearest, farthest, is_whole)


def depth_of(depths: Depths, value: float, unit: str, name: str) -> float:
    """Converts a limit or focus distance called `name` to depth. Raises ValueError for metres without metric depth, or out of range."""
    check_limit(value, unit, name)
    if unit == "metres":
        check_metric(depths)
        return value
    return depths.at_share(value / 100)


def check_metric(depths: Depths) -> None:
    """Raises ValueError unless the depth is metric."""
    if not depths.is_metric:
        raise ValueError(
            "the depth is not in metres (disparity, relative or scale-invariant depth); "
            "give the unit percent, or use a model of metric depth"
        )
