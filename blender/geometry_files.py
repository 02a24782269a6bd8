"""Reads and writes EXR and NPZ files of depth and normals with numpy alone; always atomic.

OpenImageIO cannot be relied on: the bpy module 4.2 lacks its Python package, and bpy 4.5 and 5.0 keep it outside Python's search path.
Blender's own images have no named channels and no header attributes.
"""

from __future__ import annotations

import os
import struct
import uuid
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

MAX_PIXELS = 2**27
"""Maximum number of pixels of a map."""

_MAGIC = b"\x76\x2f\x31\x01"
_TILED, _DEEP, _MULTIPART = 0x200, 0x800, 0x1000
_PIXEL_TYPES = {0: np.dtype("<u4"), 1: np.dtype("<f2"), 2: np.dtype("<f4")}
_LINES_OF_A_BLOCK = {0: 1, 2: 1, 3: 16}
_ZIP = 3
_COMPRESSIONS = ("none", "RLE", "ZIPS", "ZIP", "PIZ", "PXR24", "B44", "B44A", "DWAA", "DWAB")


QUANTITY_ATTRIBUTE, AXES_ATTRIBUTE, INTRINSICS_ATTRIBUTE = "depthNormalQuantity", "depthNormalAxes", "depthNormalIntrinsics"
PROJECTION_ATTRIBUTE = "depthNormalProjection"
"""EXR header attributes in which the node pack stores the meaning of the values."""

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_TEXT_PREFIX = b"depth_normal."


class MapFileError(ValueError):
    """A file cannot be read or written; the message names it and what is accepted."""


@dataclass(frozen=True)
class _Layout:
    """Pixel layout of an EXR: channel names and types in file order, size, first line, compression."""

    channels: list[tuple[str, np.dtype]]
    width: int
    height: int
    first_line: int
    compression: int

    @property
    def line_bytes(self) -> int:
        return self.width * sum(dtype.itemsize for _, dtype in self.channels)


def write_atomically(path: str | os.PathLike[str], write: Callable[[BinaryIO], None]) -> None:
    """Lets `write` fill a temporary file beside `path`, and renames it to `path` on success.

    Raises:
        MapFileError: The folder is missing, not writable or full. An existing file at `path` is untouched.
    """
    path = Path(path)
    temporary = path.with_name(f".{uuid.uuid4().hex}{path.suffix}")
    try:
        with temporary.open("xb") as file:
            write(file)
        temporary.replace(path)
    except OSError as error:
        raise MapFileError(f"cannot write {path}: {error.strerror or error}; choose a folder that you may write to") from error
    finally:
        temporary.unlink(missing_ok=True)


def write_npz(path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray | str]) -> None:
    """Writes a compressed NumPy archive, atomically.

    Raises:
        MapFileError: As `write_atomically`.
    """
    write_atomically(path, lambda file: np.savez_compressed(file, **{key: np.asarray(value) for key, value in arrays.items()}))


def read_npz(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """All arrays of a NumPy archive, without unpickling.

    Raises:
        MapFileError: Missing, damaged, too large, or not an archive of plain arrays.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if (size := sum(member.file_size for member in archive.infolist())) > 64 * MAX_PIXELS:
                raise MapFileError(f"{path}: {size / 2**30:.0f} GiB when unpacked, more than this reads; scale the map down")
        with np.load(path, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except MapFileError:
        raise
    except (OSError, ValueError, MemoryError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise MapFileError(f"cannot read {path} as a NumPy archive (.npz) of plain arrays: {error}") from error


def read_png_notes(path: str | os.PathLike[str]) -> dict[str, str]:
    """The node pack's metadata in a PNG, by keyword without the prefix `depth_normal.`; empty for other images.

    Raises:
        MapFileError: The file cannot be read.
    """
    notes: dict[str, str] = {}
    try:
        with Path(path).open("rb") as file:
            if file.read(len(_PNG_SIGNATURE)) != _PNG_SIGNATURE:
                return notes
            while len(head := file.read(8)) == 8 and head[4:] != b"IDAT":
                length = struct.unpack(">I", head[:4])[0]
                body = file.read(length) if head[4:] == b"tEXt" else b""
                file.seek(length - len(body) + 4, os.SEEK_CUR)
                if body.startswith(_PNG_TEXT_PREFIX):
                    keyword, _, value = body[len(_PNG_TEXT_PREFIX) :].decode("latin-1").partition("\0")
                    notes[keyword] = value
    except OSError as error:
        raise MapFileError(f"cannot read {path}: {error.strerror or error}") from error
    return notes


def write_exr(path: str | os.PathLike[str], channels: Mapping[str, np.ndarray], quantity: str, axes: str, intrinsics: np.ndarray) -> None:
    """Writes an EXR of 32-bit float channels, ZIP compressed, one part, top line first, atomically.

    Args:
        channels: (H, W) maps by channel name.
        quantity, axes, intrinsics: Meaning of the depth, axes of the normals and (3, 3) intrinsics, for the header.

    Raises:
        MapFileError: As `write_atomically`.

    Source:
        OpenEXR file layout, https://openexr.com/en/latest/OpenEXRFileLayout.html
    """
    names = sorted(channels)
    height, width = channels[names[0]].shape
    lines = np.stack([np.asarray(channels[name], "<f4") for name in names], axis=1)
    blocks = [lines[y : y + _LINES_OF_A_BLOCK[_ZIP]].tobytes() for y in range(0, height, _LINES_OF_A_BLOCK[_ZIP])]
    notes = [
        (QUANTITY_ATTRIBUTE, "string", quantity.encode()),
        (AXES_ATTRIBUTE, "string", axes.encode()),
        (INTRINSICS_ATTRIBUTE, "m33f", np.asarray(intrinsics, "<f4").tobytes()),
    ]
    aspect = round(float(intrinsics[1, 1] / intrinsics[0, 0]), 6)
    header = _exr_header(names, width, height, aspect, notes)

    def write(file: BinaryIO) -> None:
        packed = [_zip_block(block) for block in blocks]
        offset = len(header) + 8 * len(packed)
        file.write(header)
        for block in packed:
            file.write(struct.pack("<Q", offset))
            offset += 8 + len(block)
        for index, block in enumerate(packed):
            file.write(struct.pack("<ii", index * _LINES_OF_A_BLOCK[_ZIP], len(block)) + block)

    write_atomically(path, write)


def read_exr(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, bytes]]:
    """Reads a single-part scan-line EXR, uncompressed or ZIP(S) compressed.

    Returns:
        (H, W) float32 maps of the display window by channel name, NaN outside the data window, and the header's raw attribute
        values by name.

    Raises:
        MapFileError: Missing, damaged, too large, or of an unsupported kind.
    """
    try:
        data = Path(path).read_bytes()
        attributes, position = _read_header(path, data)
        layout = _read_layout(path, attributes)
        return _in_display_window(path, _read_lines(data, position, layout), attributes), attributes
    except OSError as error:
        raise MapFileError(f"cannot read {path}: {error.strerror or error}") from error
    except (struct.error, ValueError, IndexError, KeyError, MemoryError, zlib.error) as error:
        if isinstance(error, MapFileError):
            raise
        raise MapFileError(f"{path} is damaged or not an EXR file: {error}") from error


def _exr_header(names: list[str], width: int, height: int, pixel_aspect: float, notes: list[tuple[str, str, bytes]]) -> bytes:
    window = struct.pack("<4i", 0, 0, width - 1, height - 1)
    channel_list = b"".join(name.encode() + b"\0" + struct.pack("<iB3xii", 2, 0, 1, 1) for name in names) + b"\0"
    fields = [
        ("channels", "chlist", channel_list),
        ("compression", "compression", bytes([_ZIP])),
        ("dataWindow", "box2i", window),
        ("displayWindow", "box2i", window),
        ("lineOrder", "lineOrder", b"\0"),
        ("pixelAspectRatio", "float", struct.pack("<f", pixel_aspect)),
        ("screenWindowCenter", "v2f", struct.pack("<2f", 0, 0)),
        ("screenWindowWidth", "float", struct.pack("<f", 1)),
        *notes,
    ]
    body = b"".join(f"{name}\0{kind}\0".encode() + struct.pack("<i", len(value)) + value for name, kind, value in fields)
    return _MAGIC + struct.pack("<i", 2) + body + b"\0"


def _read_header(path: str | os.PathLike[str], data: bytes) -> tuple[dict[str, bytes], int]:
    """The attributes' raw values, and the header's end."""
    if data[:4] != _MAGIC:
        raise MapFileError(f"{path} is not an EXR file")
    flags = struct.unpack_from("<I", data, 4)[0]
    if flags & (_TILED | _DEEP | _MULTIPART):
        raise MapFileError(f"{path} is a tiled, deep or multi-part EXR; save it as a single part in scan lines")
    attributes: dict[str, bytes] = {}
    position = 8
    while data[position]:
        name, position = _read_text(data, position)
        _, position = _read_text(data, position)
        size = struct.unpack_from("<i", data, position)[0]
        if size < 0:
            raise ValueError(f"attribute {name} of {size} bytes")
        attributes[name] = data[position + 4 : position + 4 + size]
        position += 4 + size
    return attributes, position + 1


def _read_text(data: bytes, position: int) -> tuple[str, int]:
    end = data.index(b"\0", position)
    return data[position:end].decode(), end + 1


def _read_layout(path: str | os.PathLike[str], attributes: Mapping[str, bytes]) -> _Layout:
    x_min, y_min, x_max, y_max = struct.unpack("<4i", attributes["dataWindow"])
    width, height = x_max - x_min + 1, y_max - y_min + 1
    if width < 1 or height < 1 or width * height > MAX_PIXELS:
        raise MapFileError(f"{path} is {width}x{height} pixels; 1 to {MAX_PIXELS // 2**20} megapixels are read")
    compression = attributes["compression"][0]
    if compression not in _LINES_OF_A_BLOCK:
        kind = _COMPRESSIONS[compression] if compression < len(_COMPRESSIONS) else f"number {compression}"
        raise MapFileError(f"{path} has {kind} compression; save it uncompressed or as ZIP")
    listed, channels, position = attributes["channels"], [], 0
    while listed[position]:
        name, position = _read_text(listed, position)
        kind, _, x_step, y_step = struct.unpack_from("<iB3xii", listed, position)
        if (x_step, y_step) != (1, 1):
            raise MapFileError(f"{path}: channel {name} is subsampled; save every channel at full size")
        channels.append((name, _PIXEL_TYPES[kind]))
        position += 16
    return _Layout(channels, width, height, y_min, compression)


def _read_lines(data: bytes, table: int, layout: _Layout) -> dict[str, np.ndarray]:
    rows = _LINES_OF_A_BLOCK[layout.compression]
    count = -(-layout.height // rows)
    lines = np.zeros((layout.height, layout.line_bytes), np.uint8)
    for offset in struct.unpack_from(f"<{count}Q", data, table):
        line, size = struct.unpack_from("<ii", data, offset)
        first = line - layout.first_line
        target = lines[first : first + rows]
        block = data[offset + 8 : offset + 8 + size]
        if first < 0 or first % rows or len(target) == 0 or size < 0 or len(block) < size:
            raise ValueError(f"the block of line {line} lies outside the image or the file")
        if layout.compression and size < target.size:
            block = _unzip_block(block, target.size)
        target[:] = np.frombuffer(block, np.uint8).reshape(target.shape)
    maps, start = {}, 0
    for name, dtype in layout.channels:
        end = start + layout.width * dtype.itemsize
        maps[name] = np.ascontiguousarray(lines[:, start:end]).view(dtype).astype(np.float32)
        start = end
    return maps


def _in_display_window(path: str | os.PathLike[str], maps: dict[str, np.ndarray], attributes: Mapping[str, bytes]) -> dict[str, np.ndarray]:
    if attributes["displayWindow"] == attributes["dataWindow"]:
        return maps
    left, top, right, bottom = struct.unpack("<4i", attributes["displayWindow"])
    x_min, y_min, x_max, y_max = struct.unpack("<4i", attributes["dataWindow"])
    width, height = right - left + 1, bottom - top + 1
    if width < 1 or height < 1 or width * height > MAX_PIXELS:
        raise MapFileError(f"{path} is {width}x{height} pixels; 1 to {MAX_PIXELS // 2**20} megapixels are read")
    columns, rows = (slice(max(x_min, left), min(x_max, right) + 1), slice(max(y_min, top), min(y_max, bottom) + 1))
    if columns.start >= columns.stop or rows.start >= rows.stop:
        raise MapFileError(f"{path}: its data window lies outside its display window")

    def placed(values: np.ndarray) -> np.ndarray:
        shown = np.full((height, width), np.nan, np.float32)
        within = values[rows.start - y_min : rows.stop - y_min, columns.start - x_min : columns.stop - x_min]
        shown[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = within
        return shown

    return {name: placed(values) for name, values in maps.items()}


def _zip_block(raw: bytes) -> bytes:
    """EXR's ZIP: splits low and high bytes, delta-encodes, deflates; keeps raw data if that is no shorter."""
    values = np.frombuffer(raw, np.uint8)
    apart = np.concatenate((values[::2], values[1::2]))
    apart[1:] = apart[1:] - apart[:-1] + np.uint8(128)
    packed = zlib.compress(apart.tobytes(), 4)
    return packed if len(packed) < len(raw) else raw


def _unzip_block(packed: bytes, size: int) -> bytes:
    unpacker = zlib.decompressobj()
    values = np.frombuffer(unpacker.decompress(packed, size), np.uint8).astype(np.int64)
    values[1:] -= 128
    apart = np.cumsum(values).astype(np.uint8)
    if apart.size != size:
        raise ValueError(f"a block holds {apart.size} bytes instead of {size}")
    raw = np.empty(size, np.uint8)
    raw[::2], raw[1::2] = apart[: (size + 1) // 2], apart[(size + 1) // 2 :]
    return raw.tobytes()
