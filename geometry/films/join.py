"""Pieces of a film joined, with the sound of the film they were made of: packets are copied, pictures are not coded again."""

from __future__ import annotations

import heapq
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from ..files.paths import atomic_path
from .library import add_copied_stream, film_errors, open_film, open_output, pyav

logger = logging.getLogger(__name__)

# What each container holds that players expect there; Matroska holds all that FFmpeg knows.
_SOUND = {
    ".mp4": {"aac", "mp3", "ac3", "eac3", "alac", "opus", "flac"},
    ".mov": {"aac", "mp3", "ac3", "eac3", "alac", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_s16be", "pcm_s24be"},
}

_LAYOUTS = {1: "mono", 2: "stereo", 3: "2.1", 4: "quad", 5: "5.0", 6: "5.1", 8: "7.1"}
_GAP_SECONDS = 0.1


@dataclass(frozen=True)
class Piece:
    """A part of a film, in a file of its own whose times begin at 0.

    Attributes:
        path: The file.
        time: Seconds at which it begins in the whole.
    """

    path: Path
    time: Fraction


@dataclass(frozen=True)
class Sound:
    """The sound to be laid under a film.

    Attributes:
        source: A film, or a file-like object.
        start: Seconds of that film at which ours begins.
        end: Seconds of that film at which ours ends; None = with it.
    """

    source: Any
    start: Fraction = Fraction(0)
    end: Fraction | None = None


def join_pieces(path: os.PathLike[str], pieces: Sequence[Piece], sound: Sound | None = None) -> None:
    """Writes a film of pieces, atomically.

    Sound is copied as it is where the container takes it, else made AAC (which is said); sound that cannot be decoded is left out and
    that is said.

    Args:
        path: The film, of the pieces' own kind.
        pieces: One or more, in order, coded alike.
        sound: What is laid under; None = nothing.

    Raises:
        FilmError: The pieces cannot be put there.
    """
    with atomic_path(path) as temporary, ExitStack() as opened:
        first = opened.enter_context(open_film(pieces[0].path, path))
        options = {"movflags": "+faststart"} if temporary.suffix.lower() in (".mp4", ".mov") else {}
        with film_errors(path, "it cannot be written"), open_output(temporary, options) as output:
            stream = add_copied_stream(output, first.streams.video[0])
            tracks = [_pictures(pieces, stream)]
            if sound is not None:
                tracks += opened.enter_context(_sounds(sound, output, temporary.suffix.lower(), path))
            for _, packet in heapq.merge(*tracks, key=lambda each: each[0]):
                output.mux(packet)


def _pictures(pieces: Sequence[Piece], stream: Any) -> Iterator[tuple[Fraction, Any]]:
    """The packets of all pieces with their times in the whole."""
    for piece in pieces:
        with open_film(piece.path, piece.path) as container:
            for packet in container.demux(container.streams.video[0]):
                if packet.dts is None:  # the mark of the end
                    continue
                base = Fraction(packet.time_base)
                shift = round(piece.time / base)
                packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                packet.stream = stream
                yield packet.dts * base, packet


@contextmanager
def _sounds(sound: Sound, output: Any, extension: str, name: object) -> Iterator[list[Iterator[tuple[Fraction, Any]]]]:
    """A track for every stream of sound, each reading the film by itself."""
    with ExitStack() as opened:
        tracks = []
        with open_film(sound.source, name) as probe:
            count = len(probe.streams.audio)
        # A file-like object has one place at which it is read.
        for index in range(count if isinstance(sound.source, str | os.PathLike) else min(count, 1)):
            container = opened.enter_context(open_film(sound.source, name))
            stream = container.streams.audio[index]
            if stream.codec_context is None:
                logger.warning("%s: its sound cannot be decoded by this build of PyAV, and is left out", name)
                continue
            codec = stream.codec_context.name
            beginning = Fraction(container.start_time or 0, 1_000_000)
            if codec in _SOUND.get(extension, {codec}):
                # MP4 can hide what comes before the beginning (an encoder's run-up); Matroska would begin there.
                hides = extension in _SOUND
                tracks.append(_copied(container, stream, add_copied_stream(output, stream), sound, beginning, hides))
            else:
                logger.info("%s: its sound (%s) is made AAC, which %s holds", name, codec, extension)
                tracks.append(_as_aac(container, stream, output, sound, beginning))
        yield tracks


def _copied(container: Any, stream: Any, target: Any, sound: Sound, beginning: Fraction, hides: bool) -> Iterator[tuple[Fraction, Any]]:
    base = Fraction(stream.time_base)
    time = Fraction(0)
    shift = round((beginning + sound.start) / base)
    try:
        for packet in container.demux(stream):
            if packet.dts is None or packet.pts is None:
                continue
            time = packet.pts * base - beginning
            if sound.end is not None and time >= sound.end:
                return
            if time + (packet.duration or 0) * base <= sound.start and not (hides and sound.start == 0):
                continue
            packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
            packet.stream = target
            yield packet.dts * base, packet
    except pyav().error.FFmpegError as error:
        logger.warning("the sound ends at %.1f s, where the film is damaged (%s)", float(time), error)


def _as_aac(container: Any, stream: Any, output: Any, sound: Sound, beginning: Fraction) -> Iterator[tuple[Fraction, Any]]:
    rate = stream.codec_context.sample_rate or 48000
    target = output.add_stream("aac", rate=rate)
    layout = _LAYOUTS.get(stream.codec_context.channels, "stereo")  # before a frame is decoded its own may be unknown
    target.codec_context.layout = layout
    resampler = pyav().AudioResampler(format="fltp", layout=layout, rate=rate)
    base = Fraction(1, rate)

    def frames() -> Iterator[Any]:
        following: int | None = None
        for frame in container.decode(stream):
            time = Fraction(frame.pts or 0) * Fraction(frame.time_base) - beginning
            if sound.end is not None and time >= sound.end:
                break
            if time >= sound.start:
                said = round((time - sound.start) / base)
                # Many containers round their times; only a gap is one.
                frame.pts = said if following is None or said - following > rate * _GAP_SECONDS else following
                frame.time_base = base
                following = frame.pts + frame.samples
                yield from resampler.resample(frame)
        yield from resampler.resample(None)
        yield None

    return (
        (Fraction(packet.dts if packet.dts is not None else packet.pts) * Fraction(packet.time_base), packet)
        for frame in frames()
        for packet in target.encode(frame)
    )
