"""The old depth nodes of ZoeDepth and Depth Anything: their contract, images known in advance, and tiny networks behind every name."""

from pathlib import Path

import numpy as np
import pytest
import torch

from depth_normal.annotators.registry import MODELS
from depth_normal.geometry.estimate import Quantity
from depth_normal.nodes import depth_maps as nodes
from tests import tiny_depth as TINY

ROOT = Path(__file__).resolve().parents[2]
ZOE, V1, V2, ZOE_V1 = nodes.ZoeDepthMap, nodes.DepthAnythingMap, nodes.DepthAnythingV2Map, nodes.ZoeDepthAnythingMap
V2_METRIC = nodes.DepthAnythingV2MetricMap
ALL = pytest.mark.parametrize("node", nodes.NODES, ids=lambda node: node.NODE_ID)
BY_PERCENTILES = (ZOE, ZOE_V1)
METRIC = (*BY_PERCENTILES, V2_METRIC)

CHOICES = {
    (ZOE, None, None): "zoedepth-nyu",
    (ZOE, "model", "zoedepth-kitti"): "zoedepth-kitti",
    (ZOE, "model", "zoedepth-nyu-kitti"): "zoedepth-nyu-kitti",
    (V1, None, None): "depth-anything-large",
    (V1, "ckpt_name", "depth_anything_vitl14.pth"): "depth-anything-large",
    (V1, "ckpt_name", "depth_anything_vitb14.pth"): "depth-anything-base",
    (V1, "ckpt_name", "depth_anything_vits14.pth"): "depth-anything-small",
    (V2, None, None): "depth-anything-v2-large",
    (V2, "ckpt_name", "depth_anything_v2_vitg.pth"): "depth-anything-v2-giant",
    (V2, "ckpt_name", "depth_anything_v2_vitl.pth"): "depth-anything-v2-large",
    (V2, "ckpt_name", "depth_anything_v2_vitb.pth"): "depth-anything-v2-base",
    (V2, "ckpt_name", "depth_anything_v2_vits.pth"): "depth-anything-v2-small",
    (ZOE_V1, None, None): "zoe-depth-anything-indoor",
    (ZOE_V1, "environment", "outdoor"): "zoe-depth-anything-outdoor",
    (V2_METRIC, None, None): "depth-anything-v2-metric-indoor-large",
    (V2_METRIC, "environment", "outdoor"): "depth-anything-v2-metric-outdoor-large",
    (V2_METRIC, "model", "small"): "depth-anything-v2-metric-indoor-small",
    (V2_METRIC, "model", "base"): "depth-anything-v2-metric-indoor-base",
}
EACH_CHOICE = pytest.mark.parametrize(("choice", "model_id"), CHOICES.items(), ids=lambda value: value if isinstance(value, str) else "")


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    """A folder with the files of all models that the nodes can choose, tiny."""
    folder = tmp_path_factory.mktemp("depth")
    for model_id in set(CHOICES.values()):
        spec = TINY.shrunk(MODELS[model_id])
        TINY.write_file(spec, folder / spec.file.name)
    return folder


@pytest.fixture
def tiny(weights, monkeypatch):
    monkeypatch.setenv("DEPTH_NORMAL_HOME", str(weights))
    for model_id in set(CHOICES.values()):
        monkeypatch.setitem(MODELS, model_id, TINY.shrunk(MODELS[model_id]))


def random_depth(count=2, height=64, width=96, low=0.5, high=9.0):
    coarse = torch.rand(count, 1, 8, 12, generator=torch.Generator().manual_seed(3))
    return low + (high - low) * torch.nn.functional.interpolate(coarse, size=(height, width), mode="bilinear")


@EACH_CHOICE
def test_each_choice_is_its_own_model(choice, model_id, pretend):
    node, widget, value = choice
    model = pretend(random_depth(1))
    node().execute(torch.rand(1, 64, 96, 3), resolution=64, precision="bfloat16", **({widget: value} if widget else {}))
    assert model.asked == [(model_id, "bfloat16")]


def test_the_models_give_what_the_images_take_them_for():
    for (node, _, _), model_id in CHOICES.items():
        assert MODELS[model_id].quantity is (Quantity.METRIC_DEPTH if node in METRIC else Quantity.DISPARITY)


@pytest.mark.parametrize("node", [V1, V2], ids=lambda node: node.NODE_ID)
def test_disparity_spans_black_to_white_near_is_white(node, pretend):
    disparity = random_depth()
    pretend(disparity)
    (image,) = node().execute(torch.rand(2, 64, 96, 3), resolution=64)
    numbers = disparity[:, 0].numpy().astype(np.float64)
    low, high = numbers.min((1, 2), keepdims=True), numbers.max((1, 2), keepdims=True)
    assert np.abs(image.numpy() - ((numbers - low) / (high - low))[..., None]).max() < 1e-6


def test_metres_from_the_nearest_to_the_farthest_whatever_max_depth(pretend):
    metres = random_depth()
    pretend(metres, Quantity.METRIC_DEPTH)
    (image,) = V2_METRIC().execute(torch.rand(2, 64, 96, 3), resolution=64)
    low, high = metres.amin((1, 2, 3), keepdim=True), metres.amax((1, 2, 3), keepdim=True)
    assert (image[..., 0] - (1 - (metres - low) / (high - low))[:, 0]).abs().max() < 1e-5
    assert torch.equal(V2_METRIC().execute(torch.rand(2, 64, 96, 3), max_depth=80.0, resolution=64)[0], image)
    with pytest.raises(ValueError, match=r"max_depth is 101.*accepted: 0.* to 100"):
        V2_METRIC().execute(torch.rand(1, 64, 96, 3), max_depth=101.0)


@pytest.mark.parametrize("node", BY_PERCENTILES, ids=lambda node: node.NODE_ID)
def test_metres_between_zoes_percentiles_near_is_white(node, pretend):
    metres = random_depth()
    pretend(metres, Quantity.METRIC_DEPTH)
    (image,) = node().execute(torch.rand(2, 64, 96, 3), resolution=64)
    for mine, depth in zip(image.numpy(), metres[:, 0].numpy().astype(np.float64), strict=True):
        near, far = np.percentile(depth, [2, 85])
        expected = np.clip(1 - (depth - near) / (far - near), 0, 1)
        assert np.abs(mine - expected[..., None]).max() < 1e-5
        assert (expected == 0).mean() == pytest.approx(0.15, abs=0.01) and (expected == 1).mean() == pytest.approx(0.02, abs=0.01)


@ALL
def test_what_is_masked_is_black_and_sets_no_range(node, pretend):
    depth = random_depth(1)
    mask = torch.ones_like(depth, dtype=torch.bool)
    mask[..., :20, :] = False
    quantity = Quantity.METRIC_DEPTH if node in METRIC else Quantity.DISPARITY
    pretend(torch.where(mask, depth, 500.0), quantity, mask=mask)
    (image,) = node().execute(torch.rand(1, 64, 96, 3), resolution=64)
    assert (image[:, :20] == 0).all()
    trusted = depth[0, 0, 20:].numpy()
    ends = np.percentile(trusted, [2, 85] if node in BY_PERCENTILES else [0, 100])
    white, black = ends if node in METRIC else ends[::-1]
    expected = ((trusted - black) / (white - black)).clip(0, 1)
    assert np.abs(image[0, 20:, :, 0].numpy() - expected).max() < 1e-5


@pytest.mark.quick_cases(1)
@EACH_CHOICE
def test_every_file_loads_by_its_name_and_gives_images(choice, model_id, tiny, weights, caplog):
    node, widget, value = choice
    caplog.set_level("INFO", logger="depth_normal")
    widgets = {"resolution": 64, "network_size": 56, "precision": "float32", **({widget: value} if widget else {})}
    image = torch.rand(2, 40, 56, 3, generator=torch.Generator().manual_seed(0))
    (shown,) = node().execute(image, **widgets)
    assert shown.shape == (2, 64, 90, 3) and shown.dtype == torch.float32
    assert torch.isfinite(shown).all() and 0 <= shown.amin() < 0.1 and 0.9 < shown.amax() <= 1
    assert f"loading {model_id} from {weights / MODELS[model_id].file.name}" in caplog.text
    assert "the tensors of" not in caplog.text, "the published name raises a doubt"
    (again,) = node().execute(image, **widgets)
    assert torch.equal(again, shown) and caplog.text.count(f"loading {model_id}") == 1, "read once"


@pytest.mark.parametrize(
    ("node", "bad", "accepted"),
    [
        (V1, {"ckpt_name": "depth_anything_v2_vits.pth"}, "depth_anything_vitl14.pth"),
        (V2, {"ckpt_name": "depth_anything_vits14.pth"}, "depth_anything_v2_vitg.pth"),
        (ZOE_V1, {"environment": "underwater"}, "indoor, outdoor"),
        (ZOE, {"model": "midas-dpt-hybrid"}, "zoedepth-nyu, zoedepth-kitti"),
    ],
    ids=str,
)
def test_another_familys_choice_is_refused(node, bad, accepted, pretend):
    model = pretend(random_depth(1))
    ((name, value),) = bad.items()
    with pytest.raises(ValueError, match=rf"{name} is '{value}'; accepted: .*{accepted}"):
        node().execute(torch.rand(1, 64, 64, 3), **bad)
    assert not model.asked, "nothing is loaded for it"


@pytest.mark.parametrize("node", [V2, ZOE], ids=["disparity", "metres"])
def test_a_video_can_have_one_range(pretend, node):
    """Two frames of which the second spans twice as much: alone each is stretched; as a clip the first stays within its part."""
    ramp = torch.linspace(1, 2, 64 * 96).view(1, 1, 64, 96)
    quantity = Quantity.METRIC_DEPTH if node is ZOE else Quantity.DISPARITY
    pretend(torch.cat((ramp, 2 * ramp - 1)), quantity)
    image = torch.rand(2, 64, 96, 3)
    spans = {
        name: (made := node().execute(image, resolution=64, normalisation=name)[0])[0].amax().sub(made[0].amin()).item()
        for name in ("per_image", "per_clip", "running")
    }
    assert spans["per_image"] == pytest.approx(1) and spans["per_clip"] < 0.75 and spans["running"] == pytest.approx(1)
    with pytest.raises(ValueError, match="normalisation is 'fixed'; accepted: per_image, per_clip, running"):
        node().execute(image, resolution=64, normalisation="fixed")
