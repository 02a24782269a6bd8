"""Waiting that can be cancelled: for work in a thread, and for a lock that another process holds."""

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
    """An iterator that runs in a thread of its own.

    The caller can leave while the iterator is busy (it looks up a name, it waits for a connection). Nobody waits for it then: as soon as
    it has its next item, the thread finds the caller gone and closes the iterator.
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
        """The next item; None at the end.

        Args:
            tick: Called about ten times a second while nothing comes; may raise to stop.
            until: How long to wait, by `time.monotonic`.
            complaint: What to say when it has not come by then.

        Raises:
            TimeoutError: Nothing came in time.
            BaseException: What the iterator raised.
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
        except BaseException as error:  # noqa: BLE001  it is raised where the caller waits
            self._put(None, error)
        finally:
            self._items.close()  # pyright: ignore[reportAttributeAccessIssue]  the iterators given are generators

    def _put(self, item: Any, error: BaseException | None) -> bool:
        while not self._left.is_set():
            with suppress(queue.Full):
                self._box.put((item, error), timeout=_TICK)
                return True
        return False


logger = logging.getLogger(__name__)


@contextmanager
def locked(path: Path, work: str, tick: Callable[[], object]) -> Iterator[None]:
    """Holds a lock that all processes of this machine share.

    Args:
        path: The lock's file, in a folder that is there.
        work: What another process is doing while this one waits, for the log.
        tick: Called five times a second while another process has it; may raise to stop waiting.
    """
    from ...geometry.files.file_lock import FileLock  # brings torch, which the list of models goes without

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
