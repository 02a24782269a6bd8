import struct

import numpy as np
import pytest
import torch

from depth_normal.geometry.files import read_pfm, write_pfm
from tests.geometry.files.samples import refuses_content


@pytest.mark.parametrize("channels", [1, 3])
def test_round_trip_is_bit_exact(tmp_path, channels):
    values = torch.randn(1, channels, 5, 7, generator=torch.Generator().manual_seed(0))
    values.view(-1)[:3] = torch.tensor([float("nan"), float("-inf"), -0.0])
    write_pfm(tmp_path / "v.pfm", values)
    back = read_pfm(tmp_path / "v.pfm")
    assert back.shape == values.shape
    assert back.numpy().tobytes() == values.numpy().tobytes()


def test_bytes_are_those_of_the_specification(tmp_path):
    write_pfm(tmp_path / "v.pfm", torch.tensor([[[1.0, 2.0], [3.0, 4.0]]]))
    assert (tmp_path / "v.pfm").read_bytes() == b"Pf\n2 2\n-1.0\n" + struct.pack("<4f", 3, 4, 1, 2)


def test_big_endian_colour_with_any_white_space_and_comments_is_read(tmp_path):
    (tmp_path / "v.pfm").write_bytes(b"PF 1\t2\r\n# a comment\n1.000000\n" + struct.pack(">6f", 4, 5, 6, 1, 2, 3))
    expected = np.array([[[[1], [4]], [[2], [5]], [[3], [6]]]], np.float32)
    np.testing.assert_array_equal(read_pfm(tmp_path / "v.pfm"), expected)


test_damaged_and_hostile_files_are_refused = refuses_content(
    "bad.pfm",
    read_pfm,
    (b"", "empty"),
    (b"P5\n2 2\n255\n1234", "not a PFM"),
    (b"Pf\n2 2\n", "not a PFM"),
    (b"Pf\n-2 2\n-1\n" + bytes(16), "not a PFM"),
    (b"Pf\n" + b" " * 1000 + b"2 2\n-1\n", "not a PFM"),
    (b"Pf\n2 2\n-1.0\n" + bytes(15), "cut off: 15 bytes of numbers, 16 expected"),
    (b"PF\n2 2\n-1.0\n" + bytes(16), "cut off"),
    (b"Pf\n0 2\n-1.0\n", "at least 1"),
    (b"Pf\n999999999 999999999\n-1.0\n", "megapixels"),
    (b"Pf\n2 2\n0\n" + bytes(16), "the scale is"),
    (b"Pf\n2 2\n1e999\n" + bytes(16), "the scale is"),
    (b"Pf\n2 2\n--1\n" + bytes(16), "the scale is"),
)


@pytest.mark.parametrize("shape", [(5, 7), (2, 5, 7), (2, 1, 5, 7)])
def test_wrong_shapes_write_nothing(tmp_path, shape):
    with pytest.raises(ValueError, match="a PFM holds"):
        write_pfm(tmp_path / "v.pfm", torch.zeros(shape))
    assert list(tmp_path.iterdir()) == []
