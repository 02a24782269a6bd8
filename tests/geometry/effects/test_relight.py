"""Relighting against the formulas, worked out here in numpy."""

import math

import numpy as np
import pytest
import torch

from depth_normal.geometry.camera import intrinsics_from_focal_length
from depth_normal.geometry.effects.lights import Light, LightPlan, light_direction, light_position, received_share, towards
from depth_normal.geometry.effects.relight import _shoulder, relief_gloss, relight, roll_off, shine
from depth_normal.geometry.images.srgb import colour_to_linear, linear_to_srgb, srgb_to_linear
from tests.refusals import refuses

FROM_LEFT = Light(light_direction(180, 0))


def sphere(size=65):
    """Normals of a ball that fills the image, OPENGL axes, and where it is."""
    axis = torch.linspace(-1, 1, size)
    x, y = axis[None].expand(size, size), -axis[:, None].expand(size, size)
    on_it = x**2 + y**2 < 0.98
    z = (1 - x**2 - y**2).clamp(min=0).sqrt()
    flat = torch.tensor((0.0, 0.0, 1.0)).view(3, 1, 1)
    return torch.where(on_it, torch.stack((x, y, z)), flat)[None], on_it


def facing_viewer(height, width):
    return torch.tensor((0.0, 0.0, 1.0)).view(1, 3, 1, 1).expand(1, 3, height, width)


def to_linear(srgb):
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def grey(normals, level=0.5):
    return torch.full_like(normals, level)


@pytest.mark.parametrize(("azimuth", "elevation"), [(180, 0), (0, 30), (90, 60), (225, -20), (10, 90)])
def test_lambert_on_a_sphere(azimuth, elevation):
    normals, on_it = sphere()
    around, out = np.radians(azimuth), np.radians(elevation)
    to_light = np.array([np.cos(out) * np.cos(around), np.cos(out) * np.sin(around), np.sin(out)])
    lit = relight(grey(normals), normals, Light(light_direction(azimuth, elevation), colour=(1, 0.5, 0.25), intensity=1.2), ambient=0.2)
    cosine = np.clip(np.einsum("chw,c->hw", normals[0].double().numpy(), to_light), 0, None)
    for channel, share in enumerate((1, 0.5, 0.25)):
        expected = to_linear(0.5) * (0.2 + 1.2 * share * cosine)
        assert np.abs(to_linear(lit[0, channel].numpy()) - expected)[on_it].max() < 1e-5


@pytest.mark.parametrize("size", [0.3, 1.0, 2.0])
@pytest.mark.parametrize("is_point", [False, True])
def test_surfaces_see_the_part_of_a_large_lamp_that_is_above_their_horizon(size, is_point):
    """Against the light of many points of a disk that faces the surface."""
    cosines = torch.linspace(-1, 1, 81)
    normals = torch.stack(((1 - cosines**2).sqrt(), 0 * cosines, cosines)).view(1, 3, 1, 81)
    index = torch.arange(4000) + 0.5
    around, out = 2.399963 * index, (index / 4000).sqrt() * size / 2
    disk = torch.stack((out * around.cos(), out * around.sin(), torch.ones(4000)))
    distance = disk.norm(dim=0)
    received = ((normals[0, :, 0].T @ disk).clamp(min=0) / distance**4).mean(1)
    expected = received if is_point else received / received[-1]
    # At distance 1 of the point that the middle pixel shows.
    depth, camera = torch.full((1, 1, 1, 81), 2.0), intrinsics_from_focal_length(1e6, 1, 81)
    lamp = Light((0, 0, -1 if is_point else 1), is_point, size=size)
    lit = relight(grey(normals), normals, lamp, ambient=0.0, rolled_off=False, depth=depth, intrinsics=camera)
    assert np.abs(to_linear(lit[0, 0, 0].numpy()) / to_linear(0.5) - expected.numpy()).max() < 0.012


@pytest.mark.parametrize("lamp", [Light((0, 0, 1), size=1e-45), Light((0, 0, -1), is_point=True, size=1e18)])
def test_lamps_of_absurd_sizes_give_numbers(lamp):
    cosines = torch.linspace(-1, 1, 5).view(1, 1, 1, 5)
    _, strengths = towards(lamp, torch.zeros(1, 3, 1, 5))
    assert received_share(lamp, cosines, strengths).isfinite().all()


def test_srgb_is_the_standards():
    assert srgb_to_linear(torch.tensor([0.0, 0.04045, 0.5, 1.0])).tolist() == pytest.approx([0, 0.0031308, 0.2140411, 1], abs=1e-6)
    levels = torch.linspace(0, 1, 1001, dtype=torch.float64)
    assert (linear_to_srgb(srgb_to_linear(levels)) - levels).abs().max() < 1e-7


def test_without_a_lamp_the_image_stays_and_masked_pixels_always():
    normals, _ = sphere(17)
    image = torch.rand(1, 3, 17, 17, generator=torch.Generator().manual_seed(0))
    assert (relight(image, normals, Light((0, 0, 1), intensity=0), ambient=1) - image).abs().max() < 1e-6
    mask = torch.zeros(1, 1, 17, 17, dtype=torch.bool)
    mask[..., :8] = True
    lit = relight(image, normals, FROM_LEFT, mask=mask)
    assert torch.equal(lit[..., 8:], image[..., 8:]) and not torch.equal(lit[..., :8], image[..., :8])


def test_a_point_light_fades_with_the_square_of_the_distance():
    """A wall at 2 and a lamp at 1 before column 20, row 30: the cosine is 1 / distance, so the light is intensity / distance^3."""
    height, width = 61, 81
    intrinsics = intrinsics_from_focal_length(50.0, height, width)
    flat = facing_viewer(height, width)
    depth = torch.full((1, 1, height, width), 2.0)
    lamp = Light(light_position(20, 30, 1.0, intrinsics), is_point=True, intensity=0.9)
    lit = to_linear(relight(grey(flat), flat, lamp, ambient=0, depth=depth, intrinsics=intrinsics)[0, 0].numpy())
    columns, rows = np.meshgrid(np.arange(width), np.arange(height))
    across, down = (columns - 40) / 50 * 2 - (20 - 40) / 50, (rows - 30) / 50 * 2
    assert np.abs(lit - to_linear(0.5) * 0.9 / (across**2 + down**2 + 1) ** 1.5).max() < 1e-5


def test_the_highlight_sits_where_half_vector_and_normal_meet():
    """Seen from the middle of a long lens, a light from the right at 30 degrees mirrors where the normal leans 30 degrees to the right."""
    normals, on_it = sphere(101)
    light = Light(light_direction(0, 30))
    options = {"ambient": 0.0, "intrinsics": intrinsics_from_focal_length(1e5, 101, 101)}
    gloss = relight(grey(normals, 0.0), normals, light, specular=0.05, shininess=200, **options)[0, 0]
    row, column = divmod(int(torch.where(on_it, gloss, 0).argmax()), 101)
    assert abs(row - 50) <= 1 and column == pytest.approx(50 + 50 * math.sin(math.radians(30)), abs=1.5)


@pytest.mark.parametrize("point", [False, True])
def test_a_large_lamps_highlight_is_the_mean_of_its_parts(point):
    """A disk of lamps on a half-mirroring ball, against one lamp of its size: as wide and as bright, where a lamp without size is not."""
    normals, on_it = sphere(61)
    size, place = 0.8, torch.tensor((0.3, 0.3, 1.0 if point else 0.9))
    centre = torch.nn.functional.normalize(place, dim=0)
    right = torch.nn.functional.normalize(torch.linalg.cross(centre, torch.tensor((0.0, 1.0, 0.0))), dim=0)
    up, start, steps = torch.linalg.cross(right, centre), place if point else centre, torch.arange(60)
    radii, angles = ((steps + 0.5) / 60).sqrt()[:, None] * size / 2, steps[:, None] * math.pi * (3 - math.sqrt(5))
    places = start + radii * (angles.cos() * right + angles.sin() * up)
    options = {"ambient": 0.0, "specular": 0.5, "shininess": 120, "rolled_off": False}
    options |= {"intrinsics": intrinsics_from_focal_length(1e5, 61, 61), "depth": torch.full((1, 1, 61, 61), 0.01)}

    def seen(position, size=0.0):
        lamp = Light(tuple(position.tolist()), is_point=point, size=size, intensity=0.1)
        return torch.from_numpy(to_linear(relight(grey(normals, 0.0), normals, lamp, **options)[0, 0].numpy()))

    parts = torch.stack([seen(each) for each in places]).mean(0)
    off = [float((seen(start, each) - parts)[on_it].abs().mean() / parts[on_it].mean()) for each in (size, 0.0)]
    assert off[0] < 0.25 and off[0] < off[1] / 2, off


def test_the_sky_and_what_is_not_glossy_get_no_highlight():
    normals = facing_viewer(16, 16)
    image, shiny, dull = grey(normals, 0.3), {"specular": 0.5, "shininess": 8}, {"specular": 0.0}
    lamp = Light((0.0, 0.1, 1.0))
    half = torch.zeros(1, 1, 16, 16)
    half[..., 8:] = 1
    without, everywhere = (relight(image, normals, lamp, **looks) for looks in (dull, shiny))
    assert (everywhere - without).min() > 0.1
    for found in (relight(image, normals, lamp, sky=half, **shiny), relight(image, normals, lamp, glossy=1 - half, **shiny)):
        assert torch.equal(found[..., :8], everywhere[..., :8]) and torch.allclose(found[..., 8:], without[..., 8:], atol=1e-6)
    coarse = relight(image, normals, lamp, glossy=torch.tensor([[[[1.0, 0.0]]]]), **shiny)
    assert torch.equal(coarse[..., 0], everywhere[..., 0]) and torch.allclose(coarse[..., -1], without[..., -1], atol=1e-6)


def stripes():
    """Grey stripes across 640 pixels, each 8 pixels brighter and 8 darker, (1, 3, 32, 640)."""
    place = torch.arange(640.0) % 16
    return (0.2 + 0.6 * (1 - (place - 8).abs() / 8)).expand(1, 3, 32, 640).contiguous()


# From the left and off the highlight's middle: what rises to the right is turned towards the half vector.
ASIDE = Light((-0.6, 0.0, 0.8))


def shiny(image, share=1.0):
    """The image with highlights as strong as its colours let them be, and with a share of its relief in them."""
    normals, relief = facing_viewer(*image.shape[-2:]), torch.full((1, 1, 1, 1), share)
    kept = 1 + share * (shine(image) - 1)
    return relight(image, normals, ASIDE, specular=0.5, glossy=kept), relight(image, normals, ASIDE, specular=0.5, relief=relief)


def test_highlights_show_the_relief_of_fine_stripes():
    image, normals = stripes(), facing_viewer(32, 640)
    looks = {"specular": 0.1, "ambient": 0.0, "rolled_off": False}
    chalk, smooth, rough = (
        srgb_to_linear(relight(image, normals, ASIDE, **given))[0, 0, 16]
        for given in ({**looks, "specular": 0.0}, looks, {**looks, "relief": torch.ones(1, 1, 1, 1)})
    )
    smooth, rough = smooth - 0.9 * chalk, rough - 0.9 * chalk
    place = torch.arange(640) % 16
    inner = (torch.arange(640) >= 272) & (torch.arange(640) < 304)
    rising, falling = (rough[inner & (place > low) & (place < low + 6)] for low in (1, 9))
    assert rising.min() > 2 * falling.max() and rough[inner].mean() < 0.9 * smooth[inner].mean()


@pytest.mark.parametrize(("pattern", "share"), [(True, 0.0), (False, 1.0)])
def test_without_a_pattern_or_without_relief_highlights_stay(pattern, share):
    image = stripes() if pattern else torch.full((1, 3, 32, 640), 0.4)
    plain, found = shiny(image, share)
    assert torch.allclose(found, plain, atol=1e-6)
    assert torch.allclose(relief_gloss(image, torch.full((1, 1, 1, 1), share)), 1 + share * (shine(image).amax() - 1))


def noisy(brightness, noise, size=256):
    """A grey image with noise alike everywhere, with fine stripes of five times its height in the right half."""
    generator = torch.Generator().manual_seed(0)
    stripes = 5 * noise * torch.sin(torch.arange(size) * math.pi / 4) * (torch.arange(size) >= size // 2)
    return (brightness + stripes + noise * torch.randn(1, 1, size, size, generator=generator)).expand(1, 3, size, size).contiguous()


@pytest.mark.parametrize(("brightness", "noise"), [(0.1, 0.015), (0.3, 0.01), (0.6, 0.02)])
def test_noise_is_no_relief(brightness, noise):
    plain, found = shiny(noisy(brightness, noise))
    changed = (found - plain).abs()[..., 8:-8, :]
    assert changed[..., 8:112].mean() < 0.02 * changed[..., 144:-8].mean()


def test_steps_of_eight_bits_are_no_relief():
    plain, found = shiny((torch.linspace(0.1, 0.14, 256) * 255).round().div(255).expand(1, 3, 256, 256).contiguous())
    assert (found - plain).abs().max() < 1 / 255


def cloth_and_collar(noise=0.0):
    """A dark cloth of brightness 0.06, and a white collar from column 128 on, 256 pixels wide."""
    level = torch.where(torch.arange(256) < 128, 0.06, 0.9).expand(1, 3, 256, 256)
    return level + noise * torch.randn(1, 1, 256, 256, generator=torch.Generator().manual_seed(0))


def test_dark_cloth_is_matt_up_to_the_collar():
    """Black cloth reflects 0.004 of the light; a highlight of 0.05 * 4.8 would make a grey of it. Beside the collar it is as dark."""
    image, normals = cloth_and_collar(), facing_viewer(256, 256)
    looks = {"ambient": 0.0, "specular": 0.05, "relief": torch.ones(1, 1, 1, 1)}
    before, after = (
        255 * relight(image, normals, Light((0.0, 0.0, 1.0)), **each)[0, 0, 128] for each in ({**looks, "specular": 0.0}, looks)
    )
    added = (after - before)[:128]
    assert added.max() < 26 and added[:127].min() > 0.8 * added[0] and added[121:127].min() > 0.8 * added[110], added
    assert shine(image)[0, 0, 128, 132:].min() > 0.9
    assert shine(cloth_and_collar(0.01))[..., 8:-8, 8:112].std() < 0.2 * 2 * 0.06 * 0.01 / 0.05, "nor is its noise lit"


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize(("specular", "shininess"), [(0.0, 20), (0.3, 1), (0.3, 300), (1.0, 20), (1.0, 300)])
def test_a_white_surface_gives_back_all_light_and_none_more(specular, shininess):
    """By reciprocity the reflected share is the integral over all lamps of what is seen, over pi."""
    flat = facing_viewer(1, 1)
    steps = (torch.arange(60) + 0.5) / 60
    total = 0.0
    for step in steps.tolist():  # equal heights are equal areas of the hemisphere; steps are short where highlights are
        height = 1 - step**2
        lamp = Light((math.sqrt(1 - height**2), 0.0, height), intensity=0.01)
        seen = relight(torch.ones(1, 3, 1, 1), flat, lamp, ambient=0, specular=specular, shininess=shininess)
        total += to_linear(seen[0, 0].numpy()).item() / 0.01 * 2 * 2 * step / 60
    assert total == pytest.approx(1, abs=0.01)


def plate_before_wall():
    """A plate of 40x40 pixels at depth 1, in the middle of a wall at depth 2, focal length 100."""
    depth = torch.full((1, 1, 161, 201), 2.0)
    depth[..., 60:101, 80:121] = 1.0
    return depth, intrinsics_from_focal_length(100.0, 161, 201)


test_bad_input_is_named = refuses(
    lambda change: relight(**{"image": torch.rand(1, 3, 8, 8), "normals": torch.ones(1, 3, 8, 8), "light": FROM_LEFT, **change}),
    ({"specular": 1.5}, "specular is 1.5; accepted: 0 to 1"),
    ({"shininess": float("nan")}, "shininess is nan"),
    ({"depth": torch.zeros(1, 1, 8, 8)}, "not positive and finite"),
    ({"depth": torch.ones(1, 1, 8, 9)}, "resize one of them first"),
    ({"normals": torch.ones(1, 2, 8, 8)}, r"normals has shape \(1, 2, 8, 8\)"),
    ({"mask": torch.ones(1, 1, 8, 8)}, "mask"),
)
test_bad_lamps_are_named = refuses(
    lambda lamp: Light(**lamp),
    ({"position": (0, 0, 0)}, "nowhere"),
    ({"position": (0, 0, float("nan"))}, "must be finite"),
    ({"position": (0, 0, 1), "intensity": -1}, "0 and above"),
)


def test_lamps_add_in_linear_light():
    normals, _ = sphere()
    first, second = Light(light_direction(180, 20), intensity=0.4), Light(light_direction(0, 60), colour=(0.2, 0.5, 1.0), intensity=0.5)
    image = grey(normals)
    one, other, both = (to_linear(relight(image, normals, lamps, ambient=0).numpy()) for lamps in (first, [second], (first, second)))
    assert np.abs(one + other - both).max() < 1e-5
    assert relight(image, normals, (), ambient=0).max() == 0


@pytest.mark.parametrize(("up", "share"), [(1.0, 1.0), (0.0, 0.5), (-1.0, 0.0), (0.6, 0.8)])
def test_ambient_light_comes_from_two_sides(up, share):
    """A plane sees (1 + n.y) / 2 of the upper half of the world."""
    normals = torch.tensor((0.0, up, math.sqrt(1 - up * up))).view(1, 3, 1, 1)
    lit = relight(grey(normals), normals, (), ambient=0.5, ambient_above=(0.2, 0.4, 1.0), ambient_below=(1.0, 0.5, 0.0))
    expected = to_linear(0.5) * 0.5 * (share * np.array((0.2, 0.4, 1.0)) + (1 - share) * np.array((1.0, 0.5, 0.0)))
    assert np.abs(to_linear(lit[0, :, 0, 0].numpy()) - expected).max() < 1e-5


def test_what_is_rolled_off_rises_stays_below_white_and_turns_neither_pink_nor_yellow():
    lit = torch.linspace(0, 50, 20001, dtype=torch.float64).view(1, 1, -1, 1) * torch.tensor((1.0, 0.5, 0.25)).view(1, 3, 1, 1)
    rolled = roll_off(lit, torch.full_like(lit, 0.3))
    assert (rolled - lit)[..., :240, :].abs().max() < 1e-12, "up to 0.6 nothing changes"
    brightest = rolled[0, 0, :, 0]
    assert (brightest.diff() > 0).all() and brightest.max() < 1
    red, green, blue = rolled[0, :, 1:, 0]
    knee = torch.tensor(0.6, dtype=lit.dtype)
    film, kept = _shoulder(lit, knee, 1 - knee)[0, 1, 1:, 0], blue + (red - blue) / 3
    assert (film > kept - 1e-9).all()
    assert ((green - (film + kept) / 2).abs() < 1e-9).all(), "between film's yellow and the pink of its own hue"
    assert (rolled.diff(dim=2) > 0).all(), "no channel is flat"
    slopes = brightest.diff() / lit[0, 0, :, 0].diff()
    assert (slopes.diff().abs() < 0.02).all(), "smooth at the knee"


def test_near_a_lamp_there_is_still_an_image():
    """At a distance of 0.2 a lamp is 25 times as bright: the clipped wall is white, the rolled off one keeps its pattern."""
    pattern = torch.where(torch.arange(32) % 4 < 2, 0.45, 0.6).expand(1, 3, 32, 32)
    flat = facing_viewer(32, 32)
    lamp = Light((0.0, 0.0, -0.8), is_point=True)
    soft, clipped = (relight(pattern, flat, lamp, rolled_off=rolled)[0, 0, 16, 12:20] for rolled in (True, False))
    assert clipped.min() > 0.9999 and soft.max() < 1 and soft.max() - soft.min() > 0.01


def test_exposure_is_in_stops():
    normals, _ = sphere(9)
    plain, brighter = (to_linear(relight(grey(normals, 0.3), normals, FROM_LEFT, exposure=stops).numpy()) for stops in (0, 1))
    assert np.abs(2 * plain - brighter).max() < 1e-5


def test_a_lamps_own_shadow_goes_before_the_others_and_none_falls_on_the_sky():
    depth, intrinsics = plate_before_wall()
    flat = facing_viewer(161, 201)
    image, options = grey(flat), {"depth": depth, "intrinsics": intrinsics, "ambient": 0.0}
    lit = {
        own: relight(image, flat, Light(light_direction(180, 45), shadow=own), shadow=1.0, **options)[0, 0, 80, 150] for own in (None, 0.0)
    }
    assert lit[None] == 0 and lit[0.0] > 0.3
    sky = torch.zeros(1, 1, 161, 201, dtype=torch.bool)
    sky[..., 140:] = True
    assert relight(image, flat, Light(light_direction(180, 45)), shadow=1.0, sky=sky, **options)[0, 0, 80, 150] == lit[0.0]


def test_a_plan_is_placed_by_the_camera():
    intrinsics = intrinsics_from_focal_length(50.0, 60, 80)
    assert LightPlan(azimuth=0, elevation=0).placed(intrinsics, 60, 80).position == pytest.approx((1, 0, 0))
    lamp = LightPlan("point", x=0.5, y=0.0, depth=2.0, size=0.1, shadow=0.2).placed(intrinsics, 60, 80)
    assert lamp.position == pytest.approx((0, 1.2, -2), abs=1e-5) and (lamp.is_point, lamp.size, lamp.shadow) == (True, 0.1, 0.2)
    with pytest.raises(ValueError, match="light is 'sun'; accepted: directional, point"):
        LightPlan("sun")


def test_colours_are_read_as_people_write_them():
    assert colour_to_linear("#fff") == (1, 1, 1) and colour_to_linear(" #F80 ") == colour_to_linear("#ff8800")
    assert colour_to_linear("#808080")[0] == pytest.approx(to_linear(np.float64(128 / 255)))
    assert colour_to_linear("#ff880080") == colour_to_linear("#ff8800"), "a picker's opacity"
    assert colour_to_linear("White") == colour_to_linear("255,255, 255") == (1, 1, 1)
    assert colour_to_linear("orange") == colour_to_linear("255,165,0") == colour_to_linear("#ffa500")
    for bad in ("fff", "#ffff", "#gggggg", "whitish", "##fff", "256,0,0", "1,2", "0.5,0.5,0.5", "", None, "rgb(1,2,3)"):
        with pytest.raises(ValueError, match=r"colour is .*#ffb46b or #fff"):
            colour_to_linear(bad)
