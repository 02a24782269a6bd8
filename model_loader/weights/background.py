"""Runs blocking work in a thread, so that the caller can be cancelled at any time."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
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
