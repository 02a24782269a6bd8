"""The three steps of an image on a Ray cluster, from tables to tables; a failed image stays a row with a `failure`; others go on."""

from __future__ import annotations

import json
import socket
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ...geometry.estimate import Estimate
from ...geometry.files import FORMATS
from ...media import compute_with
from ...options.outputs import STEREO_CHOICES
from ..batch import per_image
from ..batch.failures import Failure, failure_of
from ..batch.options import Options
from ..batch.outputs import Outputs
from ..batch.records import mark
from ..batch.remote_files import as_path, local_copy
from ..batch.shards.rows import Row, bytes_of, estimate_of, row_of, schema
from ..batch.shards.shard_store import open_store
from ..batch.shards.writer import Closed, ShardRun, ShardWriter
from ..batch.staging import check_run_marker
from ..outcomes import EXPECTED_ERRORS

if TYPE_CHECKING:
    import pyarrow as pa

# This many numbers fit in a core's cache.
_IN_CACHE = 2**17


@dataclass(frozen=True)
class Job:
    """The task of a worker.

    Attributes:
        writes, overwrite, keep_extension: As of `Outputs`.
        device: As `load_model`.
        batch: Images per batch of the network.
        shards: The common properties of shards; None = files are written.
        place: The folder or store of the shards.
        marker: The run marker, which shows a worker that it writes to the right folder; None = no check.
        cluster: Whether the worker may be on another machine.
        threads: As `Options.threads_per_image`.
    """

    options: Options
    writes: tuple[str, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    device: str = "auto"
    batch: int = 1
    overwrite: bool = False
    keep_extension: bool = False
    shards: ShardRun | None = None
    place: str = ""
    marker: Path | None = None
    cluster: bool = False
    threads: int = 1

    @property
    def numbers(self) -> str:
        """The dtype of maps between the steps."""
        return self.shards.options.numbers if self.shards else "float32"

    @property
    def keeps_images(self) -> bool:
        """Whether an output shows the image too."""
        return any(kind in STEREO_CHOICES or (f".{kind}" in FORMATS and FORMATS[f".{kind}"].surface) for kind in self.writes)


def _table(rows: Sequence[Row]) -> pa.Table:
    import pyarrow as pa

    step = {"index": pa.int64(), "folder": pa.string(), "source_mark": pa.string(), "pixels": pa.large_binary(), "failure": pa.string()}
    columns = pa.schema([*schema(), *(pa.field(name, kind) for name, kind in step.items())])
    return pa.Table.from_arrays([_array([row.get(each.name) for row in rows], each.type) for each in columns], schema=columns)


def _array(values: list[Any], kind: pa.DataType) -> pa.Array:
    """Values as a column; a single image's map is not copied."""
    import pyarrow as pa

    if kind != pa.large_binary() or len(values) != 1 or values[0] is None:
        return pa.array(values, kind)
    data = pa.py_buffer(values[0])
    return pa.Array.from_buffers(kind, 1, [None, pa.py_buffer(np.array([0, data.size], np.int64)), data])


def _rows_of(table: pa.Table) -> Iterator[Row]:
    """A table's rows; maps and pixels are not copied."""
    import pyarrow as pa

    maps = {each.name for each in table.schema if each.type == pa.large_binary()}
    for number in range(table.num_rows):
        row = table.slice(number, 1)
        yield {name: _buffer(row[name].chunk(0)) if name in maps else row[name][0].as_py() for name in row.column_names}


def _buffer(array: pa.Array) -> memoryview | None:
    """The bytes of a one-value array, without the copy of `as_buffer`. A memoryview, since Arrow builds no columns from its own buffers."""
    if array.null_count:
        return None
    _, offsets, data = array.buffers()
    start, end = np.frombuffer(offsets, np.int64)[array.offset : array.offset + 2].tolist()
    return memoryview(data.slice(start, end - start))


def _answers(rows: Sequence[Row]) -> pa.Table:
    import pyarrow as pa

    columns = pa.schema({"index": pa.int64(), "files": pa.list_(pa.string()), "shard": pa.string(), "failure": pa.string()})
    return pa.Table.from_pylist([{"files": [], **{name: row[name] for name in columns.names if name in row}} for row in rows], columns)


def _failed(row: Row, failure: Failure) -> Row:
    return {"index": row["index"], "path": row["path"], "folder": row["folder"], "failure": json.dumps(asdict(failure))}


def _failure_of(name: str, error: Exception, written_to: Path | None = None) -> Failure:
    """As `failure_of`, with the source line of an unexpected error, which would otherwise only be in a log of Ray's."""
    failure = failure_of(name, error, written_to)
    if isinstance(error, EXPECTED_ERRORS):
        return failure
    place = traceback.extract_tb(error.__traceback__)[-1]
    fault = f"{type(error).__name__}: {error} ({Path(place.filename).name}, line {place.lineno}, in {place.name})"
    return replace(failure, reason=f"{name}: this is a fault of depth-normal, please report it: {fault}")


def read_rows(batch: pa.Table, job: Job) -> Iterator[pa.Table]:
    """The first step: adds pixels to a table of `index`, `path`, `folder` and `source_mark`."""
    compute_with(job.threads)  # overrides Ray's setting, the step's reserved CPUs
    for row in _rows_of(batch):
        yield _table([_read_row(row, job)])


def _read_row(row: Row, job: Job) -> Row:
    image = as_path(row["path"])
    copy = image
    try:
        source_mark = row["source_mark"] or json.dumps(mark(image))
        with local_copy(image) as copy:
            pixels = per_image.read_with_alpha(copy)
    except Exception as error:  # noqa: BLE001 - the report gets it
        failure = _failure_of(str(copy), error)
        words = failure.reason.replace(str(copy), row["path"])
        if job.cluster and isinstance(error, FileNotFoundError):
            words += f" (on {socket.gethostname()}; every machine of the cluster must see the images under this name, or by a URL)"
        return _failed(row, replace(failure, reason=words))
    return {**row, "source_mark": source_mark, "height": pixels.shape[2], "width": pixels.shape[3], "pixels": _packed(pixels)}


def _packed(pixels: Tensor) -> memoryview:
    """An image's values, as uint8 if that is exact: Ray's object store then holds four times as many."""
    bits = torch.empty(pixels.shape, dtype=torch.uint8, device="cpu")
    for numbers, packed in zip(pixels.reshape(-1).split(_IN_CACHE), bits.view(-1).split(_IN_CACHE), strict=True):
        packed.copy_((numbers * 255).round_())
        if not torch.equal(packed.float().div_(255), numbers):
            return bytes_of(pixels.contiguous().numpy())
    return bytes_of(bits.numpy())


def _pixels_of(row: Row) -> Tensor:
    """(1, 3, H, W), or with alpha (1, 4, H, W)."""
    data, pixels = row["pixels"], row["height"] * row["width"]
    bytes_each = len(data) // pixels  # per pixel: one or four for each channel
    shape = (1, 3 if bytes_each in (3, 12) else 4, row["height"], row["width"])
    if bytes_each in (3, 4):
        return torch.from_numpy(np.frombuffer(data, np.uint8).reshape(shape).astype(np.float32)).div_(255)
    return torch.from_numpy(np.frombuffer(data, np.float32).reshape(shape).copy())


class Worker:
    """The second step, in a process that holds the model."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.problem = ""
        compute_with(job.threads)
        try:
            self.model = job.options.load(job.device)
        except Exception as error:  # noqa: BLE001 - the report gets it
            # Raised here, it would be buried in Ray's output.
            reason = _failure_of(job.options.spec.id, error).reason
            self.problem = f"the machine {socket.gethostname()} cannot load the model: {reason}"

    def __call__(self, batch: pa.Table) -> Iterator[pa.Table]:
        """Turns rows with pixels into rows with maps; failed rows pass through."""
        if self.problem:
            yield _table([{"index": -1, "failure": json.dumps(asdict(Failure(self.problem)))}])
            return
        compute_with(self.job.threads)
        together: dict[tuple[int, int], list[Row]] = {}
        for row in _rows_of(batch):
            if row["failure"]:
                yield _table([row])
            else:
                together.setdefault((row["height"], row["width"]), []).append(row)
        for rows in together.values():
            for row in self._estimate(rows):
                yield _table([row])

    def _estimate(self, rows: list[Row]) -> Iterator[Row]:
        images = [_pixels_of(row) for row in rows]
        estimates = per_image.estimate_each(self.model, images, self.job.options, self.job.writes, (Exception,))  # the report gets it
        for row, estimate in zip(rows, estimates, strict=True):
            yield _failed(row, _failure_of(row["path"], estimate)) if isinstance(estimate, Exception) else self._row(row, estimate)

    def _row(self, row: Row, found: Estimate) -> Row:
        try:
            maps = row_of(row["path"], found.to("cpu"), self.job.numbers)
        except Exception as error:  # noqa: BLE001 - the report gets it
            return _failed(row, _failure_of(row["path"], error))
        kept = {name: row[name] for name in ("index", "folder", "source_mark")}
        return {**maps, **kept, "pixels": row["pixels"] if self.job.keeps_images else None}


def write_rows(batch: pa.Table, job: Job) -> pa.Table:
    """The last step for files: from estimates to a table of `index`, `files` and `failure`."""
    compute_with(job.threads)
    return _answers([_written(row, job) for row in _rows_of(batch)])


def _written(row: Row, job: Job) -> Row:
    if row["failure"]:
        return row
    outputs = Outputs(as_path(row["path"]), Path(row["folder"]), job.writes, job.overwrite, job.keep_extension)
    try:
        _check_marker(job)
        image = _pixels_of(row) if row["pixels"] else None
        files = per_image.write(outputs, estimate_of(row), job.options, image, json.loads(row["source_mark"]), job.settings)
    except Exception as error:  # noqa: BLE001 - the report gets it
        return _failed(row, _failure_of(row["path"], error, outputs.folder))
    return {"index": row["index"], "files": [path.name for path in files]}


def write_rows_as_shards(batch: pa.Table, job: Job) -> pa.Table:
    """The last step for shards, of all rows that did not fail. The first row of a shard carries its record."""
    assert job.shards is not None
    store = _store(job.place)
    answers: list[Row] = []
    with ShardWriter[Row](store, job.shards, partial(_check_marker, job)) as writer:
        for number in range(batch.num_rows):
            (row,) = _rows_of(batch.slice(number, 1))
            if row["failure"]:
                answers.append(row)
                continue
            try:
                closed = writer.add({name: row[name] for name in ("index", "path", "folder")}, row, json.loads(row["source_mark"]))
            except Exception as error:  # noqa: BLE001 - the report gets it
                answers.append(_failed(row, _failure_of(row["path"], error, store.local)))
            else:
                answers += _answers_of(closed, store.local)
        answers += _answers_of(writer.close(), store.local)
    return _answers(answers)


def _answers_of(closed: Closed[Row] | None, folder: Path | None) -> Iterator[Row]:
    if closed is None:
        return
    if closed.error is not None:
        yield from (_failed(row, _failure_of(row["path"], closed.error, folder)) for row in closed.items)
        return
    assert closed.shard is not None
    record = closed.shard.record().decode()
    for number, row in enumerate(closed.items):
        yield {"index": row["index"], "files": [closed.shard.name], "shard": None if number else record}


_store = lru_cache(open_store)


def _check_marker(job: Job) -> None:
    if not job.cluster:
        check_run_marker(job.marker)
    elif job.marker is not None and not job.marker.exists():
        raise RuntimeError(
            f"the machine {socket.gethostname()} does not see the folder {job.marker.parent.parent} of the machine that began the run; "
            "give an --out that all machines share, or write shards to a store (--write parquet --out s3://...)"
        )
