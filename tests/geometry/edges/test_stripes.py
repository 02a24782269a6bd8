"""Stripes along silhouettes: the depth's edge lies at their far end, whatever the middle of its ramp is."""

import pytest
import torch

from depth_normal.geometry.edges import depth_edges
from depth_normal.geometry.edges.depth_edges import depth_at_image_edges
from depth_normal.geometry.filters.box import box_means

HEIGHT, WIDTH, RADIUS = 160, 400, 50.0
NEAR, FAR = 1.0, 0.4
ROWS, COLUMNS = torch.meshgrid(torch.arange(float(HEIGHT)), torch.arange(float(WIDTH)), indexing="ij")
AWAY = torch.hypot(ROWS - HEIGHT / 2, COLUMNS - WIDTH / 2) - RADIUS


def image_of(stripe, width=5, inside=0.62, wall=0.58, grain=0.02):
    """A disc before a wall that looks much like it, with a stripe of that grey along its rim."""
    alpha, of_rim = ((0.5 - away).clamp(0, 1) for away in (AWAY, AWAY + width))
    values = wall + (stripe - wall) * alpha + (inside - stripe) * of_rim
    noise = torch.randn(3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0)) * grain
    return (values + noise)[None].clamp(0, 1)


def soft_depth(beside, deviation=3.0):
    """Depth whose ramp is over ten pixels wide and has its middle so many pixels inside the rim."""
    away = AWAY + beside
    return 1 / (FAR + (NEAR - FAR) * torch.special.ndtr(-away / deviation))[None, None]


def wrong(depth):
    """The share of the pixels within 10 of the rim, but the ones that the near side grows by, that are on the wrong side."""
    is_near = (1 / depth)[0, 0] > (NEAR + FAR) / 2
    asked = (AWAY.abs() < 10) & ~((AWAY > -1) & (AWAY < 2.5))
    return float((is_near != (AWAY < 0))[asked].float().mean())


@pytest.mark.parametrize("stripe", [0.1, 0.95])
@pytest.mark.parametrize("beside", [3.5, 4])
def test_a_stripe_along_the_rim_belongs_to_the_near_thing(stripe, beside):
    assert wrong(depth_at_image_edges(soft_depth(beside), image_of(stripe))) < 0.02


SEVERAL = torch.where((AWAY + 3.5).abs() < 1.5, 0.15, image_of(0.9, width=7))
BETWEEN = image_of(0.4, inside=0.05, wall=0.75)


@pytest.mark.parametrize(("image", "deviation"), [(BETWEEN, 3.0), (SEVERAL, 4.0)], ids=["of a colour between", "several"])
def test_other_stripes_are_found_too(image, deviation):
    assert wrong(depth_at_image_edges(soft_depth(3.5, deviation), image)) < 0.04


def test_steps_of_the_depth_stay_where_they_are():
    """Depth from a renderer or a lidar is right: the stripe behind its edge is a shadow."""
    stepped = torch.where(AWAY < -5, 1 / NEAR, 1 / FAR)[None, None]
    plain = torch.full((1, 3, HEIGHT, WIDTH), 0.5)
    assert torch.equal(depth_at_image_edges(stepped, image_of(0.1)), depth_at_image_edges(stepped, plain))


def test_the_rim_that_a_lens_blurred_is_no_stripe():
    """Without a stripe there are only mixtures of both sides."""
    image = box_means(box_means(image_of(0.1, inside=0.1, wall=0.7), 2), 2)
    assert wrong(depth_at_image_edges(soft_depth(0), image)) < 0.02


@pytest.mark.parametrize("seed", range(4))
def test_texture_is_no_stripe(monkeypatch, seed):
    generator = torch.Generator().manual_seed(seed)
    texture = torch.nn.functional.interpolate(torch.rand(1, 3, HEIGHT // 5, WIDTH // 5, generator=generator), (HEIGHT, WIDTH))
    found = depth_at_image_edges(soft_depth(0), texture)
    monkeypatch.setattr(depth_edges, "_with_stripes", lambda sharp, *_: sharp)
    without = depth_at_image_edges(soft_depth(0), texture)
    assert float((found != without)[0, 0][AWAY.abs() < 10].float().mean()) < 0.02
