"""What fills the holes: the background beside them, and nothing of what is in front."""

import pytest
import torch

from depth_normal.geometry.views.disocclusion import continue_surfaces, fill_uncovered

HEIGHT, WIDTH = 24, 40
NEAR, FAR = 1.0, 0.25
RED, GREEN = torch.tensor((1.0, 0.0, 0.0)).view(3, 1, 1), torch.tensor((0.0, 1.0, 0.0)).view(3, 1, 1)


def torn():
    """A red near thing on the left, a hole of six columns, a green background on the right."""
    colour, inverse = GREEN.expand(3, HEIGHT, WIDTH)[None].clone(), torch.full((1, 1, HEIGHT, WIDTH), FAR)
    colour[..., :15], inverse[..., :15] = RED, NEAR
    colour[..., 15:21], inverse[..., 15:21] = 0.0, 0.0
    return colour, inverse


@pytest.mark.parametrize(
    ("turn", "sideways"),
    [
        (lambda x: x, True),
        (lambda x: x.flip(3), True),
        (lambda x: x, False),
        (lambda x: x.flip(3), False),
        (lambda x: x.mT, False),
        (lambda x: x.mT.flip(2), False),
    ],
)
def test_holes_are_filled_from_the_far_side_alone(turn, sideways):
    colour, inverse = (turn(each).contiguous() for each in torn())
    filled = fill_uncovered(colour, inverse, sideways)
    assert torch.equal(filled.where(inverse > 0, 0), colour.where(inverse > 0, 0)), "what is seen stays"
    assert (filled - GREEN).abs().amax(1, keepdim=True)[inverse == 0].max() < 1e-5


def test_the_background_goes_on_as_its_mirror_image():
    """Columns that differ: those of the mirror image, and the farther the more, their mean over a pixel to each side."""
    colour, inverse = torn()
    colour[..., 21:] = torch.arange(21.0, WIDTH) / WIDTH
    filled = fill_uncovered(colour, inverse, True)[0, 0, 12, 15:21] * WIDTH
    mirrored = torch.tensor([26.0, 25, 24, 23, 22, 21])
    expected = torch.stack([mirrored[max(0, i - 1) : i + 2].mean() for i in range(6)])
    grain = (filled - expected)[[0, -1]] / (mirrored - expected)[[0, -1]]
    assert grain[1] == pytest.approx(0.6, abs=1e-3) and 0 < grain[0] < 0.2
    assert torch.allclose(filled[1:5], expected[1:5], atol=1e-3), "in the middle of a ramp both are the same"


def test_what_a_lens_blurs_is_filled_without_grain():
    colour, inverse = torn()
    colour[..., 21:] = torch.arange(21.0, WIDTH) % 2
    assert (fill_uncovered(colour, inverse, True, blurred=True)[..., 20] - 0.5).abs().max() < 1e-3
    assert (fill_uncovered(colour, inverse, True)[..., 20] - 0.5).abs().min() > 0.2


def test_a_sky_above_a_hole_does_not_come_down_beside_a_field():
    colour, inverse = torn()
    inverse[..., 21:] = 0.4
    colour[..., :3, :], inverse[..., :3, :] = 1.0, 1e-3
    assert (fill_uncovered(colour, inverse)[..., 12:, 15:21] - GREEN).abs().max() < 1e-5


def test_a_narrow_background_does_not_reach_for_the_next_near_thing():
    colour, inverse = torn()
    colour[..., 23:], inverse[..., 23:] = RED, NEAR
    filled = fill_uncovered(colour, inverse, True)
    assert (filled[..., 15:23] - GREEN).abs().max() < 1e-5


@pytest.mark.parametrize("turn", [lambda x: x, lambda x: x.flip(3), lambda x: x.mT], ids=["right", "left", "below"])
@pytest.mark.parametrize("share", [0.4, -0.2], ids=["mixture", "fringe"])
def test_traces_of_what_hid_the_background_do_not_stay_beside_a_hole(turn, share):
    colour, inverse = torn()
    colour[..., 21] = (GREEN + share * (RED - GREEN))[..., 0]
    colour, inverse = (turn(each).contiguous() for each in (colour, inverse))
    far = inverse < NEAR
    background = GREEN.expand_as(colour)[0][:, far[0, 0]]
    assert (fill_uncovered(colour, inverse)[0][:, far[0, 0]] - background).abs().max() > 0.1
    assert (fill_uncovered(colour, inverse, traces=True)[0][:, far[0, 0]] - background).abs().max() < 0.01


def test_traces_are_not_looked_for_in_other_rows():
    """A background that is too narrow to be known, and goes on at the other end of the row."""
    colour, inverse = torn()
    colour, inverse = colour[..., :26].clone(), inverse[..., :26].clone()
    colour[..., 21] = (GREEN + 0.4 * (RED - GREEN))[..., 0]
    colour[..., :12], inverse[..., :12] = GREEN, FAR
    assert torch.equal(fill_uncovered(colour, inverse, True, traces=True)[..., 21:], colour[..., 21:])


def test_a_thing_that_the_depth_map_lacks_is_no_trace():
    """As wide as pixels are looked for."""
    colour, inverse = torn()
    colour[..., 21:27] = (GREEN + 0.4 * (RED - GREEN)).expand(3, HEIGHT, 6)
    assert torch.equal(fill_uncovered(colour, inverse, True, traces=True)[..., 21:], colour[..., 21:])


def test_what_differs_otherwise_than_what_hid_it_is_no_trace():
    colour, inverse = torn()
    colour[:, 2, :, 21] = 0.4
    assert torch.equal(fill_uncovered(colour, inverse, True, traces=True)[..., 21:], colour[..., 21:])


def test_a_background_that_varies_is_no_trace():
    colour, inverse = torn()
    colour[..., 21:] = torch.rand(3, HEIGHT, WIDTH - 21, generator=torch.Generator().manual_seed(0))
    assert torch.equal(fill_uncovered(colour, inverse, True, traces=True), fill_uncovered(colour, inverse, True))


def test_traces_are_the_same_in_a_batch():
    colour, inverse = torn()
    colour[..., 21] = (GREEN + 0.4 * (RED - GREEN))[..., 0]
    both = fill_uncovered(torch.cat((1 - colour, colour)), torch.cat((inverse, inverse)), True, traces=True)
    assert torch.allclose(both[1:], fill_uncovered(colour, inverse, True, traces=True), atol=1e-6)


def test_an_image_without_anything_and_one_without_holes_stay():
    colour, inverse = torn()
    assert torch.isfinite(fill_uncovered(colour, torch.zeros_like(inverse))).all()
    assert torch.equal(fill_uncovered(colour, torch.ones_like(inverse)), colour)


@pytest.mark.parametrize("row", [0, 5, HEIGHT - 1])
def test_a_row_without_anything_takes_nothing_of_other_rows_and_images(row):
    colour, inverse = torn()
    inverse[..., row, :] = 0
    colour[..., row, :] = 0.5
    both = fill_uncovered(torch.cat((colour, 1 - colour)), torch.cat((inverse, inverse)), True)
    alone = fill_uncovered(colour, inverse, True)
    assert torch.equal(both[:1], alone)
    assert (alone[..., row, :10] - 0.5).abs().max() < 1e-5


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (7, 1)])
def test_tiny_images_work(size):
    inverse = torch.zeros(2, 1, *size)
    inverse[..., :1, :1] = 1
    assert torch.isfinite(fill_uncovered(torch.rand(2, 3, *size), inverse)).all()
    assert torch.isfinite(fill_uncovered(torch.rand(2, 3, *size), inverse, traces=True)).all()


def last_pixels(inverse):
    """Of each hole the pixel of the background in its row."""
    rows = torch.arange(HEIGHT).view(1, -1, 1).expand(1, HEIGHT, WIDTH)
    return torch.stack((rows, torch.full_like(rows, 21)), 1)


@pytest.mark.parametrize("inset", [0, 2])
def test_a_known_surface_goes_on_as_its_mirror_image(inset):
    colour, inverse = torn()
    colour[:, 0] = torch.arange(WIDTH) / WIDTH
    filled = continue_surfaces(colour, inverse, last_pixels(inverse), inset)
    assert torch.equal(filled.where(inverse > 0, 0), colour.where(inverse > 0, 0)), "what is seen stays"
    columns = (filled[0, 0, 12, 15:21] * WIDTH).tolist()
    # turns of two columns, a twentieth of the side, averaged over a pixel to each side
    first = 21 + inset
    assert columns[1:5] == pytest.approx([first + each for each in (1 / 3, 1 / 3, 2 / 3, 2 / 3)], abs=1e-3)


def test_a_known_surface_takes_nothing_of_another_one():
    """Behind the last pixels of the background stands another near thing."""
    colour, inverse = torn()
    colour[..., 22:], inverse[..., 22:] = RED, NEAR
    filled = continue_surfaces(colour, inverse, last_pixels(inverse))
    assert (filled - GREEN).abs().amax(1, keepdim=True)[inverse == 0].max() < 1e-5


@pytest.mark.parametrize("inset", [0, 1, 3])
def test_a_known_surface_takes_nothing_of_what_hides_it(inset):
    """Its last visible pixel is a hole too, behind which another surface goes on, and beside it stands a near thing."""
    colour, inverse = torn()
    colour[..., 22:], inverse[..., 22:] = RED, NEAR
    hole = inverse == 0
    hole[..., 21:26] = True
    filled = continue_surfaces(colour, inverse, last_pixels(inverse), inset, hole)
    assert (filled - GREEN).abs().amax(1, keepdim=True)[inverse == 0].max() < 1e-5


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (7, 1)])
def test_known_surfaces_in_small_images(size):
    last = torch.zeros(2, 2, *size, dtype=torch.long)
    assert torch.isfinite(continue_surfaces(torch.rand(2, 3, *size), torch.zeros(2, 1, *size), last, 3)).all()
    colour = torch.rand(2, 3, *size)
    assert torch.equal(continue_surfaces(colour, torch.ones(2, 1, *size), last), colour)


@pytest.mark.parametrize("farther", [1.1, 3.0])
def test_a_hole_beside_a_tower_is_filled_from_beside_it(farther):
    """The sky at the tower's foot is farther away in depth, but 20 pixels below: it does not smear up along the tower."""
    inverse, colour = torch.full((1, 1, 48, 32), 0.1), torch.zeros(1, 3, 48, 32)
    inverse[..., 40:, :], colour[..., 40:, :] = 0.1 / farther, 1.0
    inverse[..., :40, :12] = 0.8
    inverse[..., :40, 12:16] = 0
    filled = fill_uncovered(colour, inverse)
    assert filled[..., :20, :].max() < 1e-6
