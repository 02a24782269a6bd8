"""Runs a command for one image on several, one after the other with the same model."""

from __future__ import annotations

import argparse
import glob
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..batch.sources import IMAGE_FILES, FileKind, Source, file_identity, find_images
from ..console.terminal import echo_error
from ..console.viewer import show
from ..outcomes import DONE
from .arguments import network_options, settings_of
from .option_table import refuse_options
from .result_paths import SOURCES, Place, default_name, is_of_a_file

if TYPE_CHECKING:
    from threading import Event

    from torch import Tensor

    from ..batch.outputs import Outputs
    from ..batch.run import Outcome

COMMON = frozenset(("--out", "--open", "--overwrite", "--model", "--recursive", "--resume"))
"""The options that `--help` of these commands shows besides their own."""

Found = tuple[list[Source], list[str]]
"""The result of `find_images`."""


@dataclass(frozen=True)
class Work:
    """A command for one image, `arguments.image`.

    Attributes:
        run: The command; it gets the arguments, the result of `check`, and the image's pixels if `reads_ahead`; raises on failure.
        check: Validates and returns the options of every image, before the first is read and a model is loaded.
        kind: The files to search folders for.
        names: Default names of an image's results, first the one that always exists.
        needs_model: Whether the model of the arguments is needed.
    """

    run: Callable[..., object]
    check: Callable[[argparse.Namespace], object]
    reads_ahead: bool = True
    kind: FileKind = IMAGE_FILES
    names: Callable[[argparse.Namespace, Path], Sequence[str]] = lambda arguments, image: (default_name(arguments, image),)
    needs_model: Callable[[argparse.Namespace], bool] = lambda arguments: hasattr(arguments, "model")


def over_images(work: Work) -> Callable[..., int]:
    """Turns a command for one image into one for `arguments.images`, which takes the arguments, and `find_images`'s result if known."""

    def run_all(arguments: argparse.Namespace, found: Found | None = None) -> int:
        options = work.check(arguments)
        named: Sequence[str] = arguments.images
        if len(named) != 1 or not is_file_name(named[0]):
            _refuse_files_of_one(arguments)
            return _over_several(work, arguments, options, found)
        if not arguments.place.is_folder:
            refuse_options(arguments, ("--resume", "--keep-extension"), "is for results in a folder, and -o names a file; leave it out")
        if arguments.resume:
            return _over_several(work, arguments, options, found)
        work.run(_for(arguments, image=Path(named[0])), options)
        return DONE

    return run_all


def _over_several(work: Work, arguments: argparse.Namespace, options: object, found: Found | None) -> int:
    from ..batch.outputs import Outputs, plan_each
    from ..batch.overwriting import check_folder
    from ..batch.per_image import read_with_alpha
    from ..batch.records import is_made, mark
    from ..batch.run import Outcome, Run, in_turn

    folder: Path = arguments.place.path
    sources, problems = found or find_images(arguments.images, arguments.recursive, folder, work.kind)
    for problem in problems:
        echo_error(problem)

    def results(outputs: Outputs) -> list[Path]:
        return [outputs.folder / name for name in work.names(arguments, outputs.image)]

    def prepare(source: Source) -> tuple[Outputs, Sequence[Path]]:
        outputs = Outputs(source.path, folder / source.relative.parent)
        return outputs, results(outputs)

    def is_done(outputs: Outputs) -> bool:
        return arguments.resume and is_made(results(outputs)[0], outputs.image, each.settings)

    def read(outputs: Outputs) -> tuple[Any, list[Tensor]]:
        return mark(outputs.image), [read_with_alpha(outputs.image)] if work.reads_ahead else []

    def make(marker: Path | None, outputs: Outputs, read: tuple[Any, list[Tensor]]) -> Outcome:
        source_mark, image = read
        place = Place(outputs.folder, is_folder=True)
        work.run(_for(each, image=outputs.image, place=place, source_mark=source_mark, marker=marker), options, *image)
        return Outcome(outputs, (results(outputs)[0],))

    def engine(stop: Event, marker: Path | None) -> Iterator[Outcome]:
        return in_turn(plan.todo, read, partial(make, marker), stop, marker, words)

    words, inputs = arguments.parser.message_of, frozenset(filter(None, (file_identity(source.path) for source in sources)))
    each = _for(arguments, inputs=inputs, open=False, settings=settings_of(arguments))
    check_folder(folder)
    plan = plan_each(sources, folder, prepare, is_done, words, by_extension=not arguments.keep_extension)
    several = Run(plan, folder, missed=len(problems))
    if plan.todo and work.needs_model(arguments) and not _named(arguments):
        network_options(arguments).load(arguments.device)  # its errors are reported once
    code = several.run(engine)
    if several.made and arguments.open:
        show(folder if plan.total > 1 else results((*plan.todo, *plan.done)[0])[0])
    return code


def is_file_name(name: str) -> bool:
    """Whether a name is that of one file, existing or not: no folder, list or pattern."""
    return not (name == "-" or name.startswith("@") or Path(name).is_dir()) and (Path(name).exists() or glob.escape(name) == name)


def _refuse_files_of_one(arguments: argparse.Namespace) -> None:
    """Rejects options for a single image where several are named."""
    place: Place = arguments.place
    if files := _named(arguments):
        raise ValueError(f"{files[0]} is of one image, and several are named; name the one, or leave the rest to a model")
    if mask := getattr(arguments, "sky_mask", None):
        raise ValueError(f"{mask} is of one image, and several are named; name the one, or leave out --sky-mask")
    if not place.is_folder and is_of_a_file(place.path):
        such = f"{place.path.with_suffix('')}{os.sep}"
        raise ValueError(f"{place.path} is the name of one file, and several images are named; give -o a folder, such as {such}")


def _named(arguments: argparse.Namespace) -> list[Path]:
    """The files with depth and normals; `Work.check` has rejected conflicts."""
    return [path for name in SOURCES if (path := getattr(arguments, name, None)) is not None]


def _for(arguments: argparse.Namespace, **changed: object) -> argparse.Namespace:
    return argparse.Namespace(**{**vars(arguments), **changed})
