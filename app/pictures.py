"""Which pictures are meant, before anything is loaded for them."""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Iterable
from pathlib import Path


def find_pictures(paths: Iterable[Path]) -> tuple[list[Path], list[str]]:
    """Looks at what the user named. What is inside the files is not looked at.

    Args:
        paths: Files; or patterns such as `photos/*.jpg`, which Windows' shells hand on as they are, where no file has that name.

    Returns:
        The files, in order, and what is wrong with the rest, in words that begin with its name.
    """
    found, problems = [], []
    for path in (match for each in paths for match in _matches(each)):
        if problem := _problem(path):
            problems.append(problem)
        else:
            found.append(path)
    return found, problems


def _matches(path: Path) -> list[Path]:
    text = str(path)
    if os.path.lexists(path) or glob.escape(text) == text:
        return [path]
    return [Path(match) for match in sorted(glob.glob(text))] or [path]  # noqa: PTH207 - Path.glob takes no absolute patterns


def _problem(path: Path) -> str | None:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return f"{path}: there is no such file"
    except OSError as error:
        return f"{path}: {error.strerror}"
    if stat.S_ISDIR(mode):
        return f"{path} is a folder; name its pictures, as {path / '*.jpg'} does"
    return None if stat.S_ISREG(mode) else f"{path} is not a file"
