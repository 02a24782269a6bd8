"""Colours decide where a network is unsure of the sky, beside the sky and the land of which it is sure."""

import pytest
import torch

from depth_normal.annotators.detail import sky_by_colours, with_clouds

HEIGHT, WIDTH = 256, 320
ROWS = torch.arange(HEIGHT).view(1, 1, -1, 1).expand(1, 1, HEIGHT, WIDTH)
SKY, UNSURE, LAND = ROWS < 100, (ROWS >= 100) & (ROWS < 140), ROWS >= 140
BLUE, DARK = (torch.tensor(each).view(1, 3, 1, 1) for each in ((0.5, 0.65, 0.85), (0.25, 0.22, 0.15)))


def shares(unsure):
    return torch.where(SKY, 0.95, torch.where(UNSURE, unsure, 0.02))


def image(unsure):
    noise = 0.03 * torch.randn(1, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))
    return (torch.where(SKY, BLUE, torch.where(UNSURE, unsure, DARK)) + noise).clamp(0, 1)


def test_what_looks_like_the_sky_is_sky():
    found = sky_by_colours(shares(0.4), image(BLUE))
    assert (found > 0.5)[UNSURE].float().mean() > 0.95
    assert (found > 0.5)[SKY].all() and (found < 0.1)[LAND].all()


def test_what_looks_like_the_land_is_none():
    found = sky_by_colours(shares(0.7), image(DARK))
    assert (found < 0.5)[UNSURE].float().mean() > 0.95
    assert (found > 0.5)[SKY].all()


@pytest.mark.parametrize("share", [0.05, 0.95])
def test_the_network_is_believed_where_it_is_sure(share):
    found = sky_by_colours(shares(share), image(DARK if share > 0.5 else BLUE))
    assert ((found > 0.5) == (share > 0.5))[UNSURE].all()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 1.0])
def test_without_the_other_side_nothing_changes(share):
    even = torch.full((2, 1, 40, 56), share)
    assert torch.equal(sky_by_colours(even, torch.rand(2, 3, 90, 120)), even)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_any_precision(dtype):
    share = shares(0.3)
    expected, found = sky_by_colours(share, image(BLUE)), sky_by_colours(share.to(dtype), image(BLUE).to(dtype))
    assert found.dtype == dtype and (found.float() - expected).abs().mean() < 0.01


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (5, 300)])
def test_any_size(size):
    found = sky_by_colours(torch.rand(2, 1, *size), torch.rand(2, 3, 17, 11))
    assert found.shape == (2, 1, *size) and ((found >= 0) & (found <= 1)).all()


def boxes(*sides):
    """(1, 1, H, W) bool: rectangles of rows and columns, and land from row 200 on."""
    found = torch.zeros(1, 1, HEIGHT, WIDTH, dtype=torch.bool)
    found[..., 200:, :] = True
    for top, bottom, left, right in sides:
        found[..., top:bottom, left:right] = True
    return found


CLOUD, BIRD, TWIG, TOWER = (30, 50, 40, 120), (30, 60, 200, 240), (100, 102, 0, 90), (120, 200, 250, 270)


def test_a_cloud_of_which_the_network_is_unsure_is_sky_and_what_else_is_before_it_is_none():
    sky = ~boxes(CLOUD, BIRD, TWIG, TOWER)
    share = torch.where(sky, 0.9, 0.3)
    share[..., 40:50, 210:220] = share[..., 210:, :] = 0.02
    assert torch.equal(with_clouds(sky, share), ~boxes(BIRD, TWIG, TOWER))
    assert torch.equal(with_clouds(sky, share - 0.25), sky), "nothing is a cloud where the network is sure of all"
