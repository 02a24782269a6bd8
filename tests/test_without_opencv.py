"""The pack without OpenCV: everything works, a little slower, and what it decodes alone is refused in words."""

import os
import subprocess
import sys
import types
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from depth_normal import utils
from depth_normal.geometry.files.image_files import decode_image, read_image
from depth_normal.geometry.files.png import write_image_png, write_normals_png
from depth_normal.geometry.filters.extremes import largest_within
from depth_normal.geometry.regions.connected import large_regions, region_around
from depth_normal.geometry.temporal.moving_pixels import MovingPixels
from depth_normal.media.colour import averaged_planes, rgb_to_yuv420
from tests.geometry.files.samples import write_tiff

ROOT = Path(__file__).resolve().parents[1]
NUMBERS = torch.Generator().manual_seed(0)


@pytest.fixture
def twice(monkeypatch):
    """Calls a function with OpenCV and without it."""
    pytest.importorskip("cv2", reason="compares with OpenCV")

    def call(function):
        utils.opencv.cache_clear()
        assert utils.opencv() is not None
        with_opencv = function()
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, "cv2", None)
            utils.opencv.cache_clear()
            without = function()
        utils.opencv.cache_clear()
        return with_opencv, without

    return call


PICTURES = [torch.rand(shape, generator=NUMBERS) for shape in ((1, 3, 60, 90), (2, 1, 37, 50), (1, 4, 24, 36))]
CELLS = torch.rand(40, 61, generator=NUMBERS)
SLOPES = torch.randn(2, 2, 24, 37, generator=NUMBERS)
LUMA, CHROMA = torch.rand(96, 128, generator=NUMBERS), torch.rand(2, 96, 128, generator=NUMBERS)
SAME = {
    "smaller": (lambda: [utils.resize_map(each, *size) for each in PICTURES for size in ((12, 18), (23, 31), (5, 50))], 1e-6),
    "larger": (lambda: [utils.resize_map(each, 97, 120) for each in PICTURES], 5e-6),
    "largest_within": (lambda: [largest_within(SLOPES, radius) for radius in (1, 7)], 0),
    "large_regions": (
        lambda: [large_regions(share > CELLS, least) for share in (0, 0.3, 0.55, 0.6, 0.8, 1) for least in (0, 1, 2, 9, 300)],
        0,
    ),
    "averaged_planes": (
        lambda: [
            averaged_planes(LUMA, CHROMA[:, :height, :width], 40, 60, left=left)
            for height, width in ((48, 64), (96, 64), (96, 128))
            for left in (True, False)
        ],
        1e-6,
    ),
    "MovingPixels": (lambda: moving()[-1], 1e-3),
}


def moving():
    """How still each pixel is of frames whose right part moves."""
    image = torch.nn.functional.interpolate(PICTURES[0][..., :20, :30], size=(96, 148), mode="bicubic").clamp(0, 1)
    pixels = MovingPixels()
    return [pixels.push(torch.cat((image[:, :, :48, :140], image[:, :, 48:, t // 3 : 140 + t // 3]), 2)) for t in range(10)]


@pytest.mark.parametrize("name", SAME)
def test_the_same_comes_out_but_for_rounding(name, twice):
    function, tolerance = SAME[name]
    torch.testing.assert_close(*twice(function), rtol=0, atol=tolerance)


def test_a_winding_region_is_one(twice):
    cells = torch.ones(81, 50, dtype=torch.bool)
    cells[1::4, :-1] = cells[3::4, 1:] = False
    for found in twice(lambda: large_regions(cells, int(cells.sum()))):
        assert torch.equal(found, cells)


@pytest.mark.parametrize("step", [0.01, 0.1, 0.3])
def test_the_region_around_a_point_is_the_same(twice, step):
    values = torch.randint(0, 40, (50, 70), generator=NUMBERS) * 0.05  # steps of just that much among them
    values[3:9, 4:60] = torch.linspace(1, 2, 56)
    values[20, 30], values[21, 31] = torch.nan, torch.inf
    allowed = torch.rand(50, 70, generator=NUMBERS) < 0.9
    allowed[0, 0] = False
    for row, column in ((5, 20), (20, 30), (49, 69), (0, 0)):
        with_opencv, without = twice(lambda row=row, column=column: region_around(values, allowed, row, column, step))
        assert torch.equal(with_opencv, without) and bool(without[row, column]) == bool(allowed[row, column])


def test_files_are_the_same(twice, tmp_path):
    normals = torch.nn.functional.normalize(torch.randn(1, 3, 33, 41, generator=NUMBERS), dim=1)
    normals[..., :4, :4], normals[..., 4:6, :] = torch.nan, 0

    def eight_bits():
        write_normals_png(tmp_path / "normals.png", normals)
        return np.asarray(Image.open(tmp_path / "normals.png")).astype(int)

    with_opencv, without = twice(eight_bits)
    assert np.abs(with_opencv - without).max() <= 1 and (with_opencv != without).mean() < 0.001, "a tie may be rounded otherwise"

    def bytes_of(channels):
        write_image_png(tmp_path / "picture.png", torch.linspace(0, 1, channels * 35).view(channels, 5, 7), bits=16)
        return (tmp_path / "picture.png").read_bytes()

    for channels in (1, 3, 4):
        with_opencv, without = twice(lambda channels=channels: bytes_of(channels))
        assert with_opencv == without


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("interlaced", [False, True])
def test_png_of_16_bit_colours_is_read_to_the_last_bit(twice, tmp_path, channels, interlaced):
    """As FFmpeg writes it, with each kind of PNG's filters."""
    av = pytest.importorskip("av", reason="writes the file")
    levels = np.random.default_rng(0).integers(0, 65536, (24, 19, channels)).astype(np.uint16)
    layout = {3: "rgb48be", 4: "rgba64be"}[channels]
    encoder = av.CodecContext.create("png", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 19, 24, layout, Fraction(1, 25)
    encoder.options = {"pred": "mixed", "flags": "+ildct" if interlaced else "0"}
    (plane,) = (frame := av.VideoFrame(19, 24, layout)).planes
    rows = np.zeros((24, plane.line_size), np.uint8)
    rows[:, : 19 * 2 * channels] = levels.astype(">u2").reshape(24, -1).view(np.uint8)
    plane.update(rows.tobytes())
    data = b"".join(map(bytes, encoder.encode(frame)))
    assert data[28] == interlaced
    for image in twice(lambda: decode_image(tmp_path / "deep.png", data)):
        assert image.pixels.dtype == np.uint16 and np.array_equal(image.pixels, levels)


def test_what_only_opencv_decodes_is_refused_in_words(twice, tmp_path):
    write_tiff(tmp_path / "deep.tif", np.zeros((8, 8, 3), np.uint16), photometric="rgb")

    def read():
        try:
            return read_image(tmp_path / "deep.tif").shape
        except ImportError as error:
            return str(error)

    shape, said = twice(read)
    assert shape == (8, 8, 3)
    assert said.startswith(f"{tmp_path / 'deep.tif'}: ") and "save the image as an RGB PNG" in said
    assert 'pip install "opencv-python-headless"' in said


def test_what_is_left_of_two_wheels_is_no_opencv(monkeypatch):
    """Each of the wheels writes to the folder `cv2`; uninstalling one of two leaves an empty one, which Python imports all the same."""
    monkeypatch.setitem(sys.modules, "cv2", types.ModuleType("cv2"))
    utils.opencv.cache_clear()
    assert utils.opencv() is None
    utils.opencv.cache_clear()


@pytest.mark.slow("takes most of a second")
def test_the_command_line_works_where_opencv_lacks_a_system_library(tmp_path):
    """As `opencv-python` on a machine without a screen."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "cv2.py").write_text('raise ImportError("libGL.so.1: cannot open shared object file")')
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(tmp_path / "site"), os.environ.get("PYTHONPATH")]))}
    code = "import sys; from depth_normal.app.cli import main; sys.exit(main(sys.argv[1:]))"
    words = [sys.executable, "-c", code, "estimate", str(ROOT / "app" / "coffee.jpg"), "--model", "tiny", "--out", "maps"]
    run = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert np.asarray(Image.open(tmp_path / "maps" / "coffee_depth.png")).std() > 1000


@pytest.mark.parametrize("channels", [1, 3])
def test_planes_for_an_encoder_are_the_same(twice, channels):
    image = torch.rand(channels, 64, 96, generator=torch.Generator().manual_seed(0))
    image[:, :2], image[:, -2:] = 0, 1
    for found, expected in zip(*twice(lambda: rgb_to_yuv420(image, 8)), strict=True):
        different = found.short() != expected.short()
        assert different.float().mean() < 1e-3 and (found.short() - expected.short()).abs().max() <= 1, "rounding alone"
