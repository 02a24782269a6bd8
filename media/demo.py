"""The images and the video that come with the pack, so that a graph runs before the user chooses a file."""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).parent / "demo_files"

DEMO_IMAGES = {name: _FOLDER / name for name in ("breakfast.jpg", "wall.jpg", "panorama.jpg")}
"""Images by name: a rendered room for depth and normals, a wall for textures, and a panorama of the room."""

DEMO_VIDEOS = {name: _FOLDER / name for name in ("breakfast.mp4",)}
"""Videos by name: two seconds of the same room with a moving camera and a moving orange."""
