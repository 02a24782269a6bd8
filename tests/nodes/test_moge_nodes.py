"""MoGe-2 the whole way: from a file in the authors' layout to points in core's sockets and a mesh on disk."""

import runpy
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from depth_normal.annotators.registry import MODELS
from depth_normal.app.cli import main
from depth_normal.geometry.camera import depth_to_points
from depth_normal.model_loader import free
from depth_normal.nodes.geometry import EstimateGeometry, LoadDepthNormalModel
from depth_normal.nodes.interop import GeometryToMoge

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
