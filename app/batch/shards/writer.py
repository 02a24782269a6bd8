"""Writes rows to shards of limited size; a complete shard is published after its record."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, TypeVar

from ....options.outputs import NUMBER_CHOICES, SHARD_BYTES
from ..staging import refusal_in_words
from .catalogue import Shard, record_name, shard_name
from .rows import Row, map_bytes
from .shard_formats import KINDS, ShardFile
from .shard_store import Store

T = TypeVar("T")


@dataclass(frozen=True)
class ShardOptions:
    """The format of shards: of SHARD_CHOICES; number type, "float32" (exact) or "float16" (rounded); bytes of maps that close a shard."""

    kind: str
    numbers: str = NUMBER_CHOICES[0]
    size: int = SHARD_BYTES


@dataclass(frozen=True)
class ShardRun:
    """The common properties of a run's shards: `metadata` is `folder.provenance`, `run` unique, `made` its start in ns since 1970."""

    options: ShardOptions
    settings: Mapping[str, Any]
    metadata: Mapping[str, Any]
    run: str
    made: int


@dataclass(frozen=True)
class ShardTarget:
    """The target of an engine's shard writers; `stored` is called with every published shard."""

    store: Store
    run: ShardRun
    stored: Callable[[Shard], None]


@dataclass(frozen=True)
class Closed(Generic[T]):
    """The rows of one closed shard, as the caller's ids; the shard is None if it could not be written."""

    items: list[T]
    shard: Shard | None = None
    error: Exception | None = None


class ShardWriter(Generic[T]):
    """Writes rows to consecutive shards; a context manager that drops an unclosed shard.

    Rows go to disk at once, so that memory does not grow with the shard size. `check` is called before every row and shard, and raises if
    nothing more may be written.
    """

    def __init__(self, store: Store, run: ShardRun, check: Callable[[], None] = lambda: None) -> None:
        self._store, self._run, self._check = store, run, check
        self._kind = KINDS[run.options.kind]
        self._open = ExitStack()
        self._file: ShardFile | None = None
        self._path = Path()
        self._forget()

    def _forget(self) -> None:
        self._items: list[T] = []
        self._images: dict[str, tuple[int | None, int | None]] = {}
        self._bytes = 0

    def __enter__(self) -> ShardWriter[T]:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._drop()

    def add(self, item: T, row: Row, mark: Mapping[str, int] | None) -> Closed[T] | None:
        """Writes a row from `row_of`; returns the shard that it completed, or that could not be written; None if the shard stays open.

        Args:
            item: The caller's id of the row.
            mark: The image's `records.mark` before reading.

        Raises:
            ValueError: This row cannot be written; the shard's other rows are kept. Likewise for exceptions of `check`.
        """
        self._check()
        mark = mark or {}
        self._items.append(item)
        try:
            with self._refusal_in_words():
                self._opened().add({**row, "model": self._run.metadata["model"], "licence": self._run.metadata["licence"]})
        except OSError as error:
            return self._lost(error)
        except BaseException:
            self._items.pop()
            raise
        self._images[row["path"]] = mark.get("bytes"), mark.get("modified_ns")
        self._bytes += map_bytes(row)
        return self.close() if self._bytes >= self._run.options.size else None

    def close(self) -> Closed[T] | None:
        """Publishes the open shard; None if there is none or it is empty."""
        if not self._images:
            self._drop()
            return None
        try:
            with self._refusal_in_words():
                shard = self._publish()
        except Exception as error:  # noqa: BLE001 - the caller gets it
            return self._lost(error)
        closed = Closed(self._items, shard)
        self._forget()
        return closed

    def _opened(self) -> ShardFile:
        if self._file is None:
            self._path = self._open.enter_context(self._store.workspace()) / f"shard{self._kind.ending}"
            self._file = self._kind.create(self._path, self._run.metadata)
        return self._file

    def _publish(self) -> Shard:
        assert self._file is not None, "there are rows"
        self._check()
        self._file.close()
        self._file = None
        name = shard_name(self._run.run, self._images, self._kind.ending)
        shard = Shard(name, self._path.stat().st_size, self._run.made, self._run.run, self._run.settings, self._images)
        self._store.write(record_name(name), shard.record())
        self._store.publish(self._path, name)
        self._open.close()
        return shard

    def _refusal_in_words(self) -> AbstractContextManager[object]:
        return nullcontext() if self._store.local is None else refusal_in_words(self._store.local)

    def _lost(self, error: Exception) -> Closed[T]:
        items = self._items
        self._drop()
        return Closed(items, error=error)

    def _drop(self) -> None:
        if self._file is not None:
            with suppress(Exception):
                self._file.close()
        self._file = None
        self._open.close()
        self._forget()
