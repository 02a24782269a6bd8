"""`--open`: shows a result in the system's viewer. Imports nothing large."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from .terminal import echo_error

# Viewers are started by a program that ends at once, or that lasts as long as the viewer.
_SECONDS_TO_FAIL = 3.0


def show(path: Path) -> None:
    """Opens a file or a folder as a double click would. What prevents it is said in one line; the result is there all the same."""
    if problem := _problem(path.absolute()):
        echo_error(f"--open: {path} is not shown: {problem}")


def _problem(path: Path) -> str:
    """Opens it; why that failed, in words, or nothing."""
    if "://" in str(path):
        return "it is in a store"
    try:
        if sys.platform == "win32":
            os.startfile(path)
            return ""
        return _started(["open", str(path)] if sys.platform == "darwin" else ["xdg-open", str(path)])
    except OSError as error:
        return error.strerror or str(error)


def _started(command: list[str]) -> str:
    if command[0] == "xdg-open" and not any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY"))):
        return "there is no display"
    if not shutil.which(command[0]):
        return f"the program {command[0]} is not installed"
    # A viewer outlives this program, and must not end with the Ctrl-C that ends it.
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    with suppress(subprocess.TimeoutExpired):
        if status := process.wait(_SECONDS_TO_FAIL):
            return f"{command[0]} ended with status {status}"
    return ""
