"""The maps of a material: their values, joining, seams and packing."""

import pytest
import torch

from depth_normal.geometry.textures.materials import Materials, gamma_to_linear, pack_orm
from depth_normal.geometry.textures.seamless import wrap


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
