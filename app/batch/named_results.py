"""Remembers results named by `-o`, so that the same command may replace its result of the same input and kind.

The list is in the user's cache, `runs/named.json`: no records lie beside files that a user named. Only the latest are kept; older ones are
treated as foreign files. Imports nothing heavy.
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
    """Whether a file is an unchanged result of a command, with the options of its kind, and an input; `now` is the file's mark."""
    return now is not None and now == _entries().get(_place(path), {}).get(_owner(made_of, command))


def note_named(made_of: Path, paths: Sequence[Path], command: str) -> None:
    """Remembers a command's results of an input. On failure they will only not be replaced without --overwrite."""
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
    """A result's absolute path; a link in its place is not resolved, as it would be replaced."""
    return str(path.parent.resolve() / path.name)


def _owner(made_of: Path, command: str) -> str:
    # A model name is not a path, and is the same in every folder.
    return f"{command} {made_of.resolve() if made_of.exists() else made_of}"


def _entries() -> dict[str, dict[str, Any]]:
    """The marks of results by path and owner; empty if unreadable."""
    try:
        entries = json.loads(_list().read_bytes())
    except (OSError, ValueError, RuntimeError):  # RecursionError is a RuntimeError
        return {}
    return {path: entry for path, entry in entries.items() if isinstance(entry, dict)} if isinstance(entries, dict) else {}
