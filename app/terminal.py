"""The command's manners: what it says and where, and how it is stopped."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn, TextIO


class TerminatedError(KeyboardInterrupt):
    """SIGTERM: it ends the work as Ctrl-C does, so that files half written are removed."""


@contextmanager
def terminable() -> Iterator[None]:
    """Turns SIGTERM into `TerminatedError` while the block runs."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> NoReturn:
        raise TerminatedError

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def say(text: str) -> None:
    """A result, to stdout."""
    _write(text, sys.stdout)


def complain(text: str) -> None:
    """What went wrong, to stderr."""
    _write(f"depth-normal: {text}", sys.stderr)


def _write(text: str, stream: TextIO) -> None:
    """A line of its own, also beside a progress bar. Where nobody reads any more (`| head`), the work goes on in silence."""
    tqdm = getattr(sys.modules.get("tqdm"), "tqdm", None)  # where it is not imported there is no bar
    try:
        if tqdm is None:
            print(text, file=stream)
        else:
            tqdm.write(text, file=stream)
        stream.flush()
    except BrokenPipeError:
        # Python flushes the stream once more as it ends, and would complain.
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, stream.fileno())
        os.close(silence)
