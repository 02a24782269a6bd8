"""Where results go: `-o`, the names they have by default, and `--open`. Imports nothing large."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from .arguments import WRITE_CHOICES
from .pictures import EXTENSIONS
from .terminal import say, shown
from .viewer import show

DEFAULT_FOLDER = Path("depth-normal")
"""Where results go unless somebody says where: in the working directory, named as the command.

Not `depth_normal`: Python would take a folder of that name beside a script for the package, where that is an editable installation.
"""

SOURCES = ("geometry", "depth", "normal_map")
"""What a command may read besides the image, by the names of its options."""

_FILES = EXTENSIONS | {f".{kind}" for kind in WRITE_CHOICES}
_SEPARATORS = tuple(filter(None, (os.sep, os.altsep)))


@dataclass(frozen=True)
class Place:
    """What `-o` names.

    Attributes:
        path: The file or the folder.
        is_folder: Whether it is a folder, in which results have their default names.
    """

    path: Path
    is_folder: bool = False

    def file(self, name: str) -> Path:
        """The file of a result whose default name is this."""
        return self.path / name if self.is_folder else self.path


DEFAULT_PLACE = Place(DEFAULT_FOLDER, is_folder=True)


def place(text: str) -> Place:
    """A file, or a folder: one that exists, or whose name ends in a separator."""
    _refuse_useless(text)
    return Place(Path(text), text.endswith(_SEPARATORS) or Path(text).is_dir())


def folder_or_url(text: str) -> Path:
    """A folder, or the URL of one, which stays as it was typed (`stores.Url`)."""
    if "://" not in text:
        return folder(text)
    from .stores import as_path

    return as_path(text)


def folder(text: str) -> Path:
    """A folder."""
    _refuse_useless(text)
    path = Path(text)
    if path.suffix.lower() in _FILES and not text.endswith(_SEPARATORS) and not path.is_dir():
        raise argparse.ArgumentTypeError(
            f"{text} is the name of a file, and this command may write several: name a folder, such as {path.with_suffix('')}{os.sep}"
        )
    return path


def _refuse_useless(text: str) -> None:
    if not text:
        raise argparse.ArgumentTypeError("the name is empty; name a file or a folder")
    if "://" in text:
        raise argparse.ArgumentTypeError(f"{text}: only `estimate` writes to a store; name a file or a folder of this computer")


def add_folder(parser: argparse.ArgumentParser, gets: str = "", takes: Callable[[str], Path] = folder) -> None:
    """Adds -o for a command that writes several files, and --open.

    Args:
        parser: The command's.
        gets: What the folder gets, in words.
        takes: `folder` or `folder_or_url`.
    """
    told = f"folder for the results{gets}, made if absent (default: %(default)s{os.sep})"
    parser.add_argument("-o", "--out", type=takes, default=DEFAULT_FOLDER, metavar="FOLDER", help=told)
    add_open(parser)


def add_place(parser: argparse.ArgumentParser, files: str, default: str) -> None:
    """Adds -o for a command that writes one file, and --open; `arguments.place` is a `Place`.

    Args:
        parser: The command's.
        files: What the file may be, in words.
        default: The file's default name, in words.
    """
    told = f"{files}; or a folder, whose name ends in {os.sep} (default: {DEFAULT_FOLDER / default})".replace("%", "%%")
    parser.add_argument("-o", "--out", dest="place", type=place, default=DEFAULT_PLACE, metavar="PATH", help=told)
    add_open(parser)


def add_open(parser: argparse.ArgumentParser) -> None:
    """Adds --open."""
    parser.add_argument("--open", action="store_true", help="open the result when it is done; of several images, the folder")


def add_overwrite(parser: argparse.ArgumentParser) -> None:
    """Adds --overwrite for a command that keeps no record of what it wrote."""
    parser.add_argument("--overwrite", action="store_true", help="replace a file that is there already")


def add_result(parser: argparse.ArgumentParser, ending: str, extensions: Sequence[str]) -> None:
    """Adds -o, --open and --overwrite for a command that makes one file of an image; `settle_result` and `result_path` take them.

    Args:
        parser: The command's.
        ending: What the result's default name has behind the image's stem.
        extensions: Of the files that the command writes.
    """
    add_place(parser, f"the result: {', '.join(extensions)}", f"<image>{ending}")
    add_overwrite(parser)
    parser.set_defaults(ending=ending, extensions=tuple(extensions))


def settle_result(arguments: argparse.Namespace) -> None:
    """Decides where the result goes, as `arguments.out`, and refuses what cannot be written or would replace what is read.

    It is called before anything is read or loaded.

    Args:
        arguments: Of a parser with `add_result`.

    Raises:
        ValueError: An extension that is not written, or the result is what is read.
        FileExistsError: A file is there, and nobody said that it may be replaced.
    """
    out = arguments.out = arguments.place.file(f"{arguments.picture.stem}{arguments.ending}")
    if out.suffix.lower() not in arguments.extensions:
        found = f"the name ends in {out.suffix}" if out.suffix else f"the name has no extension (that of a folder ends in {os.sep})"
        raise ValueError(f"{out}: {found}; this command writes {', '.join(arguments.extensions)}")
    if out.is_dir():
        raise IsADirectoryError(f"{out} is a folder; move it, or choose another name with -o")
    check_folder(out.parent)
    check_not_read(arguments, [out])
    check_free(arguments.picture, [out], arguments.overwrite, arguments.place.is_folder)


def check_not_read(arguments: argparse.Namespace, paths: Iterable[Path]) -> None:
    """Refuses results in the place of what is read: the image, the others that are named with it, and what is known of it.

    Args:
        arguments: With `picture` or `inputs`, and the options of `SOURCES`.
        paths: Of the results.

    Raises:
        ValueError: Says which file.
    """
    named = [getattr(arguments, name, None) for name in ("picture", *SOURCES)]
    sources = [each for each in (*named, *getattr(arguments, "inputs", ())) if each is not None and each.exists()]
    for path in paths:
        if path.exists() and any(path.samefile(source) for source in sources):
            raise ValueError(f"{path} is an image or a file that is read; choose another name or folder for the results")


def check_free(picture: Path, paths: Iterable[Path], overwrite: bool, default_names: bool = True) -> None:
    """Refuses to replace files that are there already.

    Args:
        picture: The image that the results are of.
        paths: The results, in one folder.
        overwrite: Whether any file may be replaced.
        default_names: Whether the results have their default names; what this program made of the image under these may be replaced.

    Raises:
        FileExistsError: Says which files are there.
    """
    taken = [] if overwrite else [path for path in paths if path.exists()]
    if not taken:
        return
    if default_names:
        from .outputs import Outputs, refusals

        problems = refusals(Outputs(picture, taken[0].parent), taken)
    else:
        problems = [f"{path} is there already; move it, choose another name with -o, or replace it with --overwrite" for path in taken]
    if problems:
        raise FileExistsError("; ".join(problems))


def note_results(picture: Path, paths: Sequence[Path]) -> None:
    """Remembers that this program made files, so that it may replace them: in the image's record, beside what `estimate` made of it.

    Args:
        picture: The image that they are of.
        paths: The files, in one folder.
    """
    from ..geometry.files.paths import write_bytes
    from .locks import locked_names
    from .records import RECORDS, with_files

    folder = paths[0].parent
    record = folder / RECORDS / f"{picture.stem}.json"
    with suppress(OSError):  # the files are there all the same; they will only not be replaced without --overwrite
        record.parent.mkdir(exist_ok=True)
        with locked_names(folder, (record.name,)):
            write_bytes(record, with_files(record, picture, paths))


def check_folder(folder: Path) -> None:
    """Refuses a folder that cannot be made or written to.

    Raises:
        NotADirectoryError: A file stands in its place.
        PermissionError: This user may not write there.
    """
    there = next((each for each in (folder, *folder.parents) if each.exists()), None)
    if there is not None and not there.is_dir():
        raise NotADirectoryError(f"{there} is a file, not a folder that results could be written into; choose another one with -o")
    if there is not None and not os.access(there, os.W_OK | os.X_OK):
        raise PermissionError(f"this user may not write to {there}; change its permissions, or choose another place with -o")


@contextmanager
def result_path(arguments: argparse.Namespace) -> Iterator[Path]:
    """A path to write the result to, moved to its place when the block ends well; the folder is made where it is absent.

    Args:
        arguments: Of a parser with `add_result`, after `settle_result`.

    Raises:
        OSError: The system refuses to write.
    """
    from ..geometry.files import atomic_path

    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    try:
        with atomic_path(arguments.out) as path:
            yield path
        if arguments.place.is_folder:
            note_results(arguments.picture, [arguments.out])
    except OSError as error:
        if error.filename is not None or not error.strerror:
            raise
        raise OSError(error.errno, error.strerror, str(arguments.out)) from error


def say_result(arguments: argparse.Namespace, words: str = "", paths: Iterable[Path] = ()) -> None:
    """Says what was made of the image, as `estimate` does, and shows it where --open asks for that.

    Args:
        arguments: Of a parser with `add_result`.
        words: What there is to know of it.
        paths: The files, where they are others than `arguments.out`.
    """
    files = list(paths) or [arguments.out]
    say(shown(f"{arguments.picture}: {', '.join(map(str, files))}" + (f" ({words})" if words else "")))
    if arguments.open:
        show(files[0])
