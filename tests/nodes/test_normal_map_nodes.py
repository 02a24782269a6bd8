"""The old nodes of networks that give normals: their contract, a ball known in advance, and small networks behind the names."""

import inspect
import math
import runpy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import depth_normal
from depth_normal.annotators.networks.bae import Bae
from depth_normal.annotators.registry import MODELS
from depth_normal.app.cli import main
from depth_normal.geometry.conventions import decode_normal_map
from depth_normal.geometry.estimate import Axes, Estimate
from depth_normal.model_loader import free
from depth_normal.nodes import normal_maps as nodes
from depth_normal.nodes.geometry import EstimateGeometry, LoadDepthNormalModel

ROOT = Path(__file__).resolve().parents[2]
TINY = SimpleNamespace(**runpy.run_path(str(ROOT / "tests" / "tiny_bae.py")))
BAE = nodes.BaeNormalMap
ALL = pytest.mark.parametrize("node", nodes.NODES, ids=lambda node: node.NODE_ID)
# the old widgets before `resolution`: name, kind, default, lowest, highest
CONTRACT = {"BAE-NormalMapPreprocessor": []}
MODEL_OF = {BAE: "bae-normal"}


class Pretend:
    """Stands in for a loaded model: gives one estimate, and notes how it was asked."""

    def __init__(self, estimate):
        self.estimate, self.asked, self.sizes = estimate, [], []

    def __call__(self, model, precision):
        self.asked.append((model, precision))
        return self

    def estimates(self, images, size, progress, options=None):
        self.sizes.append(size)
        yield self.estimate


def ball(height=64, width=96):
    """Unit vectors (1, 3, H, W) in OPENGL axes of a ball before a wall that faces the viewer."""
    y, x = torch.meshgrid(torch.linspace(1.2, -1.2, height), torch.linspace(-1.8, 1.8, width), indexing="ij")
    inside = x**2 + y**2 < 1
    z = (1 - x**2 - y**2).clamp(min=0).sqrt()
    return torch.where(inside, torch.stack((x, y, z)), torch.tensor([0.0, 0.0, 1.0]).view(3, 1, 1))[None]


@pytest.fixture
def pretend(monkeypatch):
    """A model that sees the ball, in the axes that networks of its kind have."""
    left = torch.tensor([-1.0, 1.0, 1.0]).view(1, 3, 1, 1)
    model = Pretend(Estimate(normals=ball() * left, axes=Axes.SCANNET))
    monkeypatch.setattr(nodes, "load_model", model)
    return model


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A small random network, as the old pack keeps the authors' file."""
    with TINY.tiny_bae():
        path = tmp_path / "lllyasviel" / "Annotators" / "scannet.pt"
        path.parent.mkdir(parents=True)
        torch.save(TINY.published(TINY.randomise(Bae())), path)
        monkeypatch.setenv("AUX_ANNOTATOR_CKPTS_PATH", str(tmp_path))
        spec = MODELS["bae-normal"]
        monkeypatch.setitem(MODELS, "bae-normal", replace(spec, files=(replace(spec.file, sha256=None, size=None),)))
        yield path
        free()


def test_ids_and_front_door():
    assert {node.NODE_ID for node in nodes.NODES} == set(CONTRACT)
    for node in nodes.NODES:
        assert depth_normal.NODE_CLASS_MAPPINGS[node.NODE_ID] is node
        assert depth_normal.NODE_DISPLAY_NAME_MAPPINGS[node.NODE_ID] == node.DISPLAY_NAME
    assert BAE.DISPLAY_NAME == "BAE Normal Map"


@ALL
def test_contract(node):
    assert node.CATEGORY == "ControlNet Preprocessors/Normal and Depth Estimators"
    assert node.FUNCTION == "execute" and node.RETURN_TYPES == ("IMAGE",)
    inputs = node.INPUT_TYPES()
    assert list(inputs) == ["required", "optional"]
    assert list(inputs["required"]) == ["image"] and inputs["required"]["image"][0] == "IMAGE"
    optional, old = inputs["optional"], CONTRACT[node.NODE_ID]
    assert list(optional)[: len(old) + 1] == [*(name for name, *_ in old), "resolution"], "graphs store widgets by position"
    for name, kind, *limits in [*old, ("resolution", "INT", 512, 64, 16384)]:
        assert optional[name][0] == kind and [optional[name][1][key] for key in ("default", "min", "max")] == limits
    assert optional["resolution"][1]["step"] == 64
    assert optional["coding"][1]["default"] == "controlnet-normalbae"


@ALL
def test_what_a_script_leaves_out_is_the_widgets_default(node):
    optional = node.INPUT_TYPES()["optional"]
    parameters = list(inspect.signature(node.execute).parameters.values())[1:]
    assert [parameter.name for parameter in parameters] == ["image", *optional]
    for parameter in parameters[1:]:
        assert parameter.default == optional[parameter.name][1]["default"]


@ALL
def test_each_node_asks_for_its_own_model(node, pretend):
    node().execute(torch.rand(1, 64, 96, 3), resolution=64, precision="bfloat16")
    assert pretend.asked == [(MODEL_OF[node], "bfloat16")]
    assert MODELS[MODEL_OF[node]].axes is Axes.SCANNET


def test_bae_runs_at_the_resolution_as_in_the_old_pack(pretend, monkeypatch):
    monkeypatch.setattr(nodes, "MAX_NETWORK_SIZE", 600)  # the widget's, which says nothing of the resolution
    for widgets in ({}, {"resolution": 1024}, {"network_size": 0}, {"network_size": 480}):
        BAE().execute(torch.rand(1, 64, 96, 3), **widgets)
    assert pretend.sizes == [512, 1024, 512, 480]


@ALL
def test_the_old_colours_left_is_red_up_is_green_near_is_blue(node, pretend):
    (picture,) = node().execute(torch.rand(1, 64, 96, 3), resolution=64)
    assert picture.shape == (1, 64, 96, 3)
    red, green, blue = picture[0].unbind(-1)
    middle, left, right, top, bottom = (32, 48), (32, 24), (32, 71), (8, 48), (55, 48)
    assert red[left] > 0.9 and red[right] < 0.1 and green[top] > 0.85 and green[bottom] < 0.15
    assert blue[middle] > 0.99 and blue.min() > 0.49
    wall = torch.tensor([0.5, 0.5, 1.0])
    assert torch.equal(picture[0, 0, 0], wall) and torch.equal(picture[0, -1, -1], wall)


@ALL
@pytest.mark.parametrize("coding", nodes.CODINGS)
def test_every_coding_holds_the_same_vectors(node, coding, pretend):
    (picture,) = node().execute(torch.rand(1, 64, 96, 3), resolution=64, coding=coding)
    assert (decode_normal_map(picture.movedim(-1, 1), coding) - ball()).abs().max() < 1e-5


@ALL
def test_the_contracts_own_size(node, pretend):
    (picture,) = node().execute(torch.rand(1, 1080, 1920, 3))
    assert picture.shape == (1, 512, 910, 3)


def test_the_old_packs_file_is_found_read_once_and_gives_normals(tiny, caplog):
    caplog.set_level("INFO", logger="depth_normal")
    pictures = torch.rand(2, 60, 96, 3, generator=torch.Generator().manual_seed(0))
    (shown,) = BAE().execute(pictures, resolution=64, precision="float32")
    assert shown.shape == (2, 64, 102, 3) and shown.dtype == torch.float32 and shown.unique().numel() > 1000
    vectors = decode_normal_map(shown.movedim(-1, 1), "controlnet-normalbae")
    assert torch.isfinite(vectors).all() and vectors.std() > 0.05
    singles = torch.cat([BAE().execute(picture[None], resolution=64, precision="float32")[0] for picture in pictures])
    assert (singles - shown).abs().max() < 1e-4
    assert caplog.text.count(f"loading bae-normal from {tiny}") == 1


@pytest.mark.parametrize("shape", [(1, 1, 1, 3), (1, 300, 20, 4), (1, 20, 30, 1)], ids=str)
def test_odd_pictures(shape, tiny):
    (shown,) = BAE().execute(torch.rand(shape), resolution=64, network_size=32)
    assert shown.shape[0] == 1 and min(shown.shape[1:3]) == 64 and shown.shape[3] == 3 and torch.isfinite(shown).all()


def test_estimate_geometry_gives_vectors_and_their_certainty(tiny):
    (model,) = LoadDepthNormalModel().execute("bae-normal", "float32")
    (estimate,) = EstimateGeometry().execute(model, torch.rand(1, 40, 60, 3), resolution=64)
    assert estimate.depth is None and estimate.normals.shape == (1, 3, 40, 60)
    assert (estimate.normals.norm(dim=1) - 1).abs().max() < 1e-5
    assert estimate.confidence.shape == (1, 1, 40, 60) and estimate.confidence.min() >= 0.01


def test_the_command_line_writes_normals_alone(tiny, tmp_path):
    import cv2

    picture = tmp_path / "in.png"
    cv2.imwrite(str(picture), torch.randint(0, 255, (40, 60, 3), dtype=torch.uint8).numpy())
    words = ("--model", "bae-normal", "--weights", str(tiny), "--size", "64", "--dtype", "float32")
    assert main(["estimate", str(picture), "--out", str(tmp_path / "out"), *words]) == 0
    assert [path.name for path in (tmp_path / "out").glob("*.png")] == ["in_normals.png"]


@ALL
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        *(({"resolution": value}, "accepted: (whole numbers from )?64 to 16384") for value in (0, 63, 16385, 512.0, "512", None)),
        *(({"network_size": value}, "network_size is .*accepted: 0 to 4096") for value in (-1, 4097, math.nan)),
        ({"coding": "vulkan"}, "coding is 'vulkan'; accepted: opengl, directx"),
    ],
    ids=str,
)
def test_bad_widgets_are_named(node, bad, message, pretend):
    with pytest.raises(ValueError, match=message):
        node().execute(torch.rand(1, 64, 64, 3), **bad)
    assert "resolution" in bad or not pretend.asked, "nothing is loaded for it"


def test_weights_whose_use_is_unclear_say_so():
    unclear = {model for model in MODEL_OF.values() if MODELS[model].commercial_use == "unclear"}
    assert unclear == {"bae-normal"} and "unclear" in BAE.DESCRIPTION


@ALL
def test_the_help_page_names_every_input_and_choice(node):
    page = (ROOT / "web" / "docs" / f"{node.NODE_ID}.md").read_text()
    assert page.startswith(f"# {node.DISPLAY_NAME}\n")
    inputs = node.INPUT_TYPES()
    for name, (kind, _) in (inputs["required"] | inputs["optional"]).items():
        assert f"| {name} |" in page, name
        for choice in kind if isinstance(kind, list) and name != "precision" else ():
            assert choice in page, choice
