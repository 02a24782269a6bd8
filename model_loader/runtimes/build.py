"""Builds engines: the inputs, the trial that an engine must pass, and the worker thread that the caller can cancel."""

from __future__ import annotations

import atexit
import hashlib
import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from ...annotators.graphs import GRAPH_VERSION, Graph, export_graph
from ...annotators.specs.base import ModelSpec
from ..comfy import feedback, interrupt
from ..comfy.interrupt import end
from ..weights.waiting import Background
from .engine import Runner, Size, UnusableError
from .engine_store import Key, Step, kept, remove_unfinished

GRAPH_FILE = "graph.onnx"
_TRIAL_PIXELS = 224
_MOST_DIFFERENCE = {torch.float32: 1.0, torch.float16: 8.0, torch.bfloat16: 16.0}
"""In 255ths of an output's range: larger differences are not rounding but a wrong result."""


@dataclass(frozen=True)
class Job:
    """An engine to build."""

    spec: ModelSpec
    weights: str  # digests of its files
    graph: Graph  # its network
    dtype: torch.dtype  # the dtype that the engine computes in
    device: torch.device  # the device that torch would use
    any_device: bool  # whether another device is acceptable, because the user named none
    step: Step

    def key(self, engine: str, input_size: Size | None, **more: str) -> Key:
        """An engine's cache key; `more` are dependencies beyond model, weights, dtype and size."""
        config = hashlib.sha256(repr((self.spec.config, self.spec.multiple_of)).encode()).hexdigest()
        return {
            "model": self.spec.id,
            "weights": self.weights,
            "architecture": config,
            "graph": GRAPH_VERSION,
            "torch": torch.__version__,
            "engine": engine,
            "dtype": str(self.dtype).removeprefix("torch."),
            "size": "any" if input_size is None else f"{input_size[1]}x{input_size[0]}",
            **more,
        }

    def onnx(self, input_size: Size | None) -> tuple[Path, Key]:
        """The exported graph and its key."""
        import onnx
        import onnxscript

        network = next(self.graph.module.parameters()).dtype
        key = replace(self, dtype=network).key("graph", input_size, onnx=onnx.__version__, onnxscript=onnxscript.__version__)

        def build(folder: Path) -> None:
            self.step("exporting its graph, once for this version (about half a minute)")
            export_graph(self.graph, folder / GRAPH_FILE, input_size)

        return kept(key, build, self.step, self.bytes_of_weights) / GRAPH_FILE, key

    @property
    def bytes_of_weights(self) -> int:
        """The bytes of the network's parameters."""
        return sum(each.nbytes for each in self.graph.module.parameters())

    @property
    def default_input_size(self) -> Size:
        """The network's input size for a typical photograph; never square."""
        multiple, side = self.graph.multiple_of, self.spec.default_size
        rows = max(1, round(side / multiple))
        return rows * multiple, max(rows + 1, round(4 / 3 * side / multiple)) * multiple

    def trial(self, runner: Runner, input_size: Size | None) -> float:
        """Runs an engine once; the maximum difference from torch in 255ths of the output's range, or an UnusableError if it is large."""
        multiple = self.graph.multiple_of
        side = max(1, _TRIAL_PIXELS // multiple) * multiple
        # not square, so that torch.compile does not unify height and width
        inputs = self.graph.example(1, *(input_size or (side, side + multiple)))
        pixels, *scalar_inputs = (each.to(self.device) for each in inputs)
        outputs = runner.run(pixels, scalar_inputs[0] if scalar_inputs else None)
        home = next(self.graph.module.parameters()).device  # the CPU at first; the model's device when an engine restarts
        expected = [each.cpu() for each in self.graph.module(*(each.to(home) for each in inputs))]
        worst = max(_difference(*pair) for pair in zip(outputs, expected, strict=True))
        if not worst <= _MOST_DIFFERENCE[self.dtype]:
            raise UnusableError(f"{runner.words} computes something else than torch ({worst:.1f} of 255 apart)")
        return worst


def _difference(found: Tensor, expected: Tensor) -> float:
    """The maximum difference of two maps, in 255ths of the second's range; infinite if shapes differ or one is not finite."""
    if found.shape != expected.shape or not torch.isfinite(found).all():
        return float("inf")
    low, high = expected.aminmax()
    if high - low <= 1e-6 * max(abs(low), abs(high)):  # a single number, such as a scale, or a constant map
        low = torch.zeros_like(low)
    return 255 * ((found.cpu() - expected).abs().max() / (high - low).abs().clamp_min(1e-6)).item()


logger = logging.getLogger(__name__)

_Result = TypeVar("_Result")

_one = threading.Lock()
"""Exporters change global state: only one builds at a time."""

_working: set[threading.Thread] = set()
_LAST_SECONDS = 10.0
"""How long the program's exit waits for abandoned work."""


class LeftError(RuntimeError):
    """The caller no longer waits for the work."""


class _Ended(BaseException):
    """Raised asynchronously in the worker thread. Not an Exception, because exporters catch those and try something else."""


class _Progress:
    """Shares the current step between the worker and the waiting thread."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._words = ""
        self._begin = time.monotonic()
        self._left = threading.Event()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    @contextmanager
    def working(self) -> Iterator[None]:
        """The context of the work, in the worker thread."""
        self._thread = threading.current_thread()
        _working.add(self._thread)
        try:
            yield
        finally:
            self._over.set()
            _working.discard(self._thread)

    def step(self, words: str) -> None:
        """Reports the current step, from the worker thread; raises a LeftError if the caller no longer waits."""
        if self._left.is_set():
            raise LeftError(self._what)
        if words != self._words:
            logger.info("%s: %s", self._what, words)
            self._words = words

    def tick(self) -> None:
        """Shows the current step; raises if ComfyUI's user pressed cancel."""
        interrupt.throw_if_interrupted()
        if self._words:
            feedback.show_message(f"{self._what}: {self._words}, {time.monotonic() - self._begin:.0f} s", often=True)

    def leave(self) -> None:
        """Ends unfinished work."""
        self._left.set()
        if self._thread is not None and not self._over.is_set():
            ending = partial(end, self._thread, _Ended, lambda: not self._over.is_set())
            threading.Thread(target=ending, daemon=True, name="depth-normal end").start()


@atexit.register
def _wait_for_the_end() -> None:
    """Waits for workers, as one that is inside torch when Python exits would abort the process, and removes partial builds."""
    for thread in list(_working):  # at most one: the others wait for `_one`
        thread.join(_LAST_SECONDS)
    remove_unfinished()


def in_background(what: str, work: Callable[[Callable[[str], None]], _Result]) -> _Result:
    """Runs `work` in a thread, shows its progress and returns its result.

    ComfyUI's cancel and Ctrl-C end the wait at once. The work ends once it executes Python code; if it is in native code, at its next step.

    Args:
        what: Prefix of every step.
        work: Takes a function to call with the current step, which raises `LeftError` if the caller no longer waits.
    """
    progress = _Progress(what)

    def run() -> Iterator[Any]:
        while not _one.acquire(timeout=0.2):
            progress.step("waiting for another engine to be built")
        try:
            with progress.working(), torch.no_grad():
                result = work(progress.step)
        finally:
            _one.release()
        yield result

    with Background(run()) as running:
        try:
            return running.get(progress.tick, math.inf, "")
        finally:
            progress.leave()
