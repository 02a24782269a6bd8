"""Plans a run into shards: which images are to be done, and which shards may be replaced."""

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
        images: The plan of the images.
        named: The paths of these images, as shards have them.
        catalogue: The shards that were found in the folder.
        usable: The shards that are whole and made as this run makes them.
        damaged: Shards made so that are not whole; all their images are named in this run.
        unwanted: Names of files that are to go when the run has ended: those of others, and shards made otherwise.
        unchanged: The images that are done, with the marks that they have now.
    """

    images: Plan
    named: frozenset[str]
    catalogue: Catalogue
    usable: Mapping[str, Shard]
    damaged: Mapping[str, Shard]
    unwanted: frozenset[str]
    unchanged: Mapping[str, tuple[int | None, int | None]]


def plan_shards(
    sources: Iterable[Source],
    catalogue: Catalogue,
    settings: Mapping[str, Any],
    log: Path,
    going_on: bool = False,
    overwrite: bool = False,
) -> ShardPlan:
    """Decides which images are to be done.

    Args:
        sources: The images.
        catalogue: The shards that are there already.
        settings: How the new ones will be made.
        log: The folder that `failures.jsonl` goes below.
        going_on: Whether images are left out that are in a whole shard and have not changed since.
        overwrite: Whether what is there beside shards made in the same way may be removed.

    Raises:
        ValueError: There is such, and `overwrite` is not given; the message says what and what to do.
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
    """The objections to files that may not stay, in words."""
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
    """The images that are in a shard as they are now."""
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
    """The rows that no longer count, of images that a run names and that are in several `shards`, which readers see.

    The row of this run counts, else one of the image as it is now, else that of the latest run. Other images are left alone: another run
    may be at work on them, and might decide otherwise.

    Returns:
        The images whose rows in a shard no longer count, by the shard's name.
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
