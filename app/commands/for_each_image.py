"""Runs the command for one image on several, one after the other with the same model."""

from __future__ import annotations

import argparse
import glob
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..batch.sources import Source, find_images
from ..console.terminal import echo_error
from ..console.viewer import show
from .arguments import network_options
from .option_table import refuse_options
from .result_paths import Place, default_name
from .scene import named_files

if TYPE_CHECKING:
    from threading import Event

    from torch import Tensor

    from ..batch.outputs import Outputs
    from ..batch.run import Outcome

Found = tuple[list[Source], list[str]]
"""As `find_images` returns it."""


def over_images(run: Callable[..., int], check: Callable[[argparse.Namespace], object]) -> Callable[..., int]:
    """A command for one image, `arguments.image`, as one for several, `arguments.images`, of `add_scene(several=True)`.

    Args:
        run: The command; it gets the arguments, and the image's pixels where they are read already, and returns the exit code.
        check: Refuses what no image can be made with, before the first is read and a model is loaded.

    Returns:
        The command for several; it gets the arguments, and what these name where it was looked for before (`Found`).
    """

    def run_all(arguments: argparse.Namespace, found: Found | None = None) -> int:
        check(arguments)
        named: Sequence[str] = arguments.images
        if len(named) == 1 and is_file_name(named[0]):
            if not arguments.place.is_folder:
                refuse_options(arguments, ("--keep-extension",), "names results in a folder, and -o names a file; leave it out")
            return run(_for(arguments, image=Path(named[0])))
        return _over_several(run, arguments, found)

    return run_all


def _over_several(run: Callable[..., int], arguments: argparse.Namespace, found: Found | None) -> int:
    from ..batch.outputs import Outputs, plan_each
    from ..batch.overwriting import check_folder
    from ..batch.per_image import read_with_alpha
    from ..batch.run import Outcome, Run, in_turn

    folder = _folder(arguments)
    sources, problems = found or find_images(arguments.images, recursive=arguments.recursive, out=folder)
    for problem in problems:
        echo_error(problem)

    def result(outputs: Outputs) -> Path:
        return outputs.folder / default_name(arguments, outputs.image)

    def prepare(source: Source) -> tuple[Outputs, Sequence[Path]]:
        outputs = Outputs(source.path, folder / source.relative.parent)
        return outputs, [result(outputs)]

    def make(outputs: Outputs, image: Tensor) -> Outcome:
        run(_for(each, image=outputs.image, place=Place(outputs.folder, is_folder=True)), image)
        return Outcome(outputs, (result(outputs),))

    def work(stop: Event, marker: Path | None) -> Iterator[Outcome]:
        return in_turn(plan.todo, lambda outputs: read_with_alpha(outputs.image), make, stop, marker, words)

    words, each = arguments.parser.message_of, _for(arguments, inputs=[source.path for source in sources], open=False)
    check_folder(folder)
    plan = plan_each(sources, folder, prepare, words, by_extension=not arguments.keep_extension)
    several = Run(plan, folder, missed=len(problems), go_on="the same command makes all of them anew")
    if plan.todo:
        network_options(arguments).load(arguments.device)  # what no image can do without is said once
    code = several.run(work)
    if several.made and arguments.open:
        show(folder)
    return code


def is_file_name(name: str) -> bool:
    """True if a name is that of one file, there or not: no folder, list or pattern."""
    return not (name == "-" or name.startswith("@") or Path(name).is_dir()) and (Path(name).exists() or glob.escape(name) == name)


def _folder(arguments: argparse.Namespace) -> Path:
    """The folder of the results of several images."""
    place: Place = arguments.place
    if files := named_files(arguments):
        raise ValueError(f"{files[0]} is of one image, and several are named; name the one, or leave the rest to a model")
    if mask := getattr(arguments, "sky_mask", None):
        raise ValueError(f"{mask} is of one image, and several are named; name the one, or leave out --sky-mask")
    if place.path.suffix.lower() in arguments.extensions and not place.is_folder:
        such = f"{place.path.with_suffix('')}{os.sep}"
        raise ValueError(f"{place.path} is the name of one file, and several images are named; give -o a folder, such as {such}")
    return place.path


def _for(arguments: argparse.Namespace, **changed: object) -> argparse.Namespace:
    return argparse.Namespace(**{**vars(arguments), **changed})
