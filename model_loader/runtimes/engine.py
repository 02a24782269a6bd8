"""Runs a network on an engine and falls back to torch when the engine fails."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ...annotators.base import is_out_of_memory, says_out_of_memory
from ...annotators.graphs import Graph
from ...options.estimate import TORCH
from ..comfy import feedback, interrupt
from ..weights.network import in_one_line

logger = logging.getLogger(__name__)

MOST_SIZES = 3
"""For a network traced for one size: number of sizes to build engines for. Torch runs the others."""

Size = tuple[int, int]
"""Height and width of the network's input."""


class UnusableError(RuntimeError):
    """A runtime cannot be used here; the message begins with its name and says why."""


class OutOfRangeError(ValueError):
    """An image size that an engine was not built for."""


class Runner(Protocol):
    """Runs a graph on an engine."""

    words: str  # the engine's name, version and device
    size: int  # approximate bytes of memory

    def run(self, pixels: Tensor, scalar_inputs: Tensor | None) -> tuple[Tensor, ...]:
        """The graph's outputs; an OutOfRangeError if the engine was built for other sizes. Thread-safe."""
        ...


class GraphEngine:
    """Runs an annotator's graph: see `annotators.graphs.Engine`.

    Args:
        model_id: For messages.
        name: The runtime, as in `load_model`.
        graph: The network, run by torch wherever the engine cannot.
        device: The device to run on.
        start: Starts an engine for one image size, or for all (None); raises if it cannot.
    """

    def __init__(self, model_id: str, name: str, graph: Graph, device: torch.device, start: Callable[[Size | None], Runner]) -> None:
        self._model_id = model_id
        self._name = name
        self._graph = graph
        self.device = device
        self._start = start
        self._runners: dict[Size | None, Runner | None] = {}
        self._reported: set[object] = set()
        self._lock = threading.RLock()
        self._torch_lock = threading.Lock()
        self._words = ""
        self.placed: nn.Module = PlacedEngine(self, graph.module)

    @property
    def words(self) -> str:
        """Name, version and device of what runs the network; torch once the engine failed."""
        return self._words or TORCH

    @property
    def runtime(self) -> str:
        """The runtime, as in `load_model`; torch before the engine has started and after it failed."""
        return self._name if self._words else TORCH

    @property
    def size(self) -> int:
        """Approximate bytes of device memory in use."""
        return sum(runner.size for runner in self._runners.values() if runner)

    def begin(self) -> None:
        """Starts the engine, if that does not depend on the image size; raises an exception that says why if it cannot."""
        if self._graph.dynamic_size:
            with self._lock:
                self._add(None)

    def release(self) -> None:
        """Frees the engine's memory; the next image starts it again."""
        with self._lock:
            self._runners = {input_size: runner for input_size, runner in self._runners.items() if runner is None}

    def __call__(self, pixels: Tensor, scalar_inputs: Tensor | None = None) -> tuple[Tensor, ...]:
        """See `annotators.graphs.Engine`."""
        runner = self.runner(pixels)
        if runner is None:
            return self._by_torch(pixels, scalar_inputs)
        at_once = (self._graph.most_batch or len(pixels)) if self._graph.dynamic_batch else 1
        try:
            parts = [runner.run(part, scalar_inputs) for part in pixels.split(at_once)]
        except OutOfRangeError as error:
            self._report(tuple(pixels.shape), f"{error}: torch runs such images")
            return self._by_torch(pixels, scalar_inputs)
        except Exception as error:
            if interrupt.is_interruption(error):
                raise
            if is_out_of_memory(error) or says_out_of_memory(error):
                raise MemoryError(in_one_line(error)) from error
            self._give_up(error)
            return self._by_torch(pixels, scalar_inputs)
        return parts[0] if len(parts) == 1 else tuple(torch.cat(each) for each in zip(*parts, strict=True))

    def runner(self, pixels: Tensor) -> Runner | None:
        """The runner for images of this size, started on first use; None if torch runs them."""
        input_size = None if self._graph.dynamic_size else (pixels.shape[-2], pixels.shape[-1])
        with self._lock:
            if input_size not in self._runners:
                if len(self._runners) >= MOST_SIZES:
                    self._report(input_size, f"engines for {MOST_SIZES} sizes are built: torch runs images of others")
                    return None
                try:
                    self._add(input_size)
                except Exception as error:
                    if interrupt.is_interruption(error):
                        raise
                    self._give_up(error, input_size)
            return self._runners[input_size]

    def _add(self, input_size: Size | None) -> None:
        runner = self._runners[input_size] = self._start(input_size)
        self._words = runner.words

    def _give_up(self, error: Exception, input_size: Size | None = None) -> None:
        with self._lock:
            self._runners = dict.fromkeys((*self._runners, input_size))
            words, self._words = self._words, ""
        self._report(None, f"{words + ': ' if words else ''}{in_one_line(error)}: torch runs it from now on")

    def _report(self, about: object, words: str) -> None:
        """Warns the user, once per subject."""
        if about not in self._reported:
            self._reported.add(about)
            tell(f"{self._model_id}: {words}")

    def _by_torch(self, pixels: Tensor, scalar_inputs: Tensor | None) -> tuple[Tensor, ...]:
        inputs = (pixels.contiguous(memory_format=torch.channels_last), *(() if scalar_inputs is None else (scalar_inputs,)))
        with self._torch_lock:  # networks of transformers and diffusers cache per-image state and are not thread-safe
            return self._graph.module(*inputs)


class PlacedEngine(nn.Module):
    """An engine as a module for the memory manager: the network, as torch's fallback, and the engine's bytes.

    Moving its tensors off the device releases the engine.
    """

    def __init__(self, engine: GraphEngine, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self._engine_size, self._engine_device, self.release = lambda: engine.size, engine.device, engine.release

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        destination[f"{prefix}engine"] = torch.empty(self._engine_size(), dtype=torch.uint8, device="meta")

    def _apply(self, fn: Any, recurse: bool = True) -> PlacedEngine:
        super()._apply(fn, recurse)
        if fn(torch.empty(0)).device.type != self._engine_device.type:
            self.release()
        return self


@contextmanager
def replaced(table: MutableMapping[str, Any], name: str, value: Any) -> Iterator[None]:
    """Replaces a variable of the environment or an entry of `sys.modules` while a library that reads it is imported."""
    missing = object()
    before, table[name] = table.get(name, missing), value
    try:
        yield
    finally:
        if before is missing:
            del table[name]
        else:
            table[name] = before


def tell(words: str) -> None:
    """Logs one line as a warning and shows it on ComfyUI's node."""
    logger.warning("%s", words)
    feedback.show_message(words)
