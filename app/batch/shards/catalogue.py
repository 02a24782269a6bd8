"""The contents of a folder of shards: their records, and the manifest that sums them up.

A shard's record, `.depth-normal/<shard>.json`, is written before the shard. It holds the settings and the images:

    {"version": 1, "bytes": 81920, "made": 1763654400000000000, "run": "9f3c...", "settings": {"model": "tiny", ...},
     "images": [{"path": "s3://photos/a.jpg", "bytes": ..., "modified_ns": ...}, ...]}

`made` is the start of its run, in nanoseconds since 1970. A shard is complete if it has the recorded length. Its name is a digest of its
run and images: it is unique, and a retried worker writes the same file again.

The manifest, `.depth-normal/manifest.json`, combines all records, so that a run reads one file instead of one per shard. The records are
authoritative: shards that the manifest lacks are looked up in their records, so that it may be missing, damaged or outdated. Its first line
has the version and the digest of the second, which has the settings and the shards:

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

from ..records import RECORD_VERSION, RECORDS
from .shard_formats import ENDINGS
from .shard_store import Store

MANIFEST = f"{RECORDS}/manifest.json"

# Concurrent requests to a store: it has latency, but no limit on their number.
_REQUESTS = 16

Marks = Mapping[str, "tuple[int | None, int | None]"]
"""Length and modification time of images when they were read, by path."""


@dataclass(frozen=True)
class Shard:
    """The content of a shard's record: length, start of its run in ns since 1970, `Options.settings` with `numbers`, images."""

    name: str
    bytes: int
    made: int
    run: str
    settings: Mapping[str, Any]
    images: Marks

    def record(self) -> bytes:
        """The record as JSON."""
        images = [{"path": path, "bytes": size, "modified_ns": modified} for path, (size, modified) in self.images.items()]
        values = {"bytes": self.bytes, "made": self.made, "run": self.run, "settings": dict(self.settings), "images": images}
        return json.dumps({"version": RECORD_VERSION, **values}).encode()


@dataclass(frozen=True)
class Catalogue:
    """The content of a folder of shards: lengths of all files with a shard's ending, shards with a record, names in the manifest."""

    files: Mapping[str, int]
    shards: Mapping[str, Shard]
    in_manifest: frozenset[str]


def record_name(shard: str) -> str:
    """The record's path in the store."""
    return f"{RECORDS}/{shard}.json"


def shard_name(run: str, images: Marks, ending: str) -> str:
    """A unique name, reproducible for the same run and images."""
    return hashlib.sha256(json.dumps([run, *images.items()]).encode()).hexdigest()[:20] + ending


def shard_files(store: Store) -> dict[str, int]:
    """Lengths of the files with a shard's ending."""
    return {name: size for name, size in store.sizes().items() if name.endswith(ENDINGS)}


def read_catalogue(store: Store) -> Catalogue:
    """Reads a store's listing, its manifest, and the records of shards that the manifest lacks."""
    files = shard_files(store)
    manifest = read_manifest(store) if files else {}
    shards = {name: shard for name, shard in manifest.items() if name in files}
    shards |= read_records(store, files.keys() - shards.keys())
    return Catalogue(files, shards, frozenset(manifest))


def read_records(store: Store, names: Iterable[str]) -> dict[str, Shard]:
    """The shards with a readable record. Raises OSError if the store does not respond."""

    def read(name: str) -> Shard | None:
        try:
            return shard_of_record(name, store.read(record_name(name)))
        except FileNotFoundError:
            return None

    with ThreadPoolExecutor(_REQUESTS) as pool:
        return {shard.name: shard for shard in pool.map(read, names) if shard}


def shard_of_record(name: str, data: bytes | str) -> Shard | None:
    """Parses a record; None if it is invalid."""
    try:
        record = json.loads(data)
        if record["version"] != RECORD_VERSION:
            return None
        images = [[each["path"], each["bytes"], each["modified_ns"]] for each in record["images"]]
        return _shard(name, [record["bytes"], record["made"], record["run"], 0, images], [record["settings"]])
    except (ValueError, TypeError, LookupError, RecursionError):
        return None


def _shard(name: str, values: Any, settings: list[Any]) -> Shard:
    """Parses a shard's JSON values."""
    size, made, run, index, images = values
    if not (isinstance(size, int) and isinstance(made, int) and isinstance(run, str) and isinstance(settings[index], dict)):
        raise TypeError(name)
    marks = {path: (length, modified) for path, length, modified in images}
    if not all(isinstance(path, str) for path in marks):
        raise TypeError(name)
    return Shard(name, size, made, run, settings[index], marks)


def read_manifest(store: Store) -> dict[str, Shard]:
    """The shards that the manifest names; empty if it is unreadable or damaged."""
    try:
        head, _, body = store.read(MANIFEST).partition(b"\n")
        if json.loads(head) != _manifest_head(body):
            return {}
        content = json.loads(body)
        return {name: _shard(name, values, content["settings"]) for name, values in content["shards"].items()}
    except (FileNotFoundError, ValueError, TypeError, AttributeError, LookupError, RecursionError):
        return {}


def write_manifest(store: Store, shards: Iterable[Shard]) -> None:
    """Replaces the manifest atomically."""
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
    """Removes shards, each before its record: without a record it would count as a foreign file."""

    def remove(name: str) -> None:
        store.remove(name)
        store.remove(record_name(name))

    with ThreadPoolExecutor(_REQUESTS) as pool:
        for _ in pool.map(remove, names):
            pass
