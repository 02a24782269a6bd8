import pytest
import torch

from depth_normal.geometry.filters.transforms import blurred
from depth_normal.geometry.images.srgb import linear_to_srgb, luminance, srgb_to_linear
from depth_normal.geometry.textures.height import height_to_normals
from depth_normal.geometry.textures.materials import Materials, gamma_to_linear, pack_orm, remove_light, uniform_materials
from depth_normal.geometry.textures.occlusion import height_to_occlusion
from depth_normal.geometry.textures.seamless import wrap

SIDE = 64


def materials(batch=2, height=6, width=8):
    generator = torch.Generator().manual_seed(0)
    return Materials(*(torch.rand(batch, channels, height, width, generator=generator) for channels in (3, 1, 1)))


def test_gamma_is_undone():
    linear = torch.linspace(0, 1, 11)
    assert torch.allclose(gamma_to_linear(linear ** (1 / 2.2)), linear, atol=1e-6)
    assert gamma_to_linear(torch.tensor([-0.1, 1.1])).tolist() == [0, 1]


def test_occlusion_roughness_metallic_are_red_green_blue():
    red, green, blue = (torch.full((1, 1, 2, 2), value) for value in (0.25, 0.5, 0.75))
    assert pack_orm(red, green, blue)[0, :, 1, 0].tolist() == [0.25, 0.5, 0.75]
    with pytest.raises(ValueError, match=r"of one size; found \(1, 1, 2, 2\), \(1, 1, 2, 3\)"):
        pack_orm(red, torch.zeros(1, 1, 2, 3), blue)
    with pytest.raises(ValueError, match=r"must be \(B, 1, H, W\)"):
        pack_orm(*[torch.zeros(1, 3, 2, 2)] * 3)


def test_parts_join_in_order():
    whole = materials(3)
    parts = [Materials(*(value[start:stop] for value in whole.maps.values())) for start, stop in ((0, 2), (2, 3))]
    joined = Materials.cat(iter(parts), 3, "cpu")
    assert all(torch.equal(value, whole.maps[name]) for name, value in joined.maps.items())
    for total in (2, 4):
        with pytest.raises(ValueError, match=f"expected {total}"):
            Materials.cat(iter(parts), total, "cpu")


def test_resized_and_folded():
    flat = Materials(*(torch.full((1, channels, 6, 8), 0.3) for channels in (3, 1, 1)))
    assert all(torch.allclose(value, torch.tensor(0.3)) for value in flat.resized(9, 5).maps.values())
    assert flat.resized(9, 5).albedo.shape == (1, 3, 9, 5)
    whole = materials()
    wrapped = Materials(*(wrap(value, (2, 3)) for value in whole.maps.values()))
    assert all(torch.allclose(value, whole.maps[name]) for name, value in wrapped.folded((2, 3)).maps.items())


def test_maps_that_do_not_belong_together_are_refused():
    good = materials()
    with pytest.raises(ValueError, match=r"Materials.roughness has shape \(2, 3, 6, 8\), expected \(2, 1, 6, 8\)"):
        Materials(good.albedo, good.albedo, good.metallic)


def noise(channels, width, seed):
    values = blurred(torch.randn(1, channels, SIDE, SIDE, generator=torch.Generator().manual_seed(seed)), width, True)
    return values / values.std()


@pytest.fixture
def surface():
    """An sRGB image, its linear colours, and normals and occlusion of its bumps."""
    height = 2 * noise(1, 3.0, 0)
    colours = torch.tensor([0.3, 0.2, 0.15]).view(1, 3, 1, 1) * (0.2 * noise(1, 1.0, 1)).exp()
    normals, occlusion = height_to_normals(height, borders="seamless"), height_to_occlusion(height, borders="seamless")
    return linear_to_srgb(colours * occlusion), colours, normals, occlusion


def off(found, colours):
    """Spread of the logarithm's difference."""
    return float((srgb_to_linear(found) / colours).log().std())


@pytest.mark.parametrize("cause", ["lamp", "occlusion", "direction"])
def test_each_kind_of_light_is_taken_out(surface, cause):
    _, colours, normals, occlusion = surface
    ramp = (torch.arange(SIDE) / SIDE - 0.5).expand(1, 1, SIDE, SIDE)
    shading = (normals * torch.tensor([-0.5, 0.3, 0.8]).view(1, 3, 1, 1)).sum(1, keepdim=True).clamp(min=0.1)
    light = {"lamp": ramp.exp(), "occlusion": occlusion, "direction": shading}[cause]
    image = linear_to_srgb((colours * light / light.mean()).clamp(0, 1))
    assert off(remove_light(image, normals, occlusion), colours) < 0.5 * off(image, colours)


def test_hues_and_exposure_stay(surface):
    image, _, *geometry = surface
    before, after = srgb_to_linear(image), srgb_to_linear(remove_light(image, *geometry))
    assert torch.allclose(after / luminance(after), before / luminance(before), atol=1e-3)
    assert float(luminance(after).log().mean() - luminance(before).log().mean()) == pytest.approx(0, abs=0.01)


def test_a_flat_material_in_even_light_stays():
    image = torch.full((2, 3, SIDE, SIDE), 0.4)
    facing, open_sky = torch.tensor([0.0, 0, 1]).view(1, 3, 1, 1).expand_as(image), torch.ones(2, 1, SIDE, SIDE)
    assert torch.allclose(remove_light(image, facing, open_sky), image, atol=1e-4)
    assert remove_light(torch.zeros_like(image), facing, open_sky).abs().max() < 1e-6


def test_bright_crevices_are_not_made_brighter(surface):
    *_, normals, occlusion = surface
    image = linear_to_srgb((0.2 / occlusion).expand(-1, 3, -1, -1).clamp(max=1))
    assert torch.allclose(remove_light(image, normals, occlusion), image, atol=0.03)


def test_a_batch_is_made_as_its_images(surface):
    image, colours, normals, occlusion = surface
    images = torch.cat((image, linear_to_srgb(colours.flip(-1))))
    together = remove_light(images, normals.expand(2, -1, -1, -1), occlusion.expand(2, -1, -1, -1))
    apart = torch.cat([remove_light(each, normals, occlusion) for each in images.split(1)])
    assert torch.allclose(together, apart, atol=1e-5)


def test_a_texture_that_tiles_has_an_albedo_that_tiles(surface):
    image, _, *geometry = surface
    turned = [each.roll((11, 7), (-2, -1)) for each in (image, *geometry)]
    found = remove_light(image, *geometry, borders="seamless")
    assert torch.allclose(remove_light(*turned, borders="seamless"), found.roll((11, 7), (-2, -1)), atol=1e-4)


def test_one_roughness_and_no_metal():
    found = uniform_materials(torch.rand(2, 3, 4, 5), 0.3)
    assert found.roughness.shape == (2, 1, 4, 5) and bool((found.roughness == torch.tensor(0.3)).all()) and not found.metallic.any()
    with pytest.raises(ValueError, match="roughness is 2"):
        uniform_materials(torch.rand(1, 3, 4, 5), 2.0)
