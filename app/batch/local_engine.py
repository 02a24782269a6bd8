"""The local engine: reading, inference and writing overlap, and memory does not grow with the number of images.

Threads read ahead and write behind (decoding and packing images let other threads run). On a CPU other threads run the network, on several
images side by side; elsewhere the caller's thread runs it, on batches, and everywhere it hands out what is finished. Nothing is queued
without a limit: in numbers, and in pixels as far as sizes are known.

Every thread of a run computes with the same number of threads of torch's (`Options.threads_per_image`), however many images there are: with
another number the last bits of an image's maps would be others, and torch's matrix products have one number for the whole process.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from threading import Event, local
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from ...annotators.base import is_out_of_memory
from ...geometry.estimate import Estimate
from ...media import compute_with
from ...model_loader import Model
from ...model_loader.comfy import devices
from ...model_loader.comfy.placement import WeightsTooLargeError
from ...model_loader.inference.memory_budget import images_that_fit
from ..outcomes import EXPECTED_ERRORS
from . import per_image
from .failures import Failure, failure_of
from .outputs import Outputs
from .per_image import Options
from .records import mark
from .staging import Stages, check_run_marker

T = TypeVar("T")
Size = tuple[int, int]

# Images that run through the network together: it is worth it where launching the kernels takes longer than they do.
BATCH_ON_A_GPU = 8
_TOGETHER = {"cuda": BATCH_ON_A_GPU}
# Of so many times a batch's images, those that came first no longer wait for others of their size.
_WINDOW = 4
# Of all networks that run side by side on a CPU, in bytes.
_SIDE_BY_SIDE = 2**32
# In seconds, how soon a pipeline that is closed notices it while a network runs.
_CLOSED_WITHIN = 0.2
# Of all images between reading and writing, for each image of a batch; a pixel takes about 64 bytes.
_PIXELS = 2**25


@dataclass(frozen=True)
class Outcome:
    """The result of one image of a run.

    Attributes:
        outputs: The image and its files.
        files: Those that were written.
        failure: Why it was not done; None if it was.
    """

    outputs: Outputs
    files: tuple[Path, ...] = ()
    failure: Failure | None = None


@dataclass
class InFlight:
    """An image on its way.

    Attributes:
        outputs: The image and its files.
        source_mark: Its mark from before it was read.
        image: (1, 3, H, W) in [0, 1].
        found: The estimate, once there is one.
    """

    outputs: Outputs
    source_mark: Mapping[str, int] | None
    image: Tensor
    found: Estimate | None = None

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

    def write(taken: InFlight) -> tuple[Path, ...]:
        outputs = taken.outputs
        assert taken.found is not None
        check_run_marker(marker)
        how = settings.get(outputs.writes) or settings.setdefault(outputs.writes, options.settings(outputs.writes))
        return tuple(per_image.write(outputs, taken.found, options, taken.image, taken.source_mark, how, stages))

    with Stages() as stages, closing(process(model, todo, options, write, stop, only_shown=True)) as results:
        for outputs, result in results:
            yield Outcome(outputs, failure=result) if isinstance(result, Failure) else Outcome(outputs, result)


def process(
    model: Model,
    todo: Iterable[Outputs],
    options: Options,
    finish: Callable[[InFlight], T],
    stop: Event | None = None,
    *,
    only_shown: bool = False,
) -> Generator[tuple[Outputs, T | Failure], None, None]:
    """The pipeline: reads ahead, runs the network, and hands each estimate to `finish`, which runs in other threads.

    Args:
        model: As `Options.load` gives it.
        todo: The images.
        options: The options of the run.
        finish: What is done with each estimate.
        stop: Set = no further image is begun.
        only_shown: Whether `finish` needs only the maps that the files of `Outputs.writes` show.

    Yields:
        The value that `finish` returned, or a failure, about in order. After one that is `lasting`, or once `stop` is set, no further
        image is begun; those in hand are finished. Where the caller takes no more, only what is being written is.
    """
    pipeline = _Pipeline(model, options, finish, stop or Event(), only_shown)
    try:
        yield from pipeline.run(iter(todo))
    finally:
        pipeline.close()


class _Pipeline(Generic[T]):
    """The images under way: those being read, those waiting for others of their size, and those being finished."""

    def __init__(self, model: Model, options: Options, finish: Callable[[InFlight], T], stop: Event, only_shown: bool) -> None:
        self.model, self.options, self.finish, self.stop, self.only_shown = model, options, finish, stop, only_shown
        self.together = _TOGETHER.get(model.device.type, 1)
        self.pixels = _PIXELS * self.together
        self.cores = count_cores()
        self.threads = max(1, self.cores // 2)
        self.torch_threads = torch.get_num_threads()
        self.threads_each = options.threads_per_image(model.device.type, self.torch_threads)
        self.reading, self.writing = self._pool(self.threads, "read"), self._pool(self.cores, "write")
        self.networks: ThreadPoolExecutor | None = None
        self.own = local()
        self.closing = Event()
        self.ahead: deque[tuple[Outputs, Future[InFlight | Failure]]] = deque()
        self.waiting: dict[Size, list[InFlight]] = {}
        self.behind: deque[tuple[InFlight, Future[T | Failure]]] = deque()
        self.largest = 0
        self.batch_limits: dict[Size, int] = {}

    def run(self, todo: Iterator[Outputs]) -> Iterator[tuple[Outputs, T | Failure]]:
        """Runs the pipeline, as `process` says."""
        while not self.stop.is_set():
            self._read_ahead(todo)
            if not self.ahead:
                break
            outputs, future = self.ahead.popleft()
            taken = future.result()
            if isinstance(taken, Failure):
                yield outputs, taken
                continue
            self.largest = max(self.largest, taken.pixels)
            self.waiting.setdefault(taken.size, []).append(taken)
            yield from self._estimate_where_full()
            yield from self._finished(self.cores + self.together, self.pixels)
        while self.waiting and not self.stop.is_set():
            yield from self._estimate(next(iter(self.waiting)))
        yield from self._finished(0)

    def close(self) -> None:
        """Drops what was only read, and waits for what is being written; not for a network, which can take a minute and be for nothing."""
        self.closing.set()
        self.reading.shutdown(wait=False, cancel_futures=True)
        if self.networks is not None:
            self.networks.shutdown(wait=False, cancel_futures=True)
        self.writing.shutdown(cancel_futures=True)
        torch.set_num_threads(self.torch_threads)

    def _pool(self, count: int, name: str) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(count, name, compute_with, (self.threads_each,))

    def _estimate_side_by_side(self, taken: InFlight) -> Iterator[tuple[Outputs, Failure]]:
        """Hands an image to one of the threads that run the network on a CPU; the first image decides how many there are."""
        try:
            self.networks = self.networks or self._network_threads(taken)
        except EXPECTED_ERRORS as error:  # the network cannot be run on such an image
            yield taken.outputs, self._failure(taken, error)
            return
        found = self.networks.submit(self._found, [taken])
        self.behind.append((taken, self.writing.submit(self._finish_found, taken, found)))

    def _network_threads(self, first: InFlight) -> ThreadPoolExecutor:
        """The threads for the images that are computed side by side, as many as fit the memory."""
        fitting = images_that_fit(_SIDE_BY_SIDE, self.model.working_bytes(*first.size, self.options.size))
        side_by_side = min(images_side_by_side(self.threads_each, self.torch_threads), fitting)
        return ThreadPoolExecutor(side_by_side, "network", self._take_model)

    def _take_model(self) -> None:
        compute_with(self.threads_each)
        self.own.model = self.model.for_another_thread()

    def _held(self) -> int:
        """Pixels of all images that are read and not finished, and as far as can be known of those that are being read."""
        waiting = sum(len(each) * height * width for (height, width), each in self.waiting.items())
        return waiting + sum(taken.pixels for taken, _ in self.behind) + len(self.ahead) * self.largest

    def _read_ahead(self, todo: Iterator[Outputs]) -> None:
        while len(self.ahead) < self.threads + self.together and (not self.ahead or self._held() + self.largest <= self.pixels):
            outputs = next(todo, None)
            if outputs is None:
                return
            self.ahead.append((outputs, self.reading.submit(self._read, outputs)))

    def _estimate_where_full(self) -> Iterator[tuple[Outputs, Failure]]:
        """Runs the network on images of one size as soon as there are enough, or where others have waited too long for more of theirs."""
        for size, batch in list(self.waiting.items()):
            if len(batch) >= self._most(size) and not self.stop.is_set():
                yield from self._estimate(size)
        too_many = sum(map(len, self.waiting.values())) >= _WINDOW * self.together or self._held() > self.pixels // 2
        if self.waiting and too_many and not self.stop.is_set():
            yield from self._estimate(next(iter(self.waiting)))

    def _most(self, size: Size) -> int:
        return min(self.together, self.batch_limits.get(size, self.together), self.model.batch_limit(*size) or self.together)

    def _estimate(self, size: Size) -> Iterator[tuple[Outputs, Failure]]:
        """Runs the network on what waits of one size, and hands on what it gives."""
        batch = self.waiting.pop(size)
        if self.model.device.type == "cpu" and len(batch) == 1:
            yield from self._estimate_side_by_side(batch[0])
            return
        for taken, found in zip(batch, self._found(batch), strict=True):
            if isinstance(found, Exception):
                failure = self._failure(taken, found)
                yield taken.outputs, failure
                if failure.lasting:  # of the others of the batch too
                    return
            else:
                taken.found = found
                self.behind.append((taken, self.writing.submit(self._finish, taken)))

    def _found(self, batch: Sequence[InFlight]) -> list[Estimate | Exception]:
        """The estimate of each image. Where a batch fails its halves are tried: either it was too large, or one image is bad."""
        try:
            images = torch.cat([taken.image for taken in batch]) if len(batch) > 1 else batch[0].image
            model = getattr(self.own, "model", self.model)
            writes = _writes_of(batch) if self.only_shown else ()
            found = per_image.estimate(model, images.to(self.model.device, non_blocking=True), self.options, writes)
        except EXPECTED_ERRORS as error:
            if len(batch) == 1 or isinstance(error, WeightsTooLargeError):
                return [error] * len(batch)
            half = len(batch) // 2
            if is_out_of_memory(error):
                self.batch_limits[batch[0].size] = half
        else:
            return [found.slice(index, index + 1) for index in range(len(batch))]
        return self._found(batch[:half]) + self._found(batch[half:])

    def _read(self, outputs: Outputs) -> InFlight | Failure:
        source_mark = mark(outputs.image)
        try:
            return InFlight(outputs, source_mark, per_image.read(outputs.image))
        except EXPECTED_ERRORS as error:
            return failure_of(str(outputs.image), error)

    def _finish_found(self, taken: InFlight, estimated: Future[list[Estimate | Exception]]) -> T | Failure:
        """`_finish`, after inference. Images arrive in the order of inference."""
        while not wait([estimated], timeout=_CLOSED_WITHIN).done:
            if self.closing.is_set():
                raise CancelledError
        (found,) = estimated.result()
        if isinstance(found, Exception):
            return self._failure(taken, found)
        taken.found = found
        return self._finish(taken)

    def _finish(self, taken: InFlight) -> T | Failure:
        assert taken.found is not None
        try:
            return self.finish(taken)
        except EXPECTED_ERRORS as error:
            if not is_out_of_memory(error) or taken.found.device.type == "cpu":
                return failure_of(str(taken.outputs.image), error, written_to=taken.outputs.folder)
        # Batches are as large as the memory of a GPU allows, which leaves little for what is rendered there meanwhile.
        devices.empty_cache()
        try:
            taken.found = taken.found.to("cpu")
            return self.finish(taken)
        except EXPECTED_ERRORS as error:
            return failure_of(str(taken.outputs.image), error, written_to=taken.outputs.folder)

    def _failure(self, taken: InFlight, error: Exception) -> Failure:
        """The failure of an image that was not estimated; one that every image would meet ends the run."""
        failure = failure_of(str(taken.outputs.image), error)
        if failure.lasting:
            self.stop.set()
        return failure

    def _finished(self, most: int, pixels: int = 0) -> Iterator[tuple[Outputs, T | Failure]]:
        """Hands out what is finished, and waits until no more than so many images, or so many pixels, are left."""
        while self.behind and (self.behind[0][1].done() or len(self.behind) > most or self._held() > pixels):
            taken, future = self.behind.popleft()
            result = future.result()
            if isinstance(result, Failure) and result.lasting:
                self.stop.set()
            yield taken.outputs, result


def _writes_of(batch: Sequence[InFlight]) -> tuple[str, ...]:
    """The outputs of all images of a batch, as `per_image.estimate` takes them."""
    writes = [taken.outputs.writes for taken in batch]
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
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
