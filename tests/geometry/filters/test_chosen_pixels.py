import pytest
import torch

from depth_normal.geometry.filters.chosen_pixels import ChosenPixels
from depth_normal.geometry.filters.coarse import enlarged, middles_of


def test_elsewhere_than_on_a_cpu_all_pixels_are_taken_and_none_of_the_others_changed():
    """The meta device has shapes alone: a list of pixels would need their number."""
    values, chosen = torch.rand(2, 1, 5, 7, device="meta"), torch.empty(2, 1, 5, 7, device="meta", dtype=torch.bool)
    pixels = ChosenPixels(chosen)
    taken = pixels.take(values)
    assert taken.shape == (70,) and pixels.put(values, taken).shape == values.shape
    vectors, pixels = torch.rand(1, 3, 8, 12, device="meta"), ChosenPixels(torch.empty(1, 1, 8, 12, device="meta", dtype=torch.bool))
    taken = pixels.take_vectors(vectors)
    assert taken.shape == pixels.sample_vectors(vectors[..., ::2, ::2], 2).shape == (3, 96)
    assert pixels.put_vectors(vectors, taken).shape == vectors.shape


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_vectors_of_some_pixels_and_of_smaller_maps(share):
    values, small, chosen = torch.rand(1, 3, 8, 13), torch.rand(1, 3, 3, 4), torch.rand(1, 1, 8, 13) < share
    pixels = ChosenPixels(chosen)
    assert torch.equal(pixels.take_vectors(values), values[:, :, chosen[0, 0]][0])
    whole = enlarged(small, 3, (8, 13))
    torch.testing.assert_close(pixels.sample_vectors(small, 3), whole[:, :, chosen[0, 0]][0])
    assert torch.equal(pixels.put_vectors(values, -pixels.take_vectors(values)), torch.where(chosen, -values, values))


@pytest.mark.parametrize(("height", "width"), [(20, 30), (22, 31), (1, 2)])
def test_squares_hold_their_own_value(height, width):
    small = middles_of(torch.rand(1, 1, height, width), 3)
    found = enlarged(small, 3, (height, width), "nearest")
    sides = zip((height, width), small.shape[-2:], strict=True)
    rows, columns = ((torch.arange(length) // 3).clamp(max=least - 1) for length, least in sides)
    assert torch.equal(found, small[..., rows[:, None], columns])
