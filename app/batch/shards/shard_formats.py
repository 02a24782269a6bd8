"""File formats of shards: Parquet, and tar files as WebDataset reads them.

A row of Parquet, or a sample of a tar, is a row as `rows` describes it. In Parquet an array is its bytes; in a tar it is
`<key>.<name>.npy`, and all other values are `<key>.json`. What is the same for all rows (`provenance`) is in the file's own metadata: in
Parquet's key-value metadata under the key "depth_normal", in a tar as the comment of its global header, as JSON both times.
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
from .rows import ARRAYS, VALUES, Row, schema

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow import parquet

METADATA_KEY = "depth_normal"
"""Of Parquet's metadata."""


class ShardFile(Protocol):
    """A shard that is being written."""

    def add(self, row: Row) -> None:
        """Writes a row. What cannot be converted raises a ValueError and leaves the file as it was."""

    def close(self) -> None:
        """Writes what belongs at the end."""


class _ParquetFile:
    """A row group an image: a reader can take one."""

    def __init__(self, path: Path, metadata: Mapping[str, Any]) -> None:
        self._columns = schema().with_metadata({METADATA_KEY: json.dumps(metadata)})
        self._writer = _parquet_writer(path, self._columns)

    def add(self, row: Row) -> None:
        import pyarrow as pa

        self._writer.write_table(pa.Table.from_pylist([row], self._columns))

    def close(self) -> None:
        self._writer.close()


def _parquet_writer(path: Path, columns: pa.Schema) -> parquet.ParquetWriter:
    from pyarrow import parquet

    # Noise does not get smaller; a mask nearly vanishes.
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
    """One sample an image, its JSON before its arrays."""

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
    """The beginning of the names of the files of one image. WebDataset ends it at the first dot."""
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
        first = tar.next()  # the global header comes before it
        with closing(_open_tar(target, tar.pax_headers.get("comment", ""))) as copy:
            while first is not None:
                if first.name.split(".")[0] in wanted:
                    copy.addfile(first, tar.extractfile(first))
                first = tar.next()


@dataclass(frozen=True)
class Kind:
    """A kind of shards.

    Attributes:
        ending: Of its files' names.
        create: Begins a file, with the metadata that it shall have.
        read: Gives the rows of a file.
        copy: Writes those rows of a file whose paths are named to another, with the same metadata.
        check_library: Raises ImportError where the library that it needs is missing; the message says how to install it.
    """

    ending: str
    create: Callable[[Path, Mapping[str, Any]], ShardFile]
    read: Callable[[BinaryIO], Iterator[Row]]
    copy: Callable[[BinaryIO, Path, Collection[str]], None]
    check_library: Callable[[], object] = lambda: None


KINDS = {
    "parquet": Kind(".parquet", _ParquetFile, _read_parquet, _copy_parquet, import_pyarrow),
    "webdataset": Kind(".tar", _TarFile, _read_tar, _copy_tar),
}
"""By the names of `--write`."""

ENDINGS = tuple(kind.ending for kind in KINDS.values())


def kind_of(name: str) -> Kind:
    """The kind of a shard by its name."""
    return next(kind for kind in KINDS.values() if name.endswith(kind.ending))
