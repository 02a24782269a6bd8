"""A film's frames on their way through a network: as many at once as the memory holds, and again where a dtype was too small."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator

from torch import Tensor

from ..annotators.base import is_out_of_memory
from . import host

logger = logging.getLogger(__name__)


class Chunks:
    """Calls a step for all of so many frames, in smaller chunks after the memory had no room for a larger one.

    Args:
        at_once: Frames in a chunk at first.
        what: What is done to them, and where, for messages: "video-depth-anything-small at 686x518 on cuda".
    """

    def __init__(self, at_once: int, what: str) -> None:
        self._at_once = at_once
        self._what = what

    def __call__(self, step: Callable[[int, int], None], total: int) -> None:
        """Calls `step(start, stop)`, again where it had no room. ComfyUI's user can stop it between the chunks.

        Raises:
            MemoryError: There is no room for one frame.
        """
        done = 0
        while done < total:
            host.throw_if_interrupted()
            stop = min(total, done + self._at_once)
            problem = _attempt(step, done, stop)
            if problem is None:
                done = stop
                continue
            host.empty_cache()
            if stop - done == 1:
                raise MemoryError(f"{self._what}: the memory is too small; lower the resolution, or free other models") from problem
            self._at_once = (stop - done) // 2
            logger.warning("%s: out of memory, going on with %d frames at once", self._what, self._at_once)


class Beginning:
    """A film that can begin anew, as long as nothing of it was given out.

    Args:
        chunks: The film.
    """

    def __init__(self, chunks: Iterable[Tensor]) -> None:
        self._rest = iter(chunks)
        self._kept: list[Tensor] | None = []

    def __iter__(self) -> Iterator[Tensor]:
        yield from tuple(self._kept or ())
        for chunk in self._rest:
            if self._kept is not None:
                self._kept.append(chunk)
            yield chunk

    @property
    def is_over(self) -> bool:
        """Whether `forget` was called."""
        return self._kept is None

    def forget(self) -> None:
        """Lets go of what was read so far."""
        self._kept = None


def without_frames(error: Exception) -> Exception:
    """The exception without what its traceback holds: the tensors of every function that it passed through."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def _attempt(step: Callable[[int, int], None], start: int, stop: int) -> Exception | None:
    """Calls the step; want of memory as an exception that keeps no tensor alive."""
    try:
        step(start, stop)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return without_frames(error)
    return None
