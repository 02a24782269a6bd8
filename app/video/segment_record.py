"""Records of finished segments, with the state after them, and of finished videos, validated on reading as untrusted input."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...geometry.estimate import Quantity
from ...geometry.files.paths import write_bytes
from ...media import VideoError
from ...media.sequences import numbered, numbered_files
from ..batch.records import RECORD_VERSION, digest_of_marks, read_record
from .task import VideoTask, segments_folder

logger = logging.getLogger(__name__)
_ADVICE = "give those it was made with, choose another name, or replace it with --overwrite"

_MOST_FRAMES = 2**32
_TIME = re.compile(r"-?\d{1,20}(/[1-9]\d{0,19})?")
_NAME = re.compile(r"\d{5,}_[a-z-]+\.(mp4|mov|mkv)", re.IGNORECASE)


@dataclass
class SegmentRecord:
    """One finished segment.

    Attributes:
        time, end: Start and end in seconds of the source, as fractions in text.
        numbered: Outputs in numbered files, at their final paths.
        numbers: The numbers of those files; empty if they equal the frames' indices, from 1.
        digest, state: A digest of its files' sizes and modification times, and of its state file's.
        dtype: The network's dtype at the end of the segment.
        ranges: Of `KEPT_DEPTH`: each frame's minimum and maximum.
        black_and_white: Of `KEPT_DEPTH`: each frame's `default_depth_range`.
        ends: Of `KEPT_DEPTH` for stereo: each frame's far and near end, as measured by `stereo.disparity_range`.
        quantity: Of `KEPT_DEPTH`: the kind of depth.
    """

    frames: int = 0
    time: str = "0"
    end: str = "0"
    files: dict[str, str] = field(default_factory=dict)
    numbered: list[str] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    digest: str = ""
    state: str = ""
    dtype: str = ""
    ranges: list[tuple[float, float]] = field(default_factory=list)
    black_and_white: list[tuple[float, float]] = field(default_factory=list)
    ends: list[tuple[float, float]] = field(default_factory=list)
    quantity: str | None = None


def checked_records(found: Any, outputs: Collection[str]) -> list[SegmentRecord]:
    """Validates decoded JSON as `dataclasses.asdict` of segment records of a video with these outputs; TypeError, ValueError: it is not."""
    if not isinstance(found, list):
        raise TypeError(f"the pieces are a {type(found).__name__}")
    records = [SegmentRecord(**each) for each in found]
    for record in records:
        for name, is_right in _CHECKS.items():
            if not is_right(value := getattr(record, name)):
                raise ValueError(f"{name} is {str(value)[:80]}")
        if not {*record.numbered} <= {*outputs}:
            raise ValueError(f"there are numbered files of {', '.join(record.numbered)[:80]}")
        if any(len(each) not in (0, record.frames) for each in (record.numbers, record.ranges, record.black_and_white, record.ends)):
            raise ValueError(f"numbers or ranges of another number of frames than {record.frames}")
    return records


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_time(value: Any) -> bool:
    return _is_text(value) and _TIME.fullmatch(value) is not None


def _are_pairs(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(pair, list) and len(pair) == 2 and all(isinstance(end, float | int) for end in pair) for pair in value
    )


_CHECKS: dict[str, Callable[[Any], bool]] = {
    "frames": lambda value: type(value) is int and 0 < value < _MOST_FRAMES,
    "time": _is_time,
    "end": _is_time,
    "files": lambda value: isinstance(value, dict) and all(_is_text(name) and _NAME.fullmatch(name) for name in value.values()),
    "numbered": lambda value: isinstance(value, list) and all(map(_is_text, value)),
    "numbers": lambda value: isinstance(value, list) and all(type(each) is int for each in value),
    "digest": _is_text,
    "state": _is_text,
    "dtype": _is_text,
    "ranges": _are_pairs,
    "black_and_white": _are_pairs,
    "ends": _are_pairs,
    "quantity": lambda value: value is None or value in set(Quantity),
}


_TENSOR, _CHANNELS_LAST = "tensor", "channels_last"


def state_to_bytes(state: Any) -> bytes:
    """A state (nested dicts, lists and tuples of tensors, numbers, text and None) as a safetensors file; the nesting is in its metadata."""
    from safetensors.torch import save

    tensors: dict[str, Tensor] = {}
    return save(tensors, {"state": json.dumps(_apart(state, tensors))})


def read_state(path: Path) -> Any:
    """Reads a state written by `state_to_bytes`; tuples become lists, tensors are on the CPU. Raises VideoError for a damaged file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dictionary)
            return _together(json.loads((file.metadata() or {})["state"]), tensors)
    except (SafetensorError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise VideoError(f"{path} is damaged ({error})") from error


def _apart(value: Any, tensors: dict[str, Tensor]) -> Any:
    """The value with placeholders for tensors, which are moved to `tensors`."""
    if isinstance(value, Tensor):
        name = str(len(tensors))
        tensors[name] = value.detach().to("cpu", copy=True).contiguous()
        # The memory format can change the last bits of results.
        last = not value.is_contiguous() and value.ndim == 4 and value.is_contiguous(memory_format=torch.channels_last)
        return {_TENSOR: name, _CHANNELS_LAST: last}
    if isinstance(value, dict):
        return {name: _apart(each, tensors) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_apart(each, tensors) for each in value]
    return value


def _together(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_together(each, tensors) for each in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {_TENSOR, _CHANNELS_LAST}:
        tensor = tensors[value[_TENSOR]]
        return tensor.contiguous(memory_format=torch.channels_last) if value[_CHANNELS_LAST] else tensor
    return {name: _together(each, tensors) for name, each in value.items()}


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
        """The video, complete with these settings; None without it or its record. VideoError: other settings, or a changed file."""
        record = read_record(self.path) or {}
        recorded, files, frames, numbers = (record.get(name) for name in ("settings", "files", "frames", "numbers"))
        if not (isinstance(recorded, dict) and isinstance(files, dict) and isinstance(frames, int) and frames > 0):
            return None
        if not (isinstance(numbers, list) and all(type(each) is int for each in numbers) and numbers):
            numbers = range(1, frames + 1)
        if not any(map(numbered_files if self._task.sequence else Path.exists, self._task.targets.values())):
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

    def _digest(self, target: Path, numbers: Sequence[int]) -> str:
        if not self._task.sequence:
            return digest_of_marks([target])
        # A corrupt record may name any number of frames: look for at most one more than there are files.
        return digest_of_marks([numbered(target, number) for number in numbers[: len(numbered_files(target)) + 1]])


def differing_settings(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Names of the settings that differ; `one` is decoded JSON."""
    other = json.loads(json.dumps(other))
    return sorted(key for key in one.keys() | other.keys() if one.get(key) != other.get(key))
