"""Folders and images by URL: `s3://`, `gs://` and other stores of pyarrow, and those of fsspec.

Credentials are those of the store's own tools (`AWS_PROFILE`, `AWS_ENDPOINT_URL`, `GOOGLE_APPLICATION_CREDENTIALS`, ...).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path, PurePosixPath
from shutil import copyfileobj
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, cast

from ...options.checks import how_to_install
from .sources import EXTENSIONS, IMAGE_FILES, Search, Source

if TYPE_CHECKING:
    from pyarrow.fs import FileInfo, FileSystem

_MISSING = f"Parquet files, and stores such as s3://, need pyarrow, which is not installed: {how_to_install('pyarrow>=17')}"


class Url(PurePosixPath):
    """The URL of a file in a store, with those methods of `Path` that the pack calls on images."""

    status: SimpleNamespace | None = None

    def __str__(self) -> str:
        return super().__str__().replace(":/", "://", 1)

    def absolute(self) -> Url:
        """Itself: a URL is always absolute."""
        return self

    resolve = absolute

    def stat(self) -> SimpleNamespace:
        """Length and modification time, named as by `Path.stat`; cached. Raises FileNotFoundError."""
        if self.status is None:
            filesystem, path = locate(self)
            self.status = _status(self, filesystem.get_file_info(path))
        return self.status


def import_pyarrow() -> ModuleType:
    """Imports pyarrow, or raises ImportError that says how to install it."""
    try:
        import pyarrow
    except ImportError as error:
        raise ImportError(_MISSING) from error
    return pyarrow


def is_url(text: object) -> bool:
    """Whether this is a URL rather than a path."""
    return isinstance(text, Url) or "://" in str(text)


def as_path(text: str) -> Path:
    """A `Url` or a `Path`."""
    return cast("Path", Url(text)) if is_url(text) else Path(text)


def locate(url: object) -> tuple[FileSystem, str]:
    """The file system of a URL or path, and the name in it.

    Raises ImportError if pyarrow, or the fsspec package for such stores, is missing; ValueError for an unknown kind of store; OSError if
    the store does not respond.
    """
    scheme, divider, rest = str(url).partition("://")
    if not divider:
        filesystem, root = _filesystem("file:///")
        return filesystem, str(Path(str(url)).absolute())
    place, _, key = rest.partition("/")
    filesystem, root = _filesystem(f"{scheme}://{place}")
    return filesystem, f"{root.rstrip('/')}/{key}".rstrip("/")


@lru_cache
def _filesystem(root: str) -> tuple[FileSystem, str]:
    pa = import_pyarrow()
    from pyarrow.fs import FileSystem, FSSpecHandler, PyFileSystem

    try:
        return FileSystem.from_uri(root if not root.endswith("://") else f"{root}/")
    except pa.ArrowInvalid:
        try:
            import fsspec
        except ImportError as error:
            problem = f"{root}: stores that pyarrow does not know are reached by fsspec"
            raise ImportError(f"{problem}: {how_to_install('fsspec>=2024.6')}") from error
        try:
            other, path = fsspec.core.url_to_fs(root)
        except ValueError as error:
            raise ValueError(f"{root}: {error}; accepted are paths, s3://, gs:// and what fsspec knows") from error
        return PyFileSystem(FSSpecHandler(other)), path


def _status(url: object, info: FileInfo) -> SimpleNamespace:
    from pyarrow.fs import FileType

    if info.type != FileType.File:
        raise FileNotFoundError(f"{url}: there is no such file")
    return SimpleNamespace(st_size=info.size, st_mtime_ns=info.mtime_ns or 0, st_dev=-1, st_ino=hash(str(url)))


def find_sources(
    words: Iterable[str | os.PathLike[str]], recursive: bool = False, out: str | os.PathLike[str] | None = None
) -> tuple[list[Source], list[str]]:
    """As `find_images`; a URL, also in a list, names an image, or a folder whose images are found by extension."""
    search = _Search(recursive, None if is_url(out) else out)
    for word in words:
        search.add(word)
    return search.found, search.problems


class _Search(Search):
    """Searches stores too."""

    def __init__(self, recursive: bool, out: str | os.PathLike[str] | None) -> None:
        super().__init__(recursive, out)
        self._urls: set[str] = set()

    def add(self, source: str | os.PathLike[str]) -> None:
        """Resolves one source."""
        if not is_url(source) or str(source).startswith("@"):
            super().add(source)
            return
        url = Url(os.fspath(source))
        images = list(_listed(url, self._recursive))
        self._take(images)
        if not images:
            self.problems.append(
                f"{url}: no images in it; name another folder, or files (images in folders end with {', '.join(sorted(EXTENSIONS))})"
            )

    def add_line(self, line: str, where: str) -> None:
        """Resolves one line of a list, without asking the store about images: for a million that takes hours."""
        if not is_url(line):
            super().add_line(line, where)
        elif IMAGE_FILES.has((url := Url(line)).name):
            self._take([Source(cast("Path", url), Path(url.name))])
        else:
            self.add(line)

    def _take(self, images: Iterable[Source]) -> None:
        for each in images:
            if (url := str(each.path)) not in self._urls:
                self._urls.add(url)
                self.found.append(each)


def _listed(url: Url, recursive: bool) -> Iterator[Source]:
    from pyarrow.fs import FileSelector, FileType

    filesystem, path = locate(url)
    if (info := filesystem.get_file_info(path)).type == FileType.File:
        url.status = _status(url, info)
        yield Source(cast("Path", url), Path(url.name))
        return
    for each in sorted(filesystem.get_file_info(FileSelector(path, allow_not_found=True, recursive=recursive)), key=lambda info: info.path):
        relative = PurePosixPath(each.path.lstrip("/")).relative_to(path.lstrip("/"))
        hidden = any(part.startswith(".") for part in relative.parts)
        if each.type == FileType.File and not hidden and relative.suffix.lower() in EXTENSIONS:
            image = url / relative
            image.status = _status(image, each)
            yield Source(cast("Path", image), Path(relative))


@contextmanager
def local_copy(path: Path) -> Iterator[Path]:
    """Yields the path itself, or a temporary local copy of a remote image."""
    if not is_url(path):
        yield path
        return
    filesystem, name = locate(path)
    with tempfile.TemporaryDirectory(prefix="depth-normal-") as folder:
        copy = Path(folder) / f"picture{path.suffix}"
        with filesystem.open_input_stream(name) as source, copy.open("wb") as target:
            copyfileobj(source, target, 2**20)
        yield copy
