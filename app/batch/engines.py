"""The engines of `estimate` behind one protocol, and files as the results of a run. Imports nothing heavy before a run begins.

An engine knows where images come from and how work is distributed. The results (`FileFolder` here, and `shards.folder.ShardFolder`) decide
which images to process and what to replace; their `run` calls the engine.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Protocol

from ...options.outputs import SHARD_CHOICES
from .sources import Source, find_images

if TYPE_CHECKING:
    from ...model_loader import Model
    from .options import Options
    from .outputs import Outputs, Plan
    from .run import Outcome
    from .shards.writer import ShardTarget

Words = Sequence[str | os.PathLike[str]]


class Engine(Protocol):
    """Reads images, runs the network on them, and writes the results."""

    def find(self, words: Words, recursive: bool, out: Path) -> tuple[list[Source], list[str]]:
        """Resolves the sources to images, as `find_images`."""
        ...

    def prepare(self, options: Options) -> None:
        """Loads what a run needs; called before `run`, once there is work."""

    def run(
        self, todo: Sequence[Outputs], options: Options, stop: Event, marker: Path | None, target: ShardTarget | None
    ) -> Iterator[Outcome]:
        """Makes the results of images with the model that `prepare` loaded; yields each outcome as it becomes known.

        Once `stop` is set, or after a failure that `stops_run`, no further image is begun. `marker` as `staging.check_run_marker`; without
        a `target` for shards, files are written.
        """
        ...


class LocalEngine(Engine):
    """Runs on this machine, in one process; `device` as `load_model`."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._model: Model | None = None

    def find(self, words: Words, recursive: bool, out: Path) -> tuple[list[Source], list[str]]:
        if urls := [str(word) for word in words if "://" in str(word)]:
            raise ValueError(f"{urls[0]}: images in stores are read with --engine ray; without it name files and folders")
        return find_images(words, recursive=recursive, out=out)

    def prepare(self, options: Options) -> None:
        self._model = options.load(self._device)

    def run(
        self, todo: Sequence[Outputs], options: Options, stop: Event, marker: Path | None, target: ShardTarget | None
    ) -> Iterator[Outcome]:
        assert self._model is not None, "prepared"
        if target is None:
            from .local_engine import estimate_files

            return estimate_files(self._model, todo, options, stop, marker)
        from .shards.local import estimate_shards

        return estimate_shards(self._model, todo, options, target, stop, marker)


class FileFolder:
    """The folder that a run writes files to; `log`: that of `failures.jsonl`. Raises as `outputs.check_writes`; ValueError for a URL."""

    def __init__(self, folder: Path, options: Options, writes: tuple[str, ...], overwrite: bool, keep_extension: bool = False) -> None:
        from .outputs import check_writes

        if "://" in str(folder):
            raise ValueError(f"--out {folder}: files go to a folder, shards to a store too: add --write {' or '.join(SHARD_CHOICES)}")
        check_writes(writes, options)
        self.log = folder
        self._options, self._writes, self._overwrite, self._keep_extension = options, writes, overwrite, keep_extension

    def plan(self, sources: Sequence[Source], going_on: bool) -> Plan:
        """Decides which images to process, see `plan_outputs`."""
        from .outputs import plan_outputs

        done_by = self._options.settings(self._writes) if going_on else None
        self._plan = plan_outputs(sources, self.log, self._writes, self._overwrite, done_by, self._keep_extension)
        return self._plan

    def run(self, engine: Engine, stop: Event, marker: Path | None) -> Iterator[Outcome]:
        """Runs an engine on the planned images; yields each outcome."""
        return engine.run(self._plan.todo, self._options, stop, marker, None) if self._plan.todo else iter(())
