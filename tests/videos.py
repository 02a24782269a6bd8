"""Small videos for tests, made with PyAV."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils._pytree import tree_map

from depth_normal.media import read_frames
from depth_normal.media.library import add_copied_stream

av = pytest.importorskip("av", reason="videos need PyAV (pip install av)")


def write_video(
    path: Path,
    planes,
    pixel_format="yuv420p",
    codec="ffv1",
    rate: int | Fraction = 25,
    times=None,
    time_base=None,
    tags=None,
    sound=None,
    options=None,
) -> Path:
    """A video of given numbers.

    Args:
        planes: For each frame a list of arrays, one a plane.
        times: In units of `time_base`; None = 0, 1, 2 ...
        tags: Attributes of the encoder (colorspace, color_range, ...).
        sound: Seconds of a sine in the codec of that name, as (seconds, codec), or with the samples of a packet behind.
    """
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width = planes[0][0].shape[:2]
        stream.pix_fmt, stream.options = pixel_format, options or {}
        stream.codec_context.max_b_frames = 0
        base = time_base or 1 / Fraction(rate)
        stream.codec_context.time_base = base
        for name, value in (tags or {}).items():
            setattr(stream.codec_context, name, value)
        track = container.add_stream(sound[1], rate=44100) if sound else None
        for number, arrays in enumerate(planes):
            frame = av.VideoFrame(stream.width, stream.height, pixel_format)
            for plane, values in zip(frame.planes, arrays, strict=True):
                rows = np.zeros((plane.height, plane.line_size), np.uint8)
                stored = np.ascontiguousarray(values).view(np.uint8).reshape(len(values), -1)
                rows[:, : stored.shape[1]] = stored
                plane.update(rows.tobytes())
            frame.pts, frame.time_base = (number if times is None else times[number]), base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if sound:
            container.mux(_packets_of(track, _sine_frames(track, 0, sound[0], "mono", *sound[2:])))
    return path


def of_colour(colours, height=32, width=64):
    """Planes of a frame of one colour each, for `yuv444p` and its like: (Y, Cb, Cr), whole numbers."""
    return [[np.full((height, width), value, colours[0].dtype) for value in colour] for colour in colours]


def moving_ball(frames=30, height=48, width=64):
    """yuv420p planes of a bright ball that crosses a still, ramped background."""
    rows, columns = np.mgrid[:height, :width]
    background = 40 + columns * 2
    planes = []
    for number in range(frames):
        ball = (rows - height / 2) ** 2 + (columns - 8 - number) ** 2 < 64
        luma = np.where(ball, 220, background).astype(np.uint8)
        chroma = np.full((height // 2, width // 2), 128, np.uint8)
        planes.append([luma, chroma + 10, chroma - 20])
    return planes


def with_damaged_packets(source: Path, path: Path, numbers=(), earlier=Fraction(0), options=None) -> Path:
    """A copy of a video in which the bytes of these packets of images, counted from 0, are spoiled; its sound is kept.

    All of it begins `earlier` by these seconds: of an MP4, an edit list leaves out what is before 0.
    """
    with av.open(str(source)) as whole, av.open(str(path), "w", options=options or {}) as target:
        streams = [add_copied_stream(target, each) for each in whole.streams]
        count = 0
        for packet in whole.demux():
            if packet.dts is None:
                continue
            new, is_image = packet, packet.stream.type == "video"
            if is_image and count in numbers:
                new = av.Packet(bytes(packet)[:8] + b"\xa5" * (packet.size - 8))
                new.pts, new.dts, new.duration, new.time_base = packet.pts, packet.dts, packet.duration, packet.time_base
                new.is_keyframe = packet.is_keyframe
            count += is_image
            shift = round(earlier / packet.time_base)
            new.pts, new.dts = new.pts - shift, new.dts - shift
            new.stream = streams[packet.stream.index]
            target.mux(new)
    return path


def images_of(path, **options) -> torch.Tensor:
    return torch.stack([frame.image() for frame in read_frames(path, **options)])


def sound_of(path) -> tuple[str | None, float]:
    """Codec and seconds of a video's sound as they are decoded."""
    with av.open(str(path)) as container:
        if not container.streams.audio:
            return None, 0.0
        stream = container.streams.audio[0]
        samples = sum(frame.samples for frame in container.decode(stream))
        return stream.codec_context.name, samples / stream.codec_context.sample_rate


def seconds_of(path) -> float:
    """How long a video lasts by its header."""
    with av.open(str(path)) as container:
        return container.duration / 1e6


def write_broadcast(path: Path, seconds, sound=None, codec="aac", sample_rate=48000, begins=0, size=(48, 64), rate=5) -> Path:
    """A transport stream as television is recorded: images of a few frames a second, and a sine.

    Args:
        seconds: How long the images are.
        sound: Seconds at which the sound begins and ends; None = without.
        codec: Of the sound.
        sample_rate: Of the sound.
        begins: Seconds on the recording's clock at which it begins.
        size: Height and width.
        rate: Frames a second.
    """
    with av.open(str(path), "w", format="mpegts") as container:
        images = container.add_stream("libx264", rate=rate, options={"g": str(rate), "bf": "0"})
        images.height, images.width = size
        track = container.add_stream(codec, rate=sample_rate) if sound else None
        packets = _packets_of(images, _image_frames(images, int(seconds * rate), rate))
        if track is not None:
            track.codec_context.layout, track.metadata["language"] = "stereo", "fin"
            packets += _packets_of(track, _sine_frames(track, *sound))
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            shift = round(begins / packet.time_base)
            packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
            container.mux(packet)
    return path


def _packets_of(stream, frames):
    return [packet for frame in (*frames, None) for packet in stream.encode(frame)]


def _image_frames(stream, count, rate):
    for number, (luma, *_) in enumerate(moving_ball(count, stream.height, stream.width)):
        frame = av.VideoFrame.from_ndarray(np.repeat(luma[:, :, None], 3, 2), format="rgb24").reformat(format="yuv420p")
        frame.pts, frame.time_base = number, Fraction(1, rate)
        yield frame


def _sine_frames(stream, start, stop, layout="stereo", at_once=1152):
    rate, name = stream.codec_context.sample_rate, stream.codec_context.format.name if stream.codec_context.format else "fltp"
    wave = np.sin(np.arange(int((stop - start) * rate)) / 20) * 0.3
    dtype = np.dtype(f"int{name[1:3]}" if name.startswith("s") else np.float32)
    wave = (wave * (np.iinfo(dtype).max if name.startswith("s") else 1)).astype(dtype)
    for first in range(0, len(wave), at_once):
        channels = np.stack([wave[first : first + at_once]] * (2 if layout == "stereo" else 1))
        packed = channels if name.endswith("p") else np.ascontiguousarray(channels.T).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(packed, format=name, layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, int(start * rate) + first, Fraction(1, rate)
        yield frame


def sound_times(path) -> list[tuple[float, float]]:
    """When each stretch of a video's sound begins and ends, in seconds; a gap is one of more than a tenth of a second."""
    stretches: list[tuple[float, float]] = []
    with av.open(str(path)) as container:
        if not container.streams.audio:
            return stretches
        for frame in container.decode(audio=0):
            begin = float(frame.pts * frame.time_base)
            end = begin + frame.samples / frame.sample_rate
            if stretches and begin - stretches[-1][1] < 0.1:
                stretches[-1] = (stretches[-1][0], end)
            else:
                stretches.append((begin, end))
    return stretches


def frames_of(path) -> bytes | list[bytes]:
    """The coded frames of a video, bit by bit: its file has a number that is drawn. Of an image, its file."""
    if Path(path).suffix == ".png":
        return Path(path).read_bytes()
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(container.streams.video[0]) if packet.size]


def stop_after(monkeypatch, frames: int) -> None:
    """Ctrl-C once so many frames are estimated."""
    from depth_normal.app.video import rendering

    shown, seen = rendering.Renderer.shown, []

    def stops(self, frame, *rest):
        seen.append(frame)
        if len(seen) > frames:
            raise KeyboardInterrupt
        return shown(self, frame, *rest)

    monkeypatch.setattr(rendering.Renderer, "shown", stops)


def fails_in_half_precision(monkeypatch, network_class, method: str, fails: Callable[[int], bool]) -> None:
    """The numbers of a network are beyond half precision in those of its calls, counted from 1, for which `fails` is true."""
    real, calls = getattr(network_class, method), []

    def result(self, *inputs, **options):
        calls.append(1)
        is_half = next(self.parameters()).dtype != torch.float32
        return tree_map(lambda maps: maps * (float("inf") if is_half and fails(len(calls)) else 1), real(self, *inputs, **options))

    monkeypatch.setattr(network_class, method, result)


# A run that is killed, as by a power failure, when so many frames of all videos have been estimated: nothing of it can clean up.
KILLED = """
import os, signal, sys
from depth_normal.app import cli
from depth_normal.app.video import rendering
shown, seen = rendering.Renderer.shown, []
def killed(self, frame, *rest):
    seen.append(frame)
    if len(seen) > int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)
    return shown(self, frame, *rest)
rendering.Renderer.shown = killed
sys.exit(cli.main(sys.argv[2:]))
"""
