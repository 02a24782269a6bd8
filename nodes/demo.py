"""The demo images and video, and nodes that load them or the user's own, so that templates run at once without another loader."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..geometry.files import read_image
from ..geometry.files.paths import atomic_path
from ..media import read_frames
from ..model_loader.comfy.host import user_folder
from ..model_loader.comfy.videos import video_of_file
from ..options.outputs import IMAGES
from .listing import existing_file, file_state, split_name
from .option_widgets import Node
from .saving import problem_of
from .widgets import FILES, VIDEO, Inputs

_DEMO_FILES = Path(__file__).parents[1] / "media" / "demo_files"

DEMO_IMAGES = {name: _DEMO_FILES / name for name in ("breakfast.jpg", "wall.jpg", "panorama.jpg")}
"""Images by name: a rendered room for depth and normals, a wall for textures, and a panorama of the room."""

DEMO_VIDEOS = {name: _DEMO_FILES / name for name in ("breakfast.mp4",)}
"""Videos by name: two seconds of the same room with a moving camera and a moving orange."""


VIDEO_SUFFIXES = (".mp4", ".mov", ".m4v", ".webm", ".mkv", ".avi")
# The page can only show files in ComfyUI's folders: demo files are copied there, though the nodes read the originals.
_FOLDER = "depth_normal"


class DemoImage(Node):
    """Loads a demo image, or one of the user's."""

    NODE_ID = "DepthNormal_DemoImage"
    DISPLAY_NAME = "Demo Image"
    DESCRIPTION = "Loads an image that comes with the pack, to try things at once, or an image of your own."
    CATEGORY = FILES
    OUTPUTS: ClassVar = {"image": ("IMAGE", "The image, upright.")}
    SEARCH_ALIASES = "demo image, example image, sample photo, test image"

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        tooltip = (
            "An image of the pack, or one of your own: upload it with the button below, drop it on the node, or choose a file of the "
            "input folder. breakfast: a rendered room for depth and normals. wall: a wall for textures. panorama: the room all around."
        )
        choices = _choices(DEMO_IMAGES, IMAGES)
        return {"required": {"image": (choices, {"default": choices[0], "tooltip": tooltip, "image_upload": True})}}

    @classmethod
    def VALIDATE_INPUTS(cls, image: str | None = None) -> bool | str:  # noqa: N802
        """Reports names outside the folders and missing files before anything runs; None: the name is linked from another node."""
        return image is None or problem_of(lambda: _file(image, DEMO_IMAGES))

    @classmethod
    def IS_CHANGED(cls, image: str | None = None) -> str | float:  # noqa: N802
        """Returns a value that changes with the file; NaN, which never equals itself, if the name is linked from another node."""
        return math.nan if image is None else file_state(_file(image, DEMO_IMAGES))

    def execute(self, image: str) -> tuple[Tensor]:
        return (torch.from_numpy(read_image(_file(image, DEMO_IMAGES)))[None],)


class DemoVideo(Node):
    """Loads a demo video, or one of the user's."""

    NODE_ID = "DepthNormal_DemoVideo"
    DISPLAY_NAME = "Demo Video"
    DESCRIPTION = "Loads a short video that comes with the pack, to try things at once, or a video of your own."
    CATEGORY = FILES
    OUTPUTS: ClassVar = {"video": (VIDEO, "The video. Get Video Components makes images of it.")}
    SEARCH_ALIASES = "demo video, example video, sample clip, test video"

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        tooltip = (
            "The video of the pack, or one of your own: upload it with the button below, or choose a file of the input folder. "
            "breakfast: two seconds in a rendered room."
        )
        choices = _choices(DEMO_VIDEOS, VIDEO_SUFFIXES)
        return {"required": {"file": (choices, {"default": choices[0], "tooltip": tooltip, "video_upload": True})}}

    @classmethod
    def VALIDATE_INPUTS(cls, file: str | None = None) -> bool | str:  # noqa: N802
        """Reports names outside the folders and missing files before anything runs; None: the name is linked from another node."""
        return file is None or problem_of(lambda: _file(file, DEMO_VIDEOS))

    @classmethod
    def IS_CHANGED(cls, file: str | None = None) -> str | float:  # noqa: N802
        """Returns a value that changes with the file; NaN, which never equals itself, if the name is linked from another node."""
        return math.nan if file is None else file_state(_file(file, DEMO_VIDEOS))

    def execute(self, file: str) -> tuple[Any]:
        path = _file(file, DEMO_VIDEOS)
        next(iter(read_frames(path)))  # reports an invalid file here, not in the next node
        return (video_of_file(path),)


def _choices(demos: Mapping[str, Path], suffixes: tuple[str, ...]) -> list[str]:
    """Lists the demo files, then those directly in the input folder, as core's loaders do."""
    own: list[str] = []
    with suppress(RuntimeError, OSError):
        _show(demos)
    with suppress(RuntimeError, OSError):
        own = sorted(each.name for each in user_folder("input").iterdir() if each.suffix.lower() in suffixes and each.is_file())
    return [*(f"{_FOLDER}/{name} [temp]" for name in demos), *own]


def _show(demos: Mapping[str, Path]) -> None:
    """Copies the demo files to ComfyUI's temp folder for the page; ComfyUI empties it at start and exit."""
    folder = user_folder("temp") / _FOLDER
    for name, path in demos.items():
        if not (folder / name).exists():
            folder.mkdir(parents=True, exist_ok=True)
            with atomic_path(folder / name) as whole:
                shutil.copyfile(path, whole)


def _file(name: str, demos: Mapping[str, Path]) -> Path:
    """Resolves a name to a demo file, or a file of the input folder or of the folder in brackets after it."""
    below, kind = split_name(name)
    if kind == "temp" and (demo := demos.get(below.removeprefix(f"{_FOLDER}/"))):
        return demo
    return existing_file(below, kind)


NODES = (DemoImage, DemoVideo)
