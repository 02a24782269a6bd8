"""The options of a model's run on images, and of the maps made from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .checks import InvalidArgumentError, is_number
from .fields import Options, choice, number, switch, whole
from .map_images import CLIP_NORMALISATIONS, CODING, CODINGS
from .values import AUTO, MAX_RATIO, MOST_TILES

OFF = "off"
DTYPE_CHOICES = (AUTO, "float32", "float16", "bfloat16")
TORCH, COMPILE, ONNX, OPENVINO, AUTO_RUNTIME, FAST_RUNTIME = RUNTIME_CHOICES = ("torch", "compile", "onnx", "openvino", AUTO, "fast")
"""Runtimes of the network; torch is the fallback for all. The last two select a measured one (`runtimes/measured.py`)."""

MAX_SIDE, MAX_FOV = 16384, 175.0

TILES = (OFF, AUTO, "2", "3", "4", "6", "8", "12", "16")
"""The choices of nodes."""

REFINE_STEPS, MAX_REFINE_STEPS = 3, 8
SEPARATE, ONE_SCENE = VIEWS = ("separate", "one_scene")
MODEL_ONLY = "model only"
CONTROLNET, DISPARITY, NEAR_WHITE, FAR_WHITE = LOOKS = ("controlnet", "disparity", "depth, near white", "depth, far white")

_RESOLUTION = (
    "Size to which the image is scaled for the network, in pixels; the result has the image's own size. 0: the model's own size. It is "
    "measured as the model's authors do{help_page}. MoGe-2: 840 is its authors' resolution level 9 (3600 tokens, the default), 485 level "
    "0 (1200: faster, with less detail)."
)
_FOV = (
    "Field of view of the image's longer side in degrees, if the camera is known: a phone's main camera 65 to 70, 50 mm on full frame 40. "
    "Depth Anything 3 and Metric3D need it for correct metres; normals computed from depth need it too. 0: unknown."
)
KNOWN_FOV = "Field of view of the image's longer side in degrees. 0: the geometry's own camera, else 55."
NEAR_FAR_RATIO = (
    "How many times farther the far end of the scene is than the near end; above 1. Disparity and relative depth need it to become "
    "distances; metric depth does not. 0 (automatic): 3, or 10 if the model marks the sky, corrected by the model's normals. Relative "
    "depth needs a number; 10 suits landscapes with sky."
)
PRECISION = "Number format that the network computes in. auto: the fastest one that leaves the image the same; float32 if in doubt."
_FRAMES = "frames of one video"
_TILES = (
    "Sharper edges and more detail in large images: the network runs on the whole image and again on overlapping tiles, whose detail is "
    "added to the whole. off: on the whole image only. auto: tiles of about the network's own size, at most 4 along the longer side. A "
    "number: that many along it; the time grows with its square."
)
_REFINE = (
    "Aligns the edges of depth and normals to the image's edges when they are upscaled: no ramps between near and far, and thin things "
    "keep their own normals. Refine Geometry does the same for existing geometry."
)
_SHARP = (
    "Whether tiny makes depth follow the image's edges by a network of its own. Off: its plain map, with soft edges, from which effects "
    "select things and skies better. Other models have no such network, and the frames of one video are made without it: edges would "
    "flicker."
)


def check_tiles(tiles: int | str | None) -> int | str:
    """Normalises a number of tiles along the longer side: 0 for none, or "auto"; None, "off" and 1 become 0. ValueError for others."""
    if tiles == AUTO:
        return AUTO
    number_of = 0 if tiles in (None, OFF) else tiles
    if isinstance(number_of, str):
        number_of = int(number_of) if number_of.isdecimal() else -1
    if not (is_number(number_of) and number_of in range(MOST_TILES + 1)):
        raise InvalidArgumentError(
            "tiles", f"is {tiles!r}; accepted: {AUTO!r}, {OFF!r}, or how many along the longer side, up to {MOST_TILES}"
        )
    return 0 if number_of == 1 else int(number_of)


def network_side(help_text: str = _RESOLUTION, **more: Any) -> Any:
    """A field for the side of the network's input."""
    return whole(0, (0, MAX_SIDE), help_text, **more)


def precision() -> Any:
    """A field for the dtype that the network computes in."""
    return choice(DTYPE_CHOICES, PRECISION, advanced=True)


def depth_look() -> Any:
    """A field for the rendering of depth as grey levels."""
    return choice(
        LOOKS,
        "How depth becomes grey levels. controlnet: near = white, 1 / depth, as ControlNet's depth models and the MiDaS and Depth "
        "Anything preprocessors expect. disparity: the same with the whole range, no speck clipped. depth, near white and depth, far "
        "white: equal steps of grey are equal distances, for models that predict metres. The depth of other models is shown as it is, "
        "near or far white.",
        label="depth look",
    )


def normal_coding() -> Any:
    """A field for the convention of a normal map."""
    return choice(CODINGS, CODING, label="normal coding", metavar="CODING")


def near_far_ratio() -> Any:
    """A field for the near-far ratio of a scene without metric depth. Commands have an option of their own."""
    return number(0.0, (0, MAX_RATIO), NEAR_FAR_RATIO, flag=None)


def known_fov() -> Any:
    """A field for the camera of a geometry that may hold its own. Commands have an option of their own."""
    return number(0.0, (0, MAX_FOV), KNOWN_FOV, flag=None)


def _fov(advanced: bool = False) -> Any:
    return number(0.0, (0, MAX_FOV), _FOV, advanced=advanced)


def _tiles(advanced: bool = False) -> Any:
    return choice(TILES, _TILES, check_with=check_tiles, advanced=advanced)


def _refine(advanced: bool = False) -> Any:
    return switch(False, _REFINE, label="refine edges", advanced=advanced)


def _sharp(default: bool) -> Any:
    return switch(default, _SHARP, label="sharp edges", advanced=True)


class RunOptions(Options):
    """A model's run on a batch: separate images, one video, or views of one scene."""

    resolution: int
    fov: float
    film: bool
    tiles: str | int
    refine: bool
    sharp: bool
    smooth: float = 1.0
    views: str = SEPARATE

    def check(self) -> None:
        if check_tiles(self.tiles) and (self.film or self.views == ONE_SCENE):
            other = "film is on" if self.film else f"views is {self.views}"
            raise ValueError(f"tiles is {self.tiles} and {other}: tiles process each image by itself; choose one of the two")
        if self.film and self.views == ONE_SCENE:
            raise ValueError(f"film is on and views is {ONE_SCENE}: a batch is a video or views of one static scene; choose one")


@dataclass(frozen=True)
class EstimateOptions(RunOptions):
    """Estimation of raw depth and normals."""

    resolution: int = network_side()
    normals: str = choice(
        (AUTO, MODEL_ONLY),
        "Where the normals come from if the model does not predict them. auto: they are computed from its depth (not from relative "
        "depth), before the depth is upscaled, so that the network's pixel grid does not show. model only: nothing is added.",
    )
    fov: float = _fov()
    film: bool = switch(
        False,
        "Whether the images are the frames of one video. On: its depth is made temporally stable. Each frame is aligned to the scale and "
        "shift of those before, and a cut starts anew. Off: each image by itself.",
        label=_FRAMES,
    )
    smooth: float = number(
        1.0,
        (0, 1),
        "How strongly a video is smoothed over time where the image does not change; it has no effect on separate images. It is the "
        "weight of the mean over earlier frames. 0: frames are only scaled and shifted.",
        step=0.05,
        advanced=True,
    )
    views: str = choice(
        VIEWS,
        "Whether the images show one scene from several places. separate: each image by itself. one_scene: all show the same static "
        "scene; the result has one common scale and the cameras' positions. Only depth-anything-3-small, -base and -large can do that.",
    )
    tiles: str | int = _tiles()
    refine: bool = _refine()
    refine_steps: int = whole(
        REFINE_STEPS,
        (0, MAX_REFINE_STEPS),
        "How often MoGe-3 refines its depth. 3 is the authors' default, 1 does the most for the time, 0 gives what MoGe-2 would. Other "
        "models ignore it.",
        advanced=True,
    )
    sharp: bool = _sharp(False)


@dataclass(frozen=True)
class MapsOptions(RunOptions):
    """Estimation of a depth map and a normal map."""

    resolution: int = network_side()
    depth_look: str = depth_look()
    coding: str = normal_coding()
    film: bool = switch(
        False,
        "Whether the images are the frames of one video. On: depth, normals and grey levels are made temporally stable, and a cut starts "
        "anew. Off: each image by itself.",
        label=_FRAMES,
        advanced=True,
    )
    normalisation: str = choice(
        (AUTO, *CLIP_NORMALISATIONS),
        "What black and white stand for. auto: running for frames of one video, else per_image. per_image: the ends of each image's "
        "range. per_clip: the ends of the whole batch. running: for a video, a range that follows it frame by frame.",
        advanced=True,
    )
    fov: float = _fov(advanced=True)
    tiles: str | int = _tiles(advanced=True)
    refine: bool = _refine(advanced=True)
    precision: str = precision()
    sharp: bool = _sharp(True)


@dataclass(frozen=True)
class PanoramaOptions(Options):
    """Estimation of a depth map and a normal map of panoramas."""

    resolution: int = network_side(
        "Size to which each of the twelve views is scaled for the network, in pixels; of da2 the width of the panorama. 0: the model's "
        "own size. The result has the panorama's own size."
    )
    depth_look: str = depth_look()
    coding: str = normal_coding()
    any_aspect: bool = switch(
        False,
        "Takes images that are not twice as wide as high for the whole sphere as they are. Off: they are refused, as they are photos or "
        "show only a part of it.",
        label="any aspect ratio",
        advanced=True,
    )
    precision: str = precision()


@dataclass(frozen=True)
class LoadOptions(Options):
    """Loading of a model."""

    precision: str = precision()
    runtime: str = choice(
        RUNTIME_CHOICES,
        "Software that runs the network: PyTorch or an engine. auto: the fastest with the same maps that `depth-normal bench --keep` "
        "measured on this machine, else torch; fast: also with slightly other maps. compile: torch.compile, which takes a minute at "
        "first. onnx (ONNX Runtime) and openvino, if installed: an engine is built once and kept. If one fails, torch runs the network "
        "and the node says why.",
        on_page="Video Depth Anything always uses torch for videos. docs/runtimes.md has times.",
        advanced=True,
    )
