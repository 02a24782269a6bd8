import io

import numpy as np
import pytest
from PIL import Image

from depth_normal.geometry.files import FileFormatError, load_estimate, read_image
from depth_normal.geometry.files.image_files import image_bits, image_size, is_still_image
from depth_normal.geometry.files.pnm import largest_level, read_pnm

GREY = np.random.default_rng(0).integers(0, 60000, (3, 10))
COLOUR = np.random.default_rng(1).integers(0, 60000, (3, 10, 3))


def pnm(kind, levels, largest):
    """A file of these levels, which are cut to the largest one."""
    header = f"P{kind}\n# a comment\n{levels.shape[1]} {levels.shape[0]}\n" + (f"{largest}\n" if kind not in (1, 4) else "")
    levels = levels % (largest + 1)
    if kind in (1, 4):
        levels = 1 - levels  # 1 is black
    if kind == 4:
        return header.encode() + np.packbits(levels.astype(np.uint8), axis=1).tobytes()
    if kind in (1, 2, 3):
        return (header + ("" if kind == 1 else " ").join(map(str, levels.flat)) + "\n").encode()
    return header.encode() + levels.astype(np.uint8 if largest < 256 else ">u2").tobytes()


KINDS = [*((kind, GREY, 1) for kind in (1, 4)), *((kind, GREY, top) for kind in (2, 5) for top in (15, 255, 1000, 65535))]
KINDS += [(kind, COLOUR, top) for kind in (3, 6) for top in (100, 65535)]


@pytest.mark.parametrize(("kind", "levels", "largest"), KINDS)
def test_every_kind_has_its_full_range(tmp_path, kind, levels, largest):
    path, data = tmp_path / "a.pnm", pnm(kind, levels, largest)
    path.write_bytes(data)
    expected = levels % (largest + 1) / largest
    expected = np.broadcast_to(expected.reshape(3, 10, -1), (3, 10, 3))
    np.testing.assert_allclose(read_image(path), expected, atol=0.51 / (255 if largest < 256 else 65535))
    assert image_size(path) == (10, 3) and image_bits(path) == (8 if largest < 256 else 16) and is_still_image(path)
    if largest < 256:
        theirs = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
        np.testing.assert_array_equal(np.broadcast_to(read_pnm(path, data)[0].reshape(3, 10, -1), (3, 10, 3)), theirs)


@pytest.mark.parametrize(("kind", "levels", "largest"), [(1, GREY, 1), (2, GREY, 255), (4, GREY, 1), (5, GREY, 1000), (6, COLOUR, 65535)])
def test_missing_rows_are_counted(tmp_path, kind, levels, largest):
    (tmp_path / "cut.ppm").write_bytes(pnm(kind, levels, largest).replace(b"10 3", b"10 4"))
    with pytest.raises(FileFormatError, match=r"cut.ppm: the image is cut off after 3 of 4 rows"):
        read_image(tmp_path / "cut.ppm")


@pytest.mark.parametrize("largest", [10_000, 65535])
def test_whole_numbers_of_a_depth_camera_come_back(tmp_path, largest):
    (tmp_path / "depth.pgm").write_bytes(pnm(5, GREY, largest))
    depth = load_estimate(tmp_path / "depth.pgm", "millimetres").depth[0, 0]
    np.testing.assert_allclose(depth, GREY % (largest + 1) / 1000, rtol=1e-6)


def test_other_files_are_none():
    assert largest_level(b"P7\nWIDTH 1\n") == largest_level(b"P5 1 1 0\n\0") == largest_level(b"P5 1 1 65536\n\0") == 0
    assert largest_level(b"Pf\n1 1\n-1\n") == largest_level(b"") == 0
