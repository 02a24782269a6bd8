"""Failed images, and whether a retry makes sense: `.depth-normal/failures.jsonl` in the results folder.

One failure a line, as JSON:

    {"image": "/photos/a.jpg", "relative": "a.jpg", "reason": "...", "again": true, "bytes": 81920, "modified_ns": ..., "time": "..."}

Lines are appended while images fail. At the end of a run, lines of images that are done are removed, and of several lines about one image
only the last is kept. A lock serialises this.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ...annotators.base import is_out_of_memory
from ...geometry.files.paths import write_bytes
from ...model_loader.comfy.placement import WeightsTooLargeError
from ..outcomes import message_of
from .name_locks import locked_names
from .records import RECORDS, mark
from .remote_files import as_path, is_url
from .sources import Source
from .staging import check_run_marker

logger = logging.getLogger(__name__)

FAILURES = "failures.jsonl"

# Errors that the next image would meet too: a full, read-only or lost disk.
_STOPS_RUN = {
    getattr(errno, name, None) for name in ("ENOSPC", "EDQUOT", "EROFS", "EIO", "ESTALE", "ENOTCONN", "ENODEV", "EHOSTDOWN", "EHOSTUNREACH")
} - {None}
_FULL_BELOW = 2**20
_MAX_LINE = 2**20


@dataclass(frozen=True)
class Failure:
    """Why an image failed.

    Attributes:
        reason: A message that names its subject.
        retryable: Whether a retry may succeed with the same image and options.
        stops_run: Whether every other image would fail too: the model does not fit on the device, or the disk is full or gone.
    """

    reason: str
    retryable: bool = False
    stops_run: bool = False


def failure_of(
    name: str, error: BaseException, written_to: Path | None = None, words: Callable[[BaseException], str] = message_of
) -> Failure:
    """An exception as a failure of `name`, prepended if the message lacks it; `written_to`: the folder, None if it was not writing."""
    text = words(error)
    reason = text if name in text else f"{name}: {text}"
    if isinstance(error, WeightsTooLargeError):
        return Failure(reason, retryable=True, stops_run=True)
    if written_to is not None and (_number(error) in _STOPS_RUN or _is_full(written_to)):
        return Failure(reason, retryable=True, stops_run=True)
    in_vain = isinstance(error, (PermissionError, FileExistsError, IsADirectoryError))
    return Failure(reason, retryable=is_out_of_memory(error) or (isinstance(error, OSError) and not in_vain))


def _number(error: BaseException | None) -> int | None:
    """The errno of an error or of its cause."""
    while error is not None:
        if isinstance(error, OSError) and error.errno is not None:
            return error.errno
        error = error.__cause__
    return None


def _is_full(folder: Path) -> bool:
    """Whether a disk is full: libraries that write files themselves do not report why they fail."""
    try:
        usage = shutil.disk_usage(next(each for each in (folder, *folder.parents) if each.exists()))
    except OSError:
        return False
    return usage.total > 0 and usage.free < _FULL_BELOW  # some FUSE file systems report neither


def folder_of_failures(out: Path) -> Path:
    """The parent folder of `failures.jsonl`: `out` itself, or for a store a folder on this machine."""
    if not is_url(out):
        return out
    from ...model_loader.weights.find import user_cache

    return user_cache() / "runs" / hashlib.sha256(str(out).encode()).hexdigest()[:16]


class FailureLog:
    """The failures of one results folder, in the file `path`. `marker`: as `staging.check_run_marker`, checked before each entry.

    If it cannot be written, this is logged once and the run continues: the caller reports failures itself.
    """

    def __init__(self, out: Path, marker: Path | None = None) -> None:
        self._out, self._marker = out, marker
        self.path = out / RECORDS / FAILURES
        self._failed = {entry["image"] for entry in self._entries()}
        self._done: set[str] = set()
        self._kept = True

    def add(self, source: Path, folder: Path, failure: Failure) -> None:
        """Appends a failed image at once; `folder` is the folder of its results."""
        if not self._kept:
            return
        with self._tolerant():
            check_run_marker(self._marker)
            image = str(source.absolute())
            entry = {
                "image": image,
                "relative": str(folder.relative_to(self._out) / source.name),
                "reason": failure.reason,
                "again": failure.retryable,
                **(mark(source) or {}),
                "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            }
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with locked_names(self._out, (FAILURES,)), self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
            self._failed.add(image)

    def remove(self, image: Path) -> None:
        """Marks an image as done, for `settle`."""
        if self._failed and (name := str(image.absolute())) in self._failed:
            self._done.add(name)

    def settle(self) -> int:
        """Removes images that are done, and all but the last line of each other; deletes an empty file. Returns how many are left."""
        left: dict[str, dict[str, Any]] = {}
        if not self._kept or not self.path.is_file():
            return 0
        with self._tolerant(), locked_names(self._out, (FAILURES,)):
            left = {entry["image"]: entry for entry in self._entries() if entry["image"] not in self._done}
            if left:
                write_bytes(self.path, "".join(json.dumps(entry) + "\n" for entry in left.values()).encode())
            else:
                self.path.unlink(missing_ok=True)
        return len(left)

    @contextmanager
    def _tolerant(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._kept = False
            logger.warning("failures are not kept: %s (%s)", error.strerror or error, self.path)

    def worth_trying(self) -> list[Source]:
        """The images worth a retry: the failure is retryable, or the file has changed."""
        last = {entry["image"]: entry for entry in self._entries()}
        chosen = (
            entry
            for entry in last.values()
            if entry["again"] or ((now := mark(as_path(entry["image"]))) and not now.items() <= entry.items())
        )
        return [Source(as_path(entry["image"]), Path(entry["relative"])) for entry in chosen]

    def _entries(self) -> Iterator[dict[str, Any]]:
        """The readable lines: a killed process may leave half a line at the end."""
        try:
            file = self.path.open(encoding="utf-8", errors="surrogateescape")
        except OSError:
            return
        with file:
            while line := file.readline(_MAX_LINE):
                try:
                    entry = json.loads(line)
                except (ValueError, RecursionError):
                    continue
                if isinstance(entry, dict) and _is_entry(entry):
                    yield entry


def _is_entry(entry: Mapping[str, Any]) -> bool:
    """Whether a line is a valid entry whose results stay inside the results folder."""
    image, relative = entry.get("image"), entry.get("relative")
    if not isinstance(image, str) or not isinstance(relative, str) or not isinstance(entry.get("again"), bool):
        return False
    below = Path(relative)
    return bool(below.name) and not below.anchor and ".." not in below.parts
