import pytest
import torch

from depth_normal.geometry.filters.coarse import enlarged, middles_of, shrunk


@pytest.mark.parametrize("pitch", [1, 2, 3, 5])
@pytest.mark.parametrize(("height", "width"), [(20, 30), (21, 34), (22, 31)])
def test_a_slope_comes_back_as_it_was(pitch, height, width):
    slope = torch.arange(width).float().expand(1, 2, height, width).contiguous()
    found = enlarged(shrunk(slope, pitch), pitch, (height, width))
    inside = slice(pitch, (width // pitch - 1) * pitch)
    torch.testing.assert_close(found[..., inside], slope[..., inside])
    assert (found - slope).abs().max() <= pitch - 1


@pytest.mark.parametrize(("height", "width"), [(20, 30), (22, 31), (1, 2)])
def test_squares_hold_their_own_value(height, width):
    small = middles_of(torch.rand(1, 1, height, width), 3)
    found = enlarged(small, 3, (height, width), "nearest")
    sides = zip((height, width), small.shape[-2:], strict=True)
    rows, columns = ((torch.arange(length) // 3).clamp(max=least - 1) for length, least in sides)
    assert torch.equal(found, small[..., rows[:, None], columns])
