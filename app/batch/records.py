"""Records of results and their settings: one small file per image, `.depth-normal/<stem>.json` in the results folder.

One file per image, so that two processes on different images never write the same file:

    {"version": 1,
     "image": {"path": "/photos/room.jpg", "bytes": 81920, "modified_ns": 1763654400000000000},
     "settings": {"model": "tiny", ...},                                      as requested
     "files": {"room_depth.png": {"bytes": 4096, "modified_ns": ...}, ...},   as written
     "earlier": {...},                                                        files of earlier runs
     "made": {"room_fog.png": [{"image": {...}, "settings": {...}, "files": {...}}]}}

`image`, `settings` and `files` belong to `estimate`. `made` holds the same three for every other command, by the name of its first file,
newest first: other commands may have used another image of this stem. Still existing results that `estimate` made from another image of
this stem move to `made` too.

A file counts as made by this pack while its length and modification time match any entry of the record. Files that were edited, copied
without their time, or written by others do not count. Replaced files are remembered until overwritten: a process killed between the record
and its last file leaves some old and some new files.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from .sources import EXTENSIONS

RECORDS = ".depth-normal"
"""The folder of the records, beside the results."""

RECORD_VERSION = 1
_MAX_RECORD_BYTES = 2**20


def read_record(path: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Reads a record; None if it does not exist or is unreadable."""
    try:
        # One open without a stat: there may be a million records. O_NONBLOCK: a pipe would block.
        file = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        try:
            status = os.fstat(file)
            if not stat.S_ISREG(status.st_mode) or status.st_size > _MAX_RECORD_BYTES:
                return None
            record = json.loads(os.read(file, status.st_size))
        finally:
            os.close(file)
    except (OSError, ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and record.get("version") == RECORD_VERSION else None


def new_record(
    path: Path, image: Path, source_mark: Mapping[str, int] | None, settings: Mapping[str, Any], files: Mapping[str, Any]
) -> bytes:
    """The new content of an image's record, which remembers the files of the existing one.

    `source_mark` is the image's before reading; `settings` are JSON-serialisable; `files` are the new results' marks by name.
    """
    before = read_record(path) or {}
    other, folder = _is_other(before.get("image"), image), path.parent.parent
    stays = {name: now for name, marks in _marks_of_estimate(before).items() if (now := mark(folder / name)) and now in marks}
    record = {
        "version": RECORD_VERSION,
        "image": {"path": str(image.absolute()), **(source_mark or {})},
        "settings": dict(settings),
        "files": dict(files),
        "earlier": {name: now for name, now in stays.items() if name in files or not other},
    }
    made = {name: there for name, runs in _made(before).items() if (there := _still_there(runs, folder))}
    if other and (theirs := {name: now for name, now in stays.items() if name not in files}):
        first = next(iter(theirs))
        made[first] = [{"image": before["image"], "settings": {}, "files": theirs}, *made.get(first, [])]
    return json.dumps(record | ({"made": made} if made else {}), indent=1).encode()


def with_made(
    path: Path, first: str, image: Path, source_mark: Mapping[str, int] | None, settings: Mapping[str, Any], files: Mapping[str, Any]
) -> bytes:
    """The new content of an image's record, with the results of a command other than `estimate` added. The record need not exist.

    `first` is the name of the first file; the other arguments are those of `new_record`.
    """
    before = read_record(path) or {"version": RECORD_VERSION}
    made, folder = _made(before), path.parent.parent
    run = {"image": {"path": str(image.absolute()), **(source_mark or {})}, "settings": dict(settings), "files": dict(files)}
    return json.dumps({**before, "made": {**made, first: [run, *_still_there(made.get(first, []), folder)]}}, indent=1).encode()


def is_made(first: Path, image: Path, settings: Mapping[str, Any]) -> bool:
    """Whether the results of a command other than `estimate` are complete, as `is_whole`; `first` is the first file."""
    runs = _made(read_record(first.parent / RECORDS / f"{image.stem}.json") or {}).get(first.name, [])
    now = mark(image) if runs else None
    return any(is_whole(run, now, settings, run["files"], {name: mark(first.parent / name) for name in run["files"]}) for run in runs)


def _made(record: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    made = record.get("made")
    parts = ("image", "settings", "files")
    return {
        name: [run for run in runs if isinstance(run, dict) and all(isinstance(run.get(part), dict) for part in parts)]
        for name, runs in (made.items() if isinstance(made, dict) else ())
        if isinstance(runs, list)
    }


def _still_there(runs: Iterable[dict[str, Any]], folder: Path) -> list[dict[str, Any]]:
    """The runs with at least one unchanged file in the folder."""
    return [run for run in runs if any(then is not None and then == mark(folder / name) for name, then in run["files"].items())]


def _marks_of_estimate(record: Mapping[str, Any]) -> dict[str, list[Any]]:
    marks: dict[str, list[Any]] = {}
    for part in (record.get("earlier"), record.get("files")):
        for name, then in part.items() if isinstance(part, dict) else ():
            marks.setdefault(name, []).append(then)
    return marks


def images_of(record: Mapping[str, Any], name: str, now: Mapping[str, int]) -> Sequence[Mapping[str, Any]]:
    """The recorded images from which a file of this name and mark was made; empty for an unknown file."""
    made_of = record.get("image")
    images = [made_of if isinstance(made_of, dict) else {}] if now in _marks_of_estimate(record).get(name, ()) else []
    return images + [run["image"] for runs in _made(record).values() for run in runs if run["files"].get(name) == now]


def other_image(images: Iterable[Mapping[str, Any]], image: Path) -> str | None:
    """The path of a recorded image if none is `image`. A moved image is the same image."""
    others = [_is_other(each, image) for each in images]
    return next(iter(others), None) if all(others) else None


def _is_other(made_of: Any, image: Path) -> str | None:
    if not isinstance(made_of, dict) or not isinstance(path := made_of.get("path"), str) or path == str(image.absolute()):
        return None
    return None if _is_same(made_of, mark(image)) else path


def image_of_result(path: Path) -> Path | None:
    """The image that a result was made from; None without a record, or if either file has changed since."""
    record, now = read_record(path.parent / RECORDS / f"{path.stem}.json") or {}, mark(path)
    for made_of in images_of(record, path.name, now) if now else ():
        image = Path(made_of["path"]) if isinstance(made_of.get("path"), str) else Path()
        if image.suffix.lower() in EXTENSIONS and _is_same(made_of, mark(image)):  # converted files were made from maps
            return image
    return None


def is_whole(
    record: Mapping[str, Any], image: Mapping[str, int] | None, settings: Mapping[str, Any], names: Iterable[str], marks: Mapping[str, Any]
) -> bool:
    """Whether an image is unchanged, the settings are equal, and the requested files that were written then still exist unchanged.

    `record` is from `read_record`, or empty; `image` the input file's mark, None if there is no file. The record may have more "writes".
    """
    made_of, made_how, files = (record.get(part) for part in ("image", "settings", "files"))
    if not (isinstance(made_of, dict) and isinstance(made_how, dict) and isinstance(files, dict) and _is_same(made_of, image)):
        return False
    made, asked = {**made_how, "writes": None}, {**settings, "writes": None}
    made_writes = made_how.get("writes")
    if made != asked or not isinstance(made_writes, list) or any(each not in made_writes for each in settings["writes"]):
        return False
    wanted = set(names) & files.keys()
    return bool(wanted) and all(marks.get(name) == files[name] for name in wanted)


def _is_same(made_of: Mapping[str, Any], now: Mapping[str, int] | None) -> bool:
    return now is not None and now.items() <= made_of.items()


def mark(path: Any) -> dict[str, int] | None:
    """A file's length and modification time, by which it counts as unchanged; None if it does not exist or its name is invalid."""
    try:
        # Anything else is a remote image (`remote_files.Url`), whose `stat` asks the store.
        return mark_of(os.stat(path) if isinstance(path, str | Path) else path.stat())  # noqa: PTH116  a Path takes long
    except (OSError, ValueError):
        return None


def mark_of(status: os.stat_result) -> dict[str, int]:
    """The mark of a file from its status."""
    return {"bytes": status.st_size, "modified_ns": status.st_mtime_ns}


def digest_of_marks(paths: Iterable[Path]) -> str:
    """A digest of the files' names and marks, which changes with any of them."""
    return sha256(json.dumps([(path.name, mark(path)) for path in paths]).encode()).hexdigest()
