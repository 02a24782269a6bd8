"""Values of options as people write them: colours, distances, points and boxes of an image."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

from .checks import InvalidArgumentError, check_range, is_number

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
    x, y = _numbers("the point", point, 2)
    if not (0 <= x <= 1 and 0 <= y <= 1):
        raise ValueError(f"the point is at ({x:g}, {y:g}); accepted: 0 to 1 from left to right and from top to bottom")


def check_box(box: Box) -> None:
    """Rejects an invalid box, and one that covers the whole image: ValueError says which are accepted."""
    left, top, right, bottom = _numbers("the box", box, 4)
    problem = f"the box is from ({left:g}, {top:g}) to ({right:g}, {bottom:g})"
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise ValueError(f"{problem}; accepted: left smaller than right, top smaller than bottom, all of them 0 to 1 of the image")
    if tuple(box) == (0, 0, 1, 1):
        raise ValueError(f"{problem}, the whole image, and separates nothing; draw it around the object, with background outside")


def _numbers(name: str, values: Any, count: int) -> Sequence[float]:
    if isinstance(values, str) or not hasattr(values, "__len__") or len(values) != count or not all(map(is_number, values)):
        raise InvalidArgumentError(name, f"is {values!r}; accepted: {count} numbers from 0 to 1")
    return values


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


AUTO = "auto"
DEVICES = (AUTO, "cpu", "cuda", "xpu", "mps")
DEVICE_WORDS = f"{', '.join(DEVICES)}, or cuda:N for the GPU of that number, from 0"
"""The accepted values of --device."""

MAX_RATIO = 10_000.0
MOST_TILES = 64
"""Tiles along the longer side; more would be smaller than any network's input even for the largest image."""

_MOST = 100_000_000  # images, frames, and pixels along a side
_LEAST_SIDE, _MOST_SIDE = 16, 16384  # of a scaled frame, in pixels
_NUMBERED = ("cuda", "xpu", "mps")


class ValueKind(NamedTuple):
    """Values of command-only options: a description, which completes "is not ..." and "accepted: ...", a test, and the field's type."""

    words: str
    accepts: Callable[[Any], bool]
    made: Callable[[Any], Any]


def _number(words: str, accepts: Callable[[Any], bool], made: Callable[[Any], Any] = lambda value: value) -> ValueKind:
    return ValueKind(words, lambda value: is_number(value) and -math.inf < value < math.inf and accepts(value), made)


def _whole(words: str, least: int, most: float = math.inf, step: int = 1) -> ValueKind:
    return _number(words, lambda value: least <= value <= most and value % step == 0, int)


def _is_device(value: Any) -> bool:
    kind, divider, index = value.partition(":") if isinstance(value, str) else ("", "", "")
    return kind in DEVICES and (not divider or (kind in _NUMBERED and index.isdecimal() and index.isascii()))


def _is_tiles(value: Any) -> bool:
    return value == AUTO if isinstance(value, str) else is_number(value) and value in range(2, MOST_TILES + 1)


def _fraction(value: Any) -> Fraction:
    return Fraction(str(value))  # of 0.1 one tenth


def _rate(value: Any) -> Fraction:
    return _fraction(value).limit_denominator(1001)


TYPED = {
    "text": ValueKind("text", lambda value: isinstance(value, str), str),
    "real": _number("a number", lambda value: True),
    "whole": _whole(f"a whole number from 0 to {_MOST}", 0, _MOST),
    "positive": _whole(f"a whole number from 1 to {_MOST}", 1, _MOST),
    "bytes": _whole("a whole number of bytes above 0", 1),
    "frame_side": _whole(f"an even number of pixels from {_LEAST_SIDE} to {_MOST_SIDE}", _LEAST_SIDE, _MOST_SIDE, 2),
    "degrees": _number("an angle from 0.1 to 179.9 degrees", lambda value: 0.1 <= value <= 179.9),
    "near_far_ratio": _number(f"a number above 1, up to {MAX_RATIO:g}", lambda value: 1 < value <= MAX_RATIO),
    "gpus": _number(
        "a number of GPUs: a part of one, such as 0.5, or a whole number", lambda value: 0 <= value <= 1 or value % 1 == 0 < value
    ),
    "rate": _number("a number of frames a second, as 24 or 24000/1001", lambda value: 0 < _rate(value) <= 1000, _rate),
    "seconds": _number("a number of seconds", lambda value: value >= 0, _fraction),
    "tiles": ValueKind(f"{AUTO} or a whole number from 2 to {MOST_TILES}", _is_tiles, lambda value: value if value == AUTO else int(value)),
    "device": ValueKind(f"one of {DEVICE_WORDS}", _is_device, str),
}
"""Values of `fields.Typed` by its kind."""
