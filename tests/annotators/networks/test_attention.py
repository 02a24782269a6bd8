from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode

from depth_normal.annotators.networks import layers as attention
from depth_normal.annotators.networks.layers import attended, by_convolution, faster_products
from tests.torch_calls import Calls


@pytest.fixture
def multiplies_bfloat16(monkeypatch):
    """A CPU with instructions for bfloat16 and without AMX."""
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False, raising=False)


@pytest.fixture
def amd(monkeypatch):
    monkeypatch.setattr(attention, "convolutions_are_faster", lambda: True)


def of_one_projection(batch=2, heads=3, tokens=450, width=16, seed=0, dtype=torch.bfloat16):
    """Query, key and value as a network has them: views of one tensor."""
    joined = torch.randn(batch, tokens, 3 * heads * width, generator=torch.Generator().manual_seed(seed)).to(dtype)
    return joined.unflatten(-1, (3, heads, width)).permute(2, 0, 3, 1, 4).unbind()


def at_once(query, key, value):
    return (query @ (key * query.shape[-1] ** -0.5).mT).softmax(-1) @ value


@pytest.mark.usefixtures("multiplies_bfloat16")
@pytest.mark.parametrize("tokens", [1, 191, 192, 193, 450])
def test_parts_are_what_all_queries_at_once_are(tokens):
    given = of_one_projection(tokens=tokens)
    exact = F.scaled_dot_product_attention(*(each.double() for each in given))
    found, expected = attended(*given).double(), at_once(*given).double()
    assert found.shape == exact.shape
    assert (found - exact).norm() < 1.1 * (expected - exact).norm() + 1e-9


@pytest.mark.usefixtures("amd")
@pytest.mark.parametrize("tokens", [256, 900, 2049])
def test_float32_in_parts_is_what_torchs_own_is(tokens):
    given = of_one_projection(tokens=tokens, dtype=torch.float32)
    with Calls() as calls:
        found = attended(*given)
    assert calls.of("scaled_dot_product") == 0
    torch.testing.assert_close(found, F.scaled_dot_product_attention(*given), rtol=0, atol=1e-5)


@pytest.mark.usefixtures("amd")
@pytest.mark.parametrize(("heads", "tokens"), [(1, 5000), (12, 769)], ids=["one head in parts", "some heads at once"])
def test_float32_has_few_scores_at_once(monkeypatch, heads, tokens):
    sizes = []

    def multiply(x, weight, groups):
        sizes.append(len(x) * len(weight))
        return by_convolution(x, weight, groups=groups)

    monkeypatch.setattr(attention, "by_convolution", multiply)
    attended(*of_one_projection(batch=1, heads=heads, tokens=tokens, dtype=torch.float32))
    assert 2**21 < max(sizes) <= 2**22


@pytest.mark.usefixtures("amd")
def test_float32_of_few_queries_that_ask_many_keys():
    query, key, value = of_one_projection(tokens=900, dtype=torch.float32)
    found = attended(query[..., :3, :], key, value[..., :5])
    torch.testing.assert_close(found, attended(query, key, value)[..., :3, :5], rtol=0, atol=1e-5)


def test_float32_of_few_tokens_or_on_other_processors_is_torchs_own(monkeypatch):
    for is_amd, tokens in ((True, 255), (False, 900)):
        monkeypatch.setattr(attention, "convolutions_are_faster", lambda is_amd=is_amd: is_amd)
        with Calls() as calls:
            attended(*of_one_projection(tokens=tokens, dtype=torch.float32))
        assert calls.of("scaled_dot_product") == 1


@pytest.mark.slow("takes a second")
@pytest.mark.usefixtures("multiplies_bfloat16")
def test_threads_do_not_disturb_each_other():
    batches = [of_one_projection(seed=seed) for seed in range(8)]
    expected = [attended(*each) for each in batches]
    with ThreadPoolExecutor(4) as pool:
        found = pool.map(lambda each: attended(*each), batches)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


@pytest.mark.usefixtures("multiplies_bfloat16", "amd")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_device_that_only_shapes_pass_through(device, dtype):
    with FakeTensorMode():
        query = torch.empty(2, 3, 900, 16, dtype=dtype, device=device)
        found = attended(query, query, query)
    assert found.shape == query.shape
    assert found.device.type == device


@pytest.mark.usefixtures("multiplies_bfloat16", "amd")
@pytest.mark.parametrize(("dtype", "tokens"), [(torch.bfloat16, 5), (torch.float32, 900)])
def test_gradients_pass(dtype, tokens):
    query, key, value = (each.clone().requires_grad_() for each in of_one_projection(tokens=tokens, dtype=dtype))
    with Calls() as calls:
        found = attended(query, key, value)
    found.float().sum().backward()
    assert calls.of("scaled_dot_product") == 1
    assert value.grad is not None
    assert value.grad.any()


@pytest.mark.usefixtures("multiplies_bfloat16", "amd")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize(
    ("queries", "keys"),
    [((0, 3, 900, 16), (0, 3, 900, 16)), ((2, 3, 0, 16), (2, 3, 900, 16)), ((2, 3, 900, 16), (1, 3, 900, 16))],
    ids=["no image", "no queries", "one key for all images"],
)
def test_what_is_empty_or_shared_is_left_to_torch(queries, keys, dtype):
    query, key = torch.ones(queries, dtype=dtype), torch.ones(keys, dtype=dtype)
    assert attended(query, key, key).shape == query.shape


@pytest.mark.usefixtures("multiplies_bfloat16", "amd")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_values_may_be_narrower_than_keys(dtype):
    query, key, value = of_one_projection(tokens=900, dtype=dtype)
    found, expected = (each(query, key, value[..., :8]) for each in (attended, F.scaled_dot_product_attention))
    assert found.shape == expected.shape
    assert torch.allclose(found, expected, atol=2e-2)


@pytest.mark.usefixtures("torchs_own_bfloat16", "multiplies_bfloat16", "amd")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_an_exporter_sees_torchs_own(monkeypatch, dtype):
    monkeypatch.setattr(attention, "is_traced", lambda: True)
    with Calls() as calls:
        attended(*of_one_projection(tokens=900, dtype=dtype))
    assert calls.of("scaled_dot_product") == 1


@pytest.mark.parametrize("is_amd", [True, False])
def test_another_librarys_linear_layers_are_replaced(monkeypatch, is_amd):
    monkeypatch.setattr(attention, "convolutions_are_faster", lambda: is_amd)
    monkeypatch.setattr(attention, "by_convolution", lambda x, weight, bias: x.new_zeros(len(x), len(weight)))
    layer, x = torch.nn.Linear(384, 512).requires_grad_(False), torch.rand(257, 384)
    with faster_products(x):
        found = layer(x), F.linear(input=x, weight=layer.weight)
    assert all(each.any() != is_amd for each in found)
    assert layer(x).any()


@pytest.mark.usefixtures("torchs_own_bfloat16", "multiplies_bfloat16")
def test_another_librarys_attention_is_replaced_where_it_asks_for_nothing_else(monkeypatch):
    monkeypatch.setattr(attention, "convolutions_are_faster", lambda: False)
    query, key, value = of_one_projection()
    mask = torch.zeros(query.shape[-2], query.shape[-2], dtype=torch.bfloat16)
    with Calls() as calls, faster_products(query):
        found = F.scaled_dot_product_attention(query, key, value)
        assert torch.equal(found, F.scaled_dot_product_attention(query, key, value, attn_mask=None, dropout_p=0.0, scale=0.25))
        assert calls.of("scaled_dot_product") == 0
        others: list[dict[str, Any]] = [{"attn_mask": mask}, {"is_causal": True}, {"scale": 0.5}]
        for options in others:
            F.scaled_dot_product_attention(query, key, value, **options)
        F.scaled_dot_product_attention(query.float(), key.float(), value.float())
        assert calls.of("scaled_dot_product") == 4
    with Calls() as calls, faster_products(query.double()):
        F.scaled_dot_product_attention(query, key, value)
    assert calls.of("scaled_dot_product") == 1
