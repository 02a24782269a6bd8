"""Reading pictures: sizes and orientation from the header first, then the pixels through OpenCV."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from .paths import FileFormatError, check_size, read_bytes

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

_ACCEPTED = "accepted are 8- and 16-bit PNG, JPEG, WebP, BMP and TIFF"
_ORIENTATION_TAG = 0x0112
_MAX_CHUNKS = 10_000


class PictureHeader(NamedTuple):
    """What a picture's header says: pixels as stored, and EXIF orientation 1..8 still to be applied."""

    width: int
    height: int
    orientation: int = 1


def read_picture(path: str | os.PathLike[str]) -> np.ndarray:
    """Reads a picture as RGB numbers.

    Args:
        path: PNG, JPEG, WebP, BMP or TIFF, 8 or 16 bits, grey or colour, with or without alpha.

    Returns:
        (H, W, 3) float32 RGB in [0, 1], as coded in the file (no gamma applied), upright by its EXIF orientation, alpha laid on white.

    Raises:
        FileNotFoundError: No such file.
        FileFormatError: Not a picture, damaged, empty, or larger than MAX_PIXELS by its header.
    """
    return _as_rgb(decode_pixels(path, read_bytes(path)))


def decode_pixels(path: str | os.PathLike[str], data: bytes) -> np.ndarray:
    """Decodes a picture's bytes as stored, upright.

    Args:
        path: The file, for messages.
        data: Its bytes.

    Returns:
        (H, W) or (H, W, 3 or 4) uint8 or uint16, channels RGB(A).

    Raises:
        FileFormatError: As `read_picture`.
    """
    import cv2

    header = read_header(path, data)
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise FileFormatError(f"{path}: the picture cannot be decoded ({error.err})") from error
    if pixels is None:
        raise FileFormatError(f"{path}: the picture is damaged or of a kind that OpenCV cannot decode; {_ACCEPTED}")
    if pixels.dtype not in (np.uint8, np.uint16):
        raise FileFormatError(f"{path}: a picture of {pixels.dtype} numbers; {_ACCEPTED}")
    if pixels.ndim == 3:
        pixels = pixels[..., [2, 1, 0, 3][: pixels.shape[2]]]
    return _upright(pixels, header.orientation).copy()


def read_header(path: str | os.PathLike[str], data: bytes) -> PictureHeader:
    """Size and orientation of a picture, read without decoding it.

    Raises:
        FileFormatError: Not a known kind of picture, a truncated header, or a size beyond the limits.
    """
    for signature, parse in _PARSERS:
        if data.startswith(signature):
            try:
                header = parse(data)
            except (struct.error, IndexError, ValueError) as error:
                raise FileFormatError(f"{path}: the picture is damaged or cut off ({error})") from error
            check_size(path, header.width, header.height)
            return header
    raise FileFormatError(f"{path}: not a picture (it begins with {data[:8]!r}); {_ACCEPTED}")


def png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of a PNG's chunks before its pixels.

    Raises:
        ValueError: No pixels follow.
    """
    position = len(PNG_SIGNATURE)
    for _ in range(_MAX_CHUNKS):
        if position + 8 > len(data):
            break
        length, kind = struct.unpack_from(">I4s", data, position)
        if kind == b"IDAT":
            return
        yield kind, data[position + 8 : position + 8 + length]
        position += 12 + length
    raise ValueError("no pixels found")


def _as_rgb(pixels: np.ndarray) -> np.ndarray:
    """Any upright pixels as (H, W, 3) float32 in [0, 1], alpha laid on white."""
    picture = pixels.astype(np.float32) / np.iinfo(pixels.dtype).max
    if picture.ndim == 2:
        return np.repeat(picture[..., None], 3, axis=2)
    if picture.shape[2] == 4:
        alpha = picture[..., 3:]
        return picture[..., :3] * alpha + (1 - alpha)
    return picture


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Applies an EXIF orientation (1 = as stored, 3 = upside down, 6 = turn clockwise, 8 = anticlockwise, even or 5, 7 = mirrored)."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def _png_header(data: bytes) -> PictureHeader:
    chunks = dict(png_chunks(data))
    width, height = struct.unpack_from(">II", chunks.get(b"IHDR", b""))
    return PictureHeader(width, height, _exif_orientation(chunks[b"eXIf"]) if b"eXIf" in chunks else 1)


def _jpeg_header(data: bytes) -> PictureHeader:
    orientation, position = 1, 2
    for _ in range(_MAX_CHUNKS):
        marker, length = struct.unpack_from(">HH", data, position)
        if marker == 0xFFFF:
            position += 1
            continue
        if marker == 0xFFE1 and data[position + 4 : position + 10] == b"Exif\0\0":
            orientation = _exif_orientation(data[position + 10 : position + 2 + length])
        if 0xFFC0 <= marker <= 0xFFCF and marker not in (0xFFC4, 0xFFC8, 0xFFCC):
            height, width = struct.unpack_from(">HH", data, position + 5)
            # OpenCV fills what is missing with grey and says nothing.
            if data.find(b"\xff\xd9", position) < 0:
                raise ValueError("no end of the picture")
            return PictureHeader(width, height, orientation)
        if marker < 0xFF00 or length < 2:
            break
        position += 2 + length
    raise ValueError("no size found")


def _webp_header(data: bytes) -> PictureHeader:
    if data[8:12] != b"WEBP":
        raise ValueError(f"RIFF of kind {data[8:12]!r}")
    kind = data[12:16]
    if kind == b"VP8X":
        width, height = (1 + int.from_bytes(data[at : at + 3], "little") for at in (24, 27))
        position = 12
        for _ in range(_MAX_CHUNKS):
            if position + 8 > len(data):
                break
            chunk, length = struct.unpack_from("<4sI", data, position)
            if chunk == b"EXIF":
                exif = data[position + 8 : position + 8 + length].removeprefix(b"Exif\0\0")
                return PictureHeader(width, height, _exif_orientation(exif))
            position += 8 + length + length % 2
        return PictureHeader(width, height)
    if kind == b"VP8L":
        bits = struct.unpack_from("<I", data, 21)[0]
        return PictureHeader(1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF))
    width, height = struct.unpack_from("<HH", data, 26)
    return PictureHeader(width & 0x3FFF, height & 0x3FFF)


def _bmp_header(data: bytes) -> PictureHeader:
    if struct.unpack_from("<I", data, 14)[0] == 12:
        width, height = struct.unpack_from("<HH", data, 18)
    else:
        width, height = struct.unpack_from("<ii", data, 18)
    return PictureHeader(width, abs(height))


def _tiff_header(data: bytes) -> PictureHeader:
    # OpenCV turns TIFF upright by itself.
    tags = _tiff_tags(data)
    return PictureHeader(tags.get(256, 0), tags.get(257, 0))


def _exif_orientation(exif: bytes) -> int:
    try:
        orientation = _tiff_tags(exif).get(_ORIENTATION_TAG, 1)
    except (struct.error, ValueError):
        return 1
    return orientation if 1 <= orientation <= 8 else 1


def _tiff_tags(data: bytes) -> dict[int, int]:
    """The whole-number tags of a TIFF structure's first directory."""
    orders = {b"II": "<", b"MM": ">"}
    if data[:2] not in orders:
        raise ValueError(f"TIFF byte order {data[:2]!r}")
    order = orders[data[:2]]
    directory = struct.unpack_from(order + "I", data, 4)[0]
    tags = {}
    for index in range(struct.unpack_from(order + "H", data, directory)[0]):
        tag, kind, count = struct.unpack_from(order + "HHI", data, directory + 2 + 12 * index)
        if kind in (3, 4) and count == 1:
            tags[tag] = struct.unpack_from(order + ("H" if kind == 3 else "I"), data, directory + 10 + 12 * index)[0]
    return tags


_PARSERS = (
    (PNG_SIGNATURE, _png_header),
    (b"\xff\xd8\xff", _jpeg_header),
    (b"RIFF", _webp_header),
    (b"BM", _bmp_header),
    (b"II*\0", _tiff_header),
    (b"MM\0*", _tiff_header),
)
