"""Levels of maps: nearness, ranges and samples."""

import numpy as np
import pytest
import torch

from depth_normal.geometry import levels
from depth_normal.geometry.kinds import Quantity
from depth_normal.geometry.levels import depth_to_nearness, measure_range, sample_stride, sampled


@pytest.mark.parametrize("as_disparity", [False, True])
@pytest.mark.parametrize("quantity", list(Quantity))
def test_nearness_grows_towards_the_viewer(quantity, as_disparity):
    near_to_far = torch.tensor([1.0, 2.0, 4.0])
    values = 1 / near_to_far if quantity is Quantity.DISPARITY else near_to_far
    assert (depth_to_nearness(values, quantity, as_disparity).diff() < 0).all()


class Elsewhere(torch.Tensor):
    """Takes the way of tensors on a GPU."""


@pytest.mark.parametrize("sorts", [True, False])
@pytest.mark.parametrize("kind", [torch.Tensor, Elsewhere])
def test_percentiles_are_exact_whatever_the_values(kind, sorts, monkeypatch):
    """Against sorting: any scale and sign, ties, one value, images alone and together."""
    monkeypatch.setattr(levels, "_SORTED", levels._SORTED if sorts else 9)
    generator = torch.Generator().manual_seed(0)
    for scale, rounded in ((1.0, False), (1e-38, False), (1e30, False), (3.0, True)):
        values = torch.randn(3, 1, 40, 50, generator=generator) * scale
        values = values.round() if rounded else values
        valid = torch.rand(values.shape, generator=generator) > 0.3
        valid[2] = False
        valid[2, 0, 7, 7] = True
        for per_clip in (False, True):
            low, high = measure_range(values.as_subclass(kind), valid, (2.0, 85.0), per_clip)
            groups = [values[valid]] if per_clip else [v[m] for v, m in zip(values, valid, strict=True)]
            for index, group in enumerate(groups):
                expected = np.percentile(group.numpy(), [2, 85])
                assert [low[index].item(), high[index].item()] == pytest.approx(expected.tolist(), rel=1e-6, abs=1e-44)
        for most in (85.0, 100.0, 99.9999999):
            low, high = measure_range(values.as_subclass(kind), torch.zeros_like(valid), (2.0, most))
            assert low.isinf().all() and high.isinf().all(), "nothing is valid"


def test_the_greatest_of_more_values_than_float32_counts_is_found():
    values = torch.zeros(1, 1, 1, 2**24 + 4)
    values[..., -1] = 1
    low, high = measure_range(values, torch.ones_like(values, dtype=torch.bool), (1.0, 100.0))
    assert (low.item(), high.item()) == (0, 1)
    places, _ = levels._places_of(values, 2**24 + 4, (1.0, 100.0))
    assert places.tolist()[1::2] == [2**24 + 3] * 2


def test_samples_are_of_the_whole_map_and_only_of_what_counts():
    values = torch.arange(600.0 * 800).view(1, 1, 600, 800)
    valid = values % 2 == 0
    sample = sampled(values, valid)
    assert 2**13 < len(sample) < 2**17 and (sample % 2 == 0).all()
    assert float(sample.median()) == pytest.approx(240000, rel=0.02)
    assert sample_stride(9) == 1 and sample_stride(2**20) == 4
    lonely = torch.zeros_like(valid)
    assert sampled(values, lonely).numel() == 0
    lonely[..., 5, 7] = True
    assert sampled(values, lonely).tolist() == [4007], "what a sparse grid misses is found"
