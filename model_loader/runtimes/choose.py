"""Selects a model's runtime: the requested one if it works, else torch and one line that says why."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import torch

from ...annotators.base import Annotator
from ...annotators.registry import FAMILIES
from ...annotators.specs.base import ModelSpec
from ...options.checks import how_to_install
from ...options.estimate import AUTO_RUNTIME, COMPILE, FAST_RUNTIME, ONNX, OPENVINO, RUNTIME_CHOICES, TORCH
from ..comfy import feedback, interrupt
from ..weights.network import in_one_line
from . import measured
from .build import Job, in_background
from .engine import GraphEngine, Runner, Size, UnusableError, tell
from .engine_store import StoreError

logger = logging.getLogger(__name__)

_MODULES = {COMPILE: "torch_compile", ONNX: "onnx_runtime", OPENVINO: "openvino"}
_told: set[str] = set()
_PACKAGES = {ONNX: ("onnxruntime", "onnx", "onnxscript"), OPENVINO: ("openvino", "onnx", "onnxscript")}


def check_runtime(runtime: str) -> str:
    """Returns the runtime, or raises a ValueError if it is unknown."""
    if runtime not in RUNTIME_CHOICES:
        raise ValueError(f"unknown runtime {runtime!r}; accepted: {', '.join(RUNTIME_CHOICES)}")
    return runtime


@dataclass(frozen=True)
class Chosen:
    """The resolved runtime and dtype of a model, and a message about the choice."""

    runtime: str  # never "auto" or "fast"
    dtype: str  # may be "auto"
    words: str = ""  # a line for the user; empty = none
    is_logged: bool = True  # whether the line is logged; else only ComfyUI's node shows it

    def tell(self) -> None:
        """Shows the message: on the node each time, in the log once per process."""
        if self.words in _told or not self.is_logged:
            feedback.show_message(self.words)
        elif self.words:
            _told.add(self.words)
            tell(self.words)


def measured_choice(
    runtime: str, dtype: str, spec: ModelSpec, weights: Path | None, device: torch.device, default: Callable[[], str]
) -> Chosen:
    """Resolves "auto" and "fast" for this machine; other known runtimes are returned as they are.

    Args:
        runtime, dtype, weights: As in `load_model`.
        device, default: torch's device and default dtype for the model.
    """
    if check_runtime(runtime) not in (AUTO_RUNTIME, FAST_RUNTIME):
        return Chosen(runtime, dtype)
    measurements = measured.kept(spec, weights, device)
    if measurements is None:
        unknown = f"{spec.id}: no runtime was measured on this machine: torch runs it; {measured.advice(spec, weights)}"
        if runtime == AUTO_RUNTIME and FAMILIES[spec.family].why_no_graph(spec):
            return Chosen(TORCH, dtype)
        # `auto` is the command line's default and advises on long runs; on a node the user chose it
        return Chosen(TORCH, dtype, unknown, is_logged=runtime == FAST_RUNTIME)
    best = measured.choose(measurements, runtime, dtype, default())
    if best is None:
        return Chosen(TORCH, dtype)
    return Chosen(best.runtime, best.dtype, f"{spec.id}, --runtime {runtime}: {best.words}")


def usable_runtime(runtime: str, spec: ModelSpec) -> str:
    """The runtime to load a model for: the given engine, or torch and a logged reason if that is unavailable."""
    if runtime == TORCH:
        return TORCH
    problem = _missing(runtime) or FAMILIES[spec.family].why_no_graph(spec)
    if problem:
        tell(f"{spec.id}: runtime {runtime} cannot be used, {problem}: torch runs it")
        return TORCH
    return runtime


def _missing(runtime: str) -> str | None:
    """A phrase that names the packages a runtime lacks here; None if complete."""
    missing = [name for name in _PACKAGES.get(runtime, ()) if find_spec(name) is None]
    if not missing:
        return None
    return f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed ({how_to_install(*missing)})"


def dtype_for(runtime: str, asked: str, of_torch: Callable[[], torch.dtype], device: torch.device) -> torch.dtype:
    """The dtype that a model computes in, where `load_model` was `asked` for one and torch would use that of `of_torch` on a device."""
    if runtime == OPENVINO and asked == "auto":
        return torch.float32  # bfloat16 would change the image
    dtype = of_torch()
    if runtime == ONNX and dtype == torch.bfloat16:
        logger.info("ONNX Runtime has no bfloat16 on most devices: float32 is taken", extra={"note": ""})
        return torch.float32
    if runtime == ONNX and dtype == torch.float16 and device.type == "cpu":
        logger.info("ONNX Runtime computes float16 slowly on a CPU", extra={"note": ""})
    return dtype


def network_dtype(runtime: str, dtype: torch.dtype) -> torch.dtype:
    """The dtype of the torch network: OpenVINO converts a float32 graph to half precision by itself."""
    return torch.float32 if runtime == OPENVINO else dtype


def with_runtime(
    annotator: Annotator, runtime: str, weights: str, dtype: torch.dtype, device: torch.device, any_device: bool = False
) -> Annotator:
    """Lets an engine run the annotator's network, which is on the CPU, building it if it is not cached; keeps torch if that fails.

    `weights`, `dtype`, `device` and `any_device` are as in `Job`.
    """
    spec = annotator.spec
    try:
        graph = annotator.graph()
        job = partial(Job, spec, weights, graph, dtype, device, any_device)
        engine = GraphEngine(spec.id, runtime, graph, device, partial(_start, runtime, spec.id, job))
        engine.begin()
    except Exception as error:
        if interrupt.is_interruption(error):
            raise
        tell(f"{spec.id}: {_reason(error)}: torch runs it")
        return annotator
    return annotator.with_engine(engine)


def _start(runtime: str, model_id: str, job: Callable[..., Job], input_size: Size | None) -> Runner:
    module = import_module(f".{_MODULES[runtime]}", __package__)
    runner = in_background(model_id, lambda step: module.start(job(step=step), input_size))
    logger.info("%s is run by %s", model_id, runner.words)
    feedback.show_message(f"{model_id} is run by {runner.words}")
    return runner


def _reason(error: Exception) -> str:
    words = in_one_line(error)
    return words if isinstance(error, (UnusableError, StoreError)) else f"{type(error).__name__}: {words}"
