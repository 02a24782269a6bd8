"""OpenVINO: without its telemetry, on the device that works, and in half precision where it is asked for."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from depth_normal.model_loader.runtimes import openvino

pytest.importorskip("openvino", reason="needs the extra openvino")


def test_what_was_compiled_is_kept_and_taken_again(convolved, image):
    first = convolved.load("openvino")
    before = first.estimate(image).depth
    (blob,) = convolved.store.glob("convolved/*/compiled.blob")
    written = blob.stat().st_mtime_ns
    first.unload()
    assert torch.equal(first.estimate(image).depth, before)
    assert blob.stat().st_mtime_ns == written and convolved.exports == [None]


def test_half_precision_is_taken_where_it_is_asked_for(convolved, image, expected):
    if "BF16" not in openvino.library().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this processor has no bfloat16")
    if "ONEDNN_MAX_CPU_ISA" in os.environ:
        pytest.skip("OpenVINO lists bfloat16 without the instructions for it, and computes inf; the trial then takes torch")
    half = convolved.load("openvino", "bfloat16")
    assert half.dtype == torch.bfloat16 and half.runtime.endswith("bfloat16")
    assert (half.estimate(image).depth - expected).abs().max() < 0.02
    auto = convolved.load("openvino", "auto")
    assert auto.dtype == torch.float32 and (auto.estimate(image).depth - expected).abs().max() < 1e-5


def test_threads_run_at_the_same_time(convolved, image):
    model = convolved.load("openvino")
    assert model.for_another_thread() is model
    images = [image[:1] * (index + 1) / 8 for index in range(8)]
    alone = [model.estimate(each).depth for each in images]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda each: model.estimate(each).depth, images))
    assert all(map(torch.equal, alone, together))
