"""The command's behaviour on a terminal: output, logging and interruption."""

from __future__ import annotations

import functools
import logging
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import Any, NoReturn, TextIO

from ..outcomes import INTERRUPTED, TERMINATED

NAME = "depth-normal"

# What a terminal obeys: control characters, and those that turn the direction of writing or end a line.
_COMMANDS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


class TerminatedError(KeyboardInterrupt):
    """SIGTERM: it ends the work as Ctrl-C does, so that files half written are removed."""


@contextmanager
def handled(handler: Callable[[int, Any], object], *numbers: int) -> Iterator[None]:
    """Handles signals while the block runs, if in the main thread. Those that are ignored, as by `nohup` and `&`, stay so."""
    in_main = threading.current_thread() is threading.main_thread()
    taken = [number for number in numbers if in_main and signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, handler) for number in taken}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


@contextmanager
def terminable() -> Iterator[None]:
    """Turns SIGTERM into `TerminatedError` while the block runs."""

    def stop(*_: object) -> NoReturn:
        raise TerminatedError

    with handled(stop, signal.SIGTERM):
        yield


class SignalStop:
    """A wish to stop.

    Attributes:
        event: Is set from the first signal on.
        signal: Which signal it was.
    """

    def __init__(self) -> None:
        self.event = threading.Event()
        self.signal: int | None = None


@contextmanager
def stoppable() -> Iterator[SignalStop]:
    """Ends the work in the block in good order on Ctrl-C and SIGTERM: the first one only sets the event, the second stops at once.

    Raises:
        KeyboardInterrupt: At the second signal.
    """
    stop = SignalStop()

    def ask(number: int, _: object) -> None:
        if stop.signal is not None:
            raise TerminatedError if number == signal.SIGTERM else KeyboardInterrupt
        stop.signal = number
        stop.event.set()
        # Past Python's own buffers, which the signal may have caught half-written.
        with suppress(OSError):
            os.write(2, b"\ndepth-normal: finishing the images in progress; once more stops at once\n")

    with handled(ask, signal.SIGINT, signal.SIGTERM):
        yield stop


def exit_with(status: int) -> NoReturn:
    """Ends the process, and does not wait for a thread in which a network still runs after the second Ctrl-C."""
    others = [thread for thread in threading.enumerate() if not thread.daemon and thread is not threading.current_thread()]
    if status in (INTERRUPTED, TERMINATED) and others:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(status)
    sys.exit(status)


_results: TextIO | None = None


@contextmanager
def stdout_for_results() -> Iterator[None]:
    """Keeps stdout for what `echo` prints; what libraries print there while the block runs goes to stderr."""
    global _results
    before, _results = _results, _results or sys.stdout
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _results = before


def open_closed_streams() -> None:
    """Gives a program that was started without stdin, stdout or stderr empty ones: else an image's file would get their numbers."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115, PTH123 - open until the end


def program() -> str:
    """This program as it can be typed again in the same shell, also where its environment is not active."""
    module = getattr(getattr(sys.modules["__main__"], "__spec__", None), "name", "")
    if module.partition(".")[0] == __name__.partition(".")[0]:  # python -m
        return f"{quoted(sys.executable)} -m {module.removesuffix('.__main__')}"
    return _typed(Path(sys.argv[0]), os.pathsep.join(os.get_exec_path()))


@functools.cache  # the page's server says it of each image, several times a second
def _typed(started: Path, path: str) -> str:
    on_path = shutil.which(NAME, path=path)
    if started.stem != NAME or (on_path and Path(on_path).with_suffix("").resolve() == started.with_suffix("").resolve()):
        return NAME
    return quoted(started)


def quoted(path: str | os.PathLike[str]) -> str:
    """A path as a word of the shell."""
    return subprocess.list2cmdline([os.fspath(path)]) if sys.platform == "win32" else shlex.quote(os.fspath(path))


def echo(text: str) -> None:
    """Prints a result to stdout; of several lines, each as `shown`."""
    _write("\n".join(map(shown, text.split("\n"))), _results or sys.stdout)


def echo_error(text: str) -> None:
    """Prints a problem to stderr, as `shown`."""
    _write(shown(f"depth-normal: {text}"), sys.stderr)


def shown(text: str) -> str:
    """A line as it can be shown: file names may have any character, and some of them would move the cursor, or hide what is said."""
    return _COMMANDS.sub(lambda found: found.group().encode("unicode_escape").decode(), text)


class ShownFormatter(logging.Formatter):
    """Messages of the log as `shown`."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  logging's name
        """See `logging.Formatter`; what follows the message, such as where an error arose, has lines of its own."""
        return shown(super().formatMessage(record))


def _write(text: str, stream: TextIO) -> None:
    """A line of its own, also beside a progress bar. Where nobody reads any more (`| head`), the work goes on in silence."""
    tqdm = getattr(sys.modules.get("tqdm"), "tqdm", None)  # where it is not imported there is no bar
    try:
        if tqdm is None:
            print(text, file=stream)
        else:
            tqdm.write(text, file=stream)
        stream.flush()
    except OSError as error:
        # Python flushes the stream once more as it ends, and would complain.
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, stream.fileno())
        os.close(silence)
        if not isinstance(error, BrokenPipeError) and stream is not sys.stderr:
            echo_error(f"results cannot be printed any more: {error.strerror or error}")
