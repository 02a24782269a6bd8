"""What the nodes with ids of ControlNet's preprocessors have in common: ranges, sizes, and what is refused before a model is loaded."""

import itertools
from dataclasses import replace

import pytest
import torch

from depth_normal import NODE_CLASS_MAPPINGS
from depth_normal.geometry.estimate import Axes, Estimate, Quantity
from depth_normal.nodes import midas
from depth_normal.nodes.legacy import LEGACY_CATEGORY

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


@pytest.mark.parametrize(
    ("node", "shape", "widgets", "expected"),
    [
        (node, *case)
        for node, case in zip(
            NODES.values(),
            itertools.cycle(
                [
                    ((1, 1080, 1920, 3), {}, (1, 512, 910, 3)),
                    ((1, 1, 1, 3), {"resolution": 64}, (1, 64, 64, 3)),
                    ((1, 300, 20, 4), {"resolution": 64}, (1, 960, 64, 3)),
                    ((1, 20, 30, 1), {"resolution": 64}, (1, 64, 96, 3)),
                ]
            ),
            strict=False,
        )
    ],
    ids=str,
)
def test_the_short_side_is_the_resolution(node, shape, widgets, expected, model):
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


@pytest.mark.parametrize("node", [node for node in NODES.values() if node is not midas.MidasNormalMap])
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


@pytest.mark.parametrize("node_id", NODES)
def test_the_network_runs_at_its_authors_size_or_at_the_resolution_as_in_the_old_pack(node_id, model):
    for widgets in ({}, {"resolution": 1024}):
        NODES[node_id]().execute(torch.rand(1, 64, 96, 3), **widgets)
    assert model.sizes == ([512, 1024] if node_id.startswith(AT_THE_RESOLUTION) else [None, None])
    if "network_size" in NODES[node_id].INPUT_TYPES()["optional"]:
        NODES[node_id]().execute(torch.rand(1, 64, 96, 3), network_size=700)
        assert model.sizes[2] == 700
