"""Builds engines in a thread, so that the caller can show progress and cancel."""

from __future__ import annotations

import atexit
import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import torch

from ..comfy import feedback, interrupt
from ..comfy.interrupt import end
from ..weights.background import Background
from .engine_store import remove_unfinished

logger = logging.getLogger(__name__)

_Result = TypeVar("_Result")

_one = threading.Lock()
"""Exporters change what belongs to the whole process: one builds at a time."""

_working: set[threading.Thread] = set()
_LAST_SECONDS = 10.0
"""The time that the end of the program waits for abandoned work."""


class LeftError(RuntimeError):
    """Nobody waits for the work any more."""


class _Ended(BaseException):
    """Raised in the thread that works where it is; exporters take every Exception for a reason to try something else."""


class _Progress:
    """The current step, between the thread that works and the one that waits."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._words = ""
        self._begin = time.monotonic()
        self._left = threading.Event()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    @contextmanager
    def working(self) -> Iterator[None]:
        """A context around the work, in the thread that does it."""
        self._thread = threading.current_thread()
        _working.add(self._thread)
        try:
            yield
        finally:
            self._over.set()
            _working.discard(self._thread)

    def step(self, words: str) -> None:
        """Notes what is done now, from the thread that works.

        Raises:
            LeftError: Nobody waits any more.
        """
        if self._left.is_set():
            raise LeftError(self._what)
        if words != self._words:
            logger.info("%s: %s", self._what, words)
            self._words = words

    def tick(self) -> None:
        """Shows it; raises where ComfyUI's user pressed cancel."""
        interrupt.throw_if_interrupted()
        if self._words:
            feedback.show_message(f"{self._what}: {self._words}, {time.monotonic() - self._begin:.0f} s", often=True)

    def leave(self) -> None:
        """Ends the work, if it is not done."""
        self._left.set()
        if self._thread is not None and not self._over.is_set():
            ending = partial(end, self._thread, _Ended, lambda: not self._over.is_set())
            threading.Thread(target=ending, daemon=True, name="depth-normal end").start()


@atexit.register
def _wait_for_the_end() -> None:
    """A thread that is in torch when Python is gone would have the whole process abort. What it leaves half-built is removed."""
    until = time.monotonic() + _LAST_SECONDS
    for thread in list(_working):
        thread.join(max(0.0, until - time.monotonic()))
    remove_unfinished()


def in_background(what: str, work: Callable[[Callable[[str], None]], _Result]) -> _Result:
    """Runs `work` in a thread beside this one, which shows its progress, and returns its result.

    ComfyUI's user and Ctrl-C end the waiting at once, and the work as soon as it is in Python; in a library's own code at its next step.

    Args:
        what: Said before every step.
        work: Takes a function to call with the current step; it raises `LeftError` where nobody waits any more.

    Raises:
        Exception: That of the work.
    """
    progress = _Progress(what)

    def run() -> Iterator[Any]:
        while not _one.acquire(timeout=0.2):
            progress.step("waiting for another engine to be built")
        try:
            with progress.working(), torch.no_grad():
                found = work(progress.step)
        finally:
            _one.release()
        yield found

    with Background(run()) as running:
        try:
            return running.get(progress.tick, math.inf, "")
        finally:
            progress.leave()
