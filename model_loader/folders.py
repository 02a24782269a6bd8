"""ComfyUI's folders of the user's files."""

from __future__ import annotations

from pathlib import Path

from .find import folder_paths

USER_FOLDERS = ("input", "output", "temp")


def user_folder(kind: str) -> Path:
    """ComfyUI's folder of this kind, as it is configured now.

    Args:
        kind: One of `USER_FOLDERS`.

    Raises:
        ValueError: Another kind.
        RuntimeError: ComfyUI is not running here.
    """
    if kind not in USER_FOLDERS:
        raise ValueError(f"unknown folder {kind!r}; accepted: {', '.join(USER_FOLDERS)}")
    if (module := folder_paths()) is None:
        raise RuntimeError("this node reads and writes ComfyUI's own folders, and ComfyUI is not running; use depth_normal.geometry.files")
    return Path(getattr(module, f"get_{kind}_directory")())
