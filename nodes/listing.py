"""Lists files of depth and normals in ComfyUI's folders; a folder is read again only when it has changed."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ..geometry.files import FORMATS, resolve_inside
from ..model_loader.comfy.host import USER_FOLDERS, user_folder
from ..options.outputs import READABLE

_ANNOTATED = re.compile(rf"(.*) \[({'|'.join(USER_FOLDERS)})\]", re.DOTALL)
_DEPTH = 3
# Seconds per request: thousands of images are checked over several requests, the newest first.
_SECONDS = 0.5
# A folder may change twice within the resolution of its file system's timestamps.
_MOMENT_NS = 2_000_000_000


@dataclass
class _Folder:
    """Cached listing of a folder, without its subfolders' files.

    Attributes:
        changed: Time of its last change in ns; -1 = always read it again.
        files: Names of the files that may hold geometry.
        checked: For each file with a readable extension: its time and size, and whether it may hold geometry.
    """

    changed: int = -1
    folders: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    checked: dict[str, tuple[tuple[int, int], bool]] = field(default_factory=dict)


_known: dict[Path, _Folder] = {}


def split_name(file: str) -> tuple[str, str]:
    """Splits "name [output]", as the page writes it, into the name and the kind of folder; without brackets, "input"."""
    match = _ANNOTATED.fullmatch(file) if isinstance(file, str) else None
    return (match[1], match[2]) if match else (file, "input")


def existing_file(name: str, kind: str) -> Path:
    """A file in ComfyUI's folder of this kind. Raises ValueError if the name leaves the folder, FileNotFoundError if it is missing."""
    folder = user_folder(kind)
    path = resolve_inside(folder, name)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {name!r} in the {kind} folder ({folder}); choose or upload another one")
    return path


def file_state(path: Path) -> str:
    """A text that changes with the file."""
    status = path.stat()
    return f"{status.st_mtime_ns} {status.st_size}"


def geometry_files(folder: Path, seconds: float = _SECONDS, clock: Callable[[], float] = time.monotonic) -> list[str]:
    """Lists the files that may hold geometry, by their first bytes: sorted paths below the folder, with `/`.

    Subfolders are searched three levels deep; names with a leading dot are skipped. `seconds` limits the time for opening files that were
    not checked before, by `clock`. The rest is checked in the next calls.
    """
    end = clock() + seconds
    return sorted(_below(folder, "", _DEPTH, lambda: clock() < end))


def _below(folder: Path, place: str, deeper: int, has_time: Callable[[], bool]) -> Iterator[str]:
    listing = _listing(folder, has_time)
    yield from (f"{place}{name}" for name in listing.files)
    for name in listing.folders if deeper else ():
        yield from _below(folder / name, f"{place}{name}/", deeper - 1, has_time)


def _listing(folder: Path, has_time: Callable[[], bool]) -> _Folder:
    try:
        changed = folder.stat().st_mtime_ns
        before = _known.setdefault(folder, _Folder())
        if changed != before.changed:
            _known[folder] = _look(folder, before, changed, has_time)
    except OSError:  # deleted, or not readable
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
        known_state, likely = before.checked.get(name, (None, False))
        if known_state != state:
            if not has_time():
                now.changed = -1
                continue
            likely = FORMATS[Path(name).suffix.lower()].is_likely(folder / name)
        now.checked[name] = (state, likely)
    now.files = [name for name, (_, likely) in now.checked.items() if likely]
    return now
