"""Means, sums and extremes of windows: of the pixels that there are, with a GPU's pooling as with doubled windows and OpenCV."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F

from depth_normal.geometry.filters import box, extremes
from depth_normal.geometry.filters.box import box_means, pooled

MEANS, SUMS = partial(F.avg_pool2d, count_include_pad=False), partial(F.avg_pool2d, divisor_override=1)


@pytest.mark.parametrize("radius", [1, 2, 3, 9, 40])
@pytest.mark.parametrize(("pool", "expected"), [(MEANS, box_means), (SUMS, box.box_sums), (F.max_pool2d, extremes.largest_within)])
def test_pooling_gives_what_windows_give(pool, expected, radius):
    values = torch.randn(2, 3, 23, 37, dtype=torch.float64)
    torch.testing.assert_close(pooled(pool, values, radius), expected(values, radius))


@pytest.mark.parametrize("radius", [1, 2, 3, 4, 7, 30])
def test_means_are_those_of_the_pixels_that_there_are(radius):
    values = torch.rand(1, 2, 13, 40, generator=torch.Generator().manual_seed(0))
    padded = F.pad(values.double(), (radius,) * 4, value=torch.nan)
    windows = padded.unfold(2, 2 * radius + 1, 1).unfold(3, 2 * radius + 1, 1)
    torch.testing.assert_close(box_means(values, radius), windows.nanmean((-2, -1)).float())


@pytest.mark.parametrize("value", [1e10, -1e20, 1e30, torch.inf])
@pytest.mark.parametrize("radius", [2, 5])
def test_means_of_large_numbers_leave_those_far_away(value, radius):
    values = torch.rand(1, 1, 60, 40, generator=torch.Generator().manual_seed(0))
    with_large = values.clone()
    with_large[..., :20, :15] = value
    for part in ((..., slice(20 + radius, None), slice(None)), (..., slice(None), slice(15 + radius, None))):
        torch.testing.assert_close(box_means(with_large, radius)[part], box_means(values, radius)[part], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_means_of_half_precision_count_the_pixels_of_a_long_side(dtype):
    assert (box_means(torch.ones(1, 1, 2, 5000, dtype=dtype), 5) == 1).all()
