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
    if problem := "it is in a store" if "://" in str(path) else _problem(str(path.absolute())):
        echo_error(f"{path} is not shown: {problem}")


def show_page(page: Path) -> bool:
    """Opens an HTML file in the browser. What prevents it is said in one line; returns whether nothing did.

    Every user of the computer sees the words that a browser is started with: the address of a page that is the user's alone stands in the
    file, not among them.
    """
    if problem := _problem(str(page)):
        say_no_browser(problem)
    return not problem


def say_no_browser(problem: str) -> None:
    """Says why the browser does not show the page whose address was printed."""
    echo_error(f"the browser is not opened: {problem}; open the address above in one")


def _problem(name: str) -> str:
    """Opens a file, a folder or an address; why that failed, in words, or nothing."""
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
    # A viewer outlives this program, and must not end with the Ctrl-C that ends it.
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    with suppress(subprocess.TimeoutExpired):
        if status := process.wait(_SECONDS_TO_FAIL):
            return f"{command[0]} ended with status {status}"
    return ""
