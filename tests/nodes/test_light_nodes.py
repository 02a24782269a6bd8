"""The node Light and what Relight does with several lamps: contract, sums, errors."""

import pytest
import torch

from depth_normal.geometry.conventions import encode_normal_map
from depth_normal.geometry.effects.lights import LightPlan
from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.geometry.images.srgb import srgb_to_linear
from depth_normal.nodes.lights import MAX_LIGHTS, Light
from depth_normal.nodes.relight import Relight


def flat_map(size=32):
    up = torch.tensor((0.0, 0.0, 1.0)).view(1, 3, 1, 1).expand(1, 3, size, size)
    return encode_normal_map(up, "opengl").movedim(1, -1)


def grey(batch=1, size=32):
    return torch.full((batch, size, size, 3), 0.4)


def square():
    """A near square before a wall, raw."""
    depth = torch.full((1, 1, 48, 48), 1.5)
    depth[..., 16:32, 16:32] = 1.0
    up = torch.tensor((0.0, 0.0, 1.0)).view(1, 3, 1, 1).expand(1, 3, 48, 48)
    return Estimate(depth, Quantity.METRIC_DEPTH, normals=up)


def test_lamps_are_chained_and_their_light_is_added():
    (one,) = Light().execute(azimuth=0, elevation=30, intensity=0.5, colour="#f00")
    (two,) = Light().execute(one, light="point", light_depth=2.0, shadows=0.0)
    assert [each.kind for each in two] == ["directional", "point"] and [each.shadow for each in two] == [0.5, 0.0]
    settings = {"normal_map": flat_map(), "ambient": 0.0, "elevation": 90.0}
    (own,), (both,) = Relight().execute(grey(), **settings), Relight().execute(grey(), lights=one, **settings)
    gain = srgb_to_linear(both) - srgb_to_linear(own)
    expected = srgb_to_linear(torch.tensor(0.4)) * 0.5 * 0.5
    assert (gain[..., 0] - expected).abs().max() < 1e-5 and gain[..., 1:].abs().max() < 1e-6


def test_no_shadow_falls_on_a_masked_sky():
    mask = torch.ones(1, 20, 20)
    lit = [Relight().execute(grey(2, 48), azimuth=180, geometry=square(), shadows=1.0, sky_mask=each)[0] for each in (mask, 1 - mask)]
    (bare,) = Relight().execute(grey(2, 48), azimuth=180, geometry=square(), shadows=0.0)
    assert torch.equal(lit[0], bare) and not torch.equal(lit[1], bare)


def test_what_the_network_took_for_sky_is_lit_where_a_mask_says_that_it_is_none():
    depth = torch.full((1, 1, 48, 48), 0.5)
    depth[..., :20, :] = 0.001
    depth[..., 30:, :] = 1
    geometry = Estimate(depth, Quantity.DISPARITY, mask=depth > 0.01)
    lit = [
        Relight().execute(grey(size=48), geometry=geometry, ambient=0.0, intensity=0.0, **sky)[0]
        for sky in ({}, {"sky_mask": torch.zeros(1, 48, 48)})
    ]
    assert all(each.max() < 0.01 for each in lit)


def test_light_has_no_steps_where_a_networks_coarse_sky_ends():
    """Land that faces the lamp at the right, below what the network took for sky, which has no sides."""
    disparity = torch.full((1, 1, 24, 24), 0.001)
    disparity[..., 12:, :] = 1
    normals = torch.tensor((0.8, 0.0, 0.6)).view(1, 3, 1, 1).expand(1, 3, 24, 24)
    geometry = Estimate(disparity, Quantity.DISPARITY, normals, mask=disparity > 0.01)
    (lit,) = Relight().execute(grey(size=96), azimuth=0, elevation=10, shadows=0, geometry=geometry, sky_mask=torch.zeros(1, 96, 96))
    rows = lit[0, :, 48, 0]
    assert rows[-1] - rows[0] > 0.1 and rows.diff().abs().max() < 0.1 * (rows[-1] - rows[0])


def test_exposure_ambient_colours_and_clipping_reach_the_image():
    settings = {"normal_map": flat_map(), "intensity": 0.0, "ambient": 1.0}
    (plain,), (brighter,) = (Relight().execute(grey(), exposure=stops, **settings) for stops in (0.0, 1.0))
    assert torch.allclose(plain, grey(), atol=1e-5) and torch.allclose(srgb_to_linear(brighter), 2 * srgb_to_linear(plain), atol=1e-5)
    (sides,) = Relight().execute(grey(), ambient_above="#f00", ambient_below="#00f", **settings)
    assert torch.allclose(srgb_to_linear(sides[0, 0, 0]), srgb_to_linear(grey()[0, 0, 0]) * torch.tensor((0.5, 0, 0.5)), atol=1e-5)
    burnt = {"normal_map": flat_map(), "light": "point", "light_depth": 0.9}
    (soft,), (clipped,) = Relight().execute(grey(), **burnt), Relight().execute(grey(), roll_off=False, **burnt)
    assert soft.max() < 1 and clipped.max() > 0.9999


@pytest.mark.parametrize(
    ("bad", "kind", "message"),
    [
        ({"lights": [1]}, TypeError, "the lights input is list; link the output of the node Light"),
        ({"lights": (LightPlan(),) * (MAX_LIGHTS + 1)}, ValueError, "65 lights; accepted: at most 64"),
    ],
)
def test_bad_input_is_named(bad, kind, message):
    with pytest.raises(kind, match=message):
        Relight().execute(grey(), normal_map=flat_map(), **bad)
