"""Resolves sources to videos: files, numbered images, folders, patterns and lists."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from pathlib import Path

from ...media.sequences import images_of_folder, is_sequence
from ..batch.sources import VIDEO_FILES, Search, Source


def names_one(named: Sequence[str], recursive: bool, to_a_file: bool) -> bool:
    """Whether the sources are one video: a file, numbered images, or a folder whose images are its frames.

    `to_a_file`: the result is one file; then a folder's images count as frames even beside videos.
    """
    if len(named) != 1:
        return False
    (name,) = named
    if Path(name).is_dir():
        return not recursive and _holds_frames(Path(name), to_a_file)
    if name == "-" or not name:
        return False
    return os.path.lexists(name) or is_sequence(Path(name)) or (not name.startswith("@") and glob.escape(name) == name)


def find_videos(named: Sequence[str], recursive: bool, out: Path) -> tuple[list[Source], list[str]]:
    """Resolves sources to videos, as `batch.sources.find_images` does for images.

    A folder is resolved to its videos, or, if it holds only images, to one video of these frames. A pattern with a number
    (`frame_%05d.png`) is one video, too. `recursive`: subfolders are searched, for videos only. `out` is skipped.
    """
    search = Search(recursive, out, VIDEO_FILES)
    frames: set[Path] = set()
    for name in named:
        path = Path(name)
        videos, images = _counts(path) if path.is_dir() and not recursive else (0, 0)
        if videos and images:
            search.problems.append(
                f"{path}: {videos} videos and {images} images are in it; name the videos ({path / '*.mp4'}), "
                f"or the images as frames ({path / 'frame_%05d.png'})"
            )
        elif not images and (not name or path.exists() or not is_sequence(path)):
            search.add(name)
        elif (resolved := path.resolve()) not in frames:
            frames.add(resolved)
            search.found.append(Source(path, Path(resolved.name)))
    return search.found, search.problems


def _holds_frames(folder: Path, to_a_file: bool) -> bool:
    videos, images = _counts(folder)
    return images > 0 and (to_a_file or not videos)


def _counts(folder: Path) -> tuple[int, int]:
    """The numbers of videos and images in a folder; 0 if it is unreadable."""
    try:
        return sum(VIDEO_FILES.has(each.name) and each.is_file() for each in folder.iterdir()), len(images_of_folder(folder))
    except OSError:
        return 0, 0
