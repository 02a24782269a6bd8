"""Tunes the C library's allocator for a process that handles one image after another."""

from __future__ import annotations

import ctypes
import logging
import sys
from contextlib import suppress

logger = logging.getLogger(__name__)

# From glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
# An image's tensors stay below the larger; glibc before 2.35 accepts only the smaller.
_LONGEST_KEPT = (2**30, 2**25)


def keep_freed_memory() -> None:
    """Makes glibc keep freed memory of large tensors for reuse. Does nothing without glibc.

    By default it is returned at once, and every new tensor gets pages that the system must clear first: on a CPU that takes as long as
    computing it. Threads without an arena yet share one. The process then keeps its peak memory until it ends. So this is for commands
    only: a host such as ComfyUI has its own policy.
    """
    if not sys.platform.startswith("linux"):
        return
    with suppress(OSError, AttributeError):  # musl has no mallopt
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_ARENA_MAX, 1)
        for length in _LONGEST_KEPT:
            if mallopt(_M_MMAP_THRESHOLD, length) and mallopt(_M_TRIM_THRESHOLD, length):
                return
        logger.debug("the C library keeps to its own ways with memory")
