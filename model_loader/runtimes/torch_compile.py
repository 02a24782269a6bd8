"""torch.compile: compiles the network and caches the artefacts in the engine store."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor, nn

from ...annotators.graphs import Graph
from .build import Job
from .engine import Runner, Size
from .engine_store import store_folder

_CACHE = "TORCHINDUCTOR_CACHE_DIR"


def start(job: Job, input_size: Size | None) -> Runner:
    """Compiles the network for any size, which takes a minute the first time. On a GPU that happens, without a trial, at the first image.

    Raises:
        UnusableError: On a CPU: its results differ from torch's.
        Exception: On a CPU: compilation failed, or there is no C++ compiler.
    """
    # torch keys this cache by its version, the code and the machine
    os.environ.setdefault(_CACHE, os.fspath(store_folder() / "inductor"))
    job.step("warming up torch.compile (about a minute the first time, seconds later)")
    runner = _CompiledRunner(job)
    if job.device.type == "cpu":
        job.trial(runner, input_size or job.default_input_size)
    return runner


class _CompiledRunner:
    """A compiled network. See `engine.Runner`."""

    size = 0

    def __init__(self, job: Job) -> None:
        self._cell = job.graph.multiple_of
        self._run: Any = torch.compile(_OfCells(job.graph), dynamic=True)
        self.words = f"torch.compile {torch.__version__}, {job.device}"

    def run(self, pixels: Tensor, scalar_inputs: Tensor | None) -> tuple[Tensor, ...]:
        """See `engine.Runner.run`."""
        scalars = () if scalar_inputs is None else (scalar_inputs,)
        # a batch of one compiles separately from larger ones, for another minute: on a CPU more than batching gains
        parts = [self._run(self._cells(part), *scalars) for part in pixels.split(1 if pixels.device.type == "cpu" else len(pixels))]
        return parts[0] if len(parts) == 1 else tuple(map(torch.cat, zip(*parts, strict=True)))

    def _cells(self, pixels: Tensor) -> Tensor:
        """Reshapes pixels to the input of `_OfCells`, in channels-last memory."""
        ordered = pixels.contiguous(memory_format=torch.channels_last)
        cells = ordered.unflatten(3, (-1, self._cell)).unflatten(2, (-1, self._cell))
        # else the compiler would unify numbers of rows or columns that happen to equal the channels or the cell size
        torch._dynamo.mark_static(ordered, 1)
        torch._dynamo.mark_static(cells, [1, 3, 5])
        return cells


class _OfCells(nn.Module):
    """Wraps a graph's module to take images as (B, 3, rows, cell, columns, cell); a cell is the graph's `multiple_of`.

    The compiler thus knows that height and width are multiples. For arbitrary sizes, each stride of 2 rounds up, and Inductor of torch 2.13
    cannot compare products of such sizes ("ValueRangeError: Invalid ranges [0:-1]", with tiny).
    """

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.module = graph.module
        self.cell = graph.multiple_of

    def forward(self, cells: Tensor, scalar_inputs: Tensor | None = None) -> tuple[Tensor, ...]:
        batch, channels, rows, _, columns, _ = cells.shape
        pixels = cells.reshape(batch, channels, rows * self.cell, columns * self.cell)
        return self.module(pixels) if scalar_inputs is None else self.module(pixels, scalar_inputs)
