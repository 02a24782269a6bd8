"""Relight, Light and Depth Parallax as ComfyUI calls them: any pack's maps, raw geometry, the sky, several lamps."""

import pytest
import torch

from depth_normal.geometry.conventions import NormalMapCoding, encode_normal_map
from depth_normal.geometry.effects.lights import LightPlan
from depth_normal.geometry.estimate import Axes, Estimate, Quantity
from depth_normal.geometry.images.srgb import srgb_to_linear
from depth_normal.model_loader.inference import memory_budget
from depth_normal.nodes import parallax
from depth_normal.nodes import relight as nodes
from depth_normal.nodes.effect_inputs import effect_geometry
from depth_normal.nodes.lights import MAX_LIGHTS, Light
from depth_normal.options.lights import KINDS
from depth_normal.options.masks import SKIES
from depth_normal.options.views import MOVES

RELIGHT, PARALLAX = nodes.Relight, parallax.DepthParallax


def ball(size=48):
    """Unit normals of a ball in the middle, (1, 3, size, size), OPENGL axes."""
    axis = torch.linspace(-1.2, 1.2, size)
    x, y = axis[None].expand(size, size), -axis[:, None].expand(size, size)
    z = (1 - x**2 - y**2).clamp(min=0).sqrt()
    flat = torch.tensor((0.0, 0.0, 1.0)).view(3, 1, 1)
    return torch.where(z > 0, torch.stack((x, y, z)), flat)[None]


def normal_map(coding="opengl", size=48):
    return encode_normal_map(ball(size), coding).movedim(1, -1)


def depth_image(size=48):
    """A near square in the middle of a far wall, near = white."""
    image = torch.zeros(1, size, size, 3)
    image[:, size // 3 : 2 * size // 3, size // 3 : 2 * size // 3] = 1
    return image


def make_image(batch=1, size=48):
    return torch.rand(batch, size, size, 3, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("coding", [coding.value for coding in NormalMapCoding])
def test_any_coding_of_the_normal_map_gives_the_same_light(coding):
    grey = torch.full((1, 48, 48, 3), 0.5)
    (lit,) = RELIGHT().execute(grey, azimuth=180, elevation=0, normal_map=normal_map(coding), normal_coding=coding)
    (expected,) = RELIGHT().execute(grey, azimuth=180, elevation=0, normal_map=normal_map())
    assert (lit - expected).abs().max() < 1e-4
    assert lit[0, 24, 8, 0] > lit[0, 24, 24, 0] + 0.1 > lit[0, 24, 40, 0], "the left is bright"


@pytest.mark.parametrize("other_kind", [("azimuth", "elevation"), ("light_x", "light_y", "light_depth")])
def test_eight_widgets_at_most_are_in_view(other_kind):
    """The page hides the place of the other kind of lamp; the rest is folded."""
    inputs = RELIGHT.INPUT_TYPES()["optional"]
    widgets = {name: options for name, (_, options) in inputs.items() if "default" in options}
    plain = [name for name, options in widgets.items() if not options.get("advanced") and name not in other_kind]
    assert len(plain) <= 8 and {"light", "colour", "intensity", "ambient", "shadows"} <= set(plain)
    assert len(widgets) == 19, "none is gone"


def test_geometry_goes_before_the_images_and_keeps_its_mask():
    mask = torch.zeros(1, 1, 48, 48, dtype=torch.bool)
    mask[..., :24] = True
    flipped = Estimate(normals=ball() * torch.tensor((-1.0, 1.0, 1.0)).view(3, 1, 1), axes=Axes.SCANNET, mask=mask)
    image = make_image()
    options = {"azimuth": 180, "elevation": 0, "normal_map": torch.zeros(1, 9, 9, 3)}
    (lit,) = RELIGHT().execute(image, geometry=flipped, **options)
    (expected,) = RELIGHT().execute(image, azimuth=180, elevation=0, normal_map=normal_map())
    assert (lit - expected)[:, :, :24].abs().max() < 1e-4 and torch.equal(lit[:, :, 24:], image[:, :, 24:])


@pytest.mark.parametrize("light", KINDS)
@pytest.mark.parametrize("maps", [("normal_map",), ("depth",), ("normal_map", "depth")])
def test_any_maps_of_any_size_do(light, maps):
    given = {"normal_map": normal_map(size=20), "depth": depth_image(30)}
    (lit,) = RELIGHT().execute(make_image(2), light=light, specular=0.2, **{name: given[name] for name in maps})
    assert lit.shape == (2, 48, 48, 3) and torch.isfinite(lit).all() and lit.min() >= 0 and lit.max() <= 1


def test_parallax_crops_what_is_beside_the_image():
    """Columns of ever lighter grey: a mirrored one would be lighter than the next."""
    image = torch.linspace(0, 1, 48).view(1, 1, 48, 1).expand(1, 48, 48, 3)
    for border, is_cropped in (("crop", True), ("mirror", False)):
        (frames,) = PARALLAX().execute(image, move="swing", frames=4, amount=0.2, border=border, depth=depth_image())
        steps = frames[..., 0].diff(dim=2)[..., [0, 1, -2, -1]]
        assert bool((steps > -1e-3).all()) == is_cropped


def test_parallax_takes_geometry_with_its_camera_and_holes():
    depth = torch.rand(2, 1, 24, 24) * 3 + 1
    depth[..., :2, :] = float("nan")
    geometry = Estimate(
        depth=depth, quantity=Quantity.METRIC_DEPTH, intrinsics=torch.tensor([[30.0, 0, 11.5], [0, 30, 11.5], [0, 0, 1]]).repeat(2, 1, 1)
    )
    for move in MOVES:
        (frames,) = PARALLAX().execute(make_image(2), move=move, frames=3, geometry=geometry, amount=0.4)
        assert frames.shape == (6, 48, 48, 3) and torch.isfinite(frames).all() and frames.min() >= 0 and frames.max() <= 1


def test_a_parallax_beyond_the_memory_is_refused_before_it_is_rendered(monkeypatch):
    monkeypatch.setattr(memory_budget, "free_main_memory", lambda: 1e6)
    monkeypatch.setattr(parallax, "parallax_of_estimate", lambda *_: pytest.fail("a frame was rendered"))
    with pytest.raises(MemoryError, match="a result of 48 images of 48x48"):
        PARALLAX().execute(make_image(2), depth=depth_image())


@pytest.mark.parametrize("hole", [float("nan"), float("inf"), -1.0])
def test_what_the_geometry_knows_nothing_of_stays_as_it_is(hole):
    depth = torch.full((1, 1, 48, 48), 2.0)
    depth[..., :10, :] = hole
    (lit,) = RELIGHT().execute(make_image(), azimuth=0, elevation=10, geometry=Estimate(depth, Quantity.METRIC_DEPTH))
    assert torch.equal(lit[:, :10], make_image()[:, :10]) and not torch.allclose(lit[:, 10:], make_image()[:, 10:], atol=0.1)


def test_one_geometry_for_a_batch_is_not_copied():
    one = Estimate(torch.ones(1, 1, 48, 48), Quantity.METRIC_DEPTH, normals=ball())
    whole = effect_geometry(torch.zeros(1000, 3, 1, 1), one, None)
    assert whole.batch == 1000 and whole.depth.untyped_storage().nbytes() == one.depth.untyped_storage().nbytes()
    (many,) = RELIGHT().execute(make_image(3), geometry=one)
    (alone,) = RELIGHT().execute(make_image(3)[2:], geometry=one)
    torch.testing.assert_close(many[2:], alone)


def before_the_sky():
    """An image and its depth map: land, and a sky whose depth wavers."""
    rows = torch.linspace(0, 1, 96).view(1, -1, 1, 1).expand(1, 96, 128, 3)
    sky, wavering = rows < 0.4, 0.02 + 0.06 * torch.linspace(0, 1, 128).view(1, 1, -1, 1)
    return torch.where(sky, 0.9, 0.4), torch.where(sky, wavering, 0.2 + rows * 0.8)


def test_no_shadow_falls_on_the_sky():
    """A tower before the sky, lit from the right: its shadow falls to the left."""
    image, depth = before_the_sky()
    depth[:, 10:, 60:70], image[:, 10:, 60:70] = 0.15, 0.3
    settings = {"depth": depth, "azimuth": 0, "elevation": 45, "normal_map": torch.tensor((0.5, 0.5, 1.0)).expand(1, 96, 128, 3)}
    lit = {(sky, shadows): RELIGHT().execute(image, sky=sky, shadows=shadows, **settings)[0] for sky in SKIES for shadows in (0.0, 1.0)}
    left_of_it = (slice(None), slice(14, 34), slice(40, 58))
    assert (lit["none", 0.0] - lit["none", 1.0])[left_of_it].mean() > 0.05, "without the rule there is a shadow"
    assert torch.equal(lit["auto", 0.0][left_of_it], lit["auto", 1.0][left_of_it])
    ground = (slice(None), slice(60, 96), slice(40, 58))
    assert torch.equal(lit["auto", 1.0][ground], lit["none", 1.0][ground])


def test_the_sky_is_lit_evenly():
    """Whatever normals a network gives it."""
    image, depth = before_the_sky()
    sideways = torch.stack([torch.linspace(0, 1, 128).expand(96, 128), torch.full((96, 128), 0.5), torch.full((96, 128), 0.9)], -1)[None]
    for shadows in (0.0, 0.5):
        auto, none = (
            RELIGHT().execute(image, depth=depth, normal_map=sideways, azimuth=0, elevation=20, shadows=shadows, sky=each)[0][0, 4:30, :, 0]
            for each in SKIES
        )
        assert none.amax() - none.amin() > 0.1 and auto.amax() - auto.amin() < 0.01


# --- further lamps, and the look ---

UP = torch.tensor((0.0, 0.0, 1.0)).view(1, 3, 1, 1)
FLAT = torch.tensor((0.5, 0.5, 1.0)).expand(1, 32, 32, 3)


def grey(batch=1, size=32):
    return torch.full((batch, size, size, 3), 0.4)


def test_lamps_are_chained_and_their_light_is_added():
    (one,) = Light().execute(azimuth=0, elevation=30, intensity=0.5, colour="#f00")
    (two,) = Light().execute(one, light="point", light_depth=2.0, shadows=0.0)
    assert [each.kind for each in two] == ["directional", "point"] and [each.shadow for each in two] == [0.5, 0.0]
    settings = {"normal_map": FLAT, "ambient": 0.0, "elevation": 90.0}
    (own,), (both,) = RELIGHT().execute(grey(), **settings), RELIGHT().execute(grey(), lights=one, **settings)
    gain = srgb_to_linear(both) - srgb_to_linear(own)
    expected = srgb_to_linear(torch.tensor(0.4)) * 0.5 * 0.5
    assert (gain[..., 0] - expected).abs().max() < 1e-5 and gain[..., 1:].abs().max() < 1e-6


def test_no_shadow_falls_on_a_masked_sky():
    mask, square = torch.ones(1, 20, 20), Estimate(1.5 - 0.5 * depth_image()[..., 0][None], Quantity.METRIC_DEPTH, UP.expand(1, 3, 48, 48))
    lit = [RELIGHT().execute(grey(2, 48), azimuth=180, geometry=square, shadows=1.0, sky_mask=each)[0] for each in (mask, 1 - mask)]
    (bare,) = RELIGHT().execute(grey(2, 48), azimuth=180, geometry=square, shadows=0.0)
    assert torch.equal(lit[0], bare) and not torch.equal(lit[1], bare)


def test_what_the_network_took_for_sky_is_lit_where_a_mask_says_that_it_is_none():
    depth = torch.full((1, 1, 48, 48), 0.5)
    depth[..., :20, :] = 0.001
    depth[..., 30:, :] = 1
    geometry = Estimate(depth, Quantity.DISPARITY, mask=depth > 0.01)
    lit = [
        RELIGHT().execute(grey(size=48), geometry=geometry, ambient=0.0, intensity=0.0, **sky)[0]
        for sky in ({}, {"sky_mask": torch.zeros(1, 48, 48)})
    ]
    assert all(each.max() < 0.01 for each in lit)


def test_light_has_no_steps_where_a_networks_coarse_sky_ends():
    """Land that faces the lamp at the right, below what the network took for sky, which has no sides."""
    disparity = torch.full((1, 1, 24, 24), 0.001)
    disparity[..., 12:, :] = 1
    normals = torch.tensor((0.8, 0.0, 0.6)).view(1, 3, 1, 1).expand(1, 3, 24, 24)
    geometry = Estimate(disparity, Quantity.DISPARITY, normals, mask=disparity > 0.01)
    (lit,) = RELIGHT().execute(grey(size=96), azimuth=0, elevation=10, shadows=0, geometry=geometry, sky_mask=torch.zeros(1, 96, 96))
    rows = lit[0, :, 48, 0]
    assert rows[-1] - rows[0] > 0.1 and rows.diff().abs().max() < 0.1 * (rows[-1] - rows[0])


def test_exposure_ambient_colours_and_clipping_reach_the_image():
    settings = {"normal_map": FLAT, "intensity": 0.0, "ambient": 1.0}
    (plain,), (brighter,) = (RELIGHT().execute(grey(), exposure=stops, **settings) for stops in (0.0, 1.0))
    assert torch.allclose(plain, grey(), atol=1e-5) and torch.allclose(srgb_to_linear(brighter), 2 * srgb_to_linear(plain), atol=1e-5)
    (sides,) = RELIGHT().execute(grey(), ambient_above="#f00", ambient_below="#00f", **settings)
    assert torch.allclose(srgb_to_linear(sides[0, 0, 0]), srgb_to_linear(grey()[0, 0, 0]) * torch.tensor((0.5, 0, 0.5)), atol=1e-5)
    burnt = {"normal_map": FLAT, "light": "point", "light_depth": 0.9}
    (soft,), (clipped,) = RELIGHT().execute(grey(), **burnt), RELIGHT().execute(grey(), roll_off=False, **burnt)
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
        RELIGHT().execute(grey(), normal_map=FLAT, **bad)
