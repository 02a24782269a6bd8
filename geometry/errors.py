"""An exception of functions that read files, which a caller may want to reword. Imports nothing large."""

from __future__ import annotations

from pathlib import Path


class MissingFileError(FileNotFoundError):
    """A file (`path`) that is to be read does not exist: a caller can suggest another name."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.path = path

    def __str__(self) -> str:
        return f"{self.path}: there is no such file"
