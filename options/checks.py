"""Checks of numbers and choices. Each error names what was found and what is accepted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real


class InvalidArgumentError(ValueError):
    """An argument has a value that is not accepted.

    Args:
        argument: The argument's name.
        problem: What was found and what is accepted, in words that follow the name.

    Attributes:
        argument: As above: whoever knows the argument under another name, such as that of an option, can say so.
        problem: As above.
    """

    def __init__(self, argument: str, problem: str) -> None:
        super().__init__(argument, problem)
        self.argument = argument
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.argument} {self.problem}"


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Refuses a number outside its range, NaN included, and what is no number.

    Raises:
        InvalidArgumentError: Says what was given and what is accepted.
    """
    if isinstance(value, bool) or not isinstance(value, Real) or not low <= value <= high:
        raise InvalidArgumentError(name, f"is {value!r}; accepted: {low:g} to {high:g}")


def check_whole(name: str, value: int, low: int, high: int) -> None:
    """Refuses what is no whole number, or one outside its range.

    Raises:
        InvalidArgumentError: Says what was given and what is accepted.
    """
    check_range(name, value, low, high)
    if value != int(value):
        raise InvalidArgumentError(name, f"is {value!r}; accepted: whole numbers from {low} to {high}")


def check_not_negative(name: str, value: float) -> None:
    """Refuses a number below 0, one that is not finite, and what is no number.

    Raises:
        InvalidArgumentError: Says what was given.
    """
    check_at_least(name, value, 0)


def check_at_least(name: str, value: float, low: float) -> None:
    """Refuses a number below another, one that is not finite, and what is no number.

    Raises:
        InvalidArgumentError: Says what was given and what is accepted.
    """
    if isinstance(value, bool) or not isinstance(value, Real) or not low <= value < math.inf:
        raise InvalidArgumentError(name, f"is {value!r}; accepted: {low:g} and above")


def check_choice(name: str, value: str, accepted: Sequence[str]) -> None:
    """Refuses a name that is not one of those accepted.

    Raises:
        InvalidArgumentError: Says what was chosen and what is accepted.
    """
    if value not in accepted:
        raise InvalidArgumentError(name, f"is {value!r}; accepted: {', '.join(accepted)}")
