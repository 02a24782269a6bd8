"""Joins the segments of a video and adds the source's audio. Packets are copied, not encoded again."""

from __future__ import annotations

import errno
import heapq
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

from ..geometry.files.paths import atomic_path
from .library import VideoError, VideoReadError, add_copied_stream, open_output, open_video, video_errors
from .sound import Sound, SoundError, sound_errors, sound_tracks

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Segment:
    """A part of a video, in its own file whose times begin at 0; `time` is the second at which it begins in the whole."""

    path: Path
    time: Fraction


def join_segments(path: os.PathLike[str], segments: Sequence[Segment], sound: Sound | None = None) -> None:
    """Writes a video from segments, atomically. Raises VideoError if one cannot be read or it cannot be written, e.g. on a full disk.

    Audio is copied if the container accepts it, else encoded as AAC, else dropped with a warning: it costs no images but by a full disk.

    Args:
        path: The video, with the segments' extension.
        segments: One or more, in order, encoded alike.
    """
    problem: SoundError | None = None
    for copied in (True, False) if sound is not None else ():
        try:
            _join(path, segments, sound, copied)
        except SoundError as error:
            if getattr(error.__cause__, "errno", None) == errno.ENOSPC:
                raise
            problem = problem or error
        else:
            if problem is not None:
                logger.warning("%s: it is made AAC", problem)
            return
    _join(path, segments, None)
    if problem is not None:
        logger.warning("%s: it is left out", problem)


def _join(path: os.PathLike[str], segments: Sequence[Segment], sound: Sound | None, copied: bool = True) -> None:
    with atomic_path(path) as temporary, ExitStack() as opened:
        first = opened.enter_context(_open_segment(segments[0].path, path))
        tagged = temporary.suffix.lower() in (".mp4", ".mov")
        options = {"movflags": "+faststart"} if tagged else {}
        about_sound = nullcontext if sound is None else partial(sound_errors, path)
        with video_errors(path, "it cannot be written"), _output(temporary, options) as output:
            images = add_copied_stream(output, first.streams.video[0])
            if tagged:
                # PyAV clears it, and FFmpeg writes the codec's first: 422 HQ for ProRes 4444, for H.265 one that Apple's players refuse.
                images.codec_context.codec_tag = first.streams.video[0].codec_context.codec_tag
            tracks = [_images(segments, images)]
            if sound is not None:
                tracks += opened.enter_context(sound_tracks(sound, output, path, copied=copied))
            with about_sound():
                output.start_encoding()
            for _, packet in heapq.merge(*tracks, key=lambda each: each[0]):
                with nullcontext() if packet.stream.index == images.index else about_sound():
                    output.mux(packet)
            with about_sound():
                output.close()


@contextmanager
def _output(path: Path, options: dict[str, str]) -> Iterator[Any]:
    """An output container that the block closes; after an error, errors of closing are suppressed."""
    container = open_output(path, options)
    try:
        yield container
    except BaseException:
        with suppress(Exception):
            container.close()
        raise


@contextmanager
def _open_segment(path: Path, name: object) -> Iterator[Any]:
    """As `open_video`, but raises VideoError: a segment is not the source."""
    try:
        with open_video(path, name) as container:
            yield container
    except VideoReadError as error:
        raise VideoError(str(error)) from error


def _images(segments: Sequence[Segment], stream: Any) -> Iterator[tuple[Fraction, Any]]:
    """The packets of all segments with their times in the whole."""
    for segment in segments:
        with _open_segment(segment.path, segment.path) as container:
            for packet in container.demux(container.streams.video[0]):
                if packet.dts is None:  # marks the end
                    continue
                base = Fraction(packet.time_base)
                shift = round(segment.time / base)
                packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                packet.stream = stream
                yield packet.dts * base, packet
