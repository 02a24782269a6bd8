"""The options of nodes in other packs' graphs: their widgets, ranges and choices must not change."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from .estimate import MAX_FOV, MAX_SIDE, precision
from .fields import Options, choice, number, whole
from .map_images import CLIP_NORMALISATIONS, CODING, CODINGS, NORMAL_1_0, NORMALBAE

MIN_RESOLUTION, DEFAULT_RESOLUTION = 64, 512
MAX_NETWORK_SIZE = 4096
MAX_A = math.pi * 5
ENVIRONMENTS = ("indoor", "outdoor")
DISABLED, ENABLED = BOOSTS = ("disable", "enable")
AUTHORS, OLD_NODE = INPUTS = ("authors", "old node")
CORRECT, AS_OLD = CAMERAS = ("correct", "as the old node")
DEFAULT_FOV, OLD_MAX_FOV = 60.0, 365.0
DEFAULT_ITERATIONS, MAX_ITERATIONS = 5, 20
DEFAULT_FOCAL, MAX_FOCAL = 1000, 16384
FP16, FP32 = PRECISIONS = ("fp16", "fp32")
MIN_INPUT, INPUT_SIZE, MAX_RES = 14, 518, 1280
INFERNO, GREY = COLOURS = ("inferno", "gray")

_LESS = "A smaller number takes less time and memory."
_KEPT = "It is kept so that old graphs open unchanged."
_LETTERBOX = (
    "Height in pixels of the network's input, a letterbox of 616 x 1064 pixels that images are fitted into. 0: its authors' size, whatever "
    "the resolution."
)


def short_side(help_text: str = "Short side of the result in pixels; the aspect ratio is kept.") -> Any:
    """A field for the short side of the result."""
    return whole(DEFAULT_RESOLUTION, (MIN_RESOLUTION, MAX_SIDE), help_text, step=64)


def _network_size(help_text: str, step: int | None = None, on_page: str = "") -> Any:
    return whole(0, (0, MAX_NETWORK_SIZE), help_text, step=step, on_page=on_page, advanced=True)


def _authors_size(on_page: str) -> Any:
    text = "Size of the network's input in pixels. 0: the size its authors use, whatever the resolution."
    return _network_size(text, 2, on_page)


def _normalisation(on_page: str = "") -> Any:
    return choice(
        CLIP_NORMALISATIONS,
        "Which depths become black and white. per_image: the farthest and nearest point of each image, as in the old node. For videos "
        "without flicker: per_clip: one range for the whole batch; running: a range that follows the video and starts anew at a cut.",
        on_page=on_page,
    )


def _coding(default: str) -> Any:
    return choice(CODINGS, f"{CODING} The old node's: {default}.", default, label="normal coding")


def _environment(help_text: str) -> Any:
    return choice(ENVIRONMENTS, help_text, before="resolution")


def _flatness(help_text: str, advanced: bool = False) -> Any:
    return number(math.tau, (0, MAX_A), help_text, step=0.05, label="flatness (a)", advanced=advanced)


def _background(help_text: str, advanced: bool = False) -> Any:
    return number(0.1, (0, 1), help_text, step=0.05, label="background threshold", advanced=advanced)


def _focal() -> Any:
    return whole(DEFAULT_FOCAL, (1, MAX_FOCAL), f"Has no effect on the image, as in the old node. {_KEPT}", step=1, before="resolution")


@dataclass(frozen=True)
class DepthMapOptions(Options):
    """Depth Anything."""

    resolution: int = short_side()
    network_size: int = _authors_size("It is the short side; its authors' is 518.")
    precision: str = precision()
    normalisation: str = _normalisation()


@dataclass(frozen=True)
class ZoeOptions(DepthMapOptions):
    """ZoeDepth."""

    network_size: int = _authors_size(
        "It is the height of the letterbox (4:3; zoedepth-kitti: 2:1) that images are fitted into; its authors' is 384."
    )


@dataclass(frozen=True)
class ZoeDepthAnythingOptions(DepthMapOptions):
    """ZoeDepth's head on Depth Anything V1."""

    network_size: int = _authors_size("It is the height of the letterbox (4:3) that images are fitted into; its authors' is 392.")

    environment: str = _environment(
        "Scenes that the model was trained on. indoor: rooms, up to 10 m. outdoor: streets, up to 80 m. About 1.3 GB each, Apache-2.0."
    )


@dataclass(frozen=True)
class MetricMapOptions(DepthMapOptions):
    """Metric depth of Depth Anything V2."""

    environment: str = _environment("Scenes that the model was trained on. indoor: rooms, up to 20 m. outdoor: streets, up to 80 m.")
    max_depth: float = number(
        20.0,
        (0, 100),
        f"Has no effect: each depth map spans its nearest to its farthest point, as in the old node. {_KEPT}",
        step=0.01,
        before="resolution",
    )


@dataclass(frozen=True)
class LeresNodeOptions(Options):
    """LeReS, and LeReS++."""

    rm_nearest: float = number(
        0.0, (0, 100), "Removes the foreground: this percentage of the grey levels, at the near end, becomes white.", step=0.01
    )
    rm_background: float = number(
        0.0, (0, 100), "Removes the background: this percentage of the grey levels, at the far end, becomes black.", step=0.01
    )
    boost: str = choice(
        BOOSTS,
        "Whether to run LeReS++. enable: LeReS++, which runs the network on the image at several sizes and on patches. It is finer and "
        "many times slower. It needs a second file (318 MB), for academic use only. disable: LeReS, 531 MB, not for commercial use.",
    )
    resolution: int = short_side("Short side of the result in pixels. Boost and the old node's input also process the image at this size.")
    input: str = choice(
        INPUTS,
        "How the image is prepared for the network. authors: as in its training, RGB in [0, 1], stretched to 448 x 448. old node: as in "
        "the old ControlNet nodes, with reversed channels, values 255 times too large, and at the resolution; choose it to get the same "
        "images as before.",
        on_page="With boost, also their way of fitting the patches, which lost up to half of the contrast.",
    )
    network_size: int = _network_size(
        "Side of the network's input in pixels; with boost, the short side of the image that it works on. 0: set by the other widgets.",
        step=2,
    )
    precision: str = precision()
    normalisation: str = _normalisation()


_SLOPES_SIZE = (
    "Short side of the result in pixels; the aspect ratio is kept. The network runs at this size too: larger shows more detail and takes "
    "longer."
)
_NO_EFFECT = f"Has no effect on the depth map. {_KEPT}"


@dataclass(frozen=True)
class MidasNormalsOptions(Options):
    """Normals from slopes of MiDaS's disparity."""

    a: float = _flatness(
        "How flat the surface looks: larger values give flatter normals. It is the length of the axis towards the viewer, relative to the "
        "slopes of the depth."
    )
    bg_threshold: float = _background(
        "Where the background begins: pixels farther than this (0 = farthest, 1 = nearest) get a normal that faces the viewer."
    )
    resolution: int = short_side(_SLOPES_SIZE)
    precision: str = precision()
    coding: str = _coding(NORMAL_1_0)


@dataclass(frozen=True)
class MidasUnusedOptions(Options):
    """Ignored widgets of MiDaS's depth node."""

    a: float = _flatness(_NO_EFFECT, advanced=True)
    bg_threshold: float = _background(_NO_EFFECT, advanced=True)


@dataclass(frozen=True)
class MidasDepthOptions(Options):
    """Depth of MiDaS."""

    resolution: int = short_side(_SLOPES_SIZE)
    precision: str = precision()
    normalisation: str = _normalisation()


@dataclass(frozen=True)
class NormalsOptions(Options):
    """Models of normals."""

    resolution: int = short_side()
    network_size: int = _network_size(
        "Short side of the network's input in pixels. 0: the same as resolution, as in the old node. The network was trained at 480.",
        on_page=_LESS,
    )
    precision: str = precision()
    coding: str = _coding(NORMALBAE)


@dataclass(frozen=True)
class DsineNodeOptions(NormalsOptions):
    """DSINE."""

    network_size: int = _network_size(
        "Short side of the network's input in pixels. 0: the same as resolution, as in the old node. The network was trained at about 480.",
        on_page=_LESS,
    )
    fov: float = number(
        DEFAULT_FOV,
        (0, OLD_MAX_FOV),
        "Field of view of the image's longer side in degrees, at most 175. 0: unknown, 60 is assumed.",
        step=0.01,
        on_page="A phone's main camera has 65 to 70, 50 mm on full frame 40. The widget goes to 365 for old graphs; no camera has 180.",
        most=MAX_FOV,
        before="resolution",
    )
    iterations: int = whole(
        DEFAULT_ITERATIONS,
        (1, MAX_ITERATIONS),
        "Number of refinement passes, in which neighbouring pixels correct each other's normals. DSINE was trained with 5.",
        on_page="At most 20.",
        before="resolution",
    )
    camera: str = choice(
        CAMERAS,
        "Which camera is assumed for the image. correct: the one of fov. as the old node: with the old node's errors (focal length, image "
        "centre), for the same images as before.",
        advanced=True,
        before="network_size",
    )


@dataclass(frozen=True)
class Metric3dDepthOptions(DepthMapOptions):
    """Depth of Metric3D."""

    network_size: int = _network_size(_LETTERBOX, step=28)
    normalisation: str = _normalisation("The near end is always 0 m, as in the old node.")
    fx: int = _focal()
    fy: int = _focal()


@dataclass(frozen=True)
class Metric3dNormalsOptions(NormalsOptions):
    """Normals of Metric3D."""

    network_size: int = _network_size(_LETTERBOX, step=28)
    fx: int = _focal()
    fy: int = _focal()


@dataclass(frozen=True)
class ChosenNodeOptions(Options):
    """The node that runs another one."""

    resolution: int = short_side()


@dataclass(frozen=True)
class ProcessOptions(Options):
    """Video Depth Anything."""

    input_size: int = whole(
        INPUT_SIZE,
        (MIN_INPUT, MAX_SIDE),
        "Largest short side of the network's input in pixels; frames wider than 16:9 get a smaller one. 518: its authors' size.",
    )
    max_res: int = whole(
        MAX_RES,
        (-1, MAX_SIDE),
        "Longest side of the frames in pixels: larger frames are downscaled first, and the depth has that size. 0: no limit.",
        on_page="Depth & Normals (advanced) has no such limit: its depth has the frames' own size.",
    )
    precision: str = choice(
        PRECISIONS,
        "Number format that the network computes in. fp16: half precision if the device is fast in it, else float32. fp32: float32.",
    )


@dataclass(frozen=True)
class ShownVideoOptions(Options):
    """Video Depth Anything's depth as images."""

    colormap: str = choice(
        COLOURS, "Colours of the image. gray: for control models. inferno: from black over red to yellow.", GREY, flag=None
    )
