"""Prefetches and writes in threads with short queues, so that decoding, inference and encoding overlap."""

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

# What the images of one chunk may take, and how many they are at most.
_CHUNK_BYTES = 2**27
_CHUNK_FRAMES = 8
# The first chunk has so many frames, and the next ones grow with the frames before, so that all threads soon have work.
_FIRST_FRAMES = 2
_LOOK_SECONDS = 0.2


class Loaded:
    """Iterates over a video's frames with their images, as far as it can be read.

    Args:
        frames: The frames.
        load: What takes a frame's image, and may change it, or takes more of it; None = the image as it is.
        first: How many frames at the beginning are left out.

    Attributes:
        problem: The error that ended reading early; None if the whole video was read.
        held: How many frames, also of those that are left out, stand in place of some that cannot be decoded.
    """

    def __init__(self, frames: Iterable[Frame], load: Callable[[Frame], Any] | None = None, first: int = 0) -> None:
        self._frames, self._load, self._first = frames, load, first
        self.problem: VideoReadError | None = None
        self.held = 0

    def lost(self, frames: int) -> str:
        """How many of so many frames cannot be decoded, in words; nothing where all can."""
        if not self.held:
            return ""
        return f"{self.held} of {frames} frames cannot be decoded, and the last good frame is held in their place"

    def __iter__(self) -> Iterator[tuple[Frame, Any]]:
        """Each frame with its image, or what else `load` gives.

        Raises:
            VideoReadError: Nothing of the video can be read.
        """
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
    """The estimates of a video beside its frames, a few frames at a time; the next ones are read meanwhile.

    Args:
        frames: Frames with their images (3, H, W).
        estimate: Makes of chunks (B, 3, H, W) estimates of one or more frames each, in order.
        first: How many frames of the video were before these. Chunks end where they would in the whole video: how many frames a network is
            given at once can change the last bits of what it says of them.
        threads: As `prefetch`, of reading.

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
    """The first images of chunks, which are taken from them: no copy where they are of one chunk."""
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
        grown = max(_FIRST_FRAMES, 1 << number.bit_length() >> 1)  # the power of two up to the frames before
        at_once = max(1, min(_CHUNK_FRAMES, grown, _CHUNK_BYTES // (4 * first[1].numel())))
        chunk = [first, *islice(frames, at_once - number % at_once - 1)]
        number += len(chunk)
        yield [frame for frame, _ in chunk], torch.stack([image for _, image in chunk])


def compute_with(threads: int) -> None:
    """Sets how many of torch's threads this thread computes with.

    `torch.set_num_threads` alone does not last in a thread that has computed nothing yet: its first computation takes the number that any
    thread has set last.
    """
    torch.get_num_threads()  # as a first computation
    torch.set_num_threads(threads)


def prefetch(items: Iterable[Item], threads: int = 0) -> Generator[Item, None, None]:
    """The items of an iterator that runs in a thread of its own, one item ahead. Its errors come out here.

    `threads` are how many torch takes for what is computed there; 0 = as many as any thread has set last.
    """
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
            # A container is closed by the thread that reads it.
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
    """Calls that run one after the other in a thread of its own, while no more than two wait. To be used as a context.

    The error of a call is raised by the next `call` or `finish`; what waits then is left out. What waits when the context is left, by
    Ctrl-C too, is still run, unless Ctrl-C is pressed again meanwhile: then only the call that runs is waited for, until Ctrl-C is
    pressed once more. `threads` as `prefetch`.
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
        """Waits for the thread's end. Not by `join`: before Python 3.13, one that is interrupted takes the thread for ended."""
        while not self._ended.wait(_LOOK_SECONDS):  # on Windows, Ctrl-C interrupts no wait without an end
            pass

    @property
    def is_running(self) -> bool:
        """True while a call may still run; after the context it is so only where the wait for it was interrupted."""
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
        """Runs a function later; waits while too many wait."""
        self._raise()
        self._queue.put(function)

    def finish(self) -> None:
        """Waits until all has run."""
        self._queue.join()
        self._raise()

    def _raise(self) -> None:
        if self._problem is not None:
            raise self._problem
