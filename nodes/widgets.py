"""Widgets shared by several nodes, with their ranges and tooltips."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..options.estimate import DTYPE_CHOICES, KNOWN_FOV, MAX_FOV, MAX_RATIO, MAX_SIDE, NEAR_FAR_RATIO, PRECISION, RUNTIME_CHOICES
from ..options.map_images import CLIP_NORMALISATIONS, CODING, CODINGS, NORMALISATIONS, OPENGL, PER_IMAGE
from ..options.render import RANGES
from .sockets import GEOMETRY, Widget

MIN_RESOLUTION, DEFAULT_RESOLUTION = 64, 512
MAX_NETWORK_SIZE = 4096

COLOUR = "depth_normal_colour"
"""Option that marks a text widget as a colour."""


def choice_widget(choices: Sequence[str], tooltip: str, default: str | None = None, *, advanced: bool = False) -> Widget:
    """Makes a list widget; `default` None = its first entry."""
    return list(choices), _options(default or choices[0], tooltip, advanced)


def as_advanced(widget: Widget) -> Widget:
    """Returns the widget for the folded part of the node."""
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
    """Makes a colour widget: `web/colours.js` adds a picker if the page supports it, else the colour is typed."""
    kind, options = text_widget(f"{tooltip} #fff, white and 255,255,255 are understood too.", default, advanced=advanced)
    return kind, {**options, COLOUR: True}


def labelled(label: str, widget: Widget) -> Widget:
    """Gives a widget an English label, where its name, which saved graphs hold, explains nothing."""
    kind, options = widget
    return kind, {**options, "display_name": label}


def image_input(tooltip: str = "One image or a batch.") -> Widget:
    """Makes an input for images."""
    return "IMAGE", {"tooltip": tooltip}


def geometry_input(tooltip: str = "Depth as numbers, not as an image, e.g. from Depth & Normals.") -> Widget:
    """Makes an input for raw depth and normals."""
    return GEOMETRY, {"tooltip": tooltip}


def short_side_widget(tooltip: str = "Short side of the result in pixels; the aspect ratio is kept.") -> Widget:
    """Widget for the short side of the result."""
    return count_widget(DEFAULT_RESOLUTION, MIN_RESOLUTION, MAX_SIDE, tooltip, step=64)


def network_side_widget(tooltip: str) -> Widget:
    """Widget for the size of the network's input, measured as its authors do; 0 = their default."""
    return count_widget(0, 0, MAX_SIDE, tooltip)


def network_size_widget(tooltip: str, step: int | None = None) -> Widget:
    """Widget for the same in the old nodes, after `resolution`; `tooltip` explains 0."""
    return count_widget(0, 0, MAX_NETWORK_SIZE, tooltip, step=step, advanced=True)


def precision_widget() -> Widget:
    """Widget for the dtype that the network computes in."""
    return choice_widget(DTYPE_CHOICES, PRECISION, advanced=True)


def runtime_widget() -> Widget:
    """Widget for the runtime of the network."""
    tooltip = (
        "Software that runs the network: PyTorch or an engine. auto: the fastest with the same maps that `depth-normal bench --keep` "
        "measured on this machine, else torch; fast: also with slightly other maps. compile: torch.compile, which takes a minute at "
        "first. onnx (ONNX Runtime) and openvino, if installed: an engine is built once and kept. If one fails, torch runs the network "
        "and the node says why."
    )
    return choice_widget(RUNTIME_CHOICES, tooltip, advanced=True)


def fov_widget(tooltip: str = KNOWN_FOV) -> Widget:
    """Widget for the camera's field of view, of a geometry that may contain its camera or of what `tooltip` says."""
    return number_widget(0.0, 0.0, MAX_FOV, 0.1, tooltip)


def near_far_ratio_widget() -> Widget:
    """Widget for the depth range of a scene without metric depth."""
    return number_widget(0.0, 0.0, MAX_RATIO, 0.1, NEAR_FAR_RATIO)


def normalisation_widget(fixed: str) -> Widget:
    """Widget for the range of a depth map; `fixed` describes the range of the choice of that name."""
    return choice_widget(NORMALISATIONS, RANGES.format(fixed=fixed))


def clip_normalisation_widget() -> Widget:
    """Widget for the range of the old nodes' depth maps."""
    tooltip = (
        "Which depths become black and white. per_image: the farthest and nearest point of each image, as in the old node. "
        "For videos without flicker: per_clip: one range for the whole batch; running: a range that follows the video "
        "and starts anew at a cut."
    )
    return choice_widget(CLIP_NORMALISATIONS, tooltip, PER_IMAGE)


def coding_widget(tooltip: str = CODING, default: str = OPENGL, *, label: str = "normal coding") -> Widget:
    """Widget for the convention of a normal map."""
    return labelled(label, choice_widget(CODINGS, tooltip, default))


def old_coding_widget(default: str) -> Widget:
    """Widget for the same in the old nodes; `default` is the old node's convention."""
    return coding_widget(f"{CODING} The old node's: {default}.", default)


def flatness_widget(tooltip: str, high: float, *, advanced: bool = False) -> Widget:
    """Widget for `a` of the MiDaS formula for normals."""
    return labelled("flatness (a)", number_widget(math.tau, 0.0, high, 0.05, tooltip, advanced=advanced))


def background_widget(tooltip: str, *, advanced: bool = False) -> Widget:
    """Widget for `bg_threshold` of the MiDaS formula for normals."""
    return labelled("background threshold", number_widget(0.1, 0.0, 1.0, 0.05, tooltip, advanced=advanced))


def _options(default: object, tooltip: str, advanced: bool) -> dict[str, object]:
    return {"default": default, "tooltip": tooltip, **({"advanced": True} if advanced else {})}
