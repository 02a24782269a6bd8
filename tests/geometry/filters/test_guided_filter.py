import pytest
import torch
import torch.nn.functional as F

from depth_normal.geometry.filters.guided_filter import mask_at_image_edges


def silhouette(height=120, width=160):
    """An image of a dark roof with an aerial before a bright sky, and the true share of sky in each pixel, from four times as many."""
    y, x = torch.meshgrid(torch.arange(height * 4) / 4, torch.arange(width * 4) / 4, indexing="ij")
    thing = (y > 70 - 0.4 * (x - 60).abs()) | ((x - 110 - 0.2 * (y - 40)).abs() < 0.8) & (y > 30)
    alpha = F.avg_pool2d((~thing).float()[None, None], 4)
    sky, roof = torch.tensor((0.7, 0.8, 0.95)).view(1, 3, 1, 1), torch.tensor((0.2, 0.18, 0.15)).view(1, 3, 1, 1)
    noise = 0.02 * torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    return (sky * alpha + roof * (1 - alpha) + noise).clamp(0, 1), alpha


def test_a_staircase_becomes_the_silhouette():
    image, alpha = silhouette()
    rough = F.interpolate((F.avg_pool2d(alpha, 8) > 0.5).float(), scale_factor=8)
    found = mask_at_image_edges(rough, image, 8)
    border = (F.max_pool2d(rough, 17, 1, 8) > 0.5) & (F.max_pool2d(1 - rough, 17, 1, 8) > 0.5)
    for measured, truth in ((lambda mask: mask, alpha), (lambda mask: (mask > 0.5).float(), (alpha > 0.5).float())):
        before, after = ((measured(each) - truth).abs()[border].mean() for each in (rough, found))
        assert after < 0.3 * before, (before, after)
    assert torch.equal(found[..., :40, :40], rough[..., :40, :40]), "far from the border nothing changes"


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_mask_without_a_border_stays(value):
    image, alpha = silhouette()
    assert torch.equal(mask_at_image_edges(torch.full_like(alpha, value), image, 8), torch.full_like(alpha, value))


def test_maps_of_other_sizes_are_refused():
    image, alpha = silhouette()
    with pytest.raises(ValueError, match="mask"):
        mask_at_image_edges(alpha[..., 1:], image, 8)
