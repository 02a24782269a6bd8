"""Checks free disk space before and during a large write."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

KEPT_FREE = 2**30
"""Bytes of the disk that a file of unknown size leaves free."""
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def free_space(folder: Path) -> int:
    """Bytes free on the disk of a folder, be it there or not."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def is_disk_full(error: BaseException) -> bool:
    """True if the disk, the user's quota or the file system's largest file was the reason of an error.

    Libraries that write by themselves raise errors of their own, with the system's words.
    """
    return getattr(error, "errno", None) in _DISK_FULL or any(os.strerror(number) in str(error) for number in _DISK_FULL)
