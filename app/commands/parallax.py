"""`depth-normal parallax`: a small camera move through an image, as a video, or through a video while it plays."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from ...annotators.choices import RECOMMENDED_VIDEO_MODEL
from ...options.checks import check_range
from ...options.fields import options_of
from ...options.runs import MediaOptions
from ...options.video import CONTAINERS
from ...options.views import RATE, SECONDS, LoopedOptions, LoopOptions, MoveOptions
from ..batch.sources import IMAGE_AND_VIDEO_FILES, VIDEOS, Source, find_images
from ..console.parser import Parser
from .arguments import chosen_model, chosen_move
from .for_each_image import COMMON, Found, Work, is_file_name, over_images
from .option_table import add_options, chosen_options, common_options, refuse_options
from .result_paths import add_result, result_path, say_result, settle_result
from .scene import add_scene, check_model, made_of, named_files, read_scene
from .video import run_video, video_arguments

if TYPE_CHECKING:
    from torch import Tensor

    from ...geometry.estimate import Estimate
    from .scene import Scene

MAX_FRAMES, MAX_RATE, MIN_SIDE = 10_000, 240, 16

_OF_IMAGES = ("--geometry", "--normal-map", "--coding", "--tiles", "--refine", "--longer-side", "--keep-extension")


def add_parallax(parser: Parser) -> None:
    """Adds the options of `parallax`."""
    add_scene(parser, True, "an image or a video", MediaOptions)
    add_result(parser, "_parallax.mp4", CONTAINERS)
    group = parser.add_argument_group("the move")
    add_options(group, MoveOptions)
    add_options(group, LoopedOptions)
    parser.common = COMMON | common_options(MoveOptions) | common_options(LoopedOptions)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    """Runs images one by one; videos as `video --what parallax`."""
    named: Sequence[str] = arguments.images
    if len(named) == 1 and is_file_name(named[0]):
        path = Path(named[0])
        return _run_videos(arguments, path) if _is_video(path) else _run_images(arguments)
    sources = find_images(named, arguments.recursive, arguments.place.path, IMAGE_AND_VIDEO_FILES)
    videos = [source for source in sources[0] if _is_video(source.path)]
    if not videos:
        return _run_images(arguments, sources)
    if len(videos) < len(sources[0]):
        raise ValueError(_mixture(sources[0], videos))
    return _run_videos(arguments, videos[0].path, sources)


def _is_video(path: Path) -> bool:
    """Whether a name is that of a video or of numbered images."""
    from ...media.sequences import is_sequence

    return path.suffix.lower() in VIDEOS or (is_sequence(path) and not path.exists())


def _mixture(sources: Sequence[Source], videos: Sequence[Source]) -> str:
    image = next(source.path for source in sources if not _is_video(source.path))
    first = videos[0].path
    such = " and ".join(str(path.with_name(f"*{path.suffix}")) for path in (image, first))
    counts = (len(sources) - len(videos), "image", image), (len(videos), "video", first)
    kinds = " and ".join(f"{count} {kind}{'s' * (count > 1)} ({path}{', ...' * (count > 1)})" for count, kind, path in counts)
    return f"{kinds} are named; name images or videos, each in a run of its own, such as {such}"


def _run_videos(arguments: argparse.Namespace, first: Path, found: Found | None = None) -> int:
    """Makes videos by the code of `video --what parallax`; `first` is the first of them."""
    refuse_options(arguments, _OF_IMAGES, f"is for images, and {first} is a video; leave it out")
    chosen_options(arguments, MoveOptions)
    _check_rate(arguments)
    check_model(argparse.Namespace(**{**vars(arguments), "default_model": RECOMMENDED_VIDEO_MODEL}), depth=True)
    changed: dict[str, object] = {"videos": arguments.images, "what": ["parallax"]}
    if arguments.seconds is not None:
        option = options_of(LoopOptions)["loop"]
        option.checked("seconds", arguments.seconds)
        changed["loop"] = arguments.seconds
    if arguments.rate is not None:
        changed["fps"] = _fraction(arguments.rate)
    return run_video(video_arguments(arguments, **changed, kinds=()), found)


def _check_rate(arguments: argparse.Namespace) -> None:
    check_range("rate", _rate(arguments), 1, MAX_RATE)


def _checked(arguments: argparse.Namespace) -> tuple[MoveOptions, int]:
    from ...media.write import check_codec

    chosen_options(arguments, MoveOptions)
    _check_rate(arguments)
    if arguments.longer_side and arguments.longer_side < MIN_SIDE:
        raise ValueError(f"--longer-side is {arguments.longer_side}; accepted: 0, and {MIN_SIDE} and more")
    seconds, rate = SECONDS if arguments.seconds is None else arguments.seconds, _rate(arguments)
    frames = seconds * rate  # may be infinite
    if not 0.5 < frames < MAX_FRAMES + 0.5:
        raise ValueError(f"--seconds {seconds:g} at --rate {rate:g} are {frames:.0f} frames; accepted: 1 to {MAX_FRAMES}")
    check_model(arguments, depth=True)
    check_codec(Path("parallax.mp4"), "h264")
    return chosen_move(arguments, MoveOptions, None if named_files(arguments) else chosen_model(arguments)), round(frames)


def _parallax(arguments: argparse.Namespace, planned: tuple[MoveOptions, int], image: Tensor | None = None) -> None:
    settle_result(arguments)
    move, frames = planned
    scene = read_scene(arguments, image)
    rate = _fraction(_rate(arguments))

    def write(scene: Scene) -> None:
        with result_path(arguments) as file:
            for _ in write_parallax(file, scene.image, scene.known, move, frames, rate, arguments.longer_side):
                pass

    made_of(scene, write, "the move")
    say_result(arguments, f"{frames} frames")


_run_images = over_images(Work(_parallax, _checked))


def _rate(arguments: argparse.Namespace) -> float:
    return RATE if arguments.rate is None else arguments.rate


def _fraction(rate: float) -> Fraction:
    return Fraction(rate).limit_denominator(1001)


def write_parallax(
    file: Path, image: Tensor, known: Estimate, move: MoveOptions, frames: int, rate: Fraction, longer_side: int
) -> Iterator[int]:
    """Writes a camera move through an image (1, 3, H, W) in [0, 1] as a video; yields the number of frames written, from 1.

    Args:
        known: An estimate with depth.
        rate: Frames per second.
        longer_side: Upper bound of the video's longer side in pixels; 0 = the image's size.
    """
    from ...geometry.files.packed_maps import preview_size
    from ...geometry.views.parallax import camera_path, parallax_of_estimate
    from ...media.write import VideoWriter
    from ...utils import resize_map

    height, width = image.shape[-2:]
    if 0 < longer_side < max(height, width):
        image = resize_map(image, *preview_size(height, width, longer_side)).clamp(0, 1)
    path = camera_path(move.move, frames, move.amount)
    views = parallax_of_estimate(image, known, path, move.focus, move.border)
    with VideoWriter(file, "h264", rate, 1 / rate) as video:
        for number, view in enumerate(views):
            video.write(view[0], number / rate, 1 / rate)
            yield number + 1
