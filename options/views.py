"""The options of stereo pairs and of camera moves; the layouts of screens, glasses and headsets."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from .checks import check_range
from .fields import Options, choice, number, several, switch, typed, whole

MOVES = ("orbit", "swing", "dolly")
BORDERS = ("crop", "mirror")
AMOUNT, AMOUNT_OF_TINY = 0.05, 0.03
"""Default amounts of a command's move; the second for depth that is or may be tiny's, whose silhouettes tear in longer moves."""

MAX_FRAMES = 480
SECONDS, RATE = 2.0, 24.0
"""Default seconds of an image's loop, and frames per second."""


@dataclass(frozen=True)
class MoveOptions(Options):
    """A camera move that loops."""

    move: str = choice(
        MOVES,
        "Movement of the camera. orbit: a circle. swing: left and right. dolly: forward and back. All end where they begin, so that they "
        "loop.",
    )
    amount: float = number(
        AMOUNT_OF_TINY,
        (0, 0.4),
        "How far the camera moves; 1 is the distance to the near end of the scene. Begin at 0.03 with depth of tiny. Above 0.1 the "
        "invented background shows.",
        step=0.01,
        otherwise=f"{AMOUNT}; of tiny's depth {AMOUNT_OF_TINY}",
    )
    focus: float = number(0.5, (0, 1), "Depth that does not move when the camera goes sideways: 0 the farthest, 1 the nearest.", step=0.05)
    border: str = choice(
        BORDERS,
        "What the camera would see beside the image. crop: nothing, as all frames are enlarged, by 1.25 at most. mirror: the image, "
        "mirrored.",
    )


@dataclass(frozen=True)
class FramesOptions(MoveOptions):
    """A move through an image, by its number of frames."""

    frames: int = whole(24, (1, MAX_FRAMES), "Number of frames of one loop.", step=1, flag=None, before="amount")


@dataclass(frozen=True)
class LoopOptions(MoveOptions):
    """A move that repeats while a video plays."""

    loop: float = number(4.0, (0.1, 3600), "Seconds of one loop; it repeats while the video plays.", metavar="SECONDS")


@dataclass(frozen=True)
class LoopedOptions(Options):
    """Duration and size of an image's loop; a video has its own rate and size."""

    seconds: float | None = typed(
        None,
        "real",
        "Seconds of one loop.",
        otherwise=f"{SECONDS:g}; of a video {LoopOptions.loop:g}, and it repeats while the video plays",
    )
    rate: float | None = typed(None, "real", "Frames a second.", metavar="FPS", otherwise=f"{RATE:g}; of a video its own")
    longer_side: int = typed(
        1920, "whole", "Of an image: pixels of the result's longer side, if the image is larger; 0: as large as the image.", metavar="PX"
    )


*_, ANAGLYPH = FLAT_LAYOUTS = ("full-sbs", "half-sbs", "full-tb", "half-tb", "cross-eyed", "anaglyph")
"""For screens. sbs: side by side, left eye left. tb: left eye on top. half: both together as large as the image. cross-eyed: left eye
right. anaglyph: for red-cyan glasses."""

AROUND_LAYOUTS = ("360-tb", "360-sbs")
"""Stereo panoramas."""

VR_LAYOUTS = ("vr180", *AROUND_LAYOUTS)
"""For headsets. vr180: half spheres of 180 x 180 degrees side by side, left eye left."""

LAYOUTS = (*FLAT_LAYOUTS, *VR_LAYOUTS)
"""All layouts."""

VIDEO_LAYOUTS = tuple(layout for layout in LAYOUTS if layout not in AROUND_LAYOUTS)
"""Layouts for videos, which are not panoramas."""

ORIGINALS = ("middle", "left", "right")
ANAGLYPHS = ("half", "colour", "grey")

EYE_DISTANCE = 63.0
"""The average human eye distance in millimetres."""

EYE_SIZES = (64, 8192)
"""Accepted numbers of rows of an eye's VR180 image."""

PER_IMAGE, PER_CLIP = RANGES = ("per_image", "per_clip")

_OF_SCREENS = ("divergence", "convergence", "original", "anaglyph")
_OF_HEADSETS = ("eye_distance", "eye_size")


@dataclass(frozen=True)
class StereoOptions(Options):
    """Strength of the depth effect (divergence as in nunif's iw3), the screen's distance in the scene, and the eyes of headsets."""

    divergence: float = number(
        2.0,
        (0, 20),
        "Strength of the 3D effect: how far near and far things shift between the two eyes' images, in percent of the width. 2 is "
        "comfortable, 5 strong.",
        unit="percent",
        metavar="PERCENT",
    )
    convergence: float = number(
        0.5,
        (0, 1),
        "Depth that lies on the screen: 0 the farthest (everything comes out of the screen), 1 the nearest (everything lies behind it).",
        step=0.05,
    )
    original: str = choice(
        ORIGINALS,
        "Which eye gets the image unchanged. middle: neither; both are rendered, and each has half as much to fill in.",
        rare=True,
    )
    eye_distance: float = number(
        EYE_DISTANCE,
        (0, 1000),
        "Of vr180 and 360: distance of the eyes in millimetres. 63: the true size where depth is in metres; more looks deeper and smaller.",
        step=1,
        metavar="MM",
        advanced=True,
    )
    eye_size: int = whole(
        0,
        (0, EYE_SIZES[1]),
        "Of vr180 and 360: rows of each eye's image, an even number from 64. 0: as fine as the image, for photos at most 4096.",
        on_command="Of videos 2048.",
        step=2,
        unit="px",
        metavar="PIXELS",
        advanced=True,
        rare=True,
    )
    anaglyph: str = choice(
        ANAGLYPHS,
        "Of the layout anaglyph: its colours. half: the left eye sees grey, which is calm; red looks brown. colour: the image's; red and "
        "blue things flicker. grey: none, the calmest.",
        advanced=True,
        rare=True,
    )

    def check(self) -> None:
        if self.eye_size:
            check_range("eye_size", self.eye_size, *EYE_SIZES)
        if self.eye_size % 2:
            raise ValueError(f"eye_size is {self.eye_size}; accepted: even numbers")

    def as_record(self) -> dict[str, float | str]:
        """The options for records; newer options are omitted at their default, which keeps older records valid."""
        new = {"eye_distance": EYE_DISTANCE, "eye_size": 0, "anaglyph": ANAGLYPHS[0]}
        return {name: value for name, value in vars(self).items() if name not in new or value != new[name]}


@dataclass(frozen=True)
class StereoImagesOptions(Options):
    """The command's additional options for images."""

    layout: tuple[str, ...] = several(
        LAYOUTS,
        f"One or more of {', '.join(LAYOUTS)}, with commas. sbs: side by side, tb: top and bottom, anaglyph: for red-cyan glasses, vr180: "
        "half spheres for headsets; may be given again.",
        metavar="LAYOUTS",
        otherwise=f"{LAYOUTS[0]}, of panoramas {AROUND_LAYOUTS[0]}",
    )
    holes: bool = switch(False, "Also write <image>..._holes.png: the mask of the pixels that were filled in.")


def unused_beside(outputs: Collection[str], why_none: str) -> Iterator[tuple[Sequence[str], str]]:
    """`Options.unused` of `StereoOptions` for the requested outputs; `why_none` explains that none of them is stereo."""
    layouts = {each for each in LAYOUTS if any(output.startswith(each) for output in outputs)}
    if not layouts:
        yield (*_OF_SCREENS, *_OF_HEADSETS), f"is for images for both eyes, and {why_none}"
    elif not layouts & {*FLAT_LAYOUTS}:
        why = f"is for screens, and {', '.join(sorted(layouts))} is for headsets, where {{eye_distance}} says how deep the scene is"
        yield _OF_SCREENS, why
    elif not layouts & {*VR_LAYOUTS}:
        yield _OF_HEADSETS, f"is for headsets, and {', '.join(sorted(layouts))} is not: add the layout vr180, or leave it out"
    if ANAGLYPH not in layouts:
        yield ("anaglyph",), "is for the layout anaglyph, and it is not asked for: add it, or leave the option out"


@dataclass(frozen=True)
class StereoNodeOptions(Options):
    """The node's additional options; commands, which make several layouts at once, have others."""

    layout: str = choice(
        LAYOUTS,
        "Arrangement of the two eyes' images. sbs: side by side. tb: top and bottom. full: each eye's image at full size; half: both "
        "squeezed into the image's size. cross-eyed: left and right swapped, to be viewed without glasses. anaglyph: for red-cyan glasses. "
        "For headsets, vr180: half spheres of a photo or a panorama side by side; 360: a panorama for both eyes.",
        flag=None,
    )
    normalisation: str = choice(
        RANGES,
        "Range from nearest to farthest. per_image: of each image. per_clip: of the whole batch, so that a video does not flicker.",
        flag=None,
    )
    fov: float = number(
        0.0,
        (0, 170),
        "Of vr180: field of view of a photo's longer side in degrees. 0: the geometry's own, or 55. A larger one shows the photo larger.",
        step=0.5,
        flag=None,
        advanced=True,
    )
