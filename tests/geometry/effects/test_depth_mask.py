from functools import partial

import pytest
import torch

from depth_normal.geometry.effects.depth_mask import describe_selection, range_mask, selected_mask, surface_mask
from depth_normal.geometry.effects.depths import known_depths
from depth_normal.geometry.effects.makers import of_selection
from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.geometry.regions.boxes import object_in_box
from depth_normal.geometry.regions.objects import object_around
from depth_normal.geometry.views.transparency import split_layers
from depth_normal.options.masks import MaskOptions
from tests.refusals import refuses


def chosen(near=0.0, far=50.0, unit="percent", feather=0.0, **more):
    """Sharp limits, and wider ones than a node's defaults."""
    return MaskOptions(near=near, far=far, unit=unit, feather=feather, **{"tolerance": 10.0, **more})


def metres(values, hole=None):
    """Of one row, with one pixel that has no depth."""
    depth = torch.tensor(values).view(1, 1, 1, -1)
    known = None if hole is None else torch.arange(len(values)).view_as(depth) != hole
    return known_depths(Estimate(depth, Quantity.METRIC_DEPTH, mask=known))


SIX, FOUR, CONSTANT = (0.5, 0.8, 1.5, 2.4, 2.5, 9.0), (1.0, 2.0, 3.0, 1.5), (3.0, 3.0)


@pytest.mark.parametrize(
    ("values", "hole", "limits", "options", "expected"),
    [
        (SIX, None, (0.8, 2.4), {"unit": "metres"}, [0, 1, 1, 1, 0, 0]),
        (SIX, None, (2.0, 0), {"unit": "metres"}, [0, 0, 0, 1, 1, 1]),
        ((1.0, 1.9, 2.0, 3.0, 3.25, 3.5, 4.0), None, (2.0, 3.0), {"unit": "metres", "feather": 0.5}, [0, 0.8, 1, 1, 0.5, 0, 0]),
        (FOUR, 3, (0, 99), {}, [1, 1, 0, 0]),
        (FOUR, 3, (0, 100), {}, [1, 1, 1, 1]),
        (FOUR, 3, (2, 0), {"unit": "metres"}, [0, 1, 1, 1]),
        (CONSTANT, None, (0, 10), {}, [1, 1]),
        (CONSTANT, None, (10, 20), {}, [0, 0]),
    ],
    ids=["metres", "without an end", "feather", "a hole is beyond every limit", "but none", "nor metres", "constant is near", "not far"],
)
def test_a_mask_holds_what_is_within_its_limits(values, hole, limits, options, expected):
    assert range_mask(metres(values, hole), *limits, **options).flatten().tolist() == pytest.approx(expected, abs=1e-5)


def test_an_inverted_mask_is_everything_else():
    estimate = Estimate(torch.tensor(SIX).view(1, 1, 1, -1), Quantity.METRIC_DEPTH)
    made = of_selection(split_layers(torch.rand(1, 3, 1, 6)), estimate, chosen(0.8, 2.4, "metres", invert=True), False)
    assert made.result.flatten().tolist() == [1, 0, 0, 0, 1, 1] and made.words.startswith("all but mask 0.8 to 2.4 m")


def test_percent_are_even_steps_of_a_depth_image():
    disparity = torch.linspace(0, 1, 101).view(1, 1, 1, -1)
    depths = known_depths(Estimate(disparity * 5 - 3, Quantity.DISPARITY))
    assert range_mask(depths, 0, 30).sum() == pytest.approx(31, abs=2)
    assert range_mask(depths, 0, 30)[..., -1] == 1, "the nearest"
    assert range_mask(depths, 0, 100).all() and range_mask(depths, 70, 100).sum() == pytest.approx(31, abs=2)


def two_things():
    """Two squares at 2 m that do not touch, on a wall at 5 m, and one at 2.05 m that touches the first."""
    depth = torch.full((1, 1, 40, 60), 5.0)
    depth[..., 10:20, 5:20] = depth[..., 10:20, 40:55] = 2.0
    depth[..., 10:20, 20:25] = 2.05
    return known_depths(Estimate(depth, Quantity.METRIC_DEPTH))


def test_a_point_takes_the_surface_that_hangs_together_with_it():
    mask = surface_mask(two_things(), [(0.2, 0.35)], 0.1, unit="metres")
    assert mask[..., 10:20, 5:25].all() and mask.sum() == 200
    assert surface_mask(two_things(), [(0.2, 0.35)], 0.02, unit="metres").sum() == 150
    assert surface_mask(two_things(), [(0.2, 0.35)], 10.0, unit="metres").sum() == 200, "the step to the wall stops it"
    assert surface_mask(two_things(), [(1.0, 1.0)], 0.1, unit="metres").sum() == 40 * 60 - 350


def test_a_point_in_a_hole_is_an_empty_mask():
    mask = torch.ones(1, 1, 4, 4, dtype=torch.bool)
    mask[..., 0, 0] = False
    depths = known_depths(Estimate(torch.ones(1, 1, 4, 4), Quantity.METRIC_DEPTH, mask=mask))
    assert selected_mask(chosen(point=(0.0, 0.0)), depths).sum() == 0 and selected_mask(chosen(point=(0.5, 0.5)), depths).sum() == 15


def test_words_say_what_the_mask_is():
    depths = metres(SIX)
    assert describe_selection(chosen(0.8, 2.4, "metres"), depths, 0.31) == "mask 0.8 to 2.4 m, 31 % of the image"
    assert "mask 0 to 50 %, which is " in describe_selection(chosen(), depths, 0.5)


@pytest.mark.parametrize("find", [known_depths, partial(object_around, x=0.5, y=0.5), partial(object_in_box, box=(0.2, 0.2, 0.8, 0.8))])
def test_depth_of_several_images_is_refused(find):
    depth = torch.ones(2, 1, 8, 9)
    with pytest.raises(ValueError, match="depth is of 2 images; expected 1"):
        find(Estimate(depth, Quantity.METRIC_DEPTH)) if find is known_depths else find(depth, torch.rand(2, 3, 8, 9))


def test_metres_of_disparity_are_refused():
    depths = known_depths(Estimate(torch.rand(1, 1, 5, 5), Quantity.DISPARITY))
    for point in (None, (0.5, 0.5)):
        with pytest.raises(ValueError, match=r"not in metres .* give the unit percent"):
            selected_mask(chosen(unit="metres", point=point), depths)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("place", [{"box": (0.05, 0.2, 0.5, 0.6)}, {"point": (0.2, 0.35), "select": "object"}])
def test_the_unit_does_not_matter_to_an_object(place):
    depths = two_things()._replace(is_metric=False)
    choice = chosen(unit="metres", **place)
    mask = selected_mask(choice, depths)
    assert torch.equal(mask, selected_mask(chosen(**place), depths)) and mask.any()
    assert describe_selection(choice, depths, 0.1).startswith("object ")


BOX, MIDDLE, OUTSIDE = (0.2, 0.2, 0.8, 0.8), (0.5, 0.5), r"the point \(0.9, 0.5\) of the object is outside the box, .*; draw the box around"
test_points_and_limits_that_mean_nothing_are_refused = refuses(
    lambda options: chosen(**options),
    ({"box": BOX, "point": (0.9, 0.5)}, OUTSIDE),
    ({"box": BOX, "more_points": [(0.9, 0.5)]}, OUTSIDE),
    ({"more_points": [MIDDLE]}, "no point of the object"),
    ({"near": 60, "far": 40}, "begins at 60 and ends at 40"),
    ({"point": MIDDLE, "not_points": [(0.1, 0.1)]}, "part objects, not surfaces"),
    ({"point": MIDDLE, "not_points": [MIDDLE], "select": "object"}, r"the point \(0.5, 0.5\) is both in the object"),
    ({"point": [0.2, 0.2], "not_points": [[0.2, 0.2]], "select": "object"}, "both in the object and not in it"),
)


def test_points_may_be_lists_and_lie_on_the_border_of_the_box():
    assert chosen(point=[0.2, 0.2], more_points=[[0.7, 0.7]], not_points=[[0.9, 0.9]], select="object").more_points == ((0.7, 0.7),)
    chosen(box=BOX, point=(0.8, 0.2), more_points=[(0.8, 0.2)])


def test_a_surface_of_several_points_is_all_of_theirs():
    depth = torch.full((1, 1, 40, 40), 5.0)
    depth[..., 4:12, 4:12], depth[..., 24:36, 24:36] = 2.0, 1.0
    depths = known_depths(Estimate(depth, Quantity.METRIC_DEPTH))
    choice = chosen(point=(0.2, 0.2), more_points=[(0.7, 0.7)])
    assert torch.equal(selected_mask(choice, depths, torch.rand(1, 3, 40, 40)) > 0.5, depth < 4)
    assert describe_selection(choice, depths, 0.13).startswith("surface at 0.2,0.2 + 0.7,0.7, up to 10 % nearer or farther, 13 %")
    apart = chosen(point=(0.2, 0.2), not_points=[(0.7, 0.7)], select="object")
    assert describe_selection(apart, depths, 0.04) == "object at 0.2,0.2 (2 m), without the points 0.7,0.7, 4 % of the image"
    many = chosen(point=(0.2, 0.2), more_points=[(0.1, 0.25), (0.3, 0.3), (0.4, 0.4), (0.5, 0.5)], select="object")
    assert describe_selection(many, depths, 0.04) == "object at 0.2,0.2 + 0.1,0.25 + 0.3,0.3 (+2), 4 % of the image"


def test_an_object_of_points_with_and_without_depth_holds_both():
    depth = torch.ones(1, 1, 48, 64)
    depth[..., 32:] = 0
    depths = known_depths(Estimate(depth, Quantity.METRIC_DEPTH, mask=depth > 0))
    land, hole = (0.2, 0.5), (0.8, 0.5)
    for first, second in ((land, hole), (hole, land)):
        mask = selected_mask(chosen(select="object", point=first, more_points=[second]), depths)[0, 0]
        assert mask[24, 12] > 0.5 and mask[24, 51] > 0.5


def test_holes_are_no_object_in_a_box():
    depth = torch.full((1, 1, 40, 40), 5.0)
    depth[..., 12:28, 12:28] = 2.0
    hole = torch.ones_like(depth, dtype=torch.bool)
    hole[..., 18:22, 18:22] = False
    depths = known_depths(Estimate(depth, Quantity.METRIC_DEPTH, mask=hole))
    mask = selected_mask(chosen(box=(0.2, 0.2, 0.8, 0.8)), depths)
    assert mask[..., 14, 14] == 1 and not mask[..., 18:22, 18:22].any() and mask[..., 2, 2] == 0


@pytest.mark.slow("takes most of a second")
def test_an_object_at_a_point_of_the_sky_is_sky():
    disparity = torch.full((1, 1, 60, 80), 0.1)
    disparity[..., 40:, :] = torch.linspace(0.3, 1, 20)[:, None]
    disparity[..., 20:50, 30:50] = 0.8
    sky = disparity == 0.1
    image = torch.where(sky, torch.tensor([0.4, 0.6, 0.9]).view(3, 1, 1), 0.3)
    depths = known_depths(Estimate(disparity, Quantity.DISPARITY, mask=~sky))
    mask = selected_mask(chosen(point=(0.1, 0.2), select="object"), depths, image)
    assert mask[0, 0, 12, 8] == 1 and not mask[~sky].any()
    mask = selected_mask(chosen(point=(0.5, 0.5), select="object"), depths, image)
    assert mask[0, 0, 30, 40] == 1 and not mask[sky].any()
