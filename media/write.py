"""Writes videos: H.264 for viewing, 10-bit H.265, ProRes and DNxHR for editing, or lossless 16-bit FFV1."""

from __future__ import annotations

import contextlib
import math
import os
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..options.checks import how_to_install
from ..options.video import CONTAINERS, DNXHR, FFV1, H264, H265, PRORES, QUALITY
from .colour import BT_709, FULL, LIMITED, planes_to_frame, rgb_to_yuv420, rgb_to_yuv444
from .library import VideoError, open_output, pyav, video_errors


@dataclass(frozen=True)
class Codec:
    """A video encoder and its settings.

    Attributes:
        encoder: FFmpeg's name.
        bits: Per channel.
        containers: File extensions that can hold it.
        quality: The default CRF, less = better; None where the encoder has none.
        grey_options: Added to `options` for one-channel images unless better quality is requested.
        full_colour: 4:4:4 instead of 4:2:0.
        lossless: Whether the round-trip is exact.
        least, most: The smallest width and height; the longest side.
    """

    encoder: str
    bits: int
    containers: tuple[str, ...]
    quality: int | None = None
    options: dict[str, str] = field(default_factory=dict)
    grey_options: dict[str, str] = field(default_factory=dict)
    full_colour: bool = False
    lossless: bool = False
    least: tuple[int, int] = (1, 1)
    most: int = 2**16 - 2

    def pixel_format(self, channels: int) -> str:
        """FFmpeg's pixel format for images of one or three channels."""
        if self.lossless:
            return "gbrp16le" if channels > 1 else "gray16le"
        return f"yuv{'444' if self.full_colour else '420'}p{'10le' if self.bits > 8 else ''}"


# x264's AVX-512 code reads uninitialised memory, so that output bytes vary between runs (core 165).
# It asks the processor, whatever ATEN_CPU_CAPABILITY tells torch.
_INSTRUCTIONS = ":asm=AVX2" if getattr(torch.cpu, "_is_avx512_supported", lambda: False)() else ""

# FFmpeg's limit for any codec: with 128 added to each side, 8 bytes a pixel must fit 31 bits.
_MOST_PIXELS = 2**28

CODECS = {
    # A faster preset costs smooth grey images neither quality nor size; colours would lose a little.
    H264: Codec(
        "libx264",
        8,
        CONTAINERS,
        QUALITY,
        {"preset": "medium", "x264-params": f"force-cfr=1{_INSTRUCTIONS}"},
        grey_options={"preset": "faster"},
        most=2**14,
    ),
    H265: Codec("libx265", 10, CONTAINERS, QUALITY, {"preset": "medium", "x265-params": "log-level=error"}),
    PRORES: Codec("prores_ks", 10, (".mov",), None, {"vendor": "apl0"}, full_colour=True),
    DNXHR: Codec("dnxhd", 10, (".mov",), None, {"profile": "dnxhr_444"}, full_colour=True, least=(256, 120)),
    FFV1: Codec("ffv1", 16, (".mkv",), None, {"level": "3", "slicecrc": "1", "g": "1"}, lossless=True),
}


def check_codec(path: os.PathLike[str], codec: str, size: tuple[int, int] | None = None) -> None:
    """Refuses one of `CODECS` that the container, the image size or this build of PyAV does not support.

    `size`: width and height of the images; None = unknown. Raises VideoError, which names an alternative, or ImportError without PyAV.
    """
    chosen, extension = CODECS[codec], Path(path).suffix.lower()
    if extension not in chosen.containers:
        accepted = ", ".join(chosen.containers)
        raise VideoError(f"{path}: a video in {codec} can be written as {accepted}; name the file so, or choose another codec")
    if size is not None and (size[0] < chosen.least[0] or size[1] < chosen.least[1]):
        pixels, least = ("x".join(map(str, pair)) for pair in (size, chosen.least))
        raise VideoError(
            f"{path}: {codec} takes at least {least} pixels, and the result has {pixels}; choose another codec, or scale it up"
        )
    if size is not None and max(size) > chosen.most:
        pixels = "x".join(map(str, size))
        raise VideoError(
            f"{path}: {codec} takes sides up to {chosen.most} pixels, and the result has {pixels}; choose another codec, or scale it down"
        )
    if size is not None and math.prod(side + 128 for side in size) >= _MOST_PIXELS:
        raise VideoError(
            f"{path}: FFmpeg takes images of up to 264 megapixels, and the result has {'x'.join(map(str, size))}; scale it down"
        )
    if codec == DNXHR and pyav().library_versions["libavcodec"] == (61, 19, 100):
        raise VideoError(f"{path}: this PyAV has FFmpeg 7.1, which cannot encode DNxHR: {how_to_install('av>=15', newer=True)}")
    if chosen.encoder not in pyav().codecs_available:
        there = [name for name, each in CODECS.items() if each.encoder in pyav().codecs_available]
        raise VideoError(
            f"{path}: this build of PyAV has no encoder {chosen.encoder} for {codec}; it has those for: {', '.join(there) or 'none'}"
        )


class VideoWriter:
    """Writes images to a video one by one. A context manager; the file is complete when the block ends without error.

    All codecs but FFV1 need even sides: the last row or column is repeated if needed. They write BT.709 in limited range, tagged so. FFV1
    stores the 16-bit values themselves: grey, or RGB as G, B and R, full range.

    `rate` is the average of frames a second, `time_base` the unit in seconds in which times are exact, `quality` as `Codec.quality`, None =
    the codec's default. Raises as `check_codec`.
    """

    def __init__(self, path: os.PathLike[str], codec: str, rate: Fraction, time_base: Fraction, quality: int | None = None) -> None:
        check_codec(path, codec)
        self._path, self._codec, self._quality = path, CODECS[codec], quality
        self._rate, self._time_base = rate, time_base
        self._container: Any = None
        self._stream: Any = None
        self._durations: dict[int, int] = {}

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._container is None:
            return
        try:
            if kind is None:
                with video_errors(self._path, "it cannot be written"):
                    self._mux(self._stream.encode(None))
        finally:
            with contextlib.nullcontext() if kind is None else contextlib.suppress(Exception):
                self._container.close()

    def write(self, image: Tensor, time: Fraction, duration: Fraction) -> None:
        """Writes the next image; VideoError if FFmpeg cannot encode or write it.

        Args:
            image: (1 or 3, H, W) in [0, 1], with the size and channels of the first; NaN becomes 0.
            time: Seconds from the video's beginning.
            duration: Display time in seconds; 0 = unknown.
        """
        image = _bounded(image.detach().float().cpu())
        with video_errors(self._path, "it cannot be written"):
            if self._container is None:
                self._open(image)
            frame = planes_to_frame(self._planes(image), self._stream.pix_fmt)
            self._tag(frame)
            frame.pts, frame.time_base = round(time / self._time_base), self._time_base
            self._durations[frame.pts] = round(duration / self._time_base)
            self._mux(self._stream.encode(frame))

    def _planes(self, image: Tensor) -> list[Tensor]:
        if self._codec.lossless:
            levels = (image.double() * 65535).round_()
            return [levels[0]] if len(levels) == 1 else [levels[1], levels[2], levels[0]]
        luma, chroma = (rgb_to_yuv444 if self._codec.full_colour else rgb_to_yuv420)(even_sized(image[None])[0], self._codec.bits)
        return [luma, chroma[0], chroma[1]]

    def _tag(self, frame: Any) -> None:
        """Tags the frame's colours too: ProRes reads them there."""
        context = self._stream.codec_context
        for name in ("color_range", "color_primaries", "color_trc", "colorspace"):
            with contextlib.suppress(AttributeError):  # PyAV 12 lacks some of them
                setattr(frame, name, getattr(context, name))

    def _open(self, image: Tensor) -> None:
        codec, lossless = self._codec, self._codec.lossless
        channels, height, width = image.shape
        self._container = open_output(self._path)
        stream = self._container.add_stream(codec.encoder, rate=self._rate)
        stream.width, stream.height = (width, height) if lossless else (width + width % 2, height + height % 2)
        stream.pix_fmt = codec.pixel_format(channels)
        quality = codec.quality if self._quality is None else self._quality
        of_grey = codec.grey_options if channels == 1 and (quality or 0) >= (codec.quality or 0) else {}
        stream.options = {**codec.options, **of_grey, **({} if codec.quality is None else {"crf": str(quality)})}
        context = stream.codec_context
        context.time_base = self._time_base
        # Without B-frames, container timestamps equal frame times, and segments can be joined.
        context.max_b_frames = 0
        context.color_range = FULL if lossless else LIMITED
        context.color_primaries = context.color_trc = BT_709
        context.colorspace = 0 if lossless and channels > 1 else BT_709
        if codec.encoder == "libx265" and Path(self._path).suffix.lower() != ".mkv":
            context.codec_tag = "hvc1"  # the only tag that Apple's players accept
        self._stream = stream

    def _mux(self, packets: Any) -> None:
        for packet in packets:
            if duration := self._durations.pop(packet.pts, 0):
                # Read-only in PyAV 12: there the last frame gets the duration of the one before.
                with contextlib.suppress(AttributeError):
                    packet.duration = duration
            self._container.mux(packet)


def even_sized(images: Tensor) -> Tensor:
    """Pads images (B, C, H, W) to even sides by repeating the last row or column."""
    height, width = images.shape[-2:]
    return F.pad(images, (0, width % 2, 0, height % 2), mode="replicate") if width % 2 or height % 2 else images


def _bounded(image: Tensor) -> Tensor:
    """Clamps to [0, 1] with NaN as 0; returns the image itself if nothing changes."""
    values = image.numpy()
    low, high = values.min(), values.max()  # NaN if any is; half the time of torch's, or of clamping a copy
    if low >= 0 and high <= 1:
        return image
    return image.nan_to_num(nan=0.0).clamp_(0, 1)
