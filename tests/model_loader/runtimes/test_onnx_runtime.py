"""The providers of ONNX Runtime: the best that is listed and works, and each that is listed and does not is named."""

import os
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from depth_normal.model_loader.runtimes import build as build_job
from depth_normal.model_loader.runtimes import onnx_runtime

onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra onnx")


SILENT = """
import os, sys
from importlib.util import find_spec
from depth_normal.model_loader.runtimes import onnx_runtime, openvino
assert onnx_runtime.library().get_available_providers()
assert "ORT_DISABLE_TELEMETRY" not in os.environ
assert find_spec("openvino") is None or openvino.library().Core().available_devices
assert "openvino_telemetry" not in sys.modules
"""


@pytest.mark.slow("starts another process")
def test_nothing_is_told_to_the_makers_of_runtimes(tmp_path):
    """ONNX Runtime 1.31 keeps a number of the machine in the user's cache, to send it with what is run."""
    environment = {**os.environ, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    environment.pop("ORT_DISABLE_TELEMETRY", None)
    subprocess.run([sys.executable, "-c", SILENT], check=True, env=environment)
    assert not list(tmp_path.rglob("*onnxruntime*"))


@pytest.fixture
def listed(monkeypatch):
    """Has ONNX Runtime list more providers than it has."""

    def listing(*names):
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [*names, "CPUExecutionProvider"])

    return listing


@pytest.mark.parametrize(("device", "named"), [("auto", ["DirectML", "CoreML"]), ("cpu", [])])
def test_a_provider_that_is_listed_and_cannot_be_loaded_is_named_and_the_next_taken(
    device, named, convolved, image, listed, told, monkeypatch
):
    """ONNX Runtime itself goes to the CPU and says nothing that a program can see. A device that was named gets no other."""
    listed("DmlExecutionProvider", "CoreMLExecutionProvider")
    monkeypatch.setattr("depth_normal.model_loader.comfy.devices.default_device", lambda: torch.device("cpu"))
    model = convolved.load("onnx", device=device)
    assert model.runtime.endswith("CPU") and model.estimate(image).depth.shape == (2, 1, 32, 64)
    lists = [f"ONNX Runtime lists {name}" for name in named]
    assert [line.partition(", which does not work here")[0] for line in told()] == lists


def test_a_provider_whose_session_cannot_be_made_is_named(convolved, monkeypatch, told):
    monkeypatch.setattr(build_job, "export_graph", lambda _graph, path, _sides: path.write_bytes(b"no graph"))
    assert convolved.load("onnx").runtime == "torch"
    lines = told()
    assert lines[0].startswith("ONNX Runtime lists CPU, which does not work here: ") and "INVALID_PROTOBUF" in lines[0]
    assert "has no provider that works here" in lines[1] and "torch runs it" in lines[1]


def test_a_gpu_without_its_package_is_left_to_torch_and_not_to_the_cpu(convolved):
    wanted: Any = SimpleNamespace(device=torch.device("cuda"), any_device=True)
    with pytest.raises(onnx_runtime.UnusableError, match="no provider for cuda: install onnxruntime-gpu"):
        onnx_runtime.start(wanted, None)


def test_tensorrt_is_built_for_a_range_of_sizes_and_refuses_others(convolved):
    spec = SimpleNamespace(default_size=518)
    graph = SimpleNamespace(multiple_of=14, dynamic_batch=True, most_batch=None, scalar_inputs=None)
    wanted: Any = SimpleNamespace(spec=spec, graph=graph, dtype=torch.float16, device=torch.device("cuda"))
    assert onnx_runtime._range(wanted) == (56, 1036)
    assert onnx_runtime._profile(wanted, None) == {
        "trt_profile_min_shapes": "pixels:1x3x56x56",
        "trt_profile_opt_shapes": "pixels:1x3x518x518",
        "trt_profile_max_shapes": "pixels:8x3x1036x1036",
    }
    runner = object.__new__(onnx_runtime._OnnxRunner)
    runner._range, runner.words = (56, 1036), "TensorRT"
    runner._check(torch.empty(8, 3, 518, 686))
    for shape in ((9, 3, 518, 686), (1, 3, 42, 518), (1, 3, 518, 1050)):
        with pytest.raises(onnx_runtime.OutOfRangeError, match="at most 8 images with sides from 56 to 1036"):
            runner._check(torch.empty(shape))


def test_a_size_beyond_the_engine_is_run_by_torch_and_said_once(convolved, image, expected, told):
    model = convolved.load("onnx")
    runner = model.annotator.engine._runners[None]
    runner._range = (64, 128)
    for _ in range(2):
        assert torch.allclose(model.estimate(image).depth, expected, atol=1e-6)
    assert len(told()) == 1 and "torch runs such images" in told()[0] and "ONNX" in model.runtime
    runner._range = (32, 64)
    runs = convolved.family.runs
    model.estimate(image)
    assert convolved.family.runs == runs, "the engine goes on"


def test_the_session_has_as_many_threads_as_torch(convolved, monkeypatch):
    made = []
    session = onnxruntime.InferenceSession

    def noting(path, settings, **keywords):
        made.append(settings.intra_op_num_threads)
        return session(path, settings, **keywords)

    monkeypatch.setattr(onnxruntime, "InferenceSession", noting)
    convolved.load("onnx")
    assert made == [torch.get_num_threads()]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("provider", ["TensorrtExecutionProvider", "CUDAExecutionProvider"])
def test_on_a_gpu_nothing_leaves_it(provider, convolved, image, expected, listed):
    if provider not in onnxruntime.get_available_providers():
        pytest.skip(f"this onnxruntime has no {provider}")
    listed(provider)
    model = convolved.load("onnx", device="cuda")
    assert model.runtime.endswith(onnx_runtime.PROVIDERS[provider]), sys.version
    for _ in range(2):  # the second run knows the shapes
        assert torch.allclose(model.estimate(image.cuda()).depth.cpu(), expected, atol=1e-3)
