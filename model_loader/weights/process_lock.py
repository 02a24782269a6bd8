"""A lock between processes that reports to whoever waits."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

logger = logging.getLogger(__name__)


@contextmanager
def locked(path: Path, work: str, tick: Callable[[], object]) -> Iterator[None]:
    """Holds a lock that all processes of this machine share.

    Args:
        path: The lock's file, in a folder that is there.
        work: What another process is doing while this one waits, for the log.
        tick: Called five times a second while another process has it; may raise to stop waiting.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        logger.info("another process is %s; waiting for it", work)
        while not lock.is_locked:
            tick()
            with suppress(Timeout):
                lock.acquire(timeout=0.2)
    try:
        yield
    finally:
        lock.release()
