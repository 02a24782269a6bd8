import math

import pytest
import torch
import torch.nn.functional as F

from depth_normal.geometry.alignment.metrics import angle_map, compare_depth, compare_normals, depth_error_map, disagreeing_axes
from depth_normal.geometry.estimate import Axes, Estimate, Quantity
from tests.refusals import refusals


def normals_at(degrees: float, axes: Axes = Axes.OPENGL) -> Estimate:
    """Every pixel leans to the right by so much."""
    x, z = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
    vector = {Axes.OPENGL: (x, 0, z), Axes.SCANNET: (-x, 0, z), Axes.OPENCV: (x, 0, -z)}[axes]
    return Estimate(normals=torch.tensor(vector).view(1, 3, 1, 1).repeat(1, 1, 4, 6), axes=axes)


@pytest.mark.parametrize("axes", [Axes.OPENGL, Axes.SCANNET, Axes.OPENCV])
def test_angles_are_angles_in_any_axes_also_tiny_ones_and_beside_normals_without_a_direction(axes):
    found = normals_at(20, axes)
    found.normals[..., 0, 0], found.normals[..., 0, 1] = 0.0, float("nan")
    errors = compare_normals(found, normals_at(0))
    assert [errors[name] for name in ("mean", "median", "RMSE")] == pytest.approx([20] * 3, abs=1e-4)
    assert [errors[f"below {limit} %"] for limit in (5, 7.5, 11.25, 22.5, 30)] == [0, 0, 0, 100, 100]
    assert compare_normals(normals_at(0.001, axes), normals_at(0))["mean"] == pytest.approx(0.001, rel=1e-2)


def depth(values: torch.Tensor, quantity=Quantity.METRIC_DEPTH, mask=None) -> Estimate:
    return Estimate(depth=values.view(1, 1, 2, -1), quantity=quantity, mask=mask)


TRUTH = torch.tensor([1.0, 2.0, 4.0, 8.0])


def test_metric_depth_is_compared_as_it_is():
    errors = compare_depth(depth(TRUTH * 1.2), depth(TRUTH))
    assert errors["AbsRel"] == pytest.approx(0.2) and errors["delta1 %"] == 100
    assert compare_depth(depth(TRUTH * 1.3), depth(TRUTH))["delta1 %"] == 0
    without_unit = compare_depth(depth(TRUTH * 0.3), depth(TRUTH))
    assert without_unit["AbsRel"] == pytest.approx(0.7) and without_unit["median ratio"] == pytest.approx(0.3)
    assert without_unit["scaled AbsRel"] < 1e-6


@pytest.mark.parametrize(("values", "quantity"), [(5 / TRUTH + 3, Quantity.DISPARITY), (TRUTH * 7 - 2, Quantity.RELATIVE_DEPTH)])
def test_unknown_scale_and_shift_do_not_count(values, quantity):
    errors = compare_depth(depth(values, quantity), depth(TRUTH))
    assert errors["AbsRel"] < 1e-5 and errors["delta1 %"] == 100 and errors["correlation"] == pytest.approx(1)
    assert compare_depth(depth(-values, quantity), depth(TRUTH))["correlation"] < 0, "the wrong polarity"


def test_each_image_of_a_batch_has_its_own_scale_and_shift():
    found = Estimate.cat([depth(5 / TRUTH + 3, Quantity.DISPARITY), depth(0.1 / TRUTH, Quantity.DISPARITY)])
    truth = Estimate.cat([depth(TRUTH), depth(TRUTH * 9)])
    errors = compare_depth(found, truth)
    assert errors["AbsRel"] < 1e-5 and errors["correlation"] == pytest.approx(1)
    assert depth_error_map(found, truth).abs().max() < 1e-3


def test_disparity_near_zero_is_as_far_as_the_farthest():
    """As MoGe's evaluation clamps it: one pixel would otherwise outweigh all others."""
    truth = torch.tensor([1.0, 2, 4, 100])
    disparity = depth(1 / truth - torch.tensor([0, 0, 0, 0.3]), Quantity.DISPARITY)
    assert compare_depth(disparity, depth(truth))["RMSE"] < 2


def test_errors_lie_where_they_are():
    mask = torch.tensor([True, True, False, True]).view(1, 1, 2, 2)
    found = TRUTH * torch.tensor([1.1, 0.8, 9, 1])
    errors = depth_error_map(depth(found, mask=mask), depth(TRUTH)).flatten()
    torch.testing.assert_close(errors, torch.tensor([10, -20, torch.nan, 0]).double(), equal_nan=True, atol=1e-5, rtol=0)
    far = depth_error_map(depth(5 / TRUTH + 3, Quantity.DISPARITY), depth(TRUTH))
    assert far.abs().max() < 1e-3, "scale and shift do not count"
    angles = angle_map(normals_at(20), normals_at(5, Axes.OPENCV))
    torch.testing.assert_close(angles, torch.full((1, 1, 4, 6), 15.0).double(), atol=1e-4, rtol=0)


def test_holes_and_masked_pixels_do_not_count():
    mask = torch.tensor([False, True, True, True]).view(1, 1, 2, 2)
    for first, known in ((1000, mask), (0, None)):
        assert compare_depth(depth(torch.tensor([first, 2.0, 4, 8]), mask=known), depth(TRUTH))["AbsRel"] == 0


test_what_cannot_be_compared_says_why = refusals(
    (lambda: compare_depth(normals_at(1), depth(TRUTH)), "need depth"),
    (lambda: compare_normals(normals_at(1), depth(TRUTH)), "need normals"),
    (lambda: compare_depth(depth(TRUTH), depth(torch.cat([TRUTH, TRUTH]))), "1 of 2x2 against 1 of 4x2"),
    (lambda: compare_depth(depth(TRUTH * 0), depth(TRUTH)), "no pixel"),
    (lambda: compare_depth(depth(TRUTH - 1, Quantity.RELATIVE_DEPTH), depth(1 / TRUTH, Quantity.DISPARITY)), "neither can be inverted"),
)


def hemisphere() -> tuple[torch.Tensor, torch.Tensor]:
    """Normals, OPENGL, and depth of the front of a ball that fills the image's middle square."""
    x, y = torch.meshgrid(torch.linspace(-0.7, 0.7, 64), torch.linspace(0.7, -0.7, 64), indexing="xy")
    z = (1 - x**2 - y**2).sqrt()
    return torch.stack([x, y, z])[None], (3 - z)[None, None]


@pytest.mark.parametrize("quantity", list(Quantity))
def test_signs_that_agree_pass_and_flipped_ones_are_named(quantity, caplog):
    vectors, distance = hemisphere()
    depth = Estimate(depth=1 / distance if quantity is Quantity.DISPARITY else distance, quantity=quantity)
    for signs, expected in (((1, 1), ()), ((-1, 1), ("x",)), ((1, -1), ("y",)), ((-1, -1), ("x", "y"))):
        caplog.clear()
        assert disagreeing_axes(Estimate(normals=vectors * torch.tensor([*signs, 1.0]).view(1, 3, 1, 1)), depth) == expected
        assert len(caplog.records) == len(expected)
    scannet = Estimate(normals=vectors * torch.tensor([-1.0, 1, 1]).view(1, 3, 1, 1), axes=Axes.SCANNET)
    assert disagreeing_axes(scannet, depth) == ()


def test_signs_are_not_doubted_without_reason():
    vectors, distance = hemisphere()
    other_size = Estimate(depth=F.interpolate(distance, (48, 80), mode="bilinear"), quantity=Quantity.RELATIVE_DEPTH)
    flat = Estimate(depth=torch.ones(1, 1, 64, 64), quantity=Quantity.METRIC_DEPTH)
    step = distance + 100 * (torch.arange(64) >= 32)  # a far wall behind the right half: one steep contour must not outvote the surfaces
    nothing = Estimate(depth=distance, quantity=Quantity.METRIC_DEPTH, mask=torch.zeros_like(distance, dtype=torch.bool))
    for depth in (other_size, flat, Estimate(depth=step, quantity=Quantity.METRIC_DEPTH), nothing):
        assert disagreeing_axes(Estimate(normals=vectors), depth) == ()
    with pytest.raises(ValueError, match="needs normals and a depth"):
        disagreeing_axes(other_size, other_size)


@pytest.mark.parametrize("hole", [float("nan"), float("inf"), 0.0, 1e10])
@pytest.mark.parametrize("scale", [1.0, 0.5, 1.5])
def test_signs_are_looked_at_between_holes(hole, scale):
    vectors, distance = hemisphere()
    holes = torch.zeros_like(distance, dtype=torch.bool)
    holes[..., 20:40, 10:30] = holes[..., ::9, ::7] = True
    depth = Estimate(depth=torch.where(holes, hole, distance), quantity=Quantity.METRIC_DEPTH, mask=~holes)
    depth = depth.resized(round(64 * scale), round(64 * scale))
    vectors[..., 50:60, 50:60] = float("nan")
    assert disagreeing_axes(Estimate(normals=vectors), depth) == ()
    assert disagreeing_axes(Estimate(normals=vectors * torch.tensor([-1.0, -1, 1]).view(1, 3, 1, 1)), depth) == ("x", "y")
