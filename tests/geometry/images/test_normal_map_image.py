"""Which images are taken for normal maps without a word."""

import io
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from depth_normal.geometry.conventions import NormalMapCoding, decode_normal_map, encode_normal_map
from depth_normal.geometry.images.normal_map_image import normal_map_to_estimate

COFFEE = Path(__file__).resolve().parents[3] / "app" / "coffee.jpg"


def of_file(file):
    return torch.from_numpy(np.array(Image.open(file).convert("RGB"))).movedim(-1, 0)[None] / 255


@pytest.fixture
def bumps():
    """Normals of a surface with steep slopes, in OPENGL axes."""
    x, y = torch.meshgrid(torch.linspace(0, 30, 300), torch.linspace(0, 20, 200), indexing="xy")
    vectors = torch.stack((2 * torch.sin(x), 1.5 * torch.cos(y), torch.ones_like(x)))[None]
    return vectors / vectors.norm(dim=1, keepdim=True)


@pytest.fixture
def said(caplog):
    def words(image, coding="opengl"):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            assert torch.equal(normal_map_to_estimate(image, coding, "a.png").normals, decode_normal_map(image, coding))
        return caplog.text

    return words


@pytest.mark.parametrize("coding", NormalMapCoding)
def test_a_normal_map_is_taken_without_a_word(bumps, said, coding):
    image = encode_normal_map(bumps, coding)
    file = io.BytesIO()
    Image.fromarray((image[0].movedim(0, -1) * 255).round().byte().numpy()).save(file, "JPEG", quality=40)
    holes = image * (torch.rand(1, 1, *image.shape[-2:], generator=torch.Generator().manual_seed(0)) > 0.7)
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(0))
    for each in (image, of_file(file), holes, (image + 0.03 * noise).clamp(0, 1), torch.where(holes > 0, image, 0.5)):
        assert not said(each, coding)


@pytest.mark.parametrize("coding", NormalMapCoding)
def test_a_photograph_is_named(said, coding):
    photo = of_file(COFFEE)
    grey = photo.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    for each in (photo, grey, torch.ones(1, 3, 8, 8), torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))):
        assert "a.png does not look like a normal map: " in said(each, coding)


def test_the_wrong_end_of_the_axes_is_named(bumps, said):
    assert "a.png points away from the viewer in 100% of its pixels" in said(encode_normal_map(bumps, "opencv"), "opengl")


@pytest.mark.parametrize("level", [0.0, 0.5])
def test_an_image_without_any_direction_is_nothing_to_warn_of(said, level):
    assert not said(torch.full((1, 3, 8, 8), level))
