"""The one runner of commands over many items: images, effects over images, videos.

    plan ─► an engine ─► outcomes ─► `Run`: output, `failures.jsonl`, stopping, the exit code

A plan lists the work (`outputs.plan_outputs`, `outputs.plan_each`). An engine is a function from it to outcomes: `in_turn` processes one
item after another, `local_engine` runs a network on batches, `cluster.engine` spreads the same steps over Ray.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Generic, Protocol, TypeVar

from ...model_loader.system import terminal_bar
from ..console.terminal import SignalStop, echo, echo_error, shown, stdout_for_results, stoppable
from ..outcomes import DONE, EXPECTED_ERRORS, INTERRUPTED, NOTHING_DONE, SOME_FAILED, TERMINATED, message_of
from .failures import Failure, FailureLog, failure_of
from .outputs import Plan
from .staging import check_run_marker, open_run_marker, without_leftovers

GO_ON = "run the same command with --resume to go on"


class Item(Protocol):
    """The input of one or more results."""

    @property
    def source(self) -> Path:
        """The input file."""
        ...

    @property
    def folder(self) -> Path:
        """Where the results go."""
        ...


T = TypeVar("T", bound=Item)
Read = TypeVar("Read")


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """The outcome of one item; `failure` says why it failed, wholly or in part, and is None on success."""

    item: T
    files: tuple[Path, ...] = ()
    failure: Failure | None = None


def in_turn(
    todo: Iterable[T],
    read: Callable[[T], Read],
    make: Callable[[T, Read], Outcome[T]],
    stop: Event,
    marker: Path | None = None,
    words: Callable[[BaseException], str] = message_of,
) -> Iterator[Outcome[T]]:
    """The engine that processes one item after another and reads the next one meanwhile.

    Args:
        read: Reads an item, in another thread.
        make: Makes and writes the results of an item; what it returns is yielded, or the item's failure.
        stop: Once set, as after a failure that `stops_run`, no further item is begun.
        marker: As `check_run_marker`.
    """
    with ThreadPoolExecutor(1, "read") as pool:
        for item, future in _read_ahead(todo, lambda item: pool.submit(read, item)):
            if stop.is_set():
                return
            written_to = None
            try:
                result, written_to = future.result(), item.folder
                if stop.is_set():
                    return
                check_run_marker(marker)
                outcome = make(item, result)
            except EXPECTED_ERRORS as error:
                outcome = Outcome(item, failure=failure_of(str(item.source), error, written_to, words))
            yield outcome
            if outcome.failure and outcome.failure.stops_run:
                return


def _read_ahead(todo: Iterable[T], begin: Callable[[T], Future[Read]]) -> Iterator[tuple[T, Future[Read]]]:
    """Yields each item once reading the next one has begun."""
    before: list[tuple[T, Future[Read]]] = []
    for item in todo:
        before.append((item, begin(item)))
        if len(before) > 1:
            yield before.pop(0)
    yield from before


@dataclass
class Run(Generic[T]):
    """Runs an engine over a plan, reports each item, and decides on the exit code.

    Attributes:
        unit: The word for an item.
        missed: The number of items that were requested but not found.
        listed: Whether to print each result here and log failures for --retry-failed; otherwise `make` prints its results.
        json_lines: Whether stdout gets JSON instead of text.
        long: Whether an item has a progress bar of its own and is interrupted immediately instead of being finished first.
    """

    plan: Plan[T]
    out: Path
    unit: str = "image"
    missed: int = 0
    listed: bool = False
    json_lines: bool = False
    long: bool = False

    def __post_init__(self) -> None:
        self.done, self.failed = 0, self.missed
        self._some_made = bool(self.plan.done)
        self._stopped_by: Failure | None = None
        self._total = self.plan.total + self.missed

    def run(self, engine: Callable[[Event, Path | None], Iterator[Outcome[T]]], note: str = "") -> int:
        """Runs an engine and returns the exit code. Raises KeyboardInterrupt if the run was stopped at once.

        Args:
            engine: Processes the plan; gets the stop event and the marker of the results folder (`open_run_marker`).
            note: A note about the files, printed if any were made.
        """
        from tqdm.contrib.logging import logging_redirect_tqdm

        with (
            without_leftovers(item.folder for item in (*self.plan.done, *self.plan.todo)),
            open_run_marker(self.out) if self.plan.todo else nullcontext() as marker,
            self._reporting(marker),
            logging_redirect_tqdm(),
            stdout_for_results(),
            nullcontext(SignalStop()) if self.long else stoppable() as stop,
        ):
            outcomes = engine(stop.event, marker)  # loads the model if needed
            self._started = time.monotonic()
            for outcome in outcomes:
                self._add(outcome)
            code = self._finish(note)
        if self._stopped_by and self._total > 1:
            self._say_stopped(self.left, f": {self._stopped_by.reason}")
        if stop.signal is None or not self.left:
            return code
        self._say_stopped(self.left)
        return INTERRUPTED if stop.signal == signal.SIGINT else TERMINATED

    @contextmanager
    def _reporting(self, marker: Path | None) -> Iterator[None]:
        """Reports the refusals of the plan, and owns the progress bar.

        A single image that fails creates no `failures.jsonl` if retrying would not help: its reason is printed. A failure that stops the
        run is not the image's fault, and --resume retries it.
        """
        self._log = FailureLog(self.out, marker) if self.listed else None
        hidden = self.long or self._total == 1 or not self.plan.todo
        with terminal_bar(len(self.plan.todo), self.unit, hidden=hidden, smoothing=0.02) as self._bar:
            for item in self.plan.done:
                self._note_done(item)
            for item, reason in self.plan.refused:
                self._fail(item, Failure(reason))
            try:
                yield
            except KeyboardInterrupt:
                if self.long and self._total > 1:
                    self._say_stopped(max(0, self.left - 1))  # one is being made
                raise

    def _add(self, outcome: Outcome[T]) -> None:
        source, files = outcome.item.source, [str(path) for path in outcome.files]
        self._some_made |= not outcome.failure or bool(files)
        if outcome.failure:
            self._fail(outcome.item, outcome.failure)
        else:
            self.done += 1
            self._note_done(outcome.item)
            if self.json_lines:
                self._say_json(source, status="done", files=files)
            elif self.listed:
                echo(shown(f"{source}: {', '.join(files)}"))
        self._bar.update()

    def _note_done(self, item: T) -> None:
        if self._log:
            self._log.remove(item.source)

    def _fail(self, item: Item, failure: Failure) -> None:
        self.failed += 1
        self._bar.set_postfix(failed=self.failed, refresh=False)
        if failure.stops_run and self._stopped_by is None:
            self._stopped_by = failure
        echo_error(failure.reason)
        if self.json_lines:
            self._say_json(item.source, status="failed", reason=failure.reason, again=failure.retryable)
        if self._log and not failure.stops_run and (self._total > 1 or failure.retryable or self._log.path.exists()):
            self._log.add(item.source, item.folder, failure)

    def _say_json(self, source: Path, **fields: object) -> None:
        echo(json.dumps({"image": str(source), **fields}))

    def _finish(self, note: str) -> int:
        self._bar.close()
        if note and self.done:
            echo_error(note)
        left = self._log.settle() if self._log else 0
        if self._total > 1:
            seconds, skipped = time.monotonic() - self._started, len(self.plan.done)
            before = f"{skipped} skipped (done before), " if skipped else ""
            rate = f" ({self.done / seconds:.3g} {self.unit}s/s)" if self.done else ""
            where = f"; why is in {self._log.path}" if self._log and left and self.failed else ""
            count = f"{self.done} done, {before}{self.failed} failed of {self._total} {self.unit}s"
            echo_error(f"{count} in {seconds:.1f} s{rate}{where}")
        elif self.plan.done:
            echo_error(f"{self.plan.done[0].source}: its results are there already, made by the same command")
        if not self.failed:
            return DONE
        return SOME_FAILED if self._some_made else NOTHING_DONE

    def _say_stopped(self, left: int, reason: str = "") -> None:
        echo_error(f"stopped with {left} {self.unit}{'s' * (left != 1)} not begun{reason}; {GO_ON}")

    @property
    def made(self) -> int:
        """Items that have their results, from this run or before."""
        return self.done + len(self.plan.done)

    @property
    def left(self) -> int:
        """Items that were not begun."""
        return self._total - self.done - self.failed - len(self.plan.done)
