"""HEIC images with depth, as a phone's portrait mode makes them."""

import io
import struct

import numpy as np

_DEPTH = b"urn:mpeg:hevc:2015:auxid:2\0"


def _boxes(data, at, end):
    while at < end:
        size, kind = struct.unpack_from(">I4s", data, at)
        yield kind, data[at : at + size]
        at += size


def _box(kind, *content):
    return struct.pack(">I4s", 8 + sum(map(len, content)), kind) + b"".join(content)


def heic_with_depth(photo: np.ndarray, depth: np.ndarray) -> bytes:
    """The bytes of a photograph (H, W, 3) uint8 with depth (h, w) uint8, near = large.

    pillow-heif writes no depth: the second of two images is made the depth of the first, in the file's table of contents.
    """
    import pillow_heif
    from PIL import Image

    file, buffer = pillow_heif.from_pillow(Image.fromarray(photo)), io.BytesIO()
    file.add_from_pillow(Image.fromarray(depth))
    file.save(buffer, quality=-1, chroma=444)
    data = buffer.getvalue()
    start, meta = next((at, box) for at, box in ((data.find(box), box) for kind, box in _boxes(data, 0, len(data)) if kind == b"meta"))
    new = dict(_boxes(meta, 12, len(meta)))
    properties = dict(_boxes(new[b"iprp"], 8, len(new[b"iprp"])))
    number = sum(1 for _ in _boxes(properties[b"ipco"], 8, len(properties[b"ipco"]))) + 1
    uses = bytearray(properties[b"ipma"])
    second = 16 + 3 + uses[18]  # behind the first item's: its number, how many properties, which
    uses[second + 2] += 1
    uses.append(0x80 | number)
    new[b"iprp"] = _box(b"iprp", _box(b"ipco", properties[b"ipco"][8:], _box(b"auxC", bytes(4), _DEPTH)), _box(b"ipma", bytes(uses[8:])))
    new[b"iref"] = _box(b"iref", bytes(4), _box(b"auxl", struct.pack(">HHH", 2, 1, 1)))
    grown = sum(map(len, new.values())) + 12 - len(meta)
    places = bytearray(new[b"iloc"])
    assert places[12:14] == b"\x44\x40", "offsets, lengths and bases of 4 bytes"
    at = 16
    for _ in range(2):  # item, file, base; one extent
        struct.pack_into(">I", places, at + 4, struct.unpack_from(">I", places, at + 4)[0] + grown)
        at += 2 + 2 + 4 + 2 + 8
    new[b"iloc"] = bytes(places)
    return data[:start] + _box(b"meta", bytes(4), *new.values()) + data[start + len(meta) :]
