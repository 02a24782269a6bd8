"""Names of uploaded files: any name that a page sends becomes one that every system can store."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Collection
from pathlib import Path

from ...geometry.files.paths import is_windows_device
from ..batch.name_locks import folded
from ..video.task import segments_folder

# Control characters, bidirectional controls, and characters that Windows forbids.
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069<>:"|?*]')
_LONGEST_BYTES = 120
_NAMELESS = "image"


def clean_name(name: str) -> str:
    """A safe file name without folders, with its extension in lower case, of anything that a page sent; "image" if nothing is left."""
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
    """The file name that a page sent, for a command: without folders, else unchanged; empty if a terminal cannot show it.

    The extension keeps its case too, since most file systems are case-sensitive.
    """
    last = re.split(r"[/\\]", name)[-1]
    return last if last.strip(" .") and last.isprintable() else ""


def free_name(name: str, taken: Collection[str], folder: Path, endings: Collection[str]) -> str:
    """The name from `clean_name`, with a number after its stem if results with one of the `endings` exist.

    `taken` are stems that others will use, as `folded`.
    """
    path, number = Path(name), 1
    stem = path.stem
    while folded(stem) in taken or any(_is_taken(folder / f"{stem}{ending}") for ending in endings):
        number += 1
        stem = f"{path.stem}-{number}"
    return f"{stem}{path.suffix}"


def _is_taken(path: Path) -> bool:
    """Whether a result exists, or a video of this name is being made, by this server or another."""
    return os.path.lexists(path) or segments_folder({"": path}).exists()
