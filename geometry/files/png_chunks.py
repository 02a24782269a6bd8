"""The chunks of a PNG file: those that its pixels need, without the texts that decoders refuse or keep in memory."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Iterator
from typing import IO

from .paths import FileFormatError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
"""PNG's magic bytes."""
END = struct.pack(">I4sI", 0, b"IEND", zlib.crc32(b"IEND"))
"""The last chunk."""

# All that changes how the image looks; of an animation only its first frame.
_NEEDED = frozenset((b"IHDR", b"PLTE", b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"cICP", b"eXIf", b"acTL", b"fcTL", b"IDAT"))
_TEXTS = frozenset((b"tEXt", b"zTXt", b"iTXt"))
# Pillow refuses a text of more than 1 MB, and 64 MB of them. Those that are read, the pack's own and orientations, are short.
_MOST_TEXT, _MOST_PROFILE = 2**20, 2**24
# Deflate packs 1032 bytes into one at most.
_LARGEST_RATIO, _BLOCK = 1032, 2**14
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
# First column and row, and the steps to the next ones, of interlaced images.
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def chunks(file: IO[bytes]) -> Iterator[tuple[bytes, int]]:
    """Yields kind and length of each chunk after the signature, with the file at its data."""
    file.seek(len(SIGNATURE))
    while len(beginning := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", beginning)
        start = file.tell()
        yield kind, length
        file.seek(start + length + 4)


def needed_chunks(path: str | os.PathLike[str], data: bytes, check_pixels: bool) -> bytes:
    """The PNG without profile, long or damaged texts, and chunks that do not change its pixels; it ends with `END` if the file has an end.

    Raises FileFormatError: a needed chunk is cut off, or its checksum is wrong; those of the pixels are checked if `check_pixels`.
    """
    file, before, pixels, end, room = io.BytesIO(data), [], [], b"", _MOST_TEXT
    for kind, length in chunks(file):
        if kind == b"IEND":
            end = END
            break
        start = file.tell()
        chunk = memoryview(data)[start - 8 : start + length + 4]
        if kind == b"IDAT" and not check_pixels:
            pixels.append(chunk)
            continue
        is_whole = len(chunk) == length + 12 and zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:], "big")
        if kind in _TEXTS:
            if is_whole and (needed := _text_length(kind, bytes(chunk[8:-4]))) <= room:
                room -= needed
                before.append(chunk)
        elif kind in _NEEDED and not (pixels and kind == b"fcTL"):
            if not is_whole:
                words = "has a wrong checksum" if len(chunk) == length + 12 else "ends early"
                raise FileFormatError(
                    f"{path}: the image is damaged or cut off: its chunk {kind.decode()} {words}; copy or download it again"
                )
            (pixels if kind == b"IDAT" else before).append(chunk)
    return b"".join((SIGNATURE, *before, *pixels, end))


def _text_length(kind: bytes, text: bytes) -> int:
    """The length of a text, or more than _MOST_TEXT if it is damaged."""
    try:
        _, content = text.split(b"\0", 1)
        if kind == b"tEXt" or (kind == b"iTXt" and not content[0]):
            return len(text)
        packed = content[1:] if kind == b"zTXt" else content[2:].split(b"\0", 2)[2]
        return len(zlib.decompressobj().decompress(packed, _MOST_TEXT + 1))
    except (ValueError, IndexError, zlib.error):
        return _MOST_TEXT + 1


def profile_of(data: bytes) -> bytes:
    """The ICC profile of a PNG, unpacked to 16 MB at most; empty without one, and a damaged one is still packed."""
    file = io.BytesIO(data)
    for kind, length in chunks(file):
        if kind == b"iCCP":
            packed = file.read(length).partition(b"\0")[2][1:]
            try:
                return zlib.decompressobj().decompress(packed, _MOST_PROFILE)
            except zlib.error:
                return packed
        if kind == b"IDAT":
            break
    return b""


def check_rows(path: str | os.PathLike[str], data: bytes, unpack: bool) -> None:
    """Raises FileFormatError if a PNG of `needed_chunks` has fewer rows than its header claims; decoders leave them black.

    With `unpack` the pixels are unpacked, a block at a time; without, only the least that such an image can be packed to is compared.
    """
    file, missing, unpacked = io.BytesIO(data), 0, zlib.decompressobj()
    for kind, length in chunks(file):
        if kind == b"IHDR":
            missing = _unpacked_length(file.read(length))
        elif kind == b"IDAT" and not unpack:
            missing -= _LARGEST_RATIO * length
        elif kind == b"IDAT":
            for start in range(0, length, _BLOCK):
                missing -= len(unpacked.decompress(file.read(min(_BLOCK, length - start))))
                if missing <= 0:
                    return
    if missing > 0:
        raise FileFormatError(f"{path}: the image is cut off: the data of its last rows is missing; copy or download it again")


def _unpacked_length(header: bytes) -> int:
    """The number of bytes of all rows, by the IHDR chunk."""
    width, height, bits, colour, *_, interlaced = struct.unpack(">IIBBBBB", header)
    length = 0
    for column, row, across, down in _PASSES if interlaced else ((0, 0, 1, 1),):
        columns, rows = -((column - width) // across), -((row - height) // down)
        length += rows * (1 + (columns * bits * _CHANNELS.get(colour, 1) + 7) // 8) if columns > 0 else 0
    return length
