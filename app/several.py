"""What a command does to one picture, done to several, one after the other with one model."""

from __future__ import annotations

import argparse
import glob
from collections.abc import Callable, Sequence
from pathlib import Path

from .arguments import DONE, EXPECTED_ERRORS, NOTHING_DONE, SOME_FAILED
from .pictures import Source, find_pictures
from .scene import named_files, scene_options
from .terminal import complain, shown

Run = Callable[[argparse.Namespace], int]


def over_pictures(run: Run, check: Callable[[argparse.Namespace], object]) -> Run:
    """A command for one picture as one for several.

    Args:
        run: Makes `arguments.out` of `arguments.picture`.
        check: Refuses what no picture can be made with, before the first is read and a model is loaded.

    Returns:
        The same for `arguments.pictures`, of `add_scene(several=True)`: for one that names a file as it is; else `arguments.out` is a
        folder, where each result is called as its picture.
    """

    def run_all(arguments: argparse.Namespace) -> int:
        check(arguments)
        named: Sequence[str] = arguments.pictures
        if len(named) == 1 and _is_file_name(named[0]):
            return run(_for(arguments, Path(named[0]), arguments.out))
        _check(arguments)
        sources, problems = find_pictures(named, recursive=arguments.recursive, out=arguments.out)
        for problem in problems:
            complain(problem)
        if sources:
            scene_options(arguments).load(arguments.device)  # what no picture can do without is said once
        failed = len(problems) + sum(not _is_done(run, arguments, *each) for each in _results(arguments, sources))
        return DONE if not failed else SOME_FAILED if failed < len(sources) + len(problems) else NOTHING_DONE

    return run_all


def _is_file_name(name: str) -> bool:
    return not (name == "-" or name.startswith("@") or Path(name).is_dir()) and (Path(name).exists() or glob.escape(name) == name)


def _check(arguments: argparse.Namespace) -> None:
    out: Path = arguments.out
    if files := named_files(arguments):
        raise ValueError(f"{files[0]} is of one picture, and several are named; name the one, or leave the rest to a model")
    if out.suffix.lower() in arguments.extensions and not out.is_dir():
        raise ValueError(
            f"{out} is the name of one file, and several pictures are named; give --out a folder, such as {out.with_suffix('')}"
        )


def _results(arguments: argparse.Namespace, sources: Sequence[Source]) -> list[tuple[Source, Path, bool]]:
    """Each picture with its result, and whether another picture has that result already."""
    found, taken = [], set()
    for source in sources:
        suffix = source.path.suffix if source.path.suffix.lower() in arguments.extensions else arguments.extensions[0]
        out = arguments.out / source.relative.with_suffix(suffix)
        name = str(out).casefold()
        found.append((source, out, name in taken))
        taken.add(name)
    return found


def _is_done(run: Run, arguments: argparse.Namespace, source: Source, out: Path, taken: bool) -> bool:
    try:
        if taken:
            raise ValueError(f"{out} is another picture's result already; rename one of them")
        return run(_for(arguments, source.path, out)) == DONE
    except EXPECTED_ERRORS as error:
        complain(shown(f"{source.path}: {error}"))
        return False


def _for(arguments: argparse.Namespace, picture: Path, out: Path) -> argparse.Namespace:
    return argparse.Namespace(**{**vars(arguments), "picture": picture, "out": out})
