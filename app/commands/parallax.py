"""`depth-normal parallax`: a small camera move through an image, as a video."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from ..console.parser import Parser
from ..outcomes import DONE
from .arguments import real
from .camera_moves import MAX_AMOUNT, add_move
from .for_each_image import over_images
from .result_paths import add_result, result_path, say_result, settle_result
from .scene import add_scene, check_model, read_scene

if TYPE_CHECKING:
    from torch import Tensor

    from ...geometry.estimate import Estimate

VIDEOS = (".mp4", ".mov", ".mkv")
MAX_FRAMES, MAX_RATE, MIN_SIDE = 10_000, 240, 16

COMMON = (
    "--out",
    "--open",
    "--overwrite",
    "--move",
    "--amount",
    "--focus",
    "--seconds",
    "--rate",
    "--longer-side",
    "--model",
    "--recursive",
)
"""The options that `--help` shows."""


def add_parallax(parser: Parser) -> None:
    """Adds the options of `parallax`."""
    add_scene(parser, several=True)
    add_result(parser, "_parallax.mp4", VIDEOS)
    group = parser.add_argument_group("the move")
    add_move(group)
    group.add_argument("--seconds", type=real, default=2.0, metavar="X", help="of one loop (default: %(default)s)")
    group.add_argument("--rate", type=real, default=24.0, metavar="FPS", help="frames a second (default: %(default)s)")
    side = "pixels of the video's longer side, if the image is larger; 0: as large as the image (default: %(default)s)"
    group.add_argument("--longer-side", type=int, default=1920, metavar="PX", help=side)
    parser.common = frozenset(COMMON)
    parser.set_defaults(run=over_images(_parallax, _checked))


def _checked(arguments: argparse.Namespace) -> int:
    """The number of frames of a loop, once it is clear that the options, and the model where there is one, can make them."""
    from ...geometry.checks import check_range
    from ...media.write import check_codec

    check_range("amount", arguments.amount, 0, MAX_AMOUNT)
    check_range("focus", arguments.focus, 0, 1)
    check_range("rate", arguments.rate, 1, MAX_RATE)
    if arguments.longer_side and arguments.longer_side < MIN_SIDE:
        raise ValueError(f"--longer-side is {arguments.longer_side}; accepted: 0, and {MIN_SIDE} and more")
    frames = round(arguments.seconds * arguments.rate)
    if not 1 <= frames <= MAX_FRAMES:
        found = f"--seconds {arguments.seconds:g} at --rate {arguments.rate:g} are {frames} frames"
        raise ValueError(f"{found}; accepted: 1 to {MAX_FRAMES}")
    check_model(arguments, depth=True)
    check_codec(Path("parallax.mp4"), "h264")
    return frames


def _parallax(arguments: argparse.Namespace) -> int:
    from ...geometry.views.parallax import camera_path

    settle_result(arguments)
    path = camera_path(arguments.move, _checked(arguments), arguments.amount)
    scene = read_scene(arguments)
    rate = Fraction(arguments.rate).limit_denominator(1001)
    with result_path(arguments) as file:
        for _ in write_parallax(file, scene.image, scene.known, path, rate, arguments.focus, arguments.longer_side):
            pass
    say_result(arguments, f"{len(path)} frames")
    return DONE


def write_parallax(
    file: Path, image: Tensor, known: Estimate, path: Tensor, rate: Fraction, focus: float, longer_side: int
) -> Iterator[int]:
    """Writes a camera move as a video, frame by frame, while it is iterated.

    Args:
        file: The video.
        image: (1, 3, H, W) in [0, 1].
        known: With depth.
        path: (F, 3), as `geometry.views.parallax.camera_path` gives it.
        rate: Frames a second.
        focus: As `geometry.views.parallax.parallax_of_estimate`.
        longer_side: Of the video in pixels, if the image is larger; 0 = as large as the image.

    Yields:
        How many frames are written, from 1 on.
    """
    from ...geometry.views.parallax import parallax_of_estimate
    from ...media.write import VideoWriter

    views = parallax_of_estimate(_shrunk(image, longer_side), known, path, focus)
    with VideoWriter(file, "h264", rate, 1 / rate) as video:
        for number, view in enumerate(views):
            video.write(view[0], number / rate, 1 / rate)
            yield number + 1


def _shrunk(image: Tensor, longer_side: int) -> Tensor:
    """The image with at most so many pixels along its longer side; 0 = any number."""
    from ...utils import resize_map

    height, width = image.shape[-2:]
    if not 0 < longer_side < max(height, width):
        return image
    share = longer_side / max(height, width)
    return resize_map(image, max(1, round(height * share)), max(1, round(width * share)), "area").clamp(0, 1)
