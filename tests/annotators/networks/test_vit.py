import pytest
import torch

from depth_normal.annotators.networks.vit import VisionTransformer, VitConfig
from tests.random_weights import randomise
from tests.torch_calls import Calls

PLAIN = VitConfig(16, 4, 2, (1, 3), grid=3)
GATED = VitConfig(16, 4, 2, (1, 3), swiglu=True, grid=3)
ALTERNATING = VitConfig(16, 6, 2, (3, 5), alternating_from=2, norm_eps=1e-5, grid=3)
CONFIGS = {"plain": PLAIN, "gated": GATED, "alternating": ALTERNATING}


def random_network(config):
    return randomise(VisionTransformer(config))


def compared(is_the_authors, case, found):
    """Every eighth channel is compared: all depend on the same tokens."""
    maps, last = found
    assert [each.shape[1] for each in maps] == [last.shape[1]] * 2
    is_the_authors(case, maps=torch.stack(maps)[:, :, ::8], last=last)


@torch.no_grad()
@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("rows, columns", [(3, 3), (2, 5)])
def test_the_transformer_is_the_papers(name, rows, columns, is_the_authors):
    images = torch.randn(1, 3, 14 * rows, 14 * columns, generator=torch.Generator().manual_seed(1))
    compared(is_the_authors, f"transformer, {name}, {rows}x{columns}", random_network(CONFIGS[name])(images))


def views(count, seed, rows=2, columns=3):
    return torch.randn(count, 3, 14 * rows, 14 * columns, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
@pytest.mark.parametrize("count, seed, reference", [(1, 0, 0), (2, 0, 0), (3, 0, 2), (3, 3, 0), (5, 1, 2)])
def test_views_of_one_scene_see_each_other_as_in_the_paper(count, seed, reference, is_the_authors):
    """Of which another is the reference each time: the view in the middle of the others."""
    found = random_network(ALTERNATING)(views(count, seed), one_scene=True)
    compared(is_the_authors, f"transformer, {count} views, reference: {reference}", found)


def test_a_scene_of_one_view_is_an_image_to_the_bit():
    network, images = random_network(ALTERNATING), views(1, 0)
    (maps, last), (alone, alone_last) = network(images, one_scene=True), network(images)
    assert all(torch.equal(one, other) for one, other in zip((*maps, last), (*alone, alone_last), strict=True))


def test_three_views_and_more_may_come_in_any_order():
    network, images, order = random_network(ALTERNATING), views(4, 2), [2, 0, 3, 1]
    (maps, last), (other_maps, other_last) = network(images, one_scene=True), network(images[order], one_scene=True)
    for one, other in zip((*maps, last), (*other_maps, other_last), strict=True):
        torch.testing.assert_close(one[order], other, rtol=1e-4, atol=1e-4)


def test_the_official_names():
    names = set(VisionTransformer(ALTERNATING).state_dict())
    block = "norm1.weight norm1.bias attn.qkv.weight attn.qkv.bias attn.proj.weight attn.proj.bias ls1.gamma norm2.weight norm2.bias "
    block += "mlp.fc1.weight mlp.fc1.bias mlp.fc2.weight mlp.fc2.bias ls2.gamma"
    extra = "attn.q_norm.weight attn.q_norm.bias attn.k_norm.weight attn.k_norm.bias"
    expected = {"cls_token", "pos_embed", "camera_token", "patch_embed.proj.weight", "patch_embed.proj.bias", "norm.weight", "norm.bias"}
    expected |= {f"blocks.{i}.{name}" for i in range(6) for name in block.split()}
    expected |= {f"blocks.{i}.{name}" for i in range(2, 6) for name in extra.split()}
    assert names == expected


@pytest.mark.usefixtures("torchs_own_bfloat16")
@pytest.mark.parametrize("has_amx", [True, False])
def test_bfloat16_on_a_cpu_is_multiplied_as_matrices_where_torch_would_not(monkeypatch, has_amx):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: has_amx, raising=False)
    with torch.inference_mode(), Calls() as calls:
        random_network(PLAIN).bfloat16()(views(1, 0).bfloat16())
    assert calls.of("scaled_dot_product") == (PLAIN.depth if has_amx else 0)
