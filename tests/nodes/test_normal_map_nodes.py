"""The old nodes of networks that give normals: their contract, a ball known in advance, and small networks behind the names."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from depth_normal.annotators.networks.bae import Bae
from depth_normal.annotators.registry import MODELS
from depth_normal.app.cli import main
from depth_normal.geometry.conventions import decode_normal_map
from depth_normal.geometry.estimate import Axes, Estimate
from depth_normal.model_loader import free
from depth_normal.nodes import dsine, metric3d
from depth_normal.nodes import normal_maps as nodes
from depth_normal.nodes.geometry import EstimateGeometry, LoadDepthNormalModel
from depth_normal.options.map_images import CODINGS
from tests import random_weights as RANDOM
from tests import tiny_old_nodes as TINY

ROOT = Path(__file__).resolve().parents[2]
BAE, DSINE, METRIC3D = NODES = (nodes.BaeNormalMap, dsine.DsineNormalMap, metric3d.Metric3dNormalMap)
ALL = pytest.mark.parametrize("node", NODES, ids=lambda node: node.NODE_ID)
MODEL_OF = {BAE: "bae-normal", DSINE: "dsine", METRIC3D: "metric3d-vit-small"}


def ball(height=64, width=96):
    """Unit vectors (1, 3, H, W) in OPENGL axes of a ball before a wall that faces the viewer."""
    y, x = torch.meshgrid(torch.linspace(1.2, -1.2, height), torch.linspace(-1.8, 1.8, width), indexing="ij")
    inside = x**2 + y**2 < 1
    z = (1 - x**2 - y**2).clamp(min=0).sqrt()
    return torch.where(inside, torch.stack((x, y, z)), torch.tensor([0.0, 0.0, 1.0]).view(3, 1, 1))[None]


@pytest.fixture
def seeing_the_ball(pretend):
    """A model that sees the ball, in the axes that networks of its kind have."""
    return pretend(Estimate(normals=ball() * torch.tensor([-1.0, 1.0, 1.0]).view(1, 3, 1, 1), axes=Axes.SCANNET))


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A small random network, as the old pack keeps the authors' file."""
    with TINY.tiny_encoder():
        path = tmp_path / "lllyasviel" / "Annotators" / "scannet.pt"
        path.parent.mkdir(parents=True)
        torch.save(TINY.published_bae(RANDOM.randomise(Bae(), gain=1.3)), path)
        monkeypatch.setenv("AUX_ANNOTATOR_CKPTS_PATH", str(tmp_path))
        spec = MODELS["bae-normal"]
        monkeypatch.setitem(MODELS, "bae-normal", replace(spec, files=(replace(spec.file, sha256=None, size=None),)))
        yield path
        free()


@ALL
def test_the_old_colours_left_is_red_up_is_green_near_is_blue(node, seeing_the_ball):
    (image,) = node().execute(torch.rand(1, 64, 96, 3), resolution=64, precision="bfloat16")
    assert seeing_the_ball.asked == [(MODEL_OF[node], "bfloat16")]
    assert image.shape == (1, 64, 96, 3)
    red, green, blue = image[0].unbind(-1)
    middle, left, right, top, bottom = (32, 48), (32, 24), (32, 71), (8, 48), (55, 48)
    assert red[left] > 0.9 and red[right] < 0.1 and green[top] > 0.85 and green[bottom] < 0.15
    assert blue[middle] > 0.99 and blue.min() > 0.49
    wall = torch.tensor([0.5, 0.5, 1.0])
    assert torch.equal(image[0, 0, 0], wall) and torch.equal(image[0, -1, -1], wall)


@ALL
@pytest.mark.parametrize("coding", CODINGS)
def test_every_coding_holds_the_same_vectors(node, coding, seeing_the_ball):
    (image,) = node().execute(torch.rand(1, 64, 96, 3), resolution=64, coding=coding)
    assert (decode_normal_map(image.movedim(-1, 1), coding) - ball()).abs().max() < 1e-5


@ALL
@pytest.mark.parametrize("resolution", [64, 200, 448])
def test_a_resized_normal_map_holds_unit_vectors(node, resolution, seeing_the_ball):
    """Where the ball's rim meets the wall, means of the colours would be shorter."""
    (image,) = node().execute(torch.rand(1, 128, 192, 3), resolution=resolution)
    assert ((2 * image - 1).norm(dim=-1) - 1).abs().max() < 1e-5


def test_the_old_packs_file_is_found_read_once_and_gives_normals(tiny, caplog):
    caplog.set_level("INFO", logger="depth_normal")
    images = torch.rand(2, 60, 96, 3, generator=torch.Generator().manual_seed(0))
    (shown,) = BAE().execute(images, resolution=64, precision="float32")
    assert shown.shape == (2, 64, 102, 3) and shown.dtype == torch.float32 and shown.unique().numel() > 1000
    vectors = decode_normal_map(shown.movedim(-1, 1), "controlnet-normalbae")
    assert torch.isfinite(vectors).all() and vectors.std() > 0.05
    singles = torch.cat([BAE().execute(image[None], resolution=64, precision="float32")[0] for image in images])
    assert (singles - shown).abs().max() < 1e-4
    assert caplog.text.count(f"loading bae-normal from {tiny}") == 1


def test_estimate_geometry_gives_vectors_and_their_certainty(tiny):
    (model,) = LoadDepthNormalModel().execute("bae-normal", "float32")
    (estimate,) = EstimateGeometry().execute(model, torch.rand(1, 40, 60, 3), resolution=64)
    assert estimate.depth is None and estimate.normals.shape == (1, 3, 40, 60)
    assert (estimate.normals.norm(dim=1) - 1).abs().max() < 1e-5
    assert estimate.confidence.shape == (1, 1, 40, 60) and estimate.confidence.min() >= 0.01


def test_the_command_line_writes_normals_alone(tiny, tmp_path):
    import cv2

    image = tmp_path / "in.png"
    cv2.imwrite(str(image), torch.randint(0, 255, (40, 60, 3), dtype=torch.uint8).numpy())
    words = ("--model", "bae-normal", "--weights", str(tiny), "--size", "64", "--dtype", "float32")
    assert main(["estimate", str(image), "--out", str(tmp_path / "out"), *words]) == 0
    assert [path.name for path in (tmp_path / "out").glob("*.png")] == ["in_normals.png"]
