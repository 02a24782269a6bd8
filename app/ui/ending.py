"""How the server is ended: by Ctrl-C, by SIGTERM, or by closing the terminal, each of which leaves time to clean up."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from ..console.terminal import handled


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
