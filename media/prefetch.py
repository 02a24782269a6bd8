"""Prefetches and writes in threads with bounded queues, so that decoding, inference and encoding overlap."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from itertools import islice
from queue import Empty, Full, Queue
from typing import Any, TypeVar

import torch
from torch import Tensor

from ..geometry.estimate import Estimate
from .library import VideoReadError
from .read import Frame

Item = TypeVar("Item")

# Maximum size of a chunk, in bytes and in frames.
_CHUNK_BYTES = 2**27
_CHUNK_FRAMES = 8
# Size of the first chunk. Chunks grow with the frames so far, so that all threads soon have work.
_FIRST_FRAMES = 2
_LOOK_SECONDS = 0.2


class Loaded:
    """Iterates over a video's frames with their images, up to the first read error.

    Args:
        load: Converts a frame; None = `Frame.image`.
        first: Number of frames to skip at the beginning.

    Attributes:
        problem: The error that ended reading early; None if the whole video was read.
        held: Number of undecodable frames that were replaced, skipped ones included.
    """

    def __init__(self, frames: Iterable[Frame], load: Callable[[Frame], Any] | None = None, first: int = 0) -> None:
        self._frames, self._load, self._first = frames, load, first
        self.problem: VideoReadError | None = None
        self.held = 0

    def lost(self, frames: int) -> str:
        """A message about undecodable frames; empty if there are none."""
        if not self.held:
            return ""
        return f"{self.held} of {frames} frames cannot be decoded, and the last good frame is held in their place"

    def __iter__(self) -> Iterator[tuple[Frame, Any]]:
        """Yields each frame with the result of `load`; VideoReadError: reading failed before the first frame that is not skipped."""
        count = 0
        try:
            for number, frame in enumerate(self._frames):
                self.held += frame.held
                if number >= self._first:
                    yield frame, frame.image() if self._load is None else self._load(frame)
                    count += 1
        except VideoReadError as error:
            if not count:
                raise
            self.problem = error


def estimated(
    frames: Iterable[tuple[Frame, Tensor]], estimate: Callable[[Iterator[Tensor]], Iterator[Estimate]], first: int = 0, threads: int = 0
) -> Generator[tuple[list[Frame], Tensor, Estimate], None, None]:
    """Estimates a video chunk by chunk while the next chunk is read.

    Args:
        frames: Frames with their images (3, H, W).
        estimate: Turns chunks (B, 3, H, W) into estimates of one or more frames each, in order.
        first: Number of the video's frames before these. Chunks then end where they would in the whole video: the batch size can change the
            last bits of a network's output.
        threads: As `prefetch`, for reading.

    Yields:
        Frames, their images (B, 3, H, W), and their estimate.
    """
    waiting: deque[Frame] = deque()
    images: deque[Tensor] = deque()

    def chunks() -> Iterator[Tensor]:
        for some, chunk in prefetch(_chunked(iter(frames), first), threads=threads):
            waiting.extend(some)
            images.append(chunk)
            yield chunk

    for part in estimate(chunks()):
        yield [waiting.popleft() for _ in range(part.batch)], _taken(images, part.batch), part


def _taken(chunks: deque[Tensor], count: int) -> Tensor:
    """Removes the first images from the chunks; no copy if they are in one chunk."""
    parts = []
    while count:
        chunk = chunks.popleft()
        parts.append(chunk[:count])
        if len(chunk) > count:
            chunks.appendleft(chunk[count:])
        count -= len(parts[-1])
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _chunked(frames: Iterator[tuple[Frame, Tensor]], number: int) -> Iterator[tuple[list[Frame], Tensor]]:
    for first in frames:
        grown = max(_FIRST_FRAMES, 1 << number.bit_length() >> 1)  # the largest power of two up to the number of frames so far
        at_once = max(1, min(_CHUNK_FRAMES, grown, _CHUNK_BYTES // (4 * first[1].numel())))
        chunk = [first, *islice(frames, at_once - number % at_once - 1)]
        number += len(chunk)
        yield [frame for frame, _ in chunk], torch.stack([image for _, image in chunk])


def compute_with(threads: int) -> None:
    """Sets the number of torch threads for the current thread.

    Before a thread's first computation `torch.set_num_threads` alone does not last: the computation takes the number that
    any thread set last.
    """
    torch.get_num_threads()  # counts as a first computation
    torch.set_num_threads(threads)


def prefetch(items: Iterable[Item], threads: int = 0) -> Generator[Item, None, None]:
    """Runs an iterator in a thread, two items ahead at most; raises its errors here. `threads`: torch's there; 0 = as any set last."""
    queue: Queue[tuple[bool, Any]] = Queue(1)
    stopped = threading.Event()

    def put(going: bool, item: Any) -> bool:
        while not stopped.is_set():
            try:
                queue.put((going, item), timeout=_LOOK_SECONDS)
                return True
            except Full:
                continue
        return False

    def work() -> None:
        if threads:
            compute_with(threads)
        iterator = iter(items)
        try:
            while put(True, next(iterator)):
                pass
        except StopIteration:
            put(False, None)
        except BaseException as error:  # noqa: BLE001 (it is raised in the other thread)
            put(False, error)
        finally:
            # A container must be closed by the thread that reads it.
            getattr(iterator, "close", bool)()

    thread = threading.Thread(target=work, name="depth-normal reading ahead", daemon=True)
    thread.start()
    try:
        while True:
            going, item = queue.get()
            if going:
                yield item
            elif item is None:
                return
            else:
                raise item
    finally:
        stopped.set()
        thread.join()


class WriterThread:
    """Runs calls one after the other in its own thread, with at most two queued. A context manager.

    A call's error is raised by the next `call` or `finish`, not at the end of the context, and queued calls are dropped. Leaving the
    context, even by Ctrl-C, still runs queued calls. A second Ctrl-C waits only for the running call, a third for nothing.
    `threads` as `prefetch`.
    """

    def __init__(self, threads: int = 0) -> None:
        self._threads = threads
        self._queue: Queue[Callable[[], object]] = Queue(2)
        self._problem: BaseException | None = None
        self._discards = False
        self._stopped, self._ended = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work, name="depth-normal writing behind", daemon=True)

    def __enter__(self) -> WriterThread:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        try:
            self._wait()
        except BaseException:
            self._discards = True
            self._wait()
            raise

    def _wait(self) -> None:
        """Waits for the thread's end. Not by `join`: before Python 3.13 an interrupted `join` marks the thread as ended."""
        while not self._ended.wait(_LOOK_SECONDS):  # on Windows, Ctrl-C does not interrupt waits without timeout
            pass

    @property
    def is_running(self) -> bool:
        """True while a call may still run; after the context only if the wait was interrupted."""
        return not self._ended.is_set()

    def _work(self) -> None:
        try:
            self._run_calls()
        finally:
            self._ended.set()

    def _run_calls(self) -> None:
        if self._threads:
            compute_with(self._threads)
        while not (self._stopped.is_set() and self._queue.empty()):
            try:
                call = self._queue.get(timeout=_LOOK_SECONDS)
            except Empty:
                continue
            try:
                if self._problem is None and not self._discards:
                    call()
            except BaseException as error:  # noqa: BLE001 (it is raised in the other thread)
                self._problem = error
            finally:
                self._queue.task_done()

    def call(self, function: Callable[[], object]) -> None:
        """Queues a function; blocks while the queue is full."""
        self._raise()
        self._queue.put(function)

    def finish(self) -> None:
        """Waits until all queued calls have ended, and raises the error of one."""
        self._queue.join()
        self._raise()

    def _raise(self) -> None:
        if self._problem is not None:
            raise self._problem
