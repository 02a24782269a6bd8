import io
import logging
import os
import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageFile

from depth_normal.geometry.files import FileFormatError, load_estimate, read_image, save_estimate
from depth_normal.geometry.files.icc import to_srgb
from depth_normal.geometry.files.image_files import image_size, is_still_image
from depth_normal.geometry.files.png_chunks import needed_chunks
from tests.geometry.files.samples import full_estimate, png_bytes, png_chunk
from tests.geometry.files.test_icc import P3, matrix_profile

LEVELS = np.random.default_rng(0).integers(1, 256, (9, 13, 4)).astype(np.uint8)
ROWS = b"".join(b"\0" + row.tobytes() for row in LEVELS[..., :3])
LONG = zlib.compress(os.urandom(2**19).hex().encode() * 2)  # 2 MB of text
HUGE = zlib.compress(bytes(2**21))


def sure(image):
    np.testing.assert_array_equal(image, LEVELS[..., :3] / np.float32(255))


@pytest.mark.parametrize(
    "chunk",
    [
        png_chunk(b"zTXt", b"workflow\0\0" + LONG),
        png_chunk(b"iTXt", b"workflow\0\1\0\0\0" + LONG),
        png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + LONG),
        png_chunk(b"zTXt", b"bomb\0\0" + HUGE) * 3,
        png_chunk(b"tEXt", b"workflow\0" + b"a" * 2**19) * 3,
        png_chunk(b"tEXt", b"workflow\0text")[:-1] + b"?",
        png_chunk(b"zTXt", b"workflow\0\0not packed"),
        png_chunk(b"iTXt", b"no end"),
        png_chunk(b"tIME", b"?")[:-1] + b"?",
    ],
    ids=["text", "international text", "XMP", "bomb", "much", "checksum", "not packed", "not ended", "needless"],
)
@pytest.mark.parametrize("place", ["before", "after"])
def test_text_does_not_hide_the_pixels(tmp_path, caplog, chunk, place):
    caplog.set_level(logging.INFO)
    path = tmp_path / "workflow.png"
    path.write_bytes(png_bytes(13, 9, rows=ROWS, **{place: chunk}))
    sure(read_image(path))
    assert image_size(path) == (13, 9) and is_still_image(path) and not caplog.messages


@pytest.mark.parametrize("size", [0, 2**21])
def test_a_profile_of_any_size_is_applied(tmp_path, size):
    icc = matrix_profile(P3) + bytes(size)
    (tmp_path / "p3.png").write_bytes(png_bytes(13, 9, rows=ROWS, before=png_chunk(b"iCCP", b"name\0\0" + zlib.compress(icc))))
    np.testing.assert_array_equal(read_image(tmp_path / "p3.png"), to_srgb("", LEVELS[..., :3], matrix_profile(P3)))


@pytest.mark.parametrize("packed", [b"not packed", zlib.compress(bytes(10))])
def test_a_damaged_profile_is_ignored_and_this_is_said(tmp_path, caplog, packed):
    (tmp_path / "a.png").write_bytes(png_bytes(13, 9, rows=ROWS, before=png_chunk(b"iCCP", b"name\0\0" + packed)))
    sure(read_image(tmp_path / "a.png"))
    assert "its colour profile is ignored (it is damaged)" in caplog.text


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("kind", ["eXIf", "zTXt", "iTXt"])
def test_the_orientation_is_found_wherever_it_stands(tmp_path, place, kind):
    """As a camera, ImageMagick and Photoshop write it."""
    exif = Image.Exif()
    exif[0x0112] = 6
    chunk = {
        "eXIf": png_chunk(b"eXIf", exif.tobytes()[6:]),
        "zTXt": png_chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(b"\nexif\n  32\n" + exif.tobytes().hex().encode() + b"\n")),
        "iTXt": png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + b'<rdf tiff:Orientation="6"/>'),
    }[kind]
    for bits, rows in ((8, ROWS), (16, b"".join(b"\0" + row.repeat(2).tobytes() for row in LEVELS[..., :3].reshape(9, -1)))):
        (tmp_path / "turned.png").write_bytes(png_bytes(13, 9, bits, rows=rows, **{place: chunk}))
        np.testing.assert_allclose(read_image(tmp_path / "turned.png") * 255, np.rot90(LEVELS[..., :3], -1), atol=1e-3)


PASSES = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))


def interlaced(levels):
    parts = (levels[row::down, column::across] for row, column, down, across in PASSES)
    return b"".join(b"\0" + row.tobytes() for part in parts if part.size for row in part)


KINDS = {
    "grey": (8, 0, LEVELS[..., :1]),
    "one bit": (1, 0, np.packbits(LEVELS[..., 0] > 99, axis=1)),
    "deep grey": (16, 0, LEVELS[..., :2]),
    "colour": (8, 2, LEVELS[..., :3]),
    "deep colour": (16, 2, LEVELS[..., [0, 0, 1, 1, 2, 2]]),
    "palette": (8, 3, LEVELS[..., :1] % 4),
    "grey and alpha": (8, 4, LEVELS[..., :2]),
    "deep grey and alpha": (16, 4, LEVELS),
    "alpha": (8, 6, LEVELS),
}


@pytest.mark.parametrize(
    ("kind", "is_interlaced"), [*((kind, False) for kind in KINDS), *((kind, True) for kind in KINDS if kind != "one bit")]
)
def test_a_png_without_its_last_row_is_refused(tmp_path, kind, is_interlaced):
    """Its checksums are right: the writer ended early, and decoders leave the row black. A black row that is there is read."""
    bits, colour, levels = KINDS[kind]
    levels, palette = levels.copy(), png_chunk(b"PLTE", bytes(range(12))) if colour == 3 else b""
    levels[-1] = 0
    rows = interlaced(levels) if is_interlaced else b"".join(b"\0" + row.tobytes() for row in levels)
    path, last = tmp_path / "short.png", len(levels[-1].tobytes()) + 1
    path.write_bytes(png_bytes(13, 9, bits, colour, rows, interlaced=is_interlaced, before=palette))
    assert read_image(path).shape == (9, 13, 3)
    for missing in (last, len(rows) // 2):
        path.write_bytes(png_bytes(13, 9, bits, colour, rows[:-missing], interlaced=is_interlaced, before=palette))
        with pytest.raises(FileFormatError, match=r"cut off|damaged"):
            read_image(path)


def test_depth_without_its_last_rows_is_refused(tmp_path):
    """The far end of the range would stand in their place."""
    (path,) = save_estimate(tmp_path / "depth.png", replace(full_estimate(), normals=None))
    data = path.read_bytes()
    header = data[16:20] + struct.pack(">I", 10) + data[24:29]
    path.write_bytes(data[:12] + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header)) + data[33:])
    with pytest.raises(FileFormatError, match="the data of its last rows is missing"):
        load_estimate(path)


def test_a_small_file_that_claims_a_large_image_costs_no_memory(tmp_path, monkeypatch):
    (tmp_path / "bomb.png").write_bytes(png_bytes(6500, 6500, rows=bytes(5 * 2**20)))
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda _: pytest.fail("decoded"))
    with pytest.raises(FileFormatError, match="the data of its last rows is missing"):
        read_image(tmp_path / "bomb.png")


def test_only_the_end_may_be_missing(tmp_path, caplog):
    whole, path = png_bytes(13, 9, rows=ROWS, after=png_chunk(b"tEXt", b"a\0b")), tmp_path / "short.png"
    for lost in (1, 12, 20):
        path.write_bytes(whole[:-lost])
        sure(read_image(path))
        assert caplog.messages == ([f"{path}: the end of the file is missing, but none of its pixels; they are read"] if lost > 11 else [])
        caplog.clear()
    path.write_bytes(whole[:-30])
    with pytest.raises(FileFormatError, match="its chunk IDAT ends early"):
        read_image(path)


@pytest.mark.parametrize("kind", [b"IDAT", b"tRNS"])
def test_a_wrong_checksum_of_what_is_seen_is_refused(tmp_path, kind):
    data = bytearray(png_bytes(13, 9, rows=ROWS, transparent=bytes(6)))
    data[data.index(kind) - 1 + 4 + 1] ^= 1
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(FileFormatError, match=f"its chunk {kind.decode()} has a wrong checksum"):
        read_image(tmp_path / "a.png")


def test_what_is_kept_is_a_png_that_others_read(tmp_path):
    """Of an animation, the first frame."""
    frames = [Image.fromarray(LEVELS[..., :3]), Image.fromarray(LEVELS[::-1, :, :3].copy())]
    buffer = io.BytesIO()
    frames[0].save(buffer, "PNG", save_all=True, append_images=frames[1:])
    kept = needed_chunks("", buffer.getvalue(), check_pixels=True)
    assert needed_chunks("", kept, check_pixels=True) == kept
    np.testing.assert_array_equal(Image.open(io.BytesIO(kept)), LEVELS[..., :3])
