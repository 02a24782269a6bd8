"""Loads the images and the video that come with the pack, or the user's own: templates run at once, and need no other loader."""

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
from ..media import read_frames
from ..media.demo import DEMO_IMAGES, DEMO_VIDEOS
from ..model_loader.comfy.host import user_folder
from ..model_loader.comfy.videos import video_of_file
from .listing import existing_file, file_state, split_name
from .saving import problem_of
from .sockets import FILES, VIDEO, Inputs

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif")
VIDEO_SUFFIXES = (".mp4", ".mov", ".m4v", ".webm", ".mkv", ".avi")
# ComfyUI's page shows files of its own folders only: the pack's lie there as copies, which the nodes themselves do not need.
_FOLDER = "depth_normal"


class DemoImage:
    """Loads an image of the pack, or one of the user's."""

    NODE_ID = "DepthNormal_DemoImage"
    DISPLAY_NAME = "Demo Image"
    DESCRIPTION = "Loads an image that comes with the pack, to try things at once, or an image of your own."
    CATEGORY, FUNCTION = FILES, "execute"
    RETURN_TYPES: ClassVar = ("IMAGE",)
    RETURN_NAMES: ClassVar = ("image",)
    OUTPUT_TOOLTIPS: ClassVar = ("The image, upright.",)
    SEARCH_ALIASES: ClassVar = ["demo image", "example image", "sample photo", "test image"]

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        """ComfyUI's description of the inputs."""
        tooltip = (
            "An image of the pack, or one of your own: upload it with the button below, drop it on the node, or choose a file of the "
            "input folder. breakfast: a rendered room for depth and normals. wall: a wall for textures. panorama: the room all around."
        )
        choices = _choices(DEMO_IMAGES, IMAGE_SUFFIXES)
        return {"required": {"image": (choices, {"default": choices[0], "tooltip": tooltip, "image_upload": True})}}

    @classmethod
    def VALIDATE_INPUTS(cls, image: str | None = None) -> bool | str:  # noqa: N802
        """Reports names outside the folders and missing files before anything runs; None: the name comes from another node."""
        return image is None or problem_of(lambda: _file(image, DEMO_IMAGES))

    @classmethod
    def IS_CHANGED(cls, image: str | None = None) -> str | float:  # noqa: N802
        """Returns the file's state, which changes with the file; NaN, which equals nothing, if the name comes from another node."""
        return math.nan if image is None else file_state(_file(image, DEMO_IMAGES))

    def execute(self, image: str) -> tuple[Tensor]:
        """Returns the image (1, H, W, 3) in [0, 1]."""
        return (torch.from_numpy(read_image(_file(image, DEMO_IMAGES)))[None],)


class DemoVideo:
    """Loads a video of the pack, or one of the user's."""

    NODE_ID = "DepthNormal_DemoVideo"
    DISPLAY_NAME = "Demo Video"
    DESCRIPTION = "Loads a short video that comes with the pack, to try things at once, or a video of your own."
    CATEGORY, FUNCTION = FILES, "execute"
    RETURN_TYPES: ClassVar = (VIDEO,)
    RETURN_NAMES: ClassVar = ("video",)
    OUTPUT_TOOLTIPS: ClassVar = ("The video. Get Video Components makes images of it.",)
    SEARCH_ALIASES: ClassVar = ["demo video", "example video", "sample clip", "test video"]

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        """ComfyUI's description of the inputs."""
        tooltip = (
            "The video of the pack, or one of your own: upload it with the button below, or choose a file of the input folder. "
            "breakfast: two seconds in a rendered room."
        )
        choices = _choices(DEMO_VIDEOS, VIDEO_SUFFIXES)
        return {"required": {"file": (choices, {"default": choices[0], "tooltip": tooltip, "video_upload": True})}}

    @classmethod
    def VALIDATE_INPUTS(cls, file: str | None = None) -> bool | str:  # noqa: N802
        """Reports names outside the folders and missing files before anything runs; None: the name comes from another node."""
        return file is None or problem_of(lambda: _file(file, DEMO_VIDEOS))

    @classmethod
    def IS_CHANGED(cls, file: str | None = None) -> str | float:  # noqa: N802
        """Returns the file's state, which changes with the file; NaN, which equals nothing, if the name comes from another node."""
        return math.nan if file is None else file_state(_file(file, DEMO_VIDEOS))

    def execute(self, file: str) -> tuple[Any]:
        """Returns the video."""
        path = _file(file, DEMO_VIDEOS)
        next(iter(read_frames(path)))  # says what is wrong with a file that is none, before the next node does
        return (video_of_file(path),)


def _choices(demos: Mapping[str, Path], suffixes: tuple[str, ...]) -> list[str]:
    """Lists the pack's files, then those of the input folder itself, as core's loaders do."""
    own: list[str] = []
    with suppress(RuntimeError, OSError):
        _show(demos)
        own = sorted(each.name for each in user_folder("input").iterdir() if each.suffix.lower() in suffixes and each.is_file())
    return [*(f"{_FOLDER}/{name} [temp]" for name in demos), *own]


def _show(demos: Mapping[str, Path]) -> None:
    """Copies the pack's files to where the page can show them. ComfyUI empties that folder when it starts and when it ends."""
    folder = user_folder("temp") / _FOLDER
    for name, path in demos.items():
        if not (folder / name).exists():
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, folder / name)


def _file(name: str, demos: Mapping[str, Path]) -> Path:
    """Resolves a name to a file of the pack, of the input folder, or of the folder that follows it in brackets.

    Raises:
        ValueError: The name leaves the folder.
        FileNotFoundError: No such file.
    """
    below, kind = split_name(name)
    if kind == "temp" and (demo := demos.get(below.removeprefix(f"{_FOLDER}/"))):
        return demo
    return existing_file(below, kind)


NODES = (DemoImage, DemoVideo)
