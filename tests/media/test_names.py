import io
import os
import socket
import threading
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from PIL import Image

from depth_normal.media.join import Segment, join_segments
from depth_normal.media.library import VideoError
from depth_normal.media.read import read_frames, video_header
from depth_normal.media.sequences import find_images, is_sequence, numbered, numbered_files
from depth_normal.media.sound import Sound
from depth_normal.media.write import VideoWriter
from tests.videos import av, moving_ball, write_video

NAMES = ["2026-11-22T10:30.mp4", "file:x.mp4", "concat:a.mp4|b.mp4", "-i.mp4", "line\nbreak.mp4", "take_%d.mp4", "data:,x.mp4", "a?b#c.mp4"]
if os.name == "posix":
    NAMES.append(os.fsdecode(b"\xff\xfe.mp4"))
ADDRESSES = [
    "http:/{host}/x.mp4",
    "rtsp:/{host}/x",
    "udp:/{host}",
    "tcp:/{host}",
    "concat:secret.ts|secret.ts",
    "subfile,,start,0,end,0,,:secret.ts",
]


@pytest.fixture
def video(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write_video(tmp_path / "secret.ts", moving_ball(5), codec="libx264", options={"g": "5"})


@pytest.fixture
def server():
    """The address of a server, and who has called it."""
    calls: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def listen():
            while True:
                try:
                    connection, peer = listener.accept()
                except OSError:
                    return
                calls.append(str(peer))
                connection.close()

        threading.Thread(target=listen, daemon=True).start()
        yield f"127.0.0.1:{listener.getsockname()[1]}", calls


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_a_name(video, name):
    """In and out, from a folder of such a name too; relative, as a person types it."""
    folder = Path("http:")
    folder.mkdir()
    for path in (Path(name), folder / name):
        with VideoWriter(folder / "piece.mp4", "h264", Fraction(25), Fraction(1, 25)) as writer:
            for number in range(3):
                writer.write(torch.full((1, 32, 64), number / 3), Fraction(number, 25), Fraction(1, 25))
        join_segments(path, [Segment(folder / "piece.mp4", Fraction(0))], Sound(video))
        assert not is_sequence(path)
        assert video_header(path).frames == len(list(read_frames(path))) == 3


@pytest.mark.parametrize("name", ADDRESSES)
def test_an_address_is_a_missing_file(video, server, name):
    host, calls = server
    with pytest.raises(FileNotFoundError):
        video_header(Path(name.format(host=host)))
    with pytest.raises(FileNotFoundError):
        next(read_frames(Path(name.format(host=host))))
    assert not calls


@pytest.mark.skipif(os.name != "posix", reason="pipes and devices as files")
def test_what_is_no_regular_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "zero.mp4").symlink_to("/dev/zero")
    for name, kind in (("pipe.mp4", "a pipe or a device"), ("zero.mp4", "a pipe or a device"), ("", "a folder")):
        with pytest.raises(VideoError, match=f"it is {kind}; videos are read from regular files"):
            video_header(tmp_path / name)


PLAYLIST = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{}\n#EXT-X-ENDLIST\n"
DASH = (
    '<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT1S" '
    'profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"><Period><AdaptationSet mimeType="video/mp4">'
    '<Representation id="1" bandwidth="1"><BaseURL>{}</BaseURL></Representation></AdaptationSet></Period></MPD>'
)
SESSION = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video {} RTP/AVP 96\na=rtpmap:96 H264/90000\n"
SUBTITLES = "# VobSub index file, v7\nsize: 720x576\nid: en, index: 0\ntimestamp: 00:00:00:000, filepos: 000000000\n"


def lists(host: str) -> dict[str, str]:
    """Files that name others, of a neighbour and of a server."""
    return {
        "near.m3u8": PLAYLIST.format("secret.ts"),
        "far.m3u8": PLAYLIST.format(f"http://{host}/secret.ts"),
        "hidden.mp4": PLAYLIST.format("secret.ts"),
        "near.mp4": "ffconcat version 1.0\nfile secret.ts\n",
        "far.ffconcat": f"ffconcat version 1.0\nfile http://{host}/secret.ts\n",
        "near.mpd": DASH.format("secret.ts"),
        "far.mpd": f'<?xml version="1.0"?>\n{DASH.format(f"http://{host}/")}',
        "session.sdp": SESSION.format(host.partition(":")[2]),
        "secret.idx": SUBTITLES,
        "script.avs": 'FFmpegSource2("secret.ts")\n',
        "picture_%d.png": "no image",
    }


def test_what_a_file_names_is_not_read(video, server):
    """As a path, and as the file-like object that ComfyUI gives; the message says what it is."""
    host, calls = server
    write_video(Path("secret.mpg"), moving_ball(5), codec="mpeg1video").rename("secret.sub")
    for name, text in lists(host).items():
        Path(name).write_text(text)
        for source in (Path(name), io.BytesIO(text.encode())):
            with pytest.raises(VideoError) as raised:
                video_header(source, name)
                next(read_frames(source, name))
            words = "a list of other files" if not name.startswith(("script", "picture")) else "not a video"
            assert words in str(raised.value), name
    assert not calls


def test_a_demuxer_that_looks_for_others_finds_none(video, monkeypatch):
    """Also where the beginning of a file does not say that it is a list."""
    from depth_normal.media import library

    monkeypatch.setattr(library, "_PLAYLISTS", (b"\0",))
    Path("near.mp4").write_text("ffconcat version 1.0\nfile secret.ts\n")
    with pytest.raises(VideoError, match=r"near\.mp4: not a video that can be opened"):
        video_header("near.mp4")
    with av.open("near.mp4") as container:
        assert container.streams.video, "FFmpeg alone reads the neighbour"


@pytest.mark.parametrize("name", ["f_%999999999d.png", "f_%0999999999d.png", "f_%21d.png"])
def test_numbers_of_absurdly_many_digits_are_refused(name, tmp_path):
    for use in (lambda path: numbered(path, 1), numbered_files, find_images):
        with pytest.raises(VideoError, match=r"at most 20 .* frame_%05d\.png"):
            use(tmp_path / name)
    assert numbered("f_%020d.png", 7) == Path(f"f_{7:020d}.png")


def test_a_folder_of_any_names_has_an_order(tmp_path):
    """A raised 2 is a digit to Python, and no number."""
    names = ["²1.png", "a10.png", "a2.png", "m².png"]
    for name in names:
        Image.new("L", (8, 8)).save(tmp_path / name)
    assert sorted(each.name for each in find_images(tmp_path)) == sorted(names)
    assert [each.name for each in find_images(tmp_path) if each.name.startswith("a")] == ["a2.png", "a10.png"]
