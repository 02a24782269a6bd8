"""What fills the holes: the background beside them, and nothing of what is in front."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F

from depth_normal.geometry.filters.chosen_pixels import pixels_where
from depth_normal.geometry.views import disocclusion
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


def with_trace(columns=slice(21, 22), share=0.4):
    """As `torn`, with a trace of the thing in these columns of the background."""
    colour, inverse = torn()
    colour[..., columns] = (GREEN + share * (RED - GREEN)).expand_as(colour[..., columns])
    return colour, inverse


TURNS = {"right": lambda x: x, "left": lambda x: x.flip(3), "below": lambda x: x.mT, "above": lambda x: x.mT.flip(2)}


@pytest.mark.parametrize(("turn", "sideways"), [*((turn, False) for turn in TURNS), ("right", True), ("left", True)])
def test_holes_are_filled_from_the_far_side_alone(turn, sideways):
    colour, inverse = (TURNS[turn](each).contiguous() for each in torn())
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


@pytest.mark.parametrize("turn", TURNS.values(), ids=TURNS)
@pytest.mark.parametrize("share", [0.4, -0.2], ids=["mixture", "fringe"])
def test_traces_of_what_hid_the_background_do_not_stay_beside_a_hole(turn, share):
    colour, inverse = (turn(each).contiguous() for each in with_trace(share=share))
    far = (inverse < NEAR).expand_as(colour)
    background = GREEN.expand_as(colour)[far]
    assert (fill_uncovered(colour, inverse)[far] - background).abs().max() > 0.1
    assert (fill_uncovered(colour, inverse, traces=True)[far] - background).abs().max() < 0.01


def of_another_colour():
    colour, inverse = torn()
    colour[:, 2, :, 21] = 0.4
    return colour, inverse


def before_what_varies():
    colour, inverse = torn()
    colour[..., 21:] = torch.rand(3, HEIGHT, WIDTH - 21, generator=torch.Generator().manual_seed(0))
    return colour, inverse


def before_what_is_narrow():
    """Too narrow for it to be known how it varies; it goes on at the other end of the row."""
    colour, inverse = (each[..., :26].clone() for each in with_trace())
    colour[..., :12], inverse[..., :12] = GREEN, FAR
    return colour, inverse


def beside_a_hole_that_nothing_hid(other_side):
    colour, inverse = (each[..., 3:].clone() for each in with_trace())
    colour[..., :18], inverse[..., :12] = RED, other_side
    return colour, inverse


NO_TRACES = {
    "a thing that the depth map lacks, as wide as pixels are looked for": partial(with_trace, slice(21, 27)),
    "what begins beyond the first pixel": partial(with_trace, slice(22, 23)),
    "what differs otherwise than what hid it": of_another_colour,
    "what lies on a background that varies": before_what_varies,
    "what lies on a narrow background": before_what_is_narrow,
    "what lies beside a hole and another background": partial(beside_a_hole_that_nothing_hid, FAR),
    "what lies beside a hole at the border": partial(beside_a_hole_that_nothing_hid, 0),
}


@pytest.mark.parametrize("scene", NO_TRACES.values(), ids=NO_TRACES)
def test_what_is_no_trace_stays(scene):
    colour, inverse = scene()
    found = fill_uncovered(colour, inverse, True, traces=True)
    assert torch.equal(found, fill_uncovered(colour, inverse, True))
    assert torch.equal(found[..., 21:], colour[..., 21:])


def test_traces_are_not_filled_from_the_next_near_thing():
    """In the middle rows the background is no wider than its traces."""
    colour, inverse = with_trace(slice(21, 23))
    rows = slice(8, 16)
    colour[..., rows, 23:], inverse[..., rows, 23:] = RED, NEAR
    filled = fill_uncovered(colour, inverse, True, traces=True)
    assert torch.equal(filled[..., rows, 21:23], colour[..., rows, 21:23])
    assert (filled[..., :4, 21:] - GREEN).abs().max() < 0.01


def beside_something_blue():
    """In every second row it stands on the background, where it is known elsewhere how much that varies."""
    colour, inverse = with_trace()
    colour[:, :2, 1::2, 32:], colour[:, 2, 1::2, 32:], inverse[..., 1::2, 32:] = 0.0, 1.0, NEAR
    return colour, inverse, (..., slice(0, None, 2), slice(15, None))


def before_another_thing():
    """A hole as wide as the background beside it: its end continues the background's last column."""
    colour, inverse = with_trace()
    colour[..., 6:15], inverse[..., 6:15] = 0.0, 0.0
    colour[..., 36:], inverse[..., 36:] = RED, NEAR
    return colour, inverse, (..., slice(6, 36))


def of_a_mixed_thing():
    colour, inverse = with_trace()
    colour[..., 14] = GREEN[..., 0]
    return colour, inverse, (..., slice(15, None))


@pytest.mark.parametrize("scene", [beside_something_blue, before_another_thing, of_a_mixed_thing])
def test_traces_are_found(scene):
    colour, inverse, background = scene()
    assert (fill_uncovered(colour, inverse, True, traces=True)[background] - GREEN).abs().max() < 0.01


def test_traces_to_the_right_of_a_hole_move_nothing_that_goes_on_from_below():
    """A thing's inner corner; below its hole the background is too narrow for traces to be known. It turns blue at the row after
    the one that goes on in the corner."""
    inverse, colour = torch.full((1, 1, 39, 64), FAR), torch.zeros(1, 3, 39, 64)
    colour[:, 1], colour[:, 2, 33:] = 0.5, 1.0
    inverse[..., :6, :40], inverse[..., 6:31, :15] = NEAR, NEAR
    colour[:, 0].masked_fill_(inverse[:, 0] == NEAR, 1.0)
    inverse[..., 6:30, 15:24], inverse[..., 30, 15:21] = 0, 0
    colour[:, 0, 6:30, 24], colour[:, 0, 30, 21] = 0.4, 0.4
    plain, traced = (fill_uncovered(colour, inverse, traces=each) for each in (False, True))
    assert plain[0, 0, 10, 24] == pytest.approx(0.4) and traced[0, 0, 10, 24] < 0.01
    assert (plain[:, 2] - traced[:, 2]).abs().max() < 0.1


@pytest.mark.parametrize("turn", TURNS.values(), ids=TURNS)
def test_a_thing_may_be_one_pixel_wide(turn):
    colour, inverse = (turn(each[..., 14:]).contiguous() for each in with_trace())
    assert torch.isfinite(fill_uncovered(colour, inverse, traces=True)).all()


def test_a_lens_blurs_traces_too():
    colour, inverse = with_trace()
    both, blurred = (fill_uncovered(colour, inverse, True, traces=each, blurred=True) for each in (True, False))
    assert torch.equal(both, blurred)


def test_an_image_without_anything_and_one_without_holes_stay():
    colour, inverse = torn()
    assert torch.isfinite(fill_uncovered(colour, torch.zeros_like(inverse))).all()
    assert torch.equal(fill_uncovered(colour, torch.ones_like(inverse)), colour)


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


@pytest.mark.parametrize(("inset", "is_hidden"), [(0, False), (0, True), (1, True), (3, True)])
def test_a_known_surface_takes_nothing_of_another_one_or_of_what_hides_it(inset, is_hidden):
    """Behind its last pixels stands another near thing. Where it is hidden, its last visible pixel is a hole too."""
    colour, inverse = torn()
    colour[..., 22:], inverse[..., 22:] = RED, NEAR
    hole = inverse == 0
    hole[..., 21:26] |= is_hidden
    filled = continue_surfaces(colour, inverse, last_pixels(inverse), inset, hole)
    assert (filled - GREEN).abs().amax(1, keepdim=True)[inverse == 0].max() < 1e-5


@pytest.mark.parametrize("farther", [1.1, 3.0])
def test_a_hole_beside_a_tower_is_filled_from_beside_it(farther):
    """The sky at the tower's foot is farther away in depth, but 20 pixels below: it does not smear up along the tower."""
    inverse, colour = torch.full((1, 1, 48, 32), 0.1), torch.zeros(1, 3, 48, 32)
    inverse[..., 40:, :], colour[..., 40:, :] = 0.1 / farther, 1.0
    inverse[..., :40, :12] = 0.8
    inverse[..., :40, 12:16] = 0
    filled = fill_uncovered(colour, inverse)
    assert filled[..., :20, :].max() < 1e-6


@pytest.mark.slow("interprets a kernel")
@pytest.mark.parametrize("sideways", [True, False])
@pytest.mark.parametrize("blurred", [True, False])
def test_the_kernel_gives_what_the_eager_way_gives(sideways, blurred, monkeypatch):
    """By Triton's interpreter. Images with scattered holes, wide ones, rows and columns without any visible pixel, and nothing else."""
    pytest.importorskip("triton")
    from depth_normal.geometry.views import disocclusion_kernel

    monkeypatch.setattr(disocclusion_kernel, "_PIXELS", 1024)  # which takes a tenth of the time
    scattered = torch.rand(2, 1, 20, 27) * torch.randint(1, 4, (2, 1, 20, 27)) * (torch.rand(2, 1, 20, 27) > 0.4)
    wide = F.interpolate(torch.rand(2, 1, 4, 5) + 0.3, (20, 27)) * (torch.arange(27) % 15 < 9)
    wide[1, :, 4:6], scattered[0, ..., 7] = 0, 0
    for inverse in (scattered, wide, torch.zeros_like(wide)):
        places, (_, row, column) = pixels_where(inverse <= 0)
        given = inverse, places, row, column, sideways, blurred
        made, expected = disocclusion_kernel.background_beside(*given), disocclusion._background_beside.eager(*given)
        assert len(places) > 100 and all(torch.equal(*each) for each in zip(made, expected, strict=True))
