"""Records the settings of finished videos, so that `--resume` skips them."""

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
    """A finished video.

    Attributes:
        numbers: Its frame numbers, in order.
        problem: Why the source could not be read to its end; None on success.
        lost: A message about frames of the source that cannot be decoded; "" if there are none, or for a video of an earlier run.
    """

    numbers: Sequence[int]
    problem: str | None = None
    lost: str = ""

    @property
    def frames(self) -> int:
        """The number of frames."""
        return len(self.numbers)

    @property
    def early(self) -> str:
        """Why it ends before its source, and what is kept; "" if it does not."""
        if self.problem is None:
            return ""
        return f"{self.problem}. The {'frame before that is' if self.frames == 1 else f'{self.frames} frames before that are'} kept"


class FinishedRecord:
    """The record of one video, `.depth-normal/<name>.film.json` beside it: its settings and file digests."""

    def __init__(self, task: VideoTask) -> None:
        folder = segments_folder(task.targets)
        self.path = folder.with_name(f"{folder.name}.json")
        self._task = task

    def found(self, settings: Mapping[str, Any]) -> Finished | None:
        """The video, if it is complete and has these settings; None if it or its record is missing.

        Raises:
            VideoError: It has other settings, or a file was changed or is missing.
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
        """Writes the record of a finished video into the existing records folder; logs a failure."""
        files = {target.name: self._digest(target, finished.numbers) for target in self._task.targets.values()}
        record = {"version": RECORD_VERSION, "settings": settings, "files": files, "frames": finished.frames, "problem": finished.problem}
        if list(finished.numbers) != list(range(1, finished.frames + 1)):
            record["numbers"] = list(finished.numbers)
        try:
            write_bytes(self.path, json.dumps(record, indent=1).encode())
        except OSError as error:
            logger.warning("the video is there, but --resume will not know it: %s cannot be written (%s)", self.path, error)

    def remove(self) -> None:
        """Removes the record: the video will be made anew."""
        self.path.unlink(missing_ok=True)

    def _is_there(self, target: Path) -> bool:
        return bool(numbered_files(target)) if self._task.sequence else target.exists()

    def _digest(self, target: Path, numbers: Sequence[int]) -> str:
        if not self._task.sequence:
            return digest_of_marks([target])
        # A corrupt record may name any number of frames: look for at most one more than there are files.
        return digest_of_marks([numbered(target, number) for number in numbers[: len(numbered_files(target)) + 1]])


def differing_settings(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Names of the settings that differ; `one` is decoded JSON."""
    other = json.loads(json.dumps(other))
    return sorted(key for key in one.keys() | other.keys() if one.get(key) != other.get(key))
