"""EXR for compositing programs: names, types, camera. tests/blender/test_compositing_exr.py opens one in Blender."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from depth_normal.geometry.estimate import Axes, Estimate, Quantity
from depth_normal.geometry.files import SaveOptions, load_estimate, save_estimate, write_compositing_exr
from tests.geometry.files.samples import full_estimate, read_channels

pytest.importorskip("OpenEXR", reason="EXR files need the package OpenEXR (extra 'exr')")


def estimate():
    mask = torch.ones(1, 1, 5, 7, dtype=torch.bool)
    mask[..., 0, :] = False
    intrinsics = torch.tensor([[[50.0, 0, 3], [0, 60, 2], [0, 0, 1]]])
    return replace(full_estimate(), axes=Axes.OPENCV, mask=mask, intrinsics=intrinsics, confidence=None, extrinsics=None)


def test_the_channels_have_the_names_and_types_that_were_asked_for(tmp_path):
    image = torch.rand(1, 3, 10, 14)
    for half in (False, True):
        write_compositing_exr(tmp_path / "a.exr", estimate(), image, half)
        _, channels = read_channels(tmp_path / "a.exr")
        full = {name for name, pixels in channels.items() if pixels.dtype == np.float32}
        assert set(channels) == {*"RGBZ", "P.X", "P.Y", "P.Z", "N.X", "N.Y", "N.Z", "mask.A", "sky.A"}
        assert full == ({"Z", "P.X", "P.Y", "P.Z"} if half else set(channels))
    write_compositing_exr(tmp_path / "a.exr", replace(estimate(), depth=None, quantity=None))
    assert set(read_channels(tmp_path / "a.exr")[1]) == {"N.X", "N.Y", "N.Z", "mask.A"}


def test_it_is_read_back_by_name(tmp_path):
    known = replace(estimate(), confidence=torch.rand(1, 1, 5, 7))
    files = save_estimate(tmp_path / "a.exr", known, SaveOptions(compositing=True))
    assert files == (tmp_path / "a.exr", tmp_path / "a.chan") and sorted(tmp_path.iterdir()) == sorted(files)
    back = load_estimate(files[0])
    inside = known.mask[0, 0]
    assert back.quantity is Quantity.METRIC_DEPTH and back.axes is Axes.OPENGL and torch.equal(back.mask, known.mask)
    torch.testing.assert_close(back.intrinsics, known.intrinsics)
    torch.testing.assert_close(back.confidence, known.confidence)
    torch.testing.assert_close(back.depth[..., inside], known.depth[..., inside], rtol=0, atol=0)
    torch.testing.assert_close(back.normals[..., inside], (known.normals * torch.tensor([1.0, -1, -1]).view(1, 3, 1, 1))[..., inside])
    _, channels = read_channels(files[0])
    assert (channels["Z"][0] == np.float32(1e10)).all() and all((channels[name][0] == 0).all() for name in ("P.X", "P.Z", "N.Y", "mask.A"))


def test_the_header_maps_positions_to_their_pixels(tmp_path):
    write_compositing_exr(tmp_path / "a.exr", estimate())
    header, channels = read_channels(tmp_path / "a.exr")
    inside = estimate().mask[0, 0].numpy()
    points = np.stack([*(channels[f"P.{axis}"][inside] for axis in "XYZ"), np.ones(inside.sum(), np.float32)], 1)
    assert ((points @ header["worldToCamera"])[:, 2] > 0).all(), "in front of a camera that looks along +Z"
    seen = points @ header["worldToNDC"]
    rows, columns = np.nonzero(inside)
    np.testing.assert_allclose(seen[:, 0] / seen[:, 3], (columns + 0.5) / 7, atol=1e-5)
    np.testing.assert_allclose(seen[:, 1] / seen[:, 3], (rows + 0.5) / 5, atol=1e-5)
    width, height = header["sensorOverallDimensions"]
    assert width / 2 / header["pinholeFocalLength"] == pytest.approx(7 / 2 / 50) and height / width == pytest.approx(5 / 60 / (7 / 50))


def test_the_camera_is_a_line_that_nuke_imports(tmp_path):
    write_compositing_exr(tmp_path / "a.exr", estimate())
    (line,) = (tmp_path / "a.chan").read_text().splitlines()
    frame, *place, fov = map(float, line.split())
    assert frame == 1 and place == [0] * 6 and fov == pytest.approx(math.degrees(2 * math.atan(2.5 / 60)))


def test_depth_without_metres_keeps_its_kind(tmp_path):
    disparity = Estimate(torch.linspace(1, 5, 35).view(1, 1, 5, 7), Quantity.DISPARITY)
    write_compositing_exr(tmp_path / "a.exr", disparity)
    back = load_estimate(tmp_path / "a.exr")
    assert back.quantity is Quantity.RELATIVE_DEPTH
    assert back.depth.flatten()[0] > 2 * back.depth.flatten()[-1] > 0.9, "the smallest disparity is farthest, the near end about 1"


def test_neither_file_appears_unless_both_can(tmp_path):
    (tmp_path / "a.chan").mkdir()
    with pytest.raises(OSError):
        write_compositing_exr(tmp_path / "a.exr", estimate())
    assert [path.name for path in tmp_path.iterdir()] == ["a.chan"]
