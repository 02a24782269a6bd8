"""Plans a run into shards: which images to process, and which shards may be replaced."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..outputs import Outputs, Plan
from ..records import mark
from ..sources import Source
from .catalogue import Catalogue, Shard


@dataclass(frozen=True)
class ShardPlan:
    """The work of a run over shards.

    Attributes:
        named: Their paths, as shards record them.
        usable: Complete shards with this run's settings.
        damaged: Incomplete shards with this run's settings; this run names all their images.
        unwanted: Names of files to remove after the run: foreign ones, and shards with other settings.
        unchanged: Images that are done, with their current marks.
    """

    images: Plan
    named: frozenset[str]
    catalogue: Catalogue
    usable: Mapping[str, Shard]
    damaged: Mapping[str, Shard]
    unwanted: frozenset[str]
    unchanged: Mapping[str, tuple[int | None, int | None]]


def plan_shards(
    sources: Iterable[Source], catalogue: Catalogue, settings: Mapping[str, Any], log: Path, going_on: bool = False, overwrite: bool = False
) -> ShardPlan:
    """Decides which images to process.

    Args:
        log: The parent folder of `failures.jsonl`.
        going_on: Whether to skip unchanged images that are in a complete shard.
        overwrite: Whether files other than shards of these settings may be removed.

    Raises:
        ValueError: There are such files without `overwrite`; the message says which and what to do.
    """
    by_path = {str(source.path.absolute()): source for source in sources}
    alike = {name: shard for name, shard in catalogue.shards.items() if shard.settings == settings}
    usable = {name: shard for name, shard in alike.items() if shard.bytes == catalogue.files[name]}
    damaged = {name: shard for name, shard in alike.items() if name not in usable and shard.images.keys() <= by_path.keys()}
    unwanted = catalogue.files.keys() - usable.keys() - damaged.keys()
    if unwanted and not overwrite:
        raise ValueError(
            f"nothing was written: {_objections(catalogue, alike, unwanted)}; choose another --out, or --overwrite removes them"
        )
    unchanged = _unchanged(by_path, usable.values()) if going_on else {}
    kind = str(settings["writes"][0])
    images = Plan([], [], [])
    for path, source in by_path.items():
        (images.done if path in unchanged else images.todo).append(Outputs(source.path, log, (kind,)))
    return ShardPlan(images, frozenset(by_path), catalogue, usable, damaged, frozenset(unwanted), unchanged)


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
    return "; ".join(f"{len(names)} shards in --out are {reason} (first: {names[0]})" for reason, names in names_by_reason.items())


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


def superseded(planned: ShardPlan, shards: Sequence[Shard], run: str) -> dict[str, set[str]]:
    """Obsolete rows by shard name: the paths of images that the run names and that are in several of the `shards`.

    The row to keep is this run's, else one of the unchanged image, else the latest run's. Images that this run does not name are left
    alone: another run may be processing them and decide otherwise.
    """
    once: set[str] = set()
    twice: set[str] = set()
    for shard in shards:
        twice.update(once & shard.images.keys())
        once.update(shard.images.keys() & planned.named)
    best: dict[str, tuple[bool, bool, int, str]] = {}
    for shard in shards:
        for path in twice & shard.images.keys():
            rank = (shard.run == run, planned.unchanged.get(path) == shard.images[path], shard.made, shard.name)
            best[path] = max(rank, best.get(path, rank))
    old_rows = {shard.name: {path for path in twice & shard.images.keys() if best[path][-1] != shard.name} for shard in shards}
    return {name: paths for name, paths in old_rows.items() if paths}
