"""Videos as numbered images: `frame_%05d.png`, or a folder of images in the order of their names."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from ..geometry.files import read_image
from .library import VideoError, VideoReadError
from .read import DEFAULT_RATE, Frame, VideoHeader

_NUMBER = re.compile(r"%0?(\d*)d")
_MOST_DIGITS = 20
_IMAGES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}


def is_sequence(path: os.PathLike[str]) -> bool:
    """True if a path names numbered images, or is a folder. A file of that very name is no pattern."""
    path = Path(path)
    return path.is_dir() or (_NUMBER.search(path.name) is not None and not path.is_file())


def numbered(pattern: os.PathLike[str], number: int) -> Path:
    """The file of one frame: `%05d` in a name becomes 00001.

    Raises:
        VideoError: There is no such place in the name, or more than one, or it asks for more than 20 digits.
    """
    pattern = Path(pattern)
    before, digits, after = _parts(pattern)
    return pattern.with_name(f"{before}{number:0{digits}d}{after}")


def _parts(pattern: Path) -> tuple[str, int, str]:
    """The text before the number, its least digits, and the text after it."""
    parts = _NUMBER.split(pattern.name)
    if len(parts) != 3:
        raise VideoError(f"{pattern}: the name of numbered images has one place for the number, as frame_%05d.png has")
    before, digits, after = parts
    if len(digits) > 3 or int(digits or 1) > _MOST_DIGITS:
        raise VideoError(
            f"{pattern}: a number of {digits} digits; at most {_MOST_DIGITS} are read and written, as frame_%05d.png asks for 5"
        )
    return before, int(digits or 1), after


def find_images(path: os.PathLike[str]) -> list[Path]:
    """The images of a sequence, in order: by their number, of a folder by their names, numbers in them as numbers.

    Raises:
        VideoReadError: There are none.
    """
    path = Path(path)
    if path.is_dir():
        found = sorted((each for each in path.iterdir() if reads(path, each)), key=_natural)
    else:
        found = [each for _, each in numbered_files(path)]
    if not found:
        raise VideoReadError(f"{path}: there is not one such image")
    return found


def numbered_files(pattern: os.PathLike[str]) -> list[tuple[int, Path]]:
    """The files that a pattern names, with their numbers, in order.

    Raises:
        VideoError: As `numbered`.
    """
    pattern = Path(pattern)
    name = _names(pattern)
    there = pattern.parent.iterdir() if pattern.parent.is_dir() else ()
    return sorted((int(match[1]), each) for each in there if (match := name.fullmatch(each.name)))


def reads(source: os.PathLike[str], path: Path) -> bool:
    """True if a file of that name would be one of a sequence's images."""
    source = Path(source)
    folder = source if source.is_dir() else source.parent
    if path.parent.resolve() != folder.resolve():
        return False
    if source.is_dir():
        return path.suffix.lower() in _IMAGES and not path.name.startswith(".")
    return _names(source).fullmatch(path.name) is not None


def _names(pattern: Path) -> re.Pattern[str]:
    before, digits, after = _parts(pattern)
    return re.compile(rf"{re.escape(before)}(\d{{{digits},}}){re.escape(after)}")


def _natural(path: Path) -> list[tuple[int, int, str]]:
    return [(1, int(part), "") if part.isdecimal() else (0, 0, part) for part in re.split(r"(\d+)", path.name)]


def sequence_header(path: os.PathLike[str], rate: Fraction | None = None) -> VideoHeader:
    """The header of numbered images as a video: `rate` frames a second, 25 where none is given, without sound.

    Raises:
        VideoReadError: There are none, or the first cannot be read.
    """
    rate = rate or DEFAULT_RATE
    images = find_images(path)
    height, width = _read(images[0], []).shape[-2:]
    return VideoHeader(str(path), width, height, rate, 1 / rate, len(images), len(images) / rate)


def read_sequence(path: os.PathLike[str], rate: Fraction | None = None, start: Fraction = Fraction(0)) -> Iterator[Frame]:
    """The frames of numbered images; as `read.read_frames`. An image that cannot be read raises VideoReadError when it is asked for.

    Raises:
        VideoReadError: There are none.
    """
    step = 1 / (rate or DEFAULT_RATE)
    size: list[tuple[int, int]] = []
    for number, each in enumerate(find_images(path)):
        if number * step >= start:
            yield Frame(number * step, step, partial(_read, each, size))


def _read(path: Path, size: list[tuple[int, int]]) -> Tensor:
    try:
        image = torch.from_numpy(read_image(path)).movedim(-1, 0)
    except (ValueError, OSError) as error:
        raise VideoReadError(str(error)) from error
    _, height, width = image.shape
    size.append((width, height))
    if size[-1] != size[0]:
        raise VideoReadError(f"{path}: it has {width}x{height} pixels, those before {size[0][0]}x{size[0][1]}; split the images there")
    del size[1:]
    return image
