"""What the nodes with ids of ControlNet's preprocessors have in common: ranges, sizes, models, and what is refused before one is loaded."""

import itertools
from dataclasses import replace

import pytest
import torch

from depth_normal import NODE_CLASS_MAPPINGS
from depth_normal.annotators.networks import bae, dsine, efficientnet
from depth_normal.annotators.registry import MODELS
from depth_normal.geometry.estimate import Axes, Estimate, Quantity
from depth_normal.nodes import depth_maps
from depth_normal.nodes.legacy import LEGACY_CATEGORY
from tests import tiny_depth, tiny_old_nodes

NODES = {node_id: node for node_id, node in NODE_CLASS_MAPPINGS.items() if node.CATEGORY == LEGACY_CATEGORY}
EACH = pytest.mark.parametrize("node", NODES.values(), ids=NODES)
RANGES = {
    "resolution": (64, 16384, 64),
    "a": (0.0, 15.707963267948966, 0.05),
    "bg_threshold": (0.0, 1.0, 0.05),
    "max_depth": (0.0, 100.0, 0.01),
    "fx": (1, 16384, 1),
    "fy": (1, 16384, 1),
    "rm_nearest": (0.0, 100.0, 0.01),
    "rm_background": (0.0, 100.0, 0.01),
    "fov": (0.0, 365.0, 0.01),
    "iterations": (1, 20, None),
}
"""Of the old widgets: lowest, highest and step. `test_contract.py` holds their order, types and defaults."""

V1, V2, V2_METRIC = "DepthAnythingPreprocessor", "DepthAnythingV2Preprocessor", "Metric_DepthAnythingV2Preprocessor"
ZOE, ZOE_V1, LERES = "Zoe-DepthMapPreprocessor", "Zoe_DepthAnythingPreprocessor", "LeReS-DepthMapPreprocessor"
METRIC3D_DEPTH, METRIC3D_NORMALS = "Metric3D-DepthMapPreprocessor", "Metric3D-NormalMapPreprocessor"
CHOICES = {
    (ZOE, "", ""): "zoedepth-nyu",
    ("BAE-NormalMapPreprocessor", "", ""): "bae-normal",
    (METRIC3D_DEPTH, "", ""): "metric3d-vit-small",
    (METRIC3D_NORMALS, "", ""): "metric3d-vit-small",
    ("DSINE-NormalMapPreprocessor", "", ""): "dsine",
    (ZOE, "model", "zoedepth-kitti"): "zoedepth-kitti",
    (ZOE, "model", "zoedepth-nyu-kitti"): "zoedepth-nyu-kitti",
    (V1, "", ""): "depth-anything-large",
    (V2, "", ""): "depth-anything-v2-large",
    (V2, "ckpt_name", "depth_anything_v2_vitg.pth"): "depth-anything-v2-giant",
    **{
        (node, "ckpt_name", f"{file}_vit{size[0]}{end}.pth"): f"{family}-{size}"
        for node, file, end, family in ((V1, "depth_anything", "14", "depth-anything"), (V2, "depth_anything_v2", "", "depth-anything-v2"))
        for size in ("small", "base", "large")
    },
    (ZOE_V1, "", ""): "zoe-depth-anything-indoor",
    (ZOE_V1, "environment", "outdoor"): "zoe-depth-anything-outdoor",
    (V2_METRIC, "", ""): "depth-anything-v2-metric-indoor-large",
    (V2_METRIC, "environment", "outdoor"): "depth-anything-v2-metric-outdoor-large",
    (V2_METRIC, "model", "small"): "depth-anything-v2-metric-indoor-small",
    (V2_METRIC, "model", "base"): "depth-anything-v2-metric-indoor-base",
    (LERES, "", ""): "leres",
    **{
        (node, "backbone", f"vit-{size}"): f"metric3d-vit-{size}"
        for node in (METRIC3D_DEPTH, METRIC3D_NORMALS)
        for size in ("small", "large", "giant2")
    },
}
"""The model by node, widget and its value."""
EACH_CHOICE = pytest.mark.parametrize(
    ("node_id", "widgets", "model_id"),
    [(node_id, {widget: value} if widget else {}, model_id) for (node_id, widget, value), model_id in CHOICES.items()],
    ids=["-".join(filter(None, choice)) for choice in CHOICES],
)


@pytest.fixture
def model(pretend):
    coarse = torch.rand(1, 4, 8, 12, generator=torch.Generator().manual_seed(3))
    fine = torch.nn.functional.interpolate(coarse, size=(37, 66), mode="bilinear")
    normals = torch.nn.functional.normalize(fine[:, :3] - torch.tensor([0.5, 0.5, -1.2]).view(1, 3, 1, 1), dim=1)
    return pretend(Estimate(0.5 + 9 * fine[:, 3:], Quantity.DISPARITY, normals=normals, axes=Axes.OPENGL))


@EACH
def test_ranges_of_the_old_widgets(node):
    for name, (_, options) in node.INPUT_TYPES()["optional"].items():
        if name in RANGES:
            assert tuple(options.get(key) for key in ("min", "max", "step")) == RANGES[name], name


SHAPES = [
    ((1, 1080, 1920, 3), {}, (1, 512, 910, 3)),
    ((1, 1, 1, 3), {"resolution": 64}, (1, 64, 64, 3)),
    ((1, 300, 20, 4), {"resolution": 64}, (1, 960, 64, 3)),
    ((1, 20, 30, 1), {"resolution": 64}, (1, 64, 96, 3)),
]


@pytest.mark.parametrize(("node", "case"), list(zip(NODES.values(), itertools.cycle(SHAPES), strict=False)), ids=str)
def test_the_short_side_is_the_resolution(node, case, model):
    shape, widgets, expected = case
    (shown,) = node().execute(torch.rand(shape), **widgets)
    assert shown.shape == expected and torch.isfinite(shown).all() and shown.min() >= 0 and shown.max() <= 1


@EACH
def test_an_hdr_image_is_that_of_its_clamped_values(node, model):
    hdr = 4 * torch.rand(1, 64, 96, 3, generator=torch.Generator().manual_seed(2)) - 1
    node().execute(hdr, resolution=64)
    found = model.images
    node().execute(hdr.clamp(0, 1), resolution=64)
    assert torch.equal(found, model.images) and found.min() >= 0 and found.max() <= 1


BAD = [
    *(("resolution", value, "accepted: (whole numbers from )?64 to 16384") for value in (512.5, "512", None)),
    *(("fov", value, "accepted: 0 to 175") for value in (180.0, 365.0)),
]
"""Other values than those beyond the widgets' ends, which `test_refusals.py` asks of every node."""


@pytest.mark.parametrize(
    ("node", "name", "value", "message"),
    [
        pytest.param(node, *bad, id=f"{node_id} {bad[0]} {bad[1]}")
        for node_id, node in NODES.items()
        for bad in BAD
        if bad[0] in node.INPUT_TYPES()["optional"]
    ],
)
def test_a_bad_value_is_named_before_anything_is_loaded(node, name, value, message, model):
    with pytest.raises(ValueError, match=f"{name} is .*{message}"):
        node().execute(torch.rand(1, 64, 64, 3), **{name: value})
    assert not model.asked


@pytest.mark.parametrize("node", [node for node in NODES.values() if node is not depth_maps.MidasNormalMap])
def test_what_is_masked_is_black(node, model):
    mask = torch.ones(1, 1, 37, 66, dtype=torch.bool)
    mask[..., :18, :] = False
    model.found = replace(model.found, mask=mask)
    (shown,) = node().execute(torch.rand(1, 64, 114, 3), resolution=64)
    assert (shown[:, :30] == 0).all() and shown[:, 34:].amax() > 0.5


@EACH
def test_a_constant_depth_is_a_constant_finite_image(node, model):
    facing = torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1).expand(1, 3, 37, 66)
    model.found = Estimate(torch.full((1, 1, 37, 66), 3.0), Quantity.DISPARITY, normals=facing, axes=Axes.OPENGL)
    (shown,) = node().execute(torch.rand(1, 64, 114, 3), resolution=64)
    assert torch.isfinite(shown).all() and torch.allclose(shown, shown[:, :1, :1], atol=1e-6)


AT_THE_RESOLUTION = (
    "MiDaS-NormalMapPreprocessor",
    "MiDaS-DepthMapPreprocessor",
    "BAE-NormalMapPreprocessor",
    "DSINE-NormalMapPreprocessor",
)


@pytest.mark.quick_cases(4)
@pytest.mark.parametrize("node_id", NODES)
def test_the_network_runs_at_its_authors_size_or_at_the_resolution_as_in_the_old_pack(node_id, model):
    for widgets in ({}, {"resolution": 1024}):
        NODES[node_id]().execute(torch.rand(1, 64, 96, 3), **widgets)
    assert model.sizes == ([512, 1024] if node_id.startswith(AT_THE_RESOLUTION) else [None, None])
    if "network_size" in NODES[node_id].INPUT_TYPES()["optional"]:
        NODES[node_id]().execute(torch.rand(1, 64, 96, 3), network_size=700)
        assert model.sizes[2] == 700


@pytest.mark.quick_cases(8)
@EACH_CHOICE
def test_each_choice_is_its_own_model(node_id, widgets, model_id, model):
    NODES[node_id]().execute(torch.rand(1, 64, 96, 3), resolution=64, precision="bfloat16", **widgets)
    assert model.asked == [(model_id, "bfloat16")]


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("ckpts")


@pytest.mark.quick_cases(1)
@EACH_CHOICE
def test_every_file_loads_by_its_name_and_gives_images(node_id, widgets, model_id, folder, monkeypatch, caplog):
    tiny = tiny_depth if MODELS[model_id].family in tiny_depth.FAMILIES else tiny_old_nodes
    spec = tiny.shrunk(MODELS[model_id])
    path = folder / spec.file.name if tiny is tiny_depth else folder / spec.file.repo_id / spec.file.filename
    if not path.exists():
        tiny.write_file(spec, path) if tiny is tiny_depth else tiny.write_files(spec, folder)
    for name in ("DEPTH_NORMAL_HOME", "AUX_ANNOTATOR_CKPTS_PATH"):
        monkeypatch.setenv(name, str(folder))
    monkeypatch.setitem(MODELS, model_id, spec)
    tiny_old_nodes.shrink_encoder({"bae": bae, "dsine": dsine, "efficientnet": efficientnet}, monkeypatch.setattr)
    caplog.set_level("INFO", logger="depth_normal")
    widgets = {"resolution": 64, "network_size": 56 if tiny is tiny_depth else 64, "precision": "float32", **widgets}
    images = torch.rand(2, 56, 40, 3, generator=torch.Generator().manual_seed(0))
    (shown,) = NODES[node_id]().execute(images, **widgets)
    assert shown.shape == (2, 90, 64, 3) and shown.dtype == torch.float32 and torch.isfinite(shown).all()
    assert shown.amin() >= 0 and shown.amax() <= 1 and shown.unique().numel() > 512, "finer than 256 levels"
    if tiny is tiny_depth:
        assert shown.amin() < 0.1 and shown.amax() > 0.9
    assert f"loading {model_id} from {path}" in caplog.text
    assert "the tensors of" not in caplog.text, "the published name raises a doubt"
    (again,) = NODES[node_id]().execute(images, **widgets)
    assert torch.equal(again, shown) and caplog.text.count(f"loading {model_id}") == 1, "read once"
    (alone,) = NODES[node_id]().execute(images[1:], **widgets)
    assert (alone - shown[1:]).abs().max() < 1e-4
