"""Networks on a device that this machine need not have: no op mixes devices, and none waits for a number; as torch runs and traces them."""

from contextlib import nullcontext
from unittest import mock

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from tests import graph_families as SHRUNK
from tests.geometry.test_devices import DEVICE, Questions


def moved(graph):
    """The graph's module with weights and buffers of the same shapes on the other device, and an example's inputs there."""
    tensors = dict((*graph.module.named_parameters(), *graph.module.named_buffers()))
    state = {name: torch.empty(each.shape, dtype=each.dtype, device=DEVICE) for name, each in tensors.items()}
    multiple = graph.multiple_of if graph.multiple_of > 1 else 15
    given = tuple(torch.empty(each.shape, device=DEVICE) for each in graph.example(2, 5 * multiple, 7 * multiple))
    return lambda: torch.func.functional_call(graph.module, state, given)


@pytest.mark.slow("follows every network without its device")
@pytest.mark.parametrize(
    ("name", "dtype"),
    [*((name, torch.float16) for name in (*SHRUNK.DINO, *SHRUNK.OTHERS)), ("moge", torch.float32), ("tiny", torch.float32)],
)
@torch.no_grad()
def test_a_network_asks_its_device_nothing(name, dtype):
    graph = SHRUNK.annotator(name, dtype).graph()
    with FakeTensorMode(), Questions() as questions:
        call = moved(graph)
        for traced in (False, True):
            with mock.patch("torch.compiler.is_compiling", lambda: True) if traced else nullcontext():
                found = call()
            assert [(each.device, each.dtype) for each in found] == [(DEVICE, torch.float32)] * len(graph.outputs)
    assert questions.asked == 0
