import numpy as np
import pytest
import torch

from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.geometry.files import SaveOptions, save_estimate


@pytest.fixture(scope="module")
def imported(inside_blender, tmp_path_factory):
    """A slope that rises from the floor, in each format, through Blender's own importers."""
    folder = tmp_path_factory.mktemp("meshes")
    depth = 1 / torch.linspace(0.25, 0.5, 6).reshape(1, 1, 6, 1).expand(1, 1, 6, 8)
    intrinsics = torch.tensor([[[8.0, 0, 3.5], [0, 8, 2.5], [0, 0, 1]]])
    estimate = Estimate(depth=depth, quantity=Quantity.METRIC_DEPTH, intrinsics=intrinsics)
    save_estimate(folder / "m.glb", estimate)
    save_estimate(folder / "worn.glb", estimate, SaveOptions(image=torch.rand(1, 3, 12, 16, generator=torch.Generator().manual_seed(0))))
    for up in "yz":
        save_estimate(folder / f"{up}.ply", estimate, SaveOptions(ply_up=up))
    return {name: np.array(points) for name, points in inside_blender("imported", folder).items()}


def in_order(points):
    return points[np.lexsort(points.round(4).T)]


def test_a_ply_with_z_up_comes_into_blender_as_the_glb_does(imported):
    assert len(imported["m.glb"]) == 48
    np.testing.assert_allclose(in_order(imported["z.ply"]), in_order(imported["m.glb"]), atol=1e-6)
    np.testing.assert_allclose(in_order(imported["worn.glb"]), in_order(imported["m.glb"]), atol=1e-6)


def test_the_glb_stands_upright_in_blender_and_a_ply_with_y_up_lies_on_its_back(imported):
    """The camera looks along Blender's +Y: distances of 2 to 4 lie on that axis, in the PLY with Y up on -Z."""
    np.testing.assert_allclose([imported["m.glb"][:, 1].min(), imported["m.glb"][:, 1].max()], [2, 4], atol=1e-6)
    np.testing.assert_allclose([imported["y.ply"][:, 2].min(), imported["y.ply"][:, 2].max()], [-4, -2], atol=1e-6)
