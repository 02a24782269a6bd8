"""Runs `video` on several videos, one after the other with the same model."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..batch.sources import Source
from ..console.terminal import echo_error, shown
from ..outcomes import DONE, EXPECTED_ERRORS, NOTHING_DONE, SOME_FAILED
from .estimate import GO_ON

if TYPE_CHECKING:
    from ...model_loader import Model


@dataclass(frozen=True)
class Prepared:
    """What is to be done for one video.

    Attributes:
        targets: The files of its results.
        make: Makes them by a model, or without one by the user's own depth, and returns the exit code; None = nothing is left to do.
        code: The exit code where nothing is left to do.
    """

    targets: Sequence[Path]
    make: Callable[[Model | None], int] | None
    code: int = DONE


def over_videos(
    arguments: argparse.Namespace,
    sources: Sequence[Source],
    missed: int,
    folder: Path,
    prepare: Callable[[Source], Prepared],
    load: Callable[[], Model],
) -> int:
    """Makes the videos one by one, says what fails and goes on with the others, and returns the exit code.

    Args:
        arguments: The command's.
        sources: The videos.
        missed: How many were asked for and not found.
        folder: Of the results.
        prepare: Finds out what is to be done for a video; nothing is written.
        load: Gives the model as it is before its first frame. It is called before each video.

    Raises:
        KeyboardInterrupt: It was stopped, which is said with the number of videos that were not begun.
        ImportError: A library is missing that every video needs.
    """
    run = _Run(arguments, len(sources) + missed, missed)
    todo = run.prepared(sources, prepare)
    if todo:
        load()  # what no video can do without is said once
    while todo:
        source, make = todo.pop(0)
        try:
            stops_run = run.add(source, lambda make=make: make(load()), folder)
        except KeyboardInterrupt:
            echo_error(f"stopped with {_count(len(todo))} not begun; {GO_ON}")
            raise
        if stops_run and todo:
            echo_error(f"stopped with {_count(len(todo))} not begun: {run.reason}; {GO_ON}")
            break
    return run.finish()


class _Run:
    """Counts the outcomes of several videos, and says them."""

    def __init__(self, arguments: argparse.Namespace, total: int, failed: int) -> None:
        self.reason = ""
        self._arguments, self._total = arguments, total
        self._done, self._kept, self._skipped, self._failed = 0, 0, 0, failed
        self._started = time.monotonic()

    def prepared(
        self, sources: Sequence[Source], prepare: Callable[[Source], Prepared]
    ) -> list[tuple[Path, Callable[[Model | None], int]]]:
        """The videos that a model has to run on. What cannot be done is said."""
        from ..batch.name_locks import folded
        from ..batch.outputs import same_files

        owners: dict[str, Path] = {}
        todo = []
        for source in sources:
            try:
                one = prepare(source)
                names = [folded(str(target)) for target in one.targets]
                for name, target in zip(names, one.targets, strict=True):
                    if name in owners:
                        raise ValueError(same_files(owners[name], source.path, target))
            except ImportError:
                raise
            except EXPECTED_ERRORS as error:
                self._fail(source.path, error)
                continue
            owners |= dict.fromkeys(names, source.path)
            if one.make is not None:
                todo.append((source.path, one.make))
            elif one.code == DONE:
                self._skipped += 1
            else:
                self._kept += 1
                self._failed += 1
        return todo

    def add(self, source: Path, make: Callable[[], int], folder: Path) -> bool:
        """Makes one video; True if every other one would fail as it did, because the disk of `folder` is full or gone."""
        from ...media import VideoReadError
        from ..batch.failures import failure_of

        try:
            code = make()
        except EXPECTED_ERRORS as error:
            self._fail(source, error)
            written_to = None if isinstance(error, VideoReadError) else folder
            return failure_of(str(source), error, written_to).stops_run
        self._done += code == DONE
        self._kept += code != DONE
        self._failed += code != DONE
        return False

    def _fail(self, source: Path, error: BaseException) -> None:
        self._failed += 1
        text = self._arguments.parser.message_of(error) or type(error).__name__
        self.reason = text if str(source) in text else f"{source}: {text}"
        echo_error(shown(self.reason))

    def finish(self) -> int:
        """Says the summary of several videos, and returns the exit code."""
        from ..batch.report import summary

        if self._total > 1:
            echo_error(summary(self._done, self._skipped, self._failed, self._total, "videos", self._started))
        if not self._failed:
            return DONE
        return SOME_FAILED if self._done or self._skipped or self._kept else NOTHING_DONE


def _count(number: int) -> str:
    return f"{number} video{'s' * (number != 1)}"
