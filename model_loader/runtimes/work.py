"""Building in a thread of its own, so that whoever waits sees how it goes and can leave."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch

from .. import host
from ..background import Background

logger = logging.getLogger(__name__)

_Result = TypeVar("_Result")

_one = threading.Lock()
"""Exporters change what belongs to the whole process: one builds at a time."""


class LeftError(RuntimeError):
    """Nobody waits for the work any more."""


class _Progress:
    """What is done now, between the thread that works and the one that waits."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._words = ""
        self._begin = time.monotonic()
        self._left = threading.Event()

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
        host.throw_if_interrupted()
        if self._words:
            host.say(f"{self._what}: {self._words} ({time.monotonic() - self._begin:.0f} s)", often=True)

    def leave(self) -> None:
        """Has the next step raise."""
        self._left.set()


def in_background(what: str, work: Callable[[Callable[[str], None]], _Result]) -> _Result:
    """What `work` returns, done in a thread beside this one, which shows how it goes.

    ComfyUI's user and Ctrl-C end the waiting at once. The work ends at its next step.

    Args:
        what: Said before every step.
        work: Takes a function to call with what is done now; it raises `LeftError` where nobody waits any more.

    Raises:
        Exception: What the work raised.
    """
    progress = _Progress(what)

    def run() -> Iterator[Any]:
        while not _one.acquire(timeout=0.2):
            progress.step("waiting for another engine to be built")
        try:
            with torch.no_grad():
                found = work(progress.step)
        finally:
            _one.release()
        yield found

    with Background(run()) as running:
        try:
            return running.get(progress.tick, math.inf, "")
        finally:
            progress.leave()
