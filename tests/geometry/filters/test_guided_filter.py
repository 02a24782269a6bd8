"""Masks whose border is brought to that of the image."""

import pytest
import torch

from depth_normal.geometry.filters.box import box_means
from depth_normal.geometry.filters.guided_filter import mask_at_image_edges


def silhouette(height=120, width=160):
    """An image of a dark roof with an aerial before a bright sky, and the true share of sky in each pixel, from four times as many."""
    y, x = torch.meshgrid(torch.arange(height * 4) / 4, torch.arange(width * 4) / 4, indexing="ij")
    thing = (y > 70 - 0.4 * (x - 60).abs()) | ((x - 110 - 0.2 * (y - 40)).abs() < 0.8) & (y > 30)
    alpha = torch.nn.functional.avg_pool2d((~thing).float()[None, None], 4)
    colours = torch.tensor((0.7, 0.8, 0.95)).view(1, 3, 1, 1), torch.tensor((0.2, 0.18, 0.15)).view(1, 3, 1, 1)
    noise = 0.02 * torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    return (colours[0] * alpha + colours[1] * (1 - alpha) + noise).clamp(0, 1), alpha


def test_a_staircase_becomes_the_silhouette():
    image, alpha = silhouette()
    rough = torch.nn.functional.interpolate((torch.nn.functional.avg_pool2d(alpha, 8) > 0.5).float(), scale_factor=8)
    found = mask_at_image_edges(rough, image, 8)
    border = (torch.nn.functional.max_pool2d(rough, 17, 1, 8) > 0.5) & (torch.nn.functional.max_pool2d(1 - rough, 17, 1, 8) > 0.5)
    before, after = ((each - alpha).abs()[border].mean() for each in (rough, found))
    assert after < 0.3 * before, (before, after)
    assert ((found > 0.5) != (alpha > 0.5))[border].float().mean() < 0.3 * ((rough > 0.5) != (alpha > 0.5))[border].float().mean()
    assert torch.equal(found[..., :40, :40], rough[..., :40, :40]), "far from the border nothing changes"


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_mask_without_a_border_stays(value):
    image, alpha = silhouette()
    assert torch.equal(mask_at_image_edges(torch.full_like(alpha, value), image, 8), torch.full_like(alpha, value))


def test_maps_of_other_sizes_are_refused():
    image, alpha = silhouette()
    with pytest.raises(ValueError, match="mask"):
        mask_at_image_edges(alpha[..., 1:], image, 8)


@pytest.mark.parametrize("radius", [1, 2, 3, 4, 7, 30])
def test_box_means_are_means_of_the_pixels_that_there_are(radius):
    values = torch.rand(1, 2, 13, 40, generator=torch.Generator().manual_seed(0))
    padded = torch.nn.functional.pad(values.double(), (radius,) * 4, value=torch.nan)
    windows = padded.unfold(2, 2 * radius + 1, 1).unfold(3, 2 * radius + 1, 1)
    torch.testing.assert_close(box_means(values, radius), windows.nanmean((-2, -1)).float())


@pytest.mark.parametrize("value", [1e10, -1e20, 1e30, torch.inf])
@pytest.mark.parametrize("radius", [2, 5])
def test_box_means_of_large_numbers_leave_those_far_away(value, radius):
    values = torch.rand(1, 1, 60, 40, generator=torch.Generator().manual_seed(0))
    with_large = values.clone()
    with_large[..., :20, :15] = value
    for part in ((..., slice(20 + radius, None), slice(None)), (..., slice(None), slice(15 + radius, None))):
        torch.testing.assert_close(box_means(with_large, radius)[part], box_means(values, radius)[part], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_box_means_of_half_precision_count_the_pixels_of_a_long_side(dtype):
    assert (box_means(torch.ones(1, 1, 2, 5000, dtype=dtype), 5) == 1).all()
