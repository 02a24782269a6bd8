import io
import logging
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from depth_normal.geometry.files import read_image, write_image_png
from depth_normal.geometry.files.icc import to_srgb
from depth_normal.geometry.files.image_files import decode_image
from tests.geometry.files.samples import png_chunk

RAMP = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)


def fixed(*numbers):
    return struct.pack(f">{len(numbers)}i", *(round(number * 65536) for number in numbers))


def profile(space, connection=b"XYZ ", **tags):
    start, table, data = 132 + 12 * len(tags), b"", b""
    for name, value in tags.items():
        value += bytes(-len(value) % 4)
        table += name.encode() + struct.pack(">II", start + len(data), len(value))
        data += value
    kind = b"prtr" if space == b"CMYK" else b"mntr"
    header = struct.pack(">I4sI4s4s4s12x4s28x", start + len(data), bytes(4), 0x02400000, kind, space, connection, b"acsp")
    return header + fixed(0.9642, 1, 0.8249) + bytes(48) + struct.pack(">I", len(tags)) + table + data


SRGB_CURVE = b"para" + bytes(4) + struct.pack(">HH", 3, 0) + fixed(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
GAMMA = b"curv" + bytes(4) + struct.pack(">IHH", 1, 0x0200, 0)
WHITE = {"wtpt": b"XYZ " + bytes(4) + fixed(0.9642, 1, 0.8249)}
P3 = ((0.51512, 0.2412, -0.00105), (0.29198, 0.69225, 0.04189), (0.1571, 0.06657, 0.78407))
SRGB = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.7141))


def matrix_profile(colorants, curve=SRGB_CURVE):
    points = {f"{name}XYZ": b"XYZ " + bytes(4) + fixed(*point) for name, point in zip("rgb", colorants, strict=True)}
    return profile(b"RGB ", **WHITE, **points, rTRC=curve, gTRC=curve, bTRC=curve)


def table_profile(space, channels, colour):
    """A profile of a table with two points a channel; `colour` gives L, a and b of one."""
    points = np.stack(np.meshgrid(*[[0, 1]] * channels, indexing="ij"), -1).reshape(-1, channels)
    lab = b"".join(struct.pack(">3B", *(round(each) for each in colour(point))) for point in points)
    ends = bytes(range(256))
    table = b"mft1" + bytes(4) + bytes((channels, 3, 2, 0)) + fixed(1, 0, 0, 0, 1, 0, 0, 0, 1) + ends * channels + lab + ends * 3
    return profile(space, b"Lab ", **WHITE, A2B0=table)


def by_pillow(pixels, icc):
    source, target = ImageCms.ImageCmsProfile(io.BytesIO(icc)), ImageCms.createProfile("sRGB")
    return np.asarray(ImageCms.profileToProfile(Image.fromarray(pixels), source, target, outputMode="RGB"))


LIGHTNESS_TABLE = table_profile(b"RGB ", 3, lambda point: (255 * point.mean(), 128, 128))


@pytest.mark.parametrize("icc", [matrix_profile(P3), matrix_profile(P3, GAMMA), matrix_profile(SRGB, GAMMA), LIGHTNESS_TABLE])
def test_colours_are_those_of_littlecms_in_8_and_in_16_bits(icc):
    found = to_srgb("x", RAMP, icc)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found * 255, by_pillow(RAMP, icc), atol=1e-3 if icc == LIGHTNESS_TABLE else 1.5)
    np.testing.assert_allclose(to_srgb("x", RAMP.astype(np.uint16) * 257, icc), found, atol=2e-4)
    if icc != LIGHTNESS_TABLE:
        with_alpha = to_srgb("x", np.dstack((RAMP, RAMP[..., :1])), icc)
        np.testing.assert_allclose(with_alpha, np.dstack((found, RAMP[..., :1] / 255)), atol=1e-6)


def gama(gamma):
    return png_chunk(b"gAMA", struct.pack(">I", round(100_000 / gamma)))


def chrm(*points):
    return png_chunk(b"cHRM", struct.pack(">8I", *(round(point * 100_000) for point in points)))


LINEAR, P3_PNG = b"curv" + bytes(8), png_chunk(b"cICP", bytes((12, 13, 0, 1)))
D65, OF_SRGB, OF_P3 = (0.3127, 0.329), (0.64, 0.33, 0.3, 0.6, 0.15, 0.06), (0.68, 0.32, 0.265, 0.69, 0.15, 0.06)


@pytest.mark.parametrize(
    ("chunks", "icc"),
    [
        (gama(1), matrix_profile(SRGB, LINEAR)),
        (gama(2) + chrm(*D65, *OF_P3), matrix_profile(P3, GAMMA)),
        (gama(2.2) + chrm(*D65, *OF_SRGB), b""),
        (gama(1) + png_chunk(b"sRGB", b"\0"), b""),
        (chrm(*D65, *OF_P3), b""),
        (gama(1) + chrm(*[0] * 8), matrix_profile(SRGB, LINEAR)),
        (gama(1) + P3_PNG, matrix_profile(P3)),
        (png_chunk(b"cICP", bytes((1, 8, 0, 1))), matrix_profile(SRGB, LINEAR)),
        (png_chunk(b"iCCP", b"x\0\0" + zlib.compress(matrix_profile(SRGB, LINEAR))) + P3_PNG, matrix_profile(P3)),
    ],
)
@pytest.mark.parametrize("pixels", [RAMP, RAMP[..., 0]])
def test_a_png_says_its_colours_in_numbers_too(tmp_path, chunks, icc, pixels):
    """In the order of the PNG specification's third edition, 4.3: cICP, iCCP, sRGB, then gAMA and cHRM."""
    Image.fromarray(pixels).save(tmp_path / "n.png")
    plain = (tmp_path / "n.png").read_bytes()
    (tmp_path / "n.png").write_bytes(plain[:33] + chunks + plain[33:])
    expected = to_srgb("x", pixels, icc)
    expected = expected / np.float32(255) if expected.dtype == np.uint8 else expected
    np.testing.assert_allclose(read_image(tmp_path / "n.png"), np.atleast_3d(expected) * np.ones(3), atol=2e-3)


def test_a_heic_says_its_primaries(tmp_path):
    blocks, coding = np.kron(RAMP, np.ones((16, 16, 1), np.uint8)), {"color_primaries": 12, "transfer_characteristics": 13}
    image = pytest.importorskip("pillow_heif").from_pillow(Image.fromarray(blocks))
    image.save(tmp_path / "p.heic", quality=-1, chroma=444, matrix_coefficients=1, full_range_flag=1, **coding)
    difference = read_image(tmp_path / "p.heic") - to_srgb("x", blocks, matrix_profile(P3))
    assert np.abs(difference).mean() < 2e-3, "as coded it is 0.05"


@pytest.mark.parametrize("name", ["p.png", "p.tif"])
def test_photographs_are_converted_and_data_are_not(tmp_path, name):
    icc = matrix_profile(P3)
    Image.fromarray(RAMP).save(tmp_path / name, icc_profile=icc)
    np.testing.assert_allclose(read_image(tmp_path / name), to_srgb("x", RAMP, icc), atol=1e-6)
    np.testing.assert_array_equal(decode_image(name, (tmp_path / name).read_bytes()).pixels, RAMP)


@pytest.mark.parametrize("icc", [b"", matrix_profile(SRGB), ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()])
def test_srgb_stays_as_it_is(icc):
    assert to_srgb("x", RAMP, icc) is RAMP
    assert to_srgb("x", RAMP[..., 0], icc).dtype == np.uint8


@pytest.mark.parametrize("connection", [b"XYZ ", b"Lab "])
def test_grey_has_its_own_curve(connection):
    icc = profile(b"GRAY", connection, **WHITE, kTRC=GAMMA)
    found = to_srgb("x", RAMP[..., 0], icc)
    light = (RAMP[..., 0] / 255.0) ** 2
    if connection == b"Lab ":
        light = np.where(light > 0.08, ((light + 0.16) / 1.16) ** 3, light / 9.033)
    expected = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    np.testing.assert_allclose(found, expected, atol=2e-4)
    np.testing.assert_allclose(to_srgb("x", np.repeat(RAMP[..., :1], 3, 2), icc), np.repeat(found[..., None], 3, 2), atol=1e-6)


@pytest.mark.parametrize("icc", [b"no profile", matrix_profile(P3)[:300], profile(b"RGB ", rTRC=GAMMA), profile(b"Lab ")])
def test_a_damaged_profile_is_ignored_with_a_warning(icc, caplog):
    with caplog.at_level(logging.WARNING):
        assert to_srgb("photo.png", RAMP, icc) is RAMP
    assert "photo.png: its colour profile is ignored" in caplog.text


def test_an_image_for_print_is_converted_by_its_profile(tmp_path):
    icc = table_profile(b"CMYK", 4, lambda ink: (255 * (1 - ink[3]) * (1 - ink[:3].mean()), 128, 128))
    Image.new("CMYK", (8, 8), (0, 0, 0, 128)).save(tmp_path / "c.tif", icc_profile=icc)
    grey = read_image(tmp_path / "c.tif")
    assert np.ptp(grey, axis=2).max() < 0.02 and abs(grey.mean() - 0.46) < 0.03, "half of L is 46 %"


def test_lab_greys_are_neutral(tmp_path):
    """Without a white point in the file, as Photoshop writes it."""
    Image.fromarray(np.full((8, 8, 3), (128, 0, 0), np.uint8), "LAB").save(tmp_path / "lab.tif")
    np.testing.assert_allclose(read_image(tmp_path / "lab.tif") * 255, 120, atol=1)  # half of L


def test_results_are_read_as_they_are_written(tmp_path):
    image = np.random.default_rng(0).random((3, 5, 7), np.float32)
    write_image_png(tmp_path / "r.png", torch.from_numpy(image), 16)
    np.testing.assert_allclose(read_image(tmp_path / "r.png"), np.moveaxis(image, 0, -1), atol=1e-5)
