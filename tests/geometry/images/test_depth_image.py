"""Depth images read as numbers."""

import pytest
import torch

from depth_normal.geometry.estimate import Quantity
from depth_normal.geometry.images.depth_image import image_to_depth
from depth_normal.geometry.images.render import depth_to_image

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


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metric_range": (0, 5)}, "begins at 0 m"),
        ({"metric_range": (5, 5)}, "expected 0 <= near < far"),
        ({"metric_range": (1, float("inf"))}, "expected 0 <= near < far"),
        ({"near": "grey"}, "accepted: white, black"),
        ({"linear_in": "metres"}, "disparity, depth"),
    ],
)
def test_bad_choices_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        image_to_depth(LEVELS, **options)
