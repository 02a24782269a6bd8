"""The old DSINE node: its contract, what it tells the network, and a small network from a file in the authors' layout."""

import runpy
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import depth_normal
from depth_normal.annotators.dsine import DsineOptions
from depth_normal.annotators.registry import MODELS
from depth_normal.geometry.conventions import unit_normals
from depth_normal.geometry.estimate import Axes, Estimate
from depth_normal.nodes import dsine as nodes
from depth_normal.options.legacy import CAMERAS

ROOT = Path(__file__).resolve().parents[2]
TINY = runpy.run_path(str(ROOT / "tests" / "annotators" / "test_dsine.py"))
NODE = nodes.DsineNormalMap


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the old pack keeps its file, saved as the authors save it, from a network on several GPUs."""
    path = tmp_path_factory.mktemp("ckpts") / "hr16" / "Diffusion-Edge" / "dsine.pt"
    path.parent.mkdir(parents=True)
    torch.save({"model": {f"module.{name}": value for name, value in TINY["tiny_state"]().items()}, "iter": 5}, path)
    return path.parents[2]


@pytest.fixture
def tiny(folder, monkeypatch):
    monkeypatch.setenv("AUX_ANNOTATOR_CKPTS_PATH", str(folder))
    spec = MODELS["dsine"]
    monkeypatch.setitem(MODELS, "dsine", replace(spec, config=TINY["CONFIG"]))


def make_image(height, width, batch=1):
    return TINY["make_images"](height, width, batch).movedim(1, -1)


def test_the_widgets_reach_the_model(pretend):
    model, image = pretend(Estimate(normals=unit_normals(torch.ones(1, 3, 64, 96)), axes=Axes.SCANNET)), torch.rand(1, 64, 96, 3)
    NODE().execute(image)
    assert (model.fov, model.options) == (60.0, DsineOptions())
    NODE().execute(image, 35.5, 20, 64, "as the old node", 448, "float16")
    assert model.asked == [("dsine", "auto"), ("dsine", "float16")]
    assert (model.sizes, model.shapes) == ([512, 448], [(1, 3, 64, 96)] * 2)
    assert (model.fov, model.options) == (35.5, DsineOptions(20, old_camera=True))


@pytest.mark.slow("takes most of a second")
@pytest.mark.parametrize(
    ("shape", "expected"), [((2, 40, 56, 3), (64, 90)), ((1, 90, 40, 4), (144, 64)), ((1, 1, 1, 1), (64, 64))], ids=str
)
def test_the_old_packs_file_gives_images_of_the_size_asked_for(tiny, shape, expected):
    image = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    (shown,) = NODE().execute(image, resolution=64, iterations=2)
    assert shown.shape == (shape[0], *expected, 3) and shown.dtype == torch.float32
    assert shown.amin() >= 0 and shown.amax() <= 1
    torch.testing.assert_close((2 * shown - 1).norm(dim=-1), torch.ones(shape[0], *expected))


@pytest.mark.slow("takes most of a second")
def test_a_field_of_view_that_is_not_known_is_60_degrees(tiny):
    image = make_image(64, 80)
    unknown, sixty, other = (NODE().execute(image, fov, 1, 64)[0] for fov in (0.0, 60.0, 100.0))
    assert torch.equal(unknown, sixty) and (unknown - other).abs().max() > 1e-3


def test_the_old_camera_differs_where_the_image_is_resized(tiny):
    image = make_image(200, 256)
    right, old = (NODE().execute(image, 60.0, 1, 64, camera)[0] for camera in CAMERAS)
    assert right.shape == old.shape and (right - old).abs().max() > 1e-2


@pytest.mark.slow("takes most of a second")
def test_a_file_that_lacks_a_tensor_is_refused(tmp_path, tiny):
    state = TINY["tiny_state"]()
    del state["gru.convq.weight"]
    torch.save({"model": state}, tmp_path / "dsine.pt")
    with pytest.raises(ValueError, match=r"missing keys \(first: gru.convq.weight\)"):
        depth_normal.load_model("dsine", weights=tmp_path / "dsine.pt")


@pytest.mark.slow("takes most of a second")
def test_the_raw_socket_gets_the_normals_and_the_camera_that_was_given(tiny):
    from depth_normal.nodes.geometry import EstimateGeometry, LoadDepthNormalModel

    (model,) = LoadDepthNormalModel().execute("dsine", "float32")
    (found,) = EstimateGeometry().execute(model, make_image(50, 70), resolution=64, fov=40.0)
    assert found.axes is Axes.SCANNET and found.normals.shape == (1, 3, 50, 70) and found.depth is None
    assert depth_normal.geometry.camera.fov_from_intrinsics(found.intrinsics, 50, 70).item() == pytest.approx(40, rel=1e-4)
