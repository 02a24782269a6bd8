"""Relight, Light and Depth Parallax as ComfyUI calls them: any pack's maps, raw geometry, the sky, several lamps."""

import pytest
import torch

from depth_normal.geometry.conventions import NormalMapCoding, encode_normal_map
from depth_normal.geometry.estimate import Axes, Estimate, Quantity
from depth_normal.geometry.images.srgb import srgb_to_linear
from depth_normal.model_loader.inference import memory_budget
from depth_normal.nodes import relight as nodes
from depth_normal.nodes import views
from depth_normal.nodes.effect_inputs import effect_geometry
from depth_normal.nodes.relight import Light
from depth_normal.options.lights import KINDS
from depth_normal.options.masks import SKIES
from tests.nodes.scenes import ball, depth_image, make_image

RELIGHT, PARALLAX = nodes.Relight, views.DepthParallax


def normal_map(coding="opengl", size=48):
    return encode_normal_map(ball(size, size), coding).movedim(1, -1)


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


def test_geometry_goes_before_the_images_and_keeps_its_mask():
    mask = torch.zeros(1, 1, 48, 48, dtype=torch.bool)
    mask[..., :24] = True
    flipped = Estimate(normals=ball() * torch.tensor((-1.0, 1.0, 1.0)).view(3, 1, 1), axes=Axes.SCANNET, mask=mask)
    image = make_image()
    options = {"azimuth": 180, "elevation": 0, "normal_map": torch.zeros(1, 9, 9, 3)}
    (lit,) = RELIGHT().execute(image, geometry=flipped, **options)
    (expected,) = RELIGHT().execute(image, azimuth=180, elevation=0, normal_map=normal_map())
    assert (lit - expected)[:, :, :24].abs().max() < 1e-4 and torch.equal(lit[:, :, 24:], image[:, :, 24:])


@pytest.mark.quick_cases(4)
@pytest.mark.parametrize("light", KINDS)
@pytest.mark.parametrize("maps", [("normal_map",), ("depth",), ("normal_map", "depth")])
@pytest.mark.parametrize("rows", [30, 12], ids=["square", "stretched"])
def test_any_maps_of_any_size_do(light, maps, rows):
    given = {"normal_map": normal_map(size=20), "depth": depth_image(30)}
    (lit,) = RELIGHT().execute(make_image(2), light=light, specular=0.2, **{name: given[name][:, :rows] for name in maps})
    assert lit.shape == (2, 48, 48, 3) and torch.isfinite(lit).all() and lit.min() >= 0 and lit.max() <= 1


def test_a_smaller_depth_map_does_not_show_its_pixels():
    """Enlarged first, it would be lit in steps of its pixels."""
    hill = (0.2 + 0.6 * torch.linspace(0, torch.pi, 24).sin()).view(1, 1, -1, 1).expand(1, 24, 24, 3)
    (lit,) = RELIGHT().execute(torch.full((1, 192, 192, 3), 0.5), azimuth=180, elevation=0, depth=hill, shadows=0)
    steps = lit[0, 96, 24:72, 0].diff().abs()
    assert steps.max() < 6 * steps.mean()


def test_a_parallax_beyond_the_memory_is_refused_before_it_is_rendered(monkeypatch):
    monkeypatch.setattr(memory_budget, "free_main_memory", lambda: 1e6)
    monkeypatch.setattr(views, "parallax_of_estimate", lambda *_: pytest.fail("a frame was rendered"))
    with pytest.raises(MemoryError, match="a result of 48 images of 48x48"):
        PARALLAX().execute(make_image(2), depth=depth_image())


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


def test_light_has_no_steps_where_a_networks_coarse_sky_ends():
    """Land that faces the lamp at the right, below what the network took for sky, which has no sides."""
    disparity = torch.full((1, 1, 24, 24), 0.001)
    disparity[..., 12:, :] = 1
    normals = torch.tensor((0.8, 0.0, 0.6)).view(1, 3, 1, 1).expand(1, 3, 24, 24)
    geometry = Estimate(disparity, Quantity.DISPARITY, normals, mask=disparity > 0.01)
    (lit,) = RELIGHT().execute(grey(size=96), azimuth=0, elevation=10, shadows=0, geometry=geometry, sky_mask=torch.zeros(1, 96, 96))
    rows = lit[0, :, 48, 0]
    assert rows[-1] - rows[0] > 0.1 and rows.diff().abs().max() < 0.1 * (rows[-1] - rows[0])
