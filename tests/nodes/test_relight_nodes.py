"""Relight and Depth Parallax as ComfyUI calls them: contract, plain images of any pack, raw geometry, errors."""

import pytest
import torch

from depth_normal.geometry.conventions import NormalMapCoding, encode_normal_map
from depth_normal.geometry.estimate import Axes, Estimate, Quantity
from depth_normal.model_loader.inference import memory_budget
from depth_normal.nodes import parallax
from depth_normal.nodes import relight as nodes
from depth_normal.nodes.effect_inputs import effect_geometry
from depth_normal.options.lights import KINDS
from depth_normal.options.parallax import MOVES
from depth_normal.options.sky import SKIES

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


def test_colour_and_shadows_reach_the_image():
    grey = torch.full((1, 48, 48, 3), 0.5)
    (red,) = RELIGHT().execute(grey, colour="#FF0000", ambient=0, elevation=90, normal_map=normal_map())
    assert red[..., 0].max() == pytest.approx(0.5, abs=1e-3) and red[..., 1:].max() == 0


def test_shadows_fall_on_what_is_behind():
    """A square at depth 1 before a wall at 1.5, light from the left at 40 degrees: 18 pixels to the right, columns 37 to 47."""
    depth = torch.where(depth_image().movedim(-1, 1)[:, :1] == 1, 1.0, 1.5)
    flat = Estimate(
        depth=depth, quantity=Quantity.METRIC_DEPTH, normals=torch.tensor((0.0, 0.0, 1.0)).view(1, 3, 1, 1).expand(1, 3, 48, 48)
    )
    grey = torch.full((1, 48, 48, 3), 0.5)
    (shadowed,), (bare,) = (RELIGHT().execute(grey, azimuth=180, geometry=flat, shadows=strength) for strength in (1.0, 0.0))
    darker = (bare - shadowed)[0, 24, :, 0]
    assert darker[38:45].min() > 0.1 and darker[:31].max() < 1e-3, darker


def test_parallax_moves_the_near_square_and_loops_from_the_image():
    image = torch.zeros(1, 48, 48, 3)
    image[..., 1] = 1
    image[depth_image()[..., 0] == 1] = torch.tensor((1.0, 0.0, 0.0))
    (frames,) = PARALLAX().execute(image, move="swing", frames=4, amount=0.1, focus=0.0, border="mirror", depth=depth_image())
    assert frames.shape == (4, 48, 48, 3)
    assert (frames[0] - image[0]).abs().max() < 1e-5 and (frames[2] - image[0]).abs().max() < 1e-4
    red = [(frame[..., 0] > 0.5).float().mean(0) for frame in frames]
    middle = [float((row * torch.arange(48)).sum() / row.sum()) for row in red]
    assert middle[1] < middle[0] - 1 and middle[3] > middle[0] + 1, "the camera goes right first, so near things go left"
    mixed = (frames[..., 0] > 0.01) & (frames[..., 0] < 0.99)
    assert frames[..., 2].max() < 1e-3 and mixed.sum(2).max() <= 2, "rims are no wider than a pixel on each side"


def test_parallax_crops_what_is_beside_the_image():
    """Columns of ever lighter grey: a mirrored one would be lighter than the next."""
    image = torch.linspace(0, 1, 48).view(1, 1, 48, 1).expand(1, 48, 48, 3)
    for border, is_cropped in (("crop", True), ("mirror", False)):
        (frames,) = PARALLAX().execute(image, move="swing", frames=4, amount=0.2, border=border, depth=depth_image())
        steps = frames[..., 0].diff(dim=2)[..., [0, 1, -2, -1]]
        assert bool((steps > -1e-3).all()) == is_cropped
    with pytest.raises(ValueError, match="border is 'cut'; accepted: crop, mirror"):
        PARALLAX().execute(image, border="cut", depth=depth_image())


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


def test_one_map_serves_a_batch_and_other_counts_are_named():
    (lit,) = RELIGHT().execute(make_image(3), normal_map=normal_map(), depth=depth_image())
    assert lit.shape[0] == 3
    with pytest.raises(ValueError, match="depth holds 2 images, image 3; accepted: one for all, or one each"):
        PARALLAX().execute(make_image(3), depth=depth_image().repeat(2, 1, 1, 1))
    with pytest.raises(ValueError, match="NaN"):
        RELIGHT().execute(make_image(), normal_map=torch.full((1, 4, 4, 3), torch.nan))


@pytest.mark.parametrize(
    ("shape", "dtype"), [((1, 20, 30, 4), torch.float32), ((1, 20, 30, 1), torch.float32), ((1, 20, 30, 3), torch.float16)]
)
def test_alpha_grey_and_half_precision_images_do(shape, dtype):
    image = torch.rand(shape).to(dtype)
    for node, options in ((RELIGHT, {}), (PARALLAX, {"frames": 2})):
        (result,) = node().execute(image, depth=depth_image(), **options)
        assert result.shape[1:] == (20, 30, 4 if shape[-1] == 4 else 3) and torch.isfinite(result).all()


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


def test_no_shadow_falls_on_the_sky():
    """A tower before the sky, lit from the right: its shadow falls to the left."""
    rows = torch.linspace(0, 1, 96).view(1, -1, 1, 1).expand(1, 96, 128, 1)
    sky = (rows < 0.4).expand(1, 96, 128, 3)
    image = torch.where(sky, 0.9, 0.4)
    wavering = 0.02 + 0.06 * torch.linspace(0, 1, 128).view(1, 1, -1, 1)
    depth = torch.where(sky, wavering, (0.2 + rows * 0.8).expand(1, 96, 128, 3))
    depth[:, 10:, 60:70], image[:, 10:, 60:70] = 0.15, 0.3
    settings = {
        "depth": depth,
        "light": "directional",
        "azimuth": 0,
        "elevation": 45,
        "normal_map": torch.tensor((0.5, 0.5, 1.0)).expand(1, 96, 128, 3),
    }
    lit = {(sky, shadows): RELIGHT().execute(image, sky=sky, shadows=shadows, **settings)[0] for sky in SKIES for shadows in (0.0, 1.0)}
    left_of_it = (slice(None), slice(14, 34), slice(40, 58))
    assert (lit["none", 0.0] - lit["none", 1.0])[left_of_it].mean() > 0.05, "without the rule there is a shadow"
    assert torch.equal(lit["auto", 0.0][left_of_it], lit["auto", 1.0][left_of_it])
    ground = (slice(None), slice(60, 96), slice(40, 58))
    assert torch.equal(lit["auto", 1.0][ground], lit["none", 1.0][ground])


def test_the_sky_is_lit_evenly():
    """Whatever normals a network gives it."""
    rows = torch.linspace(0, 1, 96).view(1, -1, 1, 1).expand(1, 96, 128, 3)
    sky = rows < 0.4
    image, depth = torch.where(sky, 0.9, 0.4), torch.where(sky, 0.02, 0.2 + rows * 0.8)
    sideways = torch.stack([torch.linspace(0, 1, 128).expand(96, 128), torch.full((96, 128), 0.5), torch.full((96, 128), 0.9)], -1)[None]
    for shadows in (0.0, 0.5):
        auto, none = (
            RELIGHT().execute(image, depth=depth, normal_map=sideways, azimuth=0, elevation=20, shadows=shadows, sky=each)[0][0, 4:30, :, 0]
            for each in SKIES
        )
        assert none.amax() - none.amin() > 0.1 and auto.amax() - auto.amin() < 0.01
