"""Records how a finished video was made, so that the same command with `--resume` leaves it as it is."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...geometry.files.paths import write_bytes
from ...media import VideoError, numbered, numbered_files
from ..batch.records import RECORD_VERSION, digest_of_marks, read_record
from .task import VideoTask, segments_folder

logger = logging.getLogger(__name__)

_ADVICE = "give those it was made with, choose another name, or replace it with --overwrite"


@dataclass(frozen=True)
class Finished:
    """A video that is there.

    Attributes:
        numbers: Of its frames, in order.
        problem: Why the source could not be read to its end; None = it could.
        lost: How many frames of the source cannot be decoded, in words; nothing where all can, or where the video was made before.
    """

    numbers: Sequence[int]
    problem: str | None = None
    lost: str = ""

    @property
    def frames(self) -> int:
        """How many it has."""
        return len(self.numbers)

    @property
    def early(self) -> str:
        """Why it ends before its source does, and what is kept, in words; nothing where it does not."""
        if self.problem is None:
            return ""
        return f"{self.problem}. The {'frame before that is' if self.frames == 1 else f'{self.frames} frames before that are'} kept"


class FinishedRecord:
    """The record of one video, `.depth-normal/<name>.film.json` beside it: what was asked for, and what tells the files that were written.

    Args:
        task: What is asked.
    """

    def __init__(self, task: VideoTask) -> None:
        folder = segments_folder(task.targets)
        self.path = folder.with_name(f"{folder.name}.json")
        self._task = task

    def found(self, settings: Mapping[str, Any]) -> Finished | None:
        """The video, if it was made with these settings and is there, whole; None where nothing of it, or no record, is there.

        Args:
            settings: All that decides on the frames.

        Raises:
            VideoError: It was made with other settings, or a file of it was changed or is missing.
        """
        record = read_record(self.path) or {}
        recorded, files, frames, numbers = (record.get(name) for name in ("settings", "files", "frames", "numbers"))
        if not (isinstance(recorded, dict) and isinstance(files, dict) and isinstance(frames, int) and frames > 0):
            return None
        if not (isinstance(numbers, list) and all(type(each) is int and each >= 0 for each in numbers) and numbers):
            numbers = range(1, frames + 1)
        if not any(map(self._is_there, self._task.targets.values())):
            return None
        if differing := differing_settings(recorded, settings):
            raise VideoError(f"{self.path}: the video was made with other settings ({', '.join(differing)}); {_ADVICE}")
        for target in self._task.targets.values():
            if self._digest(target, numbers) != files.get(target.name):
                raise VideoError(f"{target} was changed since it was made, or lacks files; remove it, or replace it with --overwrite")
        return Finished(numbers, record.get("problem"))

    def note(self, settings: Mapping[str, Any], finished: Finished) -> None:
        """Writes the record of a video that is there, in the folder of records, which is there too; where it cannot, that is logged."""
        files = {target.name: self._digest(target, finished.numbers) for target in self._task.targets.values()}
        record = {"version": RECORD_VERSION, "settings": settings, "files": files, "frames": finished.frames, "problem": finished.problem}
        if list(finished.numbers) != list(range(1, finished.frames + 1)):
            record["numbers"] = list(finished.numbers)
        try:
            write_bytes(self.path, json.dumps(record, indent=1).encode())
        except OSError as error:
            logger.warning("the video is there, but --resume will not know it: %s cannot be written (%s)", self.path, error)

    def remove(self) -> None:
        """Removes the record: the video is made anew."""
        self.path.unlink(missing_ok=True)

    def _is_there(self, target: Path) -> bool:
        return bool(numbered_files(target)) if self._task.sequence else target.exists()

    def _digest(self, target: Path, numbers: Sequence[int]) -> str:
        if not self._task.sequence:
            return digest_of_marks([target])
        # Of a record that names more frames than there are files none is looked for: the number may be anything.
        return digest_of_marks([numbered(target, number) for number in numbers[: len(numbered_files(target)) + 1]])


def differing_settings(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Names of the settings in which two runs differ; of one of them as JSON gave it back."""
    other = json.loads(json.dumps(other))
    return sorted(key for key in one.keys() | other.keys() if one.get(key) != other.get(key))
