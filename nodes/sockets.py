"""Names in graphs: the pack's menu folders and socket types."""

from __future__ import annotations

from typing import Any

CATEGORY = "Depth & Normals"
ESTIMATE, CONVERT, RENDER = f"{CATEGORY}/Estimate", f"{CATEGORY}/Convert", f"{CATEGORY}/Render"
EFFECTS, TEXTURES, FILES = f"{CATEGORY}/Effects", f"{CATEGORY}/Textures", f"{CATEGORY}/Files"
BY_MODEL = f"{ESTIMATE}/By model"
"""The pack's menu folders; the last has the nodes for single model families."""

GEOMETRY = "DEPTH_NORMAL_GEOMETRY"
"""Raw depth and/or normals: an `Estimate`. Named apart from other packs' GEOMETRY; `web/colours.js` uses the name."""

DEPTH_NORMAL_MODEL = "DEPTH_NORMAL_MODEL"
"""A loaded `Model`."""

VIDEO = "VIDEO"
"""Core ComfyUI's video: a file, or images and audio."""

MOGE_GEOMETRY, DA3_GEOMETRY = "MOGE_GEOMETRY", "DA3_GEOMETRY"
"""The dictionaries of core ComfyUI's own nodes."""

MESH, SPLAT, FILE_3D_GLB, FILE_3D_PLY, LOAD3D_CAMERA = "MESH", "SPLAT", "FILE_3D_GLB", "FILE_3D_PLY", "LOAD3D_CAMERA"
"""The types of core ComfyUI's 3D nodes: mesh and splats in memory, 3D files, and the camera of its viewers."""

Widget = tuple[Any, dict[str, Any]]
"""An input: its socket type or choices, and its options."""

Inputs = dict[str, dict[str, Any]]
"""The result of `INPUT_TYPES`: widgets by name, in groups such as "required" and "optional"."""
