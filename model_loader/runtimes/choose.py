"""Selects the runtime of a model: the requested one where it works, else torch, with one line that says why."""

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
from ...options.estimate import AUTO_RUNTIME, COMPILE, FAST_RUNTIME, ONNX, OPENVINO, RUNTIME_CHOICES, TORCH
from ...options.packages import how_to_install
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
    """The runtime, if there is one of that name.

    Raises:
        ValueError: There is none.
    """
    if runtime not in RUNTIME_CHOICES:
        raise ValueError(f"unknown runtime {runtime!r}; accepted: {', '.join(RUNTIME_CHOICES)}")
    return runtime


@dataclass(frozen=True)
class Chosen:
    """The runtime and the dtype that a model is loaded for, as `load_model` takes them, and what there is to tell about the choice.

    Attributes:
        runtime: Never "auto" or "fast".
        dtype: May be "auto".
        words: A line for the user; empty where there is nothing to tell.
        is_logged: Whether the log has the line too; else only ComfyUI's node shows it.
    """

    runtime: str
    dtype: str
    words: str = ""
    is_logged: bool = True

    def tell(self) -> None:
        """Shows the user the line, if there is one: on the node each time, in the log once in a process."""
        if self.words in _told or not self.is_logged:
            feedback.show_message(self.words)
        elif self.words:
            _told.add(self.words)
            tell(self.words)


def measured_choice(
    runtime: str, dtype: str, spec: ModelSpec, weights: Path | None, device: torch.device, default: Callable[[], str]
) -> Chosen:
    """What "auto" and "fast" stand for on this machine; other runtimes stand for themselves.

    Args:
        runtime: As `load_model` takes it.
        dtype: As `load_model` takes it.
        weights: A file in place of the published one.
        device: Where torch would run it.
        default: The dtype of torch where none is asked for.

    Raises:
        ValueError: There is no such runtime.
    """
    if check_runtime(runtime) not in (AUTO_RUNTIME, FAST_RUNTIME):
        return Chosen(runtime, dtype)
    measurements = measured.kept(spec, weights, device)
    if measurements is None:
        unknown = f"{spec.id}: no runtime was measured on this machine: torch runs it; {measured.advice(spec, weights)}"
        if runtime == AUTO_RUNTIME and FAMILIES[spec.family].why_no_graph(spec):
            return Chosen(TORCH, dtype)
        # `auto` is the command line's default, which advises on long runs; on a node somebody chose it
        return Chosen(TORCH, dtype, unknown, is_logged=runtime == FAST_RUNTIME)
    best = measured.choose(measurements, runtime, dtype, default())
    if best is None:
        return Chosen(TORCH, dtype)
    return Chosen(best.runtime, best.dtype, f"{spec.id}, --runtime {runtime}: {best.words}")


def usable_runtime(runtime: str, spec: ModelSpec) -> str:
    """The runtime that a model is to be loaded for, of those of one engine; torch, and one line that says why, where it cannot be had."""
    if runtime == TORCH:
        return TORCH
    problem = _missing(runtime) or FAMILIES[spec.family].why_no_graph(spec)
    if problem:
        tell(f"{spec.id}: runtime {runtime} cannot be used, {problem}: torch runs it")
        return TORCH
    return runtime


def _missing(runtime: str) -> str | None:
    """The packages that a runtime lacks here, in words; None where it lacks none."""
    missing = [name for name in _PACKAGES.get(runtime, ()) if find_spec(name) is None]
    if not missing:
        return None
    return f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed ({how_to_install(*missing)})"


def dtype_for(runtime: str, asked: str, of_torch: Callable[[], torch.dtype], device: torch.device) -> torch.dtype:
    """The dtype that a model computes in, run by `runtime`.

    Args:
        runtime: What runs it.
        asked: As `load_model` takes it.
        of_torch: The dtype that torch would take.
        device: Where torch would run it.
    """
    if runtime == OPENVINO and asked == "auto":
        return torch.float32  # in bfloat16 the image changes
    dtype = of_torch()
    if runtime == ONNX and dtype == torch.bfloat16:
        logger.info("ONNX Runtime has no bfloat16 on most devices: float32 is taken", extra={"note": ""})
        return torch.float32
    if runtime == ONNX and dtype == torch.float16 and device.type == "cpu":
        logger.info("ONNX Runtime computes float16 slowly on a CPU", extra={"note": ""})
    return dtype


def network_dtype(runtime: str, dtype: torch.dtype) -> torch.dtype:
    """The dtype of the network itself: OpenVINO brings a float32 graph to half precision by itself."""
    return torch.float32 if runtime == OPENVINO else dtype


def with_runtime(
    annotator: Annotator, runtime: str, weights: str, dtype: torch.dtype, device: torch.device, any_device: bool = False
) -> Annotator:
    """The annotator with its network run by an engine, built if the store does not have it; by torch where that fails.

    Args:
        annotator: In torch, on the CPU.
        runtime: "compile", "onnx" or "openvino".
        weights: Digests of its files.
        dtype: The engine's dtype.
        device: Where torch would run it.
        any_device: Whether another device will do.
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
