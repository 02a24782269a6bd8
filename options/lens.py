"""The options of depth of field."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .fields import DISTANCES_IN_METRES, NeedsMetres, Options, choice, image_point, number, whole
from .values import MAX_DISTANCE, METRES, UNITS, Point, check_limit

MAX_BLADES = 16
MAX_BLUR = 20.0
MAX_STOPS = 4.0

_F_NUMBER = NeedsMetres("{f_number}", "give {blur} in its place")


@dataclass(frozen=True)
class LensOptions(Options):
    """The focus and the aperture of a lens."""

    focus: float = number(30.0, 0, MAX_DISTANCE, "Distance that is in focus, in the unit below; ignored if a point is set.", open=True)
    unit: str = choice(
        UNITS, "Unit of focus. percent: 0 the near end of the scene, 100 its far end, for any depth. metres: for metric depth."
    )
    point: Point | None = image_point("Point in focus{by_click}; {focus} is then ignored.")
    blur: float = number(
        2.0,
        0,
        MAX_BLUR,
        "Strength of the blur if {f_number} is 0: diameter of a far point's circle with the near end in focus, in percent of the longer "
        "side.",
        unit="percent",
        metavar="PERCENT",
    )
    f_number: float = number(
        0.0,
        0,
        64,
        "F-number of a real lens, for metric depth: 1.4 wide open, 16 almost everything sharp. 0: {blur} sets the strength.",
        metavar="N",
        open=True,
    )
    focal_length: float = number(
        0.0,
        0,
        2000,
        "Focal length of the real lens in millimetres. 0: computed from the camera's field of view and the sensor.",
        step=1,
        unit="mm",
        metavar="LENGTH",
        open=True,
    )
    sensor: float = number(
        36.0,
        1,
        200,
        "Longer side of the real camera's sensor in millimetres: 36 full frame, 23.5 APS-C, 9.8 a phone.",
        unit="mm",
        metavar="LENGTH",
        rare=True,
        open=True,
    )
    blades: int = whole(
        0, 0, MAX_BLADES, "Number of aperture blades: 5 to 9 make highlights polygons, 0 makes them discs.", metavar="N", rare=True
    )
    rotation: float = number(0.0, -360, 360, "Rotation of the aperture blades in degrees.", step=1, metavar="DEGREES", rare=True)
    highlights: float = number(
        1.0,
        0,
        MAX_STOPS,
        "How many stops brighter than white clipped highlights are assumed to be: lights out of focus become bright discs instead of "
        "grey ones.",
        metavar="STOPS",
    )

    def check(self) -> None:
        if self.point is None:
            check_limit(self.focus, self.unit, "focus")

    def unused(self) -> Iterator[tuple[Sequence[str], str]]:
        if self.point is not None:
            yield ("focus",), "has no effect beside {point}, which takes its place; leave one of them out"
        if self.f_number:
            yield ("blur",), "has no effect beside {f_number}, which takes its place; leave one of them out"
        else:
            yield ("focal_length", "sensor"), "is of a real lens; give its {f_number} too, or leave it out"
        if not self.blades:
            yield ("rotation",), "turns the blades of the shutter; give their number with {blades}, or leave it out"

    def needs_metres(self) -> NeedsMetres | None:
        if self.f_number:
            return _F_NUMBER
        return DISTANCES_IN_METRES if self.unit == METRES and self.point is None else None
