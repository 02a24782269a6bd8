"""Suggestions for the names of files that do not exist. Imports nothing large."""

from __future__ import annotations

import difflib
import os
from itertools import islice
from pathlib import Path

# Of a larger folder, only so many names are compared: a mistyped name is answered at once.
_MOST_NAMES = 10_000
_ALIKE = 0.7


def no_such_file(path: Path) -> str:
    """The message for a file that does not exist, with the file of the same folder that was probably meant."""
    close = near_file(path)
    return f"{path}: there is no such file" + (f"; did you mean {path.with_name(close)}?" if close else "")


def near_file(path: Path) -> str:
    """The name in the same folder that a mistyped one is probably meant for; empty where there is none.

    Names are compared without their extensions, so that `nofile.jpg` is not taken for `photo.jpg`.
    """
    try:
        with os.scandir(path.parent) as entries:
            names = sorted(entry.name for entry in islice(entries, _MOST_NAMES) if not entry.name.startswith("."))
    except (OSError, ValueError):
        return ""
    stem, extension = path.stem.casefold(), path.suffix.casefold()
    scored = []
    for name in names:
        other = Path(name)
        # As `difflib.get_close_matches`, but of the stems.
        alike = difflib.SequenceMatcher(None, stem, other.stem.casefold()).ratio()
        scored.append((alike, other.suffix.casefold() == extension, name))
    best = max(scored, default=(0.0, False, ""), key=lambda each: each[:2])
    return best[2] if best[0] >= _ALIKE else ""
