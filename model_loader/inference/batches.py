"""Runs work in batches and halves them when memory runs out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import TypeVar

from ...annotators.base import is_out_of_memory
from ..comfy import devices, interrupt

logger = logging.getLogger(__name__)

T = TypeVar("T")


def in_batches(
    call: Callable[[int, int], T],
    total: int,
    size: int,
    *,
    what: str,
    too_large: Callable[[], str],
    smaller: Callable[[int], None],
    divisible: bool = True,
) -> Iterator[T]:
    """Calls for all of so many items in order; where a batch does not fit in memory, again with half of it.

    ComfyUI's user can stop it between batches.

    Args:
        call: Computes the items from start up to but not including stop.
        total: How many items there are.
        size: How many items a batch has at first, at least 1.
        what: What runs and where, for the log: "midas-dpt-hybrid at 384x384 on cuda".
        too_large: The message of the error where a batch that cannot be divided does not fit.
        smaller: Called with the size of all batches that follow, where it had to become smaller.
        divisible: Whether a batch of several items may be divided.

    Yields:
        What the calls return.

    Raises:
        MemoryError: A batch that cannot be divided does not fit.
    """
    done = 0
    while done < total:
        interrupt.throw_if_interrupted()
        stop = min(total, done + size)
        problem: Exception | None = None
        try:
            found = call(done, stop)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            problem = without_traceback(error)
        else:
            yield found
            del found
            done = stop
        if problem is not None:
            devices.empty_cache()
            if stop - done == 1 or not divisible:
                raise MemoryError(too_large()) from problem
            size = (stop - done) // 2
            smaller(size)
            logger.warning("out of memory: continuing with batches of %d: %s", size, what)


def without_traceback(error: Exception) -> Exception:
    """The exception without its traceback, which keeps the tensors of every function that it passed through alive."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)
