"""Two eyes' images of planes and steps whose disparity is known, and the layouts."""

import math

import pytest
import torch

from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.geometry.views.stereo import StereoPair, compose, compose_holes, disparity_range, stereo_pair, stereo_suffix
from depth_normal.options.views import ANAGLYPHS, LAYOUTS, StereoOptions
from tests.refusals import refusals

HEIGHT, WIDTH = 40, 200
RANGE = (0.0, 1.0)
INSIDE = slice(25, -25)


def noise(batch=1, width=WIDTH):
    return torch.rand(batch, 3, HEIGHT, width, generator=torch.Generator().manual_seed(0))


def plane(disparity, batch=1):
    return Estimate(torch.full((batch, 1, HEIGHT, WIDTH), float(disparity)), Quantity.DISPARITY)


def step():
    """A near plate, columns 80 to 119, before a far wall."""
    disparity = torch.zeros(1, 1, HEIGHT, WIDTH)
    disparity[..., 80:120] = 1
    return Estimate(disparity, Quantity.DISPARITY)


@pytest.mark.parametrize(("original", "left", "right"), [("middle", 4, -4), ("left", 0, -8), ("right", 8, 0)])
def test_a_plane_moves_by_its_disparity(original, left, right):
    """At the near end, convergence at the far end, 4 % of 200 columns: 8 pixels part the eyes; near things go right in the left eye."""
    image = noise()
    pair = stereo_pair(image, plane(1), StereoOptions(4.0, 0.0, original), RANGE)
    for eye, pixels in ((pair.left, left), (pair.right, right)):
        assert (eye - image.roll(pixels, 3))[..., INSIDE].abs().max() < 1e-4
        assert eye.data_ptr() != image.data_ptr(), "whoever changes an eye keeps the photo"


@pytest.mark.parametrize(("disparity", "convergence"), [(0.0, 0.0), (0.5, 0.5), (1.0, 1.0), (0.3, 0.3)])
def test_what_lies_on_the_screen_does_not_move(disparity, convergence):
    pair = stereo_pair(noise(), plane(disparity), StereoOptions(5.0, convergence), RANGE)
    assert max((eye - noise()).abs().max() for eye in (pair.left, pair.right)) < 1e-3
    assert not pair.holes_left.any() and not pair.holes_right.any()


@pytest.mark.parametrize("convergence", [0.0, 0.4, 1.0])
def test_a_step_uncovers_its_columns_and_no_others(convergence):
    """10 pixels between plate and wall, 5 for each eye, on the left eye's left side and the right eye's right side of the plate."""
    pair = stereo_pair(noise(), step(), StereoOptions(5.0, convergence), RANGE)
    for holes, sign in ((pair.holes_left, 1), (pair.holes_right, -1)):
        columns = holes[0, 0].any(0).nonzero().flatten()
        assert torch.equal(holes[0, 0].all(0), holes[0, 0].any(0)), "all rows alike"
        wall = -convergence * 5 * sign
        torn = columns[(columns > 40) & (columns < 160)]
        # The plate reaches one pixel farther than its edge, so that mixed colours go with it.
        start = 80 - 1 + wall if sign > 0 else 120 + 1 + wall - 5
        assert len(torn) == torn.max() - torn.min() + 1 == 5 and abs(float(torn.min()) - start) <= 0.5, (columns, start)
        assert len(columns) - len(torn) == math.ceil(abs(wall) - 0.5), "beside the image"


def test_relative_and_metric_depth_go_through_inverse_depth():
    """From 1 m to 3 m inverse depth is 1 to 1/3; relative depth is taken to reach three times as far as it begins, which is the same."""
    metres = torch.linspace(1, 3, WIDTH).expand(1, 1, HEIGHT, WIDTH)
    options = StereoOptions(3.0)
    metric = stereo_pair(noise(), Estimate(metres, Quantity.METRIC_DEPTH), options, (1 / 3, 1.0))
    inverse = stereo_pair(noise(), Estimate(1 / metres, Quantity.DISPARITY), options, (1 / 3, 1.0))
    relative = stereo_pair(noise(), Estimate(metres * 7 - 2, Quantity.RELATIVE_DEPTH), options, (-19.0, -5.0))
    for other in (inverse, relative):
        assert (metric.left - other.left).abs().max() < 1e-2 and (metric.right - other.right).abs().max() < 1e-2
    assert (metric.left - noise()).abs().max() > 0.1


def test_one_range_holds_a_video_still():
    """Of two frames the second has a nearer thing: the wall stays where it was only with one range for both."""
    disparity = torch.cat((step().depth * 0.5, step().depth))
    video = Estimate(disparity, Quantity.DISPARITY)
    options = StereoOptions(5.0, 0.5)
    frames = noise().expand(2, -1, -1, -1)
    still = stereo_pair(frames, video, options, disparity_range(video, per_clip=True)).left
    alone = stereo_pair(frames, video, options).left
    wall = (..., slice(150, 180))
    assert torch.equal(still[0][wall], still[1][wall])
    low, high = disparity_range(video)
    assert low.shape == (2, 1, 1, 1) and high.flatten().tolist() == [0.5, 1.0]
    plate = (..., slice(90, 110))
    assert not torch.allclose(still[0][plate], still[1][plate], atol=0.05) and torch.allclose(alone[0][plate], alone[1][plate])


def test_a_flat_scene_one_without_any_depth_and_holes():
    flat = stereo_pair(noise(), plane(3.0), StereoOptions(5.0, 0.2))
    assert (flat.left - noise()).abs().max() < 1e-3
    nothing = Estimate(torch.full((1, 1, HEIGHT, WIDTH), math.nan), Quantity.METRIC_DEPTH)
    assert (stereo_pair(noise(), nothing).right - noise()).abs().max() < 1e-3
    depth = torch.rand(1, 1, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1)) + 1
    depth[..., ::7], depth[..., 5, :] = math.nan, -1.0
    masked = Estimate(depth, Quantity.METRIC_DEPTH, mask=torch.rand(1, 1, HEIGHT, WIDTH) > 0.3)
    pair = stereo_pair(noise(), masked)
    assert torch.isfinite(pair.left).all() and torch.isfinite(pair.right).all()


def test_depth_of_another_size_and_of_one_image_for_all():
    small = Estimate(torch.rand(2, 1, 17, 23, generator=torch.Generator().manual_seed(2)), Quantity.DISPARITY)
    both, shared = (stereo_pair(noise(2), each) for each in (small, small.slice(0, 1)))
    one = stereo_pair(noise(2)[1:], small.slice(1, 2))
    assert torch.equal(both.left[1:], one.left) and torch.equal(shared.right[:1], both.right[:1])


WIDE, TALL = {"full-sbs", "cross-eyed", "vr180", "360-sbs"}, {"full-tb", "360-tb"}


def red_and_blue(height=HEIGHT, width=WIDTH):
    left, right = torch.zeros(2, 3, height, width), torch.zeros(2, 3, height, width)
    left[:, 0], right[:, 2] = 1, 1
    holes = torch.zeros(2, 1, height, width, dtype=torch.bool)
    return StereoPair(left, right, ~holes, holes)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("odd", [0, 1])
def test_layouts_have_their_size_and_sides(layout, odd):
    pair = red_and_blue(HEIGHT + odd, WIDTH + odd)
    made, holes = compose(pair, layout), compose_holes(pair, layout)
    size = (HEIGHT + odd) * (1 + (layout in TALL)), (WIDTH + odd) * (1 + (layout in WIDE))
    assert made.shape == (2, 3, *size) and holes.shape == (2, 1, *size)
    if layout == "anaglyph":
        assert holes.all()
        return
    first, last = made[:, :, 0, 0], made[:, :, -1, -1]
    if layout == "cross-eyed":
        first, last = last, first
    assert torch.allclose(first, torch.tensor([1.0, 0, 0])) and torch.allclose(last, torch.tensor([0, 0, 1.0]))
    assert holes.mean() == pytest.approx(0.5, abs=0.02) and holes[0, 0, 0, 0] == (layout != "cross-eyed")


def anaglyph(left, right, colours):
    """What is shown of a colour for each eye."""
    left, right = (torch.tensor(each).view(1, 3, 1, 1).expand(1, 3, 2, 2) for each in (left, right))
    none = torch.zeros(1, 1, 2, 2, dtype=torch.bool)
    return compose(StereoPair(left, right, none, none), "anaglyph", colours)[0, :, 0, 0].tolist()


@pytest.mark.parametrize("colours", ANAGLYPHS)
def test_an_anaglyph_of_grey_is_grey_and_each_eye_has_its_colours(colours):
    grey, white, black = (0.5, 0.5, 0.5), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)
    assert anaglyph(grey, grey, colours) == pytest.approx(grey, abs=0.002)
    assert anaglyph(white, black, colours) == pytest.approx((1, 0, 0), abs=1e-5)
    assert anaglyph(black, white, colours) == pytest.approx((0, 1, 1), abs=1e-5)


def test_both_eyes_see_red_about_as_bright_and_skin_is_not_green():
    red, skin, flicker = (0.8, 0.1, 0.1), (0.8, 0.6, 0.5), {}
    for colours in ANAGLYPHS:
        for_left, for_right, _ = anaglyph(red, red, colours)
        flicker[colours] = abs(for_left - for_right)
        shown = anaglyph(skin, skin, colours)
        assert shown[0] >= shown[1] - 1e-5 and shown[1] >= shown[2] - 1e-5, (colours, shown)
    assert flicker["grey"] < 1e-5 and flicker["half"] < 0.5 * flicker["colour"]


test_bad_input_is_named = refusals(
    (lambda: StereoOptions(divergence=21.0), "divergence is 21.0; accepted: 0 to 20"),
    (lambda: StereoOptions(convergence=math.nan), "convergence is nan"),
    (lambda: StereoOptions(original="both"), "accepted: middle, left, right"),
    (lambda: compose(red_and_blue(), "sbs"), "accepted: full-sbs"),
    (lambda: stereo_suffix("sbs"), "accepted: full-sbs"),
    (lambda: compose(red_and_blue(5, 1), "half-sbs"), "1x5 pixels has no half"),
    (lambda: stereo_pair(noise(3), plane(1, 2)), "holds 2 images, images 3"),
    (lambda: stereo_pair(noise()[:, :1], plane(1)), "images"),
    (lambda: stereo_pair(noise(), Estimate(normals=noise())), "normals but no depth"),
)
