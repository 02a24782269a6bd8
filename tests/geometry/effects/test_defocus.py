"""The blur of photos that are out of focus by a known amount."""

import pytest
import torch

from depth_normal.geometry.effects.defocus import BlurByDepth
from depth_normal.geometry.effects.lights import LightPlan
from depth_normal.geometry.effects.lit_scene import lit_scene
from depth_normal.geometry.estimate import Estimate, Quantity


def blur_by_depth(image, depth):
    layers = BlurByDepth.of(image, depth)
    return layers.blur(layers.evidence)


def photo(blur, pitch=1, noise=0.004):
    """An image with the spectrum of photos, 1 / frequency, sharp where it is near, on the left, and blurred where it is far; and depth."""
    generator = torch.Generator().manual_seed(0)
    height, width = 240, 400
    rows, columns = torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)
    frequency = (rows**2 + columns**2).sqrt().clamp(min=1 / width)
    spectrum = torch.fft.rfft2(torch.randn(height, width, generator=generator)) / frequency
    sharp, soft = (torch.fft.irfft2(spectrum * torch.exp(-2 * (torch.pi * frequency * each) ** 2), (height, width)) for each in (0.4, blur))
    far = (torch.arange(width) >= 200).expand(height, width)
    image = 0.5 + 0.15 * torch.where(far, soft, sharp) / sharp.std() + noise * torch.randn(height, width, generator=generator)
    depth = torch.where(far, 3.0, 1.0)
    image, depth = (torch.nn.functional.interpolate(each[None, None], scale_factor=float(pitch)) for each in (image, depth))
    return image.expand(-1, 3, -1, -1).clamp(0, 1).contiguous(), depth


@pytest.mark.parametrize("pitch", [1, 2, 4])
@pytest.mark.parametrize("blur", [3, 5])
def test_the_blur_of_what_is_far_is_found(blur, pitch):
    image, depth = photo(blur, pitch)
    found = blur_by_depth(image, depth)
    left, right = found[..., :20].mean(), found[..., -20:].mean()
    assert left < 0.05 * right and float(right) == pytest.approx(blur * pitch, rel=0.4)


def test_what_is_in_focus_or_plain_has_no_blur():
    sharp, depth = photo(0.4)
    plain_wall = photo(5)[0]
    plain_wall[..., 200:] = 0.5
    for image in (sharp, torch.full_like(sharp, 0.5), plain_wall):
        assert blur_by_depth(image, depth).max() == 0


def test_a_scene_knows_the_blur_where_a_lamp_casts_shadows():
    image, depth = photo(5)
    normals = torch.tensor((0.0, 0.0, 1.0)).view(1, 3, 1, 1).expand(1, 3, *depth.shape[-2:])
    for shadow in (None, 0.0):
        scene = lit_scene(image, Estimate(depth, Quantity.METRIC_DEPTH, normals), (LightPlan(shadow=shadow),))
        assert (scene.blur is None) == (shadow == 0)
