import pytest
import torch

from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.geometry.regions.sky import find_sky, looks_blue, sky_alpha, sky_share
from tests.refusals import refuses

HEIGHT, WIDTH, HORIZON = 96, 128, 40


def landscape(sky=(0.6, 0.75, 0.95), ground=(0.35, 0.35, 0.25)):
    """(1, 3, H, W) image and (1, 1, H, W) disparity: the sky wavers as networks' does, the ground comes near towards the bottom."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.arange(HEIGHT).view(1, 1, -1, 1).expand(1, 1, HEIGHT, WIDTH)
    above = rows < HORIZON
    colours = torch.where(above, torch.tensor(sky).view(1, 3, 1, 1), torch.tensor(ground).view(1, 3, 1, 1))
    ramp = (rows - HORIZON).clamp(min=0) / (HEIGHT - HORIZON) * 0.8 + 0.2
    disparity = torch.where(above, 0.02 + 0.05 * torch.rand(1, 1, HEIGHT, WIDTH, generator=generator), ramp)
    return colours, 130 * disparity - 40, above


@pytest.mark.parametrize("sky", [(0.6, 0.75, 0.95), (0.9, 0.9, 0.9), (0.2, 0.3, 0.7)], ids=["bright blue", "white", "deep blue"])
def test_sky_is_found_where_it_is(sky):
    image, disparity, above = landscape(sky)
    assert torch.equal(find_sky(image, Estimate(disparity, Quantity.DISPARITY)), above)


def test_every_quantity_shows_the_same_sky():
    image, disparity, above = landscape()
    inverse = (disparity - disparity.amin() + 1) / 100
    for depth, quantity in ((1 / inverse, Quantity.METRIC_DEPTH), (-disparity, Quantity.RELATIVE_DEPTH)):
        assert torch.equal(find_sky(image, Estimate(depth, quantity)), above)


def test_what_lacks_a_sign_is_no_sky():
    image, disparity, _ = landscape()
    dark_wall, _, _ = landscape(sky=(0.2, 0.15, 0.1))
    backdrop = disparity.clone()
    backdrop[..., HORIZON:, : WIDTH // 3] = disparity[..., :1, :1]  # the wall goes on beside a person
    near_ceiling = disparity.flip(2)
    for shown, depth in ((dark_wall, disparity), (image, backdrop), (image, near_ceiling), (image, torch.ones_like(disparity))):
        assert not find_sky(shown, Estimate(depth, Quantity.DISPARITY)).any()


def test_what_has_no_value_is_no_sky():
    image, disparity, above = landscape()
    disparity[..., :8, :8] = torch.nan
    mask = torch.ones_like(above)
    mask[..., :8, -8:] = False
    expected = above & mask & torch.isfinite(disparity)
    assert torch.equal(find_sky(image, Estimate(disparity, Quantity.DISPARITY, mask=mask)), expected)


test_what_cannot_be_judged_is_refused = refuses(
    lambda image, estimate: find_sky(image, estimate),
    (landscape()[0][..., 1:], Estimate(landscape()[1], Quantity.DISPARITY), "resize one of them"),
    (landscape()[0], Estimate(normals=landscape()[0]), "no depth"),
)


def test_what_is_as_finely_drawn_as_the_rest_is_no_sky():
    """Shelves before a bright wall: bright and far along the top border, as a sky is."""
    image, disparity, _ = landscape(sky=(0.7, 0.7, 0.7))
    strokes = 0.3 * torch.rand(1, 1, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1))
    assert not find_sky(image + strokes - 0.15, Estimate(disparity, Quantity.DISPARITY)).any()
    image, disparity, _ = landscape(sky=(0.8, 0.8, 0.8))
    leaves = torch.where(torch.arange(HEIGHT).view(1, 1, -1, 1) < HORIZON, 0.2 * strokes, strokes)
    assert find_sky(image + leaves, Estimate(disparity, Quantity.DISPARITY)).any(), "clouds over a meadow"


def test_the_skys_share_falls_off_where_things_come_near():
    image, disparity, above = landscape()
    share = sky_share(image, Estimate(disparity, Quantity.DISPARITY))
    assert share[above].min() > 0.8 and share[..., HORIZON + 12 :, :].max() == 0
    assert not sky_share(torch.full_like(image, 0.5), Estimate(disparity, Quantity.DISPARITY)).any()


def test_metres_of_things_before_the_sky_are_believed():
    """A sky at 80 m, as networks give it; a street that goes on to 25 m is none of it."""
    image, _, above = landscape()
    metres = torch.where(above, 80.0, (2 * 15 ** torch.linspace(3.4, 0, HEIGHT).view(1, 1, -1, 1)).clamp(max=25))
    estimate = Estimate(metres.clone(), Quantity.METRIC_DEPTH)
    assert (find_sky(image, estimate) & ~above).any(), "this rule takes in what is farther than 8 times the near end"
    assert torch.equal(sky_alpha(image, estimate) > 0.5, above), "a surface keeps its street"
    share = sky_share(image, estimate)
    assert share[above].min() > 0.99 and share[~above].max() < 0.1


def room(colour):
    """(1, 3, H, W) image and (1, 1, H, W) disparity of a plain wall behind a ball on a darker floor."""
    rows = torch.arange(HEIGHT).view(1, 1, -1, 1).expand(1, 1, HEIGHT, WIDTH)
    ball = (rows - 60) ** 2 + (torch.arange(WIDTH) - 64) ** 2 < 20**2
    disparity = torch.where(ball, 0.7, 0.25 + 0.6 * (rows - 52).clamp(min=0) / 43)
    wall, floor = (torch.tensor(each).view(1, 3, 1, 1) for each in (colour, (0.4, 0.33, 0.27)))
    return torch.where(ball, 0.3, torch.where(rows < 52, wall, floor)), disparity


@pytest.mark.parametrize("colour", [(0.6, 0.6, 0.6), (0.8, 0.72, 0.6), (0.72, 0.72, 0.7)], ids=["grey", "cream", "pale"])
def test_a_plain_wall_behind_a_ball_is_no_sky(colour):
    image, disparity = room(colour)
    assert not sky_alpha(image, Estimate(disparity, Quantity.DISPARITY)).any()


def test_a_white_wall_that_is_a_few_metres_away_is_no_sky():
    image, disparity = room((0.9, 0.9, 0.9))
    assert not sky_alpha(image, Estimate(1 / disparity, Quantity.METRIC_DEPTH)).any()
    assert sky_alpha(image, Estimate(20 / disparity, Quantity.METRIC_DEPTH)).any(), "at 80 m it is one"


def test_a_network_that_tells_its_sky_is_believed():
    image, disparity, above = landscape()
    nothing = torch.ones_like(above)
    assert find_sky(image, Estimate(disparity, Quantity.DISPARITY)).any()
    assert not sky_alpha(image, Estimate(disparity, Quantity.DISPARITY, mask=nothing)).any(), "it says that there is none"
    left = above & (torch.arange(WIDTH) < WIDTH // 2)
    told = disparity.where(~left, disparity.amin())
    alpha = sky_alpha(image, Estimate(told, Quantity.DISPARITY, mask=~left))
    assert ((alpha > 0.5) != left).float().mean() < 0.001, "the rest looks like sky, but it says that it is none"
    masks, told = torch.cat((nothing, ~left)), told.repeat(2, 1, 1, 1)
    both = sky_alpha(image.repeat(2, 1, 1, 1), Estimate(told, Quantity.DISPARITY, mask=masks))
    assert not both[0].any() and torch.allclose(both[1:], alpha, atol=1e-4), "each image of a batch has its own word"


def test_a_sky_predicted_in_part_fades_where_the_image_shows_no_border_and_nowhere_else():
    image, disparity, above = landscape()
    left = above & (torch.arange(WIDTH) < WIDTH // 2)
    alpha = sky_alpha(image, Estimate(disparity.where(~left, disparity.amin()), Quantity.DISPARITY, mask=~left))
    assert alpha[..., :HORIZON, :].diff(dim=-1).abs().max() < 0.15, "no line through an even sky"
    assert alpha[..., : HORIZON - 1, :40].min() > 0.95 and alpha[..., : HORIZON - 1, -40:].max() < 0.05, "as predicted"
    assert alpha[..., HORIZON + 1 :, :].max() < 0.05, "the ground looks like no sky"


def test_a_faint_skyline_that_the_image_shows_is_followed():
    """Hazy hills, 10 levels darker than the sky."""
    image, disparity, above = landscape(sky=(0.8, 0.82, 0.85), ground=(0.76, 0.78, 0.81))
    image = (image + 0.004 * torch.randn(image.shape, generator=torch.Generator().manual_seed(1))).clamp(0, 1)
    far = torch.where(above, 0.0, 0.05 + disparity - disparity.amin())
    alpha = sky_alpha(image, Estimate(far, Quantity.DISPARITY, mask=~above))
    assert (alpha - above.float()).abs()[..., HORIZON + 3 :, :].mean() < 0.02 and alpha[..., : HORIZON - 3, :].mean() > 0.98


def test_holes_of_a_sensor_say_nothing_of_the_sky():
    image, disparity, above = landscape()
    holes = torch.zeros_like(above)
    holes[..., -20:-10, :20] = True
    estimate = Estimate(disparity.masked_fill(holes, torch.nan), Quantity.DISPARITY, mask=~holes)
    assert torch.equal(sky_alpha(image, estimate) > 0.5, above)


@pytest.mark.parametrize("tells", [True, False])
def test_the_border_follows_the_full_size_image(tells):
    """Chimneys before the sky, in an image four times as large as the depth: no staircase of four pixels."""
    height, width = 4 * HEIGHT, 4 * WIDTH
    rows, columns = torch.arange(height).view(1, 1, -1, 1), torch.arange(width).view(1, 1, 1, -1)
    slope = rows.float() - (4 * HORIZON + 0.3 * (columns - width / 2).abs())
    sky = (0.5 - slope).clamp(0, 1)
    pale, dark = (torch.tensor(each).view(1, 3, 1, 1) for each in ((0.6, 0.75, 0.95), (0.35, 0.3, 0.25)))
    image = torch.lerp(dark.expand(1, 3, height, width), pale.expand(1, 3, height, width), sky)
    coarse = torch.nn.functional.avg_pool2d(sky, 4)
    ramp = 0.3 + 0.7 * torch.linspace(0, 1, HEIGHT).view(1, 1, -1, 1).expand(1, 1, HEIGHT, WIDTH)
    estimate = Estimate(torch.where(coarse > 0.5, 0.02, ramp), Quantity.DISPARITY, mask=coarse < 0.5 if tells else None)
    error = (sky_alpha(image, estimate) - sky).abs()
    staircase = (torch.nn.functional.interpolate((coarse > 0.5).float(), scale_factor=4) - sky).abs()
    band = slope.abs() < 4
    assert error[band].mean() < 0.2 * staircase[band].mean()


def test_a_region_is_blue_if_the_rest_is_less_so():
    image, _, above = landscape(sky=(0.1, 0.15, 0.25))
    assert looks_blue(image, above).item(), "at dusk, too"
    for shown, region in (
        (landscape(sky=(0.5, 0.5, 0.5))[0], above),
        (landscape(ground=(0.5, 0.7, 0.9))[0], above),
        (image, ~above),
        (image, torch.zeros_like(above)),
    ):
        assert not looks_blue(shown, region).any()
