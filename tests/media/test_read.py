import io
import re
import struct
import subprocess
import sys
from contextlib import suppress
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from depth_normal.geometry.images.tone_mapping import PQ, hdr_to_sdr, pq_to_light
from depth_normal.media import read
from depth_normal.media.colour import Colours, frame_to_rgb
from depth_normal.media.library import VideoError, is_cut_matroska
from depth_normal.media.read import read_frames, video_header
from depth_normal.media.sequences import (
    find_images,
    frame_numbers,
    images_of_folder,
    is_sequence,
    numbered,
    read_sequence,
    reads,
    sequence_header,
)
from depth_normal.utils import resize_map
from tests.videos import av, images_of, moving_ball, of_colour, with_damaged_packets, write_broadcast, write_video

# Pure colours as the standards' colour bars give them, 8 bits, limited range: Y, Cb, Cr of red, green and blue.
BT_709 = np.array([(63, 102, 240), (173, 42, 26), (32, 240, 118)], np.uint8)
BT_601 = np.array([(81, 90, 240), (145, 54, 34), (41, 240, 110)], np.uint8)
# JPEG's, full range.
JFIF = np.array([(76, 85, 255), (150, 44, 21), (29, 255, 107)], np.uint8)
LIMITED, FULL = 1, 2


def frames_before_error(path, message, **options) -> int:
    """How many frames can be shown before an error that matches the message."""
    count = 0
    with pytest.raises(VideoError, match=message):
        for frame in read_frames(path, **options):
            frame.image()
            count += 1
    return count


def centres(path) -> torch.Tensor:
    found = images_of(path)
    return found[:, :, found.shape[2] // 2, found.shape[3] // 2]


@pytest.mark.parametrize(
    ("colours", "tags", "sides"),
    [
        (BT_709, {"colorspace": 1, "color_range": LIMITED}, (32, 64)),
        (BT_601, {"colorspace": 6, "color_range": LIMITED}, (32, 64)),
        (JFIF, {"colorspace": 5, "color_range": FULL}, (32, 64)),
        (BT_601, {}, (32, 64)),  # small videos that say nothing
        (BT_709, {}, (720, 1280)),  # and large ones
    ],
)
def test_pure_colours_come_out_pure(tmp_path, colours, tags, sides):
    path = write_video(tmp_path / "bars.mkv", of_colour(colours, *sides), "yuv444p", tags=tags)
    torch.testing.assert_close(centres(path), torch.eye(3), atol=0.012, rtol=0)


def test_ten_bits_are_kept(tmp_path):
    levels = np.arange(64, 64 + 877, 1, np.uint16)[None].repeat(8, 0)[:, :876]
    grey = np.full_like(levels, 512)
    path = write_video(tmp_path / "ramp.mkv", [[levels, grey, grey]], "yuv444p10le", tags={"colorspace": 1, "color_range": LIMITED})
    red = images_of(path)[0, 0, 4]
    torch.testing.assert_close(red, torch.arange(876) / 876.0, atol=1e-5, rtol=0)


def test_chroma_lies_where_the_standard_puts_it(tmp_path):
    """A column of chroma stands at the left pixel of its pair: an edge at an even column is found there, not half a pixel beside it."""
    chroma = np.full((16, 32), 128, np.uint8)
    chroma[:, 16:] = 148
    path = write_video(tmp_path / "edge.mkv", [[np.full((32, 64), 120, np.uint8), chroma, chroma * 0 + 128]], tags={"colorspace": 1})
    blue = images_of(path)[0, 2, 16]
    share = (blue[30:34] - blue[0]) / (blue[-1] - blue[0])
    torch.testing.assert_close(share, torch.tensor([0.0, 0.5, 1.0, 1.0]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("primaries", [9, 12])
def test_wide_primaries_come_nearer(tmp_path, primaries):
    """The greens of BT.2020 and Display P3 are outside BT.709; their grey is grey."""
    levels, tags = (
        of_colour(np.array([(512, 512, 512), (600, 450, 450)], np.uint16)),
        {"colorspace": 9, "color_range": FULL, "color_trc": 14},
    )

    def shown(primaries):
        path = tmp_path / f"{primaries}.mkv"
        return centres(write_video(path, levels, "yuv444p10le", tags=tags | {"color_primaries": primaries}))

    (grey, wide), (_, plain) = shown(primaries), shown(1)
    torch.testing.assert_close(grey, torch.full((3,), 512 / 1023), atol=2e-3, rtol=0)
    assert wide[1] - wide[0] > plain[1] - plain[0] + 0.03


def test_hdr_is_tone_mapped_and_said(tmp_path, caplog):
    tags = {"colorspace": 9, "color_range": FULL, "color_primaries": 9, "color_trc": PQ}
    levels = np.array([(level, 512, 512) for level in range(0, 1024, 64)], np.uint16)
    with caplog.at_level("INFO"):
        found = centres(write_video(tmp_path / "hdr.mkv", of_colour(levels), "yuv444p10le", tags=tags))
    assert "PQ" in caplog.text and "BT.2390" in caplog.text
    steps = found[:, 0].diff()
    assert found[0, 0] < 1e-3 and bool((steps >= -1e-6).all()) and found[-1, 0] > 0.999


def test_hdr_keeps_what_is_dark_and_shows_all_that_is_bright():
    coded = torch.linspace(0, 1, 4001).expand(3, 1, -1)
    light, shown = pq_to_light(coded)[0, 0], hdr_to_sdr(coded, PQ)[0, 0]
    dark = (light > 1) & (light < 90)
    torch.testing.assert_close(shown[dark], (light[dark] / 203) ** (1 / 2.4), atol=1e-3, rtol=0)
    at_800, at_1000 = (shown[int((light - nits).abs().argmin())] for nits in (800.0, 1000.0))
    assert 0.9 < at_800 < at_1000 <= 1.0 and at_1000 > 0.998


def test_colours_that_are_not_read_are_refused_by_name(tmp_path):
    path = write_video(tmp_path / "ictcp.mkv", of_colour(BT_709), "yuv444p", tags={"colorspace": 14})
    with pytest.raises(VideoError, match="ICtCp"):
        images_of(path)


def test_grey_rgb_and_alpha(tmp_path, caplog):
    ramp = np.arange(64, dtype=np.uint16)[None].repeat(32, 0) * 1024
    for name, planes, tags in (("gray16le", [ramp], {}), ("gbrp16le", [ramp, ramp // 2, ramp // 4], {"colorspace": 0})):
        found = images_of(write_video(tmp_path / f"{name}.mkv", [planes], name, tags=tags))[0]
        red, green = planes[-1], planes[0]
        expected = torch.from_numpy(np.stack((red, green)) / 65535).float()
        torch.testing.assert_close(found[:2], expected, atol=1e-6, rtol=0)
    planes = [*moving_ball(1)[0], np.zeros((48, 64), np.uint8)]
    with caplog.at_level("INFO"):
        found = images_of(write_video(tmp_path / "alpha.mkv", [planes], "yuva420p"))[0]
        images_of(write_video(tmp_path / "a.webm", [planes], "yuva420p", "libvpx-vp9", options={"cpu-used": "8"}))
    assert caplog.text.count("its alpha channel is left out") == 2 and found.std() > 0.05


def soft_colours(height, width, chroma_height, chroma_width):
    """Planes of colours that change within some pixels, all of which RGB can hold."""
    random = torch.Generator().manual_seed(0)
    sizes = ((height, width), (chroma_height, chroma_width), (chroma_height, chroma_width))
    levels = [torch.rand(1, 1, h // 8, w // 8, generator=random) * 12 + low for (h, w), low in zip(sizes, (110, 122, 122), strict=True)]
    grown = [F.interpolate(each, size, mode="bicubic")[0, 0] for each, size in zip(levels, sizes, strict=True)]
    return [[each.round().numpy().astype(np.uint8) for each in grown]]


@pytest.mark.parametrize(
    ("pixel_format", "chroma", "span", "matrix"),
    [
        ("yuv420p", (48, 64), LIMITED, None),
        ("yuv420p", (48, 64), FULL, None),
        ("yuv422p", (96, 64), LIMITED, None),
        ("yuv444p", (96, 128), LIMITED, None),
        ("yuv411p", (96, 32), LIMITED, None),
        ("yuv420p", (48, 64), LIMITED, (0, 1, -1, 0)),
        ("yuv420p", (48, 64), LIMITED, (-1, 0, 0, -1)),
    ],
)
def test_a_reduced_image_is_the_average_of_the_image(tmp_path, pixel_format, chroma, span, matrix):
    path = tmp_path / ("in.mkv" if matrix is None else "in.mp4")
    codec = {} if matrix is None else {"codec": "libx264", "options": {"qp": "0"}}
    write_video(path, soft_colours(96, 128, *chroma), pixel_format, tags={"colorspace": 1, "color_range": span}, **codec)
    (frame,) = read_frames(path if matrix is None else turned(path, matrix))
    whole, asked = frame.image(), []

    def reduce(height, width):
        asked.append((height, width))
        return (height * 2 // 5, width * 3 // 7)

    found, average = frame.reduced(reduce), resize_map(whole[None], *reduce(*whole.shape[1:]))[0]
    assert asked[0] == whole.shape[1:]
    assert (found - average).abs().max() < 0.5 / 255
    assert torch.equal(frame.reduced(lambda *_: None), whole)


@pytest.mark.parametrize("name", ["monow", "monob"])
def test_dots_of_one_bit_are_averaged_to_grey(name):
    """Black and white are the ends of the range, not beyond it."""
    dots = np.random.default_rng(0).integers(0, 2, (48, 64, 1), np.uint8).repeat(3, 2) * 255
    frame = av.VideoFrame.from_ndarray(dots, format="rgb24").reformat(format=name)
    whole = frame_to_rgb(frame, Colours())
    torch.testing.assert_close(whole, torch.from_numpy(dots / 255).float().movedim(-1, 0))
    torch.testing.assert_close(frame_to_rgb(frame, Colours(), (12, 16)), resize_map(whole[None], 12, 16)[0])


def turned(path: Path, matrix: tuple[int, int, int, int]) -> Path:
    """The video with another display matrix (a, b, c, d) in its first track."""
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 4 + 40
    a, b, c, d = (value << 16 for value in matrix)
    data[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("matrix", "corner"),
    [((1, 0, 0, 1), (0, 0)), ((0, 1, -1, 0), (0, -1)), ((-1, 0, 0, -1), (-1, -1)), ((0, -1, 1, 0), (-1, 0)), ((-1, 0, 0, 1), (0, -1))],
)
def test_images_stand_upright(tmp_path, matrix, corner):
    """A phone held upright: the container says how the frames are turned."""
    luma = np.full((32, 64), 50, np.uint8)
    luma[:8, :8] = 220
    chroma = np.full((16, 32), 128, np.uint8)
    path = write_video(tmp_path / "phone.mp4", [[luma, chroma, chroma]] * 3, codec="libx264", options={"crf": "5"})
    found, header = images_of(turned(path, matrix))[-1, 0], video_header(path)
    assert found.shape == (header.height, header.width) == ((64, 32) if matrix[0] == 0 else (32, 64))
    row, column = (3 if side == 0 else -4 for side in corner)
    assert found[row, column] > 0.8 and int((found > 0.5).sum()) < 100


def test_an_animated_webp_is_read_or_refused_in_words(tmp_path):
    """Older FFmpegs open it, and say that its images have no size."""
    first, second = (Image.new("RGB", (32, 24), colour) for colour in ("red", "blue"))
    first.save(tmp_path / "a.webp", save_all=True, append_images=[second], duration=80)
    try:
        header = video_header(tmp_path / "a.webp")
    except VideoError as error:
        assert "does not decode animated WebP; " in str(error)
    else:
        assert (header.width, header.height) == (32, 24)


def test_pixels_that_are_not_square_are_made_square(tmp_path):
    tags = {"sample_aspect_ratio": Fraction(4, 3)}
    path = write_video(tmp_path / "dv.mp4", moving_ball(2), codec="libx264", tags=tags)
    assert images_of(path).shape[-2:] == (48, 85) and video_header(path).width == 85


@pytest.mark.parametrize(
    ("name", "codec", "ticks", "times"),
    [("vfr.mp4", "libx264", 600, [0, 1, 2, 10, 11, 30]), ("vfr.mkv", "ffv1", 1000, [0, 17, 60, 75, 133, 140])],
)
def test_times_of_a_variable_frame_rate_are_kept(tmp_path, name, codec, ticks, times):
    path = write_video(tmp_path / name, moving_ball(6), codec=codec, times=times, time_base=Fraction(1, ticks))
    error = 0 if name.endswith("mp4") else 1  # of a thousandth
    assert [frame.time * ticks for frame in read_frames(path)] == pytest.approx(times, abs=error)
    later = read_frames(path, start=Fraction(times[2] + 3, ticks))
    assert [frame.time * ticks for frame in later] == pytest.approx(times[3:], abs=error)


def test_frames_that_an_avi_left_out_are_not_missed(tmp_path):
    """As of a capture card that was too slow: they are chunks without a byte, and its header counts them."""
    times = [0, 1, 2, 10, 11, 30]
    path = write_video(tmp_path / "capture.avi", moving_ball(6), codec="mpeg4", times=times)
    assert [frame.time for frame in read_frames(path)] == [Fraction(time, 25) for time in times]
    assert video_header(path).frames is None and read.count_frames(path) == 6
    data = path.read_bytes()
    path.write_bytes(data[: data.rindex(b"00dc", 0, data.index(b"idx1"))])
    with pytest.raises(VideoError, match="says that it has 31 frames, and ends after 5; it is damaged or cut off"):
        list(read_frames(path))
    copied = with_damaged_packets(write_video(tmp_path / "a.mp4", moving_ball(6), codec="mpeg4"), tmp_path / "copied.avi")
    assert [frame.time * 25 for frame in read_frames(copied)] == list(range(6)), "of 600 frames a second by its header"


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_frames_of_an_avi_are_not_late_after_frames_that_refer_to_later_ones(tmp_path, codec):
    """An AVI has times of packets only."""
    whole = write_video(tmp_path / "whole.avi", moving_ball(24), codec=codec, options={"bf": "2", "g": "8"})
    assert [frame.time for frame in read_frames(whole)] == [Fraction(number, 25) for number in range(24)]
    damaged = list(read_frames(with_damaged_packets(whole, tmp_path / "damaged.avi", [11])))
    assert [frame.time for frame in damaged][-8:] == [Fraction(number, 25) for number in range(16, 24)]


@pytest.mark.parametrize(
    ("name", "codec", "size"), [("a.h264", "libx264", ()), ("a.m2v", "mpeg2video", ()), ("a.dv", "dvvideo", (480, 720))]
)
def test_a_file_without_a_clock_has_the_rate_that_its_images_state(tmp_path, name, codec, size):
    rate, planes = Fraction(30000, 1001), moving_ball(3, *size)
    if codec == "dvvideo":
        planes = [[luma, *(np.full((480, 180), 128, np.uint8),) * 2] for luma, *_ in planes]
        with av.open(str(write_video(tmp_path / "dv.avi", planes, "yuv411p", codec, rate))) as container:
            (tmp_path / name).write_bytes(b"".join(bytes(packet) for packet in container.demux()))
    else:
        write_video(tmp_path / name, planes, codec=codec, rate=rate)
    assert video_header(tmp_path / name).rate == rate
    times = [frame.time for frame in read_frames(tmp_path / name)]
    assert [time - times[0] for time in times] == [number / rate for number in range(3)]


@pytest.fixture(scope="module")
def long_video(tmp_path_factory):
    """Twelve seconds of two containers and codecs, whose key frames are two seconds apart, with frames that refer to later ones."""
    folder, balls = tmp_path_factory.mktemp("long"), moving_ball(8) * 38
    options = {"g": "48", "bf": "3", "crf": "20", "x264-params": "open-gop=1"}
    return [write_video(folder / f"long.{kind}", balls, codec="libx264", options=options) for kind in ("mp4", "mkv")]


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("kind", [0, 1], ids=["mp4", "mkv"])
@pytest.mark.parametrize("start", ["2", "5", "7.99", "11.9", "12.5"])
def test_what_lies_before_the_start_is_not_decoded_and_what_follows_is_the_same(long_video, kind, start, monkeypatch):
    path, start = long_video[kind], Fraction(start)
    whole = [(frame.time, frame.image()) for frame in read_frames(path) if frame.time >= start]
    decoded, look = [], read._Reader._decoded
    monkeypatch.setattr(read._Reader, "_decoded", lambda self, container: (decoded.append(1) or each for each in look(self, container)))
    found = [(frame.time, frame.image()) for frame in read_frames(path, start=start)]
    assert [time for time, _ in found] == [time for time, _ in whole]
    assert all(torch.equal(image, wanted) for (_, image), (_, wanted) in zip(found, whole, strict=True))
    assert len(decoded) <= len(whole) + 2 * 48 < 304 or start < 3, len(decoded)


def test_a_container_that_comes_to_another_place_is_read_from_its_beginning(long_video, monkeypatch):
    wanted = [frame.time for frame in read_frames(long_video[0], start=Fraction(5))]
    monkeypatch.setattr(read, "_seek", lambda container, stream, time: container.seek(10_000_000) is None)
    assert [frame.time for frame in read_frames(long_video[0], start=Fraction(5))] == wanted and wanted[0] >= 5


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize(
    ("kind", "sound", "words"),
    [("mp4", None, "damaged"), ("mkv", None, r"it lasts 4\.0 s .* cut off"), ("mkv", (8.0, "aac"), r"it lasts 8\.0 s .* cut off")],
)
def test_a_video_that_is_cut_off_gives_what_it_has_and_says_so(tmp_path, kind, sound, words):
    """A Matroska does not say how many frames it has, but how long it is. Images that end before the sound are no fault."""
    path = write_video(tmp_path / f"whole.{kind}", moving_ball(100), codec="libx264", options={"crf": "1"}, sound=sound)
    assert len(images_of(path)) == 100
    if kind == "mp4":
        path = with_damaged_packets(path, tmp_path / "front.mp4", options={"movflags": "faststart"})
    (tmp_path / f"half.{kind}").write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert 10 < frames_before_error(tmp_path / f"half.{kind}", rf"half\.{kind}.*{words}") < 100


@pytest.mark.parametrize("in_memory", [False, True])
@pytest.mark.parametrize("name", ["short.mkv", "short.webm"])
def test_a_short_matroska_that_is_cut_off_says_so(tmp_path, name, in_memory):
    """Less than a second is missing; the header says how many bytes there should be."""
    options = {"codec": "libx264", "options": {"crf": "1"}} if name.endswith("mkv") else {"codec": "libvpx"}
    path = write_video(tmp_path / name, moving_ball(24), rate=12, **options)
    data = path.read_bytes()
    frames = read_frames(path)
    assert len([next(frames) for _ in range(24)]) == 24
    path.unlink()
    assert not list(frames), "a video of which nothing is missing is not looked at once more"
    path.write_bytes(data[: len(data) * 6 // 10])
    with pytest.raises(VideoError, match=rf"{name}: it lasts 2\.0 s by its header, and ends after .* cut off"):
        list(read_frames(io.BytesIO(path.read_bytes()) if in_memory else path, name))
    path.write_bytes(data[:-1])
    assert len(list(read_frames(path))) == 24, "its index alone is cut off"


def test_a_video_that_is_cut_off_before_its_first_frame_says_so(tmp_path):
    path = write_video(tmp_path / "a.mkv", moving_ball(3), "yuvj420p", codec="mjpeg")
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"\xff\xd8") + 9])  # into its first JPEG
    assert video_header(path).bits == 8, "though its format is not known"
    assert frames_before_error(path, "not one frame in it") == 0


def test_frames_that_an_edit_list_leaves_out_are_not_missed(tmp_path):
    """As of a clip that was cut without encoding: its packets begin at a key frame before the cut."""
    if not hasattr(av.stream.Stream, "index_entries"):
        pytest.skip(f"PyAV {av.__version__} does not show what an edit list leaves out")
    path = with_damaged_packets(
        write_video(tmp_path / "whole.mp4", moving_ball(24), rate=12), tmp_path / "cut.mp4", (), earlier=Fraction(2, 3)
    )
    assert len(list(read_frames(path))) == read.count_frames(path) == video_header(path).frames == 16


@pytest.mark.parametrize(
    ("beginning", "size"),
    [
        (b"\x1a\x45\xdf\xa3\x82??" + b"\x18\x53\x80\x67\x83", 15),
        (b"\x1a\x45\xdf\xa3\x40\x02??" + b"\x18\x53\x80\x67\x40\x03", 17),
        (b"\x1a\x45\xdf\xa3\x82??" + b"\x18\x53\x80\x67\xff", 0),  # a live stream
        (b"\x1a\x45\xdf\xa3\x82??" + b"\x18\x53\x80\x67\x01" + b"\xff" * 7, 0),
        (b"\x1a\x45\xdf\xa3\x82??" + b"\x18\x53\x80\x67\x00", 0),
        (b"\x1a\x45\xdf\xa3", 0),
        (b"", 0),
        (b"FLV\x01", 0),
    ],
)
def test_a_matroska_says_how_many_bytes_it_has(beginning, size):
    """0 = it does not say."""
    assert is_cut_matroska(io.BytesIO(beginning), "") == (size > len(beginning))
    assert not is_cut_matroska(io.BytesIO(beginning.ljust(size)), "")


def test_a_video_whose_size_changes_is_read_up_to_there(tmp_path):
    parts = [write_video(tmp_path / f"{h}.ts", moving_ball(10, h, 64), codec="libx264", options={"g": "5"}) for h in (48, 32)]
    (tmp_path / "both.ts").write_bytes(b"".join(part.read_bytes() for part in parts))
    assert frames_before_error(tmp_path / "both.ts", "from 64x48 to 64x32 pixels after 10 frames") == 10


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("noise.mp4", bytes(range(256)) * 50, "not a video"),
        ("text.png", b"hello", "not a video"),
        ("torn.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(60), "not one image of it could be decoded"),
    ],
)
def test_files_that_are_no_videos(tmp_path, name, data, message):
    (tmp_path / name).write_bytes(data)
    assert frames_before_error(tmp_path / name, f"{name}: {message}") == 0


def test_what_has_no_images_is_no_video(tmp_path):
    with pytest.raises(FileNotFoundError):
        video_header(tmp_path / "none.mp4")
    for has_cover in (False, True) if hasattr(av.stream, "Disposition") else (False,):
        with av.open(str(tmp_path / "sound.mp4"), "w") as container:
            track = container.add_stream("aac", rate=44100)
            if has_cover:
                cover = container.add_stream("mjpeg", rate=25)
                cover.width, cover.height, cover.pix_fmt = 64, 48, "yuvj420p"
                cover.disposition = av.stream.Disposition.attached_pic.value  # a number only since PyAV 18
                container.mux(cover.encode(av.VideoFrame(64, 48, "yuvj420p")))
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate = 44100
            container.mux(track.encode(frame))
            container.mux(track.encode(None))
        with pytest.raises(VideoError, match="there are no images in it"):
            video_header(tmp_path / "sound.mp4")


@pytest.mark.parametrize("kind", ["mkv", "mp4"])
def test_an_image_before_the_video_is_not_taken_for_it(tmp_path, kind):
    """As of a song's cover that is not marked as one; a fragmented MP4 and a Matroska do not say how many images there are."""
    with av.open(str(tmp_path / f"a.{kind}"), "w", options={"movflags": "frag_keyframe+empty_moov"} if kind == "mp4" else {}) as container:
        for codec, pixels in (("mjpeg", "yuvj420p"), ("mpeg4", "yuv420p")):
            stream = container.add_stream(codec, rate=25)
            stream.width, stream.height, stream.pix_fmt = 64, 48, pixels
        for stream, count in zip(container.streams.video, (1, 6), strict=True):
            for frame in (*(av.VideoFrame(64, 48, stream.pix_fmt) for _ in range(count)), None):
                container.mux(stream.encode(frame))
    assert len(list(read_frames(tmp_path / f"a.{kind}"))) == 6


def test_a_codec_that_pyav_lacks_is_said(tmp_path):
    path = write_video(tmp_path / "odd.mp4", moving_ball(3), codec="libx264")
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzz1"))
    with pytest.raises(VideoError, match="no decoder"):
        video_header(path)


def test_numbered_images_and_folders_are_videos(tmp_path):
    for number in (1, 2, 10):
        Image.new("L", (12, 8), number * 20).save(tmp_path / f"frame_{number}.png")
    (tmp_path / "notes.txt").write_text("no image")
    for source in (tmp_path, tmp_path / "frame_%d.png"):
        assert is_sequence(source) and sequence_header(source).frames == 3
        frames = list(read_sequence(source, Fraction(10)))
        assert [float(frame.image()[0, 0, 0] * 255) for frame in frames] == pytest.approx([20, 40, 200])
        assert [frame.time for frame in frames] == [0, Fraction(1, 10), Fraction(1, 5)]
    assert numbered("a/frame_%05d.png", 12) == Path("a/frame_00012.png")
    Image.new("L", (12, 9)).save(tmp_path / "frame_11.png")
    with pytest.raises(VideoError, match="12x9 pixels, those before 12x8"):
        [frame.image() for frame in read_sequence(tmp_path)]
    with pytest.raises(VideoError, match="not one such image"):
        sequence_header(tmp_path / "other_%03d.png")


@pytest.mark.parametrize(
    ("names", "numbers", "places"),
    [
        (["s.1001.png", "s.1002.png", "s.1004.png"], [1001, 1002, 1004], [0, 1, 3]),
        (["a0_v2.png", "a1_v2.png"], [0, 1], [0, 1]),
        (["1.png", "9000.png"], [1, 9000], [0, 1]),  # of something else than frames
        (["s7.png"], [7], [0]),
        (["f_-004.png", "f_-001.png", "f_0000.png", "f_0002.png"], [-4, -1, 0, 2], [0, 3, 4, 6]),
        (["f-0002.png", "f-0001.png", "f0000.png"], [-2, -1, 0], [0, 1, 2]),  # as Blender writes them
        (["s.-0002.png", "s.-0001.png"], [-2, -1], [0, 1]),
        (["shot-0001.png", "shot-0002.png"], [1, 2], [0, 1]),
        (["2026-01-02_1.png", "2026-01-02_2.png"], [1, 2], [0, 1]),
        (["a1b1.png", "a2b2.png"], [None, None], [0, 1]),
        (["one.png", "two.png"], [None, None], [0, 1]),
    ],
)
def test_a_missing_number_is_a_gap_in_time(tmp_path, names, numbers, places):
    for name in names:
        Image.new("L", (4, 4)).save(tmp_path / name)
    assert find_images(tmp_path) == [tmp_path / name for name in names]
    frames = list(read_sequence(tmp_path, Fraction(10)))
    assert [frame.number for frame in frames] == numbers and [frame.time * 10 for frame in frames] == places
    assert sum(frame.duration for frame in frames) * 10 == places[-1] + 1 == sequence_header(tmp_path, Fraction(10)).seconds * 10


@pytest.mark.parametrize("names", [["f_-002.png", "f_-001.png", "f_0000.png"], ["f_-0002.png", "f_-0001.png", "f_0000.png"]])
def test_a_pattern_finds_negative_numbers(tmp_path, names):
    for name in [*names, "f_-x.png", "f_--001.png"]:
        (tmp_path / name).touch()
    pattern = tmp_path / "f_%04d.png"
    assert find_images(pattern) == [tmp_path / name for name in names] and frame_numbers(pattern) == [-2, -1, 0]
    assert numbered(pattern, -2) == tmp_path / "f_-002.png" and reads(pattern, tmp_path / names[0])


@pytest.mark.parametrize("suffix", ["hdr", "tif"])
def test_images_of_light_have_one_exposure(tmp_path, suffix):
    """What does not change does not flicker where something else becomes bright, or where a clip begins in black."""
    import cv2

    for number, light in enumerate([0.0001, 1, 1, 20, 20], 1):
        image = np.full((8, 12, 3), 0.2 * min(light, 1), np.float32)
        image[:, 6:] *= max(light, 1)
        cv2.imwrite(str(tmp_path / f"l_{number}.{suffix}"), image)
    shown = torch.stack([frame.image()[0, 0] for frame in read_sequence(tmp_path)])
    torch.testing.assert_close(shown[1:, 0], shown[1, 0].expand(4), atol=1e-3, rtol=0)
    assert shown[0].max() < 0.02 < shown[1, 0] and (shown[3:, 11] > shown[1, 11] + 0.2).all()


def test_numbers_beside_images_are_no_frames(tmp_path):
    """EXR files are frames of a folder that has no other images, else depth that was made of these."""
    (tmp_path / "d_1.exr").touch()
    assert images_of_folder(tmp_path) == [tmp_path / "d_1.exr"] and reads(tmp_path, tmp_path / "e.png")
    Image.new("L", (4, 4)).save(tmp_path / "a_1.png")
    assert images_of_folder(tmp_path) == [tmp_path / "a_1.png"] and not reads(tmp_path, tmp_path / "d_2.exr")


@pytest.mark.quick_cases(3)
@pytest.mark.parametrize(("container", "codec"), [("mp4", "libx264"), ("mkv", "libx264"), ("mkv", "ffv1"), ("webm", "libvpx-vp9")])
@pytest.mark.parametrize("damaged", [(20, 21), (29,)])
def test_frames_that_cannot_be_decoded_are_held(tmp_path, container, codec, damaged):
    options = {"g": "5"} if codec == "libx264" else {}
    whole = write_video(tmp_path / f"whole.{container}", moving_ball(30), codec=codec, options=options)
    path = with_damaged_packets(whole, tmp_path / f"damaged.{container}", damaged)
    times = [frame.time for frame in read_frames(whole)]
    frames = list(read_frames(path))
    assert [frame.time for frame in frames] == times and sum(frame.held for frame in frames) < 8
    for before, frame in pairwise(frames):
        assert not frame.held or before.held or torch.equal(before.image(), frame.image())
    decoded = []
    with suppress(VideoError):
        decoded.extend(read_frames(path, strict=True))
    assert len(decoded) <= 30 - sum(frame.held for frame in frames)


LOGGED = """
import sys, time, logging
import av
from depth_normal.media import read_frames

class Slow(logging.Handler):
    def emit(self, record):
        time.sleep(0.02)

logging.getLogger("libav").addHandler(Slow(1))
logging.getLogger("libav").setLevel(1)
av.logging.set_level(av.logging.DEBUG)
av.logging.set_skip_repeated(False)
frames = read_frames(sys.argv[1])
next(frames)
frames.close()
"""


@pytest.mark.slow("imports torch once more")
def test_a_decoder_whose_threads_log_to_python_can_be_left(tmp_path):
    """Freed by one that holds the GIL, they would wait for each other for ever: the whole process, ComfyUI's too, would stand still."""
    path = write_video(tmp_path / "a.mp4", moving_ball(24), codec="libx264")
    subprocess.run([sys.executable, "-c", LOGGED, path], check=True, timeout=60)


def test_one_wrong_bit_of_a_recordings_time_does_not_make_hours_of_it(tmp_path):
    path = write_video(tmp_path / "a.ts", moving_ball(24), codec="libx264", options={"bf": "2"})
    whole, data = [frame.time for frame in read_frames(path)], bytearray(path.read_bytes())
    packets = [at.start() for at in re.finditer(rb"\x00\x00\x01\xe0...\xc0", data, re.DOTALL)]  # those with both times
    data[packets[len(packets) // 2] + 9] ^= 2
    path.write_bytes(data)
    assert [frame.time for frame in read_frames(path)] == whole


def test_a_recording_that_begins_between_two_microseconds_keeps_its_first_image(tmp_path):
    for begins in range(1, 4):
        path = write_broadcast(tmp_path / "a.ts", 1, begins=Fraction(begins, 7), rate=7)
        assert [round(frame.time * 7) for frame in read_frames(path)] == [*range(7)]


@pytest.mark.parametrize("rate", [Fraction(24000, 1001), Fraction(30), Fraction(60000, 1001), Fraction(120000, 1001)])
def test_a_clock_of_milliseconds_hides_no_rate(tmp_path, rate):
    path = write_video(tmp_path / "a.mkv", moving_ball(30), rate=rate)
    header = video_header(path)
    assert header.rate == rate and (1 / rate / header.time_base).denominator == 1
    frames = [*read_frames(path)]
    assert [frame.time for frame in frames] == [number / rate for number in range(30)] and frames[-1].duration == 1 / rate


@pytest.mark.parametrize(("rate", "times"), [(24, [0, 1, 2, 42, 83, 84, 125]), (25, [0, 39, 40, 80, 120])])
def test_frames_a_millisecond_apart_move_no_other(tmp_path, rate, times):
    path = write_video(tmp_path / "a.mkv", moving_ball(len(times)), rate=rate, times=times, time_base=Fraction(1, 1000))
    assert [round(1000 * frame.time) for frame in read_frames(path)] == times
