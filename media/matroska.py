"""Reads from the header of a Matroska or WebM file how many bytes it should have."""

from __future__ import annotations

from typing import BinaryIO

_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
_MOST_OF_HEADER = 4096


def is_cut_off(file: BinaryIO) -> bool:
    """True if a file is Matroska and has fewer bytes than its header says; False where it does not say.

    The position in the file is lost.
    """
    file.seek(0)
    expected = _whole_size(file.read(_MOST_OF_HEADER))
    return expected is not None and file.seek(0, 2) < expected


def _whole_size(beginning: bytes) -> int | None:
    """The end of the segment, which holds all but the short header before it."""
    header = _element_end(beginning, 0, _EBML)
    return None if header is None else _element_end(beginning, header, _SEGMENT)


def _element_end(data: bytes, start: int, identity: bytes) -> int | None:
    """Where an element ends; None = there is another one, or its size is not known, as of a live stream."""
    at = start + len(identity)
    if data[start:at] != identity or not data[at : at + 1]:
        return None
    # As many zero bits as the first byte begins with, so many bytes follow it.
    length = 9 - data[at].bit_length()
    bits = 7 * length
    size = int.from_bytes(data[at : at + length], "big") & ((1 << bits) - 1)
    return None if length > 8 or size == (1 << bits) - 1 else at + length + size
