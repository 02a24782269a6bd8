"""One image or video dropped on the page: its settings, progress and results; and names that every system can store."""

from __future__ import annotations

import logging
import os
import re
import time
import unicodedata
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...annotators.choices import BUNDLED_MODEL
from ...annotators.registry import find_spec
from ...annotators.specs.base import ModelSpec
from ...geometry.estimate import Quantity
from ...geometry.files.paths import is_windows_device
from ...options.estimate import AUTO_RUNTIME
from ...options.map_images import CODINGS, OPENGL
from ...options.outputs import DEFAULT_WRITES, WITH_NUMBERS
from ..batch.failures import Failure, failure_of
from ..batch.name_locks import folded
from ..batch.options import Options
from ..batch.outputs import Outputs
from ..batch.records import mark
from ..batch.sources import VIDEOS
from ..console.terminal import program, quoted
from ..outcomes import EXPECTED_ERRORS
from ..video.task import segments_folder
from .refusals import Refusal, one_of
from .tasks import CANCELLED, DONE, FAILED, LOADING, WAITING, StoppedError, Task

logger = logging.getLogger(__name__)

WRITES = WITH_NUMBERS
"""Outputs of every image: two images to look at, and the raw maps, from which the rest is made on request."""

EXPORTS = ("exr", "glb", "html")
"""Formats exported from the raw maps on request."""

RESOLUTIONS = {"fast": 0.6, "standard": 1.0, "fine": 1.5}
"""The page's resolutions, as factors of the model's default input size."""


@dataclass
class Job(Task):
    """One file and its results. The error of a finished video is why it ends early.

    Attributes:
        name: The cleaned file name.
        source: The uploaded file, whose stem is that of the results.
        size: Width and height by the header; None = unknown, as for a video.
        quantity: The kind of depth; None = no depth.
        files, marks: The files written, by kind, and their marks then: another program may overwrite them. `note` adds to both.
        began: Start of the work, of `time.monotonic`.
        typed: The name in commands: the file's own, or the path of the demo photo; the page knows no other path.
    """

    id: str
    name: str
    source: Path
    options: Options
    out: Path
    size: tuple[int, int] | None = None
    seconds: float = 0.0
    quantity: str | None = None
    files: dict[str, Path] = field(default_factory=dict)
    marks: dict[str, Any] = field(default_factory=dict)
    began: float = 0.0
    typed: str = ""

    @property
    def is_video(self) -> bool:
        """Whether the file name is that of a video."""
        return self.source.suffix.lower() in VIDEOS

    @property
    def outputs(self) -> Outputs:
        """An image's result files."""
        return Outputs(self.source, self.out, WRITES)

    @property
    def exports(self) -> tuple[str, ...]:
        """The formats that can be exported."""
        if self.state != DONE or self.is_video:
            return ()
        return tuple(kind for kind in EXPORTS if kind != "glb" or self.quantity is not None)

    def note(self, files: Mapping[str, Path]) -> None:
        """Registers files that were just written."""
        self.marks = self.marks | {kind: mark(path) for kind, path in files.items()}
        self.files = self.files | dict(files)

    def unchanged(self, kind: str) -> Path | None:
        """A result's file, if it exists unchanged."""
        path = self.files.get(kind)
        return path if path is not None and mark(path) == self.marks[kind] is not None else None

    def upload(self) -> Path:
        """The uploaded file. Raises FileNotFoundError if the temporary folder was cleaned."""
        if not self.source.is_file():
            raise FileNotFoundError("the file is no longer in the temporary folder, which somebody emptied; add it again")
        return self.source

    def in_words(self, reason: str) -> str:
        """Shortens a message: replaces the upload's path by its name, and drops the leading name, which the page shows anyway."""
        return reason.replace(str(self.source), self.name).removeprefix(f"{self.name}: ")

    def begin(self) -> None:
        self.state, self.began = LOADING, time.monotonic()

    def end(self, state: str, error: str = "") -> None:
        if not self.is_over:
            self.seconds = time.monotonic() - self.began if self.began else 0.0
        super().end(state, error)

    def attempt(self, run: Callable[[], Failure | None], end: Callable[[str, str], object]) -> None:
        """Runs a part of the job in a queue's thread. `run` returns a failure, or raises; `end` gets the state and the message."""
        try:
            failure = run()
            end(*(FAILED, self.in_words(failure.reason)) if failure else (DONE, ""))
        except StoppedError:
            end(CANCELLED, "")
        except (*EXPECTED_ERRORS, Refusal) as error:
            end(FAILED, self.in_words(failure_of(str(self.source), error).reason))
        except Exception as error:  # our own bugs must not end the queue
            logger.exception("%s", self.name)
            end(FAILED, self.in_words(f"{type(error).__name__}: {error}"))

    def as_json(self) -> dict[str, Any]:
        """The page's JSON."""
        return {
            "id": self.id,
            "name": self.name,
            "video": self.is_video,
            "size": self.size,
            "state": self.state,
            "share": self.share,
            "error": self.error,
            "seconds": round(self.seconds if self.is_over or self.state == WAITING else time.monotonic() - self.began, 2),
            "model": self.options.spec.id,
            "files": {kind: path.name for kind, path in self.files.items()},
            "exports": self.exports,
            "depth": self.quantity is not None,
            "command": self.command,
        }

    @property
    def command(self) -> str:
        """The equivalent shell command."""
        if self.is_video:
            outputs = ",".join(video_outputs(self.options.spec))
            return " ".join((program(), "video", *self._network(), "--what", outputs, "-o", quoted(f"{self.out}/")))
        words = self._network()
        if self.options.coding != OPENGL:
            words += ["--coding", self.options.coding]
        also = [kind for kind in (*WRITES[len(DEFAULT_WRITES) :], *EXPORTS) if kind in self.files or kind in WRITES]
        return " ".join((program(), *words, "--also", ",".join(also), "-o", quoted(self.out)))

    def command_of(self, command: str, words: Sequence[str]) -> str:
        """Another command for this image, with the same model and results folder."""
        return " ".join((program(), command, *self._network(), *words, "-o", quoted(f"{self.out}/")))

    def _network(self) -> list[str]:
        options = self.options
        name = self.typed or self.name
        words = [quoted(f"./{name}" if name.startswith("-") else name), "--model", options.spec.id]
        if options.size:
            words += ["--size", str(options.size)]
        return words + ["--refine"] * (options.refine is True and not self.is_video)


def video_outputs(spec: ModelSpec) -> list[str]:
    """The outputs of a video: depth, and normals if the model predicts or implies them."""
    depth = ["depth"] if spec.quantity else []
    return depth + (["normals"] if spec.axes or spec.quantity not in (None, Quantity.RELATIVE_DEPTH) else [])


def options_of(values: dict[str, str]) -> Options:
    """Parses the page's settings, all optional, to options of the engine; raises Refusal for an unknown value.

    They are "model", "resolution" (of RESOLUTIONS), "coding" (of CODINGS) and "refine" ("1" or nothing).
    """
    try:
        spec = find_spec(values.get("model") or BUNDLED_MODEL)
    except ValueError as error:
        raise Refusal(400, "{0}", error) from error
    factor = RESOLUTIONS[one_of(values, "resolution", RESOLUTIONS, "standard")]
    coding = one_of(values, "coding", CODINGS, OPENGL)
    side = spec.multiple_of
    size = None if factor == 1 else spec.used_size(max(side, round(spec.default_size * factor / side) * side))
    return Options(spec, size=size, refine=values.get("refine") == "1" or None, coding=coding, runtime=AUTO_RUNTIME)


# Control characters, bidirectional controls, and characters that Windows forbids.
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069<>:"|?*]')
_LONGEST_BYTES = 120
_NAMELESS = "image"


def clean_name(name: str) -> str:
    """A safe file name without folders, with its extension in lower case, of anything that a page sent; "image" if nothing is left."""
    last = re.split(r"[/\\]", unicodedata.normalize("NFC", name))[-1]
    last = _FORBIDDEN.sub("_", last.encode(errors="replace").decode())
    stem, dot, extension = last.rpartition(".")
    if not dot:
        stem, extension = last, ""
    stem = stem.strip(" .").encode()[:_LONGEST_BYTES].decode(errors="ignore").strip(" .")
    if is_windows_device(stem):
        stem = f"_{stem}"
    extension = re.sub(r"[^a-z0-9]", "", extension.lower())[:8]
    return f"{stem or _NAMELESS}.{extension}" if extension else stem or _NAMELESS


def typed_name(name: str) -> str:
    """The name that a page sent, for a command: without folders, else unchanged, even the extension; empty if a terminal cannot show it."""
    last = re.split(r"[/\\]", name)[-1]
    return last if last.strip(" .") and last.isprintable() else ""


def free_name(name: str, taken: Collection[str], folder: Path, endings: Collection[str]) -> str:
    """The name from `clean_name`, numbered if results with one of the `endings` exist, or its stem is `taken`, as `folded`, by others."""
    path, number = Path(name), 1
    stem = path.stem
    while folded(stem) in taken or any(_is_taken(folder / f"{stem}{ending}") for ending in endings):
        number += 1
        stem = f"{path.stem}-{number}"
    return f"{stem}{path.suffix}"


def _is_taken(path: Path) -> bool:
    """Whether a result exists, or a video of this name is being made, by this server or another."""
    return os.path.lexists(path) or segments_folder({"": path}).exists()
