from dataclasses import replace

import pytest
import torch

from depth_normal.geometry.effects.lens import focused
from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.geometry.regions.before_sky import depth_before_sky, land_before_sky
from depth_normal.geometry.views.parallax import parallax_of_estimate
from depth_normal.geometry.views.stereo import stereo_pair
from depth_normal.options.effects import LensOptions
from depth_normal.options.views import StereoOptions

HEIGHT, WIDTH, FAR, NEAR = 200, 320, 30.0, 2.0
MAST = (..., slice(30, 120), slice(158, 161))
TOWER = (..., slice(90, 200), slice(150, 170))


def photo(cloud=False):
    """A tower with a dark mast on it, before a grainy evening sky that is paler towards the horizon, and land at the horizon."""
    rows = torch.linspace(0, 1, HEIGHT).view(1, 1, -1, 1)
    sky = torch.tensor((0.15, 0.25, 0.5)).view(1, 3, 1, 1) + 0.2 * rows
    image = sky.repeat(1, 1, 1, WIDTH) + 0.008 * torch.randn(1, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))
    if cloud:
        image[..., 60:100, 170:250] = 0.7
    image[..., 170:, :] = 0.2
    image[TOWER] = torch.tensor((0.7, 0.6, 0.5)).view(3, 1, 1)
    image[MAST] = 0.1
    return image.clamp(0, 1)


def seen():
    """Depth and mask as a network gives them: the mast is sky."""
    depth = torch.full((1, 1, HEIGHT, WIDTH), FAR)
    depth[..., 170:, :] = 20.0
    depth[TOWER] = NEAR
    return Estimate(depth, Quantity.METRIC_DEPTH, mask=depth < FAR)


def test_a_mast_before_the_sky_is_as_near_as_its_tower():
    estimate = seen()
    found = depth_before_sky(estimate.depth, photo(), estimate)
    assert found[MAST][..., :58, :].sub(NEAR).abs().max() < 0.05
    others = torch.ones_like(found, dtype=torch.bool)
    others[..., 28:124, 154:165] = False
    others[..., 85:, 145:175] = False
    assert torch.equal(found[others], estimate.depth[others]), "sky and land stay"


def test_a_cloud_that_touches_a_tower_stays_in_the_sky():
    estimate = seen()
    found = depth_before_sky(estimate.depth, photo(cloud=True), estimate)
    assert torch.equal(found[..., 60:100, 176:250], estimate.depth[..., 60:100, 176:250])


def test_roofs_at_the_horizon_that_touch_a_tower_stay_far_away():
    image, estimate = photo(), seen()
    land = estimate.depth.clone()
    land[..., 165:170, :150] = 25.0
    estimate = replace(estimate, depth=land, mask=land < FAR)
    image[..., 167:170, :150] = 0.2
    image[..., 167:169, ::5] = image[..., 160:161, :1]  # between the roofs
    found = depth_before_sky(land, image, estimate)
    assert torch.equal(found[..., 164:170, :140], land[..., 164:170, :140])


def test_nothing_changes_without_a_predicted_sky():
    estimate = seen()
    assert depth_before_sky(estimate.depth, photo(), replace(estimate, mask=None)) is estimate.depth
    whole = torch.ones_like(estimate.mask)
    assert depth_before_sky(estimate.depth, photo(), replace(estimate, mask=whole)) is estimate.depth
    assert torch.equal(depth_before_sky(estimate.depth, photo(), replace(estimate, mask=~whole)), estimate.depth)


@pytest.mark.parametrize("what", ["parallax", "stereo"])
def test_a_mast_moves_with_its_tower(what):
    image, estimate = photo(), seen()
    if what == "parallax":
        moved = next(iter(parallax_of_estimate(image, estimate, torch.tensor([[0.1, 0, 0]]), 0.0)))
    else:
        moved = stereo_pair(image, estimate, StereoOptions(divergence=10.0, convergence=0.0)).right
    columns = torch.arange(WIDTH, dtype=torch.float32)
    is_mast = (moved[0, 2, 40:85] < 0.2).float()  # nothing else there is that dark
    mast = (is_mast * columns).sum(1) / is_mast.sum(1).clamp(min=1)
    is_tower = (moved[0, 0, 130:160] > 0.6).float()
    tower = (is_tower * columns).sum(1) / is_tower.sum(1)
    assert is_mast.sum(1).min() >= 2, "whole"
    assert (159 - mast).min() > 5 and (159 - mast - (159.5 - tower.mean())).abs().max() < 1


def test_a_mast_is_as_sharp_as_its_tower():
    circle = focused(seen(), photo(), LensOptions(point=(0.5, 0.7))).circle
    assert circle[..., 32:85, 159].abs().max() < 0.2 and circle[..., 60, 100] > 5


def test_land_goes_on_where_the_depth_is_the_skys():
    """A tower at 2 before the sky at 30, whose depth fades into it; beside it land at 5 that reaches up to the sky without one."""
    depth = torch.full((1, 1, 200, 300), 30.0)
    depth[..., 60:, 20:80] = 2
    depth[..., 60:, 77:80] = 20
    depth[..., 120:, 80:] = 5
    sky = depth == 30
    land = land_before_sky(depth, sky)
    assert (land[..., 62:90, 22:84] - 2).abs().max() < 0.01, "in the sky beside the tower, and where its depth fades"
    assert (land[..., 100:, 200:] - 5).abs().max() < 0.01 and torch.equal(land[..., 130:, 100:], depth[..., 130:, 100:])
    assert torch.equal(land_before_sky(depth, torch.zeros_like(sky)), depth)
    assert torch.equal(land_before_sky(depth, torch.ones_like(sky)), depth)
