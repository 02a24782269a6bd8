"""Storage of shards and their records: a local folder, or a store such as `s3://bucket/maps`."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import copyfileobj
from typing import BinaryIO, cast

from ....geometry.files.file_lock import FileLock, LockedError
from ....geometry.files.paths import move_over, temporary_folder, write_bytes
from ..records import RECORDS
from ..remote_files import as_path, is_url, locate

_CHUNK = 2**23


class StoreBusyError(RuntimeError):
    """Another run is writing to the store."""


class Store:
    """A place behind a URL, by pyarrow or fsspec, for files that each appear atomically. It has no locks.

    Attributes:
        place: Its URL, or of a `_Folder` its path.
        local: The path of a `_Folder`; None = it is not on a disk.
    """

    local: Path | None = None

    def __init__(self, url: str) -> None:
        self.place = url.rstrip("/")
        self._filesystem, self._root = locate(self.place)

    def path(self, name: str) -> Path:
        """The path or URL of a file in it."""
        return as_path(f"{self.place}/{name}")

    def sizes(self) -> dict[str, int]:
        """Lengths in bytes of the files directly in it, by name."""
        from pyarrow.fs import FileSelector, FileType

        infos = self._filesystem.get_file_info(FileSelector(self._root, allow_not_found=True))
        return {info.base_name: info.size for info in infos if info.type == FileType.File}

    def open(self, name: str) -> BinaryIO:
        """Opens a file for random access, or raises FileNotFoundError."""
        return cast("BinaryIO", self._filesystem.open_input_file(f"{self._root}/{name}"))

    def read(self, name: str) -> bytes:
        """All bytes of a file; raises as `open`."""
        with self.open(name) as file:
            return file.read()

    @contextmanager
    def workspace(self) -> Iterator[Path]:
        """A temporary folder for files to `publish`, removed after the block."""
        with tempfile.TemporaryDirectory(prefix="depth-normal-") as folder:
            yield Path(folder)

    def publish(self, file: Path, name: str) -> None:
        """Moves a finished file from a `workspace` into the store."""
        with file.open("rb") as source, self._filesystem.open_output_stream(f"{self._root}/{name}") as target:
            copyfileobj(source, target, _CHUNK)
        file.unlink()

    def write(self, name: str, data: bytes) -> None:
        """Writes a small file."""
        with self._filesystem.open_output_stream(f"{self._root}/{name}") as target:
            target.write(data)

    def remove(self, name: str) -> None:
        """Removes a file, if it exists."""
        with suppress(FileNotFoundError):
            self._filesystem.delete_file(f"{self._root}/{name}")

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keeps other runs out during the block, where the store has locks: StoreBusyError if another run writes to it."""
        yield


class _Folder(Store):
    """A local folder, which has locks."""

    def __init__(self, folder: Path) -> None:
        self.place = str(folder)
        self.local = self._folder = folder

    def sizes(self) -> dict[str, int]:
        sizes = {}
        with suppress(FileNotFoundError), os.scandir(self._folder) as entries:
            for entry in entries:
                if entry.is_file():
                    sizes[entry.name] = entry.stat().st_size
        return sizes

    def open(self, name: str) -> BinaryIO:
        if not (path := self._folder / name).is_file():  # a pipe would block
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        return path.open("rb")

    @contextmanager
    def workspace(self) -> Iterator[Path]:
        with temporary_folder(self._folder / RECORDS) as folder:
            yield folder

    def publish(self, file: Path, name: str) -> None:
        move_over(file, self._folder / name)

    def write(self, name: str, data: bytes) -> None:
        target = self._folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(target, data)

    def remove(self, name: str) -> None:
        (self._folder / name).unlink(missing_ok=True)

    @contextmanager
    def alone(self) -> Iterator[None]:
        lock = self._folder / RECORDS / "run.lock"
        lock.parent.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(lock):
                yield
        except LockedError as error:
            raise StoreBusyError(
                f"another run writes shards to {self._folder} at this moment; wait for it, or choose another --out"
            ) from error


def open_store(place: str | os.PathLike[str]) -> Store:
    """The store at a path or URL; creates nothing yet. Raises ImportError if its package is missing, ValueError for an unknown kind."""
    return Store(os.fspath(place)) if is_url(place) else _Folder(Path(place))
