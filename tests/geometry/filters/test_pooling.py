"""A GPU's pooling gives the sums, means and extremes that doubled windows and OpenCV give."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F

from depth_normal.geometry.filters import box, extremes
from depth_normal.geometry.filters.box import pooled

MEANS, SUMS = partial(F.avg_pool2d, count_include_pad=False), partial(F.avg_pool2d, divisor_override=1)


@pytest.mark.parametrize("radius", [1, 2, 3, 9, 40])
@pytest.mark.parametrize(("pool", "expected"), [(MEANS, box.box_means), (SUMS, box.box_sums), (F.max_pool2d, extremes.largest_within)])
def test_pooling_gives_what_windows_give(pool, expected, radius):
    values = torch.randn(2, 3, 23, 37, dtype=torch.float64)
    torch.testing.assert_close(pooled(pool, values, radius), expected(values, radius))
