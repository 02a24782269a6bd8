"""ComfyUI's folders: those of models, those of the user's files, and the settings in the user's folder."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

USER_FOLDERS = ("input", "output", "temp")


def folder_paths() -> ModuleType | None:
    """ComfyUI's module of that name where ComfyUI runs; never imported from here, for any other program may have one."""
    module = sys.modules.get("folder_paths")
    return module if hasattr(module, "get_folder_paths") else None


def model_folders(name: str) -> Iterator[Path]:
    """The folders that ComfyUI has for a kind of models; packs also fill folders of `models` that nobody registers."""
    module = folder_paths()
    if module is None:
        return
    try:
        folders = [Path(folder) for folder in module.get_folder_paths(name)]
    except KeyError:
        folders = []
    yield from dict.fromkeys((*folders, Path(module.models_dir) / name))


def user_folder(kind: str) -> Path:
    """ComfyUI's folder of this kind, one of `USER_FOLDERS`, as it is configured now.

    Raises:
        ValueError: Another kind.
        RuntimeError: ComfyUI is not running here.
    """
    if kind not in USER_FOLDERS:
        raise ValueError(f"unknown folder {kind!r}; accepted: {', '.join(USER_FOLDERS)}")
    if (module := folder_paths()) is None:
        raise RuntimeError("this node reads and writes ComfyUI's own folders, and ComfyUI is not running; use depth_normal.geometry.files")
    return Path(getattr(module, f"get_{kind}_directory")())


def user_setting(name: str) -> Any:
    """A value of ComfyUI's settings; None where nothing was chosen, outside ComfyUI, and in versions without a user folder."""
    from ...geometry.files.json_file import read_json  # with torch, which lists of weights do without

    module: Any = folder_paths()
    try:
        path = Path(module.get_user_directory(), "default", "comfy.settings.json")
        settings = read_json(path)
    except (AttributeError, OSError, ValueError):
        return None
    return settings.get(name) if isinstance(settings, dict) else None
