"""Stereo 3D as ComfyUI calls it: contract, plain images of any pack, raw geometry, videos, errors."""

import inspect

import pytest
import torch

from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.geometry.views.stereo import LAYOUTS
from depth_normal.nodes.stereo import NODES, Stereo

SIZE = 64


def make_image(batch=1):
    return torch.rand(batch, SIZE, SIZE, 3, generator=torch.Generator().manual_seed(0))


def square(level=1.0):
    """A near square before a far wall, near = white."""
    image = torch.zeros(1, SIZE, SIZE, 3)
    image[:, 20:44, 20:44] = level
    return image


@pytest.mark.parametrize("node", NODES)
def test_contract(node):
    inputs = node.INPUT_TYPES()
    assert node.NODE_ID == "DepthNormal_Stereo" and node.CATEGORY.startswith("Depth & Normals/") and node.RETURN_TYPES == ("IMAGE", "MASK")
    assert node.DESCRIPTION and {"sbs", "3d", "anaglyph", "vr"} <= set(node.SEARCH_ALIASES) and len(node.OUTPUT_TOOLTIPS) == 2
    widgets = {**inputs["required"], **inputs["optional"]}
    assert all(options[1].get("tooltip") for options in widgets.values())
    assert [widgets[name][0] for name in ("image", "depth", "geometry")] == ["IMAGE", "IMAGE", "DEPTH_NORMAL_GEOMETRY"]
    defaults = {name: parameter.default for name, parameter in inspect.signature(node.execute).parameters.items()}
    assert {**defaults, **{name: options[1]["default"] for name, options in widgets.items() if "default" in options[1]}} == defaults
    assert list(defaults)[1:] == [*inputs["required"], *inputs["optional"]]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_with_its_mask(layout):
    stereo, holes = Stereo().execute(make_image(2), layout, 6.0, depth=square())
    assert stereo.shape[0] == 2 and stereo.shape[:3] == holes.shape and stereo.shape[3] == 3
    assert stereo.min() >= 0 and stereo.max() <= 1 and 0 < holes.mean() < 0.2 and holes.max() == 1


def test_the_square_comes_out_of_the_screen():
    """5 % of 64 columns are 3.2; with the wall on the screen the left eye, alone, sees the square that much farther to the right."""
    image = torch.zeros(1, SIZE, SIZE, 3)
    image[:, 20:44, 20:44] = 1
    stereo, _ = Stereo().execute(image, "full-sbs", 5.0, 0.0, "right", depth=square())
    left, right = stereo[0, 32, :SIZE, 0], stereo[0, 32, SIZE:, 0]
    columns = torch.arange(float(SIZE))
    assert torch.equal(right, image[0, 32, :, 0])
    assert float((left * columns).sum() / left.sum() - (right * columns).sum() / right.sum()) == pytest.approx(3.2, abs=0.5)


def test_geometry_goes_before_the_depth_image_and_depth_0_is_the_image():
    wall = Estimate(torch.ones(1, 1, 9, 9), Quantity.METRIC_DEPTH)
    stereo, holes = Stereo().execute(make_image(), depth=square(), geometry=wall)
    assert (stereo - torch.cat((make_image(), make_image()), 2)).abs().max() < 1e-3 and not holes.any()
    stereo, _ = Stereo().execute(make_image(), divergence=0.0, depth=square())
    assert torch.equal(stereo, torch.cat((make_image(), make_image()), 2))


def test_one_range_for_a_clip_holds_the_wall_still():
    frames, depth = make_image().expand(2, -1, -1, -1), torch.cat((square(0.5), square(1.0)))
    for normalisation, still in (("per_clip", True), ("per_image", False)):
        stereo, _ = Stereo().execute(frames, "anaglyph", 6.0, 0.5, normalisation=normalisation, depth=depth)
        assert torch.allclose(stereo[0, 30:34, 30:34], stereo[1, 30:34, 30:34], atol=1e-4) != still


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({}, "there is no depth: link a depth image"),
        ({"depth": square(), "layout": "sbs"}, "accepted: full-sbs"),
        ({"depth": square(), "normalisation": "fixed"}, "accepted: per_image, per_clip"),
        ({"depth": square(), "divergence": 30.0}, "divergence is 30.0; accepted: 0 to 20"),
        ({"depth": square(), "original": "both"}, "accepted: middle"),
        ({"geometry": Estimate(normals=torch.ones(1, 3, 4, 4))}, "normals but no depth"),
    ],
)
def test_bad_input_is_named(bad, message):
    with pytest.raises(ValueError, match=message):
        Stereo().execute(make_image(), **bad)
