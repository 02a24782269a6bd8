import io

import numpy as np
import pytest
import tifffile
from PIL import Image

from depth_normal.geometry.files import FileFormatError, read_image
from depth_normal.geometry.files.image_files import decode_numbers
from tests.geometry.files.samples import write_tiff

LEVELS = np.random.default_rng(0).integers(0, 256, (40, 48, 4)).astype(np.uint8)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize(
    "options", [{}, {"bigtiff": True}, {"byteorder": ">"}, {"tile": (16, 16)}, {"compression": "zlib", "rowsperstrip": 8}]
)
def test_channels_in_separate_planes_are_read_as_those_side_by_side(tmp_path, dtype, options):
    for channels in (3, 4):
        levels = LEVELS[..., :channels].astype(dtype) * (257 if dtype == np.uint16 else 1)
        extra = {"extrasamples": [2]} if channels == 4 else {}
        write_tiff(tmp_path / "planar.tif", np.moveaxis(levels, -1, 0), photometric="rgb", planarconfig="separate", **extra, **options)
        write_tiff(tmp_path / "chunky.tif", levels, photometric="rgb", **extra)
        np.testing.assert_allclose(read_image(tmp_path / "planar.tif"), read_image(tmp_path / "chunky.tif"), atol=1e-6)


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_planes_of_grey_and_alpha_become_colours(tmp_path, dtype):
    planes = np.moveaxis(LEVELS[..., :2], -1, 0).astype(dtype)
    write_tiff(tmp_path / "two.tif", planes, photometric="minisblack", planarconfig="separate", extrasamples=[2])
    numbers = decode_numbers(tmp_path / "two.tif", (tmp_path / "two.tif").read_bytes())
    np.testing.assert_array_equal(numbers, LEVELS[..., [0, 0, 0, 1]])


def test_the_orientation_of_planes_is_applied_once(tmp_path):
    extratags = [(274, "H", 1, 6, True)]
    planes = np.moveaxis(LEVELS[..., :3], -1, 0).astype(np.uint16) * 257
    write_tiff(tmp_path / "turned.tif", planes, photometric="rgb", planarconfig="separate", extratags=extratags)
    np.testing.assert_allclose(read_image(tmp_path / "turned.tif"), np.rot90(LEVELS[..., :3], -1) / 255, atol=1e-5)


def without_strips(data, kept):
    """The file, all strips but the first of which are said to be at 0 and of no bytes."""
    changed = bytearray(data)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        for name in ("StripOffsets", "StripByteCounts"):
            tag = file.pages[0].tags[name]
            size = {3: 2, 4: 4}[int(tag.dtype)]
            changed[tag.valueoffset + kept * size : tag.valueoffset + tag.count * size] = bytes((tag.count - kept) * size)
    return bytes(changed)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_tiff_without_some_of_its_strips_is_refused(tmp_path, dtype, compression):
    """Pillow shows the header as pixels in place of those of uncompressed files."""
    path = tmp_path / "sparse.tif"
    write_tiff(path, LEVELS[..., 0].astype(dtype), rowsperstrip=8, compression=compression)
    path.write_bytes(without_strips(path.read_bytes(), 3))
    with pytest.raises(FileFormatError, match="cut off"):
        read_image(path)


@pytest.mark.parametrize("cut", [False, True])
def test_a_tiff_of_jpegs_that_end_early_is_refused(tmp_path, photo, cut):
    """libtiff leaves the missing rows grey or black."""
    path = tmp_path / "scan.tif"
    Image.fromarray(photo[::8, ::8]).save(path, compression="jpeg", tiffinfo={278: 16})
    whole = read_image(path)
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        start, count = page.dataoffsets[0], page.databytecounts[0]
        rows = page.tags["RowsPerStrip"].value
    end = data.rindex(b"\xff\xd9", start, start + count)
    data[end : end + 2] = bytes(2)  # a mark that some writers leave out
    path.write_bytes(data)
    np.testing.assert_array_equal(read_image(path), whole)
    if cut:
        data[start + count // 2 : start + count] = b"\xff\xd9" + bytes(count - count // 2 - 2)
    else:
        header = data.index(b"\xff\xc0", start)
        data[header + 5 : header + 7] = (rows // 2).to_bytes(2, "big")
    path.write_bytes(data)
    with pytest.raises(FileFormatError, match="cut off"):
        read_image(path)


def test_planes_that_are_cut_off_are_refused(tmp_path):
    """The tags that are appended for each plane would be its last pixels."""
    path = tmp_path / "cut.tif"
    write_tiff(path, np.moveaxis(LEVELS[..., :3], -1, 0), photometric="rgb", planarconfig="separate")
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(FileFormatError, match="last rows is missing"):
        read_image(path)


def test_integers_above_two_to_the_31_are_no_negative_ones(tmp_path):
    path = tmp_path / "whole.tif"
    numbers = np.linspace(0, 2**32 - 1, 35).reshape(5, 7).astype(np.uint32)
    write_tiff(path, numbers)
    np.testing.assert_array_equal(decode_numbers(path, path.read_bytes()), numbers)
    np.testing.assert_allclose(read_image(path)[..., 0], numbers / (2**32 - 1), atol=1e-5)
