import io
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from depth_normal.geometry.conventions import NormalMapCoding, decode_normal_map, encode_normal_map
from depth_normal.geometry.estimate import Axes
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


def test_an_image_without_any_direction_is_nothing_to_warn_of(said):
    assert not any(said(torch.full((1, 3, 8, 8), level)) for level in (0.0, 0.5))


@pytest.mark.parametrize("coding", NormalMapCoding)
def test_vectors_are_read_as_the_colours_that_store_them(bumps, said, coding):
    image = encode_normal_map(bumps, coding)
    assert torch.allclose(normal_map_to_estimate(2 * image - 1, coding).normals, bumps, atol=1e-5)
    facing = torch.tensor((0.0, 0.0, 1.0)).view(1, 3, 1, 1).expand(1, 3, 8, 8)
    assert torch.allclose(normal_map_to_estimate(2 * encode_normal_map(facing, coding) - 1, coding).normals, facing, atol=1e-6)


@pytest.mark.parametrize("blue", [0, 0.5, 1])
@pytest.mark.parametrize("coding", ["opengl", Axes.DIRECTX, NormalMapCoding.DIRECTX])
def test_blue_is_computed_for_textures_of_two_channels(bumps, coding, blue):
    image = encode_normal_map(bumps, coding)
    image[:, 2] = blue
    assert torch.allclose(normal_map_to_estimate(image, coding).normals, bumps, atol=1e-3)


def test_vectors_away_from_the_viewer_have_blue(bumps, caplog):
    away = bumps * bumps.new_tensor((1, 1, -1)).view(3, 1, 1)
    assert torch.allclose(normal_map_to_estimate(away, "opengl").normals, away, atol=1e-6)
    assert "points away from the viewer" in caplog.text


def test_transparent_black_and_missing_pixels_have_no_normal(bumps):
    image = encode_normal_map(bumps)
    transparent = torch.cat((image, torch.ones_like(image[:, :1])), 1)
    for stored, missing in ((transparent, 0), (image, 0), (image, torch.nan), (2 * image - 1, 0)):
        hole = stored.clone()
        hole[:, :, 40:60] = missing
        found = normal_map_to_estimate(hole, "opengl")
        assert not found.normals_valid[:, :, 40:60].any() and found.normals_valid[:, :, :40].all()
        assert torch.allclose(found.normals[:, :, :40], bumps[:, :, :40], atol=1e-5)


def test_a_smooth_alpha_over_good_normals_is_height(bumps, caplog):
    image = encode_normal_map(bumps)
    height = torch.linspace(0, 1, image.shape[-2]).view(1, 1, -1, 1).expand_as(image[:, :1])
    with caplog.at_level(logging.INFO):
        found = normal_map_to_estimate(torch.cat((image, height), 1), "opengl", "a.png")
    assert found.mask is None and torch.allclose(found.normals, bumps, atol=1e-6)
    assert "a.png: its alpha is smooth, over good normals: height" in caplog.text


@pytest.mark.parametrize("kind", ["cut out", "over colours"])
def test_pixels_that_alpha_hides_are_counted(bumps, caplog, kind):
    image = encode_normal_map(bumps) if kind == "cut out" else torch.rand(1, 3, 200, 300)
    alpha = torch.linspace(0, 1, 200).view(1, 1, -1, 1).expand_as(image[:, :1])
    alpha = (alpha * 20 - 9.5).clamp(0, 1) if kind == "cut out" else alpha  # an edge of 10 rows
    with caplog.at_level(logging.INFO):
        found = normal_map_to_estimate(torch.cat((image, alpha), 1), "opengl", "a.png")
    assert torch.equal(found.mask, alpha >= 0.5) and "a.png: 30,000 of 60,000 pixels are transparent and ignored" in caplog.text


@pytest.mark.parametrize("layout", ["1y1x", "yyyx"])
def test_x_may_be_in_alpha(bumps, caplog, layout):
    x, y, _ = encode_normal_map(bumps).split(1, 1)
    swizzled = torch.cat([{"1": torch.ones_like(x), "x": x, "y": y}[each] for each in layout], 1)
    with caplog.at_level(logging.INFO):
        found = normal_map_to_estimate(swizzled, "dxt5nm", "a.png")
    assert found.mask is None and torch.allclose(found.normals, bumps, atol=1e-3) and not caplog.text
    normal_map_to_estimate(swizzled, "opengl", "a.png")
    assert "a.png has no x in red: it is probably in alpha; name the coding dxt5nm" in caplog.text and "photograph" not in caplog.text
    with pytest.raises(ValueError, match=r"a\.png has no alpha, where dxt5nm stores x"):
        normal_map_to_estimate(swizzled[:, :3], "dxt5nm", "a.png")


def test_x_in_red_is_no_dxt5nm(bumps, caplog):
    image = encode_normal_map(bumps)
    normal_map_to_estimate(torch.cat((image, image[:, 2:]), 1), "dxt5nm", "a.png")
    assert "a.png has x in red, it seems, and not in alpha as in dxt5nm" in caplog.text


def test_numbers_of_neither_kind_are_refused():
    with pytest.raises(ValueError, match=r"values of a.png go from 0 to 255; a normal map stores colours in 0..1, or vectors"):
        normal_map_to_estimate(torch.tensor((0.0, 128.0, 255.0)).view(1, 3, 1, 1), "opengl", "a.png")
