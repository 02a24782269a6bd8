import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from depth_normal.annotators.depth_anything import CANONICAL_FOCAL_LENGTH
from depth_normal.annotators.registry import FAMILIES, find_spec
from depth_normal.geometry.camera import DEFAULT_FOV, intrinsics_from_fov
from depth_normal.geometry.estimate import Estimate, Quantity

HEIGHT, WIDTH = 42, 56


def depth(value=2.0):
    return torch.full((2, 1, HEIGHT, WIDTH), value)


def assumed():
    """What Depth Anything 3's metric network gives: metres of a camera of the default field of view."""
    return Estimate(depth(), Quantity.METRIC_DEPTH, intrinsics=intrinsics_from_fov(DEFAULT_FOV, HEIGHT, WIDTH, batch=2))


def with_fov(estimate, fov, height, width, model="depth-anything-3-metric-large"):
    """What a model says of images of a size, if its network gives `estimate` of them."""
    spec = find_spec(model)
    annotator = FAMILIES[spec.family](spec, nn.Identity())
    annotator.infer = lambda request: estimate
    return annotator.estimate(torch.zeros(estimate.batch, 3, height, width), fov=fov)


def half_tangent(degrees):
    return math.tan(math.radians(degrees / 2))


def test_the_authors_rule_holds_where_the_networks_sides_are_rounded():
    """Metres are the output times the mean of the two focal lengths, in pixels of the network's input, over 300."""
    height, width, fov = 333, 512, 40.0
    output = 1.5
    focal = intrinsics_from_fov(DEFAULT_FOV, HEIGHT, WIDTH)[0, 0, 0]
    given = Estimate(
        depth(output * float(focal) / CANONICAL_FOCAL_LENGTH),
        Quantity.METRIC_DEPTH,
        intrinsics=intrinsics_from_fov(DEFAULT_FOV, HEIGHT, WIDTH, batch=2),
    )
    in_image = width / 2 / half_tangent(fov)
    mean = (in_image * WIDTH / width + in_image * HEIGHT / height) / 2
    found = with_fov(given, fov, height, width)
    assert found.depth[0, 0, 0, 0] == pytest.approx(output * mean / 300, rel=1e-5)
    back = found.resized(height, width).intrinsics
    torch.testing.assert_close(back, intrinsics_from_fov(fov, height, width, batch=2), rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize(
    ("model", "estimate"),
    [
        ("zoedepth-nyu", Estimate(depth(), Quantity.METRIC_DEPTH)),
        ("zoedepth-nyu", assumed()),
        ("midas-dpt-hybrid", Estimate(depth(), Quantity.DISPARITY)),
        ("depth-anything-3-small", assumed()),
        ("depth-anything-3-mono-large", replace(assumed(), quantity=Quantity.RELATIVE_DEPTH)),
    ],
    ids=["metres of no camera", "metres that do not follow from the camera", "disparity", "depth up to scale", "relative depth"],
)
def test_other_depth_stays_and_the_camera_is_noted(model, estimate):
    found = with_fov(estimate, 40.0, HEIGHT, WIDTH, model)
    assert torch.equal(found.depth, estimate.depth) and found.quantity is estimate.quantity
    torch.testing.assert_close(found.intrinsics, intrinsics_from_fov(40.0, HEIGHT, WIDTH, batch=2))


def test_not_known_changes_nothing():
    estimate = assumed()
    found = with_fov(estimate, 0.0, HEIGHT, WIDTH)
    assert torch.equal(found.depth, estimate.depth) and found.intrinsics is estimate.intrinsics


@pytest.mark.parametrize("fov", [-1.0, 180.0, math.nan, math.inf])
def test_what_is_no_angle_is_named(fov):
    with pytest.raises(ValueError, match="field of view"):
        with_fov(assumed(), fov, HEIGHT, WIDTH)
