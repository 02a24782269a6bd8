"""Videos as numbered images: `frame_%05d.png`, or a folder of images sorted by name."""

from __future__ import annotations

import logging
import os
import re
import statistics
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import cached_property, partial
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from ..geometry.files import image_exposure, read_image
from ..options.outputs import ANIMATIONS, IMAGES
from .library import VideoError, VideoReadError
from .read import DEFAULT_RATE, Frame, VideoHeader

logger = logging.getLogger(__name__)

_NUMBER = re.compile(r"%0?(\d*)d")
_MOST_DIGITS = 20
_SIGNED = re.compile(r"(-?\d+)")
_SEPARATORS = ("_", ".")
_IMAGES = {*IMAGES} - {*ANIMATIONS}
_HDR_IMAGES = {".exr", ".hdr"}
_OF_LIGHT = _HDR_IMAGES | {".tif", ".tiff"}  # TIFFs of floats
FRAMES = (_IMAGES, _HDR_IMAGES)
"""File types of a folder's frames, the first that occurs: HDR images beside other images are depth maps of them."""
MAPS = ({".npz"}, {".npy"}, {".exr"}, {".pfm"}, {".hdr"}, _IMAGES)
"""File types of a folder's depth maps, the most informative first."""
# Number of images whose exposure is measured.
_EXPOSED = 9


def is_sequence(path: os.PathLike[str]) -> bool:
    """True if a path is a folder or a pattern of numbered images. An existing file of that very name is not a pattern."""
    path = Path(path)
    return path.is_dir() or (_NUMBER.search(path.name) is not None and not path.is_file())


def numbered(pattern: os.PathLike[str], number: int) -> Path:
    """The file of one frame: `%05d` in a name becomes 00001. Raises VideoError without exactly one field of 20 digits at most."""
    pattern = Path(pattern)
    before, digits, after = _parts(pattern)
    return pattern.with_name(f"{before}{number:0{digits}d}{after}")


def _parts(pattern: Path) -> tuple[str, int, str]:
    """The text before the number, its minimum number of digits, and the text after it."""
    parts = _NUMBER.split(pattern.name)
    if len(parts) != 3:
        raise VideoError(f"{pattern}: the name of numbered images has one place for the number, as frame_%05d.png has")
    before, digits, after = parts
    if len(digits) > 3 or int(digits or 1) > _MOST_DIGITS:
        raise VideoError(
            f"{pattern}: a number of {digits} digits; at most {_MOST_DIGITS} are read and written, as frame_%05d.png asks for 5"
        )
    return before, int(digits or 1), after


def find_images(path: os.PathLike[str], kinds: Sequence[set[str]] = FRAMES) -> list[Path]:
    """A sequence's images by number, a folder's (`kinds`: `FRAMES`, `MAPS`) in natural order. VideoReadError: none; else as `numbered`."""
    return _find(path, kinds)[0]


def frame_numbers(path: os.PathLike[str], kinds: Sequence[set[str]] = FRAMES) -> list[int] | None:
    """The numbers of a sequence's images; None if names repeat one, or a folder's differ in several. Otherwise as `find_images`."""
    return _find(path, kinds)[1]


def _find(path: os.PathLike[str], kinds: Sequence[set[str]] = FRAMES) -> tuple[list[Path], list[int] | None]:
    path = Path(path)
    if path.is_dir():
        images = images_of_folder(path, kinds)
        numbers = _varying_number(images)
    else:
        there = numbered_files(path)
        images, numbers = [each for _, each in there], [number for number, _ in there]
    if not images:
        raise VideoReadError(f"{path}: there is not one such image")
    is_ordered = numbers and all(one < other for one, other in pairwise(numbers))
    return images, numbers if is_ordered else None


def _varying_number(images: Sequence[Path]) -> list[int] | None:
    """The one number in which names differ; the last one if there is only one name."""
    parts = _split([each.stem for each in images])
    if len({len(each) for each in parts}) != 1 or len(parts[0]) < 2:
        return None
    varying = [index for index, texts in enumerate(zip(*parts, strict=True)) if len(set(texts)) > 1] or [len(parts[0]) - 2]
    return [int(each[varying[0]]) for each in parts] if len(varying) == 1 and varying[0] % 2 else None


def _split(names: Sequence[str]) -> list[list[str]]:
    """Names as text and numbers in turn. A minus is a number's sign if other names have none at that place, or after a separator.

    So f_-001 and f_0000 are numbered -1 and 0, and shot-0001 and shot-0002 are 1 and 2.
    """
    parts = [_SIGNED.split(name) for name in names]
    unsigned = {(i, each[i - 1]) for each in parts for i in range(1, len(each), 2) if not each[i].startswith("-")}
    for each in parts:
        for i in range(1, len(each), 2):
            if each[i].startswith("-") and (i, each[i - 1]) not in unsigned and not each[i - 1].endswith(_SEPARATORS):
                each[i - 1], each[i] = f"{each[i - 1]}-", each[i][1:]
    return parts


def images_of_folder(folder: Path, kinds: Sequence[set[str]] = FRAMES) -> list[Path]:
    """The files of the first of `kinds` that occurs in the folder, in natural order of names."""
    there = [each for each in folder.iterdir() if not each.name.startswith(".")]
    by_kind = ([each for each in there if each.suffix.lower() in kind] for kind in kinds)
    images = next(filter(None, by_kind), [])
    keys = (
        [(1, int(part), "") if i % 2 else (0, 0, part) for i, part in enumerate(parts)] for parts in _split([each.name for each in images])
    )
    return [image for _, image in sorted(zip(keys, images, strict=True))]


def frame_places(count: int, numbers: Sequence[int] | None) -> list[int]:
    """The frame index at which each of `count` images is shown; a missing number holds the image before.

    If most numbers are missing, they count something else, such as seconds, and the images are consecutive.
    """
    if numbers is None or numbers[-1] - numbers[0] >= 2 * count:
        return list(range(count))
    return [number - numbers[0] for number in numbers]


def numbered_files(pattern: os.PathLike[str]) -> list[tuple[int, Path]]:
    """The existing files of a pattern with their numbers, in order. Raises as `numbered`."""
    pattern = Path(pattern)
    name = _names(pattern)
    there = pattern.parent.iterdir() if pattern.parent.is_dir() else ()
    return sorted((int(match[1]), each) for each in there if (match := name.fullmatch(each.name)))


def reads(source: os.PathLike[str], path: Path) -> bool:
    """True if a file of that name would be read as part of the sequence."""
    source = Path(source)
    folder = source if source.is_dir() else source.parent
    if path.parent.resolve() != folder.resolve():
        return False
    if source.is_dir():
        taken = _IMAGES if any(each.suffix.lower() in _IMAGES for each in images_of_folder(source)) else _IMAGES | _HDR_IMAGES
        return path.suffix.lower() in taken and not path.name.startswith(".")
    return _names(source).fullmatch(path.name) is not None


def _names(pattern: Path) -> re.Pattern[str]:
    before, digits, after = _parts(pattern)
    return re.compile(rf"{re.escape(before)}(\d{{{digits},}}|-\d{{{max(1, digits - 1)},}}){re.escape(after)}")


def sequence_header(path: os.PathLike[str], rate: Fraction | None = None) -> VideoHeader:
    """The header of numbered images as a video without audio, at `rate` (25 by default) frames a second. Logs missing numbers.

    Raises as `find_images`, and VideoReadError if the first cannot be read.
    """
    rate = rate or DEFAULT_RATE
    images, numbers = _find(path)
    height, width = _Images(images)(images[0]).shape[-2:]
    length = frame_places(len(images), numbers)[-1] + 1
    if numbers and (missing := length - len(images)):
        first = next(one + 1 for one, other in pairwise(numbers) if other > one + 1)
        kept = "in a video the frame before stays, and numbered files keep the gap"
        logger.warning("%s: numbers %d to %d, %d missing (the first: %d); %s", path, numbers[0], numbers[-1], missing, first, kept)
    return VideoHeader(str(path), width, height, rate, 1 / rate, len(images), length / rate)


def read_sequence(path: os.PathLike[str], rate: Fraction | None = None, start: Fraction = Fraction(0)) -> Iterator[Frame]:
    """Yields numbered images as frames. An unreadable image raises VideoReadError when it is loaded.

    All HDR images get the median exposure of a sample of them. Raises as `find_images`.
    """
    step = 1 / (rate or DEFAULT_RATE)
    images, numbers = _find(path)
    places, read = frame_places(len(images), numbers), _Images(images)
    following = [*places[1:], places[-1] + 1]
    for each, number, place, end in zip(images, numbers or [None] * len(images), places, following, strict=True):
        if place * step >= start:
            yield Frame(place * step, (end - place) * step, partial(read, each), number=number)


class _Images:
    """Loads the images of a clip, which share size and exposure."""

    def __init__(self, images: Sequence[Path]) -> None:
        self._images = images
        self._size: tuple[int, int] | None = None

    def __call__(self, path: Path) -> Tensor:
        try:
            exposure = self._median_exposure if path.suffix.lower() in _OF_LIGHT else None
            image = torch.from_numpy(read_image(path, exposure)).movedim(-1, 0)
        except (ValueError, OSError) as error:
            raise VideoReadError(str(error)) from error
        _, height, width = image.shape
        self._size = self._size or (width, height)
        if (width, height) != self._size:
            before = f"{self._size[0]}x{self._size[1]}"
            raise VideoReadError(f"{path}: it has {width}x{height} pixels, those before {before}; split the images there")
        return image

    @cached_property
    def _median_exposure(self) -> float | None:
        """The median over evenly spaced images, so that a black beginning or a flash does not matter."""
        last, exposures = len(self._images) - 1, []
        for index in sorted({round(last * part / (_EXPOSED - 1)) for part in range(_EXPOSED)}):
            try:
                exposures.append(image_exposure(self._images[index]))
            except (ValueError, OSError):
                continue  # reported when this image is read
        measured = [each for each in exposures if each is not None]
        return statistics.median(measured) if measured else None
