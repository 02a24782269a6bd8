"""Masks by depth: a range of distances, the surface or the whole thing around a point, or the whole thing in a box."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..checks import check_choice, check_not_negative
from ..edges.depth_edges import EDGE
from ..regions.boxes import Box, check_box, object_in_box
from ..regions.connected import region_around
from ..regions.objects import Point, object_around, pixel_at
from .depths import UNITS, Depths, check_metric

SURFACE, OBJECT = SELECTS = ("surface", "object")
"""What a point selects."""


@dataclass(frozen=True)
class MaskChoice:
    """The selection of a mask; the fields are those of `depth_mask`.

    Raises:
        ValueError: An unknown unit, limits out of order, a point beyond the image, a box that is none, both a point and a box, or further
            points without a first one.
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

    def __post_init__(self) -> None:
        check_choice("unit", self.unit, UNITS)
        check_choice("select", self.select, SELECTS)
        for name in ("near", "far", "feather", "tolerance"):
            check_not_negative(name, getattr(self, name))
        if self.near > self.far and not (self.unit == "metres" and self.far == 0):
            raise ValueError(f"the mask begins at {self.near:g} and ends at {self.far:g} {self.unit}; expected near below far")
        self._check_points()
        if self.box is not None:
            check_box(self.box)
            if self.point is not None:
                raise ValueError("there are a point and a box, and each selects an object; give one of them")

    def _check_points(self) -> None:
        for x, y in (*([self.point] if self.point else ()), *self.more_points, *self.not_points):
            if not (0 <= x <= 1 and 0 <= y <= 1):
                raise ValueError(f"the point is at ({x:g}, {y:g}); accepted: 0 to 1 from left to right and from top to bottom, or no point")
        if (self.more_points or self.not_points) and self.point is None:
            raise ValueError("there are further points, but no point of the object; give the point where the object is first")
        if self.not_points and self.select != OBJECT:
            raise ValueError("points that the mask must not hold part objects, not surfaces; select object, or leave them out")
        inside = {tuple(each) for each in (self.point, *self.more_points) if each}
        if both := inside.intersection(map(tuple, self.not_points)):
            x, y = min(both)
            raise ValueError(f"the point ({x:g}, {y:g}) is both in the object and not in it; give it once")

    def mask(self, depths: Depths, image: Tensor) -> Tensor:
        """The mask of one image, as `depth_mask` makes it."""
        return depth_mask(depths, **vars(self), image=image)

    def describe(self, depths: Depths, share: float) -> str:
        """The mask in words, e.g. "mask 0.8 to 2.4 m, 31 % of the image"; `share` is its mean."""
        unit = "m" if self.unit == "metres" else "%"
        if self.box:
            words = "object in the box"
        elif self.point:
            words = f"{self.select} around {depths.describe(depths.at_point(*self.point))}{self._further()}"
            if self.select == SURFACE:
                words += f", up to {self.tolerance:g} {unit} nearer or farther"
        elif self.far == 0 and unit == "m":
            words = f"mask from {self.near:g} m on"
        else:
            words = f"mask {self.near:g} to {self.far:g} {unit}"
            if unit == "%" and depths.is_metric:
                words += f" ({depths.at_share(self.near / 100):.3g} to {depths.at_share(self.far / 100):.3g} m)"
        return f"{'all but ' if self.invert else ''}{words}, {100 * share:.0f} % of the image"

    def _further(self) -> str:
        """The further points in words, e.g. " (3 points, and 1 not in it)"; nothing of one point."""
        if not (self.more_points or self.not_points):
            return ""
        count = 1 + len(self.more_points)
        points = "1 point" if count == 1 else f"{count} points"
        return f" ({points}, and {len(self.not_points)} not in it)" if self.not_points else f" ({points})"


def depth_mask(
    depths: Depths,
    near: float = 0.0,
    far: float = 50.0,
    *,
    unit: str = UNITS[0],
    feather: float = 0.0,
    point: Point | None = None,
    tolerance: float = 10.0,
    invert: bool = False,
    select: str = SURFACE,
    box: Box | None = None,
    more_points: Sequence[Point] = (),
    not_points: Sequence[Point] = (),
    image: Tensor | None = None,
) -> Tensor:
    """A mask of what lies between two distances, of the connected surface or the whole thing around a point, or of the thing in a box.

    Args:
        depths: Of one image.
        near: The near limit, in `unit`.
        far: The far limit; 0 in metres, or 100 percent, is no limit, and takes in holes such as the sky.
        unit: "percent" of the way from near to far (see `depths.UNITS`) or "metres".
        feather: Over how much, in `unit`, the mask falls off beyond each limit.
        point: (x, y), 0 to 1 of the image from its top left corner. Then the mask is what hangs together with it, within `tolerance` of
            its distance and without a step of more than 5 % between neighbours; near and far are not looked at.
        tolerance: In `unit`.
        invert: Everything else.
        select: What the point selects: "surface", as above, or "object", the whole thing without what it stands on (see
            `objects.object_around`); then tolerance and feather are not looked at.
        box: (left, top, right, bottom), 0 to 1 of the image, around a thing: the mask is the whole thing in it (see `boxes.object_in_box`),
            whatever `select` is; the limits, tolerance and feather are not looked at.
        more_points: Other points of the same thing, or of further surfaces.
        not_points: Points that are not of the thing, for an "object".
        image: (1, 3, H, W) RGB in [0, 1], whose edges an "object" follows; None = its depth alone.

    Returns:
        (1, 1, H, W) in [0, 1].

    Raises:
        ValueError: An unknown unit or selection, metres where the depth has none, limits out of order, a point beyond the image, a box
            that is none, both a point and a box, or further points without a first one.
    """
    MaskChoice(near, far, unit, feather, point, tolerance, invert, select, box, more_points, not_points)  # checks them
    if unit == "metres":
        check_metric(depths)
    distance = depths.depth if unit == "metres" else 100 * depths.share()
    if box is not None or (point is not None and select == OBJECT):
        colours = torch.ones_like(depths.depth).expand(-1, 3, -1, -1) if image is None else image
        if box:
            mask = torch.where(depths.hole, 0, object_in_box(depths.depth, colours, box))
        else:
            assert point is not None
            # Of a sky, which has no depth, what is found is sky.
            at_points = [depths.hole == depths.hole[(..., *pixel_at(each, *depths.hole.shape[-2:]))] for each in (point, *more_points)]
            mask = object_around(depths.depth, colours, *point, more_points, not_points)
            mask = torch.where(torch.stack(at_points).any(0), mask, 0)
    elif point is not None:
        surfaces = [_around_point(depths, distance, each, tolerance, feather) for each in (point, *more_points)]
        mask = torch.stack(surfaces).amax(0)
    else:
        no_limit = far == 0 if unit == "metres" else far >= 100
        distance = torch.where(depths.hole, torch.inf, distance)
        mask = _ramp(distance - near, feather) if near > 0 else torch.ones_like(distance)
        mask = mask if no_limit else torch.minimum(mask, _ramp(far - distance, feather))
    return 1 - mask if invert else mask


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
