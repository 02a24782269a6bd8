"""The options of camera moves through images and videos."""

from __future__ import annotations

from dataclasses import dataclass

from .fields import Options, choice, number, typed, whole

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
        0,
        0.4,
        "How far the camera moves; 1 is the distance to the near end of the scene. Begin at 0.03 with depth of tiny. Above 0.1 the "
        "invented background shows.",
        step=0.01,
        otherwise=f"{AMOUNT}; of tiny's depth {AMOUNT_OF_TINY}",
    )
    focus: float = number(0.5, 0, 1, "Depth that does not move when the camera goes sideways: 0 the farthest, 1 the nearest.", step=0.05)
    border: str = choice(
        BORDERS,
        "What the camera would see beside the image. crop: nothing, as all frames are enlarged, by 1.25 at most. mirror: the image, "
        "mirrored.",
    )


@dataclass(frozen=True)
class FramesOptions(MoveOptions):
    """A move through an image, by its number of frames."""

    frames: int = whole(24, 1, MAX_FRAMES, "Number of frames of one loop.", step=1, flag=None, before="amount")


@dataclass(frozen=True)
class LoopOptions(MoveOptions):
    """A move that repeats while a video plays."""

    loop: float = number(4.0, 0.1, 3600, "Seconds of one loop; it repeats while the video plays.", metavar="SECONDS")


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
