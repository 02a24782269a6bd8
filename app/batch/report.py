"""Reports a run over images: a progress bar, a line an image, `failures.jsonl`, and a summary at the end."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import TracebackType

from ...model_loader.terminal_bar import terminal_bar
from ..console.terminal import echo, echo_error, shown
from ..outcomes import DONE, NOTHING_DONE, SOME_FAILED
from .failures import Failure, FailureLog
from .local_engine import Outcome
from .outputs import Outputs, Plan


class Report:
    """Counts the outcomes of a plan's images and reports them as they come; a context that owns the progress bar.

    A single image that fails starts no `failures.jsonl`, where another try would not help: its reason is printed.

    Args:
        plan: The images.
        out: The folder of all results.
        json_lines: Whether stdout gets JSON instead of words.
        missed: How many images were asked for and not found.
        marker: As `staging.check_run_marker`, for `failures.jsonl`.
    """

    def __init__(self, plan: Plan, out: Path, json_lines: bool = False, missed: int = 0, marker: Path | None = None) -> None:
        self.done = 0
        self.failed = missed
        self.stopped_by: Failure | None = None
        self._plan, self._out, self._json_lines = plan, out, json_lines
        self._total = plan.total + missed
        self._log = FailureLog(out, marker)
        self._started = time.monotonic()

    def __enter__(self) -> Report:
        hidden = self._total == 1 or not self._plan.todo
        self._bar = terminal_bar(len(self._plan.todo), "image", hidden=hidden, smoothing=0.02)
        for outputs in self._plan.done:
            self._log.remove(outputs.image)
        for outputs, reason in self._plan.refused:
            self._fail(outputs, Failure(reason))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.close()

    def add(self, outcome: Outcome) -> None:
        """Reports the outcome of one image."""
        if outcome.failure:
            self._fail(outcome.outputs, outcome.failure)
        else:
            self.done += 1
            self._log.remove(outcome.outputs.image)
            if self._json_lines:
                self._say_json(outcome.outputs, status="done", files=[str(path) for path in outcome.files])
            else:
                echo(shown(f"{outcome.outputs.image}: {', '.join(map(str, outcome.files))}"))
        self._bar.update()

    def _fail(self, outputs: Outputs, failure: Failure) -> None:
        self.failed += 1
        self._bar.set_postfix(failed=self.failed, refresh=False)
        if failure.stops_run and self.stopped_by is None:
            self.stopped_by = failure
        echo_error(failure.reason)
        if self._json_lines:
            self._say_json(outputs, status="failed", reason=failure.reason, again=failure.retryable)
        if self._total > 1 or failure.retryable or self._log.path.exists():
            self._log.add(outputs.source_below(self._out), failure)

    def _say_json(self, outputs: Outputs, **fields: object) -> None:
        echo(json.dumps({"image": str(outputs.image), **fields}))

    def finish(self, note: str = "") -> int:
        """Settles `failures.jsonl`, tells the summary of a run over several images, and returns the exit code.

        Args:
            note: What is said of the files, if any were made.
        """
        self._bar.close()
        if note and self.done:
            echo_error(note)
        left = self._log.settle()
        if self._total > 1:
            where = f"; why is in {self._log.path}" if left and self.failed else ""
            echo_error(summary(self.done, len(self._plan.done), self.failed, self._total, "images", self._started) + where)
        elif self._plan.done:
            echo_error(f"{self._plan.done[0].image}: its results are there already, made by the same command")
        if not self.failed:
            return DONE
        return SOME_FAILED if self.done or self._plan.done else NOTHING_DONE

    @property
    def made(self) -> int:
        """The number of images that have their results, made by this run or before."""
        return self.done + len(self._plan.done)

    @property
    def left(self) -> int:
        """The number of images that were not begun."""
        return self._total - self.done - self.failed - len(self._plan.done)


def summary(done: int, skipped: int, failed: int, total: int, plural: str, started: float) -> str:
    """The line at the end of a run over several files, `plural` in words, that began at `started` of `time.monotonic`."""
    seconds = time.monotonic() - started
    before = f"{skipped} skipped (done before), " if skipped else ""
    rate = f" ({done / seconds:.3g} {plural}/s)" if done else ""
    return f"{done} done, {before}{failed} failed of {total} {plural} in {seconds:.1f} s{rate}"
