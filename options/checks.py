"""Checks of numbers, choices and packages. Each error names what was found, what is accepted and what to do."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import PathFinder
from numbers import Real
from typing import Any, TypeGuard

_MOST = 1e18
"""The largest number without a bound of its own: torch refuses larger integers, and squares of larger ones overflow in float32."""


class InvalidArgumentError(ValueError):
    """An invalid value: `problem` (found, accepted) continues the argument's name, which callers can replace by that of an option."""

    def __init__(self, argument: str, problem: str) -> None:
        super().__init__(argument, problem)
        self.argument = argument
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.argument} {self.problem}"


def is_number(value: Any) -> TypeGuard[float]:
    """Whether this is a real number, NaN included; a switch is none."""
    return isinstance(value, Real) and not isinstance(value, bool)


def plain(value: Any) -> Any:
    """Converts a scalar of numpy's to Python's own type; other values stay."""
    return value.item() if type(value).__module__ == "numpy" and getattr(value, "shape", None) == () else value


def checked_switch(name: str, value: Any) -> bool:
    """Returns True, False, 1 or 0 as a bool; rejects anything else as `check_range`."""
    value = plain(value)
    if not isinstance(value, (bool, int, float)) or value not in (True, False):
        raise InvalidArgumentError(name, f"is {value!r}; accepted: True and False")
    return bool(value)


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Rejects a number outside its range, NaN, and non-numbers: InvalidArgumentError has the value and what is accepted."""
    if not is_number(value) or not low <= value <= high:
        raise InvalidArgumentError(name, f"is {value!r}; accepted: {low:g} to {high:g}")


def check_whole(name: str, value: int, low: int, high: int) -> None:
    """Rejects a number that is not whole or is outside its range; raises as `check_range`."""
    check_range(name, value, low, high)
    if value != int(value):
        raise InvalidArgumentError(name, f"is {value!r}; accepted: whole numbers from {low} to {high}")


def check_not_negative(name: str, value: float) -> None:
    """Rejects a negative or non-finite number, and non-numbers; raises as `check_range`."""
    check_at_least(name, value, 0)


def check_at_least(name: str, value: float, low: float) -> None:
    """Rejects a number that is below `low` or above 1e18, and non-numbers; raises as `check_range`."""
    if not is_number(value) or not low <= value:
        raise InvalidArgumentError(name, f"is {value!r}; accepted: {low:g} and above")
    check_range(name, value, low, _MOST)


def check_choice(name: str, value: str, accepted: Sequence[str]) -> None:
    """Rejects a name that is not among the accepted ones; raises as `check_range`."""
    if not isinstance(value, str) or value not in accepted:
        raise InvalidArgumentError(name, f"is {value!r}; accepted: {', '.join(accepted)}")


def how_to_install(*requirements: str, newer: bool = False) -> str:
    """The command that installs packages for the running Python: inside ComfyUI, ComfyUI's own. Environments of uv have no pip.

    `requirements` are as for pip, such as "OpenEXR>=3.4"; `newer`: installed versions are too old.
    """
    words = " ".join(("pip install", *(["-U"] if newer else []), *(f'"{each}"' for each in requirements)))
    # not importlib's find_spec: setuptools would take it for an import of pip, and torch.compile would fail
    return f'run  "{sys.executable}" -m {words}' if PathFinder.find_spec("pip") else f'run  uv {words} --python "{sys.executable}"'
