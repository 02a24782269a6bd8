"""Which files results may replace, and whether they can be written: one rule for all commands. Imports nothing heavy."""

from __future__ import annotations

import json
import logging
import os
import stat
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence, Set
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..console.terminal import quoted
from .records import RECORDS, images_of, mark, mark_of, other_image, read_record, with_made
from .sources import Identity, file_identity

_ANOTHER_NAME = "choose another name with -o"
_NOT_OURS = "not known as an unchanged result of depth-normal"
_MOST_NAMED = 500
_LOCK_SECONDS = 5.0

logger = logging.getLogger(__name__)


def check_places(
    paths: Sequence[Path],
    read: Iterable[Path],
    overwrite: bool,
    made_of: Path | None = None,
    command: str = "",
    advice: str = _ANOTHER_NAME,
    inputs: Set[Identity] = frozenset(),
) -> None:
    """Rejects results that cannot be written or would replace protected files, see `reasons_not_to_replace`.

    Args:
        paths: The results, in one folder.
        read: The command's input files, which are never replaced, even with `overwrite`; `inputs` are identities of further ones.
        overwrite: Whether files that this program did not make may be replaced.
        made_of: The input of the results, as in `note_results`; None = no file counts as made by this program.
        command: As `note_results`.
        advice: How to choose another path.

    Raises:
        ValueError: A result is an input file.
        FileExistsError: A file must not be replaced.
        NotADirectoryError, PermissionError: As `check_folder`.
    """
    from ...geometry.files.paths import is_windows_device

    folder = paths[0].parent
    if devices := [path for path in paths if sys.platform == "win32" and is_windows_device(path.name)]:
        raise ValueError(f"{devices[0]} is the name of a device on Windows, not of a file; choose another name")
    check_folder(folder)
    marks, identities = files_there(folder, [path.name for path in paths])
    inputs |= {identity for each in read if identities and (identity := file_identity(each))}
    if taken := [name for name, identity in identities.items() if identity in inputs]:
        raise ValueError(f"{folder / taken[0]} is an image or a file that is read; choose another name or folder for the results")
    record, owner = None, ""
    if made_of is not None and command:
        marks = {name: now for name, now in marks.items() if not is_named_result(folder / name, now, made_of, command)}
        owner = f", not known as an unchanged result of `{command} {quoted(made_of)}`"
    elif made_of is not None:
        record = read_record(folder / RECORDS / f"{made_of.stem}.json") or {}
    if problems := reasons_not_to_replace(folder, marks, record, made_of, overwrite, advice, owner):
        raise FileExistsError("; ".join(problems))


def reasons_not_to_replace(
    folder: Path,
    marks: Mapping[str, Any],
    record: Mapping[str, Any] | None,
    made_of: Path | None,
    overwrite: bool,
    advice: str = "choose another --out",
    owner: str = "",
) -> list[str]:
    """The reasons why existing files must not be replaced: the one rule of all commands.

    Only unchanged files that this program made from the same input under a default name are replaced; under a name given by -o, only files
    that the same command made (`is_named_result`). All other files, including dangling links, need --overwrite. Folders are never replaced.

    Args:
        marks: Marks of the existing files, from `files_there`.
        record: The record of the program's files in the folder; None if it keeps no record.
        owner: Describes the owner of files without a record.
    """
    problems: list[str] = []
    reasons: dict[str, list[Path]] = {}
    for name, now in marks.items():
        path, images = folder / name, images_of(record, name, now) if record and made_of is not None and now is not None else []
        other = other_image(images, made_of) if made_of is not None else None
        if not images and path.is_dir():
            problems.append(f"{path} is a folder; move it, or {advice}")
        elif not overwrite and (other or not images):
            whose = f", made of {other}, not of {made_of}" if other else owner if record is None else f", {_NOT_OURS}"
            reasons.setdefault(whose, []).append(path)
    for whose, (first, *rest) in reasons.items():
        more, them = "".join(f", {path.name}" for path in rest), "them" if rest else "it"
        there = f"{first}{more} {'are' if rest else 'is'} there already{whose}"
        problems.append(f"{there}; move {them}, {advice}, or replace {them} with --overwrite")
    return problems


def files_there(folder: Path, names: Iterable[str]) -> tuple[dict[str, Any], dict[str, Identity]]:
    """Marks and identities of existing files by name; the mark of a dangling link is None."""
    marks: dict[str, Any] = {}
    identities = {}
    for name in names:
        path = f"{folder}{os.sep}{name}"
        with suppress(OSError, ValueError):
            status = os.lstat(path)
            marks[name] = None
            if stat.S_ISLNK(status.st_mode):
                status = os.stat(path)  # noqa: PTH116  a million `Path` objects take minutes
            marks[name], identities[name] = mark_of(status), (status.st_dev, status.st_ino)
    return marks, identities


def note_results(image: Path, paths: Sequence[Path], command: str = "") -> None:
    """Records files, in one folder, as made by this program, so that it may replace them.

    The entry goes into the record of `image`, beside those of `estimate`; without an input file, `image` is the first result. For results
    named by the user, `command` is the command, with the options that determine the kind of result.
    """
    if command:
        note_named(image, paths, command)
        return
    from ...geometry.files.paths import write_bytes
    from .name_locks import locked_names

    folder = paths[0].parent
    record = folder / RECORDS / f"{image.stem}.json"
    with suppress(OSError):  # the results exist; replacing them will only need --overwrite
        record.parent.mkdir(exist_ok=True)
        with locked_names(folder, (record.name,)):
            write_bytes(record, with_made(record, paths[0].name, image, mark(image), {}, {path.name: mark(path) for path in paths}))


def remove_outdated(image: Path, path: Path, command: str = "", stem: str = "", of_others: bool = True) -> None:
    """Removes a result of an earlier run that contradicts the new results beside it, unless it was changed or is not this program's.

    Args:
        command: As `note_results`.
        stem: The record's name, if it is not the image's stem.
        of_others: Whether to remove also what was made of another image of this stem. False where other commands' results lie beside.
    """
    now = mark(path)
    if now is None:
        return
    if command:
        is_outdated = is_named_result(path, now, image, command)
    else:
        images = images_of(read_record(path.parent / RECORDS / f"{stem or image.stem}.json") or {}, path.name, now)
        is_outdated = bool(images) and (of_others or other_image(images, image) is None)
    if is_outdated:
        path.unlink(missing_ok=True)
        logger.info("%s was of an earlier run and is removed", path)


def check_folder(folder: Path) -> None:
    """Rejects a folder that cannot be created or written to: NotADirectoryError if a file has its path, else PermissionError."""
    there = nearest_folder(folder)
    if not there.is_dir():
        raise NotADirectoryError(f"{there} is a file, not a folder that results could be written into; choose another one with -o")
    if problem := unwritable(there):
        raise PermissionError(f"{problem} with -o")


def unwritable(folder: Path, tried: bool = True) -> str:
    """Why an existing folder is not writable, ending with "choose another place"; empty if it is.

    With `tried` a temporary file is created, unnamed where possible: a permission alone proves nothing (/proc).
    """
    if not os.access(folder, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
        return f"this user may not write to {folder}; change its permissions (or mount its disk for writing), or choose another place"
    try:
        if tried:
            tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        return f"{folder} takes no files ({error.strerror or error}); choose another place"
    return ""


def nearest_folder(folder: Path) -> Path:
    """The nearest ancestor that exists."""
    return next((each for each in (folder, *folder.parents) if os.path.lexists(each)), folder)


def is_named_result(path: Path, now: Any, made_of: Path, command: str) -> bool:
    """Whether a file is an unchanged result of a command, with the options of its kind, and an input; `now` is the file's mark."""
    return now is not None and now == _entries().get(_place(path), {}).get(_owner(made_of, command))


def note_named(made_of: Path, paths: Sequence[Path], command: str) -> None:
    """Remembers a command's results of an input, named by `-o`, in the user's cache: no records lie beside files that a user named.

    Only the latest are kept; older ones are treated as foreign files. On failure they will only not be replaced without --overwrite.
    """
    from ...geometry.files.file_lock import FileLock
    from ...geometry.files.paths import write_bytes

    noted = {_place(path): {_owner(made_of, command): now} for path in paths if (now := mark(path))}
    with suppress(OSError, RuntimeError):  # a user without a home has no cache
        file = _named_list()
        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(file.with_suffix(".lock"), _LOCK_SECONDS):
            kept = {path: entry for path, entry in _entries().items() if path not in noted}
            latest = dict([*kept.items(), *noted.items()][-_MOST_NAMED:])
            write_bytes(file, json.dumps(latest, indent=1).encode())


def _named_list() -> Path:
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
        entries = json.loads(_named_list().read_bytes())
    except (OSError, ValueError, RuntimeError):  # RecursionError is a RuntimeError
        return {}
    return {path: entry for path, entry in entries.items() if isinstance(entry, dict)} if isinstance(entries, dict) else {}
