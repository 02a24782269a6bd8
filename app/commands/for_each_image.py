"""Runs the command for one image on several, one after the other with the same model."""

from __future__ import annotations

import argparse
import glob
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from ..batch.sources import Source, find_images
from ..console.terminal import echo_error, shown
from ..console.viewer import show
from ..outcomes import DONE, EXPECTED_ERRORS, NOTHING_DONE, SOME_FAILED
from .arguments import network_options, refuse_options
from .result_paths import Place, default_name
from .scene import named_files

Run = Callable[[argparse.Namespace], int]
Found = tuple[list[Source], list[str]]
"""As `find_images` returns it."""


class RunOverImages(Protocol):
    """Runs a command on `arguments.images`; `found` is what these name, where it was looked for before."""

    def __call__(self, arguments: argparse.Namespace, found: Found | None = None) -> int: ...


def over_images(run: Run, check: Callable[[argparse.Namespace], object]) -> RunOverImages:
    """A command for one image, `arguments.image`, as one for several, `arguments.images`, of `add_scene(several=True)`.

    `check` refuses what no image can be made with, before the first is read and a model is loaded.
    """

    def run_all(arguments: argparse.Namespace, found: Found | None = None) -> int:
        from ..batch.report import summary

        check(arguments)
        named: Sequence[str] = arguments.images
        if len(named) == 1 and is_file_name(named[0]):
            if not arguments.place.is_folder:
                refuse_options(arguments, ("--keep-extension",), "names results in a folder, and -o names a file; leave it out")
            return run(_for(arguments, image=Path(named[0])))
        folder = _folder(arguments)
        sources, problems = found or find_images(named, recursive=arguments.recursive, out=folder)
        started = time.monotonic()
        for problem in problems:
            echo_error(problem)
        if sources:
            network_options(arguments).load(arguments.device)  # what no image can do without is said once
        arguments = _for(arguments, inputs=[source.path for source in sources])
        done = sum(_is_done(run, arguments, *each) for each in _results(arguments, sources, folder))
        total = len(sources) + len(problems)
        if total > 1:
            echo_error(summary(done, 0, total - done, total, "images", started))
        if done and arguments.open:
            show(folder)
        return DONE if done == total else SOME_FAILED if done else NOTHING_DONE

    return run_all


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


def _results(arguments: argparse.Namespace, sources: Sequence[Source], folder: Path) -> list[tuple[Path, Path, Path]]:
    """Each image with its result, and the first image that has this result."""
    from ..batch.name_locks import folded

    found: list[tuple[Path, Path, Path]] = []
    first: dict[str, Path] = {}
    for source in sources:
        out = folder / source.relative.with_name(default_name(arguments, source.path))
        found.append((source.path, out, first.setdefault(folded(str(out)), source.path)))
    return found


def _is_done(run: Run, arguments: argparse.Namespace, image: Path, out: Path, first: Path) -> bool:
    try:
        if first is not image:
            from ..batch.outputs import same_files

            advice = "add --keep-extension, or " * (not arguments.keep_extension and first.name != image.name)
            raise ValueError(same_files(first, image, out, advice))
        return run(_for(arguments, image=image, place=Place(out.parent, is_folder=True), open=False)) == DONE
    except EXPECTED_ERRORS as error:
        from ..batch.failures import failure_of

        # Not where it is the image that cannot be read.
        written_to = None if getattr(error, "filename", None) == str(image) else out.parent
        if failure_of(str(image), error, written_to).stops_run:
            raise
        text = arguments.parser.message_of(error)
        echo_error(shown(text if str(image) in text else f"{image}: {text}"))
        return False


def _for(arguments: argparse.Namespace, **changed: object) -> argparse.Namespace:
    return argparse.Namespace(**{**vars(arguments), **changed})
