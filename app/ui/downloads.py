"""Downloads of weights started by the page, each in a thread of its own, with progress and cancellation."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ...annotators.registry import find_spec
from ...annotators.specs.base import ModelSpec
from ...model_loader.weights.download import download_weights
from ...model_loader.weights.find import find_weights, forget
from ..outcomes import EXPECTED_ERRORS
from .tasks import CANCELLED, DONE, FAILED, RUNNING, StoppedError, Task

_LOOK_SECONDS = 0.1


@dataclass
class Download(Task):
    """One model's download; bytes over all its files."""

    done: int = 0
    total: int = 0

    def as_json(self) -> dict[str, Any]:
        """The page's JSON."""
        return {"state": self.state, "done": self.done, "total": self.total, "error": self.error}


class Downloads:
    """The downloads of a server, one per model; `changed` is called after every change, from any thread."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._lock = threading.Lock()
        self._by_model: dict[str, Download] = {}

    def start(self, model: str) -> Download:
        """Starts a download, unless one of this model is running; returns it. Raises ValueError for an unknown model."""
        spec = find_spec(model)
        with self._lock:
            running = self._by_model.get(model)
            if running is not None and not running.is_over:
                return running
            download = self._by_model[model] = Download(state=RUNNING, total=spec.size or 0)
        threading.Thread(target=self._run, args=(spec, download), daemon=True, name=f"depth-normal download {model}").start()
        self._changed()
        return download

    def wait(self, download: Download, check: Callable[[], None]) -> None:
        """Waits until a download ends; `check` raises to stop waiting. Raises RuntimeError if it failed, or was cancelled."""
        while not download.is_over:
            check()
            time.sleep(_LOOK_SECONDS)
        if download.state == FAILED:
            raise RuntimeError(download.error)
        if download.state == CANCELLED:
            raise RuntimeError("the download of the model was cancelled; press Try again to go on with it")

    def cancel(self, model: str | None = None) -> None:
        """Cancels a model's download; None = all. Received data is kept, and the next download resumes."""
        with self._lock:
            for name, download in self._by_model.items():
                if model in (None, name):
                    download.end(CANCELLED)
        self._changed()

    def as_json(self) -> dict[str, Any]:
        """The page's JSON of unfinished downloads, by model."""
        with self._lock:
            return {model: each.as_json() for model, each in self._by_model.items() if each.state != DONE}

    def _run(self, spec: ModelSpec, download: Download) -> None:
        before = 0

        def progress(done: int, total: int) -> None:
            download.stop.check()
            download.done = before + done
            download.total = max(download.total, before + total)
            self._changed()

        try:
            for file in spec.files:
                download.stop.check()
                path = find_weights(file) or download_weights(file, spec.terms, spec.licence_url, progress)
                before += path.stat().st_size  # also for a file shared with another model: `total` includes it
            self._end(download, DONE)
        except StoppedError:
            self._end(download, CANCELLED)
        except EXPECTED_ERRORS as error:
            self._end(download, FAILED, str(error))

    def _end(self, download: Download, state: str, error: str = "") -> None:
        forget()
        with self._lock:
            download.end(state, error)
        self._changed()
