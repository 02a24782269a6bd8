"""Locks on file names in a results folder: writers wait for each other only if they write the same name.

All locks are single bytes of one empty file, `.depth-normal/lock`, chosen by a hash of the name. So a million names leave one file, and the
system releases the locks of any process that ends.
"""

from __future__ import annotations

import errno
import logging
import os
import sys
import time
import unicodedata
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ...geometry.files.file_lock import HELD_BY_ANOTHER, NO_LOCKS, warn_without_locks
from .records import RECORDS

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl
    import struct

logger = logging.getLogger(__name__)

_LOCK = "lock"
# Renaming takes milliseconds, but an NFS server keeps the locks of a crashed machine for a minute and a half.
_PATIENCE_SECONDS = 600.0
_SILENT_SECONDS = 10.0
_POLL_SECONDS = 0.005


class NameLockedError(TimeoutError):
    """Another process holds a name for so long that it must have been halted."""


def folded(name: str) -> str:
    """A name folded for file systems that ignore case or Unicode normalisation."""
    return name.lower() if name.isascii() else unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


@contextmanager
def locked_names(folder: Path, names: Iterable[str]) -> Iterator[None]:
    """Locks names of files or records, compared as `folded`, against other processes and threads for the block.

    Args:
        folder: The results folder; its records folder must exist.

    Raises:
        NameLockedError: Another process has held one of them for ten minutes.
        OSError: The lock file cannot be opened.
    """
    # Ascending, to avoid deadlocks. Every system can lock bytes below 2**30.
    places = sorted({zlib.crc32(os.fsencode(folded(name))) >> 2 for name in names})
    file = os.open(folder / RECORDS / _LOCK, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
    wait = _waits(folder)
    try:
        for place in places:
            while not _locks(file, place, folder):
                next(wait)
        yield
    finally:
        if sys.platform == "win32":
            _unlock(file, places)
        os.close(file)  # unlocks


def _waits(folder: Path) -> Iterator[None]:
    """Sleeps for a moment at each step; logs a warning after a while, and raises NameLockedError once the wait has timed out."""
    start, is_silent = time.monotonic(), True
    while (seconds := time.monotonic() - start) <= _PATIENCE_SECONDS:
        if seconds > _SILENT_SECONDS and is_silent:
            logger.warning("another process is writing the same results to %s; waiting for it", folder)
            is_silent = False
        time.sleep(_POLL_SECONDS)
        yield
    raise NameLockedError(
        f"another process has been writing the same results to {folder} for {_PATIENCE_SECONDS / 60:.0f} minutes: end it, or "
        "let it go on if it was halted, and try again"
    )


def _locks(file: int, place: int, folder: Path) -> bool:
    """Tries to lock a byte; returns False if another process or thread holds it."""
    try:
        _lock(file, place)
    except OSError as error:
        if error.errno in HELD_BY_ANOTHER:
            return False
        if error.errno not in NO_LOCKS:
            raise
        warn_without_locks(folder)
    return True


if sys.platform == "win32":

    def _lock(file: int, place: int) -> None:
        os.lseek(file, place, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)

    def _unlock(file: int, places: Iterable[int]) -> None:
        """Unlocks explicitly: on Windows closing the file may release locks late."""
        for place in places:
            os.lseek(file, place, os.SEEK_SET)
            with suppress(OSError):  # not locked
                msvcrt.locking(file, msvcrt.LK_UNLCK, 1)

elif sys.platform == "linux":

    def _lock(file: int, place: int) -> None:
        """Locks per open file: locks of `fcntl.lockf` belong to the process, which has several writer threads."""
        try:
            fcntl.fcntl(file, fcntl.F_OFD_SETLK, struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, place, 1, 0))
        except OSError as error:
            if error.errno != errno.EINVAL:  # gVisor lacks these locks
                raise
            _lock_all(file)

else:

    def _lock(file: int, _: int) -> None:
        _lock_all(file)


if sys.platform != "win32":

    def _lock_all(file: int) -> None:
        """Locks the whole file, on systems without byte locks per open file."""
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
