"""The runtime that `--runtime auto` or `fast` chose when a run began, so that a resumed run gives the same bytes.

If it was not plain torch, it is noted beside the folder's records:

    {"model": "depth-anything-v2-small", "weights": [...], "runtime": "openvino", "dtype": "float32"}
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from ...geometry.files.paths import read_json, write_bytes
from ...model_loader.runtimes.choose import Chosen
from ...options.estimate import AUTO_RUNTIME, DTYPE_CHOICES, FAST_RUNTIME, RUNTIME_CHOICES, TORCH
from .options import Options, known_weights
from .records import RECORDS
from .run import Outcome

logger = logging.getLogger(__name__)


class BegunRuntime:
    """The runtime of a run. `folder` holds its records; `device` as `load_model`; `is_begun`: some images of the same run are done."""

    def __init__(self, folder: Path, options: Options, device: str, is_begun: bool) -> None:
        self._path = folder / RECORDS / "auto.runtime"  # no image's record has this extension
        self._options, self._is_begun = options, is_begun
        if options.used_runtime not in (AUTO_RUNTIME, FAST_RUNTIME):
            self._chosen = None
            return
        now = options.choice(device)
        self._chosen = (self._noted() or Chosen(TORCH, options.dtype)) if is_begun else now
        if is_begun and (self._chosen.runtime, self._chosen.dtype) != (now.runtime, now.dtype):
            logger.info("%s goes on with %s, as it was begun", options.spec.id, self._chosen.runtime)
        else:
            now.tell()

    @property
    def options(self) -> Options:
        """The options to load the model with; records keep the run's original options."""
        return self._options if self._chosen is None else replace(self._options, runtime=self._chosen.runtime, dtype=self._chosen.dtype)

    def noted(self, outcomes: Iterable[Outcome]) -> Iterator[Outcome]:
        """Passes the outcomes on. Notes the runtime, or raises OSError, before the first image is done; removes the note if none was."""
        if self._chosen is None:
            yield from outcomes
            return
        is_kept, is_usual = self._is_begun, (self._chosen.runtime, self._chosen.dtype) == (TORCH, self._options.dtype)
        if not is_usual:
            write_bytes(self._path, json.dumps({**self._of, "runtime": self._chosen.runtime, "dtype": self._chosen.dtype}).encode())
        elif self._noted() is not None:
            self._path.unlink(missing_ok=True)
        try:
            for outcome in outcomes:
                is_kept |= outcome.failure is None
                yield outcome
        finally:
            if not (is_kept or is_usual):
                self._path.unlink(missing_ok=True)

    @property
    def _of(self) -> dict[str, object]:
        return {"model": self._options.spec.id, "weights": known_weights(self._options.spec, self._options.weights)}

    def _noted(self) -> Chosen | None:
        """The noted choice; None without a readable note for this model."""
        try:
            note = read_json(self._path)
            if {name: note[name] for name in self._of} == self._of:
                runtime, dtype = note["runtime"], note["dtype"]
                if runtime in RUNTIME_CHOICES and dtype in DTYPE_CHOICES:
                    return Chosen(runtime, dtype)
        except FileNotFoundError:
            pass
        except (OSError, ValueError, KeyError, TypeError) as error:
            logger.warning("%s cannot be used (%s)", self._path, error)
        return None
