import ctypes
import functools
import platform
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from depth_normal.media.join import Segment, join_segments
from depth_normal.media.library import VideoError
from depth_normal.media.presets import at_rate, cropped, fitted, fitted_size, in_groups, until
from depth_normal.media.read import Frame, read_frames
from depth_normal.media.sound import Sound, check_sound
from depth_normal.media.write import CODECS, VideoWriter, check_codec
from tests.refusals import refuses
from tests.videos import av, images_of, moving_ball, seconds_of, sound_of, write_video

TICK = Fraction(1, 600)


def ramp(frames=4, channels=1, height=32, width=64) -> torch.Tensor:
    """Smooth images that move."""
    rows, columns = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    planes = torch.stack((columns, rows, (rows + columns) / 2))[:channels]
    return torch.stack([planes * (1 - 0.05 * number) for number in range(frames)])


def write(path, images, codec="h264", times=None, quality=None):
    with VideoWriter(path, codec, Fraction(25), TICK, quality) as writer:
        for number, image in enumerate(images):
            writer.write(image, Fraction(number, 25) if times is None else times[number], Fraction(1, 25))
    return path


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("codec", "name", "error"),
    [
        ("h264", "a.mp4", 3 / 255),
        ("h265", "a.mov", 1.5 / 255),
        ("prores", "a.mov", 1.5 / 255),
        ("dnxhr", "a.mov", 1.5 / 255),
        ("ffv1", "a.mkv", 0.51 / 65535),
    ],
)
def test_images_come_back(tmp_path, codec, name, error, channels):
    images = ramp(channels=channels, height=128, width=256)
    found = images_of(write(tmp_path / name, images, codec, quality=1 if CODECS[codec].quality else None))
    assert found.shape == (4, 3, 128, 256)
    # Chroma is stored at half the size: along the border it is not the image's own.
    assert (found - images.expand(-1, 3, -1, -1))[..., 2:-2, 2:-2].abs().max() <= error * (1 if channels == 1 else 2)


@pytest.mark.parametrize(("channels", "quality", "reference_frames"), [(1, None, 2), (1, 20, 2), (1, 13, 3), (3, None, 3)])
def test_grey_is_encoded_by_a_faster_preset_where_no_better_quality_is_asked_for(tmp_path, channels, quality, reference_frames):
    """x264 writes what it was set to into the stream: `faster` looks for 2 reference frames, `medium` for 3."""
    path = write(tmp_path / "a.mp4", ramp(channels=channels, height=64, width=128), "h264", quality=quality)
    settings = Path(path).read_bytes().split(b"options: ")[1].split(b"\0")[0]
    assert f" ref={reference_frames} ".encode() in settings


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"width": 832, "height": 480}, (832, 480)),
        ({"width": 320}, (320, 180)),
        ({"height": 100}, (178, 100)),
        ({"width": 1000, "side": 16}, (1000, 560)),
        ({"height": 2}, (4, 2)),
    ],
)
def test_frames_are_scaled_and_cut_to_a_size(asked, found):
    """Straight lines stay where they are in the image: the middle is kept, at one scale in both directions."""
    rows, columns = torch.meshgrid(torch.linspace(-1, 1, 1080), torch.linspace(-16 / 9, 16 / 9, 1920), indexing="ij")
    image = torch.stack((columns / 4 + 0.5, rows / 4 + 0.5, rows * 0))
    asked = {"width": None, "height": None} | asked
    sized = fitted(image, **asked)
    assert fitted_size((1920, 1080), **asked) == found == (sized.shape[2], sized.shape[1])
    row, column = sized.shape[1] // 2, sized.shape[2] // 2
    assert sized[:2, row - 1 : row + 1, column - 1 : column + 1].mean() == pytest.approx(0.5, abs=1e-3)
    if found[1] > 2:
        across, down = sized[0, 1, 1:-1].diff().median(), sized[1, 1:-1, 1].diff().median()
        assert across == pytest.approx(down.item(), rel=0.02)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("codec", ["h264", "ffv1"])
def test_images_of_any_layout_in_memory_are_written(tmp_path, codec, channels):
    images = ramp(2, channels)
    turned = images.mT.contiguous().mT
    first, second = (images_of(write(tmp_path / f"{name}.mkv", each, codec)) for name, each in (("rows", images), ("columns", turned)))
    assert torch.equal(first, second)


@pytest.mark.parametrize("codec", ["h264", "h265", "prores", "dnxhr"])
def test_the_numbers_and_tags_are_bt_709s(tmp_path, codec):
    """Pure red, green and blue are stored as the standard's colour bars have them."""
    images = torch.eye(3)[:, :, None, None].expand(-1, -1, 128, 256)
    bits = {"h264": 8, "prores": 12}.get(codec, 10)
    with av.open(str(write(tmp_path / "a.mov", images, codec, quality=1 if CODECS[codec].quality else None))) as container:
        context = container.streams.video[0].codec_context
        tags = ["colorspace", "color_range", "color_trc", "color_primaries"]
        if codec == "prores" and not hasattr(av.VideoFrame, "color_trc"):
            del tags[1:]  # ProRes takes them from the frames, where PyAV 12 has no such names
        assert [int(getattr(context, tag)) for tag in tags] == [1] * len(tags)
        read_as = {"prores": "yuv444p12le"}.get(codec, CODECS[codec].pixel_format(3))  # ProRes 4444 is read with 12 bits
        assert context.pix_fmt == read_as and (context.codec_tag == "ap4h") == (codec == "prores")
        stored = [[middle(plane, bits) for plane in frame.planes] for frame in container.decode(video=0)]
    bars = np.array([(63, 102, 240), (173, 42, 26), (32, 240, 118)])
    assert np.abs(np.array(stored) / 2 ** (bits - 8) - bars).max() <= 1


def middle(plane, bits) -> int:
    rows = np.frombuffer(plane, np.uint8 if bits == 8 else "<u2").reshape(plane.height, -1)
    return int(rows[plane.height // 2, plane.width // 2])


def test_odd_sides_are_made_even_by_the_last_row_and_column(tmp_path):
    images = ramp(height=31, width=63)
    found = images_of(write(tmp_path / "a.mp4", images, quality=1))
    assert found.shape[-2:] == (32, 64)
    torch.testing.assert_close(found[..., :31, :63], images.expand(-1, 3, -1, -1), atol=3 / 255, rtol=0)
    torch.testing.assert_close(found[..., 31, :63], found[..., 30, :63], atol=3 / 255, rtol=0)
    assert images_of(write(tmp_path / "a.mkv", images, "ffv1")).shape[-2:] == (31, 63)


def test_pieces_are_joined_with_their_times_and_the_sound(tmp_path):
    """A variable frame rate over two pieces; the video lasts as long as the one it was made of, and sounds the same."""
    units = [0, 20, 44, 60, 84, 200, 224, 250, 274, 300]
    source = write_video(
        tmp_path / "in.mp4", moving_ball(10), codec="libx264", times=units, time_base=TICK, sound=(0.54, "aac"), options={"bf": "0"}
    )
    times = [unit * TICK for unit in units]
    first = write(tmp_path / "1.mp4", ramp(5), times=[time - times[0] for time in times[:5]])
    second = write(tmp_path / "2.mp4", ramp(5), times=[time - times[5] for time in times[5:]])
    out = tmp_path / "out.mp4"
    join_segments(out, [Segment(first, times[0]), Segment(second, times[5])], Sound(source))
    assert [frame.time for frame in read_frames(out)] == times
    assert sound_of(out) == sound_of(source) and sound_of(out)[0] == "aac"
    assert seconds_of(out) == pytest.approx(seconds_of(source), abs=0.03)
    images = images_of(out)
    torch.testing.assert_close(images[:5], images[5:])
    assert {path.name for path in tmp_path.iterdir()} == {"in.mp4", "1.mp4", "2.mp4", "out.mp4"}


@pytest.mark.parametrize(("codec", "name", "tag"), [("h265", "a.mp4", "hvc1"), ("h265", "a.mkv", None), ("prores", "a.mov", "ap4h")])
def test_joined_pieces_keep_the_name_of_their_codec(tmp_path, codec, name, tag):
    """Final Cut and QuickTime choose their decoder by it."""
    with av.open(str(joined(tmp_path / f"out_{name}", write(tmp_path / name, ramp(channels=3), codec)))) as container:
        assert tag is None or container.streams.video[0].codec_context.codec_tag == tag
        assert len(list(container.decode(video=0))) == 4


def joined(path, piece, sound=None):
    join_segments(path, [Segment(piece, Fraction(0))], sound)
    return path


def test_sound_that_the_container_does_not_hold_is_made_aac(tmp_path, caplog):
    source = write_video(tmp_path / "in.mkv", moving_ball(25), sound=(1.0, "pcm_s16le"))
    piece = write(tmp_path / "1.mp4", ramp(25))
    with caplog.at_level("INFO"):
        check_sound(source, source.name, ".mp4")
    assert caplog.messages == ["in.mkv: its sound (pcm_s16le) is made AAC, which .mp4 holds"]
    assert sound_of(joined(tmp_path / "out.mp4", piece, Sound(source))) == ("aac", pytest.approx(1, abs=0.05))
    part = joined(tmp_path / "part.mp4", piece, Sound(source, Fraction(1, 4), Fraction(3, 4)))
    assert sound_of(part)[1] == pytest.approx(0.5, abs=0.06)
    out = joined(tmp_path / "out.mkv", write(tmp_path / "1.mkv", ramp(25), "ffv1"), Sound(source))
    assert sound_of(out) == sound_of(source) and seconds_of(out) == pytest.approx(seconds_of(source), abs=0.03)
    with_mp3 = write_video(tmp_path / "mp3.avi", moving_ball(2), codec="mpeg4", sound=(0.1, "libmp3lame"))
    assert sound_of(joined(tmp_path / "mp3.mp4", piece, Sound(with_mp3))) == sound_of(with_mp3)


def test_a_video_that_cannot_be_joined_leaves_nothing(tmp_path):
    piece = write(tmp_path / "1.mp4", ramp())
    (tmp_path / "2.mp4").write_bytes(b"no video")
    with pytest.raises(VideoError, match=r"2\.mp4"):
        join_segments(tmp_path / "out.mp4", [Segment(piece, Fraction(0)), Segment(tmp_path / "2.mp4", Fraction(1))])
    assert {path.name for path in tmp_path.iterdir()} == {"1.mp4", "2.mp4"}


test_what_cannot_be_written_is_refused = refuses(
    lambda *given: check_codec(Path("a.mp4"), *given),
    ("ffv1", r"ffv1 can be written as \.mkv"),
    ("h264", (16386, 100), "h264 takes sides up to 16384 pixels, and the result has 16386x100"),
    ("h264", (100, 16386), "h264 takes sides up to 16384 pixels, and the result has 100x16386"),
    ("h264", (16384, 16130), "up to 264 megapixels, and the result has 16384x16130"),
)


def test_what_this_pyav_cannot_write_is_said_before(monkeypatch):
    check_codec(Path("a.mp4"), "h264", (16384, 16128))
    monkeypatch.setattr(av, "codecs_available", {"ffv1"})
    with pytest.raises(VideoError, match="no encoder libx264 for h264; it has those for: ffv1"):
        check_codec(Path("a.mp4"), "h264")
    monkeypatch.setitem(av.library_versions, "libavcodec", (61, 19, 100))
    with pytest.raises(VideoError, match=r'FFmpeg 7\.1, which cannot encode DNxHR: run .* install -U "av>=15"'):
        check_codec(Path("a.mov"), "dnxhr")
    monkeypatch.setattr(av, "__version__", "14.1.0")
    with pytest.raises(ImportError, match=r'PyAV 14\.1\.0 writes cannot be decoded: run .* install -U "av>=15"'):
        check_codec(Path("a.mp4"), "h264")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ImportError, match=r'pip install "av>=12\.1"'):
        check_codec(Path("a.mp4"), "h264")


def frames(times, duration=Fraction(1, 10)) -> list[Frame]:
    """Frames whose "images" are their numbers."""
    return [Frame(Fraction(time), duration, lambda number=number: number) for number, time in enumerate(times)]


def test_a_new_rate_shows_what_is_shown_then():
    found = list(at_rate(iter(frames(Fraction(number, 10) for number in range(6))), Fraction(5)))
    assert [(frame.time, frame.image()) for frame in found] == [(0, 0), (Fraction(1, 5), 2), (Fraction(2, 5), 4)]
    found = list(at_rate(iter(frames([1, Fraction(6, 5)], Fraction(1, 5))), Fraction(10)))
    assert [(frame.time * 10, frame.image()) for frame in found] == [(10, 0), (11, 0), (12, 1), (13, 1)]
    found = list(at_rate(iter(frames((Fraction(number, 30) for number in range(300)), Fraction(1, 30))), Fraction(16)))
    assert len(found) == 160 and [frame.image() for frame in found[:5]] == [0, 1, 3, 5, 7]


def test_a_last_frame_is_not_shown_beyond_the_end():
    found = [(frame.time, frame.duration) for frame in until(iter(frames([0, 1, 9], Fraction(8))), Fraction(3))]
    assert found == [(0, 3), (1, 2)]


@pytest.mark.parametrize(("given", "kept"), [(1, 1), (8, 1), (9, 9), (10, 9), (17, 17)])
def test_groups_of_frames(given, kept, caplog):
    caplog.set_level("INFO")
    assert [frame.image() for frame in in_groups(iter(frames(range(given))), 8)] == list(range(kept))
    left_out = [f"left out at the video's end, for a multiple of 8 frames and one more: {given - kept}"]
    assert caplog.messages == left_out * (given > kept)


def test_presets_crop_to_the_middle():
    image = torch.arange(70 * 100.0).view(1, 70, 100)
    assert cropped(image, 32).shape == (1, 64, 96) and cropped(image, 32)[0, 0, 0] == 3 * 100 + 2
    with pytest.raises(VideoError, match="100x70 pixels"):
        cropped(image, 128)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="which fills what it gives away")
def test_the_same_images_become_the_same_bytes_whatever_memory_held_before(tmp_path):
    """x264 took some of that for its own, with instructions that not every processor has."""
    rows, columns = torch.meshgrid(torch.arange(160.0), torch.arange(240.0), indexing="ij")
    fill = functools.partial(ctypes.CDLL(None).mallopt, -6)  # M_PERTURB
    textures = [((rows + n) * 0.37).sin() * ((columns + 2 * n) * 0.23).cos() + ((columns - rows) * 0.11).sin() for n in range(24)]
    images = [(texture / 4 + 0.5)[None].expand(3, -1, -1) for texture in textures]
    try:
        written = [write(tmp_path / f"filled_with_{value}.mp4", images).read_bytes() for value in (0, 1, 77) if fill(value)]
    finally:
        fill(0)
    assert len(written) == 3 and len({*written}) == 1
