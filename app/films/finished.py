"""How a finished film was made, for a run that may come again: the same command with `--resume` leaves it as it is."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...geometry.files.paths import write_bytes
from ...geometry.films import FilmError, numbered
from ..records import mark
from .task import FilmTask, pieces_folder

_VERSION = 1


@dataclass(frozen=True)
class Finished:
    """A film that is there.

    Attributes:
        frames: How many it has.
        problem: Why the source could not be read to its end; None = it could.
    """

    frames: int
    problem: str | None = None


class FinishedRecord:
    """The record of one film, `.depth-normal/<name>.film.json` beside it: what was asked for, and all files that were written.

    Args:
        targets: As `FilmTask.targets`.
    """

    def __init__(self, targets: Mapping[str, Path]) -> None:
        folder = pieces_folder(targets)
        self.path = folder.with_name(f"{folder.name}.json")

    def names(self) -> set[str]:
        """The files that were written; none where there is no record.

        Raises:
            FilmError: The record is damaged.
        """
        return set(self._read().get("files", ()))

    def found(self, settings: Mapping[str, Any]) -> Finished | None:
        """The film, if it was made with these settings and is there, whole; None where nothing of it is there.

        Args:
            settings: All that decides on the frames.

        Raises:
            FilmError: It was made with other settings, a file of it was changed or is missing, or the record is damaged.
        """
        record = self._read()
        files = {self.path.parent.parent / name: known for name, known in record.get("files", {}).items()}
        there = {path: mark(path) for path in files}
        if not any(there.values()):
            return None
        differing = differing_settings(record["settings"], settings)
        for path, known in files.items():
            if differing:
                raise FilmError(f"{path} was made with other settings ({', '.join(differing)}); {_ADVICE}")
            if there[path] != known:
                raise FilmError(f"{path} {'was changed since it was made' if there[path] else 'is not there any more'}; {_ADVICE}")
        return Finished(record["frames"], record["problem"])

    def note(self, task: FilmTask, settings: Mapping[str, Any], finished: Finished) -> None:
        """Writes the record of a film that is there; the folder of records is there too."""
        files = {path.name: mark(path) for path in _files(task, finished.frames)}
        content = {"version": _VERSION, "settings": settings, "frames": finished.frames, "problem": finished.problem, "files": files}
        write_bytes(self.path, json.dumps(content).encode())

    def remove(self) -> None:
        """Removes the record: the film is to be made anew, or was by a run that leaves none."""
        self.path.unlink(missing_ok=True)

    def _read(self) -> dict[str, Any]:
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return {}
        try:
            record = json.loads(data)
            if record["version"] != _VERSION:
                return {}
            sound = all(isinstance(each, dict) for each in (record["settings"], record["files"], *record["files"].values()))
            if not sound or not record["files"] or type(record["frames"]) is not int or not isinstance(record["problem"], str | None):
                raise TypeError("a part of it is of another kind")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise FilmError(f"{self.path} is damaged ({error}); remove it") from error
        return record


_ADVICE = "choose another name, or replace it with --overwrite"


def differing_settings(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Names of the settings in which two runs differ."""
    other = json.loads(json.dumps(other))
    return sorted(key for key in one.keys() | other.keys() if one.get(key) != other.get(key))


def _files(task: FilmTask, frames: int) -> Iterator[Path]:
    for target in task.targets.values():
        if task.sequence:
            yield from (numbered(target, number) for number in range(1, frames + 1))
        else:
            yield target
