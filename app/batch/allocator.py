"""Tunes the C library's allocator for a process that handles one image after another."""

from __future__ import annotations

import ctypes
import logging
import sys
from contextlib import suppress

logger = logging.getLogger(__name__)

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
# The larger is what an image's tensors stay below; before glibc 2.35, only the smaller is accepted.
_LONGEST_KEPT = (2**30, 2**25)


def keep_freed_memory() -> None:
    """Makes glibc keep the memory of large tensors for the next ones. Without glibc nothing happens.

    By itself it gives them back to the system at once, and each new tensor is made of pages that the system first has to clear: on a CPU
    that takes as long as computing it. Threads share a pool as far as none has one of its own by now. The process then keeps, until
    it ends, what it needed at its worst moment. It is for commands: a host such as ComfyUI, or somebody's program, has its own ways.
    """
    if not sys.platform.startswith("linux"):
        return
    with suppress(OSError, AttributeError):  # musl knows no mallopt
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_ARENA_MAX, 1)
        for length in _LONGEST_KEPT:
            if mallopt(_M_MMAP_THRESHOLD, length) and mallopt(_M_TRIM_THRESHOLD, length):
                return
        logger.debug("the C library keeps to its own ways with memory")
