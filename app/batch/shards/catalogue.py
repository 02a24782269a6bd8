"""The contents of a folder of shards: the shards' records and the manifest that sums them up.

A shard's record, `.depth-normal/<shard>.json`, is there before the shard, and says how the shard was made and of which images:

    {"version": 1, "bytes": 81920, "made": 1763654400000000000, "run": "9f3c...", "settings": {"model": "tiny", ...},
     "images": [{"path": "s3://photos/a.jpg", "bytes": ..., "modified_ns": ...}, ...]}

`made` is when its run began, in nanoseconds since 1970. A shard is whole if it has the length that its record says. Its name is a digest
of its run and its images: no other shard ever has that name, and a worker that is lost before it answers makes the same file again.

The manifest, `.depth-normal/manifest.json`, holds what all records say, so that a run reads one file and not one a shard. The records stay
the truth: of a shard that the manifest does not name the record is read, and a manifest that is missing, damaged or from before counts for
as much as it says. Its first line has the version and the digest of the second, which has the settings and the shards:

    {"version": 1, "sha256": "..."}
    {"settings": [{"model": "tiny", ...}], "shards": {"<name>": [bytes, made, run, index of settings, [[path, bytes, modified_ns], ...]]}}
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from ..records import RECORD_VERSION, RECORDS, of_today
from .shard_formats import ENDINGS
from .shard_store import Store

MANIFEST = f"{RECORDS}/manifest.json"

# A store answers after a while, to any number at once.
_REQUESTS = 16

Marks = Mapping[str, "tuple[int | None, int | None]"]
"""Images by their paths: each one's length and time of change when it was read."""


@dataclass(frozen=True)
class Shard:
    """The content of a shard's record.

    Attributes:
        name: Of its file.
        bytes: The file's length.
        made: When its run began, in nanoseconds since 1970.
        run: The run that made it.
        settings: How its maps were made, as `Options.settings` has it, and `numbers`.
        images: The images in it.
    """

    name: str
    bytes: int
    made: int
    run: str
    settings: Mapping[str, Any]
    images: Marks

    def record(self) -> bytes:
        """The content of its record."""
        images = [{"path": path, "bytes": size, "modified_ns": modified} for path, (size, modified) in self.images.items()]
        values = {"bytes": self.bytes, "made": self.made, "run": self.run, "settings": dict(self.settings), "images": images}
        return json.dumps({"version": RECORD_VERSION, **values}).encode()


@dataclass(frozen=True)
class Catalogue:
    """The content of a folder of shards.

    Attributes:
        files: All files with a shard's ending, and their lengths.
        shards: Those with a record.
        in_manifest: The names that the manifest has.
    """

    files: Mapping[str, int]
    shards: Mapping[str, Shard]
    in_manifest: frozenset[str]


def record_name(shard: str) -> str:
    """The place of a shard's record."""
    return f"{RECORDS}/{shard}.json"


def shard_name(run: str, images: Marks, ending: str) -> str:
    """A name that no other shard has."""
    return hashlib.sha256(json.dumps([run, *images.items()]).encode()).hexdigest()[:20] + ending


def shard_files(store: Store) -> dict[str, int]:
    """The files in a store that have a shard's ending, and their lengths."""
    return {name: size for name, size in store.sizes().items() if name.endswith(ENDINGS)}


def read_catalogue(store: Store) -> Catalogue:
    """Looks at what lies in a store: one listing, the manifest, and the records of shards that it does not name."""
    files = shard_files(store)
    manifest = read_manifest(store) if files else {}
    shards = {name: shard for name, shard in manifest.items() if name in files}
    shards |= read_records(store, files.keys() - shards.keys())
    return Catalogue(files, shards, frozenset(manifest))


def read_records(store: Store, names: Iterable[str]) -> dict[str, Shard]:
    """The shards of these names that have a record which can be read.

    Raises:
        OSError: The store does not answer. What it has no record of is another matter.
    """
    names = list(names)
    with ThreadPoolExecutor(_REQUESTS) as pool:
        records = zip(names, pool.map(lambda name: _read_record(store, name), names), strict=True)
        return {name: shard for name, shard in records if shard}


def _read_record(store: Store, name: str) -> Shard | None:
    try:
        return shard_of_record(name, store.read(record_name(name)))
    except FileNotFoundError:
        return None


def shard_of_record(name: str, data: bytes | str) -> Shard | None:
    """A shard by the content of its record; None where that is no record."""
    try:
        record = json.loads(data)
        if record["version"] != RECORD_VERSION:
            return None
        images = [[each["path"], each["bytes"], each["modified_ns"]] for each in of_today(record)["images"]]
        return _shard(name, [record["bytes"], record["made"], record["run"], 0, images], [record["settings"]])
    except (ValueError, TypeError, LookupError, RecursionError):
        return None


def _shard(name: str, values: Any, settings: list[Any]) -> Shard:
    """A shard of what JSON says.

    Raises:
        ValueError, TypeError, LookupError: JSON says something else.
    """
    size, made, run, index, images = values
    if not (isinstance(size, int) and isinstance(made, int) and isinstance(run, str) and isinstance(settings[index], dict)):
        raise TypeError(name)
    marks = {path: (length, modified) for path, length, modified in images}
    if not all(isinstance(path, str) for path in marks):
        raise TypeError(name)
    return Shard(name, size, made, run, settings[index], marks)


def read_manifest(store: Store) -> dict[str, Shard]:
    """The shards that the manifest names; none where it cannot be read, or is not as it was written."""
    try:
        head, _, body = store.read(MANIFEST).partition(b"\n")
        if json.loads(head) != _manifest_head(body):
            return {}
        content = json.loads(body)
        return {name: _shard(name, values, content["settings"]) for name, values in content["shards"].items()}
    except (FileNotFoundError, ValueError, TypeError, AttributeError, LookupError, RecursionError):
        return {}


def write_manifest(store: Store, shards: Iterable[Shard]) -> None:
    """Writes the manifest anew; whoever reads it meanwhile sees the old one or the new one."""
    settings: list[Mapping[str, Any]] = []
    rows = {}
    for shard in sorted(shards, key=lambda shard: shard.name):
        if shard.settings not in settings:
            settings.append(shard.settings)
        images = [[path, *mark] for path, mark in shard.images.items()]
        rows[shard.name] = [shard.bytes, shard.made, shard.run, settings.index(shard.settings), images]
    body = json.dumps({"settings": settings, "shards": rows}).encode()
    store.write(MANIFEST, json.dumps(_manifest_head(body)).encode() + b"\n" + body)


def _manifest_head(body: bytes) -> dict[str, Any]:
    return {"version": RECORD_VERSION, "sha256": hashlib.sha256(body).hexdigest()}


def remove_shards(store: Store, names: Iterable[str]) -> None:
    """Removes shards, each before its record: without its record it would be somebody else's."""

    def remove(name: str) -> None:
        store.remove(name)
        store.remove(record_name(name))

    with ThreadPoolExecutor(_REQUESTS) as pool:
        for _ in pool.map(remove, names):
            pass
