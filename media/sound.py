"""Adds a source's audio to a video: copied if the container accepts the codec, else encoded as AAC, else dropped with a warning."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

from .library import VideoError, add_copied_stream, open_video, pyav
from .read import image_stream, read_streams
from .timeline import is_recording, packets_in_time

logger = logging.getLogger(__name__)

# Codecs that players expect in each container, by their decoders' names; Matroska holds all that FFmpeg knows.
_HOLDS = {
    ".mp4": {"aac", "mp3", "mp3float", "ac3", "eac3", "alac", "opus", "flac"},
    ".mov": {"aac", "mp3", "mp3float", "ac3", "eac3", "alac", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_s16be", "pcm_s24be"},
}
_AAC = "aac"
_LAYOUTS = {1: "mono", 2: "stereo", 3: "2.1", 4: "quad", 5: "5.0", 6: "5.1", 8: "7.1"}
_AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)
_USUAL_RATE = 48000
_GAP_SECONDS = Fraction(1, 10)

Track = Iterator[tuple[Fraction, Any]]
"""Packets of one output stream in order, each with its decoding time in seconds."""


class SoundError(VideoError):
    """The audio cannot be added in the way that was tried."""


@dataclass(frozen=True)
class Sound:
    """Audio of a video file or file-like object, for an output that covers it from `start` to `end` in seconds; None = to its end."""

    source: Any
    start: Fraction = Fraction(0)
    end: Fraction | None = None


def check_sound(source: Any, name: str, extension: str) -> None:
    """Logs, before hours of work, which audio of `source`, as of `Sound`, this extension cannot hold unchanged. Raises as `open_video`."""
    with open_video(source, name) as container:
        for stream in container.streams.audio:
            if words := _reason(stream, extension.lower()):
                logger.info("%s: %s", name, words)


def _reason(stream: Any, extension: str) -> str | None:
    """The reason why an audio stream is not copied; None = it is."""
    if stream.codec_context is None:
        return "its sound cannot be decoded by this build of PyAV, and is left out"
    codec = stream.codec_context.name
    if codec not in _HOLDS.get(extension, {codec}):
        return f"its sound ({codec}) is made AAC, which {extension} holds"
    if not (stream.codec_context.sample_rate and stream.codec_context.channels):
        return f"its sound ({codec}) begins so late that it is made AAC"
    return None


@contextmanager
def sound_tracks(sound: Sound, output: Any, name: str | os.PathLike[str], *, copied: bool = True) -> Iterator[list[Track]]:
    """Adds the audio streams to PyAV's output container, not yet written to; yields a track for every non-empty stream.

    Each track opens the source separately. Of a file-like object only the first stream is read. The extension of `name`, the output video,
    decides what is copied; with `copied` False everything is encoded as AAC. Raises SoundError, also while a track is iterated: this way
    does not work.
    """
    extension = Path(name).suffix.lower()
    tracks = []
    with ExitStack() as opened:
        with sound_errors(name):
            with open_video(sound.source, name) as probe:
                count = len(probe.streams.audio)
            # A file-like object has only one read position.
            for index in range(count if isinstance(sound.source, str | os.PathLike) else min(count, 1)):
                container = opened.enter_context(open_video(sound.source, name))
                stream = container.streams.audio[index]
                if stream.codec_context is None:
                    continue
                source = _Source(container, stream, sound, name)
                copy = copied and _reason(stream, extension) is None
                # MP4 can hide packets before time 0 (an encoder's priming samples); Matroska would begin there.
                track = _copied(source, output, hides=extension in _HOLDS) if copy else _as_aac(source, output)
                if track is not None:
                    words = {key: word for key, word in stream.metadata.items() if key in ("language", "title")}
                    output.streams[-1].metadata.update(words)  # players offer them
                    tracks.append(_guarded(track, name))
        yield tracks


@contextmanager
def sound_errors(name: object) -> Iterator[None]:
    """Turns errors of PyAV and the system into SoundError."""
    try:
        yield
    except SoundError:
        raise
    except (pyav().error.FFmpegError, ValueError, OSError) as error:
        raise SoundError(f"{name}: its sound cannot be written ({getattr(error, 'strerror', None) or error})") from error


def _guarded(track: Track, name: object) -> Track:
    with sound_errors(name):
        yield from track


class _Source:
    """One audio stream, on the clock of the output video."""

    def __init__(self, container: Any, stream: Any, sound: Sound, name: object) -> None:
        self.stream, self.sound = stream, sound
        self._container, self._name = container, name
        self.beginning = Fraction(container.start_time or 0, 1_000_000)
        self._is_recording, self._damaged = is_recording(container), 0
        self._kind: tuple[int, str | None] | None = None

    def packets(self) -> Iterator[tuple[Fraction, Any]]:
        """Packets with their output times, including packets before 0, up to the end; an empty packet marks the source's own end."""
        images = image_stream(self._container, str(self._name))
        time, stream = Fraction(0), self.stream
        try:
            for packet in packets_in_time(self._container, read_streams(self._container, images)):
                if packet.stream.index != stream.index:
                    continue
                if packet.pts is not None:
                    time = packet.pts * Fraction(packet.time_base) - self.beginning
                if self.sound.end is not None and time >= self.sound.end:
                    return
                yield time - self.sound.start, packet
        except pyav().error.FFmpegError as error:
            logger.warning("the sound ends at %.1f s, where the video is damaged (%s)", float(time), error)

    def frames(self) -> Iterator[tuple[Fraction, Any]]:
        """Decoded frames with their output times; damaged packets are skipped with a warning."""
        time = Fraction(0)
        for about, packet in self.packets():
            for frame in self._decoded(packet) or ():
                if frame.samples and frame.sample_rate:
                    has_time = frame.pts is not None
                    time = frame.pts * Fraction(frame.time_base) - self.beginning - self.sound.start if has_time else about
                    yield time, frame
        self.say_damage()

    def is_sound(self, packet: Any) -> bool:
        """True if a packet can be copied. In a broadcast recording it may be damaged or belong to a programme with another codec.

        Raises SoundError if the audio format changes, so that copying cannot continue.
        """
        if not self._is_recording:
            return True
        frames = self._decoded(packet)
        for frame in frames or ():
            # The decoder of AAC in MP4 reads the layout once; others find it in every packet.
            kind = frame.sample_rate, frame.layout.name if self.stream.codec_context.name == _AAC else None
            self._kind = self._kind or kind
            if kind != self._kind:
                raise SoundError(f"{self._name}: its sound changes in the middle")
        return frames is not None

    def _decoded(self, packet: Any) -> list[Any] | None:
        """The frames that a packet completes; None if it is damaged."""
        try:
            return packet.decode()
        except pyav().error.FFmpegError:
            self._damaged += 1
            return None

    def say_damage(self) -> None:
        """Logs how many packets could not be decoded."""
        if self._damaged:
            logger.warning("%s: %d packets of its sound are damaged or of another codec, and are left out", self._name, self._damaged)


def _copied(source: _Source, output: Any, hides: bool) -> Track | None:
    """Copies the packets from the beginning on; None if there is none."""
    base = Fraction(source.stream.time_base)
    shift = round((source.beginning + source.sound.start) / base)
    keeps_all = hides and source.sound.start == 0

    def packets() -> Track:
        last: tuple[int, int] | None = None
        for time, packet in source.packets():
            if packet.dts is None or packet.pts is None:
                continue
            length = packet.duration or 0
            if (time < 0 and time + length * base <= 0 and not keeps_all) or not source.is_sound(packet):
                continue
            # MP4 requires increasing timestamps; in Matroska, packets of TrueHD have the same milliseconds.
            late = 0 if last is None or packet.dts - shift >= last[0] + hides else sum(last) - (packet.dts - shift)
            packet.pts, packet.dts = packet.pts - shift + late, packet.dts - shift + late
            last = packet.dts, max(1, length)
            yield packet.dts * base, packet

        source.say_damage()

    track = packets()
    first = next(track, None)
    if first is None:
        return None
    return _into(add_copied_stream(output, source.stream), chain((first,), track))


def _into(stream: Any, track: Track) -> Track:
    for time, packet in track:
        packet.stream = stream
        yield time, packet


def _as_aac(source: _Source, output: Any) -> Track | None:
    """Encodes the audio as AAC from the beginning on; None if nothing can be decoded."""
    frames = ((time, frame) for time, frame in source.frames() if time >= 0)
    first = next(frames, None)
    if first is None:
        return None
    rate = first[1].sample_rate if first[1].sample_rate in _AAC_RATES else _USUAL_RATE
    layout = _LAYOUTS.get(len(first[1].layout.channels), "stereo")
    target = output.add_stream(_AAC, rate=rate)
    target.codec_context.layout = layout
    resample = _Resampler(layout, rate)

    def coded() -> Track:
        for frame in chain(_in_a_row(chain((first,), frames), resample), (None,)):
            for packet in target.encode(frame):
                yield packet.pts * Fraction(packet.time_base), packet

    return coded()


def _in_a_row(frames: Iterator[tuple[Fraction, Any]], resample: _Resampler) -> Iterator[Any]:
    """Sets timestamps without overlaps, as encoders need. Only a gap above `_GAP_SECONDS` is kept; smaller ones are rounding."""
    following: Fraction | None = None
    for time, frame in frames:
        begins = time if following is None or time - following > _GAP_SECONDS else following
        frame.time_base = Fraction(1, frame.sample_rate)
        frame.pts = round(begins * frame.sample_rate)
        following = Fraction(frame.pts + frame.samples, frame.sample_rate)
        yield from resample(frame)
    yield from resample(None)


class _Resampler:
    """Converts frames to the encoder's format. Broadcasts change the channel layout between programmes."""

    def __init__(self, layout: str, rate: int) -> None:
        self._layout, self._rate = layout, rate
        self._graph: Any = None
        self._kind: tuple[Any, ...] | None = None

    def __call__(self, frame: Any) -> list[Any]:
        """Returns completed frames; None flushes."""
        kind = None if frame is None else (frame.format.name, frame.layout.name, frame.sample_rate)
        resampled: list[Any] = []
        if kind != self._kind:
            resampled = [] if self._graph is None else [each for each in self._graph.resample(None) if each is not None]
            self._graph = None if frame is None else pyav().AudioResampler(format="fltp", layout=self._layout, rate=self._rate)
            self._kind = kind
        return resampled if frame is None else resampled + self._graph.resample(frame)
