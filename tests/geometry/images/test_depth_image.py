import pytest
import torch

from depth_normal.geometry.effects.depths import known_depths
from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.geometry.images.depth_image import DepthCoding, depth_map_to_estimate, image_to_depth, joined_maps
from depth_normal.geometry.images.render import depth_to_image
from depth_normal.geometry.regions.sky import predicted_sky
from tests.refusals import refuses

LEVELS = torch.tensor([0.0, 0.25, 1.0]).view(1, 1, 1, 3)


@pytest.mark.parametrize(
    ("options", "expected", "quantity"),
    [
        ({}, [0, 0.25, 1], Quantity.DISPARITY),
        ({"near": "black"}, [1, 0.75, 0], Quantity.DISPARITY),
        ({"linear_in": "depth"}, [1, 0.75, 0], Quantity.RELATIVE_DEPTH),
        ({"linear_in": "depth", "near": "black"}, [0, 0.25, 1], Quantity.RELATIVE_DEPTH),
        ({"linear_in": "depth", "near": "black", "metric_range": (0, 65.535)}, [0, 65.535 / 4, 65.535], Quantity.METRIC_DEPTH),
        ({"linear_in": "depth", "metric_range": (2, 10)}, [10, 8, 2], Quantity.METRIC_DEPTH),
        ({"metric_range": (2, 10)}, [10, 5, 2], Quantity.METRIC_DEPTH),
        ({"near": "black", "metric_range": (2, 10)}, [2, 2.5, 10], Quantity.METRIC_DEPTH),
    ],
)
def test_levels(options, expected, quantity):
    depth, found = image_to_depth(LEVELS, **options)
    assert found is quantity
    assert torch.allclose(depth.flatten(), torch.tensor(expected, dtype=torch.float32), atol=1e-5)


@pytest.mark.parametrize("near", ["white", "black"])
@pytest.mark.parametrize("linear_in", ["disparity", "depth"])
def test_what_was_rendered_in_a_fixed_range_comes_back(near, linear_in):
    depth = torch.rand(2, 1, 5, 7, generator=torch.Generator().manual_seed(0)) * 8 + 1
    image = depth_to_image(
        depth, "metric_depth", near=near, normalisation="fixed", value_range=(1.0, 9.0), as_disparity=linear_in == "disparity"
    )
    back, _ = image_to_depth(image, near=near, linear_in=linear_in, metric_range=(1.0, 9.0))
    assert torch.allclose(back, depth, rtol=1e-4)


test_bad_choices_are_named = refuses(
    lambda options: image_to_depth(LEVELS, **options),
    ({"metric_range": (0, 5)}, "begins at 0 m"),
    ({"metric_range": (5, 5)}, "expected 0 <= near < far"),
    ({"metric_range": (1, float("inf"))}, "expected 0 <= near < far"),
    ({"near": "grey"}, "accepted: white, black"),
    ({"linear_in": "metres"}, "disparity, depth"),
)


def maps(*levels, channels=3):
    return torch.tensor(levels).view(-1, 1, 1, 2).expand(-1, channels, 4, 2).contiguous()


def with_alpha(image, alpha):
    return torch.cat((image, torch.tensor(alpha).view(1, 1, 1, -1).expand(len(image), 1, *image.shape[-2:])), 1)


COLOURED = torch.stack((maps((0.1, 0.9))[0], torch.tensor((0.9, 0.2, 0.1)).view(3, 1, 1).expand(3, 4, 2)))


test_what_is_no_depth_map_is_named = refuses(
    lambda image, coding: depth_map_to_estimate(image, DepthCoding(**coding)),
    (COLOURED, {}, r"the depth map is coloured \(its channels differ by 0\.80 on average\).*a normal map is read as one"),
    (maps((0.5, 7.25)), {}, r"go from 0\.5 to 7\.25, grey levels from 0 to 1; if they are metres, "),
    (maps((0.0, 255.0)), {}, r"go from 0 to 255, grey levels"),
    (maps((0.5, 0.75)), {"quantity": Quantity.METRIC_DEPTH}, r"lie within 0\.\.1, as an image's grey levels do"),
    (maps((0.5, 0.75)), {"values": "metres"}, r"lie within 0\.\.1"),
    (with_alpha(maps((0.5, 0.75)), (0.0, 0.4)), {}, r"no pixel with a value: all are transparent"),
)


def test_what_is_transparent_is_unknown_and_no_sky():
    """Not the nearest, as white would be, nor what a network masks because it is far."""
    stored = depth_map_to_estimate(with_alpha(maps((0.0, 0.4)), (0.3, 1.0)))
    assert stored.mask is not None and stored.mask[0, 0, 0].tolist() == [False, True]
    joined = joined_maps(stored, None, 4, 2)
    assert joined.mask is None and joined.depth_valid[0, 0, 0].tolist() == [False, True] and not predicted_sky(joined).any()
    assert known_depths(joined).hole[0, 0, 0].tolist() == [True, False]
    facing = Estimate(normals=torch.tensor((0.0, 0.0, 1.0)).view(1, 3, 1, 1).expand(1, 3, 4, 2))
    both = joined_maps(stored, facing, 4, 2)
    assert both.normals_valid.all() and both.depth_valid[0, 0, 0].tolist() == [False, True], "each map has its own holes"


def test_the_same_everywhere_is_worth_a_word(caplog):
    depth_map_to_estimate(maps((1.0, 1.0)))
    assert "the depth map is 1 everywhere" in caplog.text


@pytest.mark.parametrize(
    ("levels", "near", "noted"),
    [
        ((700, 4001), "white", True),
        ((700, 4001), "black", False),
        ((700, 40001), "white", False),
        ((257, 514), "white", False),
        ((700.4, 4001), "white", False),
    ],
)
def test_levels_as_of_a_depth_camera_are_worth_a_note(caplog, levels, near, noted):
    depth_map_to_estimate(maps([level / 65535 for level in levels]), DepthCoding(near, if_sensor="name millimetres"))
    assert ("end at 4001 of 65535" in caplog.text and "name millimetres" in caplog.text) == noted


@pytest.mark.parametrize(
    ("quantity", "values"),
    [(Quantity.METRIC_DEPTH, (2.0, 7.0)), (Quantity.DISPARITY, (0.0, 30.0)), (Quantity.RELATIVE_DEPTH, (-3.0, 1e10))],
)
def test_numbers_are_what_they_are_said_to_be(quantity, values):
    found = depth_map_to_estimate(maps(values, channels=1), DepthCoding(quantity=quantity))
    assert found.quantity is quantity and torch.allclose(found.depth[0, 0, 0], torch.tensor(values))
    assert (found.mask is not None) == (values[1] > 1e9), "what is infinitely far is unknown"
