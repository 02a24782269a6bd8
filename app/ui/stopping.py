"""Cancels work that the page started, and shuts the server down.

Work is cancelled by an exception that libraries do not catch as an error; the server is ended by Ctrl-C, SIGTERM or closing the terminal,
each of which leaves time to clean up.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ..console.terminal import TERMINATIONS, handled

CLOSING_SECONDS = 5.0
"""How long the server waits for its worker threads at shutdown."""


class StoppedError(BaseException):
    """The page's user cancelled the work."""


class Cancellation(threading.Event):
    """A cancellation flag for one piece of work, set once cancellation is requested."""

    def check(self, *_: object) -> None:
        """Raises StoppedError if it is set; takes any arguments, so that it can be a progress callback."""
        if self.is_set():
            raise StoppedError


class End:
    """A request to shut down."""

    def __init__(self) -> None:
        self._event, self._loop, self._is_wished = asyncio.Event(), None, False

    async def wait(self) -> None:
        """Waits for the request."""
        self._loop = asyncio.get_running_loop()
        if not self._is_wished:
            await self._event.wait()

    def wish(self, number: int, _: object) -> None:
        """Signal handler: requests shutdown; a second Ctrl-C ends the work at once."""
        if self._is_wished and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._is_wished = True
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._event.set)


@contextmanager
def ended_by_signals() -> Iterator[End]:
    """Requests shutdown on Ctrl-C and `TERMINATIONS` during the block, if they are not ignored, as under nohup."""
    end = End()
    with handled(end.wish, signal.SIGINT, *TERMINATIONS):
        yield end
