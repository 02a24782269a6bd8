import itertools
import re
import struct
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from depth_normal.media import Segment, Sound, VideoWriter, check_sound, join_segments, read_frames, video_header
from tests.videos import av, moving_ball, sound_of, sound_times, write_broadcast, write_video


def remade(source: Path, sound: Sound | None = None, name="out.mp4") -> Path:
    """A grey video with the frames' times of another, and its sound."""
    header, folder = video_header(source), source.parent
    piece, out = folder / f"piece_{name}", folder / name
    with VideoWriter(piece, "h264", header.rate, header.time_base) as writer:
        for frame in read_frames(source):
            writer.write(torch.full((1, 32, 64), 0.5), frame.time, frame.duration)
    check_sound(source, source.name, out.suffix)
    join_segments(out, [Segment(piece, Fraction(0))], sound or Sound(source))
    assert steps(out) == pytest.approx(steps(source), abs=0.001)
    return out


def joined(path: Path, *parts: Path) -> Path:
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


def about(*times):
    return [(pytest.approx(begin, abs=0.15), pytest.approx(end, abs=0.15)) for begin, end in times]


def steps(path: Path) -> list[float]:
    return [float(later - earlier) for earlier, later in itertools.pairwise(frame.time for frame in read_frames(path))]


@pytest.fixture(autouse=True)
def told(caplog):
    caplog.set_level("INFO")


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    ("seconds", "rate", "messages"),
    [((9, 12), 5, []), ((38, 42), 2, ["late.ts: its sound (aac) begins so late that it is made AAC"])],
    ids=["later than FFmpeg looks by itself", "later than anybody looks"],
)
def test_sound_that_begins_late_is_copied_or_decoded(tmp_path, caplog, seconds, rate, messages):
    out = remade(write_broadcast(tmp_path / "late.ts", seconds[1], seconds, rate=rate))
    assert sound_of(out)[0] == "aac" and sound_times(out) == about(seconds) and caplog.messages == messages
    with av.open(str(out)) as container:
        assert container.streams.audio[0].language == "fin"


@pytest.mark.slow("takes a second")
def test_a_stream_that_appears_in_the_middle_sounds_there(tmp_path):
    silent, loud = write_broadcast(tmp_path / "a.ts", 7), write_broadcast(tmp_path / "b.ts", 4, (0, 4))
    source = joined(tmp_path / "both.ts", silent, loud)
    assert sound_times(remade(source)) == about((7, 11))
    assert sound_times(remade(joined(tmp_path / "more.ts", loud, silent, loud))) == about((0, 4), (11, 15))
    assert steps(tmp_path / "more.ts") == pytest.approx([0.2] * 74, abs=0.05)


def test_streams_that_come_and_go_between_the_ends_are_no_traceback(tmp_path):
    """PyAV does not know of them. Its flush of what it does not know must not end the reading."""
    silent, loud = write_broadcast(tmp_path / "a.ts", 40, rate=2), write_broadcast(tmp_path / "b.ts", 4, (0, 4))
    assert len(list(read_frames(joined(tmp_path / "both.ts", silent, loud, silent, silent)))) == 3 * 80 + 20


@pytest.mark.slow("takes a second")
def test_sound_of_another_codec_in_the_middle_is_left_out_there(tmp_path, caplog):
    parts = [write_broadcast(tmp_path / f"{codec}.ts", 3, (0, 3), codec) for codec in ("aac", "mp2")]
    out = remade(joined(tmp_path / "both.ts", *parts))
    ((begin, end),) = sound_times(out)
    assert end - begin == pytest.approx(3, abs=0.15) and "are damaged or of another codec, and are left out" in caplog.text


@pytest.mark.slow("takes a second")
def test_sound_of_another_rate_in_the_middle_is_made_of_one(tmp_path, caplog):
    parts = [write_broadcast(tmp_path / f"{rate}.ts", 3, (0, 3), sample_rate=rate) for rate in (48000, 32000)]
    out = remade(joined(tmp_path / "both.ts", *parts))
    assert sound_of(out)[1] == pytest.approx(6, abs=0.2) and sound_times(out) == about((0, 6))
    assert f"{out}: its sound changes in the middle: it is made AAC" in caplog.messages


def test_damaged_sound_costs_its_packets_alone(tmp_path, caplog):
    source = write_broadcast(tmp_path / "in.ts", 6, (0, 6))
    data = bytearray(source.read_bytes())
    for start in range(188 * 40, len(data), 188 * 12):  # every twelfth packet of the transport
        data[start + 60 : start + 90] = bytes(30)
    source.write_bytes(data)
    out = remade(source)
    assert "packets of its sound are damaged" in caplog.text
    assert 3 < sound_of(out)[1] < 6 and sound_times(out)[-1][1] == pytest.approx(6, abs=0.3)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("begins", [2**33 / 90000 - 3, 2**33 / 90000 - 100])
def test_a_clock_that_wraps_around_goes_on(tmp_path, begins):
    source = write_broadcast(tmp_path / "in.ts", 6, (0, 6), begins=begins)
    assert sound_times(remade(source)) == about((0, 6)) and max(steps(source)) < 0.3


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("begins", [0, 3600])
def test_recordings_one_behind_the_other_go_on(tmp_path, begins):
    """The first's sound ends early: that of the second stays with its images."""
    first = write_broadcast(tmp_path / "a.ts", 4, (0, 2), begins=40)
    second = write_broadcast(tmp_path / "b.ts", 4, (0, 4), begins=begins)
    source = joined(tmp_path / "both.ts", first, second)
    assert sound_times(remade(source)) == about((0, 2), (4, 8))
    assert len(steps(source)) == 39 and max(steps(source)) < 0.3


@pytest.mark.parametrize("name", ["out.mkv", "out.mp4"])
def test_times_that_go_back_are_no_error(tmp_path, name):
    """In a container whose clock does not jump: every fourth block of sound says that it is 40 ms earlier than it is."""
    source = write_video(tmp_path / "in.mkv", moving_ball(25), codec="libx264", sound=(1.0, "aac"))
    data = bytearray(source.read_bytes())
    for number, block in enumerate(re.finditer(rb"\xa3(?:[\x80-\xff]|[\x40-\x7f].)\x82(..)\x80", data, re.DOTALL)):
        if number % 4 == 3:
            struct.pack_into(">h", data, block.start(1), struct.unpack(">h", block[1])[0] - 40)
    source.write_bytes(data)
    with av.open(str(source)) as container:
        times = [packet.dts for packet in container.demux(audio=0) if packet.dts is not None]
    assert sum(later <= earlier for earlier, later in itertools.pairwise(times)) > 5
    out = remade(source, name=name)
    assert sound_of(out) == (sound_of(source)[0], pytest.approx(1, abs=0.05))


def test_packets_shorter_than_a_millisecond_keep_their_times(tmp_path):
    """As TrueHD's: in Matroska some have the time of the one before."""
    source = write_video(tmp_path / "disc.mkv", moving_ball(5), sound=(0.4, "pcm_s16le", 36))
    out = remade(source, name="out.mkv")
    assert sound_times(out) == sound_times(source) and sound_of(out) == sound_of(source)


@pytest.mark.parametrize("name", ["out.mp4", "out.mkv"])
def test_sound_that_is_gone_by_then_is_left_out_and_said_once(tmp_path, caplog, name):
    source = write_video(tmp_path / "in.mkv", moving_ball(5), sound=(0.2, "flac"))
    out = remade(source, Sound(tmp_path / "moved.mkv"), name)
    assert sound_of(out)[0] is None
    assert caplog.messages == [f"{out}: its sound cannot be written (No such file or directory): it is left out"]


@pytest.mark.slow("takes most of a second")
def test_every_number_of_channels_and_any_rate_becomes_aac(tmp_path):
    for layout, rate in (("mono", 37800), ("2.1", 48000), ("quad", 44100), ("5.0", 48000), ("5.1", 96000), ("6.1", 48000), ("7.1", 192000)):
        source = tmp_path / f"{layout}.mkv"
        with av.open(str(source), "w") as container:
            images = container.add_stream("ffv1", rate=5)
            track = container.add_stream("pcm_s16le", rate=rate)
            track.codec_context.layout = layout
            count = track.codec_context.channels
            for number in range(5):
                frame = av.VideoFrame(640, 480, "yuv420p")
                frame.pts, frame.time_base = number, Fraction(1, 5)
                container.mux(images.encode(frame))
                sound = av.AudioFrame.from_ndarray(np.zeros((1, count * rate // 5), np.int16), format="s16", layout=layout)
                sound.sample_rate, sound.pts, sound.time_base = rate, number * (rate // 5), Fraction(1, rate)
                container.mux(track.encode(sound))
            container.mux(images.encode(None))
        out = remade(source, name=f"{layout}.mp4")
        assert sound_of(out)[0] == "aac" and sound_of(out)[1] == pytest.approx(1, abs=0.05), layout
