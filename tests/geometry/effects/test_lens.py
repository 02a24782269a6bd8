import math

import pytest
import torch
import torch.nn.functional as F

from depth_normal.geometry.camera import intrinsics_from_sensor
from depth_normal.geometry.effects.depth_of_field import depth_of_field
from depth_normal.geometry.effects.lens import aperture_scale, circle_of_confusion, focused, sharp_range
from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.options.effects import LensOptions
from tests.refusals import refuses


def ramp(near=0.8, far=6.2, size=(40, 60)):
    """Metres that grow evenly in inverse depth from the top to the bottom."""
    inverse = torch.linspace(1 / far, 1 / near, size[0]).view(1, 1, -1, 1)
    return (1 / inverse).expand(1, 1, *size).contiguous()


def metric(**more):
    return Estimate(ramp(), Quantity.METRIC_DEPTH, intrinsics=intrinsics_from_sensor(50.0, 40, 60), **more)


def test_the_thin_lens_by_the_textbook():
    """50 mm at f/2, focused at 2 m: a point at 4 m is a circle of 50 / 2 * 2 / 4 * 0.05 / 1.95 mm."""
    millimetres = 25 * 0.5 * 0.05 / 1.95
    circle = circle_of_confusion(torch.full((1, 1, 1, 1), 4.0), 2.0, aperture_scale(2.0, 2.0, 50.0, 36.0, 1920))
    assert circle.item() == pytest.approx(millimetres / 36 * 1920, rel=1e-5)


def test_what_is_sharp_ends_where_circles_are_too_large():
    near, far = sharp_range(2.0, 10.0, 1.0)
    circles = circle_of_confusion(torch.tensor((near, far)).view(1, 1, 1, 2), 2.0, 10.0).flatten()
    assert circles.tolist() == pytest.approx([-1, 1], abs=1e-5)
    assert sharp_range(2.0, 1.0, 1.5)[1] == math.inf and sharp_range(2.0, 0.0, 1.0) == (0.0, math.inf)


def test_a_lens_without_focal_length_is_that_of_the_camera():
    image, base = torch.rand(1, 3, 40, 60), {"focus": 2.0, "unit": "metres", "f_number": 1.4}
    known = focused(metric(), image, LensOptions(**base)).circle
    assert torch.allclose(known, focused(metric(), image, LensOptions(**base, focal_length=50.0)).circle, rtol=1e-4, atol=1e-4)
    assert (focused(metric(), image, LensOptions(**base, focal_length=100.0)).circle.abs() > known.abs() * 3).float().mean() > 0.9


def test_words_say_metres_where_there_are_some_and_percent_elsewhere():
    image = torch.rand(1, 3, 40, 60)
    words = focused(metric(), image, LensOptions(focus=2.31, unit="metres", f_number=1.4)).description
    assert words.startswith("focus 2.31 m, sharp from 2.") and words.count(" m") == 3
    words = focused(Estimate(1 / ramp(), Quantity.DISPARITY), image, LensOptions(focus=30)).description
    assert words.startswith("focus 30 %, sharp from ") and "100 % the far end" in words
    words = focused(metric(), image, LensOptions(focus=50, unit="metres", f_number=0.1, focal_length=200.0)).description
    assert "focus 50 m" in words and "reaches from 0.8" in words and words.endswith("nothing in it is sharp")


def test_blur_means_the_same_for_disparity_of_any_scale_and_shift():
    image, focus = torch.rand(1, 3, 40, 60), LensOptions(focus=20, blur=5)
    first = focused(Estimate(1 / ramp(), Quantity.DISPARITY), image, focus).circle
    second = focused(Estimate(7 / ramp() + 30, Quantity.DISPARITY), image, focus).circle
    assert torch.allclose(first, second, atol=0.02)
    assert (first - focused(metric(), image, focus).circle).abs().mean() < 0.05, "and for metres, but for where steps are made of ramps"
    ends = focused(metric(), image, LensOptions(focus=0, blur=5)).circle
    assert ends.max().item() == pytest.approx(0.05 * 60, rel=0.05)


def test_a_point_is_in_focus():
    circle = focused(metric(), torch.rand(1, 3, 40, 60), LensOptions(focus=90, point=(0.2, 0.3))).circle
    assert circle[0, 0, 12, 12].abs() < 0.05 and circle.abs().max() > 0.5


def test_constant_depth_is_sharp_everywhere():
    image, depth = torch.rand(1, 3, 9, 9), torch.full((1, 1, 9, 9), 2.0)
    for quantity, options, most in ((Quantity.METRIC_DEPTH, LensOptions(), 0), (Quantity.DISPARITY, LensOptions(focus=70), 1e-3)):
        assert focused(Estimate(depth, quantity), image, options).circle.abs().max() <= most


test_bad_input_is_refused_with_the_remedy = refuses(
    lambda estimate, focus: focused(estimate, torch.rand(1, 3, 40, 60), LensOptions(**focus)),
    (Estimate(1 / ramp(), Quantity.DISPARITY), {"f_number": 2.0}, "an f-number needs depth in metres"),
    (Estimate(ramp(), Quantity.SCALE_INVARIANT_DEPTH), {"f_number": 2.0}, "an f-number needs depth in metres"),
    (Estimate(1 / ramp(), Quantity.DISPARITY), {"unit": "metres", "focus": 2.0}, "not in metres"),
    (metric(), {"unit": "metres", "focus": 0.0}, "focus is 0 m; accepted: above 0"),
    (metric(), {"unit": "metres", "focus": 0.03, "f_number": 2.0}, "focuses from beyond 0.05 m on"),
    (metric(), {"focus": 120.0}, "focus is 120.0; accepted: 0 to 100"),
    (Estimate(normals=torch.ones(1, 3, 40, 60)), {}, "no depth"),
    (Estimate(torch.full((1, 1, 40, 60), torch.nan), Quantity.METRIC_DEPTH), {}, "no pixel of the image has a depth"),
)


@pytest.mark.slow("takes most of a second")
def test_no_background_shows_through_hair():
    data = pytest.importorskip("skimage.data")
    import depth_normal

    image = torch.from_numpy(data.astronaut()).movedim(-1, 0)[None] / 255
    estimate = depth_normal.load_model("tiny").estimate(image)
    soft = depth_of_field(image, focused(estimate, image, LensOptions(point=(0.43, 0.2), blur=6)).circle)
    brightness, before = soft.mean((0, 1)), image.mean((0, 1))
    beside = F.unfold(F.pad(brightness[None, None], (1, 1, 1, 1), mode="replicate"), 3).view(9, *before.shape).median(0).values
    specks = (brightness - beside > 0.1) & (brightness - before > 0.1)
    assert specks.sum() < 50  # 106 where narrow layers let the background through, 307 where far pixels amid the hair stay too
