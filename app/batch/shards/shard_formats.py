"""File formats of shards: Parquet and WebDataset tar files.

A Parquet row, or a tar sample, is a row as `rows` describes it. Arrays are raw bytes in Parquet, `<key>.<name>.npy` in a tar; in a tar all
other values are `<key>.json`. The run's metadata (`provenance`) is JSON in Parquet's key-value metadata under "depth_normal", or in the
comment of the tar's global header.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

import numpy as np

from ..remote_files import import_pyarrow
from .rows import ARRAYS, VALUES, Row, check_utf8, schema

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow import parquet

METADATA_KEY = "depth_normal"
"""The key in Parquet's metadata."""


class ShardFile(Protocol):
    """A shard being written."""

    def add(self, row: Row) -> None:
        """Writes a row. A row that cannot be converted raises ValueError and leaves the file unchanged."""

    def close(self) -> None:
        """Writes the file's end."""


class _ParquetFile:
    """One row group per image, so that a reader can load a single one."""

    def __init__(self, path: Path, metadata: Mapping[str, Any]) -> None:
        self._columns = schema().with_metadata({METADATA_KEY: json.dumps(metadata)})
        self._writer = _parquet_writer(path, self._columns)

    def add(self, row: Row) -> None:
        import pyarrow as pa

        check_utf8(row["path"])
        self._writer.write_table(pa.Table.from_pylist([row], self._columns))

    def close(self) -> None:
        self._writer.close()


def _parquet_writer(path: Path, columns: pa.Schema) -> parquet.ParquetWriter:
    from pyarrow import parquet

    # Maps are noisy and do not compress; masks do.
    compression: Any = {name: "zstd" if name == "mask" else "none" for name in columns.names}
    with_statistics: Any = ["path"]
    return parquet.ParquetWriter(path, columns, compression=compression, use_dictionary=False, write_statistics=with_statistics)


def _read_parquet(file: BinaryIO) -> Iterator[Row]:
    from pyarrow import parquet

    shard = parquet.ParquetFile(file)
    for group in range(shard.num_row_groups):
        yield from shard.read_row_group(group).to_pylist()


def _copy_parquet(source: BinaryIO, target: Path, paths: Collection[str]) -> None:
    from pyarrow import parquet

    shard = parquet.ParquetFile(source)
    with _parquet_writer(target, shard.schema_arrow) as writer:
        for group in range(shard.num_row_groups):
            rows = shard.read_row_group(group)
            if (kept := rows.filter([path in paths for path in rows["path"].to_pylist()])).num_rows:
                writer.write_table(kept)


class _TarFile:
    """One sample per image, its JSON before its arrays."""

    def __init__(self, path: Path, metadata: Mapping[str, Any]) -> None:
        self._tar = _open_tar(path, json.dumps(metadata))

    def add(self, row: Row) -> None:
        key = _key(row["path"])
        files = {"json": json.dumps({name: row[name] for name in VALUES}).encode()}
        for name in ARRAYS:
            if row[name] is not None:
                array = np.frombuffer(row[name], np.bool_ if name == "mask" else row["numbers"])
                files[f"{name}.npy"] = _npy(array.reshape(row["height"], row["width"], *(3,) * (name == "normals")))
        for name, data in files.items():
            member = tarfile.TarInfo(f"{key}.{name}")
            member.size = len(data)
            self._tar.addfile(member, io.BytesIO(data))

    def close(self) -> None:
        self._tar.close()


def _open_tar(path: Path, comment: str) -> tarfile.TarFile:
    return tarfile.open(path, "w", format=tarfile.PAX_FORMAT, pax_headers={"comment": comment})


def _key(path: str) -> str:
    """The sample's key, without dots: WebDataset ends the key at the first dot."""
    stem = "".join(letter if letter.isalnum() and letter.isascii() else "_" for letter in Path(path).stem)[:64]
    return f"{stem}-{hashlib.sha256(path.encode(errors='surrogateescape')).hexdigest()[:16]}"


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, array, allow_pickle=False)
    return file.getvalue()


def _read_tar(file: BinaryIO) -> Iterator[Row]:
    row: Row = {}
    with tarfile.open(fileobj=file, mode="r|") as tar:
        for member in tar:
            kind = member.name.split(".")[1]
            content = tar.extractfile(member)
            assert content is not None, "only files are written"
            if kind == "json":
                if row:
                    yield row
                row = {**dict.fromkeys((*VALUES, *ARRAYS)), **json.load(content)}
            else:
                row[kind] = np.load(io.BytesIO(content.read()), allow_pickle=False).tobytes()
    if row:
        yield row


def _copy_tar(source: BinaryIO, target: Path, paths: Collection[str]) -> None:
    wanted = {_key(path) for path in paths}
    with tarfile.open(fileobj=source, mode="r|") as tar:
        first = tar.next()  # also reads the global header before it
        with closing(_open_tar(target, tar.pax_headers.get("comment", ""))) as copy:
            while first is not None:
                if first.name.split(".")[0] in wanted:
                    copy.addfile(first, tar.extractfile(first))
                first = tar.next()


@dataclass(frozen=True)
class ShardFormat:
    """A shard format.

    Attributes:
        ending: File name ending.
        create: Begins a file with the given metadata.
        copy: Copies the rows of the given paths to another file, with the metadata.
        check_library: Raises ImportError, with advice, if a required package is missing.
    """

    ending: str
    create: Callable[[Path, Mapping[str, Any]], ShardFile]
    read: Callable[[BinaryIO], Iterator[Row]]
    copy: Callable[[BinaryIO, Path, Collection[str]], None]
    check_library: Callable[[], object] = lambda: None


KINDS = {
    "parquet": ShardFormat(".parquet", _ParquetFile, _read_parquet, _copy_parquet, import_pyarrow),
    "webdataset": ShardFormat(".tar", _TarFile, _read_tar, _copy_tar),
}
"""Shard formats by their `--write` names."""

ENDINGS = tuple(kind.ending for kind in KINDS.values())


def kind_of(name: str) -> ShardFormat:
    """The format of a shard's file name."""
    return next(kind for kind in KINDS.values() if name.endswith(kind.ending))
