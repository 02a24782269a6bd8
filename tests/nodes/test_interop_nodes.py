"""Core's MoGe and Depth Anything 3 sockets: declared as core declares them, there and back."""

import pytest
import torch

from depth_normal.geometry.camera import intrinsics_from_fov
from depth_normal.geometry.estimate import Axes, Estimate, Quantity
from depth_normal.nodes.interop import Da3ToGeometry, GeometryToDa3, GeometryToMoge, MogeToGeometry

IMAGE = torch.rand(1, 12, 16, 3, generator=torch.Generator().manual_seed(0))


def estimate(quantity=Quantity.METRIC_DEPTH, **more):
    depth = torch.rand(1, 1, 6, 8, generator=torch.Generator().manual_seed(1)) + 1
    return Estimate(depth, quantity, **more)


def test_the_sockets_are_cores():
    assert GeometryToMoge.RETURN_TYPES == ("MOGE_GEOMETRY",) and GeometryToDa3.RETURN_TYPES == ("DA3_GEOMETRY",)
    assert MogeToGeometry.INPUT_TYPES()["required"]["moge_geometry"][0] == "MOGE_GEOMETRY"
    assert Da3ToGeometry.INPUT_TYPES()["required"]["da3_geometry"][0] == "DA3_GEOMETRY"
    assert MogeToGeometry.RETURN_TYPES == Da3ToGeometry.RETURN_TYPES == ("DEPTH_NORMAL_GEOMETRY",)
    for node in (GeometryToMoge, GeometryToDa3):
        assert node.INPUT_TYPES()["required"]["geometry"][0] == "DEPTH_NORMAL_GEOMETRY"


def test_there_and_back_through_moge():
    given = estimate(normals=torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1).expand(1, 3, 6, 8), intrinsics=intrinsics_from_fov(70, 6, 8))
    (core,) = GeometryToMoge().execute(given, IMAGE)
    assert core["image"].shape == (1, 6, 8, 3), "the image is brought to the geometry's size"
    (back,) = MogeToGeometry().execute(core)
    assert torch.equal(back.depth, given.depth) and torch.allclose(back.intrinsics, given.intrinsics, atol=1e-4)
    assert back.axes is Axes.OPENCV and back.normals[0, :, 0, 0].tolist() == [0, 0, -1]


def test_there_and_back_through_depth_anything_3():
    (core,) = GeometryToDa3().execute(estimate(), IMAGE, fov=70.0)
    (back,) = Da3ToGeometry().execute(core)
    assert torch.equal(back.depth, estimate().depth) and back.quantity is Quantity.METRIC_DEPTH
    assert torch.equal(back.intrinsics, intrinsics_from_fov(70, 6, 8))
    assert Da3ToGeometry().execute(core, "relative_depth")[0].quantity is Quantity.RELATIVE_DEPTH


@pytest.mark.parametrize("node", [GeometryToMoge, GeometryToDa3])
def test_what_does_not_fit_is_named(node):
    with pytest.raises(ValueError, match=r"relative depth.*near_far_ratio"):
        node().execute(estimate(Quantity.RELATIVE_DEPTH), IMAGE)
    with pytest.raises(ValueError, match=r"shape \(2, 3, 6, 8\); expected \(1, 3, 6, 8\)"):
        node().execute(estimate(), IMAGE.expand(2, -1, -1, -1))
    with pytest.raises(TypeError, match=r"a dictionary with depth; expected this pack's GEOMETRY"):
        node().execute({"depth": None}, IMAGE)
    with pytest.raises(ValueError, match=r"fov is 200"):
        node().execute(estimate(), IMAGE, fov=200)


def test_normals_alone_have_no_place_in_depth_anything_3():
    with pytest.raises(ValueError, match=r"normals but no depth"):
        GeometryToDa3().execute(Estimate(normals=torch.rand(1, 3, 6, 8)), IMAGE)


def test_disparity_is_refused_from_depth_anything_3():
    with pytest.raises(ValueError, match=r"quantity is 'disparity'; accepted: auto, metric_depth, relative_depth"):
        Da3ToGeometry().execute({"depth": torch.rand(1, 6, 8)}, "disparity")
