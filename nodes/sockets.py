"""Names in graphs: the pack's menu folders and socket types."""

from __future__ import annotations

from typing import Any

CATEGORY = "Depth & Normals"
ESTIMATE, CONVERT, RENDER = f"{CATEGORY}/Estimate", f"{CATEGORY}/Convert", f"{CATEGORY}/Render"
EFFECTS, TEXTURES, FILES = f"{CATEGORY}/Effects", f"{CATEGORY}/Textures", f"{CATEGORY}/Files"
BY_MODEL = f"{ESTIMATE}/By model"
"""The pack's folders in the menu; in the last are the nodes of one model family each."""

GEOMETRY = "DEPTH_NORMAL_GEOMETRY"
"""Raw depth and/or normals: an `Estimate`. Other packs have a GEOMETRY of their own. `web/colours.js` knows it by this name."""

DEPTH_NORMAL_MODEL = "DEPTH_NORMAL_MODEL"
"""A loaded `Model`."""

VIDEO = "VIDEO"
"""Core ComfyUI's video: a file, or images and sound."""

MOGE_GEOMETRY, DA3_GEOMETRY = "MOGE_GEOMETRY", "DA3_GEOMETRY"
"""The dictionaries of core ComfyUI's own nodes."""

MESH, SPLAT, FILE_3D_GLB, FILE_3D_PLY, LOAD3D_CAMERA = "MESH", "SPLAT", "FILE_3D_GLB", "FILE_3D_PLY", "LOAD3D_CAMERA"
"""What core ComfyUI's 3D nodes take: a mesh or splats in memory, 3D files, and the camera of its viewers."""

Widget = tuple[Any, dict[str, Any]]
"""One input: its socket type or its choices, and its options."""

Inputs = dict[str, dict[str, Any]]
"""What `INPUT_TYPES` returns: widgets by name, required and optional ones apart."""
