"""Suggestions for names of missing files. Imports nothing heavy."""

from __future__ import annotations

import difflib
import os
from itertools import islice
from pathlib import Path

# Limits the names compared in a large folder, to answer at once.
_MOST_NAMES = 10_000
_ALIKE = 0.7


def no_such_file(path: Path) -> str:
    """The message for a missing file, with the most similar name in its folder."""
    if path.is_symlink():
        return f"{path}: a link to {path.readlink()}, which is not there"
    close = near_file(path)
    return f"{path}: there is no such file" + (f"; did you mean {path.with_name(close)}?" if close else "")


def near_file(path: Path) -> str:
    """The name in the same folder most similar to a mistyped one; empty if none is.

    Names are compared without extensions, so that `nofile.jpg` is not matched to `photo.jpg`.
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
        # As `difflib.get_close_matches`, but for stems.
        alike = difflib.SequenceMatcher(None, stem, other.stem.casefold()).ratio()
        scored.append((alike, other.suffix.casefold() == extension, name))
    best = max(scored, default=(0.0, False, ""), key=lambda each: each[:2])
    return best[2] if best[0] >= _ALIKE else ""
