"""Shards: files that hold the raw maps of many pictures each, for those who train on them. Parquet, or tar files as WebDataset reads them.

A row of Parquet, or a sample of a tar, is one picture: its `path`, `height`, `width`, `numbers` ("float32" or "float16", of depth, normals
and confidence), `quantity`, `axes` and `intrinsics` (nine float32, row by row); and the arrays `depth` (H, W), `normals` (H, W, 3),
`mask` (H, W) bool and `confidence` (H, W), as `write_npz` has them. What the estimate lacks is null, or no file of the tar. In Parquet an
array is its bytes, row by row, little-endian; in a tar it is `<key>.<name>.npy`, and the words are `<key>.json`.

A shard's record, `.depth-normal/<shard>.json`, is there before the shard, and says how it was made and which pictures it holds:

    {"version": 1, "bytes": 81920, "settings": {"model": "tiny", ...},
     "pictures": [{"path": "s3://photos/a.jpg", "bytes": ..., "modified_ns": ...}, ...]}

A shard counts as whole where it has the length that its record says. It is named after what it holds: a worker that is lost between the
shard and its answer makes the same file again.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..geometry.estimate import Axes, Estimate, Quantity
from .outputs import Outputs, Plan
from .pictures import Source
from .records import RECORD_VERSION, RECORDS, mark
from .stores import Store

if TYPE_CHECKING:
    import pyarrow as pa

_ARRAYS = ("depth", "normals", "mask", "confidence")
_WORDS = ("path", "height", "width", "numbers", "quantity", "axes", "intrinsics")
_LARGEST = {"float16": 65504.0}

Row = dict[str, Any]


def schema() -> pa.Schema:
    """The columns of a Parquet shard."""
    import pyarrow as pa

    words = {"height": pa.int32(), "width": pa.int32(), "intrinsics": pa.list_(pa.float32())}
    return pa.schema({**{name: words.get(name, pa.string()) for name in _WORDS}, **{name: pa.large_binary() for name in _ARRAYS}})


def row_of(path: str, found: Estimate, numbers: str = "float32") -> Row:
    """An estimate as a row.

    Args:
        path: The picture.
        found: Of one picture.
        numbers: "float32", bit for bit, or "float16", rounded.

    Raises:
        ValueError: A number that counts is too large for float16.
    """
    row: Row = dict.fromkeys((*_WORDS, *_ARRAYS))
    row |= {
        "path": path,
        "height": found.height,
        "width": found.width,
        "numbers": numbers,
        "quantity": found.quantity and found.quantity.value,
    }
    row["axes"] = found.axes.value if found.normals is not None else None
    for name, value in found.maps.items():
        if name == "extrinsics":  # a row is one picture, not a scene
            continue
        array = value[0].cpu().numpy()
        if name == "intrinsics":
            row[name] = array.reshape(-1).tolist()
            continue
        array = np.moveaxis(array, 0, -1) if name == "normals" else array[0]
        if name == "depth" and found.depth_valid is not None:
            array = _within(array, found.depth_valid[0, 0].cpu().numpy(), numbers)
        row[name] = np.ascontiguousarray(array if name == "mask" else _as_numbers(array, numbers, f"{path}: {name}")).tobytes()
    return row


def _within(depth: np.ndarray, valid: np.ndarray, numbers: str) -> np.ndarray:
    """Depth whose finite values end where `numbers` do, as far as they do not count: MoGe's sky is a million metres away."""
    largest = _LARGEST.get(numbers)
    return np.where(valid | ~np.isfinite(depth), depth, depth.clip(-largest, largest)) if largest else depth


def _as_numbers(array: np.ndarray, numbers: str, name: str) -> np.ndarray:
    largest = _LARGEST.get(numbers)
    if largest and (found := np.abs(array[np.isfinite(array)]).max(initial=0)) > largest:
        raise ValueError(f"{name} has numbers up to {found:.6g}, and float16 ends at {largest:.0f}; write them as float32")
    return array.astype(np.dtype(numbers), copy=False)


def estimate_of(row: Mapping[str, Any]) -> Estimate:
    """The estimate that a row holds, as float32.

    Args:
        row: As `row_of` gives it.
    """
    maps: dict[str, Any] = {}
    sides = (row["height"], row["width"])
    for name in _ARRAYS:
        if (data := row[name]) is not None:
            array = np.frombuffer(data, np.bool_ if name == "mask" else row["numbers"]).reshape(*sides, -1)
            planar = np.moveaxis(array, -1, 0)[None]
            maps[name] = torch.from_numpy(np.array(planar, planar.dtype if name == "mask" else np.float32, order="C"))
    if row["intrinsics"] is not None:
        maps["intrinsics"] = torch.tensor(row["intrinsics"], dtype=torch.float32).reshape(1, 3, 3)
    quantity, axes = row["quantity"], row["axes"]
    return Estimate(quantity=quantity and Quantity(quantity), axes=Axes(axes) if axes else Axes.OPENGL, **maps)


def _write_parquet(path: Path, rows: Sequence[Row]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    columns = schema()
    # Noise does not get smaller; a mask nearly vanishes.
    packed: Any = {name: "zstd" if name == "mask" else "none" for name in columns.names}
    described: Any = ["path"]
    with parquet.ParquetWriter(path, columns, compression=packed, use_dictionary=False, write_statistics=described) as writer:
        for row in rows:  # a row group each: a reader can take one picture
            writer.write_table(pa.Table.from_pylist([row], columns))


def _read_parquet(store: Store, name: str) -> Iterator[Row]:
    from pyarrow import parquet

    with store.open(name) as file:
        shard = parquet.ParquetFile(file)
        for group in range(shard.num_row_groups):
            yield from shard.read_row_group(group).to_pylist()


def _write_tar(path: Path, rows: Sequence[Row]) -> None:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for row in rows:
            key = _key(row["path"])
            _add(tar, f"{key}.json", json.dumps({name: row[name] for name in _WORDS}).encode())
            for name in _ARRAYS:
                if row[name] is not None:
                    array = np.frombuffer(row[name], np.bool_ if name == "mask" else row["numbers"])
                    _add(tar, f"{key}.{name}.npy", _npy(array.reshape(row["height"], row["width"], *(3,) * (name == "normals"))))


def _key(path: str) -> str:
    """What the files of one picture begin with. WebDataset ends it at the first dot."""
    stem = "".join(letter if letter.isalnum() and letter.isascii() else "_" for letter in Path(path).stem)[:64]
    return f"{stem}-{hashlib.sha256(path.encode(errors='surrogateescape')).hexdigest()[:16]}"


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, array, allow_pickle=False)
    return file.getvalue()


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def _read_tar(store: Store, name: str) -> Iterator[Row]:
    row: Row = {}
    with store.open(name) as file, tarfile.open(fileobj=file, mode="r|") as tar:
        for member in tar:
            kind = member.name.split(".")[1]
            content = tar.extractfile(member)
            assert content is not None, "only files are written"
            if kind == "json":
                if row:
                    yield row
                row = {**dict.fromkeys(_ARRAYS), **json.load(content)}
            else:
                row[kind] = np.load(io.BytesIO(content.read()), allow_pickle=False).tobytes()
    if row:
        yield row


@dataclass(frozen=True)
class Kind:
    """A kind of shards.

    Attributes:
        ending: Of its files' names.
        write: Writes rows to a path.
        read: Gives the rows of a file in a store.
    """

    ending: str
    write: Callable[[Path, Sequence[Row]], None]
    read: Callable[[Store, str], Iterator[Row]]


KINDS = {"parquet": Kind(".parquet", _write_parquet, _read_parquet), "webdataset": Kind(".tar", _write_tar, _read_tar)}


def read_shards(place: str | Path) -> Iterator[tuple[str, Estimate]]:
    """The pictures' paths and estimates that a folder of shards holds, one after the other.

    Args:
        place: The folder, or its URL.
    """
    store = Store(place)
    for name in sorted(store.sizes()):
        for kind in KINDS.values():
            if name.endswith(kind.ending):
                yield from ((row["path"], estimate_of(row)) for row in kind.read(store, name))


def write_shard(store: Store, kind: str, rows: Sequence[Row], marks: Sequence[Mapping[str, int]], settings: Mapping[str, Any]) -> Path:
    """Writes one shard: its record, then itself; each appears whole.

    Args:
        store: Where to.
        kind: Of `KINDS`.
        rows: Of `row_of`; at least one.
        marks: Of each row's picture, `records.mark` from before it was read.
        settings: How they were made.

    Returns:
        The shard.
    """
    content = json.dumps([settings, [row["path"] for row in rows]])
    name = f"{hashlib.sha256(content.encode()).hexdigest()[:20]}{KINDS[kind].ending}"

    def write(path: Path) -> None:
        KINDS[kind].write(path, rows)
        pictures = [{"path": row["path"], **seen} for row, seen in zip(rows, marks, strict=True)]
        record = {"version": RECORD_VERSION, "bytes": path.stat().st_size, "settings": dict(settings), "pictures": pictures}
        store.put(_record_of(name), lambda place: place.write_bytes(json.dumps(record).encode()))

    return store.put(name, write)


def _record_of(shard: str) -> str:
    return f"{RECORDS}/{shard}.json"


def plan_shards(
    sources: Sequence[Source], store: Store, log: Path, settings: Mapping[str, Any], resume: bool, overwrite: bool
) -> tuple[Plan, list[str]]:
    """Which pictures are still to be done.

    Args:
        sources: The pictures.
        store: Where the shards go.
        log: The folder that `failures.jsonl` goes below.
        settings: How they will be made.
        resume: Whether pictures in whole shards of the same settings are left out; a shard with a picture that has changed since is made
            again. Without it all shards that this pack made here are.
        overwrite: Whether shards of others, or made otherwise, may be removed.

    Returns:
        The plan, and the names of the shards to remove before the first is written, so that no picture is in two.

    Raises:
        ValueError: Such shards are there; the message says what to do.
    """
    found = {name: size for name, size in store.sizes().items() if name.endswith(tuple(kind.ending for kind in KINDS.values()))}
    records = {name: record for name in found if (record := _read_record(store, name))}
    foreign = sorted(found.keys() - records.keys())
    if resume:
        foreign += [name for name, record in records.items() if record.get("settings") != settings]
    if foreign and not overwrite:
        how = "were made by others or with another model or options" if resume else "were not made by depth-normal"
        raise ValueError(f"nothing was written: {len(foreign)} shards in {store.place} {how} (first: {foreign[0]}); choose another --out")
    marks = {str(source.path.absolute()): source for source in sources}
    kept: set[str] = set()
    stale = []
    for name, size in found.items():
        pictures = _pictures(records.get(name, {})) if resume and name not in foreign and records[name].get("bytes") == size else None
        if pictures is None or any(path in marks and mark(marks[path].path) != seen for path, seen in pictures.items()):
            stale.append(name)
        else:
            kept |= pictures.keys()
    kind = str(settings["writes"][0])
    planned = {path: Outputs(source.path, log, (kind,)) for path, source in marks.items()}
    plan = Plan([each for path, each in planned.items() if path not in kept], [each for path, each in planned.items() if path in kept], [])
    return plan, stale


def _pictures(record: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    return {each["path"]: {name: each[name] for name in each if name != "path"} for each in record["pictures"]}


def _read_record(store: Store, shard: str) -> dict[str, Any] | None:
    try:
        record = json.loads(store.read(_record_of(shard)))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and record.get("version") == RECORD_VERSION and "pictures" in record else None
