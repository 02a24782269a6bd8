"""Finished segments of an unfinished video, kept beside it so that an interrupted run can resume.

    out.mp4
    .depth-normal/out.mp4.film/
        pieces.json               the settings, and each segment's frames, times and file digests
        00000_depth.mp4           a segment, encoded on its own
        00001_state.safetensors   the temporal state after this many segments (kept for the newest two)

Segments are not items of a `batch.run.Run`, since each begins with the state at the end of the one before. So they are made in order, a
failure ends the video, and stopping just discards the unfinished segment.

A segment counts once `pieces.json` names it, which is written atomically after all its files are on disk. The folder is removed when the
video is finished.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from functools import partial
from pathlib import Path
from shutil import rmtree
from typing import Any

from torch import Tensor

from ...geometry.estimate import Axes, Estimate
from ...geometry.files import write_depth_png, write_exr, write_normal_png
from ...geometry.files.file_lock import FileLock
from ...geometry.files.paths import atomic_path
from ...media import CODECS, Frame, VideoError, VideoWriter
from ...media.sequences import numbered
from ...options.estimate import DTYPE_CHOICES, RUNTIME_CHOICES
from ...options.video import DEPTH
from ..batch.records import digest_of_marks
from ..batch.staging import kept_if_used, remove_empty
from .segment_record import SegmentRecord, checked_records, differing_settings, read_state, state_to_bytes
from .task import SEGMENTS_FILE, VideoTask, segments_folder

logger = logging.getLogger(__name__)

KEPT_DEPTH = "numbers"
"""The output that keeps depth for a second pass: 16 bits over each frame's own range, lossless."""

ENGINE = "engine"
"""The setting with the runtime's version and device, as `Model.runtime`."""

# The version of the segments; only segments with the same encoder settings can be joined.
_VERSION = 6
_MOST_BYTES = 2**30
_ADVICE = "run without --resume to begin anew"


class SegmentStore:
    """The segments of a video in progress; a context manager that locks them against other runs.

    Missing folders are created. The segments' folder is removed if the block succeeds or no segment is finished. On entry everything is
    removed but finished segments of the same settings. A damaged newest segment, as after a power failure, is made again.

    `resume`: existing segments are continued; VideoError if they have other settings or are damaged, or another run is making the same
    video. `kept`: finished segments stay if the block fails.
    """

    def __init__(self, task: VideoTask, settings: Mapping[str, Any], *, resume: bool = False, kept: bool = True) -> None:
        self.folder = segments_folder(task.targets)
        self._task = task
        self._settings = json.loads(json.dumps(settings))
        self.records: list[SegmentRecord] = []
        self._lock = FileLock(self.folder.with_name(f"{self.folder.name}.lock"))
        self._resume, self._kept = resume, kept

    def __enter__(self) -> SegmentStore:
        with ExitStack() as place:
            place.callback(remove_empty, self.folder.parent)
            place.enter_context(kept_if_used(self.folder.parent))
            if not self._lock.acquire():
                raise VideoError(f"{self.folder}: another run makes this video at this moment; wait for it, or choose another name")
            place.callback(self._lock.release, remove=True)
            # Under the lock: a rejected run would otherwise remove the folder that another is about to fill.
            place.enter_context(kept_if_used(self.folder))
            self._open()
            self._place = place.pop_all()
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        with self._place:
            if error is None or not (self._kept and self.done):
                rmtree(self.folder, ignore_errors=True)
            else:
                with suppress(OSError):  # a full disk gets its space back; on Windows, a thread may still write
                    self._remove_unfinished()
        if isinstance(error, OSError) and str(self.folder) in str(error.filename):
            raise OSError(error.errno, error.strerror, str(next(iter(self._task.targets.values())))) from error

    def _open(self) -> None:
        if self._resume:
            self._load()
        self._remove_unfinished()
        if not self.records:
            self._save()

    def _remove_unfinished(self) -> None:
        count = len(self.records)
        states = {self._state_path(number).name for number in (count, count - 1)}
        expected = {SEGMENTS_FILE, *states, *(name for each in self.records for name in each.files.values())}
        for path in self.folder.iterdir():
            if path.name not in expected:
                path.unlink()

    @property
    def done(self) -> int:
        """The number of frames in finished segments."""
        return sum(each.frames for each in self.records)

    @property
    def numbers(self) -> list[int]:
        """The frame numbers in finished segments."""
        frames: list[int] = []
        for each in self.records:
            frames += _numbers(each, len(frames))
        return frames

    def _load(self) -> None:
        path = self.folder / SEGMENTS_FILE
        if not path.is_file():
            return
        try:
            record = _read(path)
            if record["version"] != _VERSION:
                logger.warning("%s was begun by another version, with pieces that cannot be continued: it begins anew", self.folder)
                return
            settings, records = record["settings"], checked_records(record["pieces"], self._task.targets)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise VideoError(f"{path} is damaged ({error}); {_ADVICE}") from error
        settings, engine = settings if isinstance(settings, dict) else {}, self._settings.get(ENGINE)
        if differing := differing_settings({**settings, ENGINE: engine}, self._settings):
            raise VideoError(f"{self.folder} was begun with other settings ({', '.join(differing)}); give those, or run without --resume")
        if records and settings.get(ENGINE) != engine:
            # It may have been updated, and the old version is gone. The last bits of frames may differ.
            logger.warning("%s was begun with %s, and goes on with %s", self.folder, settings.get(ENGINE), engine)
        self.records = self._whole(records)

    def _whole(self, records: list[SegmentRecord]) -> list[SegmentRecord]:
        """The records of intact segments: all, or all but the newest."""
        whole = first = 0
        while whole < len(records) and digest_of_marks(self._files(records[whole], first)) == records[whole].digest:
            first += records[whole].frames
            whole += 1
        for count in range(len(records), max(-1, len(records) - 2), -1):
            if whole >= count and (not count or digest_of_marks([self._state_path(count)]) == records[count - 1].state):
                if count < len(records):
                    logger.warning(
                        "%s: the newest %d frames are not there as they were made; they are made again", self.folder, records[-1].frames
                    )
                return records[:count]
        changed = f"the piece behind frame {first}" if whole < len(records) else self._state_path(len(records)).name
        raise VideoError(f"{self.folder}: {changed} is missing or was changed, and what follows depends on it; put it back, or {_ADVICE}")

    def _files(self, record: SegmentRecord, first: int) -> list[Path]:
        """The files of a segment; `first` is the number of frames before it."""
        return [
            *(self.folder / name for name in record.files.values()),
            *(numbered(self._task.targets[output], number) for output in record.numbered for number in _numbers(record, first)),
        ]

    def state(self) -> Any:
        """The state kept with the newest segment; None at the start. Raises VideoError if it is damaged."""
        if not self.records:
            return None
        try:
            return read_state(self._state_path(len(self.records)))
        except VideoError as error:
            raise VideoError(f"{error}; {_ADVICE}") from error

    def add(self, record: SegmentRecord, state: Any) -> None:
        """Commits a segment, with the state for the next one (see `state_to_bytes`). Fills in the record's digests."""
        count = len(self.records) + 1
        files = self._files(record, self.done)
        _flush(files)
        _write_durably(self._state_path(count), state_to_bytes(state))
        record.digest, record.state = digest_of_marks(files), digest_of_marks([self._state_path(count)])
        self._save(record)
        self.records.append(record)
        self._state_path(count - 2).unlink(missing_ok=True)

    def _save(self, *new: SegmentRecord) -> None:
        content = {"version": _VERSION, "settings": self._settings, "pieces": [asdict(each) for each in (*self.records, *new)]}
        _write_durably(self.folder / SEGMENTS_FILE, json.dumps(content).encode())

    def _state_path(self, segments: int) -> Path:
        return self.folder / f"{segments:05d}_state.safetensors"


def _numbers(record: SegmentRecord, first: int) -> Sequence[int]:
    """The frame numbers of a segment; `first` is the number of frames before it."""
    return record.numbers or range(first + 1, first + record.frames + 1)


def begun_by(targets: Mapping[str, Path]) -> tuple[str, str] | None:
    """The runtime and dtype, as in `load_model`, of an interrupted run; None if not recorded."""
    try:
        settings = _read(segments_folder(targets) / SEGMENTS_FILE)["settings"]
        runtime, dtype = settings["runtime"], settings["dtype"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None  # `SegmentStore` reports the problem
    return (runtime, dtype) if runtime in RUNTIME_CHOICES and dtype in DTYPE_CHOICES else None


def _read(path: Path) -> Any:
    if path.stat().st_size > _MOST_BYTES:
        raise ValueError(f"more than {_MOST_BYTES} bytes")
    return json.loads(path.read_bytes())


def _flush(paths: Iterable[Path]) -> None:
    """Syncs files to disk, to survive a power failure."""
    for path in paths:
        with path.open("r+b") as file:
            os.fsync(file.fileno())


def _write_durably(path: Path, content: bytes) -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
        _flush([temporary])


@dataclass(frozen=True)
class Shown:
    """A frame as written.

    Attributes:
        images: (1, 1 or 3, H, W) in [0, 1], by output; empty for EXR.
        estimate: The maps; at the frame's size for EXR, else possibly at the network's.
        ranges, black_and_white, ends: As in `SegmentRecord`, of `KEPT_DEPTH`.
    """

    frame: Frame
    images: Mapping[str, Tensor]
    estimate: Estimate
    ranges: list[tuple[float, float]] = field(default_factory=list)
    black_and_white: list[tuple[float, float]] = field(default_factory=list)
    ends: list[tuple[float, float]] = field(default_factory=list)


class SegmentWriter:
    """Writes a segment, a video per output or numbered files at their final paths; `first`: frames before it, `label`: files' prefix."""

    def __init__(self, store: SegmentStore, task: VideoTask, rate: Fraction, time_base: Fraction, first: int, label: str) -> None:
        self._folder, self._task, self._rate, self._time_base = store.folder, task, rate, time_base
        self._first, self._label = first, label
        self._writers: dict[str, VideoWriter] = {}
        self._numbered: list[Path] = []
        self._opened = ExitStack()
        self.record = SegmentRecord()

    def write(self, shown: Shown) -> None:
        """Writes the next frame."""
        frame = shown.frame
        if shown.ranges and shown.estimate.quantity is not None:
            self.record.quantity = shown.estimate.quantity.value
        self.record.ranges += shown.ranges
        self.record.black_and_white += shown.black_and_white
        self.record.ends += shown.ends
        if not self.record.frames:
            self.record.time = str(frame.time)
        self.record.end = str(frame.time + (frame.duration or 1 / self._rate))
        number = self._first + self.record.frames + 1 if frame.number is None else frame.number
        if frame.number is not None:
            self.record.numbers.append(number)
        for output, image in shown.images.items():
            self._write(output, image[0], frame, number)
        if self._task.codec == "exr":
            self._write_exr(shown.estimate, number)
        self.record.frames += 1

    def _write(self, output: str, image: Tensor, frame: Frame, number: int) -> None:
        if self._task.sequence and output != KEPT_DEPTH:
            path = self._place(output, number)
            write = write_depth_png if len(image) == 1 else partial(write_normal_png, bits=16)
            write(path, image)
            return
        if output not in self._writers:
            codec = "ffv1" if output == KEPT_DEPTH else self._task.codec
            suffix = CODECS["ffv1"].containers[0] if output == KEPT_DEPTH else self._task.targets[output].suffix
            name = f"{self._label}_{output}{suffix}"
            writer = VideoWriter(self._folder / name, codec, self._rate, self._time_base, self._task.clip.quality)
            self._writers[output] = self._opened.enter_context(writer)
            self.record.files[output] = name
        self._writers[output].write(image, frame.time - Fraction(self.record.time), frame.duration)

    def _write_exr(self, estimate: Estimate, number: int) -> None:
        for output in self._task.targets:
            depth = output == DEPTH
            part = Estimate(
                estimate.depth if depth else None,
                estimate.quantity if depth else None,
                None if depth else estimate.normals,
                axes=Axes.OPENGL if depth else estimate.axes,
                mask=estimate.mask,
                intrinsics=estimate.intrinsics,
            )
            write_exr(self._place(output, number), part)

    def _place(self, output: str, number: int) -> Path:
        if output not in self.record.numbered:
            self.record.numbered.append(output)
        path = numbered(self._task.targets[output], number)
        self._numbered.append(path)
        return path

    def close(self) -> None:
        """Finishes the videos."""
        self._opened.close()

    def abandon(self) -> None:
        """Closes the incomplete videos, and removes numbered files."""
        with suppress(Exception):
            self._opened.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
        for path in self._numbered:
            path.unlink(missing_ok=True)
