import numpy as np
import pytest
import torch

from depth_normal.geometry.alignment.scale_shift import fit_scale_shift


def noise(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def test_it_is_numpys_least_squares_over_the_valid_pixels():
    values, target = noise(2, 1, 20, 30), noise(2, 1, 20, 30, seed=1) + 3 * noise(2, 1, 20, 30)
    valid = noise(2, 1, 20, 30, seed=2) > 0.4
    scale, shift = fit_scale_shift(values, target, valid)
    assert all(each.shape == (2, 1, 1, 1) and each.dtype is torch.float64 for each in (scale, shift))
    for index in range(2):
        x, y = (each[index][valid[index]].double().numpy() for each in (values, target))
        expected = np.linalg.lstsq(np.stack((x, np.ones_like(x)), 1), y, rcond=None)[0]
        np.testing.assert_allclose([scale[index].item(), shift[index].item()], expected, rtol=1e-9)
    one = fit_scale_shift(values.flatten()[None], target.flatten()[None], valid.flatten()[None])
    assert [each.shape for each in one] == [(1, 1), (1, 1)], "a clip as one map"


@pytest.mark.parametrize("hole", [float("nan"), float("inf"), 1e30])
def test_holes_are_not_looked_at(hole):
    values, valid = noise(1, 1, 8, 8), torch.ones(1, 1, 8, 8, dtype=torch.bool)
    target = 4 * values + 1
    expected = fit_scale_shift(values[..., :4, :], target[..., :4, :])
    values[..., 4:, :4] = hole
    target[..., 4:, 4:] = hole
    valid[..., 4:, :] = False
    assert fit_scale_shift(values, target, valid) == expected


def test_near_never_becomes_far():
    values = noise(1, 1, 8, 8)
    scale, shift = fit_scale_shift(values, 5 - 2 * values)
    assert scale.item() == 0 and shift.item() == pytest.approx((5 - 2 * values).mean().item())


@pytest.mark.parametrize("value", [0.1, -7.3])
def test_equal_values_have_no_scale_of_their_own(value):
    """In float64 the mean of equal values is off by a rounding, which must not be taken for a shape."""
    values, target = torch.full((1, 1, 31, 41), value, dtype=torch.float64), noise(1, 1, 31, 41).double()
    scale, shift = fit_scale_shift(values, target)
    assert scale.item() == 1 and (values + shift).mean().item() == pytest.approx(target.mean().item(), abs=1e-7)


def test_where_nothing_counts_nothing_changes():
    values = noise(2, 1, 4, 4)
    scale, shift = fit_scale_shift(values, values * 9, torch.zeros(2, 1, 4, 4, dtype=torch.bool))
    assert (scale == 1).all() and (shift == 0).all()


@pytest.mark.parametrize("offset", [1e3, 1e5])
def test_a_small_shape_on_a_large_offset_is_not_lost(offset):
    shape = noise(1, 1, 40, 40).double()
    scale, _ = fit_scale_shift(shape + offset, 3 * shape)
    assert scale.item() == pytest.approx(3, rel=1e-6)


def test_maps_of_different_sizes_are_refused():
    with pytest.raises(ValueError, match=r"values \(1, 1, 4, 4\), target \(1, 1, 4, 5\)"):
        fit_scale_shift(torch.ones(1, 1, 4, 4), torch.ones(1, 1, 4, 5))
    with pytest.raises(ValueError, match=r"valid \(1, 1, 2, 2\)"):
        fit_scale_shift(torch.ones(1, 1, 4, 4), torch.ones(1, 1, 4, 4), torch.ones(1, 1, 2, 2, dtype=torch.bool))
