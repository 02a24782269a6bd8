import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from depth_normal.geometry.files import FileFormatError, read_picture

RAMP = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3) * 2


def png_bytes(width, height, bits=8, colour=2, rows=b""):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tiff"])
def test_8_bit_colour_comes_back_exactly(tmp_path, suffix):
    path = tmp_path / f"unicode é 深度{suffix}"
    Image.fromarray(RAMP).save(path)
    picture = read_picture(path)
    assert picture.dtype == np.float32
    np.testing.assert_array_equal(picture, RAMP.astype(np.float32) / np.float32(255))


def test_16_bit_colour_keeps_its_16_bits(tmp_path):
    levels = np.array([[[0, 1, 65535], [256, 32768, 40000]]], dtype=np.uint16)
    rows = b"\0" + levels.astype(">u2").tobytes()
    (tmp_path / "deep.png").write_bytes(png_bytes(2, 1, bits=16, rows=rows))
    np.testing.assert_allclose(read_picture(tmp_path / "deep.png") * 65535, levels, atol=0.01)


def test_grey_becomes_three_equal_channels(tmp_path):
    Image.fromarray(RAMP[..., 0]).save(tmp_path / "grey.png")
    picture = read_picture(tmp_path / "grey.png")
    assert picture.shape == (5, 7, 3)
    for channel in range(3):
        np.testing.assert_array_equal(np.rint(picture[..., channel] * 255), RAMP[..., 0])


def test_alpha_is_laid_on_white(tmp_path):
    rgba = np.zeros((1, 3, 4), np.uint8)
    rgba[0, :, 0] = 200
    rgba[0, :, 3] = (255, 0, 51)
    Image.fromarray(rgba).save(tmp_path / "alpha.png")
    expected = np.array([[[200, 0, 0], [255, 255, 255], [200 * 0.2 + 255 * 0.8, 204, 204]]]) / 255
    np.testing.assert_allclose(read_picture(tmp_path / "alpha.png"), expected, atol=1e-6)


@pytest.mark.parametrize("mode", ["P", "1", "LA"])
def test_other_kinds_of_png_are_read_as_they_look(tmp_path, mode):
    source = Image.fromarray(RAMP).convert(mode)
    source.save(tmp_path / "other.png")
    np.testing.assert_allclose(read_picture(tmp_path / "other.png") * 255, np.asarray(source.convert("RGB")), atol=0.01)


@pytest.mark.parametrize("suffix", ["png", "webp", "tiff", "jpeg"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_honoured(tmp_path, suffix, orientation):
    # Four flat quarters in different greys survive JPEG; Pillow is the oracle.
    quarters = np.kron(np.array([[20, 90], [160, 230]], np.uint8), np.ones((8, 16), np.uint8))
    picture = Image.fromarray(np.repeat(quarters[..., None], 3, 2))
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"turned.{suffix}"
    picture.save(path, exif=exif, **({"lossless": True} if suffix == "webp" else {}))
    with Image.open(path) as stored:
        expected = np.asarray(ImageOps.exif_transpose(stored).convert("RGB"))
    read = read_picture(path)
    assert read.shape == expected.shape == ((16, 32, 3) if orientation < 5 else (32, 16, 3))
    np.testing.assert_allclose(read * 255, expected, atol=4)


def test_lossy_and_lossless_webp_are_read(tmp_path):
    for name, options in (("a.webp", {"lossless": True}), ("b.webp", {"quality": 100})):
        Image.fromarray(RAMP).save(tmp_path / name, **options)
        assert read_picture(tmp_path / name).shape == (5, 7, 3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"<!DOCTYPE html><html>", "not a picture"),
        (b"\x80\x04\x95pickle", "not a picture"),
        (b"\x89PNG\r\n\x1a\n", "damaged or cut off"),
        (b"\xff\xd8\xff\xe0", "damaged or cut off"),
        (b"\xff\xd8\xff" + b"\xff" * 100, "damaged or cut off"),
        (b"RIFF\0\0\0\0WAVEfmt ", "damaged or cut off"),
        (b"II*\0\xff\xff\xff\xff", "damaged or cut off"),
        (b"BM\0\0", "damaged or cut off"),
        (png_bytes(0, 5), "at least 1"),
        (png_bytes(2**31 - 1, 2**31 - 1), "megapixels"),
        (png_bytes(20_000, 20_000), "megapixels"),
        (b"II*\0\x08\0\0\0\x02\0" + struct.pack("<HHIIHHII", 256, 4, 1, 90_000, 257, 4, 1, 90_000), "megapixels"),
    ],
)
def test_what_is_not_a_picture_is_refused_by_name(tmp_path, content, message):
    path = tmp_path / "bad.png"
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match=message) as caught:
        read_picture(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("suffix", ["png", "jpeg", "webp", "bmp", "tiff"])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.99])
def test_cut_off_files_never_pass_as_whole(tmp_path, suffix, share):
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(buffer, suffix)
    (tmp_path / "cut").write_bytes(buffer.getvalue()[: int(len(buffer.getvalue()) * share)])
    with pytest.raises(FileFormatError):
        read_picture(tmp_path / "cut")


def test_folders_and_missing_files_are_named(tmp_path):
    with pytest.raises(FileFormatError, match="not a file"):
        read_picture(tmp_path)
    with pytest.raises(FileNotFoundError):
        read_picture(tmp_path / "none.png")
