"""Tells from a file's first bytes whether it may hold depth or normals. Reads no pixels and never raises."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

from numpy.lib.format import MAGIC_PREFIX

from .exr import MAGIC
from .image_files import is_heif, tiff_holds_numbers
from .npz import MAP_NAMES
from .png import NOTES, SIGNATURE

_PFM_BEGINNINGS = (b"Pf\n", b"PF\n", b"Pf ", b"PF ", b"Pf\r", b"PF\r", b"Pf\t", b"PF\t")
# PNG has its text chunks before the pixels, and no real file has this many.
_MOST_CHUNKS = 64
_LONGEST_KEYWORD = 80
# The table of contents of a HEIC, which is in front.
_HEIF_BYTES = 2**16


def npz_holds_maps(path: Path) -> bool:
    """True if an archive names one of the maps that are read."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.removesuffix(".npy") in MAP_NAMES for name in archive.namelist())
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError):
        return False


def exr_holds_maps(path: Path) -> bool:
    """True for any OpenEXR file: only its numbers show whether it is an image."""
    return _beginning(path, len(MAGIC)) == MAGIC


def pfm_holds_maps(path: Path) -> bool:
    """True if it begins as a PFM does."""
    return _beginning(path, 3) in _PFM_BEGINNINGS


def png_holds_maps(path: Path) -> bool:
    """True if a PNG's text chunks say what its numbers are."""
    try:
        with path.open("rb") as file:
            if file.read(len(SIGNATURE)) != SIGNATURE:
                return False
            for _ in range(_MOST_CHUNKS):
                length, kind = struct.unpack(">I4s", file.read(8))
                if kind in (b"IDAT", b"IEND"):
                    return False
                start = file.read(min(length, _LONGEST_KEYWORD)) if kind == b"tEXt" else b""
                if start.split(b"\0", 1)[0].decode("latin-1") in NOTES:
                    return True
                file.seek(length - len(start) + 4, 1)
    except (OSError, struct.error):
        return False
    return False


def npy_holds_numbers(path: Path) -> bool:
    """True if it begins as a NumPy array does."""
    return _beginning(path, len(MAGIC_PREFIX)) == MAGIC_PREFIX


def tiff_holds_maps(path: Path) -> bool:
    """True if a TIFF holds floats: others are photographs."""
    try:
        with path.open("rb") as file:
            return tiff_holds_numbers(file)
    except OSError:
        return False


def heif_holds_depth(path: Path) -> bool:
    """True if a HEIC has images beside the photograph, such as its depth."""
    beginning = _beginning(path, _HEIF_BYTES)
    return is_heif(beginning) and b"auxl" in beginning


def _beginning(path: Path, count: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(count)
    except OSError:
        return b""
