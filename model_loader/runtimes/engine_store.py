"""A cache of exported graphs and built engines in the pack's model folder, keyed by everything they depend on.

An entry is a folder. Its name holds the key's digest; a record in it holds the key, and the length and sha256 of every file. It is built
in a temporary folder and then renamed, so that an interrupted build never passes for an entry.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import uuid
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from shutil import rmtree
from typing import Any

from ...geometry.files.paths import read_json, write_bytes
from ..system import KEPT_FREE, free_space, is_disk_full
from ..weights.find import download_folder
from ..weights.integrity import sha256_of, stamp
from ..weights.network import in_one_line
from ..weights.waiting import locked

logger = logging.getLogger(__name__)

RECORD = "record.json"
_PART = ".part"

Key = Mapping[str, str]
"""What an engine depends on; includes at least "model", "weights" and "engine"."""

Step = Callable[[str], None]
"""Reports the current step; raises if the caller no longer waits."""

_known: dict[tuple[str, int, int], str] = {}
"""Digests of files that this process has read or written."""


_unfinished: set[Path] = set()
"""Temporary folders of this process's builds."""


class StoreError(RuntimeError):
    """An engine could not be cached; the message says why."""


def store_folder() -> Path:
    """The folder of all engines: `runtimes` in the download folder. It may be deleted at any time."""
    return download_folder() / "runtimes"


def entry_folder(key: Key) -> Path:
    """The folder of a key's entry, whether or not it exists."""
    return store_folder() / _plain(key["model"]) / f"{_plain(key['engine'])}-{key_digest(key)}"


def key_digest(key: Key) -> str:
    """The short digest of a key, for file names."""
    return hashlib.sha256(json.dumps(dict(sorted(key.items()))).encode()).hexdigest()[:16]


def kept(key: Key, build: Callable[[Path], None], step: Step, needed: int = 0) -> Path:
    """Returns the folder cached for a key; builds it first if it is missing or damaged.

    If another process is building it, waits for its result.

    Args:
        key: Everything that affects the result.
        build: Puts files into an empty folder.
        step: Called with the current step, five times a second while waiting for another process; may raise to stop.
        needed: Approximate size in bytes.

    Raises:
        StoreError: The disk is full, or the folder is not writable. Partial results are removed.
    """
    folder = entry_folder(key)
    if is_whole(folder, key):
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock, waiting = folder.with_name(f"{folder.name}.lock"), partial(step, "waiting for another process that builds the same")
        with locked(lock, f"building {folder}", waiting):
            if is_whole(folder, key):
                return folder
            _clear(folder)
            if needed > (free := free_space(folder.parent) - KEPT_FREE):
                raise StoreError(f"{folder.parent} has room for {max(0, free) // 10**6} MB, and about {needed // 10**6} MB are needed")
            return _built(folder, key, build)
    except OSError as error:
        reason = "the disk is full" if is_disk_full(error) else error.strerror or str(error)
        raise StoreError(f"{folder.parent} cannot hold it: {reason}") from error


def drop(folder: Path) -> None:
    """Invalidates an entry, so that its next use rebuilds it; raises a StoreError if the folder is not writable."""
    try:
        (folder / RECORD).unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"{folder} cannot be built anew: {error.strerror}") from error


def is_whole(folder: Path, key: Key) -> bool:
    """Whether an entry exists with this key and unchanged files, by length and sha256. Logs why not, if it is invalid."""
    if not folder.is_dir():
        return False
    try:
        problem = _problem(folder, read_json(folder / RECORD), key)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        problem = f"its record cannot be read ({type(error).__name__}: {in_one_line(error)})"
    if problem:
        logger.warning("the engine is built anew, as the kept one is not used: %s (%s)", problem, folder)
    return not problem


def _problem(folder: Path, record: Any, key: Key) -> str | None:
    if record["key"] != dict(key):
        differing = sorted(name for name in {*record["key"], *key} if record["key"].get(name) != key.get(name))
        return f"it was built for another {' and '.join(differing)}"
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {RECORD}
    if names != record["files"].keys():
        return f"its files are not those of its record (first: {min(names ^ record['files'].keys())})"
    for name, file in record["files"].items():
        if (folder / name).stat().st_size != file["size"]:
            return f"{name} is cut short or has grown"
        if digest_of(folder / name) != file["sha256"]:
            return f"{name} has changed"
    return None


def _built(folder: Path, key: Key, build: Callable[[Path], None]) -> Path:
    part = folder.with_name(f"{folder.name}.{uuid.uuid4().hex[:8]}{_PART}")
    part.mkdir()
    _unfinished.add(part)
    try:
        build(part)
        files = [path for path in part.rglob("*") if path.is_file()]
        record = {
            "key": dict(key),
            "files": {path.relative_to(part).as_posix(): {"size": path.stat().st_size, "sha256": sha256_of(path)} for path in files},
        }
        write_bytes(part / RECORD, json.dumps(record, indent=1).encode())
        part.replace(folder)
        for name, file in record["files"].items():
            _known[stamp(folder / name)] = file["sha256"]
        return folder
    finally:
        try:
            rmtree(part, ignore_errors=True)
        except BaseException:  # `interrupt.end` raises wherever a thread is, but only once
            rmtree(part, ignore_errors=True)
            raise
        finally:
            _unfinished.discard(part)


def remove_unfinished() -> None:
    """Removes this process's partial builds, for when it must end in the middle of one."""
    for part in list(_unfinished):
        rmtree(part, ignore_errors=True)


def _clear(folder: Path) -> None:
    """Removes an invalid entry and leftovers of killed processes; the caller holds its lock."""
    for path in folder.parent.glob(f"{folder.name}*"):
        if path == folder or path.name.endswith(_PART):
            rmtree(path)


def digest_of(path: Path) -> str:
    """A file's sha256, cached while the file is unchanged."""
    key = stamp(path)
    if key not in _known:
        _known[key] = sha256_of(path)
    return _known[key]


def _plain(name: str) -> str:
    """A name that is valid on any file system."""
    return re.sub(r"[^A-Za-z0-9.-]+", "-", name).strip(".-")[:60] or "unnamed"
