"""Remembers the results that `-o` named, so that the same command may replace what it made of the same input, of the same kind.

They are remembered in the user's cache, `runs/named.json`: no record of this program lies beside files that somebody named. Only the last
ones are kept. A forgotten file is treated as somebody else's. Imports nothing large.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from .records import mark

_MOST = 500
_LOCK_SECONDS = 5.0


def is_named_result(path: Path, now: Any, made_of: Path, command: str) -> bool:
    """Whether a file is what a command, with the options of its kind, made of an input, unchanged since; `now` is the file's mark."""
    return now is not None and now == _entries().get(_place(path), {}).get(_owner(made_of, command))


def note_named(made_of: Path, paths: Sequence[Path], command: str) -> None:
    """Remembers what a command wrote of an input. Where it cannot be kept, the file is only not replaced without --overwrite."""
    from ...geometry.files.file_lock import FileLock
    from ...geometry.files.paths import write_bytes

    noted = {_place(path): {_owner(made_of, command): now} for path in paths if (now := mark(path))}
    with suppress(OSError, RuntimeError):  # a user without a home has no cache
        file = _list()
        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(file.with_suffix(".lock"), _LOCK_SECONDS):
            kept = {path: entry for path, entry in _entries().items() if path not in noted}
            latest = dict([*kept.items(), *noted.items()][-_MOST:])
            write_bytes(file, json.dumps(latest, indent=1).encode())


def _list() -> Path:
    from ...model_loader.weights.find import user_cache

    return user_cache() / "runs" / "named.json"


def _place(path: Path) -> str:
    """A result's path, the same from every folder; a link in its place is itself, as it would be replaced."""
    return str(path.parent.resolve() / path.name)


def _owner(made_of: Path, command: str) -> str:
    # A model's name is no file, and means the same in every folder.
    return f"{command} {made_of.resolve() if made_of.exists() else made_of}"


def _entries() -> dict[str, dict[str, Any]]:
    """The marks of results by their paths and then by what made them; empty where nothing can be read."""
    try:
        entries = json.loads(_list().read_bytes())
    except (OSError, ValueError, RuntimeError):  # RecursionError is one
        return {}
    return {path: entry for path, entry in entries.items() if isinstance(entry, dict)} if isinstance(entries, dict) else {}
