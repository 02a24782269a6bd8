import io
import logging
import os
import pickle
import struct
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import cv2
import numpy as np
import PIL
import pytest
import tifffile
import torch
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from depth_normal.geometry.errors import MissingFileError
from depth_normal.geometry.files import FileFormatError, hdr_images, load_estimate, paths, read_image
from depth_normal.geometry.files.image_files import image_bits, image_exposure, image_size, is_still_image
from depth_normal.geometry.files.values import read_values
from depth_normal.geometry.images.tone_mapping import HLG, PQ, hdr_to_sdr
from tests.geometry.files.samples import png_bytes, png_chunk, refuses_content, write_channels, write_tiff

RAMP = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3) * 2


def encoded(pixels, suffix, **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, suffix, **options)
    return buffer.getvalue()


LOOKS = {
    **{f"unicode é 深度.{suffix}": Image.fromarray(RAMP) for suffix in ("png", "bmp", "tiff")},
    **{f"{mode}.png": Image.fromarray(RAMP).convert(mode) for mode in ("P", "1", "L", "LA")},
}


@pytest.mark.parametrize("name", LOOKS)
def test_8_bits_come_back_exactly(tmp_path, name):
    LOOKS[name].save(tmp_path / name)
    image = read_image(tmp_path / name)
    assert image.dtype == np.float32
    np.testing.assert_array_equal(image, np.asarray(LOOKS[name].convert("RGB"), np.float32) / np.float32(255))


@pytest.mark.parametrize(("white", "masks"), [(0x7FFF, ()), (0xFFFF, (0xF800, 0x07E0, 0x001F))])
def test_white_is_white_in_a_bmp_of_16_bits(tmp_path, white, masks):
    info = struct.pack("<IiiHHIIiiII", 40, 2, 1, 1, 16, 3 if masks else 0, 4, 0, 0, 0, 0) + struct.pack(f"<{len(masks)}I", *masks)
    data = info + struct.pack("<HH", 0, white)
    (tmp_path / "16.bmp").write_bytes(struct.pack("<2sIII", b"BM", 14 + len(data), 0, 14 + len(info)) + data)
    np.testing.assert_array_equal(read_image(tmp_path / "16.bmp"), [[[0, 0, 0], [1, 1, 1]]])


@pytest.mark.parametrize("suffix", ["png", "heic"])
def test_hdr_is_tone_mapped_where_the_file_says_so(tmp_path, suffix, monkeypatch):
    """As in a video, in bands of rows: PQ by a PNG's cICP, HLG by the box nclx of a camera's HEIF."""
    monkeypatch.setattr(hdr_images, "_BAND_PIXELS", 100)
    levels, transfer = np.kron(RAMP[::2, ::2], np.ones((8, 8, 1), np.uint8)), PQ if suffix == "png" else HLG
    path, plain = tmp_path / f"hdr.{suffix}", encoded(levels, "png")
    path.write_bytes(plain[:33] + png_chunk(b"cICP", bytes((9, transfer, 0, 1))) + plain[33:])
    if suffix == "heic":
        coding = {"color_primaries": 9, "transfer_characteristics": transfer, "matrix_coefficients": 0, "full_range_flag": 1}
        pytest.importorskip("pillow_heif").from_pillow(Image.fromarray(levels)).save(path, quality=-1, chroma=444, **coding)
    expected = hdr_to_sdr(torch.from_numpy(levels / np.float32(255)).movedim(-1, 0), transfer).movedim(0, -1)
    np.testing.assert_allclose(read_image(path), expected, atol=1e-5 if suffix == "png" else 0.03)


def test_hdr_in_grey_is_tone_mapped_as_in_colour(tmp_path):
    shown = []
    for colours, plain in ((3, encoded(np.repeat(RAMP[..., :1], 3, 2), "png")), (1, encoded(RAMP[..., 0], "png"))):
        (tmp_path / f"{colours}.png").write_bytes(plain[:33] + png_chunk(b"cICP", bytes((9, PQ, 0, 1))) + plain[33:])
        shown.append(read_image(tmp_path / f"{colours}.png"))
    np.testing.assert_array_equal(*shown)


def test_alpha_is_laid_on_white(tmp_path):
    rgba = np.zeros((1, 3, 4), np.uint8)
    rgba[0, :, 0] = 200
    rgba[0, :, 3] = (255, 0, 51)
    Image.fromarray(rgba).save(tmp_path / "alpha.png")
    expected = np.array([[[200, 0, 0], [255, 255, 255], [200 * 0.2 + 255 * 0.8, 204, 204]]]) / 255
    np.testing.assert_allclose(read_image(tmp_path / "alpha.png"), expected, atol=1e-6)


GREYS = [(bits, key, [key, 2**bits - 1 - key, key, 0, 2**bits - 1, key, 2**bits // 2, 1]) for bits in (1, 2, 4, 8, 16) for key in (0, 1)]
COLOURS = [*((bits, (7, 8, 9), [[7, 8, 9], [7, 8, 10], [0, 0, 0]]) for bits in (8, 16)), (16, None, [[0, 1, 65535], [256, 32768, 40000]])]


@pytest.mark.parametrize(("bits", "key", "row"), GREYS + COLOURS)
def test_a_png_of_any_bits_keeps_them_and_its_transparent_colour_is_white(tmp_path, bits, key, row):
    levels = np.array(row)
    digits = "".join(f"{level:0{bits}b}" for level in levels.flat)
    data, transparent = int(digits, 2).to_bytes(len(digits) // 8, "big"), b"" if key is None else np.array(key, ">u2").tobytes()
    (tmp_path / "a.png").write_bytes(png_bytes(len(row), 1, bits, 2 if levels.ndim == 2 else 0, b"\0" + data, transparent))
    levels = levels.reshape(1, len(row), -1)
    expected = np.where(False if key is None else (levels == key).all(-1, keepdims=True), 1, levels / (2**bits - 1))
    np.testing.assert_allclose(read_image(tmp_path / "a.png"), np.broadcast_to(expected, (1, len(row), 3)), atol=1e-6)


@pytest.mark.parametrize("suffix", ["png", "webp", "tiff", "jpeg"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_honoured(tmp_path, suffix, orientation):
    """Four flat quarters in different greys survive JPEG; Pillow is the oracle."""
    image = Image.fromarray(np.kron(np.array([[20, 90], [160, 230]], np.uint8), np.ones((8, 16), np.uint8))).convert("RGB")
    exif, path = Image.Exif(), tmp_path / f"turned.{suffix}"
    exif[0x0112] = orientation
    image.save(path, exif=exif, **({"lossless": True} if suffix == "webp" else {}))
    with Image.open(path) as stored:
        expected = np.asarray(ImageOps.exif_transpose(stored).convert("RGB"))
    read = read_image(path)
    assert read.shape == expected.shape == ((16, 32, 3) if orientation < 5 else (32, 16, 3))
    np.testing.assert_allclose(read * 255, expected, atol=4)


# A JPEG whose header says 11000 x 11000.
CLAIM = encoded(np.zeros((16, 16, 3), np.uint8), "jpeg").replace(struct.pack(">HH", 16, 16), struct.pack(">HH", 11_000, 11_000), 1)


test_what_is_not_an_image_is_refused_by_name = refuses_content(
    "bad.png",
    read_image,
    (b"", "the file is empty"),
    (b"<!DOCTYPE html><html>", "not an image"),
    (b"\x80\x04\x95pickle", "not an image"),
    (b"\x89PNG\r\n\x1a\n", "damaged or cut off"),
    (b"\xff\xd8\xff\xe0", "damaged or cut off"),
    (b"\xff\xd8\xff" + b"\xff" * 100, "damaged or cut off"),
    (b"RIFF\0\0\0\0WAVEfmt ", "damaged or cut off"),
    (b"II*\0\xff\xff\xff\xff", "damaged or cut off"),
    (b"II*\0\x08\0\0\0\2\0" + struct.pack("<HHIIHHII", 258, 3, 1, 32, 339, 3, 1, 3), "an image of 0x0 pixels"),
    (encoded(RAMP, "tiff", tiffinfo={254: 1, 330: 8}), "raw image, of which only the small preview"),
    (b"BM\0\0", "damaged or cut off"),
    (b"8BPS\0\1", "a Photoshop document: save it as PNG"),
    (b"\0\0\0\x0cJXL \r\n", "JPEG XL: save it as PNG"),
    (png_bytes(0, 5), "damaged or cut off"),
    (png_bytes(2**31 - 1, 2**31 - 1), "megapixels"),
    (png_bytes(20_000, 20_000), "far more than 128 megapixels, the most that are read; scale it down"),
    (png_bytes(10_000, 10_000), "the header claims 10000x10000 pixels, the file has"),
    (CLAIM, r"claims 11000x11000 pixels, the file has 6\d\d bytes"),
)


@pytest.mark.parametrize("suffix", ["png", "jpeg", "webp", "bmp", "tiff", "gif", "tga", "dds", "ppm", "jpeg2000"])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.99])
def test_cut_off_files_never_pass_as_whole(tmp_path, suffix, share):
    whole, path = encoded(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8), suffix), tmp_path / f"cut.{suffix}"
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(FileFormatError):
        read_image(path)


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_without_its_end_mark_is_read_and_this_is_said(tmp_path, photo, caplog, progressive):
    """A thumbnail before the pixels has an end mark, too."""
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x927C] = b"\xff\xd9"
    whole, path = encoded(photo[::4, ::4], "jpeg", progressive=progressive, exif=exif), tmp_path / "short.jpg"
    path.write_bytes(whole)
    expected = read_image(path)
    assert not caplog.messages and whole.count(b"\xff\xd9") == 2
    for lost in (1, 2):
        path.write_bytes(whole[:-lost])
        np.testing.assert_array_equal(read_image(path), expected)
        assert caplog.messages.pop() == f"{path}: the end of the file is missing, but none of its pixels; they are read"
        caplog.clear()
    path.write_bytes(whole[:-10])
    with pytest.raises(FileFormatError, match="cut off: the data of its last pixels is missing"):
        read_image(path)


def test_a_jpeg_cut_off_at_a_restart_mark_is_refused(tmp_path):
    """Whatever follows before the next mark is skipped: data there changes none of the rows."""
    whole = encoded(np.full((32, 16, 3), 200, np.uint8), "jpeg", restart_marker_rows=1)
    (tmp_path / "cut.jpeg").write_bytes(whole[: whole.rindex(b"\xff\xd0")])
    with pytest.raises(FileFormatError, match="the data of its last pixels is missing"):
        read_image(tmp_path / "cut.jpeg")


def test_a_jpeg_whose_end_mark_hides_what_is_missing_is_refused(tmp_path, photo):
    whole, path = encoded(photo, "jpeg", quality=85), tmp_path / "cut.jpg"
    cuts = [(whole[: int(len(whole) * share)] + b"\xff\xd9", "the data of its last pixels is missing") for share in (0.2, 0.5, 0.95)]
    for data, words in (*cuts, (whole[: len(whole) // 2] + bytes(len(whole) // 2), "cut off")):
        path.write_bytes(data)
        with pytest.raises(FileFormatError, match=words):
            read_image(path)


@pytest.mark.parametrize("shape", [(64, 64), (64, 64, 3), (64, 64, 4)])
def test_a_jpeg_that_is_truly_grey_is_read(tmp_path, shape):
    for level in (127, 128):
        image = Image.fromarray(np.full(shape, level, np.uint8), "CMYK" if shape[2:] == (4,) else None)
        image.save(tmp_path / "grey.jpg")
        assert np.ptp(read_image(tmp_path / "grey.jpg")) == 0


@pytest.mark.parametrize("lenient", [True, False])
def test_what_others_ask_of_pillow_changes_nothing_here_and_stays_theirs(tmp_path, monkeypatch, lenient):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", lenient)
    whole = encoded(RAMP, "bmp")
    (tmp_path / "cut.bmp").write_bytes(whole[:-20])
    with pytest.raises(FileFormatError, match="cut off"):
        read_image(tmp_path / "cut.bmp")
    assert ImageFile.LOAD_TRUNCATED_IMAGES is lenient


BLANK = {"png": {"optimize": True}, "webp": {"lossless": True}, "tiff": {"compression": "group4"}}


@pytest.mark.parametrize("suffix", BLANK)
def test_a_blank_page_is_read(tmp_path, suffix):
    path = tmp_path / f"blank.{suffix}"
    Image.new("RGB" if suffix == "webp" else "1", (1800, 1800)).save(path, **BLANK[suffix])
    assert path.stat().st_size * 2048 < 1800 * 1800 and read_image(path).shape == (1800, 1800, 3)


def test_images_in_threads_are_those_of_one_thread(tmp_path, photo):
    files = [tmp_path / name for name in ("a.png", "b.jpg", "c.webp", "d.tiff")]
    for path in files:
        Image.fromarray(photo[::2, ::2]).save(path)
    alone = [read_image(path) for path in files] * 5
    with ThreadPoolExecutor(4) as threads:
        for image, expected in zip(threads.map(read_image, files * 5), alone, strict=True):
            np.testing.assert_array_equal(image, expected)
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


@pytest.mark.parametrize(("dtype", "channels"), [(np.uint8, 3), (np.uint16, 3), (np.uint8, 1)])
@pytest.mark.parametrize("extra_sample", [0, 1, 2])
def test_alpha_in_tiff_is_laid_on_white_once(tmp_path, dtype, channels, extra_sample):
    """0 = a sample of no stated meaning, which is not alpha; 1 = premultiplied; 2 = straight."""
    top, path, kind = np.iinfo(dtype).max, tmp_path / "alpha.tiff", "rgb" if channels == 3 else "minisblack"
    alpha = np.linspace(0, 1, 16)[None, :, None].repeat(8, 0)
    colours = np.random.default_rng(0).random((8, 16, channels))
    stored = np.concatenate([colours * alpha if extra_sample == 1 else colours, alpha], -1)
    write_tiff(path, np.rint(stored * top).astype(dtype), extrasamples=[extra_sample], photometric=kind, planarconfig="contig")
    try:
        Image.open(path).close()
    except UnidentifiedImageError:
        pytest.skip(f"Pillow {PIL.__version__} does not know this kind of TIFF; it is refused")
    expected = np.broadcast_to(colours if extra_sample == 0 else colours * alpha + 1 - alpha, (8, 16, 3))
    np.testing.assert_allclose(read_image(path), expected, atol=1.1 / top if extra_sample != 1 else 1.6 / top)


def test_deep_tiff_keeps_its_16_bits_and_is_refused_where_nobody_can_read_it(tmp_path):
    levels, path = np.random.default_rng(0).integers(0, 65536, (8, 16, 3)).astype(np.uint16), tmp_path / "deep.tiff"
    write_tiff(path, levels, photometric="rgb")
    np.testing.assert_allclose(read_image(path) * 65535, levels, atol=0.01)
    grey_alpha = {"photometric": "minisblack", "planarconfig": "contig", "extrasamples": [2]}
    separate, ink = {"photometric": "separated", "planarconfig": "separate"}, np.zeros((4, 8, 16), np.float32)
    for pixels, options, read, message in (
        (ink, separate, read_values, "separate planes; save it"),
        (levels[..., :2], grey_alpha, read_image, r"known kind, .*\(a TIFF of 16-bit levels, 2 a pixel: save it as 8- or 16-bit RGB"),
        (levels[..., :2].astype(np.float32), grey_alpha, read_values, "32-bit floats, 2 a pixel: .*, without alpha or compression"),
        (levels.astype(np.float16), {"photometric": "rgb"}, read_values, "a TIFF of 16-bit floats, 3 a pixel: save it as .* 32-bit floats"),
    ):
        write_tiff(path, pixels, **options)
        with pytest.raises(FileFormatError, match=message):
            read(path)


NUMBERS = np.random.default_rng(0).random((8, 16, 3))


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        (NUMBERS * 2**31 - 1, NUMBERS),
        (NUMBERS * 65535, NUMBERS),  # as Pillow writes 16 bits
        ((NUMBERS * 2 - 1) * 32767, (NUMBERS * 2 - 1).clip(0)),
    ],
    ids=["all of 32 bits", "16 of 32 bits", "signed 16 bits"],
)
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_a_tiff_of_integers_has_the_range_of_its_type(tmp_path, numbers, expected, planar):
    """As OpenImageIO reads it."""
    stored, path = np.rint(numbers).astype(np.int16 if numbers.min() < -1 else np.int32), tmp_path / "whole.tif"
    stored, options = (stored, {}) if planar == "contig" else (np.moveaxis(stored, -1, 0), {"planarconfig": "separate"})
    write_tiff(path, stored, photometric="rgb", **options)
    np.testing.assert_allclose(read_image(path), expected, atol=4e-5)
    assert image_size(path) == (16, 8) and image_bits(path) == 16 and is_still_image(path) and image_exposure(path) is None


@pytest.mark.parametrize("extra", [None, 1, 2])
def test_a_tiff_of_floats_looks_like_the_same_light_in_an_exr(tmp_path, extra):
    """1 = premultiplied, 2 = straight."""
    light, alpha = (20 * NUMBERS).astype(np.float32), np.linspace(0.2, 1, 16, dtype=np.float32)[None, :, None].repeat(8, 0)
    stored = light if extra is None else np.concatenate([light * alpha if extra == 1 else light, alpha], -1)
    write_tiff(tmp_path / "light.tif", stored, photometric="rgb", **({"extrasamples": [extra]} if extra else {}))
    channels = dict(zip("RGB", np.moveaxis(light if extra is None else light * alpha, -1, 0), strict=True))
    write_channels(tmp_path / "light.exr", **channels, **({"A": alpha[..., 0]} if extra else {}))
    np.testing.assert_allclose(read_image(tmp_path / "light.tif"), read_image(tmp_path / "light.exr"), atol=1e-5)
    assert image_exposure(tmp_path / "light.tif") == pytest.approx(image_exposure(tmp_path / "light.exr"))
    assert image_size(tmp_path / "light.tif") == (16, 8) and image_bits(tmp_path / "light.tif") == 16


def test_grey_tiff_of_12_bits_or_with_white_as_zero_has_its_full_range(tmp_path):
    levels = np.linspace(0, 65535, 128).astype(np.uint16).reshape(8, 16)
    write_tiff(tmp_path / "white.tiff", ~levels, photometric="miniswhite")
    np.testing.assert_array_equal(np.rint(read_image(tmp_path / "white.tiff")[..., 0] * 65535), levels)
    packed = int("".join(f"{level >> 4:012b}" for level in levels.flat), 2).to_bytes(8 * 24, "big")  # two pixels in three bytes
    write_tiff(tmp_path / "12.tiff", np.frombuffer(packed, np.uint8).reshape(8, 24), photometric="minisblack")
    with tifffile.TiffFile(tmp_path / "12.tiff", mode="r+") as file:
        file.pages[0].tags["ImageWidth"].overwrite(16)
        file.pages[0].tags["BitsPerSample"].overwrite(12)
    np.testing.assert_allclose(read_image(tmp_path / "12.tiff")[..., 0] * 4095, levels >> 4, atol=0.05)
    metres = load_estimate(tmp_path / "12.tiff", "millimetres").depth[0, 0]
    np.testing.assert_allclose(metres, (levels >> 4) / 1000, rtol=1e-6)


@pytest.mark.parametrize("name", ["ink.jpeg", "ink.tiff"])
def test_colours_of_ink_are_pillows(tmp_path, name):
    Image.fromarray(RAMP).convert("CMYK").save(tmp_path / name, **({"compression": "jpeg"} if name == "ink.tiff" else {}))
    np.testing.assert_array_equal(read_image(tmp_path / name), np.asarray(Image.open(tmp_path / name).convert("RGB"), np.float32) / 255)


def test_a_jpeg_2000_without_some_of_its_tiles_is_refused(tmp_path):
    """The decoder leaves them black."""
    data = bytearray(encoded(np.full((16, 24, 3), 200, np.uint8), "jpeg2000", no_jp2=True))
    at = data.index(b"\xff\x51") + 6
    data[at + 4 : at + 8] = struct.pack(">I", 32)  # of the image, but not of its tiles
    (tmp_path / "cut.j2k").write_bytes(data)
    with pytest.raises(FileFormatError, match="some of its tiles are missing"):
        read_image(tmp_path / "cut.j2k")


OTHER_KINDS = [
    *((name, mode, {}) for name in ("rows.tga", "levels.dds", "boxed.jp2") for mode in ("RGB", "L", "RGBA")),
    *(("packed.tga", "RGBA", {"compression": "tga_rle"}), ("blocks.dds", "RGBA", {"pixel_format": "DXT1"})),
    *(("bare.j2k", "RGB", {"no_jp2": True}), ("plain.dib", "RGB", {})),
]


@pytest.mark.parametrize(("name", "mode", "options"), OTHER_KINDS)
def test_kinds_that_few_write_are_read_as_pillow_reads_them(tmp_path, name, mode, options):
    levels, path = np.random.default_rng(0).integers(0, 255, (16, 24, 4), np.uint8), tmp_path / name
    Image.fromarray(levels).convert(mode).save(path, **options)
    assert image_size(path) == (24, 16) and image_bits(path) == 8 and is_still_image(path)
    with Image.open(path) as stored:
        white = Image.new("RGBA", stored.size, "white")
        expected = np.asarray(Image.alpha_composite(white, stored.convert("RGBA")).convert("RGB"))
    np.testing.assert_allclose(read_image(path) * 255, expected, atol=1.01)


def test_unused_bits_of_a_targa_are_no_alpha(tmp_path):
    """The header says so, and all are 0: as alpha they would leave nothing of the image."""
    levels = np.random.default_rng(0).integers(0, 255, (6, 8, 4), np.uint8)
    levels[..., 3] = 0
    data = bytearray(encoded(levels, "tga"))
    data[17] &= 0xF0
    (tmp_path / "opaque.tga").write_bytes(data)
    np.testing.assert_allclose(read_image(tmp_path / "opaque.tga") * 255, levels[..., :3], atol=1e-4)


@pytest.mark.parametrize(("bits", "channels"), [(12, 1), (12, 3), (16, 3)])
def test_a_deep_jpeg_2000_keeps_its_levels_and_white(tmp_path, bits, channels):
    """Written with 16 bits, and levels that are those of fewer bits once the header says so: its zero is the middle of the range."""
    levels = np.random.default_rng(0).integers(0, 2**bits, (32, 40, channels)).astype(np.uint16)
    levels[0, 0] = 2**bits - 1
    shifted = (levels[..., ::-1] + (2**15 - 2 ** (bits - 1))).astype(np.uint16)
    data = bytearray(cv2.imencode(".jp2", shifted, [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000])[1])
    first = data.index(b"\xffO\xffQ") + 42
    data[first : first + 3 * channels : 3] = bytes([bits - 1] * channels)
    (tmp_path / "deep.jp2").write_bytes(data)
    np.testing.assert_allclose(read_image(tmp_path / "deep.jp2") * (2**bits - 1), np.broadcast_to(levels, (32, 40, 3)), atol=0.05)
    assert image_bits(tmp_path / "deep.jp2") == 16


@pytest.mark.parametrize("suffix", ["webp", "png", "tiff", "gif"])
def test_the_first_of_several_images_is_read_and_this_is_said_once(tmp_path, suffix, caplog):
    path = tmp_path / f"many.{suffix}"
    frames = [Image.fromarray(RAMP), Image.fromarray(RAMP[::-1].copy())]
    caplog.set_level(logging.INFO)
    frames[0].save(path, save_all=True, append_images=frames[1:], **({"lossless": True} if suffix == "webp" else {}))
    np.testing.assert_array_equal(read_image(path), RAMP.astype(np.float32) / 255)
    assert caplog.messages == [f"{path}: of several images in the file the first is taken"]
    frames[0].save(path)
    read_image(path)
    assert len(caplog.messages) == 1, "a single image is nothing to speak of"


@pytest.mark.parametrize("transparent", [None, 7])
def test_a_grey_gif_is_read_as_it_looks(tmp_path, transparent):
    """With a palette of all greys in order Pillow reads it as grey levels."""
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    path, options = tmp_path / "grey.gif", {} if transparent is None else {"transparency": transparent}
    Image.fromarray(levels).save(path, optimize=False, **options)
    assert Image.open(path).mode == "L"
    expected = np.where(levels == transparent, 255, levels).astype(np.float32) / 255
    np.testing.assert_allclose(read_image(path), np.dstack([expected] * 3), atol=1e-6)


def test_a_file_that_changes_while_it_is_read_is_not_taken_for_whole(tmp_path, monkeypatch):
    path, real, calls = tmp_path / "growing.png", os.fstat, []

    def fstat(descriptor):
        """As `os.fstat`, while somebody else goes on copying."""
        calls.append(real(descriptor))
        if len(calls) == 1:
            with path.open("ab") as file:
                file.write(b"more")
        return calls[-1]

    Image.fromarray(RAMP).save(path)
    monkeypatch.setattr(paths.os, "fstat", fstat)
    with pytest.raises(FileFormatError, match=r"growing.png: the file changed while it was read; try again"):
        read_image(path)
    assert read_image(path).shape == RAMP.shape, "once it is left alone"


@pytest.mark.parametrize("lifted", [False, True])
def test_panoramas_beyond_the_limit_cost_no_memory(tmp_path, monkeypatch, lifted):
    """One bit a pixel, and made without Pillow, which would hold a byte for each."""
    (tmp_path / "wide.png").write_bytes(png_bytes(15_000, 10_000, bits=1, colour=0, rows=bytes((1 + 15_000 // 8) * 10_000)))
    if lifted:
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    tracemalloc.start()
    with pytest.raises(FileFormatError, match=r"wide.png: 15000x10000 pixels; at most 128 megapixels are read; scale it down"):
        read_image(tmp_path / "wide.png")
    most, _ = tracemalloc.get_traced_memory()[1], tracemalloc.stop()
    assert most < 2**20


def test_a_file_that_may_not_be_read_says_so(tmp_path):
    path = tmp_path / "locked.png"
    path.write_bytes(png_bytes(1, 1, rows=bytes(4)))
    with as_nobody(path), pytest.raises(PermissionError, match=r"locked.png: this user may not read the file; change its permissions"):
        read_image(path)


@contextmanager
def as_nobody(path):
    """Without the right to read `path`, even where the tests run as root."""
    path.chmod(0)
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        if os.access(path, os.R_OK, effective_ids=os.access in os.supports_effective_ids):
            pytest.skip("this system lets everybody read every file")
        yield
    finally:
        if root:
            os.seteuid(0)


def test_folders_and_missing_files_are_named(tmp_path):
    with pytest.raises(FileFormatError, match="not a file"):
        read_image(tmp_path)
    with pytest.raises(MissingFileError, match=r"none.png: there is no such file") as missing:
        read_image(tmp_path / "none.png")
    assert pickle.loads(pickle.dumps(missing.value)).path == tmp_path / "none.png", "Ray's workers send it"
