"""Masks by depth: a range of distances, the surface or the whole thing around a point, or the whole thing in a box."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..checks import check_choice, check_not_negative
from ..edges.depth_edges import EDGE
from ..regions.boxes import Box, check_box, check_in_box, object_in_box
from ..regions.connected import region_around
from ..regions.objects import foreground_point, object_around
from ..regions.points import Point, pixel_at
from .depths import UNITS, Depths, check_metric

_NAMED_POINTS = 3

SURFACE, OBJECT = SELECTS = ("surface", "object")
"""What a point selects."""


@dataclass(frozen=True)
class MaskChoice:
    """The selection of a mask: what lies between two distances, the surface or the whole thing at a point, or the thing in a box.

    Attributes:
        near: As `range_mask`; not looked at where there is a point or a box.
        far: The same.
        unit: The unit of near, far, feather and tolerance, one of `depths.UNITS`.
        feather: As `range_mask` and `surface_mask`; not looked at for an object.
        point: (x, y), 0 to 1 of the image from its top left corner.
        tolerance: As `surface_mask`; not looked at for an object.
        invert: Everything else.
        select: What the point selects, "surface" (`surface_mask`) or "object" (`object_mask`). A box selects an object in any case.
        box: As `box_mask`. All points correct it.
        more_points: Other points of the same thing, or of further surfaces.
        not_points: Points that are not of the thing, for an "object".
        whole_foreground: The whole thing that stands out most, in place of a range (see `objects.foreground_point`).

    Raises:
        ValueError: An unknown unit, limits out of order, a point beyond the image, a box that is none, a point of the thing outside the
            box, or further points without a first one or a box.
    """

    near: float = 0.0
    far: float = 50.0
    unit: str = UNITS[0]
    feather: float = 0.0
    point: Point | None = None
    tolerance: float = 10.0
    invert: bool = False
    select: str = SURFACE
    box: Box | None = None
    more_points: Sequence[Point] = ()
    not_points: Sequence[Point] = ()
    whole_foreground: bool = False

    def __post_init__(self) -> None:
        check_choice("unit", self.unit, UNITS)
        check_choice("select", self.select, SELECTS)
        for name in ("near", "far", "feather", "tolerance"):
            check_not_negative(name, getattr(self, name))
        if self.point is None and self.box is None:
            _check_limits(self.near, self.far, self.unit)
        if self.box is not None:
            check_box(self.box)
        self._check_points()

    @property
    def _points(self) -> tuple[Point, ...]:
        """All points of the thing."""
        return (*([self.point] if self.point else ()), *self.more_points)

    def _check_points(self) -> None:
        for x, y in (*self._points, *self.not_points):
            if not (0 <= x <= 1 and 0 <= y <= 1):
                raise ValueError(f"the point is at ({x:g}, {y:g}); accepted: 0 to 1 from left to right and from top to bottom")
        if self.box is not None:
            check_in_box(self.box, self._points)
        elif self.more_points or self.not_points:
            if self.point is None:
                raise ValueError("there are further points, but no point of the object; give the point where the object is first")
            if self.not_points and self.select != OBJECT:
                raise ValueError("points that the mask must not hold part objects, not surfaces; select object, or leave them out")
        inside = set(map(tuple, self._points))
        if both := inside.intersection(map(tuple, self.not_points)):
            x, y = min(both)
            raise ValueError(f"the point ({x:g}, {y:g}) is both in the object and not in it; give it once")

    def mask(self, depths: Depths, image: Tensor | None = None) -> Tensor:
        """The mask of one image.

        Args:
            depths: Of the image.
            image: (1, 3, H, W) RGB in [0, 1], whose edges an object follows; None = its depth alone.

        Returns:
            (1, 1, H, W) in [0, 1].

        Raises:
            ValueError: Metres where they are needed and the depth has none.
        """
        if self.box is not None:
            mask = box_mask(depths, self.box, image, self._points, self.not_points)
        elif self.point is None and self.whole_foreground:
            mask = object_mask(depths, [foreground_point(depths.depth, _colours(depths, image))], (), image)
        elif self.point is None:
            mask = range_mask(depths, self.near, self.far, unit=self.unit, feather=self.feather)
        else:
            if self.select == OBJECT:
                mask = object_mask(depths, self._points, self.not_points, image)
            else:
                mask = surface_mask(depths, self._points, self.tolerance, unit=self.unit, feather=self.feather)
        return 1 - mask if self.invert else mask

    def describe(self, depths: Depths, share: float) -> str:
        """The mask in words, e.g. "mask 0.8 to 2.4 m, 31 % of the image"; `share` is its mean.

        What points select is named by them: "object at 0.4,0.5 and 0.2,0.9, 31 % of the image".
        """
        unit = "m" if self.unit == "metres" else "%"
        if self.box:
            words = "object in the box"
            if self._points:
                words += f" with {_named(self._points)}"
            if self.not_points:
                words += f" without {_named(self.not_points)}"
        elif self.point:
            words = f"{self.select} at {_named(self._points)}"
            if depths.is_metric and not self.more_points:
                words += f" ({depths.describe(depths.at_point(*self.point))})"
            if self.not_points:
                words += f" without {_named(self.not_points)}"
            if self.select == SURFACE:
                words += f", up to {self.tolerance:g} {unit} nearer or farther"
        elif self.whole_foreground:
            words = "foreground"
        elif self.far == 0 and unit == "m":
            words = f"mask from {self.near:g} m on"
        else:
            words = f"mask {self.near:g} to {self.far:g} {unit}"
            if unit == "%" and depths.is_metric:
                words += f" ({depths.at_share(self.near / 100):.3g} to {depths.at_share(self.far / 100):.3g} m)"
        return f"{'all but ' if self.invert else ''}{words}, {100 * share:.0f} % of the image"


def _named(points: Sequence[Point]) -> str:
    """Points in words, e.g. "0.4,0.5 and 0.2,0.9"; of many, the first and how many more there are."""
    named = [f"{x:.3g},{y:.3g}" for x, y in points[:_NAMED_POINTS]]
    if more := len(points) - len(named):
        named.append(f"{more} more point{'s' * (more > 1)}")
    return " and ".join(named)


def range_mask(depths: Depths, near: float = 0.0, far: float = 50.0, *, unit: str = UNITS[0], feather: float = 0.0) -> Tensor:
    """A mask of what lies between two distances.

    Args:
        depths: Of one image.
        near: The near limit, in `unit`.
        far: The far limit; 0 in metres, or 100 percent, is no limit, and takes in holes such as the sky.
        unit: "percent" of the way from near to far (see `depths.UNITS`) or "metres".
        feather: Over how much, in `unit`, the mask falls off beyond each limit.

    Returns:
        (1, 1, H, W) in [0, 1].

    Raises:
        ValueError: An unknown unit, metres where the depth has none, or limits out of order.
    """
    _check_limits(near, far, unit)
    no_limit = far == 0 if unit == "metres" else far >= 100
    distance = torch.where(depths.hole, torch.inf, _distance(depths, unit))
    mask = _ramp(distance - near, feather) if near > 0 else torch.ones_like(distance)
    return mask if no_limit else torch.minimum(mask, _ramp(far - distance, feather))


def surface_mask(depths: Depths, points: Sequence[Point], tolerance: float, *, unit: str = UNITS[0], feather: float = 0.0) -> Tensor:
    """A mask of the surfaces around points: what hangs together with a point, without a step of more than 5 % between neighbours.

    Args:
        depths: Of one image.
        points: (x, y) each, 0 to 1 of the image from its top left corner.
        tolerance: How much nearer or farther than its point a surface may reach, in `unit`.
        unit: As `range_mask`.
        feather: Over how much, in `unit`, the mask falls off beyond the tolerance.

    Returns:
        (1, 1, H, W) in [0, 1].

    Raises:
        ValueError: An unknown unit, or metres where the depth has none.
    """
    distance = _distance(depths, unit)
    return torch.stack([_around_point(depths, distance, each, tolerance, feather) for each in points]).amax(0)


def object_mask(depths: Depths, points: Sequence[Point], not_points: Sequence[Point] = (), image: Tensor | None = None) -> Tensor:
    """A mask of the whole thing at points, without what it stands on (see `objects.object_around`), of any depth.

    Args:
        depths: Of one image.
        points: As `surface_mask`, all of the one thing.
        not_points: Points that are not of it.
        image: (1, 3, H, W) RGB in [0, 1], whose edges it follows; None = its depth alone.

    Returns:
        (1, 1, H, W) in [0, 1].
    """
    first, *more = points
    # Of a sky, which has no depth, what is found is sky.
    at_points = [depths.hole == depths.hole[(..., *pixel_at(each, *depths.hole.shape[-2:]))] for each in points]
    mask = object_around(depths.depth, _colours(depths, image), *first, more, not_points)
    return torch.where(torch.stack(at_points).any(0), mask, 0)


def box_mask(
    depths: Depths, box: Box, image: Tensor | None = None, points: Sequence[Point] = (), not_points: Sequence[Point] = ()
) -> Tensor:
    """A mask of the whole thing in a box (see `boxes.object_in_box`), of any depth.

    Args:
        depths: Of one image.
        box: (left, top, right, bottom), 0 to 1 of the image, around the thing.
        image: As `object_mask`.
        points: Points of the thing, in the box.
        not_points: Points that are not of it.

    Returns:
        (1, 1, H, W) in [0, 1].

    Raises:
        ValueError: A box that is none, or a point of the thing outside it.
    """
    return torch.where(depths.hole, 0, object_in_box(depths.depth, _colours(depths, image), box, points, not_points))


def _check_limits(near: float, far: float, unit: str) -> None:
    if near > far and not (unit == "metres" and far == 0):
        raise ValueError(f"the mask begins at {near:g} and ends at {far:g} {unit}; expected near below far")


def _distance(depths: Depths, unit: str) -> Tensor:
    """How far everything is, (1, 1, H, W), in a unit."""
    check_choice("unit", unit, UNITS)
    if unit == "metres":
        check_metric(depths)
        return depths.depth
    return 100 * depths.share()


def _colours(depths: Depths, image: Tensor | None) -> Tensor:
    return torch.ones_like(depths.depth).expand(-1, 3, -1, -1) if image is None else image


def _ramp(inside: Tensor, feather: float) -> Tensor:
    """1 where the number is 0 or above, 0 where it is below -feather."""
    return (1 + inside / feather).clamp(0, 1) if feather > 0 else (inside >= 0).to(inside)


def _around_point(depths: Depths, distance: Tensor, point: tuple[float, float], tolerance: float, feather: float) -> Tensor:
    row, column = pixel_at(point, *distance.shape[-2:])
    away = (distance - distance[..., row : row + 1, column : column + 1]).abs()
    allowed = (away <= tolerance + feather) & ~depths.hole
    logarithms = depths.depth[0, 0].float().log().cpu()  # found on the CPU, whatever the device
    reached = region_around(logarithms, allowed[0, 0].cpu(), row, column, math.log(EDGE)).to(away.device)
    return torch.where(reached, _ramp(tolerance - away, feather), 0)
