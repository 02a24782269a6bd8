from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from depth_normal.annotators.networks import layers as linear
from depth_normal.annotators.networks.depth_anything import MotionModule
from depth_normal.annotators.networks.layers import Linear
from depth_normal.annotators.networks.vit import VisionTransformer, VitConfig
from tests.torch_calls import Calls

needs_mkl = pytest.mark.skipif(
    not (torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()), reason="needs a torch with MKL and oneDNN"
)


@pytest.fixture(autouse=True)
def amd(monkeypatch):
    monkeypatch.setattr(linear, "_is_amd", lambda: True)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")


def layer_and_tokens(*shape: int, inputs=384, outputs=512, bias=True, dtype=torch.float32) -> tuple[Linear, Tensor]:
    generator = torch.Generator().manual_seed(0)
    layer = Linear(inputs, outputs, bias).requires_grad_(False)
    for each in layer.parameters():
        each.copy_(torch.randn(each.shape, generator=generator) / inputs**0.5)
    return layer.to(dtype), torch.randn(*shape, inputs, generator=generator).to(dtype)


def usual(layer: Linear, x: Tensor) -> Tensor:
    return F.linear(x, layer.weight, layer.bias)


@pytest.fixture(params=[1, 2])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@needs_mkl
@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(257,), (1, 257), (3, 100), (40, 2, 8)])
def test_a_large_layer_is_a_convolution_in_the_same_memory(shape, bias):
    layer, x = layer_and_tokens(*shape, bias=bias)
    with Calls() as calls:
        found = layer(x)
    assert (calls.of("convolution"), calls.of("clone", "copy", "contiguous")) == (1, 0)
    assert found.is_contiguous()
    torch.testing.assert_close(found, usual(layer, x), rtol=0, atol=1e-5)


@needs_mkl
@pytest.mark.parametrize("name", ["a map's channels", "a batch's", "some tokens of a batch", "every second token", "expanded"])
def test_tokens_in_any_memory(name):
    layer, x = layer_and_tokens(2, 400)
    x = {
        "a map's channels": x[:1].mT.contiguous().mT,
        "a batch's": x.mT.contiguous().mT,
        "some tokens of a batch": x[:, 1:],
        "every second token": x[:, ::2],
        "expanded": x[:1].expand(3, -1, -1),
    }[name]
    with Calls() as calls:
        found = layer(x)
    assert calls.of("convolution") == 1
    assert found.is_contiguous()
    torch.testing.assert_close(found, usual(layer, x), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "options", "lacking"),
    [
        ((1, 127), {"outputs": 2048}, ""),
        ((1, 257), {"inputs": 64, "outputs": 64}, ""),
        ((1, 257), {"dtype": torch.bfloat16}, ""),
        ((1, 257), {"dtype": torch.float16}, ""),
        ((1, 257), {"dtype": torch.float64}, ""),
        ((0,), {}, ""),
        ((1, 257), {}, "amd"),
        ((1, 257), {}, "avx512"),
        ((1, 257), {}, "mkl"),
        ((1, 257), {}, "mkldnn"),
    ],
)
def test_other_layers_processors_and_torches_multiply_as_before(shape, options, lacking, monkeypatch):
    if lacking == "amd":
        monkeypatch.setattr(linear, "_is_amd", lambda: False)
    elif lacking == "avx512":
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    elif lacking:
        monkeypatch.setattr(getattr(torch.backends, lacking), "is_available", lambda: False)
    layer, x = layer_and_tokens(*shape, **options)
    with Calls() as calls:
        found = layer(x)
    assert calls.of("convolution") == 0
    assert torch.equal(found, usual(layer, x))


@pytest.mark.slow("takes most of a second")
def test_exported_graphs_hold_linear_layers():
    layer, x = layer_and_tokens(1, 257)
    exported = torch.export.export(layer, (x,))
    assert [node.target for node in exported.graph.nodes if node.op == "call_function"] == [torch.ops.aten.linear.default]


def test_devices_other_than_cpus_get_torchs_own():
    with torch.device("meta"), Calls() as calls:
        Linear(384, 512)(torch.empty(2, 257, 384))
    assert calls.of("convolution") == 0


def test_weights_of_another_class_keep_their_own_way():
    class Quantised(Tensor):
        """As those of torchao: its class says how to multiply."""

        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            assert func is not torch.conv2d
            return super().__torch_function__(func, types, args, kwargs)

    layer, x = layer_and_tokens(1, 257)
    expected = usual(layer, x)
    layer.weight = nn.Parameter(layer.weight.as_subclass(Quantised), requires_grad=False)
    assert torch.equal(layer(x).as_subclass(Tensor), expected)


@pytest.mark.parametrize("network", [VisionTransformer(VitConfig(16, 4, 2, (1, 3), grid=3)), MotionModule(32)])
def test_networks_have_such_layers(network):
    layers = [each for each in network.modules() if isinstance(each, nn.Linear)]
    assert layers
    assert all(type(each) is Linear for each in layers)


def test_the_maker_is_in_the_processors_name_where_linux_file_is_not(monkeypatch, tmp_path):
    monkeypatch.undo()
    monkeypatch.setattr(linear, "Path", lambda _: tmp_path / "absent")
    monkeypatch.setattr(linear.platform, "processor", lambda: "AMD64 Family 25 Model 33 Stepping 0, AuthenticAMD")
    assert linear._is_amd.__wrapped__()
    monkeypatch.setattr(linear.platform, "processor", lambda: "Intel64 Family 6 Model 158 Stepping 10, GenuineIntel")
    assert not linear._is_amd.__wrapped__()
