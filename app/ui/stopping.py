"""How work that a page began is stopped, and how the server is ended.

Work is stopped by an exception that no library takes for an error of its own; the server by Ctrl-C, by SIGTERM, or by closing the terminal,
each of which leaves time to clean up.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ..console.terminal import handled

CLOSING_SECONDS = 5.0
"""How long the server waits at its end for the threads that work."""


class StoppedError(BaseException):
    """The page's user cancelled the work."""


class Cancellation:
    """A wish to stop one piece of work."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def ask(self) -> None:
        """Wishes it."""
        self._event.set()

    def check(self, *_: object) -> None:
        """Raises StoppedError where it is wished; takes any arguments, so that it can be called for progress."""
        if self._event.is_set():
            raise StoppedError

    @property
    def asked(self) -> bool:
        """Whether it is wished."""
        return self._event.is_set()


class End:
    """The wish to end."""

    def __init__(self) -> None:
        self._event, self._loop, self._is_wished = asyncio.Event(), None, False

    async def wait(self) -> None:
        """Waits until it is wished."""
        self._loop = asyncio.get_running_loop()
        if not self._is_wished:
            await self._event.wait()

    def wish(self, number: int, _: object) -> None:
        """Wishes it; a second Ctrl-C ends the work at once."""
        if self._is_wished and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._is_wished = True
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._event.set)


@contextmanager
def ended_by_signals() -> Iterator[End]:
    """Ctrl-C, SIGTERM and SIGHUP wish the end in the block; a terminal that is closed sends the latter, often twice.

    What is ignored, as by nohup, stays so.
    """
    end = End()
    with handled(end.wish, signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if sys.platform != "win32" else [])):
        yield end
