"""ONNX Runtime: runs the exported graph on the best working execution provider."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from ..weights.network import in_one_line
from .build import Job, LeftError
from .engine import OutOfRangeError, Runner, Size, UnusableError, replaced, tell
from .engine_store import StoreError, kept

PROVIDERS = {
    "TensorrtExecutionProvider": "TensorRT",
    "CUDAExecutionProvider": "CUDA",
    "DmlExecutionProvider": "DirectML",
    "CoreMLExecutionProvider": "CoreML",
    "OpenVINOExecutionProvider": "OpenVINO",
    "CPUExecutionProvider": "CPU",
}
"""Display names of providers, best first."""

_OF_DEVICE = {
    "cuda": ("TensorrtExecutionProvider", "CUDAExecutionProvider", "DmlExecutionProvider"),
    "mps": ("CoreMLExecutionProvider", "CPUExecutionProvider"),
    "cpu": ("OpenVINOExecutionProvider", "CPUExecutionProvider"),
}
_MOST_IMAGES, _LARGEST_TIMES = 8, 2
"""Limits of a TensorRT engine: batch size, and height and width as multiples of the model's default size."""
_PER_WEIGHT = 1.2
"""Approximate memory of a session per byte of weights."""


def library() -> ModuleType:
    """ONNX Runtime without its telemetry: since 1.31 it stores an id of this machine and sends it with usage data.

    Raises:
        ImportError: It is not installed.
    """
    if "onnxruntime" not in sys.modules:
        with replaced(os.environ, "ORT_DISABLE_TELEMETRY", "1"):
            import onnxruntime  # noqa: F401
    return sys.modules["onnxruntime"]


def start(job: Job, input_size: Size | None) -> Runner:
    """Starts a session with the first provider that passes its trial; reports each listed one that fails.

    Raises:
        UnusableError: No provider passes.
        StoreError: The graph cannot be cached.
    """
    onnxruntime = library()
    listed = onnxruntime.get_available_providers()
    wanted = [name for name in PROVIDERS if name in listed and (job.any_device or name in _OF_DEVICE[job.device.type])]
    if job.device.type == "cuda" and wanted[:1] in ([], ["CPUExecutionProvider"]):
        raise UnusableError(f"ONNX Runtime {onnxruntime.__version__} has no provider for {job.device}: install onnxruntime-gpu")
    graph, _ = job.onnx(input_size)
    for name in wanted:
        job.step(f"starting ONNX Runtime with {PROVIDERS[name]}")
        try:
            runner = _OnnxRunner(job, graph, name, _options(job, graph, name, input_size))
            job.trial(runner, input_size)
            return runner
        except (LeftError, StoreError):
            raise
        except Exception as error:  # noqa: BLE001  a provider may raise anything; the next is tried
            tell(f"ONNX Runtime lists {PROVIDERS[name]}, which does not work here: {in_one_line(error)}")
    raise UnusableError(f"ONNX Runtime {onnxruntime.__version__} has no provider that works here (listed: {', '.join(listed)})")


class _OnnxRunner:
    """An ONNX Runtime session. See `engine.Runner`."""

    def __init__(self, job: Job, graph: Path, provider: str, options: Mapping[str, str]) -> None:
        self._inputs = job.graph.inputs
        self._range = _range(job) if provider == "TensorrtExecutionProvider" else None
        self._shapes: dict[tuple[int, ...], list[tuple[int, ...]]] = {}
        self._index = job.device.index or 0
        self._binds = provider in ("TensorrtExecutionProvider", "CUDAExecutionProvider")
        self._session = _session(graph, provider, options)
        self.words = f"ONNX Runtime {library().__version__}, {PROVIDERS[provider]}"
        self.size = int(_PER_WEIGHT * job.bytes_of_weights)

    def run(self, pixels: Tensor, scalar_inputs: Tensor | None) -> tuple[Tensor, ...]:
        """See `engine.Runner.run`. Inputs are not copied on a CPU and stay on the GPU with CUDA."""
        self._check(pixels)
        inputs = dict(zip(self._inputs, (pixels,) if scalar_inputs is None else (pixels, scalar_inputs), strict=True))
        if self._binds and pixels.is_cuda:
            return self._run_bound(inputs)
        outputs = self._session.run(None, {name: each.cpu().numpy() for name, each in inputs.items()})
        return tuple(torch.from_numpy(each).to(pixels.device) for each in outputs)

    def _check(self, pixels: Tensor) -> None:
        if self._range is None:
            return
        (least, most), images = self._range, pixels.shape[0]
        if images > _MOST_IMAGES or not all(least <= side <= most for side in pixels.shape[-2:]):
            raise OutOfRangeError(
                f"{self.words} was built for at most {_MOST_IMAGES} images with sides from {least} to {most}; found {images} of "
                f"{pixels.shape[-1]}x{pixels.shape[-2]}"
            )

    def _run_bound(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        """Binds torch's memory as inputs and outputs. The first run of a shape asks the session for the output shapes."""
        import numpy as np

        torch.cuda.current_stream(self._index).synchronize()  # the session uses another stream
        binding = self._session.io_binding()
        for name, each in inputs.items():
            binding.bind_input(name, "cuda", self._index, np.float32, tuple(each.shape), each.data_ptr())
        names = [output.name for output in self._session.get_outputs()]
        shapes = self._shapes.get(key := tuple(inputs["pixels"].shape))
        if shapes is None:
            for name in names:
                binding.bind_output(name, "cuda", self._index)
            self._session.run_with_iobinding(binding)
            self._shapes[key] = [tuple(each.shape()) for each in binding.get_outputs()]
            return tuple(torch.from_numpy(each).to(inputs["pixels"].device) for each in binding.copy_outputs_to_cpu())
        outputs = [torch.empty(shape, dtype=torch.float32, device=inputs["pixels"].device) for shape in shapes]
        for name, each in zip(names, outputs, strict=True):
            binding.bind_output(name, "cuda", self._index, np.float32, tuple(each.shape), each.data_ptr())
        self._session.run_with_iobinding(binding)
        binding.synchronize_outputs()
        return tuple(outputs)


def _session(graph: Path, provider: str, options: Mapping[str, str]) -> Any:
    """A session that uses this provider or fails; by default, ONNX Runtime would silently fall back to the CPU."""
    onnxruntime = library()
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = torch.get_num_threads()
    settings.log_severity_level = 4  # failures are reported once, in one line
    if provider == "DmlExecutionProvider":
        settings.enable_mem_pattern = False  # required by DirectML's documentation
    last = [] if provider == "CPUExecutionProvider" else ["CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(os.fspath(graph), settings, providers=[(provider, dict(options)), *last])
    session.disable_fallback()
    if session.get_providers()[0] != provider:
        raise UnusableError("it could not be loaded (is what it needs installed, in the version that it needs?)")
    return session


def _options(job: Job, graph: Path, provider: str, input_size: Size | None) -> dict[str, str]:
    """A provider's options. Engines built for this machine are cached in the store."""
    if provider in ("CUDAExecutionProvider", "DmlExecutionProvider"):
        return {"device_id": str(job.device.index or 0)}
    if provider != "TensorrtExecutionProvider":
        return {}
    options = {
        "device_id": str(job.device.index or 0),
        "trt_fp16_enable": str(job.dtype == torch.float16),
        "trt_engine_cache_enable": "True",
        **_profile(job, input_size),
    }

    def build(folder: Path) -> None:
        job.step("building an engine with TensorRT, once for this version (minutes)")
        _OnnxRunner(job, graph, provider, {**options, "trt_engine_cache_path": os.fspath(folder)})
        if not any(path.is_file() and path.stat().st_size for path in folder.rglob("*")):
            raise UnusableError("it built no engine")

    folder = kept(_tensorrt_key(job, input_size), build, job.step, 2 * job.bytes_of_weights)
    return {**options, "trt_engine_cache_path": os.fspath(folder)}


def _tensorrt_key(job: Job, input_size: Size | None) -> Mapping[str, str]:
    onnxruntime = library()
    cuda = job.device if job.device.type == "cuda" else torch.device("cuda")
    name = f"{torch.cuda.get_device_name(cuda)} {torch.cuda.get_device_capability(cuda)}" if torch.cuda.is_available() else "unknown"
    return job.key(
        "tensorrt", input_size, onnxruntime=onnxruntime.__version__, build=str(onnxruntime.get_build_info()), device=name, driver=_driver()
    )


def _driver() -> str:
    """The NVIDIA driver's version, or CUDA's if unknown."""
    try:
        return Path("/sys/module/nvidia/version").read_text().strip()
    except OSError:
        return str(torch.version.cuda)


def _range(job: Job) -> tuple[int, int]:
    multiple = job.graph.multiple_of
    return 4 * multiple, max(4, round(_LARGEST_TIMES * job.spec.default_size / multiple)) * multiple


def _profile(job: Job, input_size: Size | None) -> dict[str, str]:
    if not job.graph.dynamic_batch and input_size is not None:
        return {}
    low, high = _range(job)
    middle = max(low, round(job.spec.default_size / job.graph.multiple_of) * job.graph.multiple_of)
    most = min(_MOST_IMAGES, job.graph.most_batch or _MOST_IMAGES) if job.graph.dynamic_batch else 1
    ranges = {"min": (1, low), "opt": (1, middle), "max": (most, high)}
    shapes = {name: (batch, 3, *(input_size or (side, side))) for name, (batch, side) in ranges.items()}
    scalars = job.graph.scalar_inputs
    more = f",{scalars.name}:{len(scalars.example)}" if scalars else ""
    return {f"trt_profile_{name}_shapes": f"pixels:{'x'.join(map(str, shape))}{more}" for name, shape in shapes.items()}
