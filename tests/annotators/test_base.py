import pytest
import torch
from torch import nn

from depth_normal.annotators.base import is_out_of_memory
from depth_normal.annotators.building import fill
from depth_normal.annotators.specs.base import WeightFile
from tests.pretend import stand_in


def test_the_network_sees_the_image_unsquashed_and_in_one_batch():
    seen = []
    ramp = torch.linspace(0, 1, 120)[None, None, None].expand(4, 3, 60, 120)
    stand_in(lambda pixels: seen.append(pixels) or pixels[:, :1]).estimate(ramp, 64)
    assert [each.shape for each in seen] == [(4, 3, 64, 128)]
    # a ramp across the image's width is one across the network's, pixel centres kept
    centres = (torch.arange(128) + 0.5) * (120 / 128) - 0.5
    assert torch.allclose(seen[0][2, 1, 30], (centres / 119).clamp(0, 1), atol=2e-3)


def test_a_strip_that_no_machine_can_hold_is_refused_with_its_numbers():
    # short side 7 -> 512, long side 5000 -> 365714.3, nearest multiple of 32: 365728
    with pytest.raises(ValueError, match=r"7x5000 at resolution 512 .*stand-in run at 512x365728.* 64 megapixels: lower size"):
        stand_in().estimate(torch.zeros(1, 3, 5000, 7), 512)


def test_a_line_is_refused_by_every_family_and_a_strip_is_not():
    with pytest.raises(ValueError, match=r"20000x1 has one side more than 1000 times as long as the other: crop it"):
        stand_in().estimate(torch.zeros(1, 3, 1, 20000), 32)
    assert stand_in().estimate(torch.zeros(1, 3, 1, 1000), 32).depth.shape == (1, 1, 32, 32000)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_a_network_that_gives_no_numbers_is_named_with_its_dtype(bad, dtype):
    each = stand_in(lambda pixels: pixels[:, :1] * bad, dtype)
    remedy = "check the weights" if dtype == torch.float32 else "use float32, or check the weights"
    with pytest.raises(ArithmeticError, match=f"stand-in in {dtype} gave depth that is not finite: {remedy}"):
        each.estimate(torch.ones(1, 3, 32, 32), 32)


def test_the_network_is_ready_for_inference():
    network = stand_in().network
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())


def on_meta():
    with torch.device("meta"):
        return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))


def test_a_network_is_filled_with_the_very_tensors_it_is_given():
    state = {key: torch.ones(value.shape, dtype=value.dtype) for key, value in on_meta().state_dict().items()}
    network = on_meta()
    fill(network, state, "not a checkpoint of m")
    assert {key: value.data_ptr() for key, value in network.state_dict().items()} == {key: value.data_ptr() for key, value in state.items()}


def test_a_file_has_one_source_at_most():
    with pytest.raises(ValueError, match=r"a\.pt: .* a repo_id or a url, not both; found 'x/y' and 'https://example\.org/a\.pt'"):
        WeightFile("a.pt", repo_id="x/y", url="https://example.org/a.pt")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (MemoryError(), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 17 GB)"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("std::bad_alloc"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
    ids=str,
)
def test_want_of_memory_is_known(error, expected):
    assert is_out_of_memory(error) is expected
