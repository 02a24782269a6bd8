"""A lock between processes that reports to whoever waits."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ...geometry.files.file_lock import FileLock

logger = logging.getLogger(__name__)


@contextmanager
def locked(path: Path, work: str, tick: Callable[[], object]) -> Iterator[None]:
    """Holds a lock that all processes of this machine share.

    Args:
        path: The lock's file, in a folder that is there.
        work: What another process is doing while this one waits, for the log.
        tick: Called five times a second while another process has it; may raise to stop waiting.
    """
    lock = FileLock(path)
    if not lock.acquire():
        logger.info("another process is %s; waiting for it", work)
        tick()
        while not lock.acquire(timeout=0.2):
            tick()
    try:
        yield
    finally:
        lock.release()
