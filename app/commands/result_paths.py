"""Result paths of commands: `-o`, default names, what may be overwritten, and `--open`. Imports nothing large."""

from __future__ import annotations

import argparse
import logging
import os
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..batch.records import RECORDS, is_known, known_marks, mark, mark_of, noted_marks, other_image, read_record, with_files
from ..batch.sources import EXTENSIONS, Identity, file_identity
from ..console.terminal import echo, shown
from ..console.viewer import show
from ..output_choices import WRITE_CHOICES

DEFAULT_FOLDER = Path("depth-normal")
"""The default folder for results: in the working directory, named as the command.

Not `depth_normal`: Python would take a folder of that name beside a script for the package, where that is an editable installation.
"""

SOURCES = ("geometry", "depth", "normal_map")
"""The inputs of a command besides the image, by the names of its options."""

_FILES = EXTENSIONS | {f".{kind}" for kind in WRITE_CHOICES}
_ANOTHER_NAME = "choose another name with -o"
_NOT_OURS = "depth-normal did not make it or it was changed since"
_SEPARATORS = tuple(filter(None, (os.sep, os.altsep)))

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Place:
    """The path of `-o`.

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
    """A folder, or the URL of one, which stays as it was typed (`remote_files.Url`)."""
    if "://" not in text:
        return folder(text)
    from ..batch.remote_files import as_path

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
    """Adds -o for a command that writes several files, and --open; `gets` is what the folder gets, in words."""
    help_text = f"folder for the results{gets}, made if absent (default: %(default)s{os.sep})"
    parser.add_argument("-o", "--out", type=takes, default=DEFAULT_FOLDER, metavar="FOLDER", help=help_text)
    add_open(parser)


def add_place(parser: argparse.ArgumentParser, files: str, default: str) -> None:
    """Adds -o for a command that writes one file (`files` and `default` in words), and --open; `arguments.place` is a `Place`."""
    help_text = f"{files}; or a folder, whose name ends in {os.sep} (default: {DEFAULT_FOLDER / default})".replace("%", "%%")
    parser.add_argument("-o", "--out", dest="place", type=place, default=DEFAULT_PLACE, metavar="PATH", help=help_text)
    add_open(parser)


def add_open(parser: argparse.ArgumentParser) -> None:
    """Adds --open."""
    parser.add_argument("--open", action="store_true", help="open the result when it is done; of several, the folder")


def add_overwrite(parser: argparse.ArgumentParser, made_of: str = "image", default_names: bool = True) -> None:
    """Adds --overwrite; its help says the rule of `refusals`.

    Args:
        parser: The command's.
        made_of: What the results are of, in words; empty for a command that replaces none of its own files either.
        default_names: Whether -o can name a file, which is no default name.
    """
    own = f"only an unchanged result of the same {made_of} is replaced" + ", under its default name" * default_names
    help_text = f"replace any file in the way, but no input; without it, {own if made_of else 'none is replaced'}"
    parser.add_argument("--overwrite", action="store_true", help=help_text)


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


def settle_result(arguments: argparse.Namespace, purpose: str = "") -> None:
    """Decides where the result goes, as `arguments.out`, and refuses a place that cannot be written or would replace an input.

    It is called, with the arguments of a parser with `add_result`, before anything is read or loaded. `purpose` ("with --splats ") is said
    where the extensions are fewer because of it.

    Raises:
        ValueError: An extension that is not written, or the result is an input.
        OSError: As `check_places`.
    """
    out = arguments.out = arguments.place.file(default_name(arguments, arguments.image))
    if out.suffix.lower() not in arguments.extensions:
        found = f"the name ends in {out.suffix}" if out.suffix else f"the name has no extension (that of a folder ends in {os.sep})"
        raise ValueError(f"{out}: {found}; {purpose}this command writes {', '.join(arguments.extensions)}")
    check_results(arguments, [out], default_names=arguments.place.is_folder)


def default_name(arguments: argparse.Namespace, image: Path) -> str:
    """The default name of the one result of an image, of a parser with `add_result`; with --keep-extension the image's whole name."""
    return f"{image.name if getattr(arguments, 'keep_extension', False) else image.stem}{arguments.ending}"


def check_results(arguments: argparse.Namespace, paths: Sequence[Path], default_names: bool = True) -> None:
    """As `check_places`, of a command that makes files of `arguments.image`.

    `default_names` says whether the results have their default names.
    """
    named = [getattr(arguments, name, None) for name in ("image", *SOURCES)]
    read = [each for each in (*named, *getattr(arguments, "inputs", ())) if each is not None]
    check_places(paths, read, arguments.overwrite, arguments.image if default_names else None)


def check_places(paths: Sequence[Path], read: Iterable[Path], overwrite: bool, made_of: Path | None = None) -> None:
    """Refuses results that cannot be written to their places, or would replace what they must not, as `refusals` says.

    Args:
        paths: The results, in one folder.
        read: What the command reads, which no result replaces, even with `overwrite`.
        overwrite: Whether files that this program did not make may be replaced.
        made_of: What the results are of, as `note_results` is told, where they have their default names: only under these this program
            knows its own files. None = somebody named them.

    Raises:
        ValueError: A result is one of the files that are read.
        FileExistsError: Something is there that must not be replaced.
        NotADirectoryError, PermissionError: As `check_folder`.
    """
    folder = paths[0].parent
    check_folder(folder)
    marks, identities = files_there(folder, [path.name for path in paths])
    inputs = {identity for each in read if (identity := file_identity(each))}
    if taken := [name for name, identity in identities.items() if identity in inputs]:
        raise ValueError(f"{folder / taken[0]} is an image or a file that is read; choose another name or folder for the results")
    record = None if made_of is None else read_record(folder / RECORDS / f"{made_of.stem}.json") or {}
    if problems := refusals(folder, marks, record, made_of, overwrite, _ANOTHER_NAME):
        raise FileExistsError("; ".join(problems))


def refusals(
    folder: Path,
    marks: Mapping[str, Any],
    record: Mapping[str, Any] | None,
    made_of: Path | None,
    overwrite: bool,
    advice: str = "choose another --out",
) -> list[str]:
    """The reasons why files that are there must not be replaced. This is the one rule of all commands.

    What this program made of the same input, under a default name and unchanged since, is replaced. Anything else is replaced only with
    --overwrite; so is a link to nowhere. A folder is never replaced.

    Args:
        folder: The folder of the files.
        marks: Of the files that are there, as `files_there` gives them.
        record: Of the files that this program made there; None where it keeps none.
        made_of: The input of the results.
        overwrite: As `check_places`.
        advice: How another place is chosen, in words.
    """
    known, noted, other = {}, {}, None
    if record and made_of is not None:
        known, noted, other = known_marks(record), noted_marks(record, made_of), other_image(record, made_of)
    problems = []
    for name, now in marks.items():
        path, own = folder / name, now is not None and now in known.get(name, [])
        if not own and path.is_dir():
            problems.append(f"{path} is a folder; move it, or {advice}")
        elif not overwrite and (now is None or now != noted.get(name)):
            owner = f", and shows {other}, not {made_of}" if own and other else "" if record is None else f", and {_NOT_OURS}"
            if other or not own:
                problems.append(f"{path} is there already{owner}; move it, {advice}, or replace it with --overwrite")
    return problems


def files_there(folder: Path, names: Iterable[str]) -> tuple[dict[str, Any], dict[str, Identity]]:
    """The marks of what is there under some names, None for a link to nowhere; and their identities."""
    marks: dict[str, Any] = {}
    identities = {}
    for name in names:
        path = f"{folder}{os.sep}{name}"
        with suppress(OSError, ValueError):
            status = os.lstat(path)
            marks[name] = None
            if stat.S_ISLNK(status.st_mode):
                status = os.stat(path)  # noqa: PTH116  of a million images, a Path for each name takes minutes
            marks[name], identities[name] = mark_of(status), (status.st_dev, status.st_ino)
    return marks, identities


def note_results(image: Path, paths: Sequence[Path]) -> None:
    """Remembers that this program made files, in one folder, so that it may replace them.

    They go into the record of `image`, beside what `estimate` made of it; of what is made of no file, it is the first of them.
    """
    from ...geometry.files.paths import write_bytes
    from ..batch.name_locks import locked_names

    folder = paths[0].parent
    record = folder / RECORDS / f"{image.stem}.json"
    with suppress(OSError):  # the files are there all the same; they will only not be replaced without --overwrite
        record.parent.mkdir(exist_ok=True)
        with locked_names(folder, (record.name,)):
            write_bytes(record, with_files(record, image, paths))


def remove_outdated(image: Path, path: Path) -> None:
    """Removes a result that an earlier run wrote and this one did not, where it contradicts the new results beside it.

    A file that this program did not make under its default name, or that was changed since, stays.
    """
    record, now = read_record(path.parent / RECORDS / f"{image.stem}.json") or {}, mark(path)
    if now is not None and is_known(record, path.name, now):
        path.unlink(missing_ok=True)
        logger.info("%s was of an earlier run and is removed", path)


def check_folder(folder: Path) -> None:
    """Refuses a folder that cannot be made or written to.

    Raises:
        NotADirectoryError: A file stands in its place.
        PermissionError: This user, or nobody, may write there.
    """
    there = nearest_folder(folder)
    if not there.is_dir():
        raise NotADirectoryError(f"{there} is a file, not a folder that results could be written into; choose another one with -o")
    if problem := unwritable(there):
        raise PermissionError(f"{problem} with -o")


def unwritable(folder: Path, tried: bool = True) -> str:
    """The reason why nothing can be written to a folder that is there, ending with "choose another place"; empty where it can.

    With `tried` a file is made for a moment, under no name where the system can: not everything that permits it takes files (/proc).
    """
    if not os.access(folder, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
        return f"this user may not write to {folder}; change its permissions, or choose another place"
    try:
        if tried:
            tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        return f"{folder} takes no files ({error.strerror or error}); choose another place"
    return ""


def nearest_folder(folder: Path) -> Path:
    """A folder, or of one that is not there the first of those above it that is."""
    return next((each for each in (folder, *folder.parents) if os.path.lexists(each)), folder)


@contextmanager
def result_path(arguments: argparse.Namespace) -> Iterator[Path]:
    """A path to write the result to, moved to its place when the block ends well; the folder is made where it is absent.

    Raises:
        OSError: The system refuses to write.
    """
    from ...geometry.files import atomic_path

    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    try:
        with atomic_path(arguments.out) as path:
            yield path
        if arguments.place.is_folder:
            note_results(arguments.image, [arguments.out])
    except OSError as error:
        if error.filename is not None or not error.strerror:
            raise
        raise OSError(error.errno, error.strerror, str(arguments.out)) from error


def say_result(arguments: argparse.Namespace, words: str = "", paths: Iterable[Path] = ()) -> None:
    """Prints the image and its results, as `estimate` does, and shows them where --open asks for that.

    `words` are further facts; `paths` the files, where they are others than `arguments.out`.
    """
    files = list(paths) or [arguments.out]
    echo(shown(f"{arguments.image}: {', '.join(map(str, files))}" + (f" ({words})" if words else "")))
    if arguments.open:
        show(files[0])
