"""Paths and atomic writes: names from users, temporary files, and limits on what is read."""

from __future__ import annotations

import errno
import functools
import json
import os
import re
import stat
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from shutil import rmtree
from typing import Any, BinaryIO

from ..errors import FULL_DISK, MissingFileError
from ..estimate import Estimate
from .file_lock import FileLock

MAX_PIXELS = 2**27
"""Maximum pixels of a file, over all its images: 16384 x 8192."""

MAX_NUMBERS = 4 * MAX_PIXELS
"""Maximum numbers of a file, over all its maps."""

MAX_FILE_BYTES = 2**32
"""Maximum file size."""

MAX_JSON_BYTES = 2**20
"""Maximum size of a JSON file."""

MAX_PIXELS_PER_BYTE = 2048
"""Limit for images above 8192 x 8192 pixels: beyond it the header is false, or the file is a decompression bomb."""

# A blank page packs 8000 1-bit pixels into a byte as PNG, and any number as lossless WebP. This many pixels take 800 MB as colours.
_HARMLESS_PIXELS = 2**26

_TEMPORARY = ".depth-normal-"
_LOCKED = ".lock"
# Users have names of that beginning too.
_TEMPORARY_NAME = re.compile(rf"{re.escape(_TEMPORARY)}[0-9a-f]{{12}}(\.[^.]*)?")
_STALE_SECONDS = 24 * 60 * 60
_LOCK_SECONDS = 60.0
_WAITS = (0.05, 0.1, 0.2, 0.4, 0.8)

# Longest path on Windows without long paths enabled; for a folder 12 less, so that a short name fits into it.
_WINDOWS_PATH, _WINDOWS_FOLDER = 259, 247
_WINDOWS_DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9\u00b9\u00b2\u00b3])", re.IGNORECASE)
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f<>:"|?*]')


class FileFormatError(ValueError):
    """A mislabelled, damaged or too large file; the message begins with its path."""

    __module__ = "depth_normal"


@contextmanager
def damage_named(
    path: str | os.PathLike[str], problem: str = "the image is damaged or cut off; copy or download it again"
) -> Iterator[None]:
    """Converts any exception of a foreign decoder, on a damaged or hostile file, to FileFormatError.

    `problem` precedes the decoder's own message. A missing library and lack of memory are not converted.
    """
    try:
        yield
    except (FileFormatError, ImportError, MemoryError):
        raise
    except Exception as error:
        raise FileFormatError(f"{path}: {problem} ({str(error) or type(error).__name__})") from error


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a free path beside `path` to write to, moved onto it when the block succeeds and removed when it fails.

    Readers see the old file or the whole new one. The temporary name keeps the extension. Leftovers of killed processes are removed a day
    later, at the next write to the same folder. Raises FileNotFoundError: the folder does not exist.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"cannot write {path}: the folder {path.parent} does not exist")
    _remove_leftovers_once(path.parent)
    temporary = _temporary(path.parent, path.suffix)
    try:
        yield temporary
        move_over(temporary, path)
    except OSError as error:
        if (named := _named(error, path, temporary)) is error:
            raise
        raise named from error
    finally:
        temporary.unlink(missing_ok=True)


def _named(error: OSError, path: Path, temporary: Path) -> OSError:
    """Replaces the temporary file's name in an error, or adds the missing name if the disk is full."""
    if words := too_long_on_windows(error):
        return reworded(error, f"cannot write {path}: {words}")
    nameless_and_full = error.filename is None and error.errno in FULL_DISK
    if nameless_and_full or str(error.filename).endswith(temporary.name):
        return OSError(error.errno, error.strerror, str(path))
    return error


def reworded(error: OSError, words: str) -> OSError:
    """An error of the same built-in class with this message; libraries' own classes take other arguments."""
    kind = next(each for each in type(error).__mro__ if issubclass(each, OSError) and each.__module__ == "builtins")
    return kind(words)


def too_long_on_windows(error: OSError) -> str:
    """An explanation if the path is too long for Windows, which reports it as missing or invalid; else empty."""
    asked = sys.platform == "win32" and error.errno in (errno.ENOENT, errno.EINVAL, errno.ENAMETOOLONG) and error.filename
    absolute = str(Path(error.filename).absolute()) if asked else ""
    if len(absolute) <= _WINDOWS_FOLDER:
        return ""
    return (
        f"a path of {len(absolute)} characters is needed for it, and Windows takes {_WINDOWS_PATH} where long paths are not enabled; "
        "choose a folder nearer to the drive"
    )


def is_windows_device(name: str) -> bool:
    """True for a name that is a device on Windows, with any extension: CON, nul.txt, com1.png."""
    return _WINDOWS_DEVICE.fullmatch(name.split(".")[0].rstrip()) is not None


@contextmanager
def temporary_folder(parent: str | os.PathLike[str]) -> Iterator[Path]:
    """An empty folder in `parent` (created if absent), removed when the block ends.

    A lock beside it shows that its process lives. Leftovers of killed processes are removed at the next write to `parent`; on a
    disk without locks, a day later.
    """
    parent = Path(parent)
    parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers_once(parent)
    folder = _temporary(parent)
    # Locked before the folder exists: whoever gets the lock of an existing folder knows that its process is gone.
    # It waits: a cleaner may briefly hold a lock that has no folder yet.
    with FileLock(_lock_of(folder), _LOCK_SECONDS) as lock:
        try:
            folder.mkdir()
            yield folder
        finally:
            rmtree(folder, ignore_errors=True)
            lock.release(remove=True)


def _temporary(folder: Path, suffix: str = "") -> Path:
    return folder / f"{_TEMPORARY}{uuid.uuid4().hex[:12]}{suffix}"


def _lock_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}{_LOCKED}")


def remove_leftovers(folder: str | os.PathLike[str]) -> list[Path]:
    """Removes a folder's temporary files and folders, if any, that no process can still be writing. Returns folders of live processes."""
    alive = []
    for path in filter(lambda each: _TEMPORARY_NAME.fullmatch(each.name), Path(folder).glob(f"{_TEMPORARY}*")):
        with suppress(OSError):
            status = path.lstat()
            is_folder, stale = stat.S_ISDIR(status.st_mode), time.time() - status.st_mtime > _STALE_SECONDS
            if is_folder and _lock_of(path).exists():
                if not _remove_dead(path, stale):
                    alive.append(path)
            elif path.suffix == _LOCKED and not path.with_suffix("").exists():
                # A process may be about to lock its folder: unlocked folders are kept for a day.
                _remove_dead(path.with_suffix(""), stale)
            elif is_folder and stale:
                rmtree(path)
            elif stale:
                path.unlink()
    return alive


# Cleans a folder once, at its first write. Bounded, as temporary folders come and go.
_remove_leftovers_once = functools.lru_cache(maxsize=64)(remove_leftovers)


def _remove_dead(folder: Path, stale: bool) -> bool:
    """Removes a temporary folder and its lock if its process is gone; on a disk without locks, if it is stale."""
    lock = FileLock(_lock_of(folder))
    if not lock.acquire():
        return False
    if not (lock.is_real or stale):
        lock.release()
        return False
    rmtree(folder, ignore_errors=True)
    lock.release(remove=True)
    return True


def write_bytes(path: str | os.PathLike[str], *chunks: bytes | memoryview) -> None:
    """Writes `chunks` to `path`, atomically."""
    with atomic_path(path) as temporary, temporary.open("xb") as file:
        for chunk in chunks:
            file.write(chunk)


def move_over(source: str | os.PathLike[str], path: str | os.PathLike[str]) -> None:
    """Moves a finished file atomically onto a name, replacing any file.

    Windows refuses while one of the two is open. Virus scanners open new files briefly, so it retries for a second. Raises OSError:
    explains if another program has the file open.
    """
    source, path = Path(source), Path(path)
    for pause in (*_WAITS * (sys.platform == "win32"), None):
        try:
            source.replace(path)
        except PermissionError as error:
            if sys.platform != "win32" or not path.is_file():
                raise
            if pause is None:
                words = "another program has it open, or it is write-protected; close it there, or make it writable, and try again"
                raise OSError(f"cannot replace {path}: {words}") from error
            time.sleep(pause)
        else:
            return


def move_to_free(source: str | os.PathLike[str], path: str | os.PathLike[str]) -> None:
    """Moves a finished file atomically to an unused name on its file system. Of two processes that try, one succeeds.

    Raises FileExistsError: the name is taken; both files are unchanged.
    """
    source, path = Path(source), Path(path)
    try:
        os.link(source, path)
    except FileExistsError:
        raise
    except OSError:  # FAT and some network shares have no links: an empty file reserves the name until it is replaced
        path.open("xb").close()
        try:
            move_over(source, path)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
    else:
        source.unlink()


def resolve_inside(folder: str | os.PathLike[str], name: str) -> Path:
    r"""Resolves a relative file name below `folder`, for names from users or saved graphs: absolute, links followed.

    The name is limited to what every system can store, so that graphs are portable; parts are divided by `/` or `\`. The file need not
    exist.

    Raises:
        ValueError: The name is empty, absolute, has a drive letter, `..`, control characters or characters and device names that Windows
            reserves, leads out of the folder through a link, or its links cannot be followed.
    """
    if not isinstance(name, str):
        raise TypeError(f"the file name is {name!r}, of type {type(name).__name__}; give text, such as 'maps/depth'")
    parts = name.replace("\\", "/").split("/")
    problem = _name_problem(name, parts)
    if problem:
        raise ValueError(f"the file name {name!r} {problem}; give a path below {folder}, such as 'maps/depth.npz'")
    try:
        root = Path(folder).resolve()
        target = root.joinpath(*parts).resolve()
        # Python 3.13 returns circular links unresolved, older versions raise.
        circle = any(step.is_symlink() for step in (target, *target.parents))
    except (OSError, RuntimeError) as error:
        raise ValueError(f"the file name {name!r} cannot be followed ({error}); give a path below {folder}") from error
    if circle:
        raise ValueError(f"the file name {name!r} cannot be followed (its links go in a circle); give a path below {folder}")
    if target == root or not target.is_relative_to(root):
        raise ValueError(f"the file name {name!r} leads out of {folder} through a link; give a path without it, or copy the file there")
    return target


def _name_problem(name: str, parts: list[str]) -> str | None:
    """The problem of a relative name; None if there is none."""
    if not name:
        return "is empty"
    if PurePosixPath(name.replace("\\", "/")).is_absolute():
        return "is absolute"
    if character := _FORBIDDEN.search(name):
        return f"holds the character {character.group()!r}"
    for part in parts:
        if part == "..":
            return "holds '..'"
        if part in ("", "."):
            return "has an empty part"
        if part[-1] in ". ":
            return f"has a part that ends with {part[-1]!r}"
        if is_windows_device(part):
            return f"holds {part!r}, a device on Windows"
        if len(part.encode("utf-8", "surrogatepass")) > 255:
            return "has a part of more than 255 bytes"
    if any("\ud800" <= letter <= "\udfff" for letter in name):
        return "is not valid Unicode"
    return None


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a regular file of sensible length.

    Raises:
        FileNotFoundError: No such file.
        PermissionError: No permission to read it.
        FileFormatError: A folder or a device, empty, longer than MAX_FILE_BYTES, or changed while it is read.
    """
    with opened(path) as file:
        before = os.fstat(file.fileno())
        data = file.read()
        after = os.fstat(file.fileno())
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns) or len(data) != after.st_size:
        raise FileFormatError(f"{path}: the file changed while it was read; try again when nobody writes to it")
    return data


def opened(path: str | os.PathLike[str]) -> BinaryIO:
    """Opens a file of `checked_file`: a pipe would block, and a device may have no end."""
    return checked_file(path).open("rb")


def checked_file(path: str | os.PathLike[str]) -> Path:
    """`path`, if it is a regular file of sensible length; raises as `read_bytes`."""
    path = Path(path)
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise FileFormatError(f"{path}: not a file" + "; it is a folder: name one of its files" * path.is_dir())
        path.open("rb").close()
    except FileNotFoundError as error:
        raise MissingFileError(path) from error
    except PermissionError as error:
        raise PermissionError(f"{path}: this user may not read the file; change its permissions or those of its folder") from error
    if size == 0:
        raise FileFormatError(f"{path}: the file is empty")
    if size > MAX_FILE_BYTES:
        raise FileFormatError(f"{path}: {size / 2**30:.1f} GiB; at most {MAX_FILE_BYTES // 2**30} GiB are read")
    return path


def check_size(path: str | os.PathLike[str], width: int, height: int, file_bytes: int) -> None:
    """Refuses the size that a header claims before memory is allocated for it.

    Raises FileFormatError: a side below 1, more than MAX_PIXELS, or far more than a file of `file_bytes` can hold.
    """
    if min(width, height) < 1:
        raise FileFormatError(f"{path}: an image of {width}x{height} pixels; at least 1x1 is needed")
    if width * height > MAX_PIXELS:
        raise FileFormatError(f"{path}: {width}x{height} pixels; at most {MAX_PIXELS // 2**20} megapixels are read; scale it down")
    if width * height > max(_HARMLESS_PIXELS, MAX_PIXELS_PER_BYTE * file_bytes):
        raise FileFormatError(
            f"{path}: the header claims {width}x{height} pixels, the file has {file_bytes} bytes: it is damaged, blank, or made to fill "
            "the memory; save the image again"
        )


def one_image(estimate: Estimate, holder: str) -> None:
    """Raises ValueError for a batch of several images; `holder` is the error's subject."""
    if estimate.batch != 1:
        raise ValueError(f"{holder} holds one image, the batch has {estimate.batch}; write each to its own, or all to one .npz")


def read_json(path: str | os.PathLike[str]) -> Any:
    """Reads a small, untrusted JSON file in bounded time and memory.

    Raises:
        OSError: It is absent or cannot be read.
        ValueError: Not a regular file, too long, or not JSON; the message says which.
    """
    path = Path(path)
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):  # a pipe would block, and a device may have no end
        raise ValueError("it is no regular file")
    if status.st_size > MAX_JSON_BYTES:
        raise ValueError(f"it has {status.st_size} bytes; at most {MAX_JSON_BYTES} are read")
    try:
        return json.loads(path.read_bytes())
    except RecursionError as error:
        raise ValueError("it is no JSON: its values are nested too deeply") from error
    except ValueError as error:
        raise ValueError(f"it is no JSON: {error}") from error
