import importlib.util
import math

import numpy as np
import pytest
import torch

from depth_normal.geometry.conventions import encode_normal_map
from depth_normal.geometry.estimate import Axes, Quantity
from depth_normal.geometry.images.render import (
    colourise,
    depth_to_image,
    heat_colours,
    heat_map,
    heat_map_end,
    normalise_per_image,
    normals_to_image,
)
from depth_normal.options.map_images import COLOUR_MAPS
from tests.refusals import refuses

METRES = torch.tensor([1.0, 2.0, 4.0, 5.0]).view(1, 1, 2, 2)


def levels(image):
    return image.flatten().tolist()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [1, 0.75, 0.25, 0]),
        ({"quantity": "metric_depth"}, [1, 0.75, 0.25, 0]),
        ({"quantity": Quantity.RELATIVE_DEPTH}, [1, 0.75, 0.25, 0]),
        ({"quantity": Quantity.DISPARITY}, [0, 0.25, 0.75, 1]),
        ({"near": "black"}, [0, 0.25, 0.75, 1]),
        ({"as_disparity": True}, [1, 0.375, 0.0625, 0]),
        ({"normalisation": "fixed", "value_range": (2, 4)}, [1, 1, 0, 0]),
        ({"normalisation": "fixed", "value_range": (2, 4), "as_disparity": True}, [1, 1, 0, 0]),
    ],
)
def test_which_end_is_white_and_what_the_range_is(options, expected):
    assert levels(depth_to_image(METRES, **{"quantity": Quantity.METRIC_DEPTH, **options})) == pytest.approx(expected)


def test_per_image_and_per_clip_ranges_differ():
    clip = torch.cat((METRES, METRES + 4))
    per_image = depth_to_image(clip, Quantity.METRIC_DEPTH)
    torch.testing.assert_close(per_image[0], per_image[1])
    per_clip = depth_to_image(clip, Quantity.METRIC_DEPTH, normalisation="per_clip")
    assert levels(per_clip) == pytest.approx([1, 7 / 8, 5 / 8, 4 / 8, 4 / 8, 3 / 8, 1 / 8, 0])


def test_percentiles_are_those_of_the_depth_as_in_zoe():
    depth = torch.rand(2, 1, 40, 50, generator=torch.Generator().manual_seed(0)) * 10 + 1
    image = depth_to_image(depth, Quantity.METRIC_DEPTH, percentiles=(2, 85))
    for shown, values in zip(image, depth, strict=True):
        low, high = torch.quantile(values, torch.tensor([0.02, 0.85]))
        torch.testing.assert_close(shown, 1 - ((values - low) / (high - low)).clamp(0, 1))


@pytest.mark.parametrize("percentiles", [(0, 100), (10, 90)])
def test_masked_pixels_are_black_and_count_for_nothing(percentiles):
    mask = torch.tensor([True, True, True, False]).view(1, 1, 2, 2)
    depth = METRES.clone()
    depth[..., 1, 1] = 1e9
    reference = depth_to_image(depth.flatten(2)[..., :3].view(1, 1, 1, 3), Quantity.METRIC_DEPTH, percentiles=percentiles)
    assert levels(depth_to_image(depth, Quantity.METRIC_DEPTH, mask=mask, percentiles=percentiles)) == [*levels(reference), 0]
    nothing = torch.zeros_like(mask)
    assert not depth_to_image(METRES, Quantity.METRIC_DEPTH, mask=nothing, percentiles=percentiles, near="black").any()


@pytest.mark.parametrize("hole", [float("nan"), float("inf"), 0.0, -1.0])
@pytest.mark.parametrize("near", ["white", "black"])
@pytest.mark.parametrize("as_disparity", [False, True])
def test_holes_of_metric_depth_are_black(hole, near, as_disparity):
    depth = torch.tensor([1.0, 2.0, hole]).view(1, 1, 1, 3).requires_grad_()
    expected = [1, 0, 0] if near == "white" else [0, 1, 0]
    image = depth_to_image(depth, Quantity.METRIC_DEPTH, near=near, as_disparity=as_disparity)
    image.sum().backward()
    assert levels(image.detach()) == expected and depth.grad.isfinite().all()


@pytest.mark.parametrize("quantity", list(Quantity))
@pytest.mark.parametrize("percentiles", [(0, 100), (5, 95)])
@pytest.mark.parametrize("value", [0.0, 3.0, 1e38, float("nan")])
def test_a_constant_gives_a_constant(quantity, percentiles, value):
    image = depth_to_image(torch.full((2, 1, 3, 3), value), quantity, percentiles=percentiles)
    assert torch.equal(image, torch.zeros(2, 1, 3, 3))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([[1.0, 2, 4, 5], [-7.0, -14, -28, -35], [2.0] * 4], [[0, 0.25, 0.75, 1], [1, 0.75, 0.25, 0], [0] * 4]),
        ([[1.0, 3.0, math.nan, math.inf, 2.0]], [[0, 1, 0, 1, 0.5]]),
        ([[-3e38, 0.0, 3e38]], [[0, 0.5, 1]]),
    ],
)
def test_normalising_spans_zero_to_one_image_by_image(values, expected):
    assert normalise_per_image(torch.tensor(values)[:, None, None]).squeeze((1, 2)).numpy() == pytest.approx(np.array(expected))


@pytest.mark.skipif(importlib.util.find_spec("matplotlib") is None, reason="matplotlib, the oracle, is not installed")
@pytest.mark.parametrize(("name", "published"), [("turbo", "turbo"), ("inferno", "inferno"), ("spectral", "Spectral")])
def test_colour_maps_are_the_published_ones(name, published):
    from matplotlib import colormaps

    grey = torch.linspace(0, 1, 256).view(1, 1, 1, -1)
    table = torch.from_numpy(colormaps[published](range(256))[:, :3]).float()
    torch.testing.assert_close(colourise(grey, name)[0, :, 0].T, table, atol=2 / 255, rtol=0)


@pytest.mark.parametrize("name", COLOUR_MAPS)
def test_coloured_depth_is_black_where_masked(name):
    mask = torch.tensor([True, True, True, False]).view(1, 1, 2, 2)
    image = depth_to_image(METRES, Quantity.METRIC_DEPTH, colour_map=name, mask=mask)
    assert image.shape == (1, 3, 2, 2) and image[0, :, 1, 1].tolist() == [0, 0, 0]
    torch.testing.assert_close(image[..., 0, 0], colourise(torch.ones(1, 1, 1, 1), name)[..., 0, 0])


@pytest.mark.parametrize("missing", [math.nan, math.inf, 0.0, None])
def test_the_normal_image_is_the_encoded_map_and_black_where_masked_or_without_a_direction(missing):
    normals = torch.tensor([[0.0, 0.6, 0.8], [1.0 if missing is None else missing] * 3]).T.reshape(1, 3, 1, 2).contiguous()
    mask = torch.tensor([True, False]).view(1, 1, 1, 2) if missing is None else None
    shown = normals_to_image(normals, "scannet", Axes.OPENGL, mask)
    assert torch.equal(shown[..., :1], encode_normal_map(normals[..., :1], "scannet")) and not shown[..., 1:].any()


test_what_makes_no_sense_is_refused = refuses(
    lambda options: depth_to_image(**{"depth": METRES, "quantity": Quantity.METRIC_DEPTH, **options}),
    ({"near": "grey"}, "grey"),
    ({"normalisation": "per_video"}, "per_video"),
    ({"percentiles": (90, 10)}, "percentiles"),
    ({"percentiles": (-1, 101)}, "percentiles"),
    ({"normalisation": "fixed"}, "value_range"),
    ({"value_range": (0, 1)}, "value_range"),
    ({"normalisation": "fixed", "value_range": (4, 2)}, "lower first"),
    ({"normalisation": "fixed", "value_range": (0, 2), "as_disparity": True}, "above 0"),
    ({"colour_map": "jet"}, "jet"),
    ({"quantity": Quantity.DISPARITY, "as_disparity": True}, "disparity"),
    ({"quantity": "feet"}, "feet"),
    ({"mask": torch.ones(1, 1, 2, 2)}, "torch.bool"),
    ({"depth": torch.ones(1, 3, 2, 2)}, r"\(1, 3, 2, 2\)"),
)


@pytest.mark.parametrize(("signed", "values"), [(False, [0.0, 5, 10, 99, math.nan]), (True, [-10.0, 0, 10, 99, math.nan])])
def test_heat_reaches_from_the_first_to_the_last_and_is_grey_where_it_is_not_known(signed, values):
    colours = [torch.tensor(list(bytes.fromhex(code))) / 255 for code in heat_colours(signed)]
    expected = [colours[0], colours[len(colours) // 2], colours[-1], colours[-1], torch.full((3,), 0.5)]
    torch.testing.assert_close(heat_map(torch.tensor(values).view(1, 1, 1, 5), 10, signed)[0, :, 0].T, torch.stack(expected))


@pytest.mark.parametrize(
    ("values", "end"), [([0.0] * 20, 1), ([-4.0] * 19 + [90], 5), ([9.0] * 10 + [11] * 10, 15), ([math.nan], 1), ([1000.0], 180)]
)
def test_the_end_of_heat_is_round_and_above_nearly_all(values, end):
    assert heat_map_end(torch.tensor(values)) == end
