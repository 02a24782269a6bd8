"""Values of options as people write them: colours, distances, points and boxes of an image."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from .checks import InvalidArgumentError, check_range

# Colour pickers append two digits of opacity, which is ignored.
_HEXADECIMAL = re.compile("#([0-9a-fA-F]{3}|[0-9a-fA-F]{6}(?:[0-9a-fA-F]{2})?)")
_NUMBERS = re.compile(r"(\d{1,3})\s*,\s*(\d{1,3})\s*,\s*(\d{1,3})")

LAMP_COLOURS = {"warm": "#ffcea6", "cool": "#c9e2ff", "candle": "#ffb46b", "moon": "#9ec3ff"}
"""Names of lamp colours, besides those of CSS."""


def colour_levels(colour: str, name: str = "colour") -> tuple[int, ...]:
    """Parses a colour to sRGB levels from 0 to 255: InvalidArgumentError has the text and what is accepted."""
    from PIL import ImageColor

    text = colour.strip() if isinstance(colour, str) else ""
    text = LAMP_COLOURS.get(text.lower(), text)
    levels: tuple[int, ...] = ()
    if numbers := _NUMBERS.fullmatch(text):
        levels = tuple(int(number) for number in numbers.groups())
    elif _HEXADECIMAL.fullmatch(text) or text.lower() in ImageColor.colormap:
        levels = ImageColor.getrgb(text)[:3]
    if not levels or max(levels) > 255:
        raise InvalidArgumentError(
            name,
            f"is {colour!r}; accepted: # and six or three hexadecimal digits, such as #ffb46b or #fff, a name such as white or "
            f"warm ({', '.join(LAMP_COLOURS)} are lamps'), or red, green and blue from 0 to 255, such as 255,180,107",
        )
    return levels


PERCENT, METRES = UNITS = ("percent", "metres")
"""Units of limits and focus. percent: 0 = the scene's near end, 100 = its far end, linear in the depth image's grey levels."""

MAX_DISTANCE = 10_000.0


def check_limit(value: float, unit: str, name: str) -> None:
    """Rejects an invalid limit or focus, in metres or percent (`UNITS`): ValueError says which numbers are accepted."""
    if unit != METRES:
        check_range(name, value, 0, 100)
    elif not 0 < value < math.inf:
        raise InvalidArgumentError(name, f"is {value:g} m; accepted: above 0")


def check_interval(near: float, far: float, unit: str) -> None:
    """Rejects limits out of order by ValueError; a far limit of 0 metres means none."""
    if near > far and not (unit == METRES and far == 0):
        raise ValueError(f"the mask begins at {near:g} and ends at {far:g} {unit}; expected near below far")


Point = tuple[float, float]
"""x and y, 0 to 1 from the top left corner."""

Box = tuple[float, float, float, float]
"""Left, top, right and bottom, 0 to 1 from the top left corner."""

_ROUNDING = 1e-6  # a point this close outside a box is on its border


def check_point(point: Point) -> None:
    """Rejects a point outside the image: ValueError says which are accepted."""
    x, y = point
    if not (0 <= x <= 1 and 0 <= y <= 1):
        raise ValueError(f"the point is at ({x:g}, {y:g}); accepted: 0 to 1 from left to right and from top to bottom")


def check_box(box: Box) -> None:
    """Rejects an invalid box, and one that covers the whole image: ValueError says which are accepted."""
    left, top, right, bottom = box
    problem = f"the box is from ({left:g}, {top:g}) to ({right:g}, {bottom:g})"
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise ValueError(f"{problem}; accepted: left smaller than right, top smaller than bottom, all of them 0 to 1 of the image")
    if box == (0, 0, 1, 1):
        raise ValueError(f"{problem}, the whole image, and separates nothing; draw it around the object, with background outside")


def check_in_box(box: Box, points: Sequence[Point]) -> None:
    """Rejects points of an object outside its box: ValueError names the first."""
    left, top, right, bottom = box
    for x, y in points:
        if not is_in_box(box, x, y):
            where = f"the box, which is from ({left:g}, {top:g}) to ({right:g}, {bottom:g})"
            raise ValueError(f"the point ({x:g}, {y:g}) of the object is outside {where}; draw the box around the whole object")


def is_in_box(box: Box, x: float, y: float) -> bool:
    """Whether a point is in a box, or on its border."""
    left, top, right, bottom = box
    return left - _ROUNDING <= x <= right + _ROUNDING and top - _ROUNDING <= y <= bottom + _ROUNDING
