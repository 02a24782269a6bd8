"""The finished pieces of a film that is being made, beside it, so that a run that was stopped can go on.

    out.mp4
    .depth-normal/out.mp4.film/
        pieces.json         what was asked for, and of each piece its frames, its time and its files
        00000_depth.mp4     so many frames, coded by themselves
        00000_state.pt      what the frames after them need to know of those before (the newest only)

A piece counts when `pieces.json` names it; that is written last, whole. The folder goes when the film is there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from shutil import rmtree
from typing import Any

import torch
from torch import Tensor

from ...geometry.estimate import Axes, Estimate
from ...geometry.files import write_depth_png, write_exr, write_normal_png
from ...geometry.files.paths import write_bytes
from ...geometry.films import CODECS, FilmError, FilmWriter, Frame, numbered
from ..staging import kept_if_used
from .finished import differing_settings
from .task import DEPTH, PIECES, FilmTask, pieces_folder

NUMBERS = "numbers"
"""The piece that keeps depth for a second pass: 16 bits of each frame's own range, without loss."""

_VERSION = 3


@dataclass
class PieceRecord:
    """One finished piece.

    Attributes:
        frames: How many frames it has.
        time: Seconds of the source at which it begins, as a fraction in words.
        end: Seconds of the source at which it ends, likewise.
        files: Names by what is in them.
        ranges: Of `NUMBERS`: each frame's least and greatest number.
        black_and_white: Of `NUMBERS`: each frame's `usual_range`.
        ends: Of `NUMBERS` for stereo: each frame's far and near end, as `stereo.disparity_range` measures them.
        quantity: Of `NUMBERS`: what the depth is.
    """

    frames: int = 0
    time: str = "0"
    end: str = "0"
    files: dict[str, str] = field(default_factory=dict)
    ranges: list[tuple[float, float]] = field(default_factory=list)
    black_and_white: list[tuple[float, float]] = field(default_factory=list)
    ends: list[tuple[float, float]] = field(default_factory=list)
    quantity: str | None = None


class Pieces:
    """The pieces of one film, which no other run touches meanwhile. To be used as a context, which makes the folders that are absent.

    What is not a finished piece of the same settings is removed when it is opened.

    Args:
        task: What is asked.
        settings: All that decides on the frames.
        resume: Whether to go on with what is there.

    Raises:
        FilmError: There are pieces that were made with other settings, and `resume` is asked for; or another run makes the same film.
    """

    def __init__(self, task: FilmTask, settings: Mapping[str, Any], resume: bool) -> None:
        self.folder = pieces_folder(task.targets)
        self._settings = json.loads(json.dumps(settings))
        self.records: list[PieceRecord] = []
        self._lock: Any = None
        self._resume = resume

    def __enter__(self) -> Pieces:
        from filelock import FileLock, Timeout

        self._lock = FileLock(self.folder.with_name(f"{self.folder.name}.lock"))
        self._place = ExitStack()
        self._place.enter_context(kept_if_used(self.folder.parent))
        self.folder.mkdir(exist_ok=True)
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            self._place.close()
            raise FilmError(f"{self.folder}: another run makes this film at this moment; wait for it, or choose another name") from error
        try:
            self._open()
        except BaseException:
            self._release()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._release()

    def _release(self) -> None:
        self._lock.release()
        with suppress(OSError):
            Path(self._lock.lock_file).unlink()
        self._place.close()
        with suppress(OSError):  # other records are in it
            self.folder.parent.rmdir()

    def _open(self) -> None:
        if self._resume:
            self._load()
        known = {PIECES, self._state_name(len(self.records)), *(name for each in self.records for name in each.files.values())}
        for path in self.folder.iterdir():
            if path.name not in known:
                path.unlink()
        if not self.records:
            self._save()

    @property
    def done(self) -> int:
        """Frames in finished pieces."""
        return sum(each.frames for each in self.records)

    def _load(self) -> None:
        path = self.folder / PIECES
        if not path.is_file():
            return
        try:
            found = json.loads(path.read_bytes())
            if found["version"] != _VERSION:
                return
            settings, records = found["settings"], [PieceRecord(**each) for each in found["pieces"]]
        except (ValueError, KeyError, TypeError) as error:
            raise FilmError(f"{path} is damaged ({error}); run without --resume to begin anew") from error
        if differing := differing_settings(settings, self._settings):
            raise FilmError(f"{self.folder} was begun with other settings ({', '.join(differing)}); give those, or run without --resume")
        self.records = [each for each in records if all((self.folder / name).is_file() for name in each.files.values())]
        if len(self.records) != len(records):
            raise FilmError(f"{self.folder} lacks pieces that {path.name} names; run without --resume to begin anew")

    def state(self) -> Any:
        """What was kept with the newest piece; None at the beginning."""
        path = self.folder / self._state_name(len(self.records))
        return torch.load(path, weights_only=True) if self.records else None

    def add(self, record: PieceRecord, state: Any) -> None:
        """Makes a piece count, with what the next one needs."""
        before = self.folder / self._state_name(len(self.records))
        # A full disk is said by its name, which torch.save to a file does not.
        content = BytesIO()
        torch.save(state, content)
        write_bytes(self.folder / self._state_name(len(self.records) + 1), content.getvalue())
        self._save(record)
        self.records.append(record)
        before.unlink(missing_ok=True)

    def _save(self, *new: PieceRecord) -> None:
        content = {"version": _VERSION, "settings": self._settings, "pieces": [asdict(each) for each in (*self.records, *new)]}
        write_bytes(self.folder / PIECES, json.dumps(content).encode())

    @staticmethod
    def _state_name(pieces: int) -> str:
        return f"{pieces:05d}_state.pt"

    def remove(self) -> None:
        """Removes the folder."""
        rmtree(self.folder, ignore_errors=True)


@dataclass(frozen=True)
class Shown:
    """Some frames as they are written.

    Attributes:
        frames: Their times.
        pictures: (B, 1 or 3, H, W) in [0, 1] by what they show; for EXR nothing.
        estimate: The numbers.
        ranges: Of `NUMBERS`.
        black_and_white: Of `NUMBERS`.
        ends: Of `NUMBERS` for stereo.
    """

    frames: list[Frame]
    pictures: Mapping[str, Tensor]
    estimate: Estimate
    ranges: list[tuple[float, float]] = field(default_factory=list)
    black_and_white: list[tuple[float, float]] = field(default_factory=list)
    ends: list[tuple[float, float]] = field(default_factory=list)


class PieceWriter:
    """Writes one piece: a film by what is in it, or numbered files at their final place.

    Args:
        pieces: Where films of pieces go.
        task: What is asked.
        rate: Frames a second.
        time_base: Of the source.
        first: How many frames were before this piece.
        label: What the files' names begin with.
    """

    def __init__(self, pieces: Pieces, task: FilmTask, rate: Fraction, time_base: Fraction, first: int, label: str) -> None:
        self._folder, self._task, self._rate, self._time_base = pieces.folder, task, rate, time_base
        self._first, self._label = first, label
        self._films: dict[str, FilmWriter] = {}
        self._numbered: list[Path] = []
        self._opened = ExitStack()
        self.record = PieceRecord()

    def write(self, shown: Shown) -> None:
        """The next frames."""
        if shown.ranges and shown.estimate.quantity is not None:
            self.record.quantity = shown.estimate.quantity.value
        self.record.ranges += shown.ranges
        self.record.black_and_white += shown.black_and_white
        self.record.ends += shown.ends
        for index, frame in enumerate(shown.frames):
            if not self.record.frames:
                self.record.time = str(frame.time)
            self.record.end = str(frame.time + (frame.duration or 1 / self._rate))
            for what, pictures in shown.pictures.items():
                self._write(what, pictures[index], frame)
            if self._task.codec == "exr":
                self._write_exr(shown.estimate.pictures(index, index + 1))
            self.record.frames += 1

    def _write(self, what: str, picture: Tensor, frame: Frame) -> None:
        if self._task.sequence and what != NUMBERS:
            path = self._place(what)
            write = write_depth_png if len(picture) == 1 else _write_rgb
            write(path, picture)
            return
        if what not in self._films:
            codec = "ffv1" if what == NUMBERS else self._task.codec
            suffix = CODECS["ffv1"].containers[0] if what == NUMBERS else self._task.targets[what].suffix
            name = f"{self._label}_{what}{suffix}"
            film = FilmWriter(self._folder / name, codec, self._rate, self._time_base, self._task.quality)
            self._films[what] = self._opened.enter_context(film)
            self.record.files[what] = name
        self._films[what].write(picture, frame.time - Fraction(self.record.time), frame.duration)

    def _write_exr(self, estimate: Estimate) -> None:
        for what in self._task.targets:
            depth = what == DEPTH
            part = Estimate(
                estimate.depth if depth else None,
                estimate.quantity if depth else None,
                None if depth else estimate.normals,
                axes=Axes.OPENGL if depth else estimate.axes,
                mask=estimate.mask,
                intrinsics=estimate.intrinsics,
            )
            write_exr(self._place(what), part)

    def _place(self, what: str) -> Path:
        """Where the frame that is written now has its numbered file."""
        path = numbered(self._task.targets[what], self._first + self.record.frames + 1)
        self._numbered.append(path)
        return path

    def close(self) -> None:
        """Finishes the films."""
        self._opened.close()

    def abandon(self) -> None:
        """Closes the films as they are, which do not count, and removes numbered files."""
        with suppress(Exception):
            self._opened.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
        for path in self._numbered:
            path.unlink(missing_ok=True)


def _write_rgb(path: Path, picture: Tensor) -> None:
    write_normal_png(path, picture, bits=16)
