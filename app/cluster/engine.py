"""The cluster engine: `read`, `estimate` and `write` of `per_image` as three steps of a Ray Data pipeline.

Ray schedules the steps: how many images are read ahead (limited by its object store), which worker gets the next, and retries when a worker
is lost. Reading and writing are tasks; estimation is an actor, which loads the model once. Between the steps an image is a row of bytes.
"""

from __future__ import annotations

import inspect
import json
import logging
import time
import warnings
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch

from ...geometry.files.paths import remove_leftovers
from ...model_loader.weights.download import find_weights_files
from ...options.runs import RayOptions
from ..batch.engines import Engine, Words
from ..batch.failures import Failure
from ..batch.local_engine import BATCH_ON_A_GPU, images_side_by_side
from ..batch.options import Options
from ..batch.outputs import Outputs
from ..batch.records import RECORDS, mark
from ..batch.remote_files import Url, find_sources
from ..batch.run import Outcome
from ..batch.shards.catalogue import shard_of_record
from ..batch.shards.rows import Row, check_utf8
from ..batch.shards.writer import ShardTarget
from ..batch.sources import Source
from .local_ray import import_ray, session
from .steps import Job, Worker, read_rows, write_rows, write_rows_as_shards

if TYPE_CHECKING:
    import pyarrow as pa

logger = logging.getLogger(__name__)

# Ray retries tasks of a lost worker. An image that kills its worker each time must not be retried for ever.
_TRIES_AGAIN = 3
# Images per reading task: enough to hide Ray's overhead, few enough that a lost task costs little.
_ROWS = 4
# Images per task that writes shards; a shard ends by size or with its task. Enough that small images make no small shards; each worker gets
# several tasks, so that all end at about the same time.
_IMAGES_IN_A_SHARD = 256
_TASKS_OF_A_WORKER = 4
# Bytes per block between steps when writing files: Ray's default.
_BLOCK_BYTES = 128 * 2**20
# For processes that Ray has told to end.
_SECONDS_TO_DIE = 10


@dataclass(frozen=True)
class RayEngine(Engine):
    """A Ray cluster, remote or on this machine; `spread` configures the workers, which load the model."""

    spread: RayOptions

    def find(self, words: Words, recursive: bool, out: Path) -> tuple[list[Source], list[str]]:
        return find_sources(words, recursive, out)

    def run(
        self, todo: Sequence[Outputs], options: Options, stop: Event, marker: Path | None, target: ShardTarget | None
    ) -> Iterator[Outcome]:
        """See `Engine`. Once `stop` is set, incomplete results are dropped.

        Raises ImportError without Ray, ConnectionError if the cluster does not respond, DownloadError as `find_weights_files`, RuntimeError
        if a worker cannot load the model: on which machine and why.
        """
        find_weights_files(options.spec, options.weights)  # fail before contacting the cluster
        named: list[Outputs] = []
        for each in todo:
            try:
                check_utf8(str(each.image.absolute()))
                check_utf8(str(each.folder.absolute()))
                named.append(each)
            except ValueError as error:
                yield Outcome(each, failure=Failure(str(error)))
        if not named:
            return
        first, folders = named[0], {each.folder for each in named}
        job = Job(
            options,
            first.writes,
            options.settings(first.writes),
            overwrite=first.overwrite,
            keep_extension=first.keep_extension,
            marker=marker,
            threads=torch.get_num_threads(),  # as the local engine
        )
        place = first.folder
        if target is not None:
            place = target.store.local
            job = replace(job, shards=target.run, place=str(place.absolute()) if place else target.store.place)
            folders = {place} if place else set()
        with ExitStack() as stack:
            stack.enter_context(_nothing_half({folder / RECORDS for folder in folders}))  # after Ray has ended
            logger.info("starting Ray's workers, each of which loads %s; this can take minutes", options.spec.id)
            ray, cluster = stack.enter_context(session(self.spread.address))
            job = replace(job, cluster=cluster)
            _check_gpus(ray, self.spread, cluster)
            yield from _all_outcomes(ray, named, job, self.spread, target, stop)


@contextmanager
def _nothing_half(folders: Iterable[Path]) -> Iterator[None]:
    """Removes partial files of the block's writers from these folders: Ray kills writers, some a little after it ended."""
    others = {folder: set(remove_leftovers(folder)) for folder in folders}
    try:
        yield
    finally:
        deadline = time.monotonic() + _SECONDS_TO_DIE
        for folder, theirs in others.items():
            while not theirs.issuperset(remove_leftovers(folder)) and time.monotonic() < deadline:
                time.sleep(0.1)


def _check_gpus(ray: ModuleType, options: RayOptions, cluster: bool) -> None:
    """Rejects more GPUs per worker than Ray has, for which it would wait for ever. Only warns on a cluster, which may grow."""
    has = ray.cluster_resources().get("GPU", 0)
    if not (asked := options.gpus_per_worker or 0) or any(
        node["Resources"].get("GPU", 0) >= asked for node in ray.nodes() if node["Alive"]
    ):
        return
    words = f"--gpus-per-worker {asked:g}: Ray knows of {has:g} GPUs, on no machine of as many"
    if not cluster:
        raise ValueError(f"{words}; leave it out, or give 0 to use the CPU")
    logger.warning("%s; the run waits for such a machine (`ray status` tells more)", words)


def _rows(ray: ModuleType, blocks: Sequence[pa.Table], job: Job, options: RayOptions) -> Generator[list[Row], None, None]:
    if not ray.util.client.ray.is_connected():
        driver = _Driver(blocks, job, options)
        try:
            while (rows := driver.rows()) is not None:
                yield rows
        finally:
            driver.stop()
        return
    # With ray:// this process is not part of Ray, and Ray Data cannot run in it.
    driver = ray.remote(num_cpus=0)(_Driver).remote(blocks, job, options)
    while (rows := ray.get(driver.rows.remote())) is not None:
        yield rows


class _Driver:
    def __init__(self, blocks: Sequence[pa.Table], job: Job, options: RayOptions) -> None:
        ray = import_ray()
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = context.print_on_execution_start = False
        context.max_errored_blocks = -1  # lost blocks do not abort the run
        # A block becomes a shard: Ray closes it at this size.
        context.target_max_block_size = job.shards.options.size if job.shards else _BLOCK_BYTES
        self._batches = iter(_pipeline(ray, blocks, job, options).iter_batches(batch_size=None, batch_format="pyarrow"))

    def rows(self) -> list[Row] | None:
        """The next rows; None after the last."""
        batch = next(self._batches, None)
        return None if batch is None else batch.to_pylist()

    def stop(self) -> None:
        """Ends the pipeline, before Ray itself ends."""
        self._batches.close()
        del self._batches


def _pipeline(ray: ModuleType, blocks: Sequence[pa.Table], job: Job, options: RayOptions) -> Any:
    """The three steps, as a dataset with a row per image: its index, files and failure."""
    spread = _spread(ray, job, options)
    job = replace(job, batch=options.batch_size or (BATCH_ON_A_GPU if spread.gpus else 1), device=spread.device, threads=spread.threads)
    pool = ray.data.ActorPoolStrategy(min_size=1, max_size=spread.workers, initial_size=spread.workers)
    step = {"batch_format": "pyarrow"}
    read = ray.data.from_arrow(list(blocks)).map_batches(read_rows, fn_args=(job,), batch_size=None, num_cpus=spread.task_cpus, **step)
    # Ray 2.64 drops the option, and retries a lost worker's tasks without limit.
    has_limit = "ray_remote_args" in inspect.signature(ray.data.Dataset.map_batches).parameters
    tries = {"max_task_retries": _TRIES_AGAIN} if has_limit else {}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`ray_remote_args` is deprecated")
        estimated = read.map_batches(
            Worker,
            fn_constructor_args=(job,),
            batch_size=job.batch,
            compute=pool,
            num_cpus=spread.worker_cpus,
            num_gpus=spread.gpus or None,
            **tries,
            **step,
        )
    write = write_rows_as_shards if job.shards else write_rows
    return estimated.map_batches(write, fn_args=(job,), batch_size=None, num_cpus=spread.task_cpus, **step)


@dataclass(frozen=True)
class _Spread:
    """The resources of each worker of a run: torch threads per image; the CPUs that it, or a reading or writing task, reserves in Ray."""

    gpus: float
    device: str
    threads: int
    workers: int
    worker_cpus: float
    task_cpus: float


def _spread(ray: ModuleType, job: Job, options: RayOptions) -> _Spread:
    """The workers' resources on the current cluster; `job.threads` is torch's thread count."""
    resources = ray.cluster_resources()
    gpus = options.gpus_per_worker
    if gpus is None:
        gpus = 1.0 if resources.get("GPU") and options.device != "cpu" else 0.0
    # A worker without a reserved GPU may still see one.
    device = "cpu" if not gpus and options.device == "auto" else options.device
    threads = job.options.threads_per_image("cpu" if device == "cpu" else "gpu", job.threads)
    if gpus:  # decoding and encoding keep whole cores busy beside a GPU
        return _Spread(gpus, device, threads, options.workers or max(1, int(resources.get("GPU", 0) / gpus)), 1.0, 1.0)
    # Beside a network on the CPU they are cheap.
    side_by_side = images_side_by_side(threads, job.threads)
    workers = options.workers or max(1, int(resources.get("CPU", 1) / job.threads * side_by_side))
    smallest_machine = min((cpus for node in ray.nodes() if node["Alive"] and (cpus := node["Resources"].get("CPU"))), default=1.0)
    return _Spread(gpus, device, threads, workers, min(0.5 * job.threads / side_by_side, smallest_machine / 4), 0.25)


def _blocks(todo: Sequence[Outputs], indices: Sequence[int], rows: int) -> list[pa.Table]:
    import pyarrow as pa

    columns = pa.schema({"index": pa.int64(), "path": pa.string(), "folder": pa.string(), "source_mark": pa.string()})
    blocks = []
    for start in range(0, len(indices), rows):
        part = [(index, todo[index]) for index in indices[start : start + rows]]
        values = [
            {"index": index, "path": str(each.image.absolute()), "folder": str(each.folder.absolute()), "source_mark": _listed(each)}
            for index, each in part
        ]
        blocks.append(pa.Table.from_pylist(values, columns))
    return blocks


def _listed(outputs: Outputs) -> str | None:
    """The mark from a store's listing, since asking again takes as long as a small image; None if unknown."""
    return json.dumps(mark(outputs.image)) if isinstance(outputs.image, Url) and outputs.image.status else None


def _all_outcomes(
    ray: ModuleType, todo: Sequence[Outputs], job: Job, options: RayOptions, target: ShardTarget | None, stop: Event
) -> Iterator[Outcome]:
    """The outcome of each image. Images without an outcome are retried once, each alone."""
    if stop.is_set():  # while Ray started
        return

    def attempt(indices: Sequence[int], how: RayOptions, together: int) -> Generator[Outcome, None, list[int]]:
        with closing(_rows(ray, _blocks(todo, indices, together), job, how)) as rows:
            return (yield from _outcomes(rows, todo, indices, target, stop))

    lost = yield from attempt(range(len(todo)), options, _images_together(ray, len(todo), job, options))
    if lost:
        # A dead machine is noticed late; by then Ray has used up the retries of its workers' images.
        logger.info("%d images were lost with their workers: each is tried once more, alone", len(lost))
        lost = yield from attempt(lost, replace(options, batch_size=1), _ROWS)
    yield from (Outcome(todo[index], failure=_lost(todo[index])) for index in lost)


def _images_together(ray: ModuleType, count: int, job: Job, options: RayOptions) -> int:
    """Images per task. A shard cannot span tasks, so that shards need many."""
    rows = max(_ROWS, options.batch_size or BATCH_ON_A_GPU)
    if job.shards is None:
        return rows
    return max(rows, min(_IMAGES_IN_A_SHARD, count // (_TASKS_OF_A_WORKER * _spread(ray, job, options).workers)))


def _outcomes(
    blocks: Iterator[list[Row]], todo: Sequence[Outputs], indices: Sequence[int], target: ShardTarget | None, stop: Event
) -> Generator[Outcome, None, list[int]]:
    """Turns the last step's rows into outcomes; returns the images without one, unless the run is to end."""
    missing = set(indices)
    for block in blocks:  # finish a block even after a stop: its images are written
        for row in block:
            failure = Failure(**json.loads(row["failure"])) if row["failure"] else None
            if row["index"] < 0:
                raise RuntimeError(failure.reason if failure else "a worker ended without a word")
            missing.discard(row["index"])
            outputs = todo[row["index"]]
            files = (target.store.path(name) if target else outputs.folder / name for name in row["files"] or ())
            if target and row["shard"] and (shard := shard_of_record(row["files"][0], row["shard"])):
                target.stored(shard)
            yield Outcome(outputs, tuple(files), failure)
            if failure and failure.stops_run:
                return []
        if stop.is_set():
            return []
    return sorted(missing)


def _lost(outputs: Outputs) -> Failure:
    """The failure of an image without an outcome, also after the retry."""
    reason = (
        f"{outputs.image}: no answer came, also when it was tried alone: its worker was lost again and again (no memory, killed), or "
        "failed as Ray's log says; try it again with --retry-failed, or give the machines fewer --workers"
    )
    return Failure(reason, retryable=True)
