"""OpenVINO: runs the exported graph on Intel and AMD processors and Intel GPUs."""

from __future__ import annotations

import logging
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from ..weights.network import in_one_line
from .build import Job, LeftError
from .engine import Runner, Size, UnusableError, replaced, tell
from .engine_store import StoreError, drop, kept

logger = logging.getLogger(__name__)

_BLOB = "compiled.blob"
_HINTS = {torch.float32: "f32", torch.float16: "f16", torch.bfloat16: "bf16"}
_CAPABILITIES = {torch.float32: "FP32", torch.float16: "FP16", torch.bfloat16: "BF16"}
_PER_WEIGHT = 1.5


def library() -> ModuleType:
    """OpenVINO without its telemetry, which would report every import to its makers."""
    if "openvino" not in sys.modules:
        with replaced(sys.modules, "openvino_telemetry", None):  # Python's marker for a module that cannot be imported
            import openvino  # noqa: F401
    return sys.modules["openvino"]


def start(job: Job, input_size: Size | None) -> Runner:
    """Starts the graph on the GPU or the CPU, whichever passes its trial first.

    Raises:
        UnusableError: No device passes.
        StoreError: The graph cannot be cached.
    """
    if job.device.type == "cuda":
        raise UnusableError(f"OpenVINO does not run on {job.device}; --device cpu, or another runtime")
    core = library().Core()
    available = [name for name in core.available_devices if name.startswith("GPU")] if job.any_device else []
    graph = job.onnx(input_size)[0]
    for name in (*available, "CPU"):
        job.step(f"starting OpenVINO on {name}")
        try:
            runner = _OpenVinoRunner(job, _compiled(core, job, graph, name, input_size), name)
            job.trial(runner, input_size)
            return runner
        except (LeftError, StoreError):
            raise
        except Exception as error:  # noqa: BLE001  a driver may raise anything; the next device is tried
            tell(f"OpenVINO lists {name}, which does not work here: {in_one_line(error)}")
    raise UnusableError(f"OpenVINO {library().__version__} has no device that works here (listed: {', '.join(core.available_devices)})")


class _OpenVinoRunner:
    """A compiled graph. See `engine.Runner`."""

    def __init__(self, job: Job, compiled: Any, device: str) -> None:
        self.compiled = compiled
        self._of_thread = threading.local()
        dtype = str(job.dtype).removeprefix("torch.")
        self.words = f"OpenVINO {library().__version__.partition('-')[0]}, {device}, {dtype}"
        self.size = int(_PER_WEIGHT * job.bytes_of_weights)

    def run(self, pixels: Tensor, scalar_inputs: Tensor | None) -> tuple[Tensor, ...]:
        """See `engine.Runner.run`. CPU inputs are not copied."""
        inputs = [each.cpu().numpy() for each in ((pixels,) if scalar_inputs is None else (pixels, scalar_inputs))]
        if not hasattr(self._of_thread, "request"):  # a request runs one inference at a time
            self._of_thread.request = self.compiled.create_infer_request()
        request = self._of_thread.request
        request.infer(inputs, share_inputs=True)
        count = len(self.compiled.outputs)
        return tuple(torch.from_numpy(request.get_output_tensor(index).data.copy()).to(pixels.device) for index in range(count))


def _compiled(core: Any, job: Job, graph: Path, device: str, input_size: Size | None) -> Any:
    """Compiles the graph for a device, or loads it from the cache."""
    if _CAPABILITIES[job.dtype] not in core.get_property(device, "OPTIMIZATION_CAPABILITIES"):
        raise UnusableError(f"it does not compute in {str(job.dtype).removeprefix('torch.')}")
    settings: dict[str, object] = {"INFERENCE_PRECISION_HINT": _HINTS[job.dtype], "PERFORMANCE_HINT": "LATENCY"}
    if device == "CPU":
        settings["INFERENCE_NUM_THREADS"] = torch.get_num_threads()
    key = job.key(
        "openvino", input_size, openvino=library().__version__, device=core.get_property(device, "FULL_DEVICE_NAME"), settings=str(settings)
    )

    def build(folder: Path) -> None:
        job.step(f"compiling for {device}, once for this version (seconds to minutes)")
        (folder / _BLOB).write_bytes(core.compile_model(graph, device, settings).export_model().getvalue())

    folder = kept(key, build, job.step, job.bytes_of_weights)
    try:
        return _imported(core, folder, device, settings)
    except Exception as error:  # noqa: BLE001  an updated driver may raise anything
        logger.warning("the engine is built anew, as the kept one does not load: %s (%s)", in_one_line(error), folder)
        drop(folder)
    return _imported(core, kept(key, build, job.step, job.bytes_of_weights), device, settings)


def _imported(core: Any, folder: Path, device: str, settings: dict[str, object]) -> Any:
    return core.import_model((folder / _BLOB).read_bytes(), device, settings)
