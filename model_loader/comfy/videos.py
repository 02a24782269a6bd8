"""Reads and creates ComfyUI's VIDEO."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...media import (
    Frame,
    Segment,
    Sound,
    VideoHeader,
    VideoReadError,
    VideoWriter,
    WriterThread,
    check_sound,
    even_sized,
    join_segments,
    read_frames,
    video_header,
)
from ...media.presets import until
from ...utils import to_image, to_rgb
from .host import temporary_file

_SUFFIX = ".mp4"


@dataclass(frozen=True)
class VideoFile:
    """A VIDEO stored as a file or file-like object."""

    source: Any  # a path or a file-like object
    header: VideoHeader
    start: Fraction = Fraction(0)  # seconds trimmed from its beginning
    seconds: Fraction = Fraction(0)  # length from there; 0 = to its end

    @property
    def count(self) -> int:
        """The approximate number of frames."""
        length = self.seconds or max(Fraction(0), (self.header.seconds or Fraction(0)) - self.start)
        return max(1, round(length * self.header.rate))

    def frames(self) -> Iterator[Frame]:
        """Its frames, read lazily."""
        frames = read_frames(self.source, self.header.name, self.start)
        return until(frames, self.start + self.seconds) if self.seconds else frames

    def made(self, images: Iterator[tuple[Frame, Tensor]]) -> Any:
        """Creates a VIDEO in ComfyUI's temporary folder from other images at these frames' times, with this one's sound.

        Images are (1 or 3, H, W) in [0, 1]. Raises a VideoReadError if there are no frames.
        """
        path = temporary_file(_SUFFIX)
        segment = path.with_stem(f"{path.stem}_pictures")
        end: Fraction | None = None
        if self.header.sound:
            check_sound(self.source, self.header.name, _SUFFIX)
        try:
            with VideoWriter(segment, "h264", self.header.rate, self.header.time_base) as writer, WriterThread() as behind:
                for frame, image in images:
                    behind.call(partial(writer.write, image, frame.time - self.start, frame.duration))
                    end = frame.time + (frame.duration or 1 / self.header.rate)
                if end is None:
                    raise VideoReadError(self._no_frame())
                behind.finish()
            sound = Sound(self.source, self.start, end if self.seconds else None) if self.header.sound else None
            join_segments(path, [Segment(segment, Fraction(0))], sound)
        finally:
            segment.unlink(missing_ok=True)
        return _file_class()(str(path))

    def _no_frame(self) -> str:
        start, length = f"{float(self.start):g}", self.header.seconds
        part = f"between {start} s and {float(self.start + self.seconds):g} s" if self.seconds else f"from {start} s on"
        lasts = "" if length is None else f", and the video lasts {float(length):g} s"
        return f"{self.header.name}: there is no frame {part}{lasts}; trim it to a part that has some"


@dataclass(frozen=True)
class VideoFrames:
    """A VIDEO held as a batch of images, as Create Video returns it."""

    video: Any  # ComfyUI's object
    parts: Any  # its components: images, audio, frame_rate

    @property
    def count(self) -> int:
        """The number of frames."""
        return self.parts.images.shape[0]

    def frames(self) -> Iterator[Frame]:
        """Its frames."""
        step = 1 / Fraction(self.parts.frame_rate)
        for number, image in enumerate(self.parts.images):
            yield Frame(number * step, step, lambda image=image: to_rgb(image)[0].cpu())

    def made(self, images: Iterator[tuple[Frame, Tensor]]) -> Any:
        """As `VideoFile.made`, but in memory. Height and width become even, as Save Video needs."""
        batch = torch.cat([to_image(even_sized(image[None])) for _, image in images])
        parts = type(self.parts)(images=batch, audio=self.parts.audio, frame_rate=self.parts.frame_rate)
        return type(self.video)(parts)


def opened_video(video: Any) -> VideoFile | VideoFrames:
    """Opens the value of a VIDEO socket.

    Raises:
        TypeError: Not a VIDEO.
        VideoError: Its file cannot be read as a video.
    """
    if not hasattr(video, "get_components"):
        raise TypeError(f"the video input is a {type(video).__name__}; expected VIDEO, as Load Video and Create Video give it")
    if "Components" in type(video).__name__ or not hasattr(video, "get_stream_source"):
        return VideoFrames(video, video.get_components())
    source = video.get_stream_source()
    # VIDEO got trimming without decoding only later.
    start, seconds = getattr(video, "get_active_trim_window", lambda: (0.0, 0.0))()
    name = Path(source).name if isinstance(source, str) else "the video"
    return VideoFile(source, video_header(source, name), *(Fraction(value).limit_denominator(10**6) for value in (start, seconds)))


def video_of_file(path: Path) -> Any:
    """ComfyUI's VIDEO of a file; raises a RuntimeError if ComfyUI is not running, or too old for videos."""
    return _file_class()(str(path))


def _file_class() -> Callable[[str], Any]:
    for name, parts in (("comfy_api.latest", ("InputImpl", "VideoFromFile")), ("comfy_api.input_impl", ("VideoFromFile",))):
        part_of_module: Any = sys.modules.get(name)
        for part in parts:
            part_of_module = getattr(part_of_module, part, None)
        if part_of_module is not None:
            return part_of_module
    raise RuntimeError("this ComfyUI has no VIDEO of a file; update ComfyUI")
