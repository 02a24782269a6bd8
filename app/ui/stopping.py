"""Cancels work that the page started, by an exception that libraries do not catch as an error."""

from __future__ import annotations

import threading

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
