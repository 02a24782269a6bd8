"""`depth-normal refine` and `estimate --refine`."""

import cv2
import numpy as np
import pytest
import torch

from depth_normal.app.cli import main
from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.geometry.files import load_estimate, write_npz


@pytest.fixture
def photo(tmp_path):
    """A near left half before a far right one, and its depth of half its size."""
    image, depth = np.full((48, 64, 3), 40, np.uint8), np.full((24, 32), 5.0, np.float32)
    image[:, :33], depth[:, :16], depth[:, 16] = 200, 2.0, 1 / 0.35
    path, geometry = tmp_path / "photo.png", tmp_path / "photo.npz"
    cv2.imwrite(str(path), image)
    write_npz(geometry, Estimate(torch.from_numpy(depth)[None, None], Quantity.METRIC_DEPTH))
    return path, geometry


def test_a_file_is_refined_to_the_images_size(photo, tmp_path, capsys):
    out = tmp_path / "new" / "refined.npz"
    assert main(["refine", str(photo[0]), "--geometry", str(photo[1]), "--out", str(out)]) == 0
    assert capsys.readouterr().out.strip() == f"{photo[0]}: {out}"
    refined = load_estimate(out)
    assert torch.allclose(refined.depth[..., :33], torch.tensor(2.0), rtol=0.02)
    assert torch.allclose(refined.depth[..., 33:], torch.tensor(5.0), rtol=0.02)
    assert refined.normals is not None
