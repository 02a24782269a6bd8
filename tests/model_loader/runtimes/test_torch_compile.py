"""torch.compile by torch's real compiler. A minute a network: `benchmarks/runtime_parity.py --runtime compile` has all families."""

import shutil

import pytest
import torch
from torch import nn

from depth_normal.annotators.graphs import NOT_NORMALISED, Graph
from depth_normal.annotators.registry import MODELS
from depth_normal.model_loader.runtimes.build import Job
from depth_normal.model_loader.runtimes.torch_compile import start

# torch.compile imports it, which fails once anything has imported Python's own distutils: so it is imported before any test is run.
pytest.importorskip("setuptools", reason="torch.compile needs setuptools")

CPU = torch.device("cpu")


class Deepest(nn.Module):
    """What Inductor could not compile in *tiny*: strides of 2 over images and their mirror images, attention, a convolution."""

    def __init__(self):
        super().__init__()
        self.strides = nn.Sequential(*(nn.Conv2d(channels, 4, 3, stride=2, padding=1) for channels in (3, 4, 4, 4, 4)))
        self.query, self.last = nn.Linear(4, 4), nn.Conv2d(4, 4, 1)
        self.to(memory_format=torch.channels_last)

    def forward(self, pixels):
        deepest = self.strides(torch.cat((pixels, pixels.flip(3))))
        tokens = deepest.flatten(2).transpose(1, 2)
        tokens = tokens + nn.functional.scaled_dot_product_attention(tokens, self.query(tokens), tokens)
        return (self.last(tokens.transpose(1, 2).reshape(deepest.shape).contiguous(memory_format=torch.channels_last)),)


@pytest.mark.slow("compiles a network")
@pytest.mark.skipif(not any(map(shutil.which, ("c++", "g++", "clang++", "cl"))), reason="torch.compile needs a C++ compiler")
@torch.no_grad()
def test_a_network_of_many_strides_is_compiled_once_for_all_sizes(caches, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch._dynamo.reset()  # of what other tests compiled
    torch._dynamo.utils.counters.clear()
    mean, std = NOT_NORMALISED
    graph = Graph({"deepest": ""}, mean, std, module=Deepest().eval().requires_grad_(False), multiple_of=32)
    runner = start(Job(MODELS["tiny"], "digest", graph, torch.float32, CPU, False, lambda _: None), None)
    for height, width in ((224, 288), (128, 96), (64, 352)):
        (pixels,) = graph.example(1, height, width)
        torch.testing.assert_close(runner.run(pixels, None), graph.module(pixels), atol=1e-5, rtol=1e-5)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
