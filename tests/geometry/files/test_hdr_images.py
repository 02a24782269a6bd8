import struct

import cv2
import numpy as np
import pytest
import torch

from depth_normal.app.batch.sources import find_images
from depth_normal.geometry.effects.relight import KNEE
from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.geometry.files import FileFormatError, exr, hdr_images, read_image
from depth_normal.geometry.files.image_files import image_bits, read_colours
from depth_normal.geometry.images.srgb import linear_to_srgb, srgb_to_linear
from tests.geometry.files.samples import refuses_content, write_parts


def light(height=6, width=40):
    """Linear light whose luminance has the geometric mean 1: below mid-grey by 16 and above it by 16."""
    half = np.full((height, width, 3), 1 / 16, np.float32)
    half[:, ::2] = 16
    return half


def save(path, values, alpha=None):
    if path.suffix == ".hdr":
        assert cv2.imwrite(str(path), values[..., ::-1])
    else:
        planes = dict(zip("RGB", np.moveaxis(values, -1, 0), strict=True)) | ({} if alpha is None else {"A": alpha})
        write_parts(path, ({}, {name: plane.astype(np.float32) for name, plane in planes.items()}))
    return path


@pytest.mark.parametrize("suffix", [".hdr", ".exr"])
@pytest.mark.parametrize("brightness", [1e-3, 1, 1e3])
def test_the_exposure_makes_the_geometric_mean_mid_grey(tmp_path, suffix, brightness):
    values = light()
    values[..., 2] *= 0.25  # yellow
    values /= np.float32(0.2126 + 0.7152 + 0.0722 / 4)
    image = read_image(save(tmp_path / f"a{suffix}", values * np.float32(brightness)))
    assert image.dtype == np.float32 and image.shape == values.shape and image.min() >= 0 and image.max() <= 1
    dark = srgb_to_linear(torch.from_numpy(image[0, 1]))
    expected = torch.from_numpy(values[0, 1]) * 0.18
    # The three channels of a .hdr share an exponent: steps of 1/128 of the largest.
    assert torch.allclose(dark, expected, rtol=1e-4, atol=float(expected.max()) / 128), "below the knee light is what it was"
    assert (image[0, 0] > float(linear_to_srgb(torch.tensor(KNEE)))).all(), "what is brighter nears white"
    assert image[0, 0, 0] > image[0, 0, 2], "and keeps its colour"


def test_the_sun_does_not_darken_the_rest(tmp_path):
    values = np.full((64, 128, 3), 0.5, np.float32)
    without = read_image(save(tmp_path / "a.hdr", values))
    values[:2, :2] = 1e5
    beside = read_image(save(tmp_path / "a.hdr", values))
    assert np.abs(beside[10:] - without[10:]).max() < 0.01 and beside[0, 0].min() > 0.99


def test_light_that_is_no_number_stays_in_range(tmp_path):
    values = light()
    values[0, :3] = np.array([np.nan, np.inf, -np.inf], np.float32)[:, None]
    values[1, :2] = -3
    image = read_image(save(tmp_path / "a.exr", values))
    assert np.isfinite(image).all() and (image[0, 0] == 0).all() and (image[0, 2] == 0).all() and (image[1, :2] == 0).all()
    assert np.allclose(image[0, 1], image[2, 0]), "as bright as the brightest"
    assert (read_image(save(tmp_path / "black.exr", np.zeros((4, 8, 3), np.float32))) == 0).all()
    with pytest.raises(FileFormatError, match=r"none\.exr: no pixel has a colour: all are NaN"):
        read_image(save(tmp_path / "none.exr", np.full((4, 8, 3), np.nan, np.float32)))


@pytest.mark.parametrize("extremes", [(1e-44, 0.0), (3e38, 1e-38), (3e38, 0.0)])
@pytest.mark.parametrize("alpha", [None, np.full((4, 8), 1e-6)])
def test_numbers_at_the_ends_of_float32_give_an_image(tmp_path, extremes, alpha):
    values = np.broadcast_to(np.array(extremes * 4, np.float32)[:, None], (4, 8, 3))
    image = read_image(save(tmp_path / "a.exr", values, alpha))
    assert np.isfinite(image).all() and image.min() >= 0 and image.max() <= 1 and (image[:, ::2] >= image[:, 1::2]).all()


def test_alpha_is_laid_on_white_and_does_not_change_the_exposure(tmp_path):
    values, alpha = light(), np.ones((6, 40), np.float32)
    alpha[:3], alpha[0], alpha[0, 0] = 0.5, 0, np.nan
    opaque = read_image(save(tmp_path / "a.exr", values))
    through = read_image(save(tmp_path / "b.exr", values * np.nan_to_num(alpha)[..., None], alpha))
    assert (through[0] == 1).all()
    assert np.allclose(through[1:3], 0.5 * opaque[1:3] + 0.5, atol=0.01) and np.allclose(through[3:], opaque[3:], atol=0.01)


def test_images_in_bands_are_the_whole_image(tmp_path, monkeypatch):
    path = save(tmp_path / "a.hdr", np.random.default_rng(0).uniform(0.01, 9, (9, 40, 3)).astype(np.float32))
    whole = read_image(path)
    monkeypatch.setattr(hdr_images, "_BAND_PIXELS", 80)
    assert np.allclose(read_image(path), whole, atol=1e-6)


def test_light_of_other_primaries_is_that_of_bt_709(tmp_path):
    """The matrix from ACES2065-1 to linear BT.709, Bradford-adapted, as OpenColorIO has it."""
    colours = np.random.default_rng(0).random((4, 8, 3), np.float32)
    aces = (0.7347, 0.2653, 0.0, 1.0, 0.0001, -0.077, 0.32168, 0.33767)
    expected = colours @ np.array([[2.521686, -0.276480, -0.015378], [-1.134131, 1.372719, -0.152975], [-0.387555, -0.096239, 1.168353]])
    colours[0, 0] = expected[0, 0] = np.inf  # where half floats overflowed
    write_parts(tmp_path / "a.exr", ({"chromaticities": aces}, dict(zip("RGB", np.moveaxis(colours, -1, 0), strict=True))))
    np.testing.assert_allclose(exr.read_colours(tmp_path / "a.exr")[0], expected, atol=1e-5)
    # Not written by the library: OpenEXR 3.4.0 writes chromaticities once in a process.
    stored, bt_709 = (struct.pack("<8f", *each) for each in (aces, (0.64, 0.33, 0.3, 0.6, 0.15, 0.06, 0.3127, 0.329)))
    (tmp_path / "b.exr").write_bytes((tmp_path / "a.exr").read_bytes().replace(stored, bt_709))
    np.testing.assert_array_equal(exr.read_colours(tmp_path / "b.exr")[0], colours)


def test_the_rendered_image_is_read_and_nothing_beside_it(tmp_path, caplog):
    values = light()
    expected, plane = read_image(save(tmp_path / "a.exr", values)), np.ascontiguousarray(values[..., 0])
    image = {f"ViewLayer.Combined.{name}": plane for name in "RGB"}
    passes = {f"ViewLayer.{name}.{each}": np.full_like(plane, 0.5) for name in ("AO", "DiffCol") for each in "RGB"}
    nuke = {f"beauty.{name}": plane for name in ("red", "green", "blue")}
    ids = {f"crypto_object00.{name}": plane for name in "RGBA"}
    for channels in (image | {"ViewLayer.Depth.Z": plane}, {"Y": plane}, passes | image, passes | nuke, ids | {"z.Y": plane}):
        exr.write_channels(tmp_path / "b.exr", {}, channels)
        assert np.allclose(read_image(tmp_path / "b.exr"), expected)
    parts = [({"name": name}, dict.fromkeys("RGB", each)) for name, each in (("albedo", plane * 0 + 0.5), ("rgba", plane))]
    write_parts(tmp_path / "p.exr", *parts)
    assert np.allclose(read_image(tmp_path / "p.exr"), expected)
    exr.write_channels(tmp_path / "ids.exr", {}, ids)
    with pytest.raises(FileFormatError, match="no colours"):
        read_image(tmp_path / "ids.exr")
    exr.write_channels(tmp_path / "passes.exr", {}, passes)
    caplog.set_level("INFO")
    read_image(tmp_path / "passes.exr")
    assert "passes.exr: of several layers with colours ViewLayer.AO is taken" in caplog.text


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda path: exr.write_exr(path, Estimate(torch.ones(1, 1, 4, 8), Quantity.METRIC_DEPTH)), "depth or normals, not an image"),
        (lambda path: exr.write_depth_channel(path, np.ones((4, 8))), r"no colours \(channels R, G, B, or Y\); the file has Z"),
        (lambda path: exr.write_channels(path, {}, {f"V.Normal.{name}": np.ones((4, 8), np.float32) for name in "XYZ"}), "no colours"),
    ],
)
def test_depth_and_normals_are_no_image(tmp_path, write, words):
    pytest.importorskip("OpenEXR")
    write(tmp_path / "a.exr")
    with pytest.raises(FileFormatError, match=rf"a\.exr: .*{words}"):
        read_image(tmp_path / "a.exr")


def test_headers_of_other_programs_are_read(tmp_path):
    path = save(tmp_path / "a.hdr", light())
    expected, data = read_image(path), path.read_bytes()
    path.write_bytes(b"#?RGBE\n# by a program\nFORMAT=32-bit_rle_rgbe\nEXPOSURE=2.0\nGAMMA=1" + data[data.index(b"\n\n-Y") :])
    assert np.array_equal(read_image(path), expected)


RADIANCE = cv2.imencode(".hdr", light())[1].tobytes()
test_damaged_files_are_refused = refuses_content(
    "a.hdr",
    read_image,
    (RADIANCE[:20], "whose header has no size"),
    (RADIANCE.replace(b"-Y", b"+Y"), "rows are not stored from the top left"),
    (RADIANCE[:-30], "damaged or cut off"),
    (RADIANCE.replace(b"-Y 6 +X 40", b"-Y 60000 +X 40000"), "at most"),
    (RADIANCE.replace(b"_rgbe", b"_xyze"), "CIE XYZ"),
)


def test_folders_have_radiance_files_and_results_have_16_bits(tmp_path):
    path = save(tmp_path / "a.hdr", light())
    found, _ = find_images([tmp_path])
    assert [each.path for each in found] == [path]
    (tmp_path / "list.txt").write_bytes(path.read_bytes())
    assert "it is an image" in find_images([f"@{tmp_path / 'list.txt'}"])[1][0]
    assert image_bits(path) == 16 and read_colours(path)[1] is None
