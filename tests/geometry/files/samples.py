"""An estimate of everything, files that this pack does not write, and those that it refuses."""

import dataclasses
import struct
import zlib

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from depth_normal.geometry.estimate import Axes, Estimate, Quantity
from depth_normal.geometry.files import FileFormatError


def full_estimate(height=5, width=7, batch=1):
    """Metres from 1 to 2, and every other map."""
    generator = torch.Generator().manual_seed(0)
    return Estimate(
        depth=1 + torch.rand(batch, 1, height, width, generator=generator),
        quantity=Quantity.METRIC_DEPTH,
        normals=F.normalize(torch.randn(batch, 3, height, width, generator=generator), dim=1),
        axes=Axes.SCANNET,
        mask=torch.rand(batch, 1, height, width, generator=generator) > 0.1,
        intrinsics=torch.tensor([[50.1, 0, 3], [0, 49.9, 2], [0, 0, 1]]).repeat(batch, 1, 1),
        confidence=torch.rand(batch, 1, height, width, generator=generator),
        extrinsics=torch.tensor([[0.0, -1, 0, 0.1], [1, 0, 0, -2], [0, 0, 1, 7]]).repeat(batch, 1, 1),
    )


def assert_same_bits(found, expected):
    """All of two estimates is the same: -0.0 is not 0.0, and NaN is NaN."""
    for field in dataclasses.fields(Estimate):
        one, other = (getattr(each, field.name) for each in (found, expected))
        if isinstance(other, torch.Tensor):
            one, other = ((each.dtype, each.shape, each.numpy().tobytes()) for each in (one, other))
        assert one == other, field.name


def refuses_content(name, read, *rows):
    """A test of one case a row: the content of a file of that name, and words of the error, which names the file."""

    def test(tmp_path, monkeypatch, row):
        content, words = row
        monkeypatch.chdir(tmp_path)  # where code in the content would write
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(FileFormatError, match=words) as caught:
            read(path)
        assert str(path) in str(caught.value) and list(tmp_path.iterdir()) == [path]

    return pytest.mark.parametrize("row", rows, ids=[words for _, words in rows])(test)


def write_channels(path, header=None, **channels):
    """Writes an EXR; a name's `__` is a dot."""
    write_parts(path, (header or {}, {name.replace("__", "."): values for name, values in channels.items()}))


def write_parts(path, *parts):
    """Writes an EXR of parts, each a header and its channels by name."""
    library = pytest.importorskip("OpenEXR", reason="EXR files need the package OpenEXR (extra 'exr')")
    layout = {"compression": library.ZIP_COMPRESSION, "type": library.scanlineimage}
    whole = []
    for index, (header, channels) in enumerate(parts):
        planes = {name: np.ascontiguousarray(values) for name, values in channels.items()}
        whole.append(library.Part(layout | header, planes, header.get("name", f"part {index}")))
    with library.File(whole) as file:
        file.write(str(path))


def read_channels(path):
    """The header and the channels (H, W) of an EXR, as its own library reads them."""
    library = pytest.importorskip("OpenEXR", reason="EXR files need the package OpenEXR (extra 'exr')")
    with library.File(str(path), separate_channels=True) as file:
        return dict(file.header()), {name: channel.pixels for name, channel in file.channels().items()}


def write_tiff(path, pixels, **options):
    """An uncompressed TIFF of these numbers: Pillow writes neither 16-bit colour nor premultiplied alpha."""
    library = pytest.importorskip("tifffile", reason="comes with scikit-image")
    library.imwrite(path, pixels, metadata=None, **options)


def png_chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_bytes(width, height, bits=8, colour=2, rows=b"", transparent=b"", interlaced=False, before=b"", after=b""):
    """A PNG of these rows, each after its filter; `before` and `after` are chunks around the pixels."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlaced)
    before += png_chunk(b"tRNS", transparent) if transparent else b""
    data = before + png_chunk(b"IDAT", zlib.compress(rows)) + after + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + data
