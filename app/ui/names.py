"""Names of uploaded files: whatever a page sends becomes a plain name that every system can store."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Collection
from pathlib import Path

from ...geometry.files.paths import is_windows_device
from ..batch.name_locks import folded
from ..video.task import segments_folder

# Control characters, those that turn the direction of writing, and what Windows forbids.
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069<>:"|?*]')
_LONGEST_BYTES = 120
_NAMELESS = "image"


def clean_name(name: str) -> str:
    """A file's name without folders, and without what some system cannot store or would obey.

    Args:
        name: As a page sent it: it may hold folders, control characters, anything.

    Returns:
        The stem and the extension, the latter in lower case. A name of which nothing is left is called "image".
    """
    last = re.split(r"[/\\]", unicodedata.normalize("NFC", name))[-1]
    last = _FORBIDDEN.sub("_", last.encode(errors="replace").decode())
    stem, dot, extension = last.rpartition(".")
    if not dot:
        stem, extension = last, ""
    stem = stem.strip(" .").encode()[:_LONGEST_BYTES].decode(errors="ignore").strip(" .")
    if is_windows_device(stem):
        stem = f"_{stem}"
    extension = re.sub(r"[^a-z0-9]", "", extension.lower())[:8]
    return f"{stem or _NAMELESS}.{extension}" if extension else stem or _NAMELESS


def typed_name(name: str) -> str:
    """The name that a command is given: as the file has it, extension included, since most file systems tell case apart.

    Args:
        name: As a page sent it.

    Returns:
        The name without folders; nothing where it is not one that a terminal can show and take.
    """
    last = re.split(r"[/\\]", name)[-1]
    return last if last.strip(" .") and last.isprintable() else ""


def free_name(name: str, taken: Collection[str], folder: Path, endings: Collection[str]) -> str:
    """The name, with a number behind its stem where results of that name are there already.

    Args:
        name: Of `clean_name`.
        taken: Stems that others will use, as `folded` gives them.
        folder: Where the results go.
        endings: What the results' names have behind the stem.
    """
    path, number = Path(name), 1
    stem = path.stem
    while folded(stem) in taken or any(_is_taken(folder / f"{stem}{ending}") for ending in endings):
        number += 1
        stem = f"{path.stem}-{number}"
    return f"{stem}{path.suffix}"


def _is_taken(path: Path) -> bool:
    """Whether a result is there, or a video of this name is being made, by this server or another one."""
    return os.path.lexists(path) or segments_folder({"": path}).exists()
