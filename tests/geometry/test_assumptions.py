"""What is assumed of depth: its zero, its unit, the sky."""

import math

import pytest
import torch

from depth_normal.geometry.assumptions import assumed_depth, assumed_intrinsics, filled_depth
from depth_normal.geometry.camera import intrinsics_from_fov
from depth_normal.geometry.estimate import Estimate, Quantity


def ground():
    """Disparity that grows to the bottom and to the right: only a corner is as far as anything gets, which is no sky."""
    return torch.linspace(100, 1000, 120).view(1, 1, -1, 1) + torch.linspace(0, 300, 160)


def depth(disparity, ratio=None, mask=None):
    return assumed_depth(Estimate(disparity, Quantity.DISPARITY, mask=mask), ratio)


def test_the_ratio_is_that_of_the_far_end_to_the_near_end():
    relative = Estimate(ground() * -7 - 40, Quantity.RELATIVE_DEPTH)
    for found, ratio in ((depth(ground()), 3), (assumed_depth(relative, 5.0), 5)):
        far, near = (torch.quantile(found, share) for share in (0.98, 0.02))
        assert far / near == pytest.approx(ratio, rel=1e-2) and near == pytest.approx(1, rel=1e-2)


@pytest.mark.parametrize(("masked", "is_far", "ratio"), [(True, True, 10.0), (False, True, 10.0), (True, False, 3.0)])
def test_sky_at_the_top_asks_for_a_large_ratio_masked_or_not(masked, is_far, ratio):
    disparity, below = ground(), torch.ones(1, 1, 120, 160, dtype=torch.bool)
    disparity[..., :30, :] = 0 if is_far else disparity.mean()
    below[..., :30, :] = False
    mask = below if masked else None
    same = [torch.equal(depth(disparity, mask=mask)[below], depth(disparity, each, mask)[below]) for each in (ratio, 13 - ratio)]
    assert same == [True, False]


def test_a_network_that_masks_nothing_says_that_there_is_no_sky():
    disparity = ground()
    disparity[..., :30, :] = 0
    nothing = torch.ones(2, 1, 120, 160, dtype=torch.bool)
    nothing[1, :, :30] = False
    both = depth(torch.cat((disparity, disparity)), mask=nothing)
    assert torch.equal(both[:1], depth(disparity, 3.0))
    assert torch.equal(both[1:, :, 30:], depth(disparity, 10.0, nothing[1:])[:, :, 30:])


def test_what_does_not_count_is_nan_and_changes_nothing():
    metres = torch.tensor([1.0, 0.0, math.nan, 2.0]).view(1, 1, 2, 2)
    mask = torch.tensor([True, True, True, False]).view(1, 1, 2, 2)
    likely = assumed_depth(Estimate(metres, Quantity.METRIC_DEPTH, mask=mask))
    assert likely[0, 0, 0, 0] == 1 and torch.isnan(likely.flatten()[1:]).all()
    holes = ground()
    holes[..., 50:, :40] = math.nan
    assert torch.isnan(depth(holes)).sum() == 70 * 40
    nothing = torch.zeros(1, 1, 2, 2, dtype=torch.bool)
    for quantity in Quantity:
        assert torch.isnan(assumed_depth(Estimate(metres, quantity, mask=nothing), 2.0)).all()


def test_the_camera_asked_for_wins_over_the_known_and_that_over_the_assumed():
    camera = torch.tensor([[[50.0, 0, 9], [0, 50, 9], [0, 0, 1]]])
    known = Estimate(torch.ones(1, 1, 20, 20), Quantity.METRIC_DEPTH, intrinsics=camera)
    assert torch.equal(assumed_intrinsics(known), camera)
    assert float(assumed_intrinsics(known, 90)[0, 0, 0]) == pytest.approx(10)
    unknown = Estimate(torch.ones(1, 1, 20, 20), Quantity.METRIC_DEPTH)
    assert float(assumed_intrinsics(unknown)[0, 0, 0]) == pytest.approx(10 / math.tan(math.radians(27.5)))


@pytest.mark.parametrize("ratio", [1.0, 0.5, -2.0])
def test_a_ratio_that_is_not_above_1_is_refused(ratio):
    with pytest.raises(ValueError, match="above 1"):
        depth(ground(), ratio)


def test_filled_depth_has_a_near_end_of_1_whatever_the_unit():
    metres = torch.linspace(2, 10, 60 * 100).view(1, 1, 60, 100)
    known = filled_depth(Estimate(depth=metres, quantity=Quantity.METRIC_DEPTH))
    in_millimetres = filled_depth(Estimate(depth=metres * 1000, quantity=Quantity.METRIC_DEPTH))
    assert (known - metres / 2.16).abs().max() < 2e-3 and torch.allclose(known, in_millimetres, rtol=1e-4), "2 + 2 % of 8"
    metres[..., :3, :] = float("nan")
    mask = torch.ones_like(metres, dtype=torch.bool)
    mask[..., -1, :] = False
    holes = filled_depth(Estimate(depth=metres, quantity=Quantity.METRIC_DEPTH, mask=mask))
    assert torch.isfinite(holes).all() and (holes[..., :3, :] == holes.max()).all() and (holes[..., -1, :] == holes.max()).all()
    absurd = torch.tensor([1e-30, 1e-25, 1.0, 1e30]).view(1, 1, 2, 2)
    assert filled_depth(Estimate(depth=absurd, quantity=Quantity.METRIC_DEPTH)).max() == 1e6
    nothing = filled_depth(Estimate(depth=metres, quantity=Quantity.METRIC_DEPTH, mask=torch.zeros_like(mask)))
    assert (nothing == 1).all()
    for quantity in (Quantity.DISPARITY, Quantity.RELATIVE_DEPTH):
        depth = filled_depth(Estimate(depth=torch.rand(2, 1, 30, 40) * 50 - 7, quantity=quantity))
        assert 0.5 <= depth.min() <= 1 and 2.5 < depth.max() < 50
    for quantity in Quantity:
        half = Estimate(metres.half(), quantity)
        assert torch.equal(filled_depth(half), filled_depth(half.in_float32())), "half precision ends before a million"


@pytest.mark.parametrize("fov", [0.0, 70.0])
def test_the_camera_of_another_size_is_that_of_the_resized_estimate(fov):
    for camera in (None, intrinsics_from_fov(40.0, 24, 32)):
        estimate = Estimate(torch.ones(1, 1, 24, 32), Quantity.METRIC_DEPTH, intrinsics=camera)
        assert torch.equal(assumed_intrinsics(estimate, fov, (50, 64)), assumed_intrinsics(estimate.resized(50, 64), fov))
