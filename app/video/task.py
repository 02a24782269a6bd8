"""The settings of a video: its frames, its outputs, and their files."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from torch import Tensor

from ...geometry.camera import intrinsics_from_fov
from ...geometry.estimate import Estimate
from ...geometry.files import FORMATS
from ...geometry.views.stereo import stereo_suffix
from ...media import CODECS, Frame, VideoError, VideoHeader, VideoReadError, check_codec, read_frames, video_header
from ...media.presets import at_rate, cropped, cropped_window, fitted, fitted_size, fitted_window, in_groups, until
from ...media.sequences import find_images, frame_numbers, is_sequence, numbered, numbered_files, read_sequence, reads, sequence_header
from ...options.map_images import PER_CLIP, WHITE
from ...options.video import DEPTH, H264, H265, OUTPUTS, PARALLAX, PRESETS, SIDE_BY_SIDE, STEREO, ClipOptions, Preset, VideoOptions
from ...options.views import LoopOptions, StereoOptions
from ..batch.overwriting import check_places, nearest_folder
from ..batch.records import RECORDS, digest_of_marks
from .own_depth import OwnDepth

VIEWS = {STEREO, PARALLAX}
"""Outputs that show the frames from other viewpoints."""

RANGED = {DEPTH, SIDE_BY_SIDE, *VIEWS}
"""Outputs that need a depth range."""

SEQUENCES = {".png": "png", ".exr": "exr"}
SEGMENTS_FILE = "pieces.json"

# Has more digits than any file pattern.
_FAR = 10**30

# Width and height of an output or layout, in frames. VR180's size does not follow from the frame's.
_TIMES = {SIDE_BY_SIDE: (2, 1), "full-sbs": (2, 1), "cross-eyed": (2, 1), "full-tb": (1, 2)}


@dataclass(frozen=True)
class VideoTask:
    """The settings of a video; `options`, `stereo` and `move` are those of stable depth, `STEREO` and `PARALLAX`.

    Attributes:
        source: A video, numbered images, or a folder of images.
        targets: The video, or the pattern of numbered files, by output (`OUTPUTS`).
        codec: One of `CODECS`, or "png" or "exr" for numbered files.
        clip: The range of frames, the outputs and their format; `targets` and `codec` follow from it.
        size, fov: As `Model.estimate`.
        depth: The user's own depth of the source; None = a model's.
    """

    source: Path
    targets: dict[str, Path]
    codec: str
    clip: ClipOptions = field(default_factory=ClipOptions)
    options: VideoOptions = field(default_factory=VideoOptions)
    stereo: StereoOptions = field(default_factory=StereoOptions)
    move: LoopOptions = field(default_factory=LoopOptions)
    size: int | None = None
    fov: float = 0.0
    depth: OwnDepth | None = None

    @property
    def preset(self) -> Preset | None:
        """The format required by the model that will read the result; None = any."""
        return PRESETS[self.clip.preset] if self.clip.preset else None

    @property
    def sequence(self) -> bool:
        """Whether numbered files are written."""
        return self.codec not in CODECS

    @property
    def in_two_passes(self) -> bool:
        """Whether the depth range needs a first pass over the whole video. EXR files need no range."""
        return self.clip.normalise == PER_CLIP and self.codec != "exr" and bool(RANGED & set(self.targets))

    def no_frame(self, header: VideoHeader) -> VideoReadError:
        """The error for a video without a frame in the requested range."""
        lasts = f"; it lasts {float(header.seconds):.4g} s" if header.seconds else ""
        where = f"from {float(self.clip.start):g} s on{lasts}" if self.clip.start else "in it"
        return VideoReadError(f"{self.source}: there is not one frame {where}")

    @property
    def new_rate(self) -> Fraction | None:
        """The frame rate to resample to; None = the source's frames."""
        if self.preset is not None and self.clip.fps is None:
            return Fraction(self.preset.rate)
        return None if is_sequence(self.source) and self.preset is None else self.clip.fps

    def header(self) -> VideoHeader:
        """The source's header."""
        return sequence_header(self.source, self.clip.fps) if is_sequence(self.source) else video_header(self.source)

    def checked_header(self) -> VideoHeader:
        """The source's header; ValueError or VideoError if its frames cannot be encoded or the user's own depth does not match."""
        header = self.header()
        self._check_size(header)
        if self.depth is not None:
            self.depth.check(header, self.source, self.needed(header))
        return header

    def _check_size(self, header: VideoHeader) -> None:
        """Rejects frames of a size that the codec does not support."""
        size = header.width, header.height
        if self.clip.width is not None or self.clip.height is not None:
            size = fitted_size(size, self.clip.width, self.clip.height)
        if not self.sequence:
            for output, target in self.targets.items():
                beside, below = _TIMES.get(self.clip.layout if output == STEREO else output, (1, 1))
                check_codec(target, self.codec, (size[0] * beside, size[1] * below))

    def read(self) -> Iterator[Frame]:
        """The requested frames; each is converted only when its image is requested."""
        # The user's own depth is matched by frame index, so that counting starts at the first frame.
        start = self.clip.start if self.depth is None else Fraction(0)
        if is_sequence(self.source):
            frames = read_sequence(self.source, self.clip.fps, start)
        else:
            frames = read_frames(self.source, start=start, strict=self.clip.strict)
        if self.depth is not None:
            frames = (frame for frame in self.depth.beside(frames) if frame.time >= self.clip.start)
        if (end := self.clip.end) is not None:
            frames = until(frames, end)
        if self.new_rate is not None:
            frames = at_rate(frames, self.new_rate)
        if self.clip.frames is not None:
            frames = islice(frames, self.clip.frames)
        return frames if self.preset is None else in_groups(frames, self.preset.group)

    @property
    def change(self) -> Callable[[Tensor], Tensor] | None:
        """The transform to apply to every image first; None = none."""
        if self.clip.width is not None or self.clip.height is not None:
            return partial(fitted, width=self.clip.width, height=self.clip.height, side=2 if self.preset is None else self.preset.side)
        return None if self.preset is None else partial(cropped, side=self.preset.side)

    def image(self, frame: Frame) -> Tensor:
        """A frame's transformed image (3, H, W) in [0, 1]."""
        return frame.image() if self.change is None else self.change(frame.image())

    def with_own_depth(self, frame: Frame) -> tuple[Tensor, Estimate]:
        """A frame's image, as `image`, and the user's depth, at its own size or like the frame. VideoReadError: the depth is unreadable."""
        assert frame.known is not None
        image = frame.image()
        height, width = image.shape[-2:]
        estimate = frame.known(height, width)
        if self.clip.width is not None or self.clip.height is not None:
            side = 2 if self.preset is None else self.preset.side
            larger, window = fitted_window((width, height), self.clip.width, self.clip.height, side)
            estimate = estimate.resized(*larger).cut(window)
        elif self.preset is not None:
            estimate = estimate.resized(height, width).cut(cropped_window(height, width, self.preset.side))
        if self.fov:
            estimate = replace(estimate, intrinsics=intrinsics_from_fov(self.fov, estimate.height, estimate.width))
        return image if self.change is None else self.change(image), estimate

    def expected(self, header: VideoHeader) -> int | None:
        """The number of frames according to the header; None = unknown."""
        seconds = header.seconds if header.frames is None else header.frames / header.rate
        if self.clip.end is not None:
            seconds = self.clip.end if seconds is None else min(seconds, self.clip.end)
        if seconds is None:
            return self.clip.frames
        total = max(0, round((seconds - self.clip.start) * (self.new_rate or header.rate)))
        total = total if self.clip.frames is None else min(total, self.clip.frames)
        return total if self.preset is None or not total else (total - 1) // self.preset.group * self.preset.group + 1

    def needed(self, header: VideoHeader) -> int | None:
        """How many frames `read` needs from the source, counted from its first; None = all."""
        if (self.clip.end is None and self.clip.frames is None) or header.frames is None:
            return None
        made = replace(self, clip=replace(self.clip, preset=None)).expected(header) or 0
        return min(header.frames, round(self.clip.start * header.rate) + math.ceil(made * header.rate / (self.new_rate or header.rate)))

    def settings(self) -> dict[str, Any]:
        """The settings that determine the resulting frames, JSON-serialisable."""
        sizes = {name: length for name, length in (("width", self.clip.width), ("height", self.clip.height)) if length is not None}
        stereo = {"layout": self.clip.layout, **self.stereo.as_record()}
        del stereo["original"]
        numbers = frame_numbers(self.source) if is_sequence(self.source) and self.new_rate is None else None
        first = 1 if self.sequence or numbers is None else numbers[0]
        as_counted = numbers is None or numbers == list(range(first, first + len(numbers)))
        return {
            "source": str(self.source.resolve()),
            "source_files": digest_of_marks(find_images(self.source) if is_sequence(self.source) else [self.source.resolve()]),
            "what": sorted(self.targets),
            "codec": self.codec,
            "quality": None if self.sequence or self.clip.quality == CODECS[self.codec].quality else self.clip.quality,
            "rate": self.clip.fps and str(self.clip.fps),
            "start": str(self.clip.start),
            **({} if self.clip.end is None else {"end": str(self.clip.end)}),
            **({} if as_counted else {"numbers": "kept"}),
            "frames": self.clip.frames,
            "preset": self.preset and self.preset.name,
            **sizes,
            "normalise": self.clip.normalise,
            **({} if self.clip.near == WHITE else {"near": self.clip.near}),
            **asdict(self.options),
            **(stereo if STEREO in self.targets else {}),
            **(asdict(self.move) if PARALLAX in self.targets else {}),
            "size": self.size,
            "fov": self.fov,
            "segment": self.clip.segment,
            **({"strict": True} if self.clip.strict else {}),
            **({} if self.depth is None else self.depth.settings()),
        }


def video_task(
    source: Path,
    place: Callable[[str], Path],
    clip: ClipOptions,
    options: VideoOptions = VideoOptions(),  # noqa: B008  frozen
    **others: Any,
) -> VideoTask:
    """Makes a video's task; `place`: the file for a default name; `others`: of `VideoTask`. ValueError, VideoError: options do not fit."""
    out = place(usual_name(source, clip.outputs, clip.layout, clip.codec))
    codec = chosen_codec(out, clip.codec, clip.outputs)
    if clip.quality is not None and codec not in (H264, H265):
        raise ValueError(f"--quality is for h264 and h265; {codec} has none: leave it out")
    return VideoTask(source=source, targets=plan_targets(out, clip.outputs, clip.layout), codec=codec, clip=clip, options=options, **others)


def usual_name(source: Path, outputs: Sequence[str], layout: str = "full-sbs", codec: str | None = None) -> str:
    """The default name of the result: the video's, with the output's suffix unless `plan_targets` adds one."""
    ending = _ending(outputs[0], layout) if len(outputs) == 1 else ""
    return f"{usual_stem(source)}{ending}{CODECS[codec or 'h264'].containers[0]}"


def usual_stem(source: Path) -> str:
    """The prefix of a video's default result names: its stem, without resolving links; of numbered images the part before the number."""
    if is_sequence(source) and "%" in source.name:
        return source.stem.partition("%")[0].rstrip("_-. ") or "video"
    return (source if source.name not in ("", os.pardir) else source.resolve()).stem or "video"


def plan_targets(out: Path, outputs: Iterable[str], layout: str = "full-sbs") -> dict[str, Path]:
    """The file of each of `OUTPUTS`: `out` itself, or with several its name plus the output's suffix; VideoError: a file is in the way.

    `layout` is that of `STEREO`, whose suffix players recognise.
    """
    if not (nearest := nearest_folder(out.parent)).is_dir():
        raise VideoError(f"{out}: {nearest} is a file, not a folder; choose another name")
    ordered = sorted(outputs, key=OUTPUTS.index)
    return {output: out.with_name(f"{out.stem}{_ending(output, layout)}{out.suffix}") if len(ordered) > 1 else out for output in ordered}


def check_targets(
    source: Path,
    targets: Mapping[str, Path],
    overwrite: bool = False,
    made_of: Path | None = None,
    read: Iterable[Path] = (),
    commands: Mapping[str, str] | None = None,
) -> None:
    """Rejects targets that would replace protected files, see `overwriting.check_places`; only the first of numbered files is checked.

    `read` are inputs besides the source; `commands` are the commands of targets that the user named, by output. Raises VideoError if the
    result would become part of the source's numbered images, else as `check_places`.
    """
    for target in targets.values():
        if target.suffix.lower() in SEQUENCES and is_sequence(source) and reads(source, numbered(target, _FAR)):
            raise VideoError(f"{target}: these files would be read as images of {source}; choose another name or folder")
    read = [source, *read]
    if commands:
        for output, target in targets.items():
            check_places(_places(target, source), read, overwrite, made_of, commands[output])
        return
    check_places([place for target in targets.values() for place in _places(target, source)], read, overwrite, made_of)


def _places(target: Path, source: Path) -> list[Path]:
    """The files to check before writing a target."""
    if target.suffix.lower() not in SEQUENCES:
        return [target]
    there = [path for _, path in numbered_files(target)]
    return [*there[:1], *(path for path in there[1:] if source.exists() and path.samefile(source))] or [numbered(target, 1)]


def segments_folder(targets: Mapping[str, Path]) -> Path:
    """The folder of a video's finished segments."""
    first = next(iter(targets.values()))
    return first.parent / RECORDS / f"{first.name}.film"


def has_segments(targets: Mapping[str, Path]) -> bool:
    """Whether an interrupted run left segments of the video."""
    return (segments_folder(targets) / SEGMENTS_FILE).is_file()


def _ending(output: str, layout: str) -> str:
    return stereo_suffix(layout) if output == STEREO else f"_{output}"


def chosen_codec(out: Path, codec: str | None, outputs: list[str]) -> str:
    """The requested codec, or the default for the file's extension.

    Raises VideoError if the container does not support it, or this build of PyAV lacks it; ImportError, with advice, if the library for
    such files is missing.
    """
    extension = out.suffix.lower()
    if extension in SEQUENCES:
        if codec not in (None, SEQUENCES[extension]):
            raise VideoError(f"{out}: numbered {extension} files are asked for, and --codec {codec}; name a video, or leave --codec out")
        if extension == ".exr" and (images := [output for output in outputs if output in (SIDE_BY_SIDE, *VIEWS)]):
            raise VideoError(f"{out}: EXR holds numbers, and {images[0]} is an image; write it as a video or as PNG")
        FORMATS[extension].check_library()
        return SEQUENCES[extension]
    codec = codec or "h264"
    if not extension:
        raise VideoError(
            f"{out}: the name says no kind of file; {out}{CODECS[codec].containers[0]} is a video, {out}{os.sep} a folder of results"
        )
    check_codec(out, codec)
    return codec
