"""Sockets, and widgets shared by several nodes, with their ranges and tooltips."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..options.map_images import CODING, CODINGS, OPENGL

CATEGORY = "Depth & Normals"
ESTIMATE, CONVERT, RENDER = f"{CATEGORY}/Estimate", f"{CATEGORY}/Convert", f"{CATEGORY}/Render"
EFFECTS, TEXTURES, FILES = f"{CATEGORY}/Effects", f"{CATEGORY}/Textures", f"{CATEGORY}/Files"
BY_MODEL = f"{ESTIMATE}/By model"
"""The pack's menu folders; the last has the nodes for single model families."""

GEOMETRY = "DEPTH_NORMAL_GEOMETRY"
"""Raw depth and/or normals: an `Estimate`. Named apart from other packs' GEOMETRY; `web/colours.mjs` uses the name."""

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

COLOUR = "depth_normal_colour"
"""Option that marks a text widget as a colour."""


def choice_widget(choices: Sequence[str], tooltip: str, default: str | None = None, *, advanced: bool = False) -> Widget:
    """Makes a list widget; `default` None = its first entry."""
    return list(choices), _options(default or choices[0], tooltip, advanced)


def as_advanced(widget: Widget) -> Widget:
    """Moves a widget to the folded part of the node."""
    kind, options = widget
    return kind, {**options, "advanced": True}


def number_widget(default: float, low: float, high: float, step: float, tooltip: str, *, advanced: bool = False) -> Widget:
    """Makes a number widget."""
    return "FLOAT", {**_options(default, tooltip, advanced), "min": low, "max": high, "step": step}


def count_widget(default: int, low: int, high: int, tooltip: str, *, step: int | None = None, advanced: bool = False) -> Widget:
    """Makes a whole-number widget."""
    steps = {} if step is None else {"step": step}
    return "INT", {**_options(default, tooltip, advanced), "min": low, "max": high, **steps}


def switch_widget(default: bool, tooltip: str, *, advanced: bool = False) -> Widget:
    """Makes an on/off widget."""
    return "BOOLEAN", _options(default, tooltip, advanced)


def text_widget(tooltip: str, default: str = "", *, advanced: bool = False) -> Widget:
    """Makes a one-line text widget."""
    return "STRING", _options(default, tooltip, advanced)


def colour_widget(tooltip: str, default: str, *, advanced: bool = False) -> Widget:
    """Makes a colour widget: `web/colours.mjs` adds a picker if the page supports it, else the colour is typed."""
    kind, options = text_widget(f"{tooltip} #fff, white and 255,255,255 are understood too.", default, advanced=advanced)
    return kind, {**options, COLOUR: True}


def labelled(label: str, widget: Widget) -> Widget:
    """Gives a widget an English label if its name, fixed by saved graphs, is unclear."""
    kind, options = widget
    return kind, {**options, "display_name": label}


def image_input(tooltip: str = "One image or a batch.") -> Widget:
    """Makes an input for images."""
    return "IMAGE", {"tooltip": tooltip}


def geometry_input(tooltip: str = "Depth as numbers, not as an image, e.g. from Depth & Normals.") -> Widget:
    """Makes an input for raw depth and normals."""
    return GEOMETRY, {"tooltip": tooltip}


def coding_widget(tooltip: str = CODING, codings: Sequence[str] = CODINGS) -> Widget:
    """Widget for the convention of a normal map that is written; with `READ_CODINGS` of one that is read."""
    return labelled("normal coding", choice_widget(codings, tooltip, OPENGL))


def _options(default: object, tooltip: str, advanced: bool) -> dict[str, object]:
    return {"default": default, "tooltip": tooltip, **({"advanced": True} if advanced else {})}
