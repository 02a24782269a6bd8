"""The local engine: reading, inference and writing overlap; memory does not grow with the number of images.

    read_pool ─► waiting_by_size ─► the network ─► write_pool ─► results of `process`
                 (for a full batch)

Decoding and writing run in threads, both of which release the GIL. On a CPU the threads of network_pool run the network, each on one image;
on other devices the caller's thread runs it on batches of images of one size. The caller's thread yields the results. Every queue is
bounded, by count and, where sizes are known, by pixels.

All threads of a run use the same torch thread count (`Options.threads_per_image`), however many images there are: another count would
change the last bits of the maps, and torch's matrix products share one count per process.
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

# Batches pay off where launching kernels takes longer than running them.
BATCH_ON_A_GPU = 8
_FULL_BATCH = {"cuda": BATCH_ON_A_GPU}
# Once this many full batches of images wait, the oldest size is run without a full batch.
_WINDOW = 4
# Working memory in bytes of all networks side by side on a CPU.
_SIDE_BY_SIDE = 2**32
# Seconds until a closed pipeline notices it while a network runs.
_CLOSED_WITHIN = 0.2
# Pixels in the pipeline per image of a full batch; a pixel takes about 64 bytes.
_PIXELS = 2**25


@dataclass
class InFlight:
    """An image in the pipeline: its result files, its file's mark before reading, and its pixels, (1, 3 or 4, H, W) in [0, 1]."""

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
    """Reads, estimates and writes images, roughly in order; as `engines.Engine.run`, with a loaded model."""
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
    """The pipeline: reads ahead, runs the network, and passes each estimate to `finish` in other threads; yields what it returns.

    The results come roughly in order. After a failure that `stops_run`, or once `stop` is set, no further image is begun and those in the
    pipeline are finished. If the caller closes the generator, only pending writes are finished.

    Args:
        model: As `Options.load` returns it.
        only_shown: Whether `finish` needs only the maps that the files of `Outputs.writes` show.
        watch: A context entered by the thread that runs the network, during inference; its exceptions are raised here.
    """
    pipeline = _Pipeline(model, options, finish, stop or Event(), only_shown, watch)
    try:
        yield from pipeline.run(iter(todo))
    finally:
        pipeline.close()


@dataclass
class _Pipeline(Generic[T]):
    """The thread pools, and the images in each stage, in order.

    `pixel_budget` bounds the pixels in all stages. `network_pool`, made for the first image, runs the network on a CPU, each of its threads
    its own `thread_local.model`. `closed`: the caller takes no more results. `largest`: pixels of the largest image so far. `batch_limits`:
    batch size by image size, where memory ran short.
    """

    model: Model
    options: Options
    finish: Callable[[InFlight, Estimate], T]
    stop: Event
    only_shown: bool
    watch: Callable[[], AbstractContextManager[object]] = nullcontext

    def __post_init__(self) -> None:
        self.full_batch = _FULL_BATCH.get(self.model.device.type, 1)
        self.pixel_budget = _PIXELS * self.full_batch
        self.cores = count_cores()
        self.threads = max(1, self.cores // 2)
        self.torch_threads = torch.get_num_threads()
        self.threads_each = self.options.threads_per_image(self.model.device.type, self.torch_threads)
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
        """Runs the pipeline, see `process`."""
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
        """Drops images that were only read and waits for pending writes; not for the network, which can take a minute."""
        self.closed.set()
        self.read_pool.shutdown(wait=False, cancel_futures=True)
        if self.network_pool is not None:
            self.network_pool.shutdown(wait=False, cancel_futures=True)
        self.write_pool.shutdown(cancel_futures=True)
        torch.set_num_threads(self.torch_threads)

    def _pool(self, count: int, name: str) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(count, name, compute_with, (self.threads_each,))

    def _dispatch_to_pool(self, item: InFlight) -> Iterator[tuple[Outputs, Failure]]:
        """Hands an image to the threads that run the network on a CPU; the first image determines their number."""
        try:
            self.network_pool = self.network_pool or self._make_network_pool(item)
        except EXPECTED_ERRORS as error:  # the network cannot be run on such an image
            yield item.outputs, self._failure(item, error)
            return
        estimated = self.network_pool.submit(self._run_network, [item])
        self.pending_writes.append((item, self.write_pool.submit(self._write_when_estimated, item, estimated)))

    def _make_network_pool(self, first: InFlight) -> ThreadPoolExecutor:
        """The threads that run the network on a CPU, as many as fit in memory."""
        fitting = images_that_fit(_SIDE_BY_SIDE, self.model.working_bytes(*first.size, self.options.size))
        side_by_side = min(images_side_by_side(self.threads_each, self.torch_threads), fitting)
        return ThreadPoolExecutor(side_by_side, "network", self._init_network_thread)

    def _init_network_thread(self) -> None:
        compute_with(self.threads_each)
        self.thread_local.model = self.model.for_another_thread()

    def _held_pixels(self) -> int:
        """Pixels of all unfinished images; those being read are assumed to be as large as the largest so far."""
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
        """Runs full batches, and the oldest partial one if too many images wait."""
        for size, batch in list(self.waiting_by_size.items()):
            limits = self.batch_limits.get(size, self.full_batch), self.model.batch_limit(*size) or self.full_batch
            if len(batch) >= min(self.full_batch, *limits) and not self.stop.is_set():
                yield from self._dispatch_batch(size)
        too_many = sum(map(len, self.waiting_by_size.values())) >= _WINDOW * self.full_batch or self._held_pixels() > self.pixel_budget // 2
        if self.waiting_by_size and too_many and not self.stop.is_set():
            yield from self._dispatch_batch(next(iter(self.waiting_by_size)))

    def _dispatch_batch(self, size: Size) -> Iterator[tuple[Outputs, Failure]]:
        batch = self.waiting_by_size.pop(size)
        if self.model.device.type == "cpu" and len(batch) == 1:
            yield from self._dispatch_to_pool(batch[0])
            return
        for item, estimate in zip(batch, self._run_network(batch), strict=True):
            if isinstance(estimate, Exception):
                failure = self._failure(item, estimate)
                yield item.outputs, failure
                if failure.stops_run:  # and so for the rest of the batch
                    return
            else:
                self.pending_writes.append((item, self.write_pool.submit(self._finish, item, estimate)))

    def _run_network(self, batch: Sequence[InFlight]) -> list[Estimate | Exception]:
        """The estimate of each image; remembers batch sizes that did not fit."""
        size, images = batch[0].size, [item.image for item in batch]
        model, writes = getattr(self.thread_local, "model", self.model), [item.outputs.writes for item in batch]
        shown = tuple(chain.from_iterable(writes)) if self.only_shown and all(writes) else ()
        fits = partial(self.batch_limits.__setitem__, size)
        with self.watch():
            return per_image.estimate_each(model, images, self.options, shown, too_large=fits)

    def _read(self, outputs: Outputs) -> InFlight | Failure:
        source_mark = mark(outputs.image)
        try:
            return InFlight(outputs, source_mark, per_image.read_with_alpha(outputs.image))
        except EXPECTED_ERRORS as error:
            return failure_of(str(outputs.image), error)

    def _write_when_estimated(self, item: InFlight, estimated: Future[list[Estimate | Exception]]) -> T | Failure:
        """`_finish` once the network has run; images arrive in inference order."""
        while not wait([estimated], timeout=_CLOSED_WITHIN).done:
            if self.closed.is_set():
                raise CancelledError
        (estimate,) = estimated.result()
        return self._failure(item, estimate) if isinstance(estimate, Exception) else self._finish(item, estimate)

    def _finish(self, item: InFlight, estimate: Estimate) -> T | Failure:
        try:
            # Batches fill a GPU's memory, which leaves little for rendering.
            return on_device_or_cpu(lambda device: self.finish(item, estimate.to(device)), estimate.device, "files are rendered")
        except EXPECTED_ERRORS as error:
            return failure_of(str(item.outputs.image), error, written_to=item.outputs.folder)

    def _failure(self, item: InFlight, error: Exception) -> Failure:
        """The failure of an image without an estimate; stops the run if every image would fail the same way."""
        failure = failure_of(str(item.outputs.image), error)
        if failure.stops_run:
            self.stop.set()
        return failure

    def _drain_writes(self, most: int, pixels: int = 0) -> Iterator[tuple[Outputs, T | Failure]]:
        """Yields finished results; waits until at most `most` images and `pixels` pixels are pending."""
        while self.pending_writes and (self.pending_writes[0][1].done() or len(self.pending_writes) > most or self._held_pixels() > pixels):
            item, future = self.pending_writes.popleft()
            result = future.result()
            if isinstance(result, Failure) and result.stops_run:
                self.stop.set()
            yield item.outputs, result


def images_side_by_side(threads_each: int, available: int) -> int:
    """The number of images that a CPU computes side by side, each on `threads_each` of torch's `available` threads.

    With several threads each, one more than they suffice for: while the threads of one image wait for each other, those of another work.
    """
    return available if threads_each == 1 else available // threads_each + 1


def count_cores() -> int:
    """The number of cores available to this process."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
