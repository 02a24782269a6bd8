"""Masks by depth: a range of distances, the surface or object at a point, or the object in a box."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ...options.checks import check_choice
from ...options.masks import OBJECT, SURFACE, SelectionOptions
from ...options.values import UNITS, Point, check_interval
from ..edges.depth_edges import EDGE
from ..regions.boxes import object_in_box
from ..regions.connected import region_around
from ..regions.objects import foreground_object, object_around
from ..regions.selections import pixel_at
from .depths import Depths, check_metric

_NAMED_POINTS = 3


def selected_mask(selection: SelectionOptions, depths: Depths, image: Tensor | None = None) -> Tensor:
    """The mask (1, 1, H, W) in [0, 1] of one image (1, 3, H, W) RGB in [0, 1], whose edges an object follows; without it, only depth.

    Raises ValueError: metres are requested and the depth is not metric, an invalid box, or a point of the object outside it.
    """
    colours = torch.ones_like(depths.depth).expand(-1, 3, -1, -1) if image is None else image
    if selection.box is not None:
        mask = object_in_box(depths.depth, colours, selection.box, selection.all_points, selection.not_points)
        return torch.where(depths.hole, 0, mask)
    if selection.whole_foreground:
        point, mask = foreground_object(depths.depth, colours)
        return _alike_where(depths, [point], mask)
    if selection.point is None:
        return range_mask(depths, selection.near, selection.far, unit=selection.unit, feather=selection.feather)
    if selection.select == OBJECT:
        first, *more = selection.all_points
        return _alike_where(depths, selection.all_points, object_around(depths.depth, colours, *first, more, selection.not_points))
    return surface_mask(depths, selection.all_points, selection.tolerance, unit=selection.unit, feather=selection.feather)


def describe_selection(selection: SelectionOptions, depths: Depths, share: float) -> str:
    """Describes the mask, e.g. "mask 0.8 to 2.4 m, 31 % of the image"; `share` is its mean.

    Selections by points name them: "object at 0.4,0.5 + 0.2,0.9, 31 % of the image".
    """
    unit = "m" if selection.unit == "metres" else "%"
    if selection.box:
        words = "object in the box"
        if selection.all_points:
            words += f", with the points {_named(selection.all_points)}"
        if selection.not_points:
            words += f", without the points {_named(selection.not_points)}"
    elif selection.point:
        points = _named(selection.all_points)
        words = f"surface at {points}" if selection.select == SURFACE else f"object at {points}"
        if depths.is_metric and not selection.more_points:
            words += f" ({depths.describe(depths.at_point(*selection.point))})"
        if selection.not_points:
            words += f", without the points {_named(selection.not_points)}"
        if selection.select == SURFACE:
            words += f", up to {selection.tolerance:g} {unit} nearer or farther"
    elif selection.whole_foreground:
        words = "foreground"
    elif selection.far == 0 and unit == "m":
        words = f"mask from {selection.near:g} m on"
    else:
        words = f"mask {selection.near:g} to {selection.far:g} {unit}"
        if unit == "%" and depths.is_metric:
            words += f", which is {depths.at_share(selection.near / 100):.3g} to {depths.at_share(selection.far / 100):.3g} m"
    return f"{words}, {100 * share:.0f} % of the image"


def _named(points: Sequence[Point]) -> str:
    """Names points, e.g. "0.4,0.5 + 0.2,0.9"; of many, the first ones and the number of others."""
    named = " + ".join(f"{x:.3g},{y:.3g}" for x, y in points[:_NAMED_POINTS])
    return f"{named} (+{more})" if (more := len(points) - _NAMED_POINTS) > 0 else named


def range_mask(depths: Depths, near: float = 0.0, far: float = 50.0, *, unit: str = UNITS[0], feather: float = 0.0) -> Tensor:
    """A mask (1, 1, H, W) in [0, 1] of a range of distances of one image.

    Args:
        near: The near limit, in `unit`.
        far: The far limit; 0 in metres, or 100 percent, is no limit, and includes holes such as the sky.
        unit: "percent" of the way from near to far (see `options.values.UNITS`) or "metres".
        feather: The falloff beyond each limit, in `unit`.

    Raises:
        ValueError: An unknown unit, metres without metric depth, or limits out of order.
    """
    check_interval(near, far, unit)
    no_limit = far == 0 if unit == "metres" else far >= 100
    distance = torch.where(depths.hole, torch.inf, _distance(depths, unit))
    mask = _ramp(distance - near, feather) if near > 0 else torch.ones_like(distance)
    return mask if no_limit else torch.minimum(mask, _ramp(far - distance, feather))


def surface_mask(depths: Depths, points: Sequence[Point], tolerance: float, *, unit: str = UNITS[0], feather: float = 0.0) -> Tensor:
    """A mask of the surfaces at points: regions connected to a point without a step of more than 5 % between neighbours.

    Args:
        points: (x, y) each, 0 to 1 of the image from its top left corner.
        tolerance: Largest distance of a surface from its point, nearer or farther, in `unit`.
        unit, feather: As `range_mask`.

    Raises:
        ValueError: An unknown unit, or metres without metric depth.
    """
    distance = _distance(depths, unit)
    return torch.stack([_around_point(depths, distance, each, tolerance, feather) for each in points]).amax(0)


def _distance(depths: Depths, unit: str) -> Tensor:
    """The distance of each pixel, (1, 1, H, W), in `unit`."""
    check_choice("unit", unit, UNITS)
    if unit == "metres":
        check_metric(depths)
        return depths.depth
    return 100 * depths.share()


def _alike_where(depths: Depths, points: Sequence[Point], mask: Tensor) -> Tensor:
    """Keeps a mask only where depth is known or unknown as at any of the points: a point in a sky without depth selects sky."""
    at_points = [depths.hole == depths.hole[(..., *pixel_at(each, *depths.hole.shape[-2:]))] for each in points]
    return mask * functools.reduce(torch.logical_or, at_points)


def _ramp(inside: Tensor, feather: float) -> Tensor:
    """1 where `inside` is 0 or above, 0 below -feather."""
    return (1 + inside / feather).clamp(0, 1) if feather > 0 else (inside >= 0).to(inside)


def _around_point(depths: Depths, distance: Tensor, point: tuple[float, float], tolerance: float, feather: float) -> Tensor:
    row, column = pixel_at(point, *distance.shape[-2:])
    away = (distance - distance[..., row : row + 1, column : column + 1]).abs()
    allowed = (away <= tolerance + feather) & ~depths.hole
    logarithms = depths.depth[0, 0].float().log().cpu()  # computed on the CPU, whatever the device
    reached = region_around(logarithms, allowed[0, 0].cpu(), row, column, math.log(EDGE)).to(away.device)
    return torch.where(reached, _ramp(tolerance - away, feather), 0)
