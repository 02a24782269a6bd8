import pytest
import torch

from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.geometry.images.render import default_depth_image, default_depth_range, depth_to_image, resized_depth_image
from depth_normal.geometry.levels import measure_range_of_most
from depth_normal.geometry.temporal.ranges import RunningRange


def landscape(rows: int = 200, columns: int = 240) -> Estimate:
    """The upper half is sky, without a value; below it a plain, from 1 km at the horizon to 1 m at the feet."""
    disparity = torch.linspace(1e-3, 1, rows // 2).view(1, 1, -1, 1).expand(-1, -1, -1, columns)
    depth = torch.cat((torch.full_like(disparity, torch.inf), 1 / disparity), 2)
    return Estimate(depth, Quantity.METRIC_DEPTH, mask=torch.isfinite(depth))


def test_a_landscape_keeps_its_greys_for_what_is_near():
    image, depth = default_depth_image(landscape())[0, 0, :, 0], landscape().depth[0, 0, :, 0]
    assert (image[:100] == 0).all(), "sky is black"
    assert image[100] == 0 and image[-1] == 1 and (image[100:].diff() > 0).all()
    assert image[depth < 2].max() - image[depth < 2].min() == pytest.approx(0.5, abs=0.01), "half of the greys between 1 and 2 m"
    in_metres = depth_to_image(landscape().depth, Quantity.METRIC_DEPTH, mask=landscape().mask)[0, 0, :, 0]
    assert in_metres[depth < 50].min() > 0.95, "which an image of metres shows as one white"


def test_a_near_speck_darkens_nothing_else():
    found = landscape()
    found.depth[..., 150, :5] = 0.01
    image = default_depth_image(found)
    assert (image[..., 150, :5] == 1).all()
    torch.testing.assert_close(image[..., 5:], default_depth_image(landscape())[..., 5:], atol=0.02, rtol=0)


def test_a_thousandth_of_the_pixels_is_black_and_one_is_white():
    image = default_depth_image(Estimate(1 / torch.linspace(1, 2, 10000).view(1, 1, 100, 100), Quantity.METRIC_DEPTH))
    assert (image == 0).sum() == (image == 1).sum() == 10


@pytest.mark.parametrize("quantity", [Quantity.DISPARITY, Quantity.RELATIVE_DEPTH])
def test_what_is_not_metric_is_shown_from_end_to_end(quantity):
    depth = torch.rand(2, 1, 300, 400, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(default_depth_image(Estimate(depth, quantity)), depth_to_image(depth, quantity), atol=0, rtol=0)


@pytest.mark.parametrize("quantity", list(Quantity))
def test_the_range_is_that_of_the_image(quantity):
    depth = torch.rand(2, 1, 30, 40, generator=torch.Generator().manual_seed(0)) + 0.1
    found = Estimate(depth, quantity)
    ends = default_depth_range(found)
    torch.testing.assert_close(default_depth_image(found, lambda *_: ends), default_depth_image(found))


def test_a_small_thing_before_a_wall_is_seen():
    depth = torch.full((1, 1, 600, 800), 5.0)
    depth[..., 300:303, 400:403] = 1
    image = default_depth_image(Estimate(depth, Quantity.METRIC_DEPTH))
    assert image[..., 301, 401] == 1 and image[..., 0, 0] == 0


def test_values_that_no_sample_meets_have_a_range():
    values = torch.arange(600.0 * 800).view(1, 1, 600, 800)
    lonely = torch.zeros_like(values, dtype=torch.bool)
    lonely[..., 5, 7:9] = True
    assert [float(end) for end in measure_range_of_most(values, lonely, (0.1, 99.9))] == [4007, 4008]
    assert all(torch.isinf(end).all() for end in measure_range_of_most(values, torch.zeros_like(lonely), (0.1, 99.9)))


def test_a_video_has_the_range_of_what_it_showed_so_far():
    found = Estimate.cat([landscape(), landscape()])
    running = RunningRange(measure_range_of_most)
    image = default_depth_image(found, running.update)
    torch.testing.assert_close(image[:1], image[1:])
    torch.testing.assert_close(image[:1], default_depth_image(landscape()))


@pytest.mark.parametrize("resampling", ["bilinear", "bicubic"])
@pytest.mark.parametrize("has_holes", [False, True])
@pytest.mark.parametrize("quantity", list(Quantity))
def test_levels_before_enlarging_are_those_after(quantity, has_holes, resampling):
    """Some values lie beyond the ends, as where a range follows a video."""
    depth = torch.rand(2, 1, 30, 40, generator=torch.Generator().manual_seed(0)) + 0.1
    found = Estimate(depth, quantity, mask=depth > 0.2 if has_holes else None)
    ends = tuple(end * share for end, share in zip(default_depth_range(found), (1.1, 0.9), strict=True))
    for near in ("white", "black"):
        expected = default_depth_image(found.resized(75, 110, resampling), lambda *_: ends, near)
        torch.testing.assert_close(resized_depth_image(found, 75, 110, ends, resampling, near), expected, atol=1e-5, rtol=0)
