"""The options of masks and cut-outs, and of the sky (on the command line: --sky, --no-sky or --sky-mask)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .checks import InvalidArgumentError, check_range
from .fields import DISTANCES_IN_METRES, NeedsMetres, Options, choice, image_box, image_point, image_points, number, switch
from .values import MAX_DISTANCE, METRES, PERCENT, UNITS, Box, Point, check_in_box, check_interval

SURFACE, OBJECT = SELECTS = ("surface", "object")
"""What a point selects."""

MAX_EDGE = 10.0

_FAR = "Distance at which the mask ends. 100 percent or 0 metres: no limit, and the sky and holes are included."
_FAR_OF_CUTOUT = (
    "Distance at which the cut-out ends. {near} and {far} 0: the whole thing that stands out most, whatever its distance. 100 percent or, "
    "beyond {near}, 0 metres: no limit, and the sky and holes are included."
)
_SELECT = (
    "What the point selects. object: the whole thing there, without the floor, table or wall; {feather} and {tolerance} are ignored. "
    "surface: everything connected with the point within {tolerance}."
)


@dataclass(frozen=True)
class SelectionOptions(Options):
    """A selection: between two distances, the surface or the whole object at a point, or the object in a box, which points refine.

    Raises ValueError for limits out of order, a point of the object outside the box, further points without a first one or a box, or a
    point both on the object and off it.
    """

    unit: str = choice(
        UNITS,
        "Unit of {near}, {far}, {feather} and {tolerance}. percent: 0 the near end of the scene, 100 its far end, in steps of the depth "
        "map's grey levels. metres: metric depth only.",
    )
    near: float = number(0.0, (0, MAX_DISTANCE), "Distance at which the mask begins. 0: at the camera.", unit="percent", open=True)
    far: float = number(40.0, (0, MAX_DISTANCE), _FAR, unit="percent", open=True)
    feather: float = number(
        2.0, (0, MAX_DISTANCE), "Width of the soft falloff beyond {near} and {far}, in the same unit.", unit="percent", open=True
    )
    point: Point | None = image_point(
        "Point on the image{by_click}: the mask is what is seen there (see {select}), and {near} and {far} are ignored.",
        on_command="Given again, a further point of it. With {box}: a point that the object in it lacks.",
        unless="box",
    )
    tolerance: float = number(
        8.0,
        (0, MAX_DISTANCE),
        "Depth range around the point: how much nearer or farther than the point the surface may reach, in the same unit.",
        unit="percent",
        rare=True,
        open=True,
    )
    select: str = choice(SELECTS, _SELECT)
    box: Box | None = image_box(
        "Box around an object{by_drag}: the mask is the whole object in it, without the floor, table or wall; "
        "{more_points} and {not_points} correct it; {first_point}{near}, {far} and {select} are ignored."
    )
    more_points: Sequence[Point] = image_points(
        "Further points of the same object, or of further surfaces{by_shift_click}; in a box: points that the object lacks.",
        example="0.4,0.5 0.6,0.55",
        beside="point",
    )
    not_points: Sequence[Point] = image_points(
        "Points that are not of the object{by_alt_click}: their parts are removed.",
        on_node="Without a box, select must be object.",
        on_command="With {select} object or {box}; can be given again.",
        flag="--not-point",
    )

    @property
    def all_points(self) -> tuple[Point, ...]:
        """All points on the object."""
        return (*([self.point] if self.point else ()), *self.more_points)

    @property
    def whole_foreground(self) -> bool:
        """Whether the most prominent object is selected instead of a range."""
        return False

    def check(self) -> None:
        if self.box is not None:
            check_in_box(self.box, self.all_points)
        elif self.point is None:
            check_interval(self.near, self.far, self.unit)
            if self.more_points or self.not_points:
                raise ValueError("there are further points, but no point of the object; give the point where the object is first")
        elif self.not_points and self.select != OBJECT:
            raise ValueError("points that the mask must not hold part objects, not surfaces; select object, or leave them out")
        if both := set(map(tuple, self.all_points)).intersection(map(tuple, self.not_points)):
            x, y = min(both)
            raise ValueError(f"the point ({x:g}, {y:g}) is both in the object and not in it; give it once")

    def check_typed(self) -> None:
        if self.unit == PERCENT and self.point is None and self.box is None:
            check_range("near", self.near, 0, 100)
            check_range("far", self.far, 0, 100)

    def unused(self) -> Iterator[tuple[Sequence[str], str]]:
        if self.box is not None:
            yield ("near", "far", "tolerance", "feather", "unit"), "has no effect on the object in a {box}; leave it out"
            return
        if self.point is None:
            yield ("tolerance",), "says how far the surface around {point} reaches; name a point, or leave it out"
            yield ("not_points",), "is beside the object at {point} or in a {box}; name one of these, too, or leave it out"
            yield ("select",), "says what {point} selects; name a point, or a {box}, or leave it out"
            return
        yield ("near", "far"), "has no effect beside {point}, which takes their place; leave one of them out"
        if self.select == OBJECT:
            yield ("tolerance", "feather", "unit"), "has no effect on a whole object; leave it out"
        else:
            yield ("not_points",), "removes parts of an object; add {select} object, or leave it out"

    def needs_metres(self) -> NeedsMetres | None:
        return DISTANCES_IN_METRES if self.unit == METRES else None


@dataclass(frozen=True)
class MaskOptions(SelectionOptions):
    """A mask of the selection."""

    invert: bool = switch(False, "Inverts the mask.", before="select")


@dataclass(frozen=True)
class CutoutOptions(SelectionOptions):
    """A cut-out of the selection."""

    far: float = number(0.0, (0, MAX_DISTANCE), _FAR_OF_CUTOUT, unit="percent", open=True)
    select: str = choice(SELECTS, _SELECT, OBJECT)
    edge: float = number(
        0.6,
        (0, MAX_EDGE),
        "Half the width of the border that is matted by the image's colours, in percent of its longer side: as far as the depth may be "
        "wrong and hair may reach. 0: the mask unchanged.",
        unit="percent",
        metavar="PERCENT",
        before="select",
    )
    decontaminate: bool = switch(
        True,
        "Removes the old background's colour from the border.",
        flag="--keep-colours",
        off="leave the old background's share in the colours of the border",
        rare=True,
        before="select",
    )

    @property
    def whole_foreground(self) -> bool:
        """See `SelectionOptions`: True with default distances and no point or box."""
        return self.near == self.far == 0 and self.point is None and self.box is None

    @property
    def node_hint(self) -> str:
        return "; click on a thing or drag a box to choose another" * self.whole_foreground

    def check(self) -> None:
        if self.near > self.far == 0 and self.unit == PERCENT and self.point is None and self.box is None:
            raise InvalidArgumentError(
                "far", f"is 0, and the cut-out begins at {self.near:g} percent; accepted: more than that; 100 is no limit"
            )
        super().check()

    def unused(self) -> Iterator[tuple[Sequence[str], str]]:
        if self.whole_foreground:
            yield ("feather", "unit"), "is of distances, and the whole thing that stands out is cut out; add {far}, or leave it out"
        yield from super().unused()

    def needs_metres(self) -> NeedsMetres | None:
        return None if self.whole_foreground else super().needs_metres()


SKIES = AUTO, NONE = ("auto", "none")


@dataclass(frozen=True)
class SkyOptions(Options):
    """A sky mask, which has no options."""
