"""Files of panoramas at every command that takes depth and normals from a file: handled, or refused with words."""

import cv2
import numpy as np
import pytest
import torch

from depth_normal.app.cli import main
from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.geometry.files import load_estimate, write_npz
from depth_normal.geometry.kinds import Projection

REFUSED = "needs images of a perspective camera, and this geometry is a panorama's"


@pytest.fixture
def files(tmp_path):
    """An image of noise, and the distances and normals of a room of the size of a ball."""
    cv2.imwrite(str(tmp_path / "a.png"), np.random.default_rng(0).integers(0, 255, (32, 64, 3), np.uint8))
    distance = torch.linspace(1, 4, 32).view(1, 1, -1, 1).expand(1, 1, 32, 64)
    normals = torch.tensor((0.0, 0.0, 1.0)).view(1, 3, 1, 1).expand(1, 3, 32, 64)
    write_npz(tmp_path / "a.npz", Estimate(distance, Quantity.METRIC_DEPTH, normals, projection=Projection.EQUIRECTANGULAR))
    return tmp_path


OF_IMAGES = {
    "parallax": ("parallax", "b.mp4"),
    "fog": ("effect fog", "b.png"),
    "depth of field": ("effect depth-of-field", "b.png"),
    "relight": ("relight", "b.png"),
    "material": ("texture detail", "b.png"),
    "refine": ("refine", "b.npz"),
    "relief": ("mesh", "b.stl"),
}


@pytest.mark.parametrize(("words", "out"), OF_IMAGES.values(), ids=OF_IMAGES)
def test_a_command_refuses_a_panorama(words, out, files, capsys):
    assert main([*words.split(), str(files / "a.png"), "--geometry", str(files / "a.npz"), "-o", str(files / out)]) != 0
    assert REFUSED in capsys.readouterr().err
    assert not (files / out).exists()


@pytest.mark.parametrize("words", ["texture height", "texture curvature", "texture occlusion", "view --no-open"])
def test_a_command_of_files_refuses_a_panorama(words, files, capsys):
    target = files / ("pages" if words.startswith("view") else "b.png")
    assert main([*words.split(), str(files / "a.npz"), "-o", str(target)]) != 0
    assert REFUSED in capsys.readouterr().err


def test_a_mask_by_depth_takes_a_panorama(files):
    words = ["effect", "mask", str(files / "a.png"), "--geometry", str(files / "a.npz"), "-o", str(files / "b.png")]
    assert main(words) == 0 and (files / "b.png").is_file()


def test_two_panoramas_are_compared_and_a_panorama_with_a_photo_is_not(files, capsys):
    known = load_estimate(files / "a.npz")
    write_npz(files / "b.npz", Estimate(known.depth, known.quantity, known.normals))
    assert main(["compare", str(files / "a.npz"), str(files / "a.npz")]) == 0
    assert main(["compare", str(files / "a.npz"), str(files / "b.npz")]) != 0
    assert "the first file is equirectangular, the second perspective" in capsys.readouterr().err
