"""Writes results to temporary names and renames them together.

Of two processes that work on one image, the last one's files are there, all of them: one at a time checks, records and renames. Those that
work on different images do not wait for each other (`name_locks`).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Event, Thread, get_ident
from typing import Any

from ...annotators.choices import wording
from ...geometry.files.paths import move_over, reworded, temporary_folder, too_long_on_windows
from .name_locks import locked_names
from .outputs import Outputs, refusals
from .records import RECORDS, mark, new_record

# A marker counts as a leftover after a day. A drive that hangs must not keep a run from ending.
_BEAT_SECONDS = 3600.0
_JOIN_SECONDS = 1.0


class Stages:
    """Folders to write in that a run keeps from one image to the next: making and removing one takes longer than writing small files.

    A context, which removes them after all writers have finished.
    """

    def __init__(self) -> None:
        self._kept: dict[int, tuple[Path, ExitStack]] = {}  # by thread

    def __enter__(self) -> Stages:
        return self

    def __exit__(self, *_: object) -> None:
        for thread in reversed(list(self._kept)):  # what the first one made is empty after the last
            self._close(thread)

    def empty(self, records: Path) -> Path:
        """This thread's empty folder on the disk of a folder of records, which is made where it is absent."""
        thread = get_ident()
        stage, _ = self._kept.get(thread, (None, None))
        if stage is None or stage.parent != records or not stage.exists():  # another folder's, or its disk went away and came back
            self._close(thread)
            with ExitStack() as stack:
                stack.enter_context(kept_if_used(records))
                stage = stack.enter_context(temporary_folder(records))
                self._kept[thread] = stage, stack.pop_all()
        return stage

    def discard(self) -> None:
        """Removes this thread's folder, with whatever is in it; what cannot be removed stays in a folder that is not used again."""
        self._close(get_ident())

    def _close(self, thread: int) -> None:
        if thread in self._kept:
            _, stack = self._kept.pop(thread)
            stack.close()


@contextmanager
def staged(
    outputs: Outputs, settings: Mapping[str, Any], source_mark: Mapping[str, int] | None = None, stages: Stages | None = None
) -> Iterator[Outputs]:
    """A place to write what `estimate` makes of one image, as `published`.

    Args:
        outputs: The final places; the folder is made where it is absent.
        settings: The settings for the record, as JSON can hold them.
        source_mark: The mark of the image from before it was read; None = as it is now.
        stages: As `published`.

    Yields:
        The same names in an empty folder on the same disk.

    Raises:
        FileExistsError: A file came there meanwhile that this pack did not make.
        OSError: The system refuses to write; the message says why and what to do.
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
    """A place to write files in. They appear together with their record when the block ends well; otherwise none appears.

    Args:
        record: The record, in the folder of records of the results' folder; both are made where they are absent.
        check: Called with the places of the files before any is there; what it raises stops that.
        content: The record, of the marks of the files by their names.
        stages: Of a run that writes many; None = the place is made for these files alone.

    Yields:
        An empty folder on the same disk.

    Raises:
        OSError: The system refuses to write; the message says why and what to do.
    """
    folder = record.parent.parent
    with _refusal_in_words(folder), nullcontext(stages) if stages else Stages() as kept:
        stage = kept.empty(record.parent)
        try:
            yield stage
            written = sorted(stage.iterdir())
            with locked_names(folder, (record.name, *(path.name for path in written))):
                targets = [folder / path.name for path in written]
                check(targets)
                # Written aside as well: a process that is killed leaves nothing outside its folder.
                (stage / record.name).write_bytes(content({path.name: mark(path) for path in written}))
                # The record goes first: after a crash in between it knows what has arrived and what has not.
                for path, target in zip((stage / record.name, *written), (record, *targets), strict=True):
                    move_over(path, target)
        except BaseException:
            kept.discard()
            raise


@contextmanager
def open_run_marker(folder: Path) -> Iterator[Path]:
    """Creates a marker folder for the duration of a run, and yields its path.

    If it disappears, the drive of the results was unmounted or replaced, and nothing more may be written (`check_run_marker`). The folder
    of the results is made if absent, and removed again where nothing was written to it. Other runs see by the marker's time that this one
    goes on, however long an item takes: on a disk without locks, what is older than a day counts as a leftover.

    Raises:
        OSError: The system refuses to write; the message says why and what to do.
    """
    records = folder.absolute() / RECORDS
    with ExitStack() as stack:
        stack.callback(_remove_empty, records)  # an earlier run may have left it, and this one removed the last record
        stack.enter_context(kept_if_used(records))
        with _refusal_in_words(folder):
            marker = stack.enter_context(temporary_folder(records))
        ended = Event()
        beats = Thread(target=_keep_young, args=(marker, ended), daemon=True, name="marker")
        beats.start()
        try:
            yield marker
        finally:
            ended.set()
            beats.join(_JOIN_SECONDS)


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):  # it holds something, or is gone
        folder.rmdir()


def _keep_young(marker: Path, ended: Event) -> None:
    while not ended.wait(_BEAT_SECONDS):
        with suppress(OSError):  # it is gone, which `check_run_marker` says, or the disk lets no times be set
            os.utime(marker)


def check_run_marker(marker: Path | None) -> None:
    """Refuses to write where the folder of the results is no longer the one that the run began with; None = it does not matter.

    Raises:
        OSError: The marker is gone. A drive that is unmounted leaves an empty folder, which would take the results.
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
        pass  # what else is wrong, writing says


@contextmanager
def _refusal_in_words(folder: Path) -> Iterator[None]:
    """Rewords errors of the system in the block: they name `folder`, and what to do."""
    try:
        yield
    except OSError as error:
        if error.errno is None:  # it is in words
            raise
        if words := too_long_on_windows(error):
            raise reworded(error, f"cannot write to {folder}: {words}") from error
        raise reworded(error, f"cannot write to {folder}: {error.strerror or error}; {wording().make_writable}") from error


@contextmanager
def folder_beside(result: Path) -> Iterator[Path]:
    """An empty folder on the disk of a result, to write it in; the result's folder is made if absent, and goes again if it stays empty.

    Raises:
        OSError: The system refuses to write; it names the result.
    """
    with kept_if_used(result.parent), temporary_folder(result.parent) as folder:
        try:
            yield folder
        except OSError as error:
            if not error.strerror:
                raise reworded(error, str(error).replace(str(folder), str(result.parent))) from error
            if error.filename is not None and folder not in Path(error.filename).parents:
                raise
            raise OSError(error.errno, error.strerror, str(result)) from error


@contextmanager
def kept_if_used(folder: Path) -> Iterator[None]:
    """Makes a folder and those above it. What is made here, and holds nothing when the block ends, is removed again."""
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        with suppress(OSError):  # the first that holds something
            for each in made:
                each.rmdir()
