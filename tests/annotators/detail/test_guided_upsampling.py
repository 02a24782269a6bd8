import pytest
import torch

from depth_normal.annotators.detail import guided_detail, guided_upsample
from depth_normal.utils import resize_image, resize_map


def test_guided_upsampling_follows_the_edges_of_the_image():
    image = torch.zeros(1, 1, 64, 96)
    image[..., 47:] = 0.8
    small = resize_image(image, 16, 24)
    sharp = guided_upsample(3 * small + 1, image, 2, 1e-5)
    torch.testing.assert_close(sharp, 3 * image + 1, atol=0.1, rtol=0)
    smooth = resize_map(3 * small + 1, 64, 96)
    assert (smooth - 3 * image - 1).abs().max() > 0.5, "what it is better than"


def test_guided_upsampling_leaves_texture_out():
    generator = torch.Generator().manual_seed(0)
    ramp = torch.linspace(0, 1, 24)[None, None, None].expand(1, 2, 16, 24)
    texture = 0.5 + 0.1 * (torch.rand(1, 1, 64, 96, generator=generator) - 0.5)
    found = guided_upsample(ramp, texture, 2, 0.01)
    assert found.shape == (1, 2, 64, 96)
    steps = found[..., 20:-20].diff(dim=-1)
    torch.testing.assert_close(steps, torch.full_like(steps, 1 / 23 / 4), atol=2e-3, rtol=0)


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (64, 96)])
def test_guided_upsampling_of_a_constant_is_constant(shape):
    found = guided_upsample(torch.full((2, 1, 3, 5), 7.0), torch.rand(2, 1, *shape), 2, 0.01)
    torch.testing.assert_close(found, torch.full((2, 1, *shape), 7.0), atol=1e-4, rtol=0)


def test_sharp_maps_keep_what_they_are_and_gain_the_images_finer_edge():
    image = torch.zeros(1, 1, 64, 96)
    image[..., 47:] = 0.8
    sharp = 3 * resize_image(image, 32, 48) + 1
    found = guided_detail(sharp, image, 2, 1e-5)
    expected = 3 * image + 1
    assert (found - expected).abs().mean() < 0.5 * (resize_map(sharp, 64, 96) - expected).abs().mean()
    plain = torch.full_like(image, 0.5)
    torch.testing.assert_close(guided_detail(sharp, plain, 2, 0.01), resize_map(sharp, 64, 96), atol=1e-5, rtol=0)
