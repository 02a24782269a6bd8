"""A folder of shards as the target of a run: plans the run, and afterwards removes replaced rows from older shards.

Nothing is removed before its replacement is stored:

1. Workers write new shards beside the existing ones.
2. After the run, shards with some replaced rows are copied without them.
3. The manifest is written, with the remaining shards.
4. Shards without valid rows are removed.

At worst, a killed run leaves images in two shards; the next run over these images leaves each in one. A store has no locks, so that several
runs may write to it: each removes only images that it names, from shards that existed when it was planned or that it made. So the results
of the run planned last are never removed.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from ...._version import __version__
from ....geometry.files.paths import damage_named
from ....model_loader.weights.download import find_weights_files
from ....model_loader.weights.integrity import sha256_of
from ..failures import folder_of_failures
from ..options import Options
from ..outputs import Outputs, Plan
from ..overwriting import check_folder
from ..records import mark
from ..run import Outcome
from ..sources import Source
from .catalogue import Catalogue, Shard, read_catalogue, read_records, record_name, remove_shards, shard_files, shard_name, write_manifest
from .shard_formats import KINDS, kind_of
from .shard_store import StoreBusyError, open_store
from .writer import ShardOptions, ShardRun, ShardTarget

if TYPE_CHECKING:
    from ..engines import Engine
logger = logging.getLogger(__name__)
# New shards before the manifest is rewritten during a run: this many, and at least half of those that it names.
_SHARDS_WITHOUT_MANIFEST = 1000


def _objections(catalogue: Catalogue, alike: Mapping[str, Shard], names: Iterable[str]) -> str:
    """The message about files that must not stay."""
    names_by_reason: dict[str, list[str]] = {}
    for name in sorted(names):
        if name not in catalogue.shards:
            reason = "not made by depth-normal"
        elif name not in alike:
            reason = "made with another model or options"
        else:
            reason = "not whole, though they hold images that are not named in this run"
        names_by_reason.setdefault(reason, []).append(name)
    return "; ".join(f"shards in --out {reason}: {len(names)} (first: {names[0]})" for reason, names in names_by_reason.items())


def _unchanged(by_path: Mapping[str, Source], shards: Iterable[Shard]) -> dict[str, tuple[int | None, int | None]]:
    """Images that have not changed since they were written to a shard, with their marks."""
    now: dict[str, tuple[int | None, int | None]] = {}
    unchanged = set()
    for shard in shards:
        for path, then in shard.images.items():
            if path in by_path:
                if path not in now:
                    status = mark(by_path[path].path) or {}
                    now[path] = status.get("bytes"), status.get("modified_ns")
                if now[path] == then != (None, None):
                    unchanged.add(path)
    return {path: now[path] for path in unchanged}


class ShardFolder:
    """The folder or store that a run writes shards to; `log` is the parent folder of `failures.jsonl`.

    `plan` finds out: `_named`, the paths of the run's images, as shards record them; `_usable`, complete shards with this run's settings;
    `_damaged`, incomplete ones, all of whose images the run names; `_unwanted`, names of files to remove after the run: foreign ones, and
    shards with other settings; `_unchanged`, images that are done, with their current marks.

    Raises ImportError if a package for this kind of shard or store is missing; ValueError for an unknown model or kind of store.
    """

    def __init__(self, place: Path, options: Options, shards: ShardOptions, overwrite: bool = False) -> None:
        KINDS[shards.kind].check_library()
        self.log = folder_of_failures(place)
        self._store = open_store(place)
        self._options, self._shard_options, self._overwrite = options, shards, overwrite
        self._settings: dict[str, Any] = {**options.settings((shards.kind,)), "numbers": shards.numbers}
        self._run = uuid.uuid4().hex
        self._new: dict[str, Shard] = {}
        self._in_manifest = 0

    def plan(self, sources: Sequence[Source], going_on: bool) -> Plan:
        """Decides which images to process; `going_on` skips unchanged images that are in a complete shard.

        Raises as `check_folder`, and ValueError if files other than shards of these settings are there and may not be removed.
        """
        if self._store.local is not None:
            check_folder(self._store.local)
        self._catalogue = catalogue = read_catalogue(self._store)
        self._in_manifest = len(catalogue.in_manifest)
        by_path = {str(source.path.absolute()): source for source in sources}
        alike = {name: shard for name, shard in catalogue.shards.items() if shard.settings == self._settings}
        self._named = by_path.keys()
        self._usable = {name: shard for name, shard in alike.items() if shard.bytes == catalogue.files[name]}
        self._damaged = {name: shard for name, shard in alike.items() if name not in self._usable and shard.images.keys() <= self._named}
        self._unwanted = catalogue.files.keys() - self._usable.keys() - self._damaged.keys()
        if self._unwanted and not self._overwrite:
            objections = _objections(catalogue, alike, self._unwanted)
            raise ValueError(f"nothing was written: {objections}; choose another --out, or --overwrite removes them")
        self._unchanged = _unchanged(by_path, self._usable.values()) if going_on else {}
        self._plan: Plan[Outputs] = Plan([], [], [])
        writes = (self._shard_options.kind,)
        for path, source in by_path.items():
            (self._plan.done if path in self._unchanged else self._plan.todo).append(Outputs(source.path, self.log, writes))
        return self._plan

    def run(self, engine: Engine, stop: Event, marker: Path | None) -> Iterator[Outcome]:
        """Runs an engine on the planned images, then tidies up; yields each outcome. StoreBusyError: another run writes to the folder."""
        if self._plan.todo:
            with self._alone():
                ended = yield from self._write(engine, stop, marker)
                if ended:
                    self._settle()
                elif self._new:
                    self._write_manifest()
        elif self._is_untidy():
            with suppress(StoreBusyError), self._alone():  # it can wait for the next run
                self._settle()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keeps other runs out; raises if one wrote since planning."""
        with self._store.alone():
            if self._store.local is not None and shard_files(self._store) != self._catalogue.files:
                raise StoreBusyError(f"another run wrote shards to {self._store.place} while this one began; run the same command again")
            yield

    def _write(self, engine: Engine, stop: Event, marker: Path | None) -> Generator[Outcome, None, bool]:
        """Writes new shards; returns whether every image was processed."""
        run = ShardRun(self._shard_options, self._settings, provenance(self._options, self._settings), self._run, time.time_ns())
        target = ShardTarget(self._store, run, self._stored)
        stopped = False
        for outcome in engine.run(self._plan.todo, self._options, stop, marker if self._store.local else None, target):
            stopped |= outcome.failure is not None and outcome.failure.stops_run
            yield outcome
        return not stopped and not stop.is_set()

    def _stored(self, shard: Shard) -> None:
        """Registers a new shard. Updates the manifest now and then, so that a killed run leaves few records to read one by one."""
        self._new[shard.name] = shard
        stored = len(self._catalogue.shards) + len(self._new)
        if stored - self._in_manifest >= max(_SHARDS_WITHOUT_MANIFEST, self._in_manifest // 2):
            self._write_manifest()
            self._in_manifest = stored

    def _write_manifest(self) -> None:
        write_manifest(self._store, [*self._catalogue.shards.values(), *self._new.values()])

    def _is_untidy(self) -> bool:
        """Whether an earlier run left work to do even if all images are done."""
        named = self._catalogue.shards.keys() == self._catalogue.in_manifest
        return not named or bool(self._unwanted or self._damaged or self._superseded([*self._usable.values()]))

    def _settle(self) -> None:
        """Leaves every image of the run in one shard, and the manifest naming all shards."""
        if self._plan.todo:
            self._new |= self._unanswered()
        present = {**self._usable, **self._new}
        old_rows = self._superseded([*present.values()])
        copies = self._copied([(present[name], paths) for name, paths in old_rows.items() if len(paths) < len(present[name].images)])
        removed = old_rows.keys() - copies.keys()
        images = {path for shard in present.values() for path in shard.images}
        removed |= {name for name, shard in self._damaged.items() if shard.images.keys() <= images}
        if self._plan.done or self._new:
            removed |= self._unwanted
        kept = {name: shard for name, shard in {**self._catalogue.shards, **self._new, **copies}.items() if name not in removed}
        if kept.keys() != self._catalogue.in_manifest:
            write_manifest(self._store, kept.values())
        remove_shards(self._store, removed)

    def _superseded(self, shards: Sequence[Shard]) -> dict[str, set[str]]:
        """Obsolete rows by shard name: the paths of images that the run names and that are in several of the `shards`.

        The row to keep is this run's, else one of the unchanged image, else the latest run's. Images that this run does not name are left
        alone: another run may be processing them and decide otherwise.
        """
        once: set[str] = set()
        twice: set[str] = set()
        for shard in shards:
            twice.update(once & shard.images.keys())
            once.update(shard.images.keys() & self._named)
        best: dict[str, tuple[bool, bool, int, str]] = {}
        for shard in shards:
            for path in twice & shard.images.keys():
                rank = (shard.run == self._run, self._unchanged.get(path) == shard.images[path], shard.made, shard.name)
                best[path] = max(rank, best.get(path, rank))
        old_rows = {shard.name: {path for path in twice & shard.images.keys() if best[path][-1] != shard.name} for shard in shards}
        return {name: paths for name, paths in old_rows.items() if paths}

    def _unanswered(self) -> dict[str, Shard]:
        """Shards of this run whose worker was lost before it reported them."""
        names = shard_files(self._store).keys() - self._catalogue.files.keys() - self._new.keys()
        return {name: shard for name, shard in read_records(self._store, names).items() if shard.run == self._run}

    def _copied(self, parts: Sequence[tuple[Shard, set[str]]]) -> dict[str, Shard]:
        if parts:
            logger.info("%d older shards have images that this run did not make again: their rows are copied to new shards", len(parts))
        copies = (self._copy(shard, paths) for shard, paths in parts)
        return {copy.name: copy for copy in copies if copy}

    def _copy(self, shard: Shard, without: set[str]) -> Shard | None:
        try:
            source = self._store.open(shard.name)
        except FileNotFoundError:  # in a store, another run has removed it
            return None
        images = {path: mark for path, mark in shard.images.items() if path not in without}
        kind = kind_of(shard.name)
        with source, self._store.workspace() as folder:
            path = folder / f"shard{kind.ending}"
            with damage_named(self._store.path(shard.name), "its rows cannot be copied to a new shard"):
                kind.copy(source, path, images.keys())
            copy = replace(shard, name=shard_name(shard.name, images, kind.ending), bytes=path.stat().st_size, images=images)
            self._store.write(record_name(copy.name), copy.record())
            self._store.publish(path, copy.name)
        return copy


def provenance(options: Options, settings: dict[str, Any]) -> dict[str, Any]:
    """The origin of a run's maps, JSON-serialisable, so that licences reach those who train on them. Raises as `find_weights_files`.

    The licence of custom weights is that of the model's published weights: a weights file does not state its own.
    """
    spec = options.spec
    return {
        "depth_normal": __version__,
        "model": spec.id,
        "weights": [{"file": path.name, "sha256": sha256_of(path)} for path in find_weights_files(spec, options.weights)],
        "licence": spec.licence,
        "licence_url": spec.licence_page,
        "commercial_use": spec.commercial_use,
        "settings": settings,
    }
