"""What the user chose in ComfyUI's settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...geometry.files.json_file import read_json
from .folders import folder_paths


def user_setting(name: str) -> Any:
    """What ComfyUI's settings have under a name; None where nothing was chosen, outside ComfyUI, and in versions without a user folder."""
    module: Any = folder_paths()
    try:
        path = Path(module.get_user_directory(), "default", "comfy.settings.json")
        settings = read_json(path)
    except (AttributeError, OSError, ValueError):
        return None
    return settings.get(name) if isinstance(settings, dict) else None
