"""Records of what was made and how: one small file an image, `.depth-normal/<stem>.json` in the folder of its results.

Each image has its own, so that two processes that work on different images never write the same file:

    {"version": 1,
     "image": {"path": "/photos/room.jpg", "bytes": 81920, "modified_ns": 1763654400000000000},
     "settings": {"model": "tiny", ...},                             what was asked for, as the caller says it
     "files": {"room_depth.png": {"bytes": 4096, "modified_ns": ...}, ...},   what was written then
     "earlier": {...},                                               the files of earlier runs and of other commands
     "others": {"/more/room.png": {...}}}                            what other commands made of other images of this stem

A file counts as made by this pack as long as it has the length and the time of change that the record says, under `files` or `earlier`. A
file that was edited, copied without its time, or put there by somebody else does not count. `earlier` has replaced files too: a process
that is killed between the record and the last file leaves some of each.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

RECORDS = ".depth-normal"
"""The folder of the records, beside the results."""

RECORD_VERSION = 1
_MAX_RECORD_BYTES = 2**20


def read_record(path: str | os.PathLike[str]) -> dict[str, Any] | None:
    """The record in a file; None where there is none that can be read."""
    try:
        # Without a second look by its name: there may be a million. A pipe would be waited for.
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
    return of_today(record) if isinstance(record, dict) and record.get("version") == RECORD_VERSION else None


def of_today(record: dict[str, Any]) -> dict[str, Any]:
    """A record or a line of one with the names of today: what is an image was called a picture."""
    names = {"picture": "image", "pictures": "images"}
    return {names.get(name, name): value for name, value in record.items()}


def new_record(
    path: Path, image: Path, source_mark: Mapping[str, int] | None, settings: Mapping[str, Any], files: Mapping[str, Any]
) -> bytes:
    """An image's record that is to take the place of the one that is there, whose files it remembers.

    Args:
        path: The record.
        image: The file that was read.
        source_mark: The image's mark from before it was read.
        settings: As JSON can hold them.
        files: The marks of what will lie beside the folder of records, by name.
    """
    before = read_record(path) or {}
    other, folder = other_image(before, image), path.parent.parent
    record = {
        "version": RECORD_VERSION,
        "image": {"path": str(image.absolute()), **(source_mark or {})},
        "settings": dict(settings),
        "files": dict(files),
        "earlier": {
            name: now
            for name, marks in known_marks(before).items()
            if (name in files or not other) and (now := mark(folder / name)) and now in marks
        },
    }
    if others := _others(before):
        record["others"] = others
    return json.dumps(record, indent=1).encode()


def with_files(path: Path, image: Path, files: Iterable[Path]) -> bytes:
    """An image's record, which need not be there, with more files that were made of it, under `earlier`; its last run stays."""
    before, noted = read_record(path) or {}, {each.name: mark(each) for each in files}
    if before and other_image(before, image):
        return json.dumps(
            {**before, "others": {**_others(before), str(image.absolute()): noted_marks(before, image) | noted}}, indent=1
        ).encode()
    if not before:
        made_of = {"path": str(image.absolute()), **(mark(image) or {})}
        before = {"version": RECORD_VERSION, "image": made_of, "settings": {}, "files": {}, "earlier": {}}
    earlier = before.get("earlier")
    marks = {**(earlier if isinstance(earlier, dict) else {}), **noted}
    return json.dumps({**before, "earlier": marks}, indent=1).encode()


def noted_marks(record: Mapping[str, Any], image: Path) -> dict[str, Any]:
    """The marks of files that `with_files` noted of an image in the record of another one."""
    noted = _others(record).get(str(image.absolute()))
    return noted if isinstance(noted, dict) else {}


def _others(record: Mapping[str, Any]) -> dict[str, Any]:
    others = record.get("others")
    return others if isinstance(others, dict) else {}


def known_marks(record: Mapping[str, Any]) -> dict[str, list[Any]]:
    """The marks by which a record knows each file."""
    known: dict[str, list[Any]] = {}
    for part in (record.get("earlier"), record.get("files")):
        for name, then in part.items() if isinstance(part, dict) else ():
            known.setdefault(name, []).append(then)
    return known


def is_known(record: Mapping[str, Any], name: str, now: Mapping[str, int]) -> bool:
    """Whether a record knows a file by its mark, whichever image of the stem it was made of."""
    noted = [each.get(name) for each in _others(record).values() if isinstance(each, dict)]
    return now in (*known_marks(record).get(name, ()), *noted)


def other_image(record: Mapping[str, Any], image: Path) -> str | None:
    """The path of the image that a record is about, where it is not this one. An image that was moved is the same."""
    made_of = record.get("image")
    if not isinstance(made_of, dict) or not isinstance(path := made_of.get("path"), str) or path == str(image.absolute()):
        return None
    return None if _is_same(made_of, mark(image)) else path


def image_of_result(path: Path) -> Path | None:
    """The image that a result was made of; None where no record says so, or one of the two was changed since."""
    record = read_record(path.parent / RECORDS / f"{path.stem}.json") or {}
    made_of = record.get("image")
    if not isinstance(made_of, dict) or not isinstance(image := made_of.get("path"), str):
        return None
    is_result = mark(path) in known_marks(record).get(path.name, [])
    return Path(image) if is_result and _is_same(made_of, mark(Path(image))) else None


def is_whole(
    record: Mapping[str, Any],
    image: Mapping[str, int] | None,
    settings: Mapping[str, Any],
    names: Iterable[str],
    marks: Mapping[str, Any],
) -> bool:
    """True if a record shows that an image needs no further work.

    Args:
        record: Of `read_record`; empty where there is none.
        image: The mark of the file that would be read; None if there is no file.
        settings: The settings that are asked for; of "writes", the record may have more.
        names: Of the files that could be written.
        marks: Of those that are there.

    Returns:
        Whether the record is of the same unchanged image, made with the same settings, and of the files that it says were written then
        those that are asked for are there unchanged.
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
    """Length and time of change of a file, by which it counts as the same; None if there is no file, or none can have that name."""
    try:
        # What is neither is an image in a store (`remote_files.Url`), which asks the store.
        return mark_of(os.stat(path) if isinstance(path, str | Path) else path.stat())  # noqa: PTH116  a Path takes long
    except (OSError, ValueError):
        return None


def mark_of(status: os.stat_result) -> dict[str, int]:
    """The mark of a file whose status is known."""
    return {"bytes": status.st_size, "modified_ns": status.st_mtime_ns}


def digest_of_marks(paths: Iterable[Path]) -> str:
    """A digest of the names and marks of files: another one if any of them was changed."""
    return sha256(json.dumps([(path.name, mark(path)) for path in paths]).encode()).hexdigest()
