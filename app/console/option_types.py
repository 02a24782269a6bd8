"""Types of options: `argparse` calls them with a word; they raise its error messages."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import partial
from typing import Any

from ...options.values import TYPED

_MOST_DIGITS = 12
_MILLIMETRES = {"": 1.0, "mm": 1.0, "cm": 10.0, "m": 1000.0, "in": 25.4}
_UNITS = {f"{prefix}{unit}".lower(): base**power for unit, base in (("B", 1000), ("iB", 1024)) for power, prefix in enumerate("KMGT", 1)}


def several_of(choices: Sequence[str], shown: Sequence[str] = ()) -> Callable[[str], tuple[str, ...]]:
    """The type for one or several comma-separated words; an error lists those `shown`, by default all."""

    def words(text: str) -> tuple[str, ...]:
        chosen = tuple(text.split(","))
        if wrong := [word for word in chosen if word not in choices]:
            raise argparse.ArgumentTypeError(f"{wrong[0]!r} is none of {', '.join(shown or choices)} (several: with commas, no spaces)")
        return chosen

    setattr(words, "words", shown or choices)  # noqa: B010 - for shell completion
    return words


def byte_size(text: str) -> int:
    """A number of bytes with its unit: 256MB, 1.5GB, 64MiB."""
    match = re.fullmatch(r"(\d{1,12}(?:\.\d{1,12})?) ?([a-z]+)", text.lower(), re.ASCII)
    if not match or match[2] not in _UNITS or not (size := int(float(match[1]) * _UNITS[match[2]])):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size: a number above 0 with its unit, such as 256MB or 1GB")
    return size


def whole_pixels(text: str) -> int:
    """A whole number of pixels, with or without px."""
    if not (value := pixels(text)).is_integer():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of pixels; accepted: a number such as 6 or 6px")
    return int(value)


def numbers(text: str, names: Sequence[str]) -> tuple[float, ...]:
    """Comma-separated numbers, one for each name."""
    values = tuple(map(number, text.split(",")))
    if len(values) != len(names) or any(map(math.isnan, values)):
        raise argparse.ArgumentTypeError(f"{text!r} is not {','.join(names)}: {len(names)} numbers with commas between, no spaces")
    return values


point = partial(numbers, names=("x", "y"))
box = partial(numbers, names=("left", "top", "right", "bottom"))


def millimetres(text: str) -> float:
    """A length with its unit; without one, millimetres."""
    value, unit = _with_unit(text)
    if unit not in _MILLIMETRES:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a length; accepted: a number with mm, cm, m or in, such as 6mm; 6 alone means 6 mm"
        )
    return value * _MILLIMETRES[unit]


def pixels(text: str) -> float:
    """A number of pixels, with or without px."""
    value, unit = _with_unit(text)
    if unit not in ("", "px"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of pixels; accepted: a number, such as 6 or 6px")
    return value


def _with_unit(text: str) -> tuple[float, str | None]:
    """Splits a number from its unit; the unit is None if there is no number."""
    parts = re.fullmatch(r"(.*?[\d.]) ?([a-z]*)", text.strip().lower(), re.ASCII)
    value = number(parts[1]) if parts else math.nan
    return (value, None) if parts is None or math.isnan(value) else (value, parts[2])


def number(text: str) -> float:
    """Parses a finite number; else NaN."""
    try:
        return value if math.isfinite(value := float(text)) else math.nan
    except ValueError:
        return math.nan


def number_type(problem: str, accepts: Callable[[float], bool]) -> Callable[[str], float]:
    """The type for a number; `problem` completes "... is not" in the error, and `accepts` gets NaN for invalid text."""

    def parse(text: str) -> float:
        if not accepts(value := number(text)):
            raise argparse.ArgumentTypeError(f"{text!r} is not {problem}")
        return value

    return parse


def whole_type(problem: str, least: int, most: float = math.inf) -> Callable[[str], int]:
    """The type for a whole number within limits; `problem` as in `number_type`."""

    def parse(text: str) -> int:
        if not least <= (value := _whole(text)) <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not {problem}")
        return int(value)

    return parse


def _whole(text: str) -> float:
    """Parses a whole number; else NaN. int() is slow for many digits, and raises beyond some thousands."""
    return int(text) if text.isdecimal() and len(text) <= _MOST_DIGITS else math.nan


def percent(text: str) -> float:
    """The type for a percentage, without %."""
    bare = text.strip().removesuffix("%").strip()
    if bare != text.strip() and not math.isnan(number(bare)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number; percent are written without %: {bare}")
    return real(text)


def _tiles(text: str) -> Any:
    return int(text) if text.isdecimal() and len(text) <= _MOST_DIGITS else text


def _fraction(text: str) -> Any:
    """Parses a number or a fraction of two; else NaN. `Fraction` would compute the power of ten of any exponent."""
    try:
        return Fraction(text) if "/" in text else number(text)
    except (ValueError, ZeroDivisionError):
        return math.nan


def _typed(kind: str, read: Callable[[str], Any]) -> Callable[[str], Any]:
    """The type for values of `TYPED`; `read` parses a text to a value that may be invalid."""
    words, accepts, made = TYPED[kind]

    def parse(text: str) -> Any:
        if not accepts(value := read(text)):
            raise argparse.ArgumentTypeError(f"{text!r} is not {words}")
        return made(value)

    return parse


_READ: dict[str, Callable[[str], Any]] = {
    **{"text": str, "device": str, "tiles": _tiles, "rate": _fraction, "seconds": _fraction},
    **dict.fromkeys(("whole", "positive", "frame_side"), _whole),
}
KINDS = {kind: _typed(kind, _READ.get(kind, number)) for kind in TYPED} | {"bytes": byte_size}
"""The types of `options.fields.Typed`."""

real = KINDS["real"]
