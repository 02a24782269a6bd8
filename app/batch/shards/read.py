"""Reads shards back as estimates."""

from __future__ import annotations

import os
from collections.abc import Iterator

from ....geometry.estimate import Estimate
from .catalogue import shard_files
from .rows import estimate_of
from .shard_formats import kind_of
from .shard_store import open_store


def read_shards(place: str | os.PathLike[str]) -> Iterator[tuple[str, Estimate]]:
    """Yields image paths and estimates of a folder of shards, given by its path or URL."""
    store = open_store(place)
    for name in sorted(shard_files(store)):
        with store.open(name) as file:
            for row in kind_of(name).read(file):
                yield row["path"], estimate_of(row)
