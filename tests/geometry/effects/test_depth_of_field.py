import math

import pytest
import torch

from depth_normal.geometry.effects.depth_of_field import blur_levels, depth_of_field
from depth_normal.geometry.effects.lens import aperture_kernel, blur_layer
from depth_normal.geometry.images.srgb import linear_to_srgb, srgb_to_linear
from tests.refusals import refuses

HEIGHT, WIDTH = 72, 96


def make_image():
    return torch.rand(1, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))


def flat(circle, height=HEIGHT, width=WIDTH):
    return torch.full((1, 1, height, width), float(circle))


def grey(level=0.2):
    return torch.full((1, 3, HEIGHT, WIDTH), level)


def with_and_without_highlights(image, circle):
    return (depth_of_field(image, circle, highlights=stops) for stops in (0.0, 2.0))


def thing(inside, outside):
    """Circles of a square thing, 24 to 48 in both directions, before a background."""
    circle = flat(outside)
    circle[..., 24:48, 24:48] = inside
    return circle


def two_colours():
    """A red thing before a blue background."""
    scene = torch.tensor((0.0, 0.1, 0.9)).view(1, 3, 1, 1).repeat(1, 1, HEIGHT, WIDTH)
    scene[..., 24:48, 24:48] = torch.tensor((0.9, 0.1, 0.0)).view(3, 1, 1)
    return scene


def test_what_is_in_focus_is_the_image_to_the_bit():
    image = 3 * make_image()  # brighter than white, too
    assert torch.equal(depth_of_field(image, flat(0)), image)
    assert torch.equal(depth_of_field(image, flat(0.4)), image), "less than half a pixel is no blur"
    broken = flat(40)
    broken[..., :9] = torch.tensor((torch.nan, torch.inf, -torch.inf)).repeat(3)
    assert depth_of_field(image, broken, blades=5, rotation=30, highlights=1).isfinite().all()


@pytest.mark.parametrize("background", [4, 10, 24, 60])
def test_a_sharp_thing_stays_to_the_bit_and_nothing_of_it_gets_into_a_soft_background(background):
    image = two_colours()
    image[..., 24:48, 24:48], image[:, 2] = make_image()[..., 24:48, 24:48], make_image()[:, 2]
    soft = depth_of_field(image, thing(0, background), highlights=1.0)
    behind = torch.ones(HEIGHT, WIDTH, dtype=torch.bool)
    behind[24:48, 24:48] = False
    assert torch.equal(soft[..., ~behind], image[..., ~behind])
    assert soft[0, 0][behind].max() < 0.02, "no red"
    assert (soft - image)[:, 2, :20].abs().mean() > 0.1


def test_a_soft_thing_reaches_as_far_as_its_circle_and_shows_the_background_behind_its_border():
    soft = depth_of_field(two_colours(), thing(-12, 0))
    outside = soft[0, :, 36, :24]
    assert torch.allclose(soft[0, :, 36, :15], two_colours()[0, :, 36, :15], atol=0.01), "beyond the circle's radius of 6 nothing changes"
    assert outside[0, 20:].min() > 0.2, "within it, the thing is seen"
    assert soft[0, 2, 36, 25] > 0.3, "and inside its outline the background shines through"
    half = srgb_to_linear(soft[0, 0, 36, 23:25]).mean() / srgb_to_linear(torch.tensor(0.9))
    assert half == pytest.approx(0.5, abs=0.06), "on the outline half of the light is its own"


@pytest.mark.parametrize(("circle", "light"), [*((circle, 1.0) for circle in (-30, -9, 3, 7, 14, 36, 100)), (11, 50.0)])
def test_light_is_kept(circle, light):
    image = torch.zeros(1, 3, 200, 240)
    image[..., 100, 120] = linear_to_srgb(torch.tensor(light))
    soft = srgb_to_linear(depth_of_field(image, flat(circle, 200, 240)))
    assert soft.sum().item() == pytest.approx(3 * light, rel=0.03)


@pytest.mark.parametrize("circle", [6, 13, 21, 29, 45, 80])
def test_a_point_of_light_becomes_a_disc_of_that_diameter(circle):
    layer = torch.zeros(1, 1, 128, 160)
    layer[..., 64, 80] = 1
    disc = blur_layer(layer, circle / 2)[0, 0]
    rows, columns = torch.meshgrid(torch.arange(128) - 64, torch.arange(160) - 80, indexing="ij")
    variance = (disc * (rows.square() + columns.square())).sum() / 2
    # The variance of a disc, and a twelfth for the pixel.
    assert float(variance) == pytest.approx((circle / 2) ** 2 / 4, rel=0.08, abs=0.3)
    assert float(disc.sum()) == pytest.approx(1, abs=1e-4)


def test_a_gentle_slope_is_blurred_without_seams_between_layers():
    """Rows of circles of 34 to 80 pixels: each column is blurred a little more than the one before."""
    image = (torch.arange(160) == 80).float().view(1, 1, -1, 1).expand(1, 3, 160, 320).contiguous()
    found = depth_of_field(image, torch.linspace(34, 80, 320).expand(1, 1, 160, 320).contiguous())
    steps = srgb_to_linear(found)[0, 0, 80].diff()[40:-40]
    assert steps.max() < 0.0005 and steps.min() > -0.0005, steps.aminmax()


@pytest.mark.parametrize("blades", [3, 4, 5, 6, 8])
def test_blades_make_a_polygon_with_its_corners_on_the_circle(blades):
    radius = 30.0
    kernel = aperture_kernel(radius, blades)
    area = 1 / float(kernel.max())
    assert area == pytest.approx(0.5 * blades * radius**2 * math.sin(2 * math.pi / blades), rel=0.03)
    assert kernel[30, 60] > 0 or kernel[30, 59] > 0, "at 0 degrees a corner points to the right"
    turned = aperture_kernel(-radius, blades)
    assert torch.allclose(turned, kernel.flip(0, 1), atol=1e-6), "before the focus it stands on its head"


def test_few_blades_are_a_disc_and_rotation_turns():
    assert torch.equal(aperture_kernel(9.0, 0, 45), aperture_kernel(9.0, 2))
    assert torch.allclose(aperture_kernel(9.0, 4, 90), aperture_kernel(9.0, 4), atol=1e-6)
    assert not torch.allclose(aperture_kernel(9.0, 4, 45), aperture_kernel(9.0, 4), atol=1e-4)


def test_burnt_out_highlights_are_lifted_only_where_they_are_soft():
    image = grey()
    image[..., 36, 10] = image[..., 36, 70] = 1
    circle = flat(0)
    circle[..., 48:] = 9
    plain, lifted = with_and_without_highlights(image, circle)
    base = srgb_to_linear(torch.tensor(0.2))
    light = [(srgb_to_linear(each)[0, 0, :, 56:] - base).sum() for each in (plain, lifted)]
    assert float(light[1] / light[0]) > 3.5
    assert torch.equal(plain[..., :40], lifted[..., :40]) and lifted.max() <= 1


def test_highlights_do_not_brighten_what_looks_sharp():
    image = torch.where(make_image()[:, :1] > 0.9, 1.0, 0.5).expand(1, 3, HEIGHT, WIDTH).contiguous()
    circle = thing(1.6, 14)
    plain, lifted = with_and_without_highlights(image, circle)
    inside = (..., slice(28, 44), slice(28, 44))
    assert torch.equal(plain[inside], lifted[inside])
    assert lifted.mean() > plain.mean() + 0.01, "the soft background counts"


BLUE_SKY, LAMPS = (0.75, 0.9, 0.96), [(0.75, 0.9, 1.0), (1.0, 0.7, 0.3), (1.0, 0.1, 0.1), (0.1, 0.1, 1.0)]


@pytest.mark.parametrize("around", [0.2, 0.5])
@pytest.mark.parametrize("colour", [BLUE_SKY, *LAMPS], ids=str)
def test_a_lamp_of_any_colour_is_a_highlight_and_a_small_piece_of_blue_sky_is_none(colour, around):
    """Sky as between the beams of a bridge; a lamp of that size."""
    image = grey(around)
    image[..., 34:38, 34:38] = torch.tensor(colour).view(3, 1, 1)
    plain, lifted = with_and_without_highlights(image, flat(9))
    assert torch.equal(plain, lifted) if colour == BLUE_SKY else (lifted - plain).max() > 0.04


def even_sky():
    image = grey()
    image[:, 2, :40] = 0.97
    return image


def noisy_sky():
    """With a narrow part between two things."""
    image = grey()
    image[..., :40, :] = 0.97 + 0.01 * torch.rand(40, WIDTH, generator=torch.Generator().manual_seed(0))
    image[..., 12:40, 30:60] = 0.2
    image[..., 12:18, 44:46] = 0.97
    return image


def banded_sky():
    """Of which narrow bands reach the largest value of blue."""
    image = torch.tensor((0.35, 0.5, 0.95)).view(1, 3, 1, 1).repeat(1, 1, HEIGHT, WIDTH)
    image[..., (8, 11, 15), :] = torch.tensor((0.37, 0.52, 1.0)).view(3, 1, 1)
    return image


@pytest.mark.parametrize(("sky", "most"), [(even_sky, 1e-6), (noisy_sky, 0.02), (banded_sky, 1e-6)])
def test_a_bright_sky_is_no_highlight_and_a_lamp_is_one(sky, most):
    image = sky()
    image[..., 50, 70] = 1
    plain, lifted = with_and_without_highlights(image, flat(9))
    assert (plain - lifted)[..., :40, :].abs().max() < most and (lifted - plain)[..., 44:56, 64:76].max() > 0.01


def test_nothing_shows_through_a_nearly_sharp_thing_far_from_its_border():
    """Before what is hardly farther, whose blur does not reach so far."""
    image = grey(0.9)
    image[..., 60:] = 0.1
    circle = flat(-1.6)
    circle[..., 60:] = 1.2
    circle[:, :, :4, :4], circle[:, :, :4, 8:12] = 60.0, -4.0  # large blurs elsewhere
    soft = depth_of_field(image, circle)
    assert (soft - image)[..., 20:, 20:52].abs().max() < 2e-3


@pytest.mark.parametrize("column", [40, 41])
def test_the_rim_of_a_soft_near_thing_has_no_dash(column):
    """What is behind is found at half size: at every second column the first pixel of the thing had nothing behind it."""
    image = grey(0.9)
    circle = flat(0)
    image[..., column:], circle[..., column:] = 0.1, -14.0
    across = depth_of_field(image, circle)[0, 0, HEIGHT // 2, 20:70]
    assert (across.diff() < 1e-3).all()


def test_no_background_shows_through_an_unevenly_blurred_thing():
    image = torch.ones(1, 3, HEIGHT, WIDTH)
    image[..., 20:60, 20:76] = 0.1
    circle = flat(24)
    uneven = torch.rand(40, 56, generator=torch.Generator().manual_seed(0))
    circle[..., 20:60, 20:76] = torch.where(uneven > 0.7, 2.0, 0.0)
    soft = depth_of_field(image, circle)
    assert soft[..., 23:57, 23:73].max() < 0.11


def test_no_background_shows_through_a_soft_thing_whose_blur_is_uneven_beside_its_border():
    """A dark thing before a bright wall, as a network's depth gives it: circles of 4 to 4.6 pixels, in patches."""
    columns = torch.arange(WIDTH)
    patches = torch.rand(1, 1, HEIGHT // 4, WIDTH // 4, generator=torch.Generator().manual_seed(0)).repeat_interleave(4, 2)
    circle = torch.where(columns < 48, 4 + 0.6 * patches.repeat_interleave(4, 3), 18.0)
    found = depth_of_field(torch.where(columns < 48, 0.02, 0.9).expand(1, 3, HEIGHT, WIDTH).contiguous(), circle)
    assert found[..., :44].amax() < 0.025, float(found[..., :44].amax())  # 0.22 without a limit to the layers


def test_no_background_shows_through_a_soft_thing_that_leans():
    circle = thing(0, 20)
    circle[..., 24:48, 24:48] = torch.linspace(-14, -4, 24)
    assert depth_of_field(two_colours(), circle)[0, 2, 36, 30:46].max() < 0.01  # 0.46 with layers as independent surfaces


def test_levels_hold_the_ends_and_the_focus():
    levels = blur_levels(-13.0, 200.0)
    assert levels[0] == -13 and levels[-1] == 200 and 0.0 in levels and levels == sorted(levels)


test_bad_input_is_refused = refuses(
    lambda circle, more: depth_of_field(make_image(), circle, **more),
    (flat(3, 5, 5), {}, "circle has shape"),
    (flat(3), {"blades": 17}, "blades is 17; accepted: 0 to 16"),
)
