"""torch.compile: the network as torch's own compiler makes it, with what it compiled kept in the store."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor

from .engine import Runner, Sides
from .job import Job
from .store import store_folder

_CACHE = "TORCHINDUCTOR_CACHE_DIR"


def start(job: Job, sides: Sides | None) -> Runner:
    """Compiles the network for any size, which takes a minute the first time.

    Raises:
        UnusableError: It computes something else.
        Exception: It cannot be compiled, or no C++ compiler is there.
    """
    # torch itself keys what it keeps there by its version, the code and the machine
    os.environ.setdefault(_CACHE, os.fspath(store_folder() / "inductor"))
    job.step("warming up torch.compile (about a minute the first time, seconds later)")
    runner = _CompiledRunner(job)
    if job.device.type == "cpu":
        job.trial(runner, sides or job.usual_sides)
    return runner


class _CompiledRunner:
    """A compiled network. See `engine.Runner`."""

    size = 0

    def __init__(self, job: Job) -> None:
        self._run: Any = torch.compile(job.graph.module, dynamic=True)
        self.words = f"torch.compile {torch.__version__}, {job.device}"

    def run(self, pixels: Tensor, numbers: Tensor | None) -> tuple[Tensor, ...]:
        """See `engine.Runner.run`."""
        told = () if numbers is None else (numbers,)
        # one picture is compiled apart from several, for another minute: on a CPU more than what several at once gain
        parts = [self._run(_ordered(part), *told) for part in pixels.split(1 if pixels.device.type == "cpu" else len(pixels))]
        return parts[0] if len(parts) == 1 else tuple(map(torch.cat, zip(*parts, strict=True)))


def _ordered(pixels: Tensor) -> Tensor:
    return pixels.contiguous(memory_format=torch.channels_last)
