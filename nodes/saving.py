"""Saves files to ComfyUI's output folder, named and numbered like those of its own nodes; all files or none."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from ..geometry.files import resolve_inside
from ..geometry.files.paths import move_to_free, temporary_folder
from ..model_loader.comfy.host import user_folder
from .batches import for_each
from .option_widgets import Node
from .widgets import FILES, Inputs, Widget, text_widget

Item = TypeVar("Item")

# ComfyUI's keys for results that its page can display.
_SHOWN_AS = {".png": "images", ".glb": "3d", ".stl": "3d"}
_PATTERN = re.compile(r"%([^%]+)%")
_DATE_PARTS = re.compile(r"dd?|MM?|hh?|mm?|ss?|yyyy|yy")
_DATE_CODES = {"d": "day", "M": "month", "h": "hour", "m": "minute", "s": "second", "y": "year"}
_CLOCK = ("year", "month", "day", "hour", "minute", "second")
# Characters that the page also removes from file names.
_NOT_IN_NAMES = re.compile(r'[/?<>\\:*|"\x00-\x1f\x7f]')


def prefix_widget(default: str, suffix: str) -> Widget:
    """Widget for the subfolder and file name prefix; `suffix` is for the tooltip's example."""
    return text_widget(
        f"Subfolders of the output folder and the beginning of the file name; a number is added: {default}_00001{suffix}. As in Save "
        "Image, %date:yyyy-MM-dd%, %width%, %height% and %Node.widget% are filled in.",
        default,
    )


class SavingNode(Node):
    """Base class of nodes that save files with the widget `filename_prefix`. ComfyUI fills in the hidden inputs, for `%Node.widget%`."""

    CATEGORY, OUTPUT_NODE = FILES, True

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        return {**super().INPUT_TYPES(), "hidden": {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"}}

    @classmethod
    def VALIDATE_INPUTS(cls, filename_prefix: str | None = None) -> bool | str:  # noqa: N802
        """Reports names outside the output folder before anything runs; None: the name is linked from another node."""
        return filename_prefix is None or problem_of(lambda: resolve_inside(user_folder("output"), _fill_in_placeholders(filename_prefix)))


def problem_of(check: Callable[[], object]) -> bool | str:
    """Runs a check for ComfyUI: True, or the problem."""
    try:
        check()
    except (TypeError, ValueError, OSError) as error:
        return str(error)
    return True


def fill_in(
    filename_prefix: str,
    width: int,
    height: int,
    prompt: Mapping[str, Any] | None = None,
    extra_pnginfo: Mapping[str, Any] | None = None,
    now: datetime | None = None,
) -> str:
    """Replaces the patterns of ComfyUI's own save nodes in a prefix, including those that the page replaces: scripts have no page.

    Args:
        filename_prefix: With `%width%`, `%height%`, `%year%` to `%second%`, `%date:yyyy-MM-dd hh-mm-ss%`, `%Node.widget%`, where Node is a
            node's name for search and replace, its title or its id. Other text between percent signs is kept.
        prompt: The nodes that run, in ComfyUI's format.
        extra_pnginfo: Contains the page's graph, if there is one.
        now: The time; None = now.

    Returns:
        The name, not yet validated.
    """
    time = now or datetime.now().astimezone()
    simple = {"width": str(width), "height": str(height), **{part: f"{getattr(time, part):02}" for part in _CLOCK}}

    def value(match: re.Match[str]) -> str:
        pattern = match[1]
        if pattern.startswith("date:"):
            return _date(pattern.removeprefix("date:"), time)
        if pattern in simple:
            return simple[pattern]
        node, dot, widget = pattern.rpartition(".")
        widget_value = _widget_value(node, widget, prompt or {}, extra_pnginfo or {}) if dot else None
        return match[0] if widget_value is None else _NOT_IN_NAMES.sub("_", str(widget_value))

    return _PATTERN.sub(value, filename_prefix) if isinstance(filename_prefix, str) else filename_prefix


def save_numbered(filename_prefix: str, suffix: str, parts: Iterable[Item], save: Callable[[Path, Item], Sequence[Path]]) -> list[Path]:
    """Saves files to ComfyUI's output folder under the next free numbers; returns them in order. All files appear, or none does.

    Args:
        filename_prefix: Subfolders of the output folder and the name's prefix, with patterns replaced.
        suffix: The format's extension.
        parts: The content of each file.
        save: Saves one part and returns its files.

    Raises:
        OSError: The disk is full, or the folder is not writable.
        ValueError: The name leaves the folder, or the content cannot be saved.
    """
    root = user_folder("output")
    prefix = resolve_inside(root, filename_prefix)
    resolve_inside(root, f"{filename_prefix}_00000{suffix}")  # the number must not make the name too long
    with aside(prefix.parent, f"{prefix.name}{suffix}", "filename_prefix") as folder:
        finished = for_each(enumerate(parts), lambda index, part: (str(index), save(folder / f"{index}{suffix}", part)))
        return _number(list(finished), prefix)


@contextmanager
def aside(folder: Path, name: str, widget: str) -> Iterator[Path]:
    """Yields an empty folder in `folder` (created if absent), for files that are moved out of it once all are finished.

    Raises OSError, which says that `name` cannot be saved and what to do; `widget` chooses the folder.
    """
    try:
        with temporary_folder(folder) as hidden:
            yield hidden
    except OSError as error:  # names a file in `hidden`, which is gone
        if error.errno is None:  # not the system's, such as a library's that cannot load
            raise
        raise OSError(
            f"{name} cannot be saved in {folder}: {error.strerror or error}. Free disk space, make the folder writable, or choose "
            f"another {widget}"
        ) from error


def file_entries(written: Sequence[Path]) -> dict[str, list[dict[str, str]]]:
    """ComfyUI's entries for displaying files of the output folder."""
    root = user_folder("output")
    return {_SHOWN_AS.get(written[0].suffix, "files"): [_shown(path, root) for path in written]}


def output_name(path: Path) -> str:
    """A file's path relative to ComfyUI's output folder."""
    return path.relative_to(user_folder("output").resolve()).as_posix()


def _fill_in_placeholders(filename_prefix: str) -> str:
    """Fills in a name before anything runs, with placeholders for sizes and other nodes' values."""
    if not isinstance(filename_prefix, str):
        return filename_prefix
    return re.sub(r"%[^%./\\:]+\.[^%./\\:]+%", "value", fill_in(filename_prefix, 512, 512))


def _date(pattern: str, time: datetime) -> str:
    """Formats a time like the page: yyyy, yy, and d, M, h, m, s once or twice."""

    def part(match: re.Match[str]) -> str:
        number = str(getattr(time, _DATE_CODES[match[0][0]]))
        return number[-2:] if match[0] == "yy" else number.zfill(len(match[0]))

    return _DATE_PARTS.sub(part, pattern)


def _widget_value(node: str, widget: str, prompt: Mapping[str, Any], extra_pnginfo: Mapping[str, Any]) -> Any:
    """The value of a widget of the first node of that name; None if there is none or it is linked from another node."""
    graph = extra_pnginfo.get("workflow")
    drawn = graph.get("nodes", ()) if isinstance(graph, Mapping) else ()
    replaced = {str(each.get("id")): (each.get("properties") or {}).get("Node name for S&R") for each in drawn}
    names = [lambda key, _: replaced.get(key), lambda _, each: (each.get("_meta") or {}).get("title")]
    for name in (*names, lambda _, each: each.get("class_type"), lambda key, _: key):
        for key, each in prompt.items():
            value = each.get("inputs", {}).get(widget) if name(key, each) == node else None
            if value is not None and not isinstance(value, list):
                return value
    return None


def _number(finished: Sequence[tuple[str, Sequence[Path]]], prefix: Path) -> list[Path]:
    """Renames finished files, for each image its common stem and its files, to the next free numbers after the prefix: all or none.

    Other processes may be saving with the same prefix: a number belongs to whoever takes its name first.
    """
    placed: list[Path] = []
    number = _next_number(prefix)
    try:
        for stem, paths in finished:
            while (names := _claim(stem, paths, prefix.with_name(f"{prefix.name}_{number:05}"))) is None:
                number += 1
            placed += names
            number += 1
    except BaseException:
        for path in placed:
            path.unlink(missing_ok=True)
        raise
    return placed


def _claim(stem: str, paths: Sequence[Path], target: Path) -> list[Path] | None:
    """Renames one image's files from `stem`... to `target`...; None if a name is taken."""
    placed: list[tuple[Path, Path]] = []
    for path in paths:
        name = target.with_name(target.name + path.name.removeprefix(stem))
        try:
            move_to_free(path, name)
        except FileExistsError:
            for moved, back in placed:
                moved.replace(back)
            return None
        placed.append((name, path))
    return [name for name, _ in placed]


def _next_number(prefix: Path) -> int:
    """One more than the highest number in use after this prefix."""
    numbered = re.compile(rf"{re.escape(prefix.name)}_(\d+)", re.IGNORECASE)
    return 1 + max((int(match[1]) for path in prefix.parent.iterdir() if (match := numbered.match(path.name))), default=0)


def _shown(path: Path, root: Path) -> dict[str, str]:
    place = path.relative_to(root.resolve())
    subfolder = "" if place.parent == Path() else place.parent.as_posix()
    return {"filename": place.name, "subfolder": subfolder, "type": "output"}
