"""Distances in a scene: metres, or percent of the way from its near end to its far end."""

from __future__ import annotations

import math

from .checks import InvalidArgumentError, check_range

PERCENT, METRES = UNITS = ("percent", "metres")
"""Units of limits and focus. percent: 0 = the scene's near end, 100 = its far end, linear in the depth image's grey levels."""

MAX_DISTANCE = 10_000.0


def check_limit(value: float, unit: str, name: str) -> None:
    """Rejects an invalid limit or focus.

    Args:
        value: Metres or percent.
        unit: One of `UNITS`.

    Raises:
        ValueError: The message says which numbers are accepted.
    """
    if unit != METRES:
        check_range(name, value, 0, 100)
    elif not 0 < value < math.inf:
        raise InvalidArgumentError(name, f"is {value:g} m; accepted: above 0")


def check_interval(near: float, far: float, unit: str) -> None:
    """Rejects limits out of order; a far limit of 0 metres means none.

    Raises:
        ValueError: The message has the limits.
    """
    if near > far and not (unit == METRES and far == 0):
        raise ValueError(f"the mask begins at {near:g} and ends at {far:g} {unit}; expected near below far")
