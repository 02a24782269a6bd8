"""Core's MoGe and Depth Anything 3 sockets: declared as core declares them, there and back; MoGe-2 from file to mesh."""

import runpy
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch

from depth_normal.annotators.registry import MODELS
from depth_normal.app.cli import main
from depth_normal.geometry.camera import depth_to_points, intrinsics_from_fov
from depth_normal.geometry.estimate import Axes, Estimate, Quantity
from depth_normal.model_loader import free
from depth_normal.nodes.geometry import EstimateGeometry, LoadDepthNormalModel
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


@pytest.mark.parametrize("node", [GeometryToMoge, GeometryToDa3])
def test_what_does_not_fit_is_named(node):
    with pytest.raises(ValueError, match=r"relative depth.*near_far_ratio"):
        node().execute(estimate(Quantity.RELATIVE_DEPTH), IMAGE)
    with pytest.raises(ValueError, match="image holds 2 images, geometry 1; accepted: one for all, or one each"):
        node().execute(estimate(), IMAGE.expand(2, -1, -1, -1))


def test_normals_alone_have_no_place_in_depth_anything_3():
    with pytest.raises(ValueError, match=r"normals but no depth"):
        GeometryToDa3().execute(Estimate(normals=torch.rand(1, 3, 6, 8)), IMAGE)


TINY = runpy.run_path(str(Path(__file__).resolve().parents[1] / "annotators" / "test_moge.py"))
MODEL = "moge-2-vits-normal"


@pytest.fixture
def file(tmp_path, monkeypatch):
    """A small random network that sees most of an image, as the authors save theirs; the table knows its sizes."""
    state = TINY["tiny_state"]()
    state["mask_head.output_blocks.4.bias"] += 3
    state |= {"encoder.image_mean": torch.zeros(1, 3, 1, 1), "encoder.image_std": torch.ones(1, 3, 1, 1)}
    path = tmp_path / "weights" / MODELS[MODEL].file.repo_id / "model.pt"
    path.parent.mkdir(parents=True)
    torch.save({"model_config": {"num_tokens_range": [1200, 3600], "remap_output": "exp"}, "model": state}, path)
    spec = MODELS[MODEL]
    tiny = replace(spec, config=TINY["CONFIG"], default_size=70, files=(replace(spec.file, sha256=None, size=None),))
    monkeypatch.setitem(MODELS, MODEL, tiny)
    yield path
    free()


@pytest.fixture
def geometry(file, monkeypatch):
    """What Depth & Normals (advanced) gives of a portrait, and the image."""
    monkeypatch.setenv("DEPTH_NORMAL_HOME", str(file.parents[2]))
    (model,) = LoadDepthNormalModel().execute(MODEL, "float32")
    image = TINY["make_images"](60, 40).movedim(1, -1)
    return EstimateGeometry().execute(model, image)[0], image


def test_the_points_of_cores_nodes_lie_on_the_cameras_rays(geometry):
    estimate, image = geometry
    assert estimate.mask.float().mean() > 0.2
    (core,) = GeometryToMoge().execute(estimate, image)
    points = core["points"].movedim(-1, 1)
    inside = estimate.mask.expand_as(points)
    torch.testing.assert_close(points[inside], depth_to_points(estimate.depth, estimate.intrinsics)[inside])
    assert core["normal"].shape == (1, 60, 40, 3) and core["mask"].dtype == torch.bool


def test_a_mesh_needs_no_field_of_view(file, tmp_path):
    import cv2

    image = tmp_path / "in.png"
    cv2.imwrite(str(image), (TINY["make_images"](60, 40)[0].movedim(0, -1) * 255).byte().numpy())
    words = ("--model", MODEL, "--weights", str(file), "--also", "ply", "--size", "70", "--dtype", "float32")
    assert main(["estimate", str(image), "--out", str(tmp_path / "out"), *words]) == 0
    made = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"in.ply", "in_depth.png", "in_normals.png"} <= made
