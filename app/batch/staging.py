"""Writes results under temporary names and renames them together.

Checking, recording and renaming are serialised per image: if two processes work on one image, all files are those of the last one.
Processes on different images do not block each other (`name_locks`).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Event, Thread, get_ident
from typing import Any

from ...annotators.choices import wording
from ...geometry.files.paths import move_over, remove_leftovers, reworded, temporary_folder, too_long_on_windows
from .name_locks import locked_names
from .outputs import Outputs, refusals
from .records import RECORDS, mark, new_record

# A marker counts as a leftover after a day. The join has a timeout, so that a hanging drive does not keep a run from ending.
_BEAT_SECONDS = 3600.0
_JOIN_SECONDS = 1.0


class Stages:
    """Staging folders that a run reuses, since making one takes longer than writing small files; a context manager that removes them."""

    def __init__(self) -> None:
        self._kept: dict[int, tuple[Path, ExitStack]] = {}  # by thread

    def __enter__(self) -> Stages:
        return self

    def __exit__(self, *_: object) -> None:
        for thread in reversed(list(self._kept)):  # the first one's parents are empty only after the last
            self._close(thread)

    def empty(self, records: Path) -> Path:
        """This thread's empty staging folder inside a records folder, which is created if absent."""
        thread = get_ident()
        stage, _ = self._kept.get(thread, (None, None))
        if stage is None or stage.parent != records or not stage.exists():  # another folder, or a remounted disk
            self._close(thread)
            with ExitStack() as stack:
                stack.enter_context(kept_if_used(records))
                stage = stack.enter_context(temporary_folder(records))
                self._kept[thread] = stage, stack.pop_all()
        return stage

    def discard(self) -> None:
        """Removes this thread's folder and its content; it is not used again, even if something cannot be removed."""
        self._close(get_ident())

    def _close(self, thread: int) -> None:
        if thread in self._kept:
            _, stack = self._kept.pop(thread)
            stack.close()


@contextmanager
def staged(
    outputs: Outputs, settings: Mapping[str, Any], source_mark: Mapping[str, int] | None = None, stages: Stages | None = None
) -> Iterator[Outputs]:
    """Yields `outputs` moved to an empty staging folder on the same disk, for the results of `estimate`; see `published`.

    Args:
        outputs: The final paths; the folder is created if absent.
        settings: The settings for the record, JSON-serialisable.
        source_mark: The image's mark before reading; None = the current one.

    Raises:
        FileExistsError: A file that this pack did not make has appeared meanwhile.
        OSError: Writing failed; the message says why and what to do.
    """

    def check(targets: Sequence[Path]) -> None:
        if problems := refusals(outputs, targets):
            raise FileExistsError("; ".join(problems))

    record = partial(new_record, outputs.record, outputs.image, source_mark or mark(outputs.image), settings)
    with published(outputs.record, check, record, stages) as stage:
        yield replace(outputs, folder=stage)


@contextmanager
def published(
    record: Path, check: Callable[[Sequence[Path]], object], content: Callable[[Mapping[str, Any]], bytes], stages: Stages | None = None
) -> Iterator[Path]:
    """Yields an empty staging folder; publishes its files and their record together if the block succeeds. OSError says what to do.

    Args:
        record: The record's path, in the records folder of the results folder; both are created if absent.
        check: Called with the final paths before anything is moved; it raises to prevent that.
        content: Returns the record's content from the files' marks by name.
        stages: The run's staging folders; None = a folder for these files only.
    """
    folder = record.parent.parent
    with refusal_in_words(folder), nullcontext(stages) if stages else Stages() as kept:
        stage = kept.empty(record.parent)
        try:
            yield stage
            written = sorted(stage.iterdir())
            with locked_names(folder, (record.name, *(path.name for path in written))):
                targets = [folder / path.name for path in written]
                check(targets)
                # In the staging folder too: a killed process leaves nothing outside it.
                (stage / record.name).write_bytes(content({path.name: mark(path) for path in written}))
                # The record goes first: after a crash it tells which files have arrived.
                for path, target in zip((stage / record.name, *written), (record, *targets), strict=True):
                    move_over(path, target)
        except BaseException:
            kept.discard()
            raise


@contextmanager
def without_leftovers(folders: Iterable[Path]) -> Iterator[None]:
    """Removes what killed runs left in results folders, and after the block their records folders that are empty."""
    records = [folder / RECORDS for folder in dict.fromkeys(folders)]
    for each in records:
        remove_leftovers(each)  # also where this run writes nothing
    try:
        yield
    finally:
        for each in records:
            remove_empty(each)


@contextmanager
def open_run_marker(folder: Path) -> Iterator[Path]:
    """Creates a marker folder for the duration of a run, and yields its path. Raises as `refusal_in_words`.

    If it disappears, the results' drive was unmounted or replaced, and nothing more may be written (`check_run_marker`). The results folder
    is created if absent, and removed again if it stays empty. The marker's time is refreshed, so that other runs see this one as alive: on
    a disk without locks, anything older than a day counts as a leftover.
    """
    records = folder.absolute() / RECORDS
    with ExitStack() as stack:
        stack.callback(remove_empty, records)  # left by an earlier run, or emptied by this one
        stack.enter_context(kept_if_used(records))
        with refusal_in_words(folder):
            marker = stack.enter_context(temporary_folder(records))
        ended = Event()
        beats = Thread(target=_keep_young, args=(marker, ended), daemon=True, name="marker")
        beats.start()
        try:
            yield marker
        finally:
            ended.set()
            beats.join(_JOIN_SECONDS)


def remove_empty(folder: Path) -> None:
    """Removes a folder if it is empty."""
    with suppress(OSError):  # not empty, or gone
        folder.rmdir()


def _keep_young(marker: Path, ended: Event) -> None:
    while not ended.wait(_BEAT_SECONDS):
        with suppress(OSError):  # gone, which `check_run_marker` reports, or a disk without settable times
            os.utime(marker)


def check_run_marker(marker: Path | None) -> None:
    """Raises OSError if the marker is gone, and so the results folder is not the one that the run began with; None skips the check.

    An unmounted drive leaves an empty mount point, which would take the results.
    """
    if marker is None:
        return
    try:
        marker.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise OSError(
            f"{marker.parent.parent} is not the folder that the run began with: its drive is gone, or somebody emptied or moved it; "
            "bring it back, or choose another --out"
        ) from OSError(errno.ENODEV, os.strerror(errno.ENODEV))
    except OSError:
        pass  # writing reports other errors


@contextmanager
def refusal_in_words(folder: Path) -> Iterator[None]:
    """Rewords OSErrors of the block: they name `folder` and what to do."""
    try:
        yield
    except OSError as error:
        if error.errno is None:  # already reworded
            raise
        if words := too_long_on_windows(error):
            raise reworded(error, f"cannot write to {folder}: {words}") from error
        raise reworded(error, f"cannot write to {folder}: {error.strerror or error}; {wording().make_writable}") from error


@contextmanager
def folder_beside(result: Path) -> Iterator[Path]:
    """Yields an empty folder on a result's disk. Makes the result's folder, removed if it stays empty; an OSError names the result."""
    with kept_if_used(result.parent), temporary_folder(result.parent) as folder:
        try:
            yield folder
        except OSError as error:
            if not error.strerror:
                raise reworded(error, str(error).replace(str(folder), str(result.parent))) from error
            if error.filename is not None and str(folder) not in str(error.filename):  # FFmpeg: "file:..."
                raise
            raise OSError(error.errno, error.strerror, str(result)) from error


@contextmanager
def kept_if_used(folder: Path) -> Iterator[None]:
    """Creates a folder and its ancestors; those created here that are empty after the block are removed again."""
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        with suppress(OSError):  # not empty
            for each in made:
                each.rmdir()
