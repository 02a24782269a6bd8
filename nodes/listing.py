"""Lists files of depth and normals in ComfyUI's folders; a folder is read again only when it has changed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ..geometry.files import FORMATS

READABLE = tuple(suffix for suffix, entry in FORMATS.items() if entry.read)
"""Extensions that depth and normals are read from."""

_DEPTH = 3
# Per response: thousands of images are checked over several, the newest first.
_SECONDS = 0.5
# A folder may change again within what its file system counts as one moment.
_MOMENT_NS = 2_000_000_000


@dataclass
class _Folder:
    """What was found in a folder, its subfolders apart.

    Attributes:
        changed: When it last changed, in ns; -1 where it is to be looked at again in any case.
        folders: Names of its subfolders.
        found: Names of the files that may hold geometry.
        judged: Of files with a readable extension, by name: when they changed and how long they are, and whether they may hold geometry.
    """

    changed: int = -1
    folders: list[str] = field(default_factory=list)
    found: list[str] = field(default_factory=list)
    judged: dict[str, tuple[tuple[int, int], bool]] = field(default_factory=dict)


_known: dict[Path, _Folder] = {}


def geometry_files(folder: Path, seconds: float = _SECONDS, clock: Callable[[], float] = time.monotonic) -> list[str]:
    """Files that may hold geometry, by their first bytes.

    Args:
        folder: The folder to look through, and its subfolders, three deep; names with a leading dot are passed over.
        seconds: How long to open files that were not looked at before. Those left are looked at in the next calls.
        clock: Gives seconds.

    Returns:
        Their paths below the folder, with `/`, in order.
    """
    end = clock() + seconds
    return sorted(_below(folder, "", _DEPTH, lambda: clock() < end))


def _below(folder: Path, place: str, deeper: int, has_time: Callable[[], bool]) -> Iterator[str]:
    known = _looked_at(folder, has_time)
    yield from (f"{place}{name}" for name in known.found)
    for name in known.folders if deeper else ():
        yield from _below(folder / name, f"{place}{name}/", deeper - 1, has_time)


def _looked_at(folder: Path, has_time: Callable[[], bool]) -> _Folder:
    try:
        changed = folder.stat().st_mtime_ns
        before = _known.setdefault(folder, _Folder())
        if changed != before.changed:
            _known[folder] = _look(folder, before, changed, has_time)
    except OSError:  # it is gone, or not ours to read
        _known.pop(folder, None)
        return _Folder()
    return _known[folder]


def _look(folder: Path, before: _Folder, changed: int, has_time: Callable[[], bool]) -> _Folder:
    now, files = _Folder(changed), {}
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                now.folders.append(entry.name)
            elif entry.name.lower().endswith(READABLE) and entry.is_file():
                status = entry.stat()
                files[entry.name] = (status.st_mtime_ns, status.st_size)
    if max((changed, *(state[0] for state in files.values()))) + _MOMENT_NS > time.time_ns():
        now.changed = -1  # another process may be writing to it
    for name, state in sorted(files.items(), key=lambda each: -each[1][0]):
        known_state, likely = before.judged.get(name, (None, False))
        if known_state != state:
            if not has_time():
                now.changed = -1
                continue
            likely = FORMATS[Path(name).suffix.lower()].is_likely(folder / name)
        now.judged[name] = (state, likely)
    now.found = [name for name, (_, likely) in now.judged.items() if likely]
    return now
