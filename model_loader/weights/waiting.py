"""Shared by downloads and engines: cancellable waiting, for a thread's work and another process's lock."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

_TICK = 0.1
_AHEAD = 32


class Background:
    """Runs an iterator in a thread.

    The caller can leave while the iterator is busy, as in name resolution or a connect. At its next item, the thread notices and closes the
    iterator.
    """

    def __init__(self, items: Iterator[Any]) -> None:
        self._items = items
        self._box: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue(_AHEAD)
        self._left = threading.Event()
        threading.Thread(target=self._run, daemon=True, name="depth-normal download").start()

    def __enter__(self) -> Background:
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()

    def get(self, tick: Callable[[], None], until: float, complaint: str) -> Any:
        """The next item; None at the end. Raises any exception of the iterator.

        Args:
            tick: Called about ten times a second while waiting; may raise to stop.
            until, complaint: Deadline, on the clock of `time.monotonic`, and the message of the TimeoutError after it.
        """
        while True:
            with suppress(queue.Empty):
                item, error = self._box.get(timeout=max(0.0, min(_TICK, until - time.monotonic())))
                if error is not None:
                    raise error
                return item
            if time.monotonic() >= until:
                raise TimeoutError(complaint)
            tick()

    def _run(self) -> None:
        try:
            for item in self._items:
                if not self._put(item, None):
                    break
            else:
                self._put(None, None)
        except BaseException as error:  # noqa: BLE001  raised again in the waiting thread
            self._put(None, error)
        finally:
            self._items.close()  # pyright: ignore[reportAttributeAccessIssue]  the iterators are generators

    def _put(self, item: Any, error: BaseException | None) -> bool:
        while not self._left.is_set():
            with suppress(queue.Full):
                self._box.put((item, error), timeout=_TICK)
                return True
        return False


logger = logging.getLogger(__name__)


@contextmanager
def locked(path: Path, work: str, tick: Callable[[], object]) -> Iterator[None]:
    """Holds a lock shared by all processes of this machine: a file in an existing folder.

    `work` is what the process that holds the lock is doing, for the log. `tick` is called five times a second; it may raise to stop.
    """
    from ...geometry.files.file_lock import FileLock  # imports torch, which the list of models does not need

    lock = FileLock(path)
    if not lock.acquire():
        logger.info("another process is %s; waiting for it", work)
        tick()
        while not lock.acquire(timeout=0.2):
            tick()
    try:
        yield
    finally:
        lock.release()
