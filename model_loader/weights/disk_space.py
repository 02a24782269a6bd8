"""Checks free disk space before and during a large write."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

KEPT_FREE = 2**30
"""Bytes to leave free on the disk when writing a file of unknown size, or an engine."""
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def free_space(folder: Path) -> int:
    """Free bytes on the disk of a folder, or of its nearest ancestor that exists."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def is_disk_full(error: BaseException) -> bool:
    """Whether an error means a full disk, an exceeded quota or the file system's file size limit.

    Libraries raise their own error types, with the system's message.
    """
    return getattr(error, "errno", None) in _DISK_FULL or any(os.strerror(number) in str(error) for number in _DISK_FULL)
