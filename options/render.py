"""The options of rendering depth and normals as images, and of reading images and depth as geometry."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from .estimate import AUTO, MAX_FOV, known_fov, near_far_ratio, normal_coding
from .fields import Options, choice, number, switch
from .map_images import CODINGS, COLOUR_MAPS, DIRECTX, IN_ALPHA, NEAR, NEAR_END, NORMALISATIONS, READ_CODING, READ_CODINGS, VALUES

GREY = "none"
BLACK, FACING = BACKGROUNDS = ("black", "facing the viewer")
PLANE_FIT, MIDAS, DMAP2NORM = METHODS = ("plane fit", "midas", "dmap2norm")
SHARP, SOFT, _ = EDGES = ("sharp", "soft", AUTO)
MAX_VALUE, MAX_METRES, MAX_FLATNESS, MAX_STRENGTH = 1e9, 1e6, 1000.0, 100.0

RANGES = (
    "Which depths become black and white. per_image: each image's own farthest and nearest point. per_clip: those of the whole batch. "
    "fixed: {fixed}. running: for a video without flicker, a range that follows it frame by frame."
)


def _end(default: float) -> float:
    return number(
        default,
        (-MAX_VALUE, MAX_VALUE),
        "One end of the range from black to white for normalisation fixed, in the geometry's own unit (metres for metric depth).",
        step=0.01,
    )


@dataclass(frozen=True)
class DepthImageOptions(Options):
    """A depth image."""

    near: str = choice(NEAR, NEAR_END)
    normalisation: str = choice(NORMALISATIONS, RANGES.format(fixed="range_low to range_high"))
    metric_as_disparity: bool = switch(
        True,
        "Whether depth in metres is shown as disparity. On: as 1 / depth, which gives near things more grey levels, as ControlNet's depth "
        "models expect. Off: equal steps of grey are equal distances.",
    )
    colour_map: str = choice(
        (GREY, *COLOUR_MAPS), "Colour map instead of grey; the last colour of the map replaces white.", flag="--colour-map"
    )
    range_low: float = _end(0.1)
    range_high: float = _end(10.0)
    percentile_low: float = number(
        0.0,
        (0, 100),
        "Percentile of the shown values (depth or disparity) at which the range begins: above 0 clips outliers.",
        advanced=True,
    )
    percentile_high: float = number(
        100.0,
        (0, 100),
        "Percentile of the shown values at which the range ends: below 100 clips outliers. ZoeDepth's display: depth, 2 and 85.",
        advanced=True,
    )


@dataclass(frozen=True)
class NormalMapOptions(Options):
    """A normal map."""

    coding: str = normal_coding()
    background: str = choice(BACKGROUNDS, "Colour of pixels without a normal: black, or the colour of a normal that faces the viewer.")


@dataclass(frozen=True)
class DepthMapOptions(Options):
    """How a depth map is read."""

    near: str = choice(NEAR, NEAR_END)
    values: str = choice(
        VALUES,
        "What the grey levels measure, in equal steps. disparity: 1 / depth (MiDaS, Depth Anything, ControlNet). depth: distance (most "
        "renderers, depth cameras). metres: the values themselves are metres, e.g. from an EXR.",
    )
    near_metres: float = number(
        0.0, (0, MAX_METRES), "Depth in metres at the near end of the grey levels; for disparity above 0.", step=0.01
    )
    far_metres: float = number(
        0.0,
        (0, MAX_METRES),
        "Depth in metres at the far end of the grey levels. 0: the range is unknown. 16-bit millimetres: depth, near black, 0 to 65.535.",
        step=0.01,
    )
    fov: float = number(0.0, (0, MAX_FOV), "Field of view of the longer side in degrees, kept as the geometry's camera. 0: unknown.")


@dataclass(frozen=True)
class DerivedNormalsOptions(Options):
    """Normals from depth."""

    method: str = choice(
        METHODS,
        "How normals are computed. plane fit: the true surface. midas: slopes of raw disparity, as for ControlNet 1.0. dmap2norm: slopes "
        "of depth, as in the Blender tutorial. The last two ignore the camera.",
    )
    edges: str = choice(
        (AUTO, SHARP, SOFT),
        "How sharp the depth's edges are, for plane fit. sharp: ground truth or measured depth. soft: depth whose edges are ramps, as "
        "most networks predict. auto: detected in the depth.",
    )
    fov: float = known_fov()
    near_far_ratio: float = near_far_ratio()
    a: float = number(
        math.tau,
        (0, MAX_FLATNESS),
        "How flat the surface looks, for midas: larger values give flatter normals.",
        step=0.05,
        label="flatness (a)",
        advanced=True,
    )
    bg_threshold: float = number(
        0.1,
        (0, 1),
        "Where the background begins, for midas: pixels farther than this (0 = farthest, 1 = nearest) get a normal that faces the viewer.",
        step=0.05,
        label="background threshold",
        advanced=True,
    )


def _strength(help_text: str) -> Any:
    text = f"{help_text}: 1 keeps them, 0 flattens, negative numbers turn bumps into dents."
    return number(1.0, (-MAX_STRENGTH, MAX_STRENGTH), text, step=0.05)


@dataclass(frozen=True)
class ReadCodingOptions(Options):
    """How a normal map that is read stores its vectors."""

    coding: str = choice(READ_CODINGS, READ_CODING, label="normal coding", metavar="CODING")


@dataclass(frozen=True)
class ConversionOptions(Options):
    """Normal maps in another convention."""

    source: str = choice(
        READ_CODINGS,
        f"Which direction red, green and blue of the input maps stand for: choose what made them. {IN_ALPHA}",
        label="source coding",
    )
    target: str = choice(
        CODINGS, "Which direction red, green and blue of the result stand for: choose what will read it.", DIRECTX, label="target coding"
    )
    strength: float = _strength("Factor of the slopes")
    detail_strength: float = _strength("Factor of the second map's slopes")


@dataclass(frozen=True)
class CameraOptions(Options):
    """Assumptions for geometry without a camera or scale that is converted to points."""

    fov: float = known_fov()
    near_far_ratio: float = near_far_ratio()
