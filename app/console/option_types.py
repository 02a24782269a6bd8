"""Types of options: `argparse` calls them with a word; they raise its error messages."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

from ...options.estimate import DEVICE_CHOICES, MAX_RATIO, MOST_TILES
from ...options.runs import DEVICE_WORDS
from ...options.video import LEAST_SIDE, MOST_SIDE

MOST = 100_000_000
"""Upper bound for images, frames, and pixels along a side."""

_MOST_DIGITS = 12
_NUMBERED = ("cuda", "mps")
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


def whole_type(problem: str, least: int, most: float = math.inf, step: int = 1) -> Callable[[str], int]:
    """The type for a whole number within limits, a multiple of `step`; `problem` as in `number_type`."""

    def parse(text: str) -> int:
        # int() is slow for many digits, and raises beyond some thousands.
        if not text.isdecimal() or len(text) > _MOST_DIGITS or not least <= int(text) <= most or int(text) % step:
            raise argparse.ArgumentTypeError(f"{text!r} is not {problem}")
        return int(text)

    return parse


def percent(text: str) -> float:
    """The type for a percentage, without %."""
    bare = text.strip().removesuffix("%").strip()
    if bare != text.strip() and not math.isnan(number(bare)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number; percent are written without %: {bare}")
    return real(text)


real = number_type("a number", math.isfinite)
degrees = number_type("an angle from 0.1 to 179.9 degrees", lambda value: 0.1 <= value <= 179.9)
near_far_ratio = number_type(f"a number above 1, up to {MAX_RATIO:g}", lambda value: 1 < value <= MAX_RATIO)
positive = whole_type(f"a whole number from 1 to {MOST}", 1, MOST)
whole = whole_type(f"a whole number from 0 to {MOST}", 0, MOST)
frame_side = whole_type(f"an even number of pixels from {LEAST_SIDE} to {MOST_SIDE}", LEAST_SIDE, MOST_SIDE, step=2)


def tiles(text: str) -> int | str:
    """A number of tiles along the longer side, at least 2, or auto."""
    if text != "auto" and (not text.isdecimal() or not 2 <= int(text) <= MOST_TILES):
        raise argparse.ArgumentTypeError(f"{text!r} is neither auto nor a whole number from 2 to {MOST_TILES}")
    return text if text == "auto" else int(text)


def device(text: str) -> str:
    """A device name for `load_model`, available or not."""
    kind, divider, index = text.partition(":")
    if kind not in DEVICE_CHOICES or (divider and not (kind in _NUMBERED and index.isdecimal() and index.isascii())):
        raise argparse.ArgumentTypeError(f"{text!r} is not a device; accepted: {DEVICE_WORDS}")
    return text


def rate(text: str) -> Fraction:
    """Frames per second."""
    try:
        fraction = Fraction(text).limit_denominator(1001)
    except (ValueError, ZeroDivisionError):
        fraction = Fraction(0)
    if not 0 < fraction <= 1000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of frames a second, as 24 or 24000/1001")
    return fraction


def seconds(text: str) -> Fraction:
    """A time in a video."""
    if not 0 <= number(text) < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return Fraction(text)


KINDS: dict[str, Callable[[str], Any]] = {
    "text": str,
    "file": Path,
    "real": real,
    "whole": whole,
    "positive": positive,
    "degrees": degrees,
    "near_far_ratio": near_far_ratio,
    "bytes": byte_size,
    "tiles": tiles,
    "device": device,
    "frame_side": frame_side,
    "rate": rate,
    "seconds": seconds,
    "gpus": number_type(
        "a number of GPUs: a part of one, such as 0.5, or a whole number", lambda gpus: 0 <= gpus <= 1 or gpus % 1 == 0 < gpus
    ),
}
"""The types of `options.fields.Typed`."""
