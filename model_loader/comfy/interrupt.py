"""Cancellation in ComfyUI: a watcher thread interrupts a computation between two steps; loading and waiting poll by themselves."""

from __future__ import annotations

import ctypes
import functools
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import nn

from . import devices

_EVERY = 0.05
"""Seconds between two polls."""

_ROOT = Path(__file__).parents[2]
_STEPS = tuple(
    f"{folder}{os.sep}" for folder in (_ROOT / "annotators", _ROOT / "geometry", _ROOT / "media", _ROOT / "nodes", Path(nn.__file__).parent)
)
"""Code that may be interrupted: these folders of the pack and torch's layers. Loading and caching models always completes."""
_ALSO = str(_ROOT / "utils.py")
_WRAPPERS = tuple(str(Path(torch.__file__).parent / name) for name in ("_tensor.py", "functional.py"))
"""torch's Python wrappers of single operations: their caller decides whether the computation may be interrupted."""

_undisturbed: set[int] = set()


class Watch:
    """While entered, interrupts the thread's computation between two steps once `look`, called from another thread, raises."""

    def __init__(self, look: Callable[[], None]) -> None:
        self._look = look
        self._thread = threading.get_ident()
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._sent: type[BaseException] | None = None

    def __enter__(self) -> None:
        threading.Thread(target=self._run, daemon=True, name="depth-normal watch").start()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._lock:
            self._over.set()
        if self._sent is not None and (kind is None or not issubclass(kind, self._sent)):
            _send(self._thread, None)  # the computation finished before the exception arrived
            raise self._sent

    def _run(self) -> None:
        while not self._over.wait(_EVERY):
            with self._lock:
                if self._over.is_set() or not _is_at_a_step(self._thread):
                    continue
                try:
                    self._look()
                except BaseException as error:  # noqa: BLE001  raised again in the computation's thread
                    self._sent = type(error)
                    _send(self._thread, self._sent)
                    return


@contextmanager
def undisturbed() -> Iterator[None]:
    """Protects the block from interruption in this thread."""
    thread = threading.get_ident()
    outermost = thread not in _undisturbed
    _undisturbed.add(thread)
    try:
        yield
    finally:
        if outermost:
            _undisturbed.discard(thread)


def _is_at_a_step(thread: int) -> bool:
    """Whether a thread may be interrupted now: not during an import, which would stay half-done."""
    frame: FrameType | None = sys._current_frames().get(thread)
    while frame is not None and frame.f_code.co_filename in _WRAPPERS:
        frame = frame.f_back
    if frame is None or thread in _undisturbed:
        return False
    where = frame.f_code.co_filename
    if not (where.startswith(_STEPS) or where == _ALSO):
        return False
    return not _is_importing(frame)


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None and not frame.f_code.co_filename.startswith("<frozen importlib"):
        frame = frame.f_back
    return frame is not None


def end(thread: threading.Thread, kind: type[BaseException], is_working: Callable[[], bool]) -> None:
    """Raises an exception in another thread wherever its Python code is, except during an import. Native code cannot be interrupted.

    `is_working` tells whether the thread still does the work to end.
    """
    while is_working() and thread.ident is not None:
        if not _is_importing(sys._current_frames().get(thread.ident)):
            _send(thread.ident, kind)
            return
        time.sleep(_EVERY)


def _send(thread: int, kind: type[BaseException] | None) -> None:
    """Raises an exception in a thread once it executes Python code; None cancels a pending one."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), None if kind is None else ctypes.py_object(kind))


def throw_if_interrupted() -> None:
    """Raises ComfyUI's InterruptProcessingException if the user pressed cancel; does nothing outside ComfyUI."""
    if (manager := devices.memory_manager()) is not None:
        manager.throw_exception_if_processing_interrupted()


def is_interruption(error: BaseException) -> bool:
    """Whether an exception means that ComfyUI's user pressed cancel; older versions derive it from Exception."""
    kind = getattr(devices.memory_manager(), "InterruptProcessingException", None)
    return kind is not None and isinstance(error, kind)


def interruptible(work: Callable[..., Any]) -> Callable[..., Any]:
    """Wraps a function so that ComfyUI's cancel button interrupts it between any two steps."""

    @functools.wraps(work)
    def watched(*args: Any, **kwargs: Any) -> Any:
        if devices.memory_manager() is None:
            return work(*args, **kwargs)
        with Watch(throw_if_interrupted):
            return work(*args, **kwargs)

    return watched
