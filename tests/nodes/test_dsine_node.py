"""The old DSINE node: its contract, what it tells the network, and a small network from a file in the authors' layout."""

import runpy
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from depth_normal.annotators.dsine import DsineOptions
from depth_normal.annotators.registry import MODELS
from depth_normal.geometry.conventions import unit_normals
from depth_normal.geometry.estimate import Axes, Estimate
from depth_normal.nodes import dsine as nodes

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


def test_the_widgets_reach_the_model(pretend):
    model, image = pretend(Estimate(normals=unit_normals(torch.ones(1, 3, 64, 96)), axes=Axes.SCANNET)), torch.rand(1, 64, 96, 3)
    NODE().execute(image)
    assert (model.fov, model.options) == (60.0, DsineOptions())
    NODE().execute(image, 35.5, 20, 64, "as the old node", 448, "float16")
    assert model.asked == [("dsine", "auto"), ("dsine", "float16")]
    assert (model.sizes, model.shapes) == ([512, 448], [(1, 3, 64, 96)] * 2)
    assert (model.fov, model.options) == (35.5, DsineOptions(20, old_camera=True))


@pytest.mark.slow("takes most of a second")
def test_the_old_packs_file_gives_images_of_the_size_asked_for(tiny):
    image = torch.rand(2, 40, 56, 3, generator=torch.Generator().manual_seed(0))
    (shown,) = NODE().execute(image, resolution=64, iterations=2)
    assert shown.shape == (2, 64, 90, 3) and shown.dtype == torch.float32
    assert shown.amin() >= 0 and shown.amax() <= 1
    torch.testing.assert_close((2 * shown - 1).norm(dim=-1), torch.ones(2, 64, 90))
