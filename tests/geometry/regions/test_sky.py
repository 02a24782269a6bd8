"""Sky is found where image and depth look like a landscape, and nowhere else."""

import pytest
import torch

from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.geometry.regions.sky import find_sky, sky_of, sky_share, sky_to_drop

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


def test_images_of_a_batch_are_judged_each_by_itself():
    image, disparity, above = landscape()
    room = torch.full_like(image, 0.5)
    found = find_sky(torch.cat((image, room)), Estimate(disparity.repeat(2, 1, 1, 1), Quantity.DISPARITY))
    assert torch.equal(found[:1], above) and not found[1].any()


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


def test_what_cannot_be_judged_is_refused():
    image, disparity, _ = landscape()
    with pytest.raises(ValueError, match="resize one of them"):
        find_sky(image[..., 1:], Estimate(disparity, Quantity.DISPARITY))
    with pytest.raises(ValueError, match="no depth"):
        find_sky(image, Estimate(normals=image))


def test_what_is_as_finely_drawn_as_the_rest_is_no_sky():
    """Shelves before a bright wall: bright and far along the top border, as a sky is."""
    image, disparity, _ = landscape(sky=(0.7, 0.7, 0.7))
    strokes = 0.3 * torch.rand(1, 1, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1))
    assert not find_sky(image + strokes - 0.15, Estimate(disparity, Quantity.DISPARITY)).any()
    leaves = torch.where(torch.arange(HEIGHT).view(1, 1, -1, 1) < HORIZON, 0.2 * strokes, strokes)
    assert find_sky(image + leaves, Estimate(disparity, Quantity.DISPARITY)).any(), "clouds over a meadow"


def test_the_skys_share_falls_off_where_things_come_near():
    image, disparity, above = landscape()
    share = sky_share(image, Estimate(disparity, Quantity.DISPARITY))
    assert share[above].min() > 0.8 and share[..., HORIZON + 12 :, :].max() == 0
    assert not sky_share(torch.full_like(image, 0.5), Estimate(disparity, Quantity.DISPARITY)).any()


def test_a_network_that_tells_its_sky_is_believed():
    """As are those that tell of none: a bright wall over a floor has all the signs."""
    image, disparity, above = landscape()
    untold = Estimate(disparity, Quantity.DISPARITY)
    assert (sky_of(image, untold) > 0.5)[above].all() and sky_to_drop(image, untold).any()
    none = Estimate(disparity, Quantity.DISPARITY, mask=torch.ones_like(above))
    assert not sky_of(image, none).any() and not sky_to_drop(image, none).any()
    part = above.clone()
    part[..., :20] = False
    told = Estimate(torch.where(part, disparity.amin() - 1, disparity), Quantity.DISPARITY, mask=~part)
    assert torch.equal(sky_of(image, told) > 0.5, part) and torch.equal(sky_to_drop(image, told), part)
    small = told.resized(told.height // 2, told.width // 2)
    assert ((sky_of(image, small) > 0.5) != part).float().mean() < 0.05, "at the image's size"


def test_metres_of_things_before_the_sky_are_believed():
    """A sky at 80 m, as networks give it; a street that goes on to 25 m is none of it."""
    image, _, above = landscape()
    metres = torch.where(above, 80.0, (2 * 15 ** torch.linspace(3.4, 0, HEIGHT).view(1, 1, -1, 1)).clamp(max=25))
    estimate = Estimate(metres.clone(), Quantity.METRIC_DEPTH)
    assert (find_sky(image, estimate) & ~above).any(), "this rule takes in what is farther than 8 times the near end"
    assert torch.equal(sky_to_drop(image, estimate), above), "a surface keeps its street"
    share = sky_share(image, estimate)
    assert share[above].min() > 0.99 and share[~above].max() < 0.1
