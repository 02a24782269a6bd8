"""A family whose graph is one convolution, written as ONNX by hand: exporting takes seconds, and is tested where it is done."""

import logging
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from depth_normal.annotators import registry
from depth_normal.annotators.base import Annotator
from depth_normal.annotators.graphs import Signature
from depth_normal.annotators.specs.base import ModelSpec, WeightFile
from depth_normal.geometry.estimate import Quantity
from depth_normal.model_loader import load_model
from depth_normal.model_loader.runtimes import build as build_job
from depth_normal.model_loader.runtimes import choose

PACKAGES = {"onnx": "onnxruntime", "openvino": "openvino"}
SPEC = ModelSpec(
    id="convolved",
    family="convolved",
    files=(WeightFile("convolved.pt", url="https://example.org/convolved.pt"),),
    licence="MIT",
    quantity=Quantity.DISPARITY,
    default_size=32,
)


class Convolved(Annotator):
    """Disparity by one convolution; what torch runs is counted."""

    bytes_per_pixel = 100
    runs = 0
    dynamic_size = True

    @classmethod
    def build(cls, spec, states, dtype):
        network = nn.Conv2d(3, 1, 1)
        network.load_state_dict(states["network"])
        return cls(spec, network.to(dtype))

    def signature(self):
        return Signature.of(self.spec, dynamic_size=self.dynamic_size)

    def predict(self, inputs, scalar_inputs=()):
        Convolved.runs += 1
        return (self.network(inputs),)


def write_onnx(graph, path, input_size=None):
    """The convolution as ONNX, for all sizes or for one."""
    onnx = pytest.importorskip("onnx")
    size = ",".join(map(str, input_size or ("height", "width")))
    made = onnx.parser.parse_graph(
        f"convolved (float[batch,3,{size}] pixels) => (float[batch,1,{size}] disparity) {{ disparity = Conv(pixels, weight, bias) }}"
    )
    made.initializer.extend(
        onnx.numpy_helper.from_array(each.float().numpy(), name) for name, each in graph.module.network.named_parameters()
    )
    onnx.save(onnx.helper.make_model(made, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10), path)


@pytest.fixture
def convolved(caches, weights, monkeypatch):
    """`load(runtime)` of the family's one model; its weights; the exports so far; what torch ran."""
    exports = []

    def export(graph, path, input_size=None):
        exports.append(input_size)
        write_onnx(graph, path, input_size)

    monkeypatch.setattr(build_job, "export_graph", export)
    monkeypatch.setattr(choose, "_told", set())
    monkeypatch.setattr(Convolved, "runs", 0)
    monkeypatch.setattr(Convolved, "dynamic_size", True)
    monkeypatch.setitem(registry.FAMILIES, "convolved", Convolved)
    monkeypatch.setitem(registry.MODELS, "convolved", SPEC)

    def load(runtime="onnx", dtype="float32", device="cpu"):
        if runtime in PACKAGES:
            pytest.importorskip(PACKAGES[runtime])
        return load_model("convolved", dtype, device, weights, runtime)

    return SimpleNamespace(load=load, weights=weights, exports=exports, family=Convolved, store=caches.home / "runtimes")


@pytest.fixture
def image():
    return torch.rand(2, 3, 32, 64, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def expected(convolved, image):
    """The images' depth by torch."""
    return convolved.load("torch").estimate(image).depth


@pytest.fixture
def told(caplog):
    """The lines that say why a runtime is not used."""
    caplog.set_level(logging.WARNING, "depth_normal")
    return lambda: [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
