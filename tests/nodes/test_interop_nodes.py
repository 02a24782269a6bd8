"""Core's MoGe and Depth Anything 3 sockets: declared as core declares them, there and back."""

import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch

from depth_normal.geometry.camera import intrinsics_from_fov
from depth_normal.geometry.estimate import Axes, Estimate, Quantity
from depth_normal.nodes.interop import ConvertGeometry, Da3ToGeometry, GeometryToDa3, GeometryToMoge, MogeToGeometry

IMAGE = torch.rand(1, 12, 16, 3, generator=torch.Generator().manual_seed(0))


def estimate(quantity=Quantity.METRIC_DEPTH, **more):
    depth = torch.rand(1, 1, 6, 8, generator=torch.Generator().manual_seed(1)) + 1
    return Estimate(depth, quantity, **more)


@pytest.fixture
def comfyui(monkeypatch):
    """ComfyUI's class for outputs that cannot be made."""
    utilities = ModuleType("comfy_execution.graph_utils")
    utilities.ExecutionBlocker = lambda message: SimpleNamespace(message=message)  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "comfy_execution.graph_utils", utilities)


def same(one, other):
    return one.keys() == other.keys() and all(one[key] is other[key] or torch.equal(one[key], other[key]) for key in one)


def test_one_node_converts_all_ways_as_the_nodes_of_old_graphs_do():
    given = estimate(normals=torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1).expand(1, 3, 6, 8))
    geometry, moge, da3 = ConvertGeometry().execute(given, IMAGE, fov=70.0)
    assert torch.equal(geometry.depth, given.depth)
    assert same(moge, GeometryToMoge().execute(given, IMAGE, 70.0)[0]) and same(da3, GeometryToDa3().execute(given, IMAGE, 70.0)[0])
    for source, old in ((moge, MogeToGeometry), (da3, Da3ToGeometry)):
        back, *cores = ConvertGeometry().execute(source)
        assert torch.equal(back.depth, old().execute(source)[0].depth) and all("image" in core for core in cores)


def test_of_what_cannot_be_made_only_the_output_fails(comfyui):
    normals = Estimate(normals=torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1).expand(1, 3, 6, 8))
    _, moge, da3 = ConvertGeometry().execute(normals, IMAGE)
    assert "normal" in moge and "normals but no depth" in da3.message
    back, moge, _ = ConvertGeometry().execute({"depth": torch.rand(1, 6, 8) + 1})
    assert back.quantity is Quantity.RELATIVE_DEPTH and "link image" in moge.message
    with pytest.raises(ValueError, match="link image"):
        ConvertGeometry().execute(estimate())
    with pytest.raises(TypeError, match="expected this pack's GEOMETRY"):
        ConvertGeometry().execute("depth")


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
