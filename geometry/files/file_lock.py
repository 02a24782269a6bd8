"""A lock between processes: a file that the system locks, and unlocks however the process ends.

Some disks have no locks (network shares, FUSE). There every lock succeeds with one warning: a run continues, but two runs
that write to the same place do not notice each other.
"""

from __future__ import annotations

import errno
import logging
import os
import sys
import time
from contextlib import suppress
from pathlib import Path

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

logger = logging.getLogger(__name__)

HELD_BY_ANOTHER = (errno.EACCES, errno.EAGAIN)
"""Error numbers if another process holds a lock."""

NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP)
"""Error numbers of disks without locks; the last two are equal on Linux."""

_POLL_SECONDS = 0.05
_warned: set[int] = set()


class LockedError(TimeoutError):
    """Another process or thread has the lock."""


class FileLock:
    """A lock that the processes of this machine share; a context manager.

    Threads share it too if each has its own object; any thread may release it.

    Args:
        path: The lock file, created if absent, in an existing folder.
        timeout: Seconds that a context waits for another process.

    Attributes:
        path: The lock file. `release` can remove it.
        is_real: False while it is held on a disk without locks.
    """

    def __init__(self, path: str | os.PathLike[str], timeout: float = 0.0) -> None:
        self.path = Path(path)
        self.is_real = True
        self._timeout = timeout
        self._file: int | None = None

    def __enter__(self) -> FileLock:
        if not self.acquire(self._timeout):
            raise LockedError(errno.EAGAIN, "another process has the lock", str(self.path))
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def acquire(self, timeout: float = 0.0) -> bool:
        """Tries for `timeout` seconds to take the lock; True on success. Raises OSError if the file cannot be opened or locked."""
        deadline = time.monotonic() + timeout
        while not self._try():
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL_SECONDS)
        return True

    def release(self, remove: bool = False) -> None:
        """Releases the lock if it is held. `remove` also removes the file if possible."""
        if self._file is None:
            return
        file, self._file = self._file, None
        if remove and sys.platform != "win32":  # before unlocking, so that no other process locks it first
            with suppress(OSError):
                self.path.unlink()
        if sys.platform == "win32":  # Windows may delay unlocking after a file is closed
            with suppress(OSError):
                os.lseek(file, 0, os.SEEK_SET)
                msvcrt.locking(file, msvcrt.LK_UNLCK, 1)
        os.close(file)  # unlocks
        if remove and sys.platform == "win32":  # Windows cannot remove open files
            with suppress(OSError):
                self.path.unlink()

    def _try(self) -> bool:
        while True:
            file = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
            try:
                self.is_real = True
                _lock(file)
                if self._is_path_of(file):
                    self._file = file
                    return True
            except OSError as error:
                if error.errno in NO_LOCKS:
                    warn_without_locks(self.path.parent)
                    self.is_real, self._file = False, file
                    return True
                if error.errno not in HELD_BY_ANOTHER:
                    raise
                return False
            finally:
                if self._file != file:
                    os.close(file)

    def _is_path_of(self, file: int) -> bool:
        """False if the previous holder removed the file after it was opened here."""
        if sys.platform == "win32":
            return True  # Windows cannot remove open files
        try:
            return os.path.samestat(os.fstat(file), os.stat(self.path))  # noqa: PTH116 (beside fstat)
        except FileNotFoundError:
            return False


def warn_without_locks(folder: Path) -> None:
    """Warns once per disk that it has no locks."""
    disk = folder.stat().st_dev
    if disk not in _warned:
        _warned.add(disk)
        logger.warning("the disk of %s has no locks: two runs at once must not make the same results there", folder)


if sys.platform == "win32":

    def _lock(file: int) -> None:
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)

else:

    def _lock(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
