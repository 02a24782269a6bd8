"""What results may replace, and where they can be written: one rule for all commands. Imports nothing large."""

from __future__ import annotations

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
from .named_results import is_named_result, note_named
from .records import RECORDS, images_of, mark, mark_of, other_image, read_record, with_made
from .sources import Identity, file_identity

_ANOTHER_NAME = "choose another name with -o"
_NOT_OURS = "not known as an unchanged result of depth-normal"

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
    """Refuses results that cannot be written to their places, or would replace what they must not, as `reasons_not_to_replace` says.

    Args:
        paths: The results, in one folder.
        read: What the command reads, which no result replaces, even with `overwrite`.
        overwrite: Whether files that this program did not make may be replaced.
        made_of: What the results are of, as `note_results` is told; None = nothing is known as a file of this program.
        command: As `note_results`.
        advice: How another place is chosen, in words.
        inputs: The identities of more that is read.

    Raises:
        ValueError: A result is one of the files that are read.
        FileExistsError: Something is there that must not be replaced.
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
    """The reasons why files that are there must not be replaced. This is the one rule of all commands.

    What this program made of the same input, under a default name and unchanged since, is replaced; under a name that -o gave, what the
    same command made (`is_named_result`). Anything else is replaced only with --overwrite; so is a link to nowhere. A folder is never
    replaced.

    Args:
        folder: The folder of the files.
        marks: Of the files that are there, as `files_there` gives them.
        record: Of the files that this program made there; None where it keeps none.
        made_of: The input of the results.
        overwrite: As `check_places`.
        advice: How another place is chosen, in words.
        owner: Whose the files are that have no record, in words.
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
    """The marks of what is there under some names, None for a link to nowhere; and their identities."""
    marks: dict[str, Any] = {}
    identities = {}
    for name in names:
        path = f"{folder}{os.sep}{name}"
        with suppress(OSError, ValueError):
            status = os.lstat(path)
            marks[name] = None
            if stat.S_ISLNK(status.st_mode):
                status = os.stat(path)  # noqa: PTH116  of a million images, a Path for each name takes minutes
            marks[name], identities[name] = mark_of(status), (status.st_dev, status.st_ino)
    return marks, identities


def note_results(image: Path, paths: Sequence[Path], command: str = "") -> None:
    """Remembers that this program made files, in one folder, so that it may replace them.

    They go into the record of `image`, beside what `estimate` made of it; of what is made of no file, it is the first of them.

    Args:
        image: What the results are of.
        paths: The results.
        command: The command, as it is typed, with the options that say what kind of result it makes, where somebody named the results;
            empty = they have their default names.
    """
    if command:
        note_named(image, paths, command)
        return
    from ...geometry.files.paths import write_bytes
    from .name_locks import locked_names

    folder = paths[0].parent
    record = folder / RECORDS / f"{image.stem}.json"
    with suppress(OSError):  # the files are there all the same; they will only not be replaced without --overwrite
        record.parent.mkdir(exist_ok=True)
        with locked_names(folder, (record.name,)):
            write_bytes(record, with_made(record, paths[0].name, image, mark(image), {}, {path.name: mark(path) for path in paths}))


def remove_outdated(image: Path, path: Path) -> None:
    """Removes a result that an earlier run wrote and this one did not, where it contradicts the new results beside it.

    A file that this program did not make under its default name, or that was changed since, stays.
    """
    record, now = read_record(path.parent / RECORDS / f"{image.stem}.json") or {}, mark(path)
    if now is not None and images_of(record, path.name, now):
        path.unlink(missing_ok=True)
        logger.info("%s was of an earlier run and is removed", path)


def check_folder(folder: Path) -> None:
    """Refuses a folder that cannot be made or written to.

    Raises:
        NotADirectoryError: A file stands in its place.
        PermissionError: This user, or nobody, may write there.
    """
    there = nearest_folder(folder)
    if not there.is_dir():
        raise NotADirectoryError(f"{there} is a file, not a folder that results could be written into; choose another one with -o")
    if problem := unwritable(there):
        raise PermissionError(f"{problem} with -o")


def unwritable(folder: Path, tried: bool = True) -> str:
    """The reason why nothing can be written to a folder that is there, ending with "choose another place"; empty where it can.

    With `tried` a file is made for a moment, under no name where the system can: not everything that permits it takes files (/proc).
    """
    if not os.access(folder, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
        return f"this user may not write to {folder}; change its permissions, or choose another place"
    try:
        if tried:
            tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        return f"{folder} takes no files ({error.strerror or error}); choose another place"
    return ""


def nearest_folder(folder: Path) -> Path:
    """The nearest ancestor that exists."""
    return next((each for each in (folder, *folder.parents) if os.path.lexists(each)), folder)
