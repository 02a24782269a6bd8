"""Reads videos: the header, and the frames in order as upright RGB with their timestamps."""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor

from ..geometry.estimate import Estimate
from ..options.checks import how_to_install
from ..utils import resize_image, resize_map
from .colour import BT_2020, BT_2020_PRIMARIES, FULL, UNKNOWN, Colours, bits_of, frame_to_rgb, guessed_matrix, has_alpha
from .library import VideoReadError, display_matrix, is_cut_matroska, open_video, pyav, video_errors
from .timeline import packets_in_time

logger = logging.getLogger(__name__)

DEFAULT_RATE = Fraction(25)
"""Frame rate assumed if the file states none (FFmpeg's default)."""

Reduce: TypeAlias = Callable[[int, int], tuple[int, int] | None]
"""Maps an image's height and width to the smaller size to which it is averaged; None = keep the size."""

_BEGINNING = Fraction(0)

# Frame rates below this are slow enough for rounding to milliseconds to be a small part of a frame.
_MOST_ROUNDED = 121
# Relative difference up to which a rate is taken for the nearby standard rate.
_HARDLY = 1e-6
# Containers with an index of key frames, and the start time from which seeking there is faster than decoding.
_WITH_INDEX = ("mov,", "matroska")
_SEEK_FROM_SECONDS = 2
_MICROSECOND = Fraction(1, 1_000_000)
# FFmpeg's AVFMT_NOTIMESTAMPS, of raw streams.
_NO_TIMESTAMPS = 0x80
# Containers whose header states the duration but not the number of frames.
_SAY_SECONDS = ("matroska", "flv")
_LEAST_BYTES = 16
_OF_IMAGES = ("mjpeg", "png", "bmp", "gif", "webp", "tiff")
# FFmpeg's AV_PICTURE_TYPE_B.
_B_FRAME = 3


@dataclass(frozen=True)
class VideoHeader:
    """A video's header.

    Attributes:
        name: Name for messages.
        width, height: Pixels of a frame as displayed: upright, with square pixels.
        rate: Average frames a second.
        time_base: Unit in seconds in which timestamps are exact.
        frames: Stated number of frames; None = not stated.
        seconds: Stated duration; None = not stated.
        sound: Number of audio streams.
        bits: Bits of a channel.
    """

    name: str
    width: int
    height: int
    rate: Fraction
    time_base: Fraction
    frames: int | None = None
    seconds: Fraction | None = None
    sound: int = 0
    bits: int = 8


@dataclass(frozen=True)
class Frame:
    """One frame.

    Attributes:
        time: Seconds from the video's beginning, exact.
        duration: Seconds until the next frame; 0 = unknown.
        image: Converts lazily to (3, H, W) float32 RGB in [0, 1], upright, square pixels.
        reduce_planes: Converts directly to a reduced size, faster than by way of `image`; None if unsupported.
        number: Of a numbered image; None = unnumbered.
        held: Whether it repeats the previous frame because this one cannot be decoded.
        known: Returns the user's own depth of the frame, at the depth's size, for the image's height and width; None = there is none.
    """

    time: Fraction
    duration: Fraction
    image: Callable[[], Tensor] = field(repr=False)
    reduce_planes: Callable[[Reduce], Tensor] | None = field(default=None, repr=False)
    number: int | None = None
    held: bool = False
    known: Callable[[int, int], Estimate] | None = field(default=None, repr=False)

    def reduced(self, reduce: Reduce) -> Tensor:
        """The image, averaged to the size that `reduce` names."""
        return _reduced(self.image(), reduce) if self.reduce_planes is None else self.reduce_planes(reduce)


def _reduced(image: Tensor, reduce: Reduce) -> Tensor:
    size = reduce(*image.shape[-2:])
    return image if size is None else resize_map(image[None], *size)[0]


def video_header(source: Any, name: str | None = None) -> VideoHeader:
    """Reads a video's header.

    Args:
        source: A path, or a file-like object.
        name: Name for messages; None = the path.

    Raises:
        VideoReadError: Not a video, no images in it, or a codec that PyAV lacks.
        ImportError: PyAV is missing.
    """
    name = name or str(source)
    with open_video(source, name) as container:
        stream = image_stream(container, name)
        seconds = None if container.duration is None else Fraction(container.duration, 1_000_000)
        rate = Fraction(_rate(stream) or stream.guessed_rate or DEFAULT_RATE)
        return VideoHeader(
            name,
            *_displayed_size(container, stream),
            rate,
            _exact_unit(stream),
            None if _is_avi(stream) else _frame_count(stream) or None,
            seconds,
            len(container.streams.audio),
            bits_of(stream),
        )


def _displayed_size(container: Any, stream: Any) -> tuple[int, int]:
    """Width and height of a frame as displayed. Whether it is turned is known from a decoded frame."""
    width, height = max(1, round(stream.width * Fraction(stream.sample_aspect_ratio or 1))), stream.height
    with suppress(pyav().error.FFmpegError):
        frame = next((frame for packet in packets_in_time(container, [stream]) for frame in packet.decode()), None)
        if frame is not None and _swaps_sides(display_matrix(frame) or (1, 0, 0, 1)):
            return height, width
    return width, height


def count_frames(source: Any) -> int:
    """Counts frames by demuxing all packets, without decoding. Arguments and errors as of `video_header`; damage is an error too."""
    name = str(source)
    with open_video(source, name) as container, video_errors(name, "damaged", VideoReadError):
        return sum(packet.size > 0 and not _is_discarded(packet) for packet in container.demux(image_stream(container, name)))


def _is_discarded(packet: Any) -> bool:
    """Whether a packet is decoded only because later frames need it, as before the start of a clip that was cut without encoding."""
    return getattr(packet, "is_discard", False)


def _frame_count(stream: Any) -> int:
    """How many frames the header names, 0 = not known; without those that the edit list of a cut MP4 leaves out."""
    entries = getattr(stream, "index_entries", None) if stream.container.format.name.startswith("mov") else None
    return min(stream.frames, sum(not entry.is_discard for entry in entries)) if entries and stream.frames else stream.frames


def _is_avi(stream: Any) -> bool:
    """AVI has no presentation times, and also counts frames without a packet, during which the one before is shown."""
    return stream.container.format.name == "avi"


def _rate(stream: Any) -> Fraction | None:
    """The header's average rate, snapped to the standard rate that it nearly is: Matroska's nanoseconds give 19001/317."""
    kind = stream.container.format
    # FFmpeg's average of raw streams and of DV is 25 and 60000, whatever the images state.
    is_made_up = kind.name == "dv" or int(kind.flags) & _NO_TIMESTAMPS
    stated = stream.guessed_rate if is_made_up else stream.average_rate
    if not stated:
        return None
    rate = Fraction(stated)
    usual = (Fraction(round(rate)), Fraction(1000 * round(rate * 1001 / 1000), 1001))
    return next((each for each in usual if abs(each - rate) < _HARDLY * rate), rate)


def _rounded_rate(stream: Any) -> Fraction | None:
    """The standard rate if the container rounds timestamps to milliseconds, as Matroska does; else None."""
    rate = _rate(stream)
    is_rounded = stream.time_base == Fraction(1, 1000) and rate is not None and rate.denominator in (1, 1001) and rate < _MOST_ROUNDED
    return rate if is_rounded else None


def _exact_unit(stream: Any) -> Fraction:
    """The unit in which times are exact: the container's, refined by the frame rate where the container rounds."""
    base, rate = Fraction(stream.time_base), _rounded_rate(stream)
    return base if rate is None else Fraction(1, math.lcm(base.denominator, rate.numerator))


def image_stream(container: Any, name: str) -> Any:
    """The first video stream that is not a cover image. Raises VideoReadError without one, or without a decoder."""
    # PyAV before 14 does not tell which stream is a cover; before 18, a disposition is no number.
    flags = getattr(pyav().stream, "Disposition", None)
    streams = [each for each in container.streams.video if not (flags and each.disposition & flags.attached_pic)]
    # A cover that is not marked as one is a single image, of a format of images, or no default stream.
    streams.sort(
        key=lambda each: (
            each.frames == 1,
            each.codec_context is not None and each.codec_context.name in _OF_IMAGES,
            bool(flags and not each.disposition & flags.default),
        )
    )
    if not streams:
        raise VideoReadError(f"{name}: there are no images in it ({container.format.long_name})")
    if streams[0].codec_context is None:
        raise VideoReadError(f"{name}: this build of PyAV has no decoder for its images; convert it to H.264 first")
    if streams[0].codec_context.name == "webp" and not streams[0].width:
        offered = sys.version_info >= (3, 12)  # pip offers no newer PyAV to older Pythons
        newer = f"PyAV 19 does: {how_to_install('av>=19', newer=True)}" if offered else "PyAV 19 does, and needs Python 3.12 or newer"
        raise VideoReadError(f"{name}: this build of PyAV does not decode animated WebP; {newer}; or convert it to a GIF or to H.264")
    return streams[0]


def read_streams(container: Any, images: Any) -> list[Any]:
    """The streams to read: the images and all audio."""
    return [images, *container.streams.audio]


def read_frames(source: Any, name: str | None = None, start: Fraction = _BEGINNING, strict: bool = False) -> Iterator[Frame]:
    """Yields the frames of a video in display order.

    Colours are returned as BT.709 or sRGB; HDR (PQ, HLG) is tone mapped (`tone_mapping.hdr_to_sdr`) and alpha dropped, each with one log
    message. Non-square pixels are made square by resampling the width.

    Args:
        source: A path, or a file-like object.
        name: Name for messages; None = the path.
        start: Seconds from the video's beginning; earlier frames are skipped.
        strict: Stop at the first packet that cannot be decoded. Otherwise the previous frame is held in its place, or, at the beginning,
            the first good one.

    Raises:
        VideoReadError: As `video_header`; the colour coding is not supported, or no frame can be decoded; and, after all readable
            frames: the video is truncated, changes its size, or, with `strict`, is damaged.
        ImportError: PyAV is missing.
    """
    name = name or str(source)
    seeking, in_threads, count = start >= _SEEK_FROM_SECONDS, True, 0
    while True:
        with open_video(source, name) as container:
            stream = image_stream(container, name)
            stream.thread_type = "AUTO" if in_threads else "SLICE"
            beginning = (container.start_time or 0) * _MICROSECOND
            if abs((first := (stream.start_time or 0) * Fraction(stream.time_base)) - beginning) < _MICROSECOND:
                beginning = first  # FFmpeg may have rounded it up, beyond the first frame of an MPEG-TS
            if seeking and not _seek(container, stream, start + beginning):
                seeking = False
                continue
            reader = _Reader(source, name, stream, beginning, strict, in_threads)
            try:
                for frame, time, duration, held in reader.after(container, start, seeking):
                    reader.look_at(frame, count)
                    count, start = count + 1, time + Fraction(stream.time_base) / 2
                    yield Frame(time, duration, partial(reader.image, frame), partial(reader.reduced, frame), held=held)
            except _DamageError:
                seeking = in_threads = False
            except (_SeekError, VideoReadError):
                if count or not seeking:
                    raise
                seeking = False
            else:
                return


class _SeekError(Exception):
    """Seeking did not reach the requested position."""


class _DamageError(Exception):
    """A frame-threaded decoder met a damaged packet; at the end it would lose the frames that it still holds."""


def _seek(container: Any, stream: Any, time: Fraction) -> bool:
    """Seeks to the last key frame before a time, if the container's index marks key frames; False if that fails."""
    if not container.format.name.startswith(_WITH_INDEX):
        return False
    try:
        container.seek(math.floor(time / Fraction(stream.time_base)), stream=stream, backward=True)
    except pyav().error.FFmpegError:
        return False
    return True


class _Reader:
    """Decodes one video stream."""

    def __init__(self, source: Any, name: str, stream: Any, beginning: Fraction, strict: bool, in_threads: bool) -> None:
        self._source, self._name, self._stream, self._beginning = source, name, stream, beginning
        self._strict, self._in_threads = strict, in_threads
        step = 1 / Fraction(_rate(stream) or DEFAULT_RATE) / Fraction(stream.time_base)
        self._packets = _Packets(step, not _is_avi(stream), bool(stream.codec_context.has_b_frames))
        self._damage: Exception | None = None
        self._left_out = 0
        self._aspect = Fraction(stream.sample_aspect_ratio or 1)
        self._size: tuple[int, int] | None = None
        self._colours = Colours()
        self._matrix: tuple[int, ...] | None = None
        # Where the last packet of images or audio ends.
        self._end = Fraction(0)
        rate = _rounded_rate(stream)
        self._step = None if rate is None else 1 / rate

    def _time(self, pts: Any, base: Fraction) -> Fraction:
        """When a frame is shown."""
        return self._exact(Fraction(pts) * base - self._beginning, base)

    def _exact(self, time: Fraction, base: Fraction) -> Fraction:
        """Undoes the rounding to milliseconds by the frame rate; times of a variable rate are kept."""
        if self._step is None:
            return time
        exact = round(time / self._step) * self._step
        return exact if abs(exact - time) < base else time

    def after(self, container: Any, start: Fraction, seeking: bool) -> Iterator[tuple[Any, Fraction, Fraction, bool]]:
        """Yields decoded frames from `start` on: frame, time, duration, and whether it is held in place of a lost one.

        With `seeking`, the container was moved near `start`; the first frame shows whether that worked.

        Raises:
            _SeekError: It did not; nothing has been yielded.
            _DamageError: A packet is damaged; a decoder without frame threads has to read the video.
        """
        base, step = Fraction(self._stream.time_base), 1 / Fraction(_rate(self._stream) or DEFAULT_RATE)
        last: Fraction | None = None
        before: Any = None
        count, shown = 0, step

        def held(lost: list[tuple[int, int]], frame: Any) -> Iterator[tuple[Any, Fraction, Fraction, bool]]:
            nonlocal last, count
            for pts, duration in lost:
                last, count = self._time(pts, base), count + 1
                if last >= start:
                    yield frame, last, self._exact(duration * base, base), True

        for frame in self._decoded(container):
            pts = self._packets.place(frame)
            time = self._time(pts, Fraction(frame.time_base)) if pts is not None else None
            if seeking and before is None and (time is None or time > start or not frame.key_frame):
                raise _SeekError
            damaged = self._damage is not None
            if damaged and self._packets.is_late(pts):
                continue
            duration, lost = self._packets.shown(pts, damaged)
            yield from held(lost, before or frame)
            if pts is not None and time is not None and last is not None and time <= last and self._packets.in_order:
                time = pts * Fraction(frame.time_base) - self._beginning  # of two frames within a rounding, the second keeps its time
            if time is None or (last is not None and time <= last):
                time = Fraction(0) if last is None else last + step  # damaged videos have no timestamps, or go back
            shown = step if last is None else time - last  # an AVI leaves out frames behind its last one too
            last, before = time, frame
            count += 1
            if time >= start:
                yield frame, time, self._exact(duration * base, base), False
        if seeking and before is None:
            raise _SeekError
        if before is None and self._damage is not None:
            reason = getattr(self._damage, "strerror", None) or self._damage
            raise VideoReadError(
                f"{self._name}: not one image of it could be decoded: it is no video, or damaged ({reason})"
            ) from self._damage
        if before is None:
            raise VideoReadError(f"{self._name}: there is not one frame in it that can be decoded")
        if self._left_out:
            logger.warning("%s: packets of images that cannot be decoded, and are left out: %d", self._name, self._left_out)
        if left := self._packets.left(self._in_threads or self._damage is not None):
            if self._in_threads:
                raise _DamageError  # the error of the last packets is lost in the threads
            yield from held(left, before)
        expected = 0 if seeking else _frame_count(self._stream)
        reached = round((last + shown) / step) if _is_avi(self._stream) and last is not None else count
        if expected and reached < expected * 0.99 - 1:
            raise VideoReadError(f"{self._name}: it says that it has {expected} frames, and ends after {count}; it is damaged or cut off")
        if expected or not container.format.name.startswith(_SAY_SECONDS):
            return
        seconds = Fraction(container.duration or 0, 1_000_000)
        missing = seconds - self._end
        # Subtitles and the last image of a variable rate may outlast the last packet of an intact file.
        if missing > max(1, seconds / 20) or (missing > 1.5 * step and is_cut_matroska(self._source, self._name)):
            raise VideoReadError(
                f"{self._name}: it lasts {float(seconds):.1f} s by its header, and ends after {float(self._end):.1f} s; "
                "it is damaged or cut off"
            )

    def _decoded(self, container: Any) -> Iterator[Any]:
        with video_errors(self._name, "it is damaged from here on", VideoReadError):
            for packet in packets_in_time(container, read_streams(container, self._stream)):
                if packet.pts is not None:
                    self._end = max(self._end, (packet.pts + (packet.duration or 0)) * Fraction(packet.time_base))
                if packet.stream.index == self._stream.index:
                    self._packets.add(packet)
                    yield from self._frames_of(packet)

    def _frames_of(self, packet: Any) -> list[Any]:
        """The frames that a packet completes; none if it is damaged."""
        try:
            return packet.decode()
        except MemoryError:
            raise
        except pyav().error.FFmpegError as error:
            if self._strict:
                raise
            if self._in_threads:
                raise _DamageError from error
            self._damage = error
            self._left_out += not self._packets.in_order
            return []

    def look_at(self, frame: Any, number: int) -> None:
        """Refuses a change of size, and derives the colour coding from the first frame."""
        size = (frame.width, frame.height)
        if self._size is None:
            self._size = size
            self._colours = self._first(frame)
        elif size != self._size:
            was, now = (f"{width}x{height}" for width, height in (self._size, size))
            raise VideoReadError(f"{self._name}: its images change from {was} to {now} pixels after {number} frames; split the video there")
        self._matrix = display_matrix(frame) or self._matrix

    def image(self, frame: Any) -> Tensor:
        """The frame as displayed, (3, H, W). Independent of the container, which may be closed by now."""
        image = frame_to_rgb(frame, self._colours)
        if self._aspect != 1:
            image = resize_image(image[None], image.shape[1], max(1, round(image.shape[2] * self._aspect)))[0]
        return image if self._matrix is None else upright(image, self._matrix)

    def reduced(self, frame: Any, reduce: Reduce) -> Tensor:
        """`image` averaged to the size that `reduce` returns; frames with square pixels are averaged before conversion."""
        if self._aspect != 1:
            return _reduced(self.image(frame), reduce)
        if self._matrix is None:
            return frame_to_rgb(frame, self._colours, reduce(frame.height, frame.width))
        if not _swaps_sides(self._matrix):
            size = reduce(frame.height, frame.width)
        elif size := reduce(frame.width, frame.height):
            size = size[1], size[0]
        return upright(frame_to_rgb(frame, self._colours, size), self._matrix)

    def _first(self, frame: Any) -> Colours:
        colours = frame_colours(frame, self._stream.codec_context)
        if colours.problem and not frame.format.is_rgb:
            raise VideoReadError(f"{self._name}: {colours.problem}")
        if colours.hdr:
            logger.info("%s: HDR (%s), tone mapped by ITU-R BT.2390 to an ordinary screen", self._name, colours.hdr, extra={"note": ""})
        if has_alpha(frame) or self._stream.metadata.get("alpha_mode") == "1":  # VP8 and VP9 have it in a stream of its own
            logger.info("%s: its alpha channel is left out", self._name, extra={"note": ""})
        if getattr(frame, "interlaced_frame", False):
            logger.warning("%s: it is interlaced, and its lines of two moments are taken as one; deinterlace it first", self._name)
        return colours


class _Packets:
    """Detects packets for which the decoder returned no frame.

    Args:
        step: The usual distance of two frames, in timestamp units.
        states_times: Whether the container has presentation times.
        reorders: Whether the decoder may return frames in another order than their packets.

    Attributes:
        in_order: Whether frames come in the order of their timestamps; otherwise losses cannot be detected.
    """

    def __init__(self, step: Fraction, states_times: bool, reorders: bool) -> None:
        self._states_times, self.in_order = states_times, states_times or not reorders
        self._decoding: set[int] = set()
        self._waiting: dict[int, int] = {}
        self._last: int | None = None
        self._least = step

    def add(self, packet: Any) -> None:
        """Registers the packet that is decoded next."""
        if not self._states_times:
            packet.pts = packet.dts  # FFmpeg makes up a later one
        # A packet of a few bytes repeats the image, for which some decoders return no frame.
        if packet.pts is not None and (packet.size > _LEAST_BYTES or not self.in_order) and not _is_discarded(packet):
            self._waiting[packet.pts] = packet.duration or 0
            self._decoding.add(packet.pts)

    def place(self, frame: Any) -> int | None:
        """A frame's timestamp. Without presentation times, reordered frames take those of their packets in ascending order."""
        self._decoding.discard(frame.pts)
        if self._states_times or self.in_order or frame.pts is None:
            return frame.pts
        if int(frame.pict_type) != _B_FRAME:  # all packets before it are shown or lost
            self._decoding = {each for each in self._decoding if each > frame.pts}
            self._waiting = dict(sorted(self._waiting.items())[-1 - len(self._decoding) :])
        return min(self._waiting, default=frame.pts)

    def shown(self, pts: int | None, damaged: bool) -> tuple[int, list[tuple[int, int]]]:
        """Removes the packets up to a frame.

        Args:
            pts: The frame's timestamp.
            damaged: Whether a packet could not be decoded. Otherwise missing frames before the first one are normal: intact videos may
                start with frames whose references are missing.

        Returns:
            The frame's duration, 0 = unknown; and times and durations of lost frames before it. Second fields are not counted, as they
            are nearer to each other than frames.
        """
        if pts is None:
            return 0, []
        if self._last is not None and pts <= self._last:
            self.in_order = False  # AVI only has timestamps of packets
        duration = self._waiting.pop(pts, 0)
        earlier = sorted(each for each in self._waiting if each < pts)
        times = [(each, self._waiting.pop(each)) for each in earlier]
        lost = self._lost(pts, times, damaged or (self._states_times and self._last is not None))
        if self._last is not None and not lost and self.in_order:
            self._least = min(self._least, Fraction(pts - self._last))
        self._last = pts
        return duration, lost

    def _lost(self, end: int, times: list[tuple[int, int]], are_frames: bool) -> list[tuple[int, int]]:
        """The packets between the last frame and `end` that are frames, judged by their distance."""
        lost: list[tuple[int, int]] = []
        at = self._last
        for each, length in times if self.in_order and are_frames else ():
            if (at is None or each - at >= 0.75 * self._least) and end - each >= 0.75 * self._least:
                lost.append((each, length))
                at = each
        return lost

    def is_late(self, pts: int | None) -> bool:
        """True if a frame comes after one with a later timestamp, as after a damaged key frame: its place is already filled."""
        return self.in_order and pts is not None and self._last is not None and pts <= self._last

    def left(self, damaged: bool) -> list[tuple[int, int]]:
        """Times and durations of lost frames after the last one; `damaged` as in `shown`."""
        if self._last is None:
            return []
        end = max(self._waiting, default=0) + math.ceil(self._least)
        return self._lost(end, sorted(self._waiting.items()), damaged or self._states_times)


def frame_colours(frame: Any, context: Any) -> Colours:
    """The colour coding stated by the frame or its stream, else guessed as players do."""

    def stated(name: str) -> int:
        values = (getattr(frame, name, None), getattr(context, name, None))
        return next((int(value) for value in values if value is not None and int(value) not in (0, UNKNOWN)), UNKNOWN)

    spans = (getattr(frame, "color_range", None), getattr(context, "color_range", None))
    span = next((int(value) for value in spans if value), 0)
    matrix = stated("colorspace")
    if matrix == UNKNOWN:
        matrix = guessed_matrix(frame.width, frame.height)
    name = frame.format.name
    full = span == FULL or name.startswith("yuvj") or (span == 0 and name.startswith("gray"))
    primaries = stated("color_primaries")
    if primaries == UNKNOWN and matrix == BT_2020:
        primaries = BT_2020_PRIMARIES
    return Colours(matrix, full, stated("color_trc"), primaries)


def _swaps_sides(matrix: tuple[int, ...]) -> bool:
    a, b, c, d = matrix
    return bool(b and c and not a and not d)


def upright(image: Tensor, matrix: tuple[int, ...]) -> Tensor:
    """Applies a display matrix that mirrors or turns by right angles; others are ignored.

    Args:
        image: (C, H, W).
        matrix: (a, b, c, d): the directions of the image's x axis, (a, b), and y axis, (c, d).
    """
    a, b, c, d = matrix
    if a and d and not b and not c:
        axes = [axis for axis, length in ((2, a), (1, d)) if length < 0]
        return torch.flip(image, axes) if axes else image
    if _swaps_sides(matrix):
        axes = [axis for axis, length in ((2, c), (1, b)) if length < 0]
        return torch.flip(image.transpose(1, 2), axes)
    return image
