"""Errors of files, which a caller may want to reword. Imports nothing large."""

from __future__ import annotations

import errno
from pathlib import Path

FULL_DISK = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
"""Numbers of the errors of a full disk."""


class MissingFileError(FileNotFoundError):
    """A file (`path`) that is to be read does not exist: a caller can suggest another name."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.path = path

    def __str__(self) -> str:
        return f"{self.path}: there is no such file"
