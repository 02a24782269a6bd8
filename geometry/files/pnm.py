"""Netpbm's images: PBM, PGM and PPM. Pillow rounds colours of 16 bits, and takes minutes for some kinds."""

from __future__ import annotations

import math
import os
import re

import numpy as np

from .paths import FileFormatError, check_size, damage_named
from .pfm import GAP

_HEADER = re.compile(rb"P(?:[14]%b(\d{1,9})%b(\d{1,9})|[2356]%b(\d{1,9})%b(\d{1,9})%b(\d{1,5}))[ \t\r\n]" % ((GAP,) * 5))
_HEADER_BYTES = 2**12
_COMMENT = re.compile(rb"#[^\n]*")


def largest_level(data: bytes) -> int:
    """The largest level that a PBM, PGM or PPM can hold, by its beginning; 0 = not such a file."""
    return _numbers_of_header(data)[2]


def _numbers_of_header(data: bytes) -> tuple[int, int, int, int]:
    """Width, height, largest level, and length of the header; zeros of other files."""
    header = _HEADER.match(data[:_HEADER_BYTES])
    width, height, *top = (int(number) for number in header.groups() if number) if header else (0, 0, 0)
    (largest,) = top or (1,)
    return (width, height, largest, header.end()) if header and 0 < largest < 2**16 else (0, 0, 0, 0)


def read_pnm(path: str | os.PathLike[str], data: bytes) -> tuple[np.ndarray, int]:
    """Decodes a PBM, PGM or PPM with a `largest_level`, binary or plain; of several images in the file the first.

    Returns:
        Levels (H, W) or (H, W, 3), uint8 or uint16, scaled to the range of their type; and the largest level that the file can hold.

    Raises:
        FileFormatError: Damaged, cut off, or too large.

    Source:
        https://netpbm.sourceforge.net/doc/pnm.html
    """
    width, height, largest, start = _numbers_of_header(data)
    check_size(path, width, height, len(data))
    kind, shape = data[1:2], (height, width, 3) if data[1:2] in b"36" else (height, width)
    with damage_named(path):
        numbers = _numbers(kind, data[start:], width, largest)
    count = math.prod(shape)
    if numbers.size < count:
        raise FileFormatError(
            f"{path}: the image is cut off after {height * numbers.size // count} of {height} rows; copy or download it again"
        )
    levels, dtype = numbers[:count].reshape(shape).clip(0, largest), np.uint8 if largest < 256 else np.uint16
    if largest != (full := np.iinfo(dtype).max):
        levels = np.rint(levels / largest * full)
    return levels.astype(dtype), largest


def _numbers(kind: bytes, content: bytes, width: int, largest: int) -> np.ndarray:
    """All whole numbers after the header, 1 where a PBM is white."""
    if kind == b"4":
        row = -(-width // 8)
        rows = np.frombuffer(content, np.uint8, len(content) // row * row).reshape(-1, row)
        return 1 - np.unpackbits(rows, axis=1, count=width).ravel()
    if kind in b"56":
        return np.frombuffer(content, np.uint8) if largest < 256 else np.frombuffer(content, ">u2", len(content) // 2)
    text = _COMMENT.sub(b"", content)
    if kind == b"1":  # digits need no space between them
        digits = np.frombuffer(text, np.uint8)
        return (digits[(digits == ord("0")) | (digits == ord("1"))] == ord("0")).astype(np.uint8)
    return np.fromstring(text.decode("latin-1"), np.int64, sep=" ")
