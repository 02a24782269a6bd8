"""Resolves the sources that the user names (files, folders, patterns, lists) to images or videos. Opens no file, imports nothing heavy.

A source is one of:

- a file, accepted whatever its extension;
- a folder: its images by extension; with `recursive` also those of its subfolders, links followed;
- a pattern such as `photos/*.jpg`, which Windows' shells do not expand; `**` matches any number of folders;
- `@list.txt`, a file with one path a line, or `-`, the same on stdin.

Relative paths in a list are relative to the working directory, not to the list, so that `find photos -name '*.jpg' > /tmp/list.txt` works
and `@list.txt` equals `- < list.txt`. Empty lines and lines that begin with `#` are ignored. If the list contains a NUL, NULs separate the
paths (`find -print0`) and no line is special. A file whose name begins with `@` or is `-` is written `./@name`.
"""

from __future__ import annotations

import codecs
import glob
import logging
import os
import re
import stat
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

from ...options.outputs import IMAGES
from ..console.parser import no_such_file
from ..console.terminal import quoted

logger = logging.getLogger(__name__)

EXTENSIONS = frozenset((*IMAGES, ".hdr"))
"""Image extensions recognised in folders, in lower case."""

VIDEOS = frozenset((".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".wmv", ".flv", ".ts", ".mts", ".3gp"))
"""Video extensions; also used to recognise videos among images."""

# Folders of thumbnails by NAS systems, Mac archives and Windows; others begin with a dot.
_JUNK_FOLDERS = frozenset(("@eadir", "__macosx", "#recycle", "$recycle.bin", "system volume information"))
_ANY_FOLDERS = re.compile(r"(^|[/\\])\*\*(?:[/\\]|$)" if os.sep == "\\" else r"(^|/)\*\*(?:/|$)")
_LONGEST_LIST = 2**28
_BEGINNINGS = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"II*\0", b"MM\0*", b"#?RADIANCE", b"#?RGBE", b"v/1\x01")
_NAMED_EXTENSIONS = 5

Identity = tuple[int, int]


@dataclass(frozen=True, slots=True)
class FileKind:
    """A kind of file to search folders for, by extensions in lower case."""

    plural: str
    extensions: frozenset[str]

    def has(self, name: str) -> bool:
        """Whether a file name has one of the extensions and is not hidden."""
        return not name.startswith(".") and os.path.splitext(name)[1].lower() in self.extensions  # noqa: PTH122 - a Path costs ten times as much


IMAGE_FILES = FileKind("images", EXTENSIONS)
VIDEO_FILES = FileKind("videos", VIDEOS)
IMAGE_AND_VIDEO_FILES = FileKind("images or videos", EXTENSIONS | VIDEOS)


@dataclass(frozen=True, slots=True)
class Source:
    """An image or a video to process; `relative` is its path below the named folder, whose parent folders `--out` keeps.

    That is only the name for a file that was named directly. A relative path from a list keeps its folders too.
    """

    path: Path
    relative: Path


def find_images(
    sources: Iterable[str | os.PathLike[str]],
    recursive: bool = False,
    out: str | os.PathLike[str] | None = None,
    kind: FileKind = IMAGE_FILES,
) -> tuple[list[Source], list[str]]:
    """Resolves sources to files, each once, in the order of first mention. Files skipped in folders are counted and logged.

    Args:
        sources: Strings as typed (see above); paths name exactly that file or folder.
        recursive: Whether to search subfolders.
        out: Folder of the results; it is skipped inside a searched folder.

    Returns:
        The files in order, and one message per problem, which begins with the source's name.
    """
    search = Search(recursive, out, kind)
    for source in sources:
        search.add(source)
    return search.found, search.problems


class Search:
    """A search for images or videos: those found so far, and messages about sources that are left out."""

    def __init__(self, recursive: bool, out: str | os.PathLike[str] | None, kind: FileKind = IMAGE_FILES) -> None:
        self.found: list[Source] = []
        self.problems: list[str] = []
        self._recursive, self._kind = recursive, kind
        self._out = file_identity(out) if out is not None else None
        self._folders: set[Identity] = set()
        self._named: set[tuple[Identity | None, str]] = set()
        self._parents: dict[str, Identity | None] = {}

    def add(self, source: str | os.PathLike[str]) -> None:
        """Resolves one source."""
        if not isinstance(source, str):
            return self._add_path(Path(source))
        if not source:  # Path("") is the working directory
            self.problems.append("a name is empty; name a file or a folder (. is the working directory)")
            return None
        if source == "-" or source.startswith("@"):
            return self._add_list(source)
        if not _is_pattern(source):
            return self._add_path(Path(source))
        matches = sorted(_matches(source, self._out))
        for match in matches:
            self._add_path(Path(match))
        if not matches:
            self.problems.append(f"{source}: no file matches this pattern")
        return None

    def _add_list(self, source: str) -> None:
        name = "the list on stdin" if source == "-" else source[1:]
        try:
            with nullcontext(sys.stdin.buffer) if source == "-" else Path(name).open("rb") as file:
                data = file.read(_LONGEST_LIST + 1)  # a pipe has no size
            if len(data) > _LONGEST_LIST:
                raise ValueError(f"it is longer than {_LONGEST_LIST // 2**20} MiB; divide it, or name folders or patterns")
            lines = _lines(data)
        except (OSError, ValueError) as error:
            reason = (error.strerror or error) if isinstance(error, OSError) else error
            self.problems.append(f"{source}: the list cannot be read: {reason}")
            return
        for number, line in lines:
            self.add_line(line, f" (line {number} of {name}; its paths count from the folder that the command runs in)")
        if not lines:
            self.problems.append(f"{source}: the list is empty")

    def add_line(self, line: str, where: str) -> None:
        """Resolves one line of a list; `where` names the line in messages."""
        self._add_path(Path(line), True, where)

    def _add_path(self, path: Path, tree: bool = False, where: str = "") -> None:
        """Adds a file or a folder's files; with `tree` a relative path keeps its folders."""
        try:
            mode = path.stat().st_mode
        except FileNotFoundError:
            # Only for single names: a list may name a million files of an unmounted disk, each to be compared with a whole folder.
            self.problems.append(f"{path}: there is no such file{where}" if where else no_such_file(path))
            return
        except (OSError, ValueError) as error:
            self.problems.append(f"{path}: {getattr(error, 'strerror', None) or error}{where}")
            return
        tree = tree and not path.anchor and ".." not in path.parts
        if stat.S_ISDIR(mode):
            self._add_folder(path, path if tree else Path())
        elif stat.S_ISREG(mode):
            self._add_file(path, path if tree else Path(path.name))
        else:
            self.problems.append(f"{path} is not a file{where}")

    def _add_file(self, path: Path, relative: Path) -> None:
        parent = str(path.parent)
        if parent not in self._parents:
            self._parents[parent] = file_identity(parent)
        folder = self._parents[parent]
        if (folder, path.name) in self._named or (folder in self._folders and self._kind.has(path.name)):
            return
        self._named.add((folder, path.name))
        self.found.append(Source(path, relative))

    def _add_folder(self, folder: Path, relative: Path) -> None:
        """Adds the files of a named folder; logs one line about skipped files."""
        identity = file_identity(folder)
        if identity in self._folders:
            return
        if identity is not None and identity == self._out:
            self.problems.append(
                f"{folder} is where the results go (--out), and the next run would take them for {self._kind.plural}; "
                f"choose another --out, such as {folder / 'maps'}"
            )
            return
        problems, other = len(self.problems), _Others()
        waiting = [(folder, relative)]
        while waiting:
            here, below = waiting.pop()
            inside = self._scan(here, below, other)
            if self._recursive:
                waiting.extend((here / name, below / name) for name in reversed(inside))
            else:
                other.folders += len(inside)
        if not other.found and len(self.problems) == problems:
            self.problems.append(self._nothing_in(folder, other))
        elif other:
            logger.info("%s: passed over %s", folder, other.in_words())

    def _nothing_in(self, folder: Path, other: _Others) -> str:
        plural, but = self._kind.plural, f" but {other.counted()}" if other else ""
        if other.folders:
            advice = f"add --recursive to look into {'them' if other.folders > 1 else 'it'}"
        elif not VIDEOS & self._kind.extensions and VIDEOS & other.extensions.keys():
            advice = f"`depth-normal video {quoted(folder)}` takes videos"
        else:
            advice = "name another folder, or files"
        return f"{folder}: no {plural} in it{but}; {advice} ({plural} in folders end with {', '.join(sorted(self._kind.extensions))})"

    def _scan(self, folder: Path, relative: Path, other: _Others) -> list[str]:
        """Adds one folder's files, sorted by name, and returns its subfolders."""
        identity = file_identity(folder)
        if identity is not None and identity == self._out:
            return []
        if identity in self._folders:
            other.found += 1  # by an earlier source
            return []
        try:
            with os.scandir(folder) as entries:
                names, folders = self._sorted_out(entries, other)
        except OSError as error:
            self.problems.append(f"{folder}: the folder cannot be read: {error.strerror or error}")
            return []
        other.found += len(names)
        if identity is not None:
            self._folders.add(identity)
        self.found += (Source(folder / name, relative / name) for name in names if (identity, name) not in self._named)
        return folders

    def _sorted_out(self, entries: Iterator[os.DirEntry[str]], other: _Others) -> tuple[list[str], list[str]]:
        """Sorted names of matching files and of folders; counts the rest."""
        names, folders = [], []
        for entry in entries:
            try:
                is_folder, is_file = entry.is_dir(), entry.is_file()
            except OSError:  # a link to itself
                is_folder = is_file = False
            if is_folder:
                if not entry.name.startswith(".") and entry.name.casefold() not in _JUNK_FOLDERS:
                    folders.append(entry.name)
            elif is_file and self._kind.has(entry.name):
                names.append(entry.name)
            elif entry.is_symlink() and self._kind.has(entry.name) and not is_file:
                self.problems.append(f"{entry.path}: the link leads nowhere")
            else:  # pipes and sockets too
                other.extensions[_extension(entry.name)] += 1
        return sorted(names), sorted(folders)


class _Others:
    """Counts of files and folders skipped in a named folder."""

    def __init__(self) -> None:
        self.found = 0
        self.extensions: Counter[str] = Counter()
        self.folders = 0

    def __bool__(self) -> bool:
        return bool(self.extensions or self.folders)

    def in_words(self) -> str:
        """Such as "3 other files (.txt 2, .heic 1) and 2 folders (--recursive looks into them)"."""
        return self.counted() + " (--recursive looks into them)" * bool(self.folders)

    def counted(self) -> str:
        """Such as "3 other files (.txt 2, .heic 1) and 2 folders"."""
        parts = []
        if count := self.extensions.total():
            kinds = [f"{extension} {number}" for extension, number in self.extensions.most_common(_NAMED_EXTENSIONS)]
            more = ", ..." if len(self.extensions) > _NAMED_EXTENSIONS else ""
            parts.append(f"{count} other file{'s' * (count > 1)} ({', '.join(kinds)}{more})")
        if self.folders:
            parts.append(f"{self.folders} folder{'s' * (self.folders > 1)}")
        return " and ".join(parts)


def _extension(name: str) -> str:
    if name.startswith("."):
        return "hidden"
    return os.path.splitext(name)[1].lower() or "without extension"  # noqa: PTH122


def _lines(data: bytes) -> list[tuple[int, str]]:
    """The paths of a list with their line numbers, from 1."""
    if data.startswith(_BEGINNINGS) or data[8:12] == b"WEBP" or (data[:2] == b"BM" and not any(data[6:10])):
        raise ValueError("it is an image, not a list of paths; name the image itself")
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):  # as PowerShell writes
        text = data.decode("utf-16")
    else:
        # as the system encodes names, so that names that are not UTF-8 are found
        text = os.fsdecode(data.removeprefix(codecs.BOM_UTF8))
    if "\0" in text:
        return [(number, path) for number, path in enumerate(text.split("\0"), 1) if path]
    lines = enumerate((line.removesuffix("\r") for line in text.split("\n")), 1)
    return [(number, line) for number, line in lines if line.strip() and not line.startswith("#")]


def expanded(path: Path) -> list[Path]:
    """The matches of a pattern that the shell did not expand (Windows); the path itself without a match or if it is no pattern."""
    matches = _matches(str(path), None) if _is_pattern(str(path)) else ()
    return [Path(each) for each in sorted(matches)] or [path]


def _is_pattern(source: str) -> bool:
    return glob.escape(source) != source and not os.path.lexists(source)


def _matches(pattern: str, out: Identity | None) -> set[str]:
    """The matches of a pattern. Unlike Python's own `**` it ends at cyclic links and skips the results folder."""
    any_folders = _ANY_FOLDERS.search(pattern)
    if any_folders is None:
        return set(glob.glob(pattern))  # noqa: PTH207 - Path.glob takes no absolute patterns
    head, tail = pattern[: any_folders.end(1)], pattern[any_folders.end() :] or "*"
    below = (folder for base in (glob.glob(head) if head else [""]) for folder in _folders_below(base, out))  # noqa: PTH207
    return {match for folder in below for match in _matches(os.path.join(glob.escape(folder), tail), out)}  # noqa: PTH118


def _folders_below(base: str, out: Identity | None) -> Iterator[str]:
    """Walks a folder and its subfolders, each once; skips hidden ones and the results folder."""
    seen, waiting = {None, out}, [base]
    while waiting:
        folder = waiting.pop()
        if (identity := file_identity(folder or os.curdir)) in seen:
            continue
        seen.add(identity)
        yield folder
        with suppress(OSError), os.scandir(folder or os.curdir) as entries:
            waiting.extend(os.path.join(folder, each.name) for each in entries if not each.name.startswith(".") and each.is_dir())  # noqa: PTH118


def file_identity(path: str | os.PathLike[str]) -> Identity | None:
    """Device and inode, equal for all names of one file or folder; None if it does not exist."""
    try:
        status = os.stat(path)  # noqa: PTH116 - takes strings
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def names_one(named: Sequence[str], recursive: bool, to_a_file: bool) -> bool:
    """Whether the sources are one video: a file, numbered images, or a folder whose images are its frames.

    `to_a_file`: the result is one file; then a folder's images count as frames even beside videos.
    """
    from ...media.sequences import is_sequence

    if len(named) != 1:
        return False
    (name,) = named
    if Path(name).is_dir():
        videos, images = _counts(Path(name))
        return not recursive and images > 0 and (to_a_file or not videos)
    if name == "-" or not name:
        return False
    return os.path.lexists(name) or is_sequence(Path(name)) or (not name.startswith("@") and glob.escape(name) == name)


def find_videos(named: Sequence[str], recursive: bool, out: Path) -> tuple[list[Source], list[str]]:
    """Resolves sources to videos, as `find_images` does for images.

    A folder is resolved to its videos, or, if it holds only images, to one video of these frames. A pattern with a number
    (`frame_%05d.png`) is one video, too. `recursive`: subfolders are searched, for videos only. `out` is skipped.
    """
    from ...media.sequences import is_sequence

    search = Search(recursive, out, VIDEO_FILES)
    frames: set[Path] = set()
    for name in named:
        path = Path(name)
        videos, images = _counts(path) if path.is_dir() and not recursive else (0, 0)
        if videos and images:
            search.problems.append(
                f"{path}: {videos} videos and {images} images are in it; name the videos ({path / '*.mp4'}), "
                f"or the images as frames ({path / 'frame_%05d.png'})"
            )
        elif not images and (not name or path.exists() or not is_sequence(path)):
            search.add(name)
        elif (resolved := path.resolve()) not in frames:
            frames.add(resolved)
            search.found.append(Source(path, Path(resolved.name)))
    return search.found, search.problems


def _counts(folder: Path) -> tuple[int, int]:
    """The numbers of videos and images in a folder; 0 if it is unreadable."""
    from ...media.sequences import images_of_folder

    try:
        return sum(VIDEO_FILES.has(each.name) and each.is_file() for each in folder.iterdir()), len(images_of_folder(folder))
    except OSError:
        return 0, 0
