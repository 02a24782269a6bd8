"""`--open`: shows a result in the system's viewer. Imports nothing heavy."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from .terminal import echo_error

# Launchers exit at once, or run as long as the viewer.
_SECONDS_TO_FAIL = 3.0


def show(path: Path) -> None:
    """Opens a file or folder in the system's viewer. A failure is only printed: the result exists."""
    if problem := "it is in a store" if "://" in str(path) else _problem(str(path.absolute())):
        echo_error(f"{path} is not shown: {problem}")


def show_page(page: Path) -> bool:
    """Opens an HTML file in the browser; prints a failure, and returns whether it worked.

    The page's secret URL is in the file, because other users can see command-line arguments.
    """
    if problem := _problem(str(page)):
        say_no_browser(problem)
    return not problem


def say_no_browser(problem: str) -> None:
    """Prints why the browser did not open the page."""
    echo_error(f"the browser is not opened: {problem}; open the address above in one")


def _problem(name: str) -> str:
    """Opens a file, folder or URL; returns why it failed, or ""."""
    try:
        if sys.platform == "win32":
            os.startfile(name)
            return ""
        return _started(["open", name] if sys.platform == "darwin" else ["xdg-open", name])
    except OSError as error:
        return error.strerror or str(error)


def _started(command: list[str]) -> str:
    if command[0] == "xdg-open" and not any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY"))):
        return "there is no display"
    if not shutil.which(command[0]):
        return f"the program {command[0]} is not installed"
    # In a new session: the viewer outlives this program, and must not get its Ctrl-C.
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    with suppress(subprocess.TimeoutExpired):
        if status := process.wait(_SECONDS_TO_FAIL):
            return f"{command[0]} ended with status {status}"
    return ""
