"""Result paths of commands: `-o`, default names, and `--open`. Imports nothing heavy."""

from __future__ import annotations

import argparse
import errno
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ...options.outputs import COMPOSITING, DEFAULT_WRITES, STEREO_CHOICES, WRITE_CHOICES
from ..batch.overwriting import check_places, note_results
from ..batch.records import RECORDS, mark, with_made
from ..batch.sources import EXTENSIONS, VIDEOS
from ..console.terminal import echo, shown
from ..console.viewer import show
from ..outcomes import DEFAULT_FOLDER
from .arguments import settings_of

SOURCES = ("geometry", "depth", "normal_map")
"""A command's inputs besides the image, by option name."""

_FILES = EXTENSIONS | VIDEOS | {f".{kind}" for kind in {*WRITE_CHOICES} - {*DEFAULT_WRITES, COMPOSITING, *STEREO_CHOICES}}
_SHOWN = 40
_SEPARATORS = tuple(filter(None, (os.sep, os.altsep)))


@dataclass(frozen=True)
class Place:
    """The path of `-o`: a file, or a folder, whose results get default names."""

    path: Path
    is_folder: bool = False

    def file(self, name: str) -> Path:
        """The path of a result with this default name."""
        return self.path / name if self.is_folder else self.path


DEFAULT_PLACE = Place(DEFAULT_FOLDER, is_folder=True)


def place(text: str) -> Place:
    """Parses a file, or a folder: one that exists, or a name that ends in a separator."""
    _refuse_useless(text)
    return Place(Path(text), _is_folder(text))


def _is_folder(text: str) -> bool:
    """Whether a name ends in a separator or is a folder's; False where this user may not look, which the command reports later."""
    return text.endswith(_SEPARATORS) or os.path.isdir(text)  # noqa: PTH112 - before Python 3.14 `Path.is_dir` raises


def folder_file_or_url(text: str) -> Path | Place:
    """As `folder_or_file`, or the URL of a folder (`remote_files.Url`)."""
    if "://" not in text:
        return folder_or_file(text)
    from ..batch.remote_files import as_path

    return as_path(text)


def folder(text: str) -> Path:
    """Parses a folder."""
    path = folder_or_file(text)
    if isinstance(path, Place):
        raise argparse.ArgumentTypeError(f"{path.path} is the name of a file, and this command may write several: {name_a_folder(path)}")
    return path


def folder_or_file(text: str) -> Path | Place:
    """Parses a folder, or a `Place` if the name is that of a file."""
    _refuse_useless(text)
    path = Path(text)
    return Place(path) if is_of_a_file(path) and not _is_folder(text) else path


def is_of_a_file(path: Path) -> bool:
    """Whether a name has an extension of images, videos or geometry files."""
    return path.suffix.lower() in _FILES


def name_a_folder(file: Place) -> str:
    """Advice for a file where a folder is needed."""
    return f"name a folder, such as {file.path.with_suffix('')}{os.sep}"


def check_extension(file: Path, written: Sequence[str], purpose: str = "") -> None:
    """Raises ValueError for an extension that the command does not write; `purpose` as `settle_result`."""
    if file.suffix.lower() not in written:
        ending = f"the name ends in {file.suffix}" if file.suffix else f"the name has no extension (that of a folder ends in {os.sep})"
        raise ValueError(f"{file}: {ending}; {purpose}this command writes {', '.join(written)}")


def _refuse_useless(text: str) -> None:
    if not text:
        raise argparse.ArgumentTypeError("the name is empty; name a file or a folder")
    if "://" in text:
        raise argparse.ArgumentTypeError(f"{text}: only `estimate` writes to a store; name a file or a folder of this computer")
    try:
        os.lstat(text)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise argparse.ArgumentTypeError(f"{text[:_SHOWN]}... is longer than the disk takes; choose a shorter name") from error


def add_folder(parser: argparse.ArgumentParser, gets: str = "", takes: Callable[[str], Path | Place] = folder) -> None:
    """Adds -o and --open for a command that writes several files; `gets` describes the folder's content."""
    file, metavar = ("", "FOLDER") if takes is folder else ("; or the file of a single result", "PATH")
    help_text = f"folder for the results{gets}, made if absent{file} (default: %(default)s{os.sep})"
    parser.add_argument("-o", "--out", type=takes, default=DEFAULT_FOLDER, metavar=metavar, help=help_text)
    add_open(parser)


def add_place(parser: argparse.ArgumentParser, files: str, default: str) -> None:
    """Adds -o and --open for a command that writes one file, described by `files` and `default`; sets `arguments.place`."""
    help_text = f"{files}; or a folder, whose name ends in {os.sep} (default: {DEFAULT_FOLDER / default})".replace("%", "%%")
    parser.add_argument("-o", "--out", dest="place", type=place, default=DEFAULT_PLACE, metavar="PATH", help=help_text)
    add_open(parser)


def add_open(parser: argparse.ArgumentParser) -> None:
    """Adds --open."""
    parser.add_argument("--open", action="store_true", help="open the result when it is done; of several, the folder")


def add_overwrite(parser: argparse.ArgumentParser, made_of: str = "image", default_names: bool = True) -> None:
    """Adds --overwrite; its help states the rule of `overwriting.reasons_not_to_replace`.

    `made_of` describes the results' input, and is empty for a command that never replaces its own files. `default_names`: whether -o can
    name a file.
    """
    own = (
        f"only an unchanged result of the same {made_of} is replaced"
        + "; if -o names the file, it must also be of the same command and kind" * default_names
    )
    help_text = f"overwrite existing files, never inputs; without it, {own if made_of else 'none is replaced'}"
    parser.add_argument("--overwrite", action="store_true", help=help_text)


def add_result(parser: argparse.ArgumentParser, ending: str, extensions: Sequence[str]) -> None:
    """Adds -o, --open and --overwrite for one result per image, named by its stem and `ending`, for `settle_result` and `result_path`."""
    add_place(parser, f"the result: {', '.join(extensions)}", f"<image>{ending}")
    add_overwrite(parser)
    parser.set_defaults(ending=ending, extensions=tuple(extensions))


def settle_result(arguments: argparse.Namespace, purpose: str = "") -> None:
    """Sets the result's path, `arguments.out`; rejects one that is not writable or would replace an input.

    Call it before anything is read or loaded, with a parser that has `add_result`. `purpose` ("with --splats ") explains a limited choice
    of extensions. Raises as `check_extension` and `check_places`.
    """
    out = arguments.out = arguments.place.file(default_name(arguments, arguments.image))
    check_extension(out, arguments.extensions, purpose)
    check_results(arguments, [out], naming_command(arguments))


def default_name(arguments: argparse.Namespace, image: Path) -> str:
    """The default name of an image's result, for a parser with `add_result`."""
    return f"{stem_of(arguments, image)}{arguments.ending}"


def stem_of(arguments: argparse.Namespace, image: Path) -> str:
    """The prefix of an image's default result names: the stem, or with --keep-extension the full name."""
    return image.name if getattr(arguments, "keep_extension", False) else image.stem


def naming_command(arguments: argparse.Namespace, **changed: str) -> str:
    """The command for `note_results`, of a parser with `add_place`; empty for default names.

    It includes the options in the parser's default `kinds`, since they change the kind of result. `changed` overrides arguments.
    """
    if arguments.place.is_folder:
        return ""
    values = {**vars(arguments), **changed}
    kinds = [f"--{name}{'' if values[name] is True else f' {values[name]}'}" for name in values.get("kinds", ()) if values[name]]
    return " ".join((arguments.parser.prog, *kinds))


def check_results(arguments: argparse.Namespace, paths: Sequence[Path], command: str = "") -> None:
    """`check_places` for results of `arguments.image`."""
    named = [getattr(arguments, name, None) for name in ("image", *SOURCES, "sky_mask")]
    read, inputs = [each for each in named if each is not None], getattr(arguments, "inputs", frozenset())
    check_places(paths, read, arguments.overwrite, arguments.image, command, inputs=inputs)


@contextmanager
def result_path(arguments: argparse.Namespace) -> Iterator[Path]:
    """A temporary path for the result `arguments.out`, in a `results_folder`."""
    with results_folder(arguments, arguments.out) as folder:
        yield folder / arguments.out.name


@contextmanager
def results_folder(arguments: argparse.Namespace, first: Path) -> Iterator[Path]:
    """Yields an empty folder for results; `first` is the final path of the first. They are moved there if the block succeeds.

    Their folder is created if absent, and removed again if the block fails. Results with default names are recorded with their settings
    (`settings_of`), by which --resume recognises them (`records.is_made`). Raises FileExistsError if a file that must not be replaced has
    appeared meanwhile.
    """
    from ...geometry.files.paths import move_over
    from ..batch.staging import check_run_marker, folder_beside, published

    image = arguments.image
    if arguments.place.is_folder:
        check_run_marker(getattr(arguments, "marker", None))  # the drive may be lost since the start
        source_mark = getattr(arguments, "source_mark", None) or mark(image)
        record = first.parent / RECORDS / f"{image.stem}.json"
        content = partial(with_made, record, first.name, image, source_mark, settings_of(arguments))
        with published(record, partial(check_results, arguments), content) as folder:
            yield folder
        return
    with folder_beside(first) as folder:
        yield folder
        files = filter(Path.is_file, folder.iterdir())  # `estimate` has its record beside them
        written = sorted(files, key=lambda path: (path.name != first.name, path.name))
        targets = [first.parent / path.name for path in written]
        check_results(arguments, targets, naming_command(arguments))  # files may have appeared meanwhile
        for path, target in zip(written, targets, strict=True):
            move_over(path, target)
    note_results(image, targets, naming_command(arguments))


def say_result(arguments: argparse.Namespace, words: str = "", paths: Iterable[Path] = ()) -> None:
    """Prints the image, `words` and its results, as `estimate` does; opens them with --open. `paths`: if not only `arguments.out`."""
    files = list(paths) or [arguments.out]
    echo(shown(f"{arguments.image}: {', '.join(map(str, files))}" + (f" ({words})" if words else "")))
    if arguments.open:
        show(files[0])
