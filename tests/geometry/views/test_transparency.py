"""Images that are transparent in places, through effects."""

import pytest
import torch

from depth_normal.geometry.effects.depth_of_field import depth_of_field
from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.geometry.meshes.mesh import depth_to_mesh
from depth_normal.geometry.views.stereo import compose
from depth_normal.geometry.views.transparency import opaque_part, split_layers
from depth_normal.geometry.views.vr import pair_for
from depth_normal.options.views import FLAT_LAYOUTS
from depth_normal.utils import on_white

SIZE, INSIDE = 48, slice(16, 32)
RED = torch.tensor((0.8, 0.1, 0.1)).view(1, 3, 1, 1)


@pytest.fixture
def sprite():
    """A red square with a soft border on nothing, whose hidden colour is green, and its depth as a network sees it: before a white wall."""
    image = torch.tensor((0.0, 1.0, 0.0, 0.0)).view(1, 4, 1, 1).repeat(1, 1, SIZE, SIZE)
    image[:, :3, 15:33, 15:33], image[:, 3:, 15:33, 15:33], image[:, 3:, INSIDE, INSIDE] = RED, 0.5, 1
    depth = torch.full((1, 1, SIZE, SIZE), 4.0)
    depth[..., INSIDE, INSIDE] = 1
    return image, Estimate(depth, Quantity.METRIC_DEPTH)


def rim_of(made):
    """Colours of what is seen (4, N)."""
    return made[0][:, made[0, 3] > 0.02]


def test_layers(sprite):
    layers = split_layers(sprite[0])
    assert torch.equal(layers.shown, on_white(sprite[0])) and torch.equal(layers.with_alpha(layers.colours), sprite[0])
    assert (layers.continued - RED).abs().max() < 0.01, "what is hidden takes the colour of what is beside it"
    known = layers.seen(sprite[1]).depth_valid
    assert torch.equal(known, sprite[0][:, 3:] > 0)
    for levels in (sprite[0] * 255, sprite[0] - 1, sprite[0] * torch.nan):
        with pytest.raises(ValueError, match=r"in \[0, 1\]|expected \[0, 1\]"):
            split_layers(levels)
    opaque = split_layers(sprite[0][:, :3])
    assert opaque.seen(sprite[1]) is sprite[1] and opaque.with_alpha(RED) is RED and opaque.continued is opaque.shown


def test_a_blur_spreads_alpha_and_not_what_is_hidden(sprite):
    circle = torch.full((1, 1, SIZE, SIZE), 6.0)
    made = split_layers(sprite[0]).through(lambda image: depth_of_field(image, circle))
    assert made.shape == sprite[0].shape and 0.05 < made[0, 3, 24, 14] < 0.6 and made[0, 3, 24, 24] > 0.99
    assert float(made[0, 3].mean()) == pytest.approx(float(sprite[0][0, 3].mean()), rel=0.02), "nothing is lost"
    assert (rim_of(made)[:3] - RED[0, :, :, 0]).abs().max() < 0.02


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("layout", FLAT_LAYOUTS)
def test_a_sprite_has_no_wall_in_stereo(sprite, layout):
    made = compose(pair_for(*sprite, layout), layout)
    if layout == "anaglyph":
        assert made.shape[1] == 3 and (made[..., 2, 2] > 0.95).all(), "for glasses, on white"
        return
    assert made.shape[1] == 4 and float((made[0, 3] < 0.5).float().mean()) == pytest.approx(1 - (17 / SIZE) ** 2, abs=0.02)
    assert (rim_of(made)[:3] - RED[0, :, :, 0]).abs().max() < 0.03


def test_a_sprite_has_no_wall_in_a_mesh(sprite):
    image, known = sprite
    small = Estimate(known.depth[..., ::2, ::2], known.quantity)
    for estimate, points in ((known, 18 * 18), (small, 9 * 9)):
        mesh = depth_to_mesh(*opaque_part(estimate, image))
        assert 0.7 * points < len(mesh.points) <= 1.3 * points
        assert mesh.colours[:, 1].max() < 60, "no hidden green"
    assert opaque_part(known, image[:, :3])[0] is known and opaque_part(known, None) == (known, None)
