"""The local engine: reading, inference and writing overlap, and memory does not grow with the number of images.

    read_pool ─► waiting_by_size ─► the network ─► write_pool ─► results of `process`
                 (for a full batch)

Images are decoded and files written in threads, which both let other threads run. On a CPU the threads of network_pool run the network,
each on one image; elsewhere the caller's thread runs it, on batches of images of one size. The caller's thread hands out the results. Every
queue has a limit: in numbers, and in pixels as far as sizes are known.

Every thread of a run computes with the same number of threads of torch's (`Options.threads_per_image`), however many images there are: with
another number the last bits of an image's maps would be others, and torch's matrix products have one number for the whole process.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from threading import Event, local
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from ...geometry.estimate import Estimate
from ...media import compute_with
from ...model_loader import Model
from ...model_loader.inference.memory_budget import images_that_fit, on_device_or_cpu
from ..outcomes import EXPECTED_ERRORS
from . import per_image
from .failures import Failure, failure_of
from .options import Options
from .outputs import Outputs
from .records import mark
from .run import Outcome
from .staging import Stages, check_run_marker

T = TypeVar("T")
Size = tuple[int, int]

# Images in one batch: it is worth it where launching the kernels takes longer than they do.
BATCH_ON_A_GPU = 8
_FULL_BATCH = {"cuda": BATCH_ON_A_GPU}
# Once so many full batches of images wait, those that came first no longer wait for others of their size.
_WINDOW = 4
# Working memory of all networks that run side by side on a CPU, in bytes.
_SIDE_BY_SIDE = 2**32
# In seconds, how soon a pipeline that is closed notices it while a network runs.
_CLOSED_WITHIN = 0.2
# Pixels of all images between reading and writing, for each image of a full batch; a pixel takes about 64 bytes.
_PIXELS = 2**25


@dataclass
class InFlight:
    """An image on its way.

    Attributes:
        outputs: The image and its files.
        source_mark: Its mark from before it was read.
        image: (1, 3, H, W) in [0, 1].
    """

    outputs: Outputs
    source_mark: Mapping[str, int] | None
    image: Tensor

    @property
    def size(self) -> Size:
        """Height and width."""
        return self.image.shape[-2], self.image.shape[-1]

    @property
    def pixels(self) -> int:
        """Height times width."""
        return self.image.shape[-2] * self.image.shape[-1]


def estimate_files(
    model: Model, todo: Iterable[Outputs], options: Options, stop: Event | None = None, marker: Path | None = None
) -> Iterator[Outcome]:
    """Reads images, estimates and writes files, about in order; as `engines.Engine.run`, with a model that is loaded."""
    settings: dict[tuple[str, ...], dict[str, Any]] = {}

    def write(item: InFlight, estimate: Estimate) -> tuple[Path, ...]:
        outputs = item.outputs
        check_run_marker(marker)
        how = settings.get(outputs.writes) or settings.setdefault(outputs.writes, options.settings(outputs.writes))
        return tuple(per_image.write(outputs, estimate, options, item.image, item.source_mark, how, stages))

    with Stages() as stages, closing(process(model, todo, options, write, stop, only_shown=True)) as results:
        for outputs, result in results:
            yield Outcome(outputs, failure=result) if isinstance(result, Failure) else Outcome(outputs, result)


def process(
    model: Model,
    todo: Iterable[Outputs],
    options: Options,
    finish: Callable[[InFlight, Estimate], T],
    stop: Event | None = None,
    *,
    only_shown: bool = False,
    watch: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> Generator[tuple[Outputs, T | Failure], None, None]:
    """The pipeline: reads ahead, runs the network, and hands each estimate to `finish`, which runs in other threads.

    Args:
        model: As `Options.load` gives it.
        todo: The images.
        options: The options of the run.
        finish: What is done with each image and its estimate.
        stop: Set = no further image is begun.
        only_shown: Whether `finish` needs only the maps that the files of `Outputs.writes` show.
        watch: Entered in the thread that runs the network, while it does: what it raises is raised here.

    Yields:
        The value that `finish` returned, or a failure, about in order. After one that is `stops_run`, or once `stop` is set, no further
        image is begun; those in hand are finished. Where the caller takes no more, only what is being written is.
    """
    pipeline = _Pipeline(model, options, finish, stop or Event(), only_shown, watch)
    try:
        yield from pipeline.run(iter(todo))
    finally:
        pipeline.close()


class _Pipeline(Generic[T]):
    """The pools of threads, and the images in each stage.

    Attributes:
        full_batch: The number of images in a batch.
        pixel_budget: Pixels of the images in all stages, at most.
        threads_each: Of torch's threads, how many each thread computes with.
        network_pool: The threads that run the network on a CPU, once there was an image.
        thread_local: `model` in a thread of `network_pool`.
        closed: Set once nobody takes results any more.
        pending_reads: Images that are read, in order.
        waiting_by_size: Images that were read and wait for a full batch of their size.
        pending_writes: Images that the network or a writer works on, in order.
        largest: Pixels of the largest image so far.
        batch_limits: How many images of a size fit in one batch, where memory was found to be short.
    """

    def __init__(
        self,
        model: Model,
        options: Options,
        finish: Callable[[InFlight, Estimate], T],
        stop: Event,
        only_shown: bool,
        watch: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self.model, self.options, self.finish, self.stop, self.only_shown, self.watch = model, options, finish, stop, only_shown, watch
        self.full_batch = _FULL_BATCH.get(model.device.type, 1)
        self.pixel_budget = _PIXELS * self.full_batch
        self.cores = count_cores()
        self.threads = max(1, self.cores // 2)
        self.torch_threads = torch.get_num_threads()
        self.threads_each = options.threads_per_image(model.device.type, self.torch_threads)
        self.read_pool, self.write_pool = self._pool(self.threads, "read"), self._pool(self.cores, "write")
        self.network_pool: ThreadPoolExecutor | None = None
        self.thread_local = local()
        self.closed = Event()
        self.pending_reads: deque[tuple[Outputs, Future[InFlight | Failure]]] = deque()
        self.waiting_by_size: dict[Size, list[InFlight]] = {}
        self.pending_writes: deque[tuple[InFlight, Future[T | Failure]]] = deque()
        self.largest = 0
        self.batch_limits: dict[Size, int] = {}

    def run(self, todo: Iterator[Outputs]) -> Iterator[tuple[Outputs, T | Failure]]:
        """Runs the pipeline, as `process` says."""
        while not self.stop.is_set():
            self._read_ahead(todo)
            if not self.pending_reads:
                break
            outputs, future = self.pending_reads.popleft()
            item = future.result()
            if isinstance(item, Failure):
                yield outputs, item
                continue
            self.largest = max(self.largest, item.pixels)
            self.waiting_by_size.setdefault(item.size, []).append(item)
            yield from self._dispatch_full_batches()
            yield from self._drain_writes(self.cores + self.full_batch, self.pixel_budget)
        while self.waiting_by_size and not self.stop.is_set():
            yield from self._dispatch_batch(next(iter(self.waiting_by_size)))
        yield from self._drain_writes(0)

    def close(self) -> None:
        """Drops what was only read, and waits for what is being written; not for a network, which can take a minute and be for nothing."""
        self.closed.set()
        self.read_pool.shutdown(wait=False, cancel_futures=True)
        if self.network_pool is not None:
            self.network_pool.shutdown(wait=False, cancel_futures=True)
        self.write_pool.shutdown(cancel_futures=True)
        torch.set_num_threads(self.torch_threads)

    def _pool(self, count: int, name: str) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(count, name, compute_with, (self.threads_each,))

    def _dispatch_to_pool(self, item: InFlight) -> Iterator[tuple[Outputs, Failure]]:
        """Hands an image to one of the threads that run the network on a CPU; the first image decides how many there are."""
        try:
            self.network_pool = self.network_pool or self._make_network_pool(item)
        except EXPECTED_ERRORS as error:  # the network cannot be run on such an image
            yield item.outputs, self._failure(item, error)
            return
        estimated = self.network_pool.submit(self._run_network, [item])
        self.pending_writes.append((item, self.write_pool.submit(self._write_when_estimated, item, estimated)))

    def _make_network_pool(self, first: InFlight) -> ThreadPoolExecutor:
        """The threads for the images that are computed side by side, as many as fit the memory."""
        fitting = images_that_fit(_SIDE_BY_SIDE, self.model.working_bytes(*first.size, self.options.size))
        side_by_side = min(images_side_by_side(self.threads_each, self.torch_threads), fitting)
        return ThreadPoolExecutor(side_by_side, "network", self._init_network_thread)

    def _init_network_thread(self) -> None:
        compute_with(self.threads_each)
        self.thread_local.model = self.model.for_another_thread()

    def _held_pixels(self) -> int:
        """Pixels of all images that are read and not finished, and as far as can be known of those that are being read."""
        waiting = sum(len(each) * height * width for (height, width), each in self.waiting_by_size.items())
        return waiting + sum(item.pixels for item, _ in self.pending_writes) + len(self.pending_reads) * self.largest

    def _read_ahead(self, todo: Iterator[Outputs]) -> None:
        while len(self.pending_reads) < self.threads + self.full_batch:
            if self.pending_reads and self._held_pixels() + self.largest > self.pixel_budget:
                return
            outputs = next(todo, None)
            if outputs is None:
                return
            self.pending_reads.append((outputs, self.read_pool.submit(self._read, outputs)))

    def _dispatch_full_batches(self) -> Iterator[tuple[Outputs, Failure]]:
        """Runs the network on images of one size as soon as there are enough, or where others have waited too long for more of theirs."""
        for size, batch in list(self.waiting_by_size.items()):
            if len(batch) >= self._batch_size(size) and not self.stop.is_set():
                yield from self._dispatch_batch(size)
        too_many = sum(map(len, self.waiting_by_size.values())) >= _WINDOW * self.full_batch or self._held_pixels() > self.pixel_budget // 2
        if self.waiting_by_size and too_many and not self.stop.is_set():
            yield from self._dispatch_batch(next(iter(self.waiting_by_size)))

    def _batch_size(self, size: Size) -> int:
        return min(self.full_batch, self.batch_limits.get(size, self.full_batch), self.model.batch_limit(*size) or self.full_batch)

    def _dispatch_batch(self, size: Size) -> Iterator[tuple[Outputs, Failure]]:
        """Runs the network on the images that wait of one size, and has them written."""
        batch = self.waiting_by_size.pop(size)
        if self.model.device.type == "cpu" and len(batch) == 1:
            yield from self._dispatch_to_pool(batch[0])
            return
        for item, estimate in zip(batch, self._run_network(batch), strict=True):
            if isinstance(estimate, Exception):
                failure = self._failure(item, estimate)
                yield item.outputs, failure
                if failure.stops_run:  # of the others of the batch too
                    return
            else:
                self.pending_writes.append((item, self.write_pool.submit(self._finish, item, estimate)))

    def _run_network(self, batch: Sequence[InFlight]) -> list[Estimate | Exception]:
        """The estimate of each image; what did not fit in one batch is remembered."""
        size, images = batch[0].size, [item.image for item in batch]
        model, writes = getattr(self.thread_local, "model", self.model), _writes_of(batch) if self.only_shown else ()
        fits = partial(self.batch_limits.__setitem__, size)
        with self.watch():
            return per_image.estimate_each(model, images, self.options, writes, too_large=fits)

    def _read(self, outputs: Outputs) -> InFlight | Failure:
        source_mark = mark(outputs.image)
        try:
            return InFlight(outputs, source_mark, per_image.read_with_alpha(outputs.image))
        except EXPECTED_ERRORS as error:
            return failure_of(str(outputs.image), error)

    def _write_when_estimated(self, item: InFlight, estimated: Future[list[Estimate | Exception]]) -> T | Failure:
        """`_finish` once the network has run. Images arrive in the order of inference."""
        while not wait([estimated], timeout=_CLOSED_WITHIN).done:
            if self.closed.is_set():
                raise CancelledError
        (estimate,) = estimated.result()
        return self._failure(item, estimate) if isinstance(estimate, Exception) else self._finish(item, estimate)

    def _finish(self, item: InFlight, estimate: Estimate) -> T | Failure:
        try:
            # Batches are as large as the memory of a GPU allows, which leaves little for what is rendered there meanwhile.
            return on_device_or_cpu(lambda device: self.finish(item, estimate.to(device)), estimate.device, "files are rendered")
        except EXPECTED_ERRORS as error:
            return failure_of(str(item.outputs.image), error, written_to=item.outputs.folder)

    def _failure(self, item: InFlight, error: Exception) -> Failure:
        """The failure of an image that was not estimated; one that every image would meet ends the run."""
        failure = failure_of(str(item.outputs.image), error)
        if failure.stops_run:
            self.stop.set()
        return failure

    def _drain_writes(self, most: int, pixels: int = 0) -> Iterator[tuple[Outputs, T | Failure]]:
        """Hands out what is finished, and waits until no more than so many images, or so many pixels, are left."""
        while self.pending_writes and (self.pending_writes[0][1].done() or len(self.pending_writes) > most or self._held_pixels() > pixels):
            item, future = self.pending_writes.popleft()
            result = future.result()
            if isinstance(result, Failure) and result.stops_run:
                self.stop.set()
            yield item.outputs, result


def _writes_of(batch: Sequence[InFlight]) -> tuple[str, ...]:
    """The outputs of all images of a batch, as `per_image.estimate` takes them."""
    writes = [item.outputs.writes for item in batch]
    return tuple(chain.from_iterable(writes)) if all(writes) else ()


def images_side_by_side(threads_each: int, available: int) -> int:
    """The number of images that a CPU computes at the same time.

    Args:
        threads_each: Of each image, as `Options.threads_per_image` says.
        available: Threads that torch may use.

    Returns:
        As many as there are threads, where an image has one. Else one more than the threads are enough for: while those of one image wait
        for each other, those of another go on.
    """
    return available if threads_each == 1 else available // threads_each + 1


def count_cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
