"""Measures a model's runtimes unasked, beside a run over many images, so that later runs with `--runtime auto` use the fastest.

A process of its own does it: exporting a graph changes settings of the whole process that does it. It builds the engines at low priority
while the run goes on, and times them after the last image, when the machine is free. It reads a first line, the task, and a second one when
it may time; where its input ends, as with the run, it ends too.
"""

from __future__ import annotations

import _thread
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from ...annotators.choices import AUTO_RUNTIME, FAST_RUNTIME, ONNX, OPENVINO, TORCH
from ...annotators.registry import find_spec
from ...geometry.files.file_lock import FileLock, LockedError
from ...model_loader.load import default_dtype, parse_device
from ...model_loader.main_memory import free_main_memory
from ...model_loader.runtimes import measured
from ...model_loader.runtimes.choose import is_installed
from ...model_loader.runtimes.engine_store import remove_unfinished, store_folder
from ...model_loader.weights.find import find_weights
from ..batch.options import Options

logger = logging.getLogger(__name__)

SETTING = "DEPTH_NORMAL_MEASURE"
"""Environment variable: 0 = nothing is measured unasked."""

_ASKED = (TORCH, ONNX, OPENVINO)
"""What is measured unasked: torch.compile takes minutes of all cores."""

_PYTHON = "" if getattr(sys, "frozen", False) else sys.executable  # in a bundled program that is the program
_NICE = 10  # beside a run that uses all cores, about a tenth of one
_LONG_SO_FAR, _LONG_STILL = 10.0, 60.0
"""Seconds: how long a run lasts before engines are built beside it, and how long it must still take by its speed so far."""

_SHARE, _SHORTEST, _LONGEST = 0.05, 5.0, 60.0
"""How long a run may take longer for the timing at its end: as a share of it, and at least and at most in seconds."""

_SECONDS_EACH = 0.5
_FREE, _FREE_PER_WEIGHT = 2**31, 10
"""Bytes of main memory that must be free, and for each byte of weights, of which up to five engines and an export hold copies."""

_LEAST_FREE = 2**30
_WORTH_SAYING = 1.5
_END_SECONDS = 15.0

_READY, _KEPT, _ENDED = "ready", "kept", "ended"
"""What the process says: the first two in a line each."""


class Measuring:
    """Measures the runtimes of a run's model, if that is worth it: a context, which ends the measuring where the run ends early.

    Args:
        options: The options of the run.
        device: As `load_model` takes it.
        tell: Shows the user a line.

    Attributes:
        is_wanted: Whether it begins as soon as a run turns out to be long.
    """

    def __init__(self, options: Options, device: str, tell: Callable[[str], None]) -> None:
        self.is_wanted = may_measure(options, device)
        self._options, self._device, self._tell = options, device, tell
        self._started, self._threads = time.monotonic(), torch.get_num_threads()  # a run may change that while it lasts
        self._process: subprocess.Popen[str] | None = None
        self._said: set[str] = set()
        self._heard = threading.Condition()

    def __enter__(self) -> Measuring:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def watch(self, total: int | None) -> Callable[[int], None]:
        """A function to call with each number of images or frames that are done more; the measuring begins where much is left.

        Args:
            total: How many there are; None = not known, and then it does not begin.
        """
        started, done = time.monotonic(), 0

        def tick(more: int) -> None:
            nonlocal done
            done += more
            if not self.is_wanted or total is None or not done:
                return
            elapsed = time.monotonic() - started
            if elapsed >= _LONG_SO_FAR and elapsed / done * (total - done) >= _LONG_STILL:
                self.begin()

        return tick

    def begin(self, is_idle: bool = False) -> None:
        """Begins to build the engines, if there is memory for them; where the machine is idle, they are timed as soon as all are built."""
        self.is_wanted = False
        try:
            if free_main_memory() >= _FREE + _FREE_PER_WEIGHT * _size_of_weights(self._options):
                self._begin(is_idle)
        except (OSError, RuntimeError) as error:  # no process or thread can be started, or nothing can be kept
            logger.debug("runtimes are not measured: %s", error)
            self.stop()

    def _begin(self, is_idle: bool) -> None:
        self._process = _started(self._task())
        hearing = threading.Thread(target=self._hear, args=(self._process,), daemon=True, name="depth-normal measuring")
        hearing.start()
        if is_idle:
            self._time()
            return
        self._tell(
            f"{self._options.model}: beside the run, engines are built at low priority; they are timed at its end, and later runs use "
            f"the fastest (--runtime torch or {SETTING}=0 turns it off)"
        )

    def finish(self) -> None:
        """Times the engines, if all are built, and says what later runs use. Ctrl-C leaves it out."""
        if self._process is None or _READY not in self._said:
            return
        limit = min(_LONGEST, max(_SHORTEST, _SHARE * (time.monotonic() - self._started)))
        self._tell(f"{self._options.model}: all is done; timing the engines for later runs, {limit:.0f} s at most (Ctrl-C skips it)")
        with suppress(KeyboardInterrupt, OSError):
            self._time()
            with self._heard:
                self._heard.wait_for(lambda: _ENDED in self._said, limit)
        self.stop()

    def _time(self) -> None:
        """Lets the process time what it builds, once all is built. Raises OSError where it has ended."""
        assert self._process is not None and self._process.stdin is not None
        print("time", file=self._process.stdin, flush=True)

    def stop(self) -> None:
        """Ends the process, which leaves nothing half-written; nobody waits for it."""
        self.is_wanted = False
        if self._process is not None and self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.close()
        self._process = None

    def _task(self) -> dict[str, Any]:
        weights = self._options.weights
        return {
            "model": self._options.model,
            "weights": None if weights is None else str(weights.absolute()),
            "device": self._device,
            "threads": self._threads,
            "nice": _NICE,
            "folder": str(Path.cwd()),
        }

    def _hear(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in chain(process.stdout, (_ENDED,)):
            with self._heard:
                self._said.add(line.strip())
                self._heard.notify_all()
            if line.strip() == _KEPT:
                self._tell(outcome(self._options, self._device))
        process.wait()


def may_measure(options: Options, device: str) -> bool:
    """Whether a run measures unasked what its model's runtimes take.

    It does on a CPU alone: on a GPU another process would take memory from the run, and TensorRT builds for minutes.
    """
    if os.environ.get(SETTING, "1") in ("", "0") or not options.is_unmeasured(device) or not _PYTHON:
        return False
    return parse_device(device).type == "cpu" and (is_installed(ONNX) or is_installed(OPENVINO))


def outcome(options: Options, device: str) -> str:
    """What later runs use by what is kept now, and why, in a line."""
    spec, where = find_spec(options.model), parse_device(device)
    found, default = measured.kept(spec, options.weights, where) or [], default_dtype(spec, where)
    best, fast = (measured.choose(found, runtime, options.dtype, default) for runtime in (AUTO_RUNTIME, FAST_RUNTIME))
    if best is not None:
        line = f"{spec.id}: later runs use {best.words}"
    else:
        others = ", ".join(f"{each.runtime} {each.dtype} {each.times:.2f}" for each in found if each.is_exact)
        line = f"{spec.id}: later runs use torch: no other runtime with the same maps is 5 % faster (times torch: {others or 'none'})"
    if fast is not None and fast is not best and fast.times >= _WORTH_SAYING * (best.times if best else 1.0):
        line += f"; with --runtime fast {fast.words}"
    return line


def _size_of_weights(options: Options) -> int:
    paths = [options.weights] if options.weights else map(find_weights, find_spec(options.model).files)
    return sum(path.stat().st_size for path in paths if path is not None)


def _started(task: dict[str, Any]) -> subprocess.Popen[str]:
    """The process that measures, with its task. It has the run's packages, and begins in a folder of ours: `-m` imports from there."""
    folder = store_folder()
    folder.mkdir(parents=True, exist_ok=True)
    process = subprocess.Popen(
        [_PYTHON, "-m", __name__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        encoding="utf-8",
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        start_new_session=True,  # a terminal's Ctrl-C is the run's
        creationflags=getattr(subprocess, "BELOW_NORMAL_PRIORITY_CLASS", 0),
    )
    assert process.stdin is not None
    print(json.dumps(task), file=process.stdin, flush=True)
    return process


def main() -> None:
    """Measures what the first line of stdin says; prints a line when it is ready to time, and when the measurements are kept."""
    may_time = threading.Event()
    task = json.loads(sys.stdin.readline())
    _give_way(task["nice"])
    os.chdir(task["folder"])  # environment variables may name folders from there
    threading.Thread(target=_listen, args=(may_time,), daemon=True).start()
    with suppress(KeyboardInterrupt), _results() as say:
        measure(Path(task["weights"]) if task["weights"] else None, task, may_time, say)


def measure(weights: Path | None, task: dict[str, Any], may_time: threading.Event, say: Callable[[str], None]) -> None:
    """Loads and compares the runtimes, waits until it may time them, and keeps the measurements; of two processes the first does it.

    Args:
        weights: A file in place of the published one.
        task: "model", "device" and "threads" of torch.
        may_time: Set when the machine is free.
        say: Called with `_READY` and `_KEPT`.

    Raises:
        MemoryError: Main memory became short.
    """
    from .runtimes import LoadedRuntimes

    torch.set_num_threads(task["threads"])
    options, spec = Options(model=task["model"], weights=weights, runtime=AUTO_RUNTIME), find_spec(task["model"])
    folder = store_folder() / "measured"
    folder.mkdir(parents=True, exist_ok=True)
    with suppress(LockedError), FileLock(folder / "measuring.lock"):
        if not options.is_unmeasured(task["device"]):
            return
        loaded = LoadedRuntimes(options, task["device"], _ASKED, _check_memory)
        say(_READY)
        while not may_time.wait(0.1):  # so that an interruption comes through
            _check_memory()
        measured.keep(spec, weights, parse_device(task["device"]), loaded.time(_SECONDS_EACH))
        say(_KEPT)


def _give_way(nice: int) -> None:
    """Lowers the priority of this process. Linux may share the processor among sessions first, and this one has a session of its own."""
    if hasattr(os, "nice"):
        os.nice(nice)
    with suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(nice), encoding="ascii")


def _check_memory() -> None:
    if free_main_memory() < _LEAST_FREE:
        raise MemoryError("main memory is short")


def _listen(may_time: threading.Event) -> None:
    for _ in sys.stdin:
        may_time.set()
    _thread.interrupt_main()
    time.sleep(_END_SECONDS)
    remove_unfinished()
    os._exit(1)


@contextmanager
def _results() -> Iterator[Callable[[str], None]]:
    """A function that prints a line for whoever started this process; what libraries print goes nowhere."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as lines, Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        try:
            yield lambda line: print(line, file=lines, flush=True)
        finally:
            os.dup2(lines.fileno(), 1)


if __name__ == "__main__":
    main()
