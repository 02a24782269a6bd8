"""What does not fit is refused before any memory is taken, with what fits."""

import re
from pathlib import Path

import pytest
import torch

from depth_normal.annotators.midas import MidasAnnotator
from depth_normal.annotators.registry import find_spec
from depth_normal.model_loader import Model, load_model
from depth_normal.model_loader.inference import memory_budget
from depth_normal.model_loader.inference.network import LoadedNetwork
from depth_normal.nodes.legacy import annotate_depth

CPU = torch.device("cpu")
EIGHT = 8 * 2**30


@pytest.fixture
def eight(monkeypatch):
    monkeypatch.setattr(memory_budget, "free_main_memory", lambda: float(EIGHT))


@pytest.fixture
def midas(monkeypatch):
    """A MiDaS whose network must not be asked anything."""
    annotator = MidasAnnotator(find_spec("midas-dpt-large"), torch.nn.Linear(1, 1))
    monkeypatch.setattr(annotator, "infer", lambda *_: pytest.fail("the network ran"))
    return annotator


def numbers(error, words):
    """The numbers of an error's message that the pattern groups."""
    return map(int, re.search(words, str(error.value)).groups())


def test_a_network_size_beyond_the_memory_is_refused_with_the_one_that_fits(eight, midas):
    with pytest.raises(MemoryError, match=r"run at 4512x3392, which takes at least .* 8\.0 GB are free: lower ") as error:
        Model(LoadedNetwork(midas, torch.float32, CPU, Path())).estimate(torch.rand(1, 3, 48, 64), size=4512)
    (fits,) = numbers(error, r"to (\d+) or less")
    memory_budget.check_network_fits(midas, CPU, 48, 64, fits)
    with pytest.raises(MemoryError, match="tiles"):
        memory_budget.check_network_fits(midas, CPU, 48, 64, fits + 64)


def test_an_image_beyond_the_memory_is_refused_with_the_size_that_fits(eight, midas):
    with pytest.raises(MemoryError, match=r"an image of 30000x20000 takes at least 17\.9 GB .* smaller") as error:
        memory_budget.check_network_fits(midas, CPU, 20000, 30000, None)
    width, height = numbers(error, r"about (\d+)x(\d+)")
    memory_budget.check_network_fits(midas, CPU, height, width, None)


@pytest.mark.parametrize("sides", [(1080, 1920), (3000, 4000), (9000, 12000)])
def test_what_runs_on_an_ordinary_machine_is_not_refused(sides, eight, midas):
    memory_budget.check_network_fits(midas, CPU, *sides, None)
    memory_budget.check_network_fits(midas, CPU, *sides, 1024)


def test_half_precision_takes_half_and_a_network_that_may_take_less_than_its_size_says_is_tried(eight, midas, monkeypatch):
    memory_budget.check_network_fits(midas, CPU, 100, 100, 3200, half=True)
    with pytest.raises(MemoryError):
        memory_budget.check_network_fits(midas, CPU, 100, 100, 3200)
    monkeypatch.setattr(type(midas), "needs_by_size", False)
    memory_budget.check_network_fits(midas, CPU, 100, 100, 8000)


def test_a_result_beyond_the_memory_is_refused_with_the_resolution_that_fits(eight):
    with pytest.raises(MemoryError, match=r"a result of 29127x16384 takes at least 16\.0 GB .* lower the resolution") as error:
        memory_budget.check_result_fits(1, 16384, 29127)
    (fits,) = numbers(error, r"to (\d+) or less")
    memory_budget.check_result_fits(1, fits, round(fits * 29127 / 16384))
    with pytest.raises(MemoryError, match="fewer images at once"):
        memory_budget.check_result_fits(400, 1080, 1920)


def test_an_old_node_refuses_resolution_16384_before_it_runs(eight, monkeypatch):
    model = load_model("tiny", "float32", "cpu")
    monkeypatch.setattr(model, "estimates", lambda *_, **__: pytest.fail("the network was asked"))
    with pytest.raises(MemoryError, match="lower the resolution"):
        annotate_depth(torch.rand(1, 9, 16, 3), model, 16384)


def test_a_gpu_is_asked_for_all_that_it_has(midas, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (2**20, EIGHT))
    memory_budget.check_network_fits(midas, torch.device("cuda"), 9000, 12000, None)
    with pytest.raises(MemoryError, match=r"of the memory of cuda, which has 8\.0 GB"):
        memory_budget.check_network_fits(midas, torch.device("cuda"), 3000, 4000, 4512)
    memory_budget.check_network_fits(midas, torch.device("mps"), 3000, 4000, 4512)


def test_effects_on_an_image_that_cannot_fit_are_refused_with_one_that_does(eight):
    with pytest.raises(MemoryError, match=r"16384x16384 takes at least 14\.0 GB .* 8\.0 GB are free: make it smaller") as error:
        memory_budget.check_effect_fits(16384, 16384, CPU)
    columns, rows = numbers(error, r"about (\d+)x(\d+)")
    memory_budget.check_effect_fits(rows, columns, CPU)


def test_at_least_one_image_is_tried_and_a_little_more_memory_changes_no_batch_of_a_video():
    assert [memory_budget.images_that_fit(available, 100) for available in (-50, 0, 99, 100, 250)] == [1, 1, 1, 1, 2]
    assert [memory_budget.steady_batch_size(fits, 8) for fits in (1, 3, 4, 7, 8, 99)] == [1, 2, 4, 4, 8, 8]
    assert memory_budget.steady_batch_size(9, 6) == 6 and memory_budget.steady_batch_size(5, 6) == 4


def test_what_does_not_fit_on_a_gpu_is_computed_on_the_cpu(caplog):
    asked = []

    def compute(device, error=None):
        asked.append(device.type)
        if error is not None and device.type != "cpu":
            raise error
        return device

    gpu, full = torch.device("cuda:0"), torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 MiB.")
    assert memory_budget.on_device_or_cpu(compute, gpu, "light is computed") == gpu
    assert memory_budget.on_device_or_cpu(lambda device: compute(device, full), gpu, "light is computed") == CPU
    assert asked == ["cuda", "cuda", "cpu"]
    assert caplog.messages == ["the memory of cuda:0 is full: light is computed on the CPU"]
    # a fault of another kind, and a network that fits nowhere
    for error in (RuntimeError("shapes differ"), MemoryError("tiny does not fit in the memory of cuda:0")):
        with pytest.raises(type(error), match=str(error)):
            memory_budget.on_device_or_cpu(lambda device, error=error: compute(device, error), gpu, "light is computed")
