"""The command's behaviour on a terminal: output, logging, steps of long work, and interruption."""

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
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import Any, NoReturn, TextIO

from ..outcomes import INTERRUPTED, TERMINATED

logger = logging.getLogger(__name__)

NAME = "depth-normal"

# Characters that a terminal interprets: control characters, bidirectional controls, line separators.
_COMMANDS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


TERMINATIONS = (signal.SIGTERM, *([signal.SIGHUP] if sys.platform != "win32" else []))
"""Signals that end the work; closing a terminal sends SIGHUP."""


class TerminatedError(KeyboardInterrupt):
    """SIGTERM or a closed terminal: ends the work like Ctrl-C, so that partial files are removed."""


@contextmanager
def handled(handler: Callable[[int, Any], object], *numbers: int) -> Iterator[None]:
    """Handles signals in the main thread, SIGHUP once (a closing terminal often sends two); ignored ones, as by `nohup`, stay ignored."""
    in_main = threading.current_thread() is threading.main_thread()
    taken = [number for number in numbers if in_main and signal.getsignal(number) is not signal.SIG_IGN]

    def handle(number: int, frame: Any) -> None:
        if number not in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        handler(number, frame)

    before = {number: signal.signal(number, handle) for number in taken}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


@contextmanager
def terminable() -> Iterator[None]:
    """Turns `TERMINATIONS` into `TerminatedError` during the block."""

    def stop(*_: object) -> NoReturn:
        raise TerminatedError

    with handled(stop, *TERMINATIONS):
        yield


class SignalStop:
    """A stop request: `event` is set by the first signal, whose number is `signal`."""

    def __init__(self) -> None:
        self.event = threading.Event()
        self.signal: int | None = None


@contextmanager
def stoppable() -> Iterator[SignalStop]:
    """Stops gracefully on Ctrl-C and `TERMINATIONS` during the block: the first signal sets the event, the second interrupts."""
    stop = SignalStop()

    def ask(number: int, _: object) -> None:
        if stop.signal is not None:
            raise KeyboardInterrupt if number == signal.SIGINT else TerminatedError
        stop.signal = number
        stop.event.set()
        # Bypasses Python's buffers, whose write the signal may have interrupted.
        with suppress(OSError):
            os.write(2, b"\ndepth-normal: finishing the images in progress; once more stops at once\n")

    with handled(ask, signal.SIGINT, *TERMINATIONS):
        yield stop


def exit_with(status: int) -> NoReturn:
    """Ends the process, without waiting for a thread in which a network still runs after the second Ctrl-C."""
    others = [thread for thread in threading.enumerate() if not thread.daemon and thread is not threading.current_thread()]
    if status in (INTERRUPTED, TERMINATED) and others:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(status)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # under Python's and torch's teardown, Ctrl-C would print a traceback
        signal.signal(signal.SIGINT, lambda *_: os._exit(status))
    sys.exit(status)


_results: TextIO | None = None


@contextmanager
def stdout_for_results() -> Iterator[None]:
    """Reserves stdout for `echo` during the block; other output to stdout goes to stderr."""
    global _results
    before, _results = _results, _results or sys.stdout
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _results = before


def open_closed_streams() -> None:
    """Replaces closed standard streams by null streams: else an image file would get their descriptors."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115, PTH123 - open until the end


def program() -> str:
    """This program as it can be typed in the same shell, even if its environment is not activated."""
    module = getattr(getattr(sys.modules["__main__"], "__spec__", None), "name", "")
    if module.partition(".")[0] == __name__.partition(".")[0]:  # python -m
        return f"{quoted(sys.executable)} -m {module.removesuffix('.__main__')}"
    if (started := Path(sys.argv[0])).is_dir():  # python FOLDER
        return f"{quoted(sys.executable)} {quoted(started)}"
    return _typed(started, os.pathsep.join(os.get_exec_path()))


@functools.cache  # the page's server calls it for each image, several times a second
def _typed(started: Path, path: str) -> str:
    on_path = shutil.which(NAME, path=path)
    if started.stem != NAME or (on_path and Path(on_path).with_suffix("").resolve() == started.with_suffix("").resolve()):
        return NAME
    return quoted(started)


def quoted(path: str | os.PathLike[str]) -> str:
    """A path quoted for the shell."""
    return subprocess.list2cmdline([os.fspath(path)]) if sys.platform == "win32" else shlex.quote(os.fspath(path))


def echo(text: str) -> None:
    """Prints a result to stdout, each line as `shown`."""
    _write("\n".join(map(shown, text.split("\n"))), _results or sys.stdout)


def echo_error(text: str) -> None:
    """Prints a problem to stderr, as `shown`."""
    _write(shown(f"depth-normal: {text}"), sys.stderr)


def shown(text: str) -> str:
    """A line with control characters escaped: those in file names could move the cursor or hide text."""
    return _COMMANDS.sub(lambda found: found.group().encode("unicode_escape").decode(), text)


class ShownFormatter(logging.Formatter):
    """Formats log messages as `shown`."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  logging's name
        """See `logging.Formatter`; tracebacks keep their lines."""
        return shown(super().formatMessage(record))


def _write(text: str, stream: TextIO) -> None:
    """Prints a line, also beside a progress bar. With a closed pipe (`| head`), the work continues silently."""
    tqdm = getattr(sys.modules.get("tqdm"), "tqdm", None)  # not imported = no progress bar
    try:
        if tqdm is None:
            print(text, file=stream)
        else:
            tqdm.write(text, file=stream)
        stream.flush()
    except OSError as error:
        # Python flushes the stream again at exit, and would report the error.
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, stream.fileno())
        os.close(silence)
        if not isinstance(error, BrokenPipeError) and stream is not sys.stderr:
            echo_error(f"results cannot be printed any more: {error.strerror or error}")


Step = Callable[[str], None]
"""Called with the name of the step that begins."""

_REFRESH_SECONDS = 1.0


@contextmanager
def displayed_steps(title: str) -> Iterator[Step]:
    """Shows the steps of long work on stderr, after a title; yields the function to call at each step."""
    if not sys.stderr.isatty():
        yield lambda name: logger.info("%s: %s", title, name)
        return
    with ExitStack() as running:

        def begin(name: str) -> None:
            running.close()
            running.enter_context(_timed_line(shown(f"{title}: {name}")))

        yield begin


@contextmanager
def _timed_line(words: str) -> Iterator[None]:
    """A terminal line with the elapsed time; it stays, with the total."""
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    over = threading.Event()
    with logging_redirect_tqdm(), tqdm(desc=words, bar_format="{desc} ({elapsed})") as line:

        def tick() -> None:
            while not over.wait(_REFRESH_SECONDS):
                line.refresh()

        ticking = threading.Thread(target=tick, daemon=True, name="depth-normal step")
        ticking.start()
        try:
            yield
        finally:
            over.set()
            ticking.join()
            line.refresh()
