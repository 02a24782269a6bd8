"""`depth-normal clean`: removes the program's own cache entries, locks and records; whatever else lies there stays."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..batch.records import RECORDS
from ..console.terminal import echo, echo_error, shown
from ..outcomes import DEFAULT_FOLDER, DONE, SOME_FAILED
from .result_paths import folder

_DIGEST = "[0-9a-f]{16}"
_IN_CACHE = {
    "runs": (
        "which files -o named, and what failed in runs whose results went to a store",
        rf"named\.(json|lock)|{_DIGEST}/\.depth-normal/",
    ),
    "runtimes": ("converted networks and their measured times", rf"[^/]+/[^/]+-{_DIGEST}(/|\.json|\.lock|\.[0-9a-f]{{8}}\.part/)"),
    ".locks": ("locks of downloads", r"[^/]+\.lock"),
    "figures.lock": ("a lock of `verify`", r"\."),
}
"""The program's entries in the user's cache, without weights: what they are, and the pattern of its own paths in them.

Other programs have folders of these names too, and DEPTH_NORMAL_HOME may be the parent of theirs. A folder's path ends with "/".
"""

_RECORDS = (
    "what was made of which image; without it --resume begins anew, and results are replaced only with --overwrite",
    r"[^/]+\.json|failures\.jsonl|auto\.runtime|(run\.)?lock|[^/]+\.film(/|\.lock)|\.depth-normal-[^/]+/?",
)
_MOST_NAMED = 5
_DEPTH = 2  # of the patterns


@dataclass(frozen=True)
class _Place:
    """A file or folder in which the program keeps something.

    Attributes:
        what: What it keeps there.
        own: Its own files and folders.
        others: The topmost files and folders with nothing of its own.
    """

    path: Path
    what: str
    own: list[Path]
    others: list[Path]


def add_clean(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `clean`."""
    folders = "folders of results, in which and below which the records (.depth-normal) are removed (default: depth-normal)"
    parser.add_argument("folders", nargs="*", type=folder, default=[DEFAULT_FOLDER], metavar="FOLDER", help=folders)
    parser.add_argument("--yes", action="store_true", help="delete without asking")
    parser.set_defaults(run=_clean)


def _clean(arguments: argparse.Namespace) -> int:
    from ...model_loader.weights.find import user_cache

    cache = user_cache()
    places = [_place(cache / name, *entry) for name, entry in _IN_CACHE.items()]
    for each in arguments.folders:
        if not each.is_dir() and each != DEFAULT_FOLDER:
            raise ValueError(f"{each} is no folder; name folders of results")
        below = sorted(Path(here) / RECORDS for here, names, _ in os.walk(each) if RECORDS in names)  # links are not followed
        places += [_place(path, *_RECORDS) for path in below]
    places = list({place.path: place for place in places}.values())  # the named folders may overlap
    for place in places:
        if place.own:
            echo(shown(f"{sum(map(_bytes, place.own)) / 2**20:8.1f} MB  {place.path}  ({place.what})"))
        if place.others:
            names = [str(path.relative_to(place.path.parent)) for path in place.others]
            more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
            echo(shown(f"      stays  {place.path.parent}: {', '.join(names[:_MOST_NAMED])}{more}  (not made by this program)"))
    own = [path for place in places for path in place.own]
    if not own:
        echo("there is nothing to remove")
        return DONE
    echo("results and weights stay; `depth-normal models --on-disk` says where the weights are")
    if not arguments.yes and not _agreed():
        echo("nothing was deleted; add --yes to delete without a question")
        return DONE
    failed = [path for path in own if not _removed(path)]
    for place in places:
        for path in place.own:
            _remove_empty(path, place.path)
    return SOME_FAILED if failed else DONE


def _place(path: Path, what: str, pattern: str) -> _Place:
    """Sorts what lies at and below a path; links are not followed."""
    own: list[Path] = []

    def others(each: Path) -> list[Path]:
        """Collects the program's own paths at or below a path; returns the topmost others."""
        is_folder, place = each.is_dir() and not each.is_symlink(), each.relative_to(path)
        if re.fullmatch(pattern, place.as_posix() + "/" * is_folder):
            own.append(each)
            return []
        before, left = len(own), []
        if is_folder and len(place.parts) < _DEPTH:
            with suppress(PermissionError):
                left = [other for below in sorted(each.iterdir()) for other in others(below)]
        return left if len(own) > before or (is_folder and not place.parts) else [each]

    return _Place(path, what, own, others(path) if os.path.lexists(path) else [])


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


def _remove_empty(removed: Path, top: Path) -> None:
    """Removes the empty folders above a removed path, up to `top`."""
    with suppress(OSError):  # not empty
        for each in removed.parents:
            if not each.is_relative_to(top):
                return
            each.rmdir()
