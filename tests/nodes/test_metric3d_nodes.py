"""The old pack's Metric3D nodes: their contract, the old images at the same output of the network, and tiny networks behind each name."""

import math
import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from depth_normal.annotators.registry import MODELS
from depth_normal.geometry.estimate import Axes, Estimate, Quantity
from depth_normal.model_loader import free
from depth_normal.nodes import metric3d as nodes

ROOT = Path(__file__).resolve().parents[2]
TINY = runpy.run_path(str(ROOT / "tests" / "annotators" / "test_metric3d.py"))
DEPTH, NORMALS = nodes.Metric3dDepthMap, nodes.Metric3dNormalMap
ALL = pytest.mark.parametrize("node", nodes.NODES, ids=lambda node: node.NODE_ID)
BACKBONES = nodes.BACKBONES[:3]


def known(count=1, height=64, width=96):
    """Metres and normals as Metric3D gives them."""
    generator = torch.Generator().manual_seed(3)
    coarse = torch.rand(count, 4, 8, 12, generator=generator)
    fine = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bilinear")
    normals = torch.nn.functional.normalize(fine[:, :3] - torch.tensor([0.5, 0.5, 1.2]).view(1, 3, 1, 1), dim=1)
    return Estimate(0.3 + 40 * fine[:, 3:], Quantity.METRIC_DEPTH, normals=normals, axes=Axes.OPENCV)


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """Files of the three networks, small, where the pack looks."""
    monkeypatch.setenv("DEPTH_NORMAL_HOME", str(tmp_path))
    for seed, name in enumerate(BACKBONES):
        entry = MODELS[f"metric3d-{name}"]
        config = TINY["GIANT"] if "giant" in name else TINY["SMALL"]
        torch.save({"model_state_dict": TINY["published"](TINY["tiny_state"](config, seed))}, tmp_path / entry.file.name)
        small = replace(entry, config=config, default_size=56, files=(replace(entry.file, sha256=None, size=None),))
        monkeypatch.setitem(MODELS, entry.id, small)
    yield tmp_path
    free()


def run(node, image=None, **widgets):
    image = torch.rand(1, 64, 96, 3, generator=torch.Generator().manual_seed(0)) if image is None else image
    return node().execute(image, **widgets)[0]


@ALL
def test_each_backbone_is_its_own_model(node, pretend):
    model = pretend(known())
    for backbone in BACKBONES:
        run(node, backbone=backbone, precision="bfloat16")
    assert model.asked == [(f"metric3d-{backbone}", "bfloat16") for backbone in BACKBONES]


@ALL
def test_fx_and_fy_change_nothing_as_in_the_old_node(node, tiny):
    shown = [run(node, resolution=64, fx=fx, fy=fy) for fx, fy in ((1000, 1000), (1, 1), (16384, 300))]
    assert torch.equal(shown[0], shown[1]) and torch.equal(shown[0], shown[2])


def old_depth_image(depth):
    """An image (H, W) of bytes, as matplotlib's "Greys" with vmax = 1.1 makes it: a table of 256 greys from nine, truncated to bytes."""
    table = np.interp(np.linspace(0, 1, 256), np.linspace(0, 1, 9), np.array([255, 240, 217, 189, 150, 115, 82, 37, 0]) / 255)
    share = depth / (depth.max() + 1e-8) / 1.1
    return (table[(share * 256).astype(int).clip(0, 255)] * 255).astype(np.uint8)


def test_the_depth_image_is_the_old_one(pretend):
    """As ComfyUI saves it, to within one of 255 levels."""
    estimate = known(2)
    pretend(estimate)
    shown = run(DEPTH, torch.rand(2, 64, 96, 3), resolution=64)
    for image, depth in zip(shown.numpy(), estimate.depth[:, 0].numpy(), strict=True):
        expected = old_depth_image(depth)[..., None].astype(int)
        assert np.abs((image * 255).astype(np.uint8).astype(int) - expected).max() <= 1
        assert np.abs(image * 255 - expected).max() < 1.8 and np.abs(image * 255 - expected).mean() < 0.7
        assert expected.min() == 26, "the farthest is not black"


def test_constant_depth_is_a_constant_finite_image(pretend):
    pretend(Estimate(torch.full((1, 1, 64, 64), 3.0), Quantity.METRIC_DEPTH))
    shown = run(DEPTH, torch.rand(1, 64, 64, 3), resolution=64)
    assert shown.unique().numel() == 1 and shown[0, 0, 0, 0] * 255 == pytest.approx(26.5, abs=0.5)


def test_the_greys_are_matplotlibs():
    """Read off there once: of 0, a quarter, a half, three quarters and all of the farthest depth."""
    assert old_depth_image(np.array([0, 0.25, 0.5, 0.75, 1.0])).tolist() == [255, 221, 164, 99, 26]


def test_the_normal_map_is_the_old_one(pretend):
    """To within one of 255 levels: 255 - uint8(127 n + 128) of OPENCV vectors."""
    estimate = known(2)
    pretend(estimate)
    shown = run(NORMALS, torch.rand(2, 64, 96, 3), resolution=64).numpy() * 255
    expected = 255 - (estimate.normals.movedim(1, -1).numpy() * 127 + 128).astype(np.uint8).astype(int)
    assert np.abs(shown - expected).max() <= 1


@pytest.mark.parametrize("pixels", [slice(0, 20), slice(None)], ids=["some", "all"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 0.0, "masked"])
def test_pixels_without_depth_are_black_and_set_no_range(value, pixels, pretend):
    whole = known()
    depth, mask = whole.depth.clone(), torch.ones_like(whole.depth, dtype=torch.bool)
    depth[..., pixels, :] = 5000.0 if value == "masked" else value
    mask[..., pixels, :] = value != "masked"
    pretend(replace(whole, depth=depth, mask=mask))
    shown, expected = run(DEPTH, resolution=64), old_depth_image(whole.depth[0, 0, 20:].numpy())
    assert (shown[:, pixels] == 0).all()
    if pixels.stop:
        assert np.abs(shown[0, 20:, :, 0].numpy() * 255 - expected).max() < 1.8


def test_a_video_can_have_one_range(pretend):
    """Two frames of which the second reaches twice as far."""
    ramp = torch.linspace(1, 2, 64 * 96).view(1, 1, 64, 96)
    pretend(Estimate(torch.cat((ramp, 2 * ramp)), Quantity.METRIC_DEPTH))
    image = torch.rand(2, 64, 96, 3)
    darkest = {name: run(DEPTH, image, resolution=64, normalisation=name).amin((1, 2, 3)) for name in ("per_image", "per_clip", "running")}
    assert darkest["per_image"][0] == pytest.approx(darkest["per_image"][1].item()), "each to its own end"
    assert darkest["per_clip"][0] > darkest["per_clip"][1] + 0.3, "both to the farthest of all"
    assert darkest["running"][0] == pytest.approx(darkest["per_image"][0].item(), abs=0.02)


@pytest.mark.quick_cases(2)
@ALL
@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_file_loads_by_its_name_and_gives_images(node, backbone, tiny, caplog):
    caplog.set_level("INFO", logger="depth_normal")
    portrait = torch.rand(2, 56, 40, 3, generator=torch.Generator().manual_seed(0))
    widgets = {"backbone": backbone, "resolution": 64, "precision": "float32"}
    shown = run(node, portrait, **widgets)
    assert shown.shape == (2, 90, 64, 3) and torch.isfinite(shown).all() and shown.amin() >= 0 and shown.amax() <= 1
    assert f"loading metric3d-{backbone} from {tiny / MODELS[f'metric3d-{backbone}'].file.name}" in caplog.text
    assert torch.equal(run(node, portrait, **widgets), shown) and caplog.text.count("loading metric3d") == 1, "read once"
    assert shown.unique().numel() > 1000, "finer than 256 grey levels"
