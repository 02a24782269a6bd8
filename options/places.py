"""Points and boxes of an image, as fractions of its sides from the top left corner."""

from __future__ import annotations

from collections.abc import Sequence

Point = tuple[float, float]
"""x and y, 0 to 1 from the top left corner."""

Box = tuple[float, float, float, float]
"""Left, top, right and bottom, 0 to 1 from the top left corner."""

_ROUNDING = 1e-6  # a point this close outside a box is on its border


def check_point(point: Point) -> None:
    """Rejects a point outside the image.

    Raises:
        ValueError: The message says which points are accepted.
    """
    x, y = point
    if not (0 <= x <= 1 and 0 <= y <= 1):
        raise ValueError(f"the point is at ({x:g}, {y:g}); accepted: 0 to 1 from left to right and from top to bottom")


def check_box(box: Box) -> None:
    """Rejects an invalid box, and one that covers the whole image.

    Raises:
        ValueError: The message says which boxes are accepted.
    """
    left, top, right, bottom = box
    problem = f"the box is from ({left:g}, {top:g}) to ({right:g}, {bottom:g})"
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise ValueError(f"{problem}; accepted: left smaller than right, top smaller than bottom, all of them 0 to 1 of the image")
    if box == (0, 0, 1, 1):
        raise ValueError(f"{problem}, the whole image, and separates nothing; draw it around the object, with background outside")


def check_in_box(box: Box, points: Sequence[Point]) -> None:
    """Rejects points of an object outside its box.

    Raises:
        ValueError: The message names the first such point.
    """
    left, top, right, bottom = box
    for x, y in points:
        if not is_in_box(box, x, y):
            where = f"the box, which is from ({left:g}, {top:g}) to ({right:g}, {bottom:g})"
            raise ValueError(f"the point ({x:g}, {y:g}) of the object is outside {where}; draw the box around the whole object")


def is_in_box(box: Box, x: float, y: float) -> bool:
    """Whether a point is in a box, or on its border."""
    left, top, right, bottom = box
    return left - _ROUNDING <= x <= right + _ROUNDING and top - _ROUNDING <= y <= bottom + _ROUNDING
