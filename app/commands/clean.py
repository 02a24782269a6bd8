"""`depth-normal clean`: removes the program's own cache entries, locks and records; results and weights stay."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path

from ..batch.records import RECORDS
from ..console.terminal import echo, echo_error, shown
from ..outcomes import DEFAULT_FOLDER, DONE, SOME_FAILED
from .result_paths import folder

KEPT = {
    "runs": "which files -o named, and what failed in runs whose results went to a store",
    "runtimes": "converted networks and their measured times",
    ".locks": "locks of downloads",
    "figures.lock": "a lock of `verify`",
}
"""The program's entries in the user's cache, by name, without weights."""

_RECORDS = "what was made of which image; without it --resume begins anew, and results are replaced only with --overwrite"


def add_clean(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `clean`."""
    folders = "folders of results, in which and below which the records (.depth-normal) are removed (default: depth-normal)"
    parser.add_argument("folders", nargs="*", type=folder, default=[DEFAULT_FOLDER], metavar="FOLDER", help=folders)
    parser.add_argument("--yes", action="store_true", help="delete without asking")
    parser.set_defaults(run=_clean)


def _clean(arguments: argparse.Namespace) -> int:
    from ...model_loader.weights.find import user_cache

    cache = user_cache()
    places = {cache / name: what for name, what in KEPT.items() if os.path.lexists(cache / name)}
    for each in arguments.folders:
        if not each.is_dir() and each != DEFAULT_FOLDER:
            raise ValueError(f"{each} is no folder; name folders of results")
        below = sorted(Path(here) / RECORDS for here, names, _ in os.walk(each) if RECORDS in names)  # links are not followed
        places |= dict.fromkeys(below, _RECORDS)
    if not places:
        echo("there is nothing to remove")
        return DONE
    for path, what in places.items():
        echo(shown(f"{_bytes(path) / 2**20:8.1f} MB  {path}  ({what})"))
    echo("results and weights stay; `depth-normal models --on-disk` says where the weights are")
    if not arguments.yes and not _agreed():
        echo("nothing was deleted; add --yes to delete without a question")
        return DONE
    failed = [path for path in places if not _removed(path)]
    return SOME_FAILED if failed else DONE


def _agreed() -> bool:
    if not sys.stdin or not sys.stdin.isatty():
        return False
    try:
        return input("delete these? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


def _bytes(path: Path) -> int:
    files = [path] if not path.is_dir() else [Path(here) / name for here, _, names in os.walk(path) for name in names]
    return sum(file.lstat().st_size for file in files)


def _removed(path: Path) -> bool:
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    except OSError as error:
        echo_error(f"{path}: cannot be removed: {error.strerror or error}")
        return False
    return True
