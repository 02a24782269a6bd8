"""Where results go: their names, what must not be overwritten, and the record of what was made and how.

Each picture has a record of its own, `.depth-normal/<stem>.json` in the folder of its results, so that two processes that work on
different pictures never write the same file:

    {"version": 1,
     "picture": {"path": "/photos/room.jpg", "bytes": 81920, "modified_ns": 1763654400000000000},
     "settings": {"model": "tiny", ...},                             what was asked for, as the caller says it
     "files": {"room_depth.png": {"bytes": 4096, "modified_ns": ...}, ...},   what was written then
     "earlier": {...}}                                               the files of earlier runs, as they were before that

A file counts as made by this pack as long as it has the length and the time of change that the record says, under `files` or `earlier`. A
file that was edited, copied without its time, or put there by somebody else does not count. `earlier` has replaced files too: a process
that is killed between the record and the last file leaves some of each.

One process at a time checks, records and moves into a folder (`.depth-normal/lock`), so that of two that work on one picture the last
one's files are there, all of them.
"""

from __future__ import annotations

import errno
import json
import os
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..geometry.files import possible_paths
from ..geometry.files.paths import temporary_folder, write_bytes

RECORDS = ".depth-normal"
"""The folder of the records, beside the results."""

RECORD_VERSION = 1
_MAX_RECORD_BYTES = 2**20
_LOCK = "lock"
_LOCK_SECONDS = 60
_NAMED_PROBLEMS = 5


@dataclass(frozen=True)
class Outputs:
    """The files of one picture.

    Attributes:
        picture: The file that is read.
        folder: Where the results go.
        formats: Further formats of `geometry.files.FORMATS`, without their dot.
        overwrite: Whether files that this pack did not make may be replaced.
    """

    picture: Path
    folder: Path
    formats: tuple[str, ...] = ()
    overwrite: bool = False

    @property
    def depth(self) -> Path:
        """The picture of the depth."""
        return self._named("_depth.png")

    @property
    def normals(self) -> Path:
        """The normal map."""
        return self._named("_normals.png")

    @property
    def archive(self) -> Path:
        """The numbers."""
        return self._named(".npz")

    @property
    def others(self) -> tuple[Path, ...]:
        """What `save_estimate` is given for the further formats."""
        return tuple(self._named(f".{extension}") for extension in self.formats)

    @property
    def record(self) -> Path:
        """What was made and how."""
        return self.folder / RECORDS / f"{self.picture.stem}.json"

    def paths(self) -> tuple[Path, ...]:
        """Every file that may be written, whatever the model gives."""
        return (self.depth, self.normals, self.archive, *(path for other in self.others for path in possible_paths(other)))

    def _named(self, ending: str) -> Path:
        return self.folder / f"{self.picture.stem}{ending}"


def plan_outputs(pictures: Iterable[Path], folder: Path, formats: Sequence[str] = (), overwrite: bool = False) -> list[Outputs]:
    """The files of all pictures, before anything is written. A picture that is given twice is planned once.

    Args:
        pictures: The files that will be read; they need not exist.
        folder: Where the results go; it need not exist.
        formats: As `Outputs.formats`; given twice counts once.
        overwrite: As `Outputs.overwrite`.

    Raises:
        ValueError: Two pictures would write the same file, a result would replace one of the pictures, a file that this pack did not
            make or one that it made of another picture, or nothing can be written to the folder or under such a name; the message says
            what and where. Names that differ only in case or in the coding of accents are the same here, because some file systems
            treat them so.
    """
    unique = {(picture.parent.resolve(), picture.name): picture for picture in pictures}
    planned = [Outputs(picture, folder, tuple(dict.fromkeys(formats)), overwrite) for picture in unique.values()]
    problems = [*_folder_problems(folder), *shared_names(planned), *_replaced_pictures(planned)]
    problems += (problem for outputs in planned for problem in _name_problems(outputs))
    problems += (problem for outputs in planned for problem in refusals(outputs, outputs.paths()))
    if problems:
        more = f" (and {len(problems) - _NAMED_PROBLEMS} more)" if len(problems) > _NAMED_PROBLEMS else ""
        raise ValueError(f"nothing was written: {'; '.join(problems[:_NAMED_PROBLEMS])}{more}")
    return planned


def shared_names(planned: Iterable[Outputs]) -> list[str]:
    """Pictures whose results would have the same name, in words."""
    owners: dict[str, Outputs] = {}
    problems = {}
    for outputs in planned:
        for path in outputs.paths():
            first = owners.setdefault(folded(path.name), outputs)
            if first is not outputs:
                text = f"{first.picture} and {outputs.picture} would write the same files ({path}); run them apart, each with its own --out"
                problems.setdefault((first.picture, outputs.picture), text)
    return list(problems.values())


def folded(name: str) -> str:
    """A name as it is for file systems that do not tell case, or codings of accents, apart."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


def refusals(outputs: Outputs, paths: Iterable[Path]) -> list[str]:
    """Which of a picture's `paths` are taken, in words."""
    # Before the record is read: a process that replaces them now has both marks in it.
    marks = {path: _mark(path) for path in paths if os.path.lexists(path)}
    record = {} if outputs.overwrite or not marks else read_record(outputs) or {}
    known, other = _known_marks(record), _other_picture(record, outputs.picture)
    problems = []
    for path, mark in marks.items():
        if path.is_dir():
            problems.append(f"{path} is a folder; move it, or choose another --out")
        elif not outputs.overwrite:
            own = mark is not None and mark in known.get(path.name, [])
            owner = "depth-normal did not make it or it was changed since" if not own else other and f"shows {other}, not {outputs.picture}"
            if owner:
                problems.append(f"{path} is there already, and {owner}; move it, choose another --out, or replace it with --overwrite")
    return problems


def _other_picture(record: Mapping[str, Any], picture: Path) -> str | None:
    """The path of the picture that a record is about, where it is not this one. A picture that was moved is the same."""
    made_of = record.get("picture")
    if not isinstance(made_of, dict) or not isinstance(path := made_of.get("path"), str) or path == str(picture.absolute()):
        return None
    mark = _mark(picture)
    return None if mark is not None and mark.items() <= made_of.items() else path


@contextmanager
def staged(outputs: Outputs, settings: Mapping[str, Any]) -> Iterator[Outputs]:
    """A place to write one picture's results. They appear together with their record when the block ends well; otherwise none appears.

    Args:
        outputs: Where they shall go; the folder is made where it is absent.
        settings: What was asked for, as JSON can hold it.

    Yields:
        The same names in an empty folder on the same disk.

    Raises:
        FileExistsError: A file came there meanwhile that this pack did not make.
        OSError: The system refuses to write; the message says why and what to do.
    """
    with _refusal_in_words(outputs.folder), _kept_if_used(outputs.folder / RECORDS), temporary_folder(outputs.folder / RECORDS) as stage:
        yield replace(outputs, folder=stage)
        with _alone_in(outputs.folder):
            _publish(outputs, settings, sorted(stage.iterdir()))


def _publish(outputs: Outputs, settings: Mapping[str, Any], written: Sequence[Path]) -> None:
    targets = [outputs.folder / path.name for path in written]
    if problems := refusals(outputs, targets):
        raise FileExistsError("; ".join(problems))
    # The record goes first: after a crash in between it knows what has arrived and what has not.
    _write_record(outputs, settings, {path.name: _mark(path) for path in written})
    for path, target in zip(written, targets, strict=True):
        path.replace(target)


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Keeps other processes and threads from changing the results in a folder."""
    from filelock import FileLock, Timeout

    lock = FileLock(folder / RECORDS / _LOCK)
    try:
        lock.acquire(timeout=_LOCK_SECONDS)
    except Timeout as error:
        raise TimeoutError(
            f"cannot write to {folder}: another process has been writing there for {_LOCK_SECONDS} seconds; end it, or choose another --out"
        ) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _refusal_in_words(folder: Path) -> Iterator[None]:
    """Says of what the system refuses in the block that it was writing to `folder`, and what to do."""
    try:
        yield
    except OSError as error:
        if error.errno is None:  # it is in words
            raise
        reason = error.strerror or error
        raise type(error)(
            f"cannot write to {folder}: {reason}; free room there, change its permissions, or choose another --out"
        ) from error


@contextmanager
def _kept_if_used(folder: Path) -> Iterator[None]:
    """Makes a folder and those above it. What is made here, and holds nothing when the block ends, is removed again."""
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        with suppress(OSError):  # the first that holds something
            for each in made:
                each.rmdir()


def read_record(outputs: Outputs) -> dict[str, Any] | None:
    """The record of one picture; None where there is none that can be read."""
    path = outputs.record
    try:
        if not path.is_file() or path.stat().st_size > _MAX_RECORD_BYTES:
            return None
        record = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and record.get("version") == RECORD_VERSION else None


def _write_record(outputs: Outputs, settings: Mapping[str, Any], files: Mapping[str, Any]) -> None:
    before = read_record(outputs) or {}
    other = _other_picture(before, outputs.picture)
    record = {
        "version": RECORD_VERSION,
        "picture": {"path": str(outputs.picture.absolute()), **(_mark(outputs.picture) or {})},
        "settings": dict(settings),
        "files": dict(files),
        "earlier": {
            name: mark
            for name, marks in _known_marks(before).items()
            if (name in files or not other) and (mark := _mark(outputs.folder / name)) and mark in marks
        },
    }
    write_bytes(outputs.record, json.dumps(record, indent=1).encode())


def _known_marks(record: Mapping[str, Any]) -> dict[str, list[Any]]:
    """By which marks a record knows each file."""
    known: dict[str, list[Any]] = {}
    for part in (record.get("earlier"), record.get("files")):
        for name, mark in part.items() if isinstance(part, dict) else ():
            known.setdefault(name, []).append(mark)
    return known


def _mark(path: Path) -> dict[str, int] | None:
    """What tells whether a file is still the same; None if there is no file, or none can have that name."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return {"bytes": status.st_size, "modified_ns": status.st_mtime_ns}


def _folder_problems(folder: Path) -> list[str]:
    """Why results cannot be written to a folder, in words."""
    records = folder / RECORDS
    touched = [_nearest(folder)]
    if not touched[0].is_dir():
        return [f"{touched[0]} is a file, not a folder; choose another --out"]
    if os.path.lexists(records):
        if not records.is_dir():
            return [f"{records} is not a folder, and the records of what was made go there; move it, or choose another --out"]
        if records.stat().st_dev != folder.stat().st_dev:
            return [f"{records} is on another disk than {folder}, and results are moved from it whole; move it, or choose another --out"]
        touched.append(records)
    return [
        f"this user may not write to {each}; change its permissions, or choose another --out"
        for each in touched
        if not os.access(each, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids)
    ]


def _name_problems(outputs: Outputs) -> list[str]:
    """Why a picture's results or record cannot have their names, in words."""
    if os.path.isdir(outputs.record):  # noqa: PTH112  Path.is_dir raises on names that are too long
        return [f"{outputs.record} is a folder, and the record of what was made of {outputs.picture} goes there; move it"]
    longest = max(outputs.paths(), key=lambda path: len(path.name))
    try:
        # Only the disk knows how long its names may be.
        os.lstat(_nearest(outputs.folder) / longest.name)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return [f"the name {longest.name} is too long for the disk of {outputs.folder}; give {outputs.picture} a shorter one"]
    return []


def _nearest(folder: Path) -> Path:
    """A folder, or of one that is not there the first of those above it that is."""
    return next(each for each in (folder, *folder.parents) if os.path.lexists(each))


def _replaced_pictures(planned: Sequence[Outputs]) -> list[str]:
    """Results that are one of the pictures, by any name."""
    pictures = {}
    for outputs in planned:
        if identity := _identity(outputs.picture):
            pictures[identity] = outputs.picture
    problems = []
    for outputs in planned:
        for path in outputs.paths():
            identity = _identity(path)
            if identity in pictures:
                picture = pictures[identity]
                problems.append(f"{outputs.picture} would write {path}, which is the picture {picture}; choose another folder with --out")
    return problems


def _identity(path: Path) -> tuple[int, int] | None:
    """A value that all names of one file share; None if there is no file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
