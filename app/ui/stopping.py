"""How work that a page began is stopped: by an exception that no library takes for an error of its own."""

from __future__ import annotations

import threading


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
