"""The tags of a TIFF file, by which it is described, and read where Pillow and OpenCV do not."""

from __future__ import annotations

import io
import struct
from collections.abc import Collection, Iterator
from typing import IO

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
SAMPLES, PLANES, EXTRA_SAMPLES, SAMPLE_FORMAT = 277, 284, 338, 339
SUBFILE, SUB_IMAGES = 254, 330
_FILL_ORDER, _ORIENTATION, _STRIP_ROWS, _PREDICTOR, _TILE_WIDTH, _TILE_HEIGHT, _JPEG_TABLES = 266, 274, 278, 317, 322, 323, 347
_STRIPS, _TILES = (273, 279), (324, 325)  # places in the file, and bytes
NEXT_IMAGE = 0  # no tag of a TIFF
REDUCED = 1  # bit of SUBFILE: a smaller copy of another image in the file
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB = 0, 1, 2
ASSOCIATED_ALPHA = 1
SIGNED, FLOATS = 2, 3
"""Values of the tags."""

_SEPARATE, _JPEG = 2, 7
_COMPRESSIONS = {7: "JPEG", 34712: "JPEG 2000", 34887: "LERC", 34925: "LZMA", 50000: "Zstandard", 50001: "WebP", 50002: "JPEG XL"}
_MOST_TAGS, _MOST_VALUES = 1024, 2**22
# Sizes of types by number; all others that are read are of 2 bytes.
_SIZES = {1: 1, 4: 4, 7: 1, 16: 8}
_NUMBERS = {1: "B", 2: "H", 4: "I", 8: "Q"}
_LONG = 4
# Tags of one plane of an image, besides those of its place in the file.
_OF_A_PLANE = (
    WIDTH,
    HEIGHT,
    BITS,
    COMPRESSION,
    _FILL_ORDER,
    _ORIENTATION,
    _STRIP_ROWS,
    _PREDICTOR,
    _TILE_WIDTH,
    _TILE_HEIGHT,
    SAMPLE_FORMAT,
)


def read_tags(file: IO[bytes], wanted: Collection[int]) -> dict[int, tuple[int, ...]]:
    """The whole numbers of each wanted tag of a TIFF's first image; and `NEXT_IMAGE` if there is a second image.

    Empty for other files. Raises struct.error, OSError, ValueError or OverflowError if the tags are damaged.
    """
    file.seek(0)
    beginning = file.read(16)
    order = _order(beginning)
    version = struct.unpack(f"{order}H", beginning[2:4])[0] if order else 0
    if version not in (42, 43):
        return {}
    big = version == 43
    size, count_size, entry_size = (8, 8, 20) if big else (4, 2, 12)
    start = struct.unpack_from(f"{order}{_NUMBERS[size]}", beginning, size)[0]
    file.seek(start)
    (count,) = struct.unpack(f"{order}{_NUMBERS[count_size]}", file.read(count_size))
    entries = file.read(min(count, _MOST_TAGS) * entry_size)
    tags = {}
    for at in range(0, len(entries) - entry_size + 1, entry_size):
        tag, kind, values = struct.unpack_from(f"{order}HH{_NUMBERS[size]}", entries, at)
        if tag in wanted and 0 < values <= _MOST_VALUES:
            place, each = at + 4 + size, _SIZES.get(kind, 2)
            data = entries[place : place + size]
            if each * values > size:
                file.seek(struct.unpack(f"{order}{_NUMBERS[size]}", data)[0])
                data = file.read(each * values)
            tags[tag] = struct.unpack_from(f"{order}{values}{_NUMBERS[each]}", data)
    file.seek(start + count_size + count * entry_size)
    if any(file.read(size)):  # offset of the next image's tags
        tags[NEXT_IMAGE] = (1,)
    return tags


def _order(beginning: bytes) -> str:
    return {b"II": "<", b"MM": ">"}.get(beginning[:2], "")


def holds_numbers(file: IO[bytes]) -> bool:
    """Whether a TIFF's first image holds floats, or 32-bit or signed integers, by its tags; never raises.

    Signed integers of 8 bits are read as levels, as Pillow does.
    """
    try:
        tags = read_tags(file, (BITS, SAMPLE_FORMAT))
    except (OSError, struct.error, ValueError, OverflowError):
        return False
    bits = tags.get(BITS, (1,))[0]
    return (tags.get(SAMPLE_FORMAT, (1,))[0] in (SIGNED, FLOATS) and bits > 8) or bits == 32


def described(file: IO[bytes]) -> str:
    """What a TIFF that cannot be decoded holds, and what to do, for messages; empty for other files. Raises as `read_tags`."""
    tags = {tag: values[0] for tag, values in read_tags(file, (BITS, COMPRESSION, SAMPLES, SAMPLE_FORMAT)).items()}
    if not (bits := tags.get(BITS)):
        return ""
    kind = {SIGNED: "signed integers", FLOATS: "floats"}.get(tags.get(SAMPLE_FORMAT, 0), "levels")
    packed = _COMPRESSIONS.get(tags.get(COMPRESSION, 0))
    content = f"{bits}-bit {kind}, {tags.get(SAMPLES, 1)} a pixel" + f", compressed by {packed}" * bool(packed)
    return f"a TIFF of {content}: save it as 8- or 16-bit RGB, or as 32-bit floats, without alpha or compression"


def is_planar(data: bytes) -> bool:
    """Whether a TIFF keeps its channels in separate planes."""
    return read_tags(io.BytesIO(data), (PLANES,)).get(PLANES) == (_SEPARATE,)


def planes(data: bytes) -> list[bytes]:
    """A TIFF of grey, or of red, green, blue, and alpha, in separate planes as a grey TIFF for each; empty for other files.

    Pillow reads some of them, and rounds 16 bits to 8. Raises ValueError: cut off; what is appended here would be read as pixels.
    """
    if not is_planar(data):
        return []
    tags = read_tags(io.BytesIO(data), (*_OF_A_PLANE, SAMPLES, PHOTOMETRIC, *_STRIPS, *_TILES))
    samples = tags.get(SAMPLES, (1,))[0]
    places = [tags[tag] for tag in _TILES if tag in tags] or [tags[tag] for tag in _STRIPS if tag in tags]
    count = len(places[0]) // samples if len(places) == 2 and 1 <= samples <= 4 else 0
    if not count or tags.get(PHOTOMETRIC) not in ((BLACK_IS_ZERO,), (RGB,)):
        return []
    if any(place + length > len(data) for place, length in zip(*places, strict=True)):
        raise ValueError("the data of its last rows is missing")
    kept = {tag: tags[tag][:1] for tag in _OF_A_PLANE if tag in tags} | {PHOTOMETRIC: (BLACK_IS_ZERO,)}
    return [
        _with_tags(
            data,
            kept | dict(zip(_TILES if _TILES[0] in tags else _STRIPS, (place[start : start + count] for place in places), strict=True)),
        )
        for start in range(0, samples * count, count)
    ]


def _with_tags(data: bytes, tags: dict[int, tuple[int, ...]]) -> bytes:
    """A TIFF, of 4 GiB at most, with these tags in place of its own."""
    order, start = _order(data), len(data) + len(data) % 2
    entries, values_at, all_values = b"", start + 2 + 12 * len(tags) + 4, b""
    for tag, values in sorted(tags.items()):
        packed = struct.pack(f"{order}{len(values)}I", *values)
        entries += struct.pack(f"{order}HHI", tag, _LONG, len(values))
        if len(packed) <= 4:
            entries += packed
        else:
            entries += struct.pack(f"{order}I", values_at + len(all_values))
            all_values += packed
    header = data[:2] + struct.pack(f"{order}HI", 42, start)
    return b"".join((header, data[8:], bytes(start - len(data)), struct.pack(f"{order}H", len(tags)), entries, bytes(4), all_values))


def jpeg_streams(data: bytes) -> Iterator[tuple[bytes, int]]:
    """The JPEGs of which a TIFF consists, if it does, each with the rows that it must have."""
    tags = read_tags(io.BytesIO(data), (HEIGHT, COMPRESSION, _STRIP_ROWS, _TILE_HEIGHT, _JPEG_TABLES, *_STRIPS, *_TILES))
    if tags.get(COMPRESSION) != (_JPEG,):
        return
    tables, height = bytes(tags.get(_JPEG_TABLES, ()))[:-2], tags[HEIGHT][0]
    places, counts = (tags.get(tile, tags.get(strip, ())) for tile, strip in zip(_TILES, _STRIPS, strict=True))
    rows = tags.get(_TILE_HEIGHT, tags.get(_STRIP_ROWS, (height,)))[0]
    strips = -(-height // rows)
    for index, (place, count) in enumerate(zip(places, counts, strict=True)):
        missing = rows if _TILE_HEIGHT in tags else min(rows, height - index % strips * rows)
        yield tables + data[place : place + count][2 if tables else 0 :], missing
