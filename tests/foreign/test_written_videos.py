"""Videos that the pack writes, by FFmpeg's, Matroska's and MediaArea's programs, and by ExifTool."""

import hashlib
import json

import numpy as np
import pytest

pytest.importorskip("av", reason="videos need PyAV (pip install av)")

from depth_normal.app.cli import main
from tests.media.test_write import ramp, write
from tests.videos import moving_ball, write_video

pytestmark = pytest.mark.foreign

KINDS = [("h264", "x.mp4"), ("h264", "x.mov"), ("h264", "x.mkv"), ("h265", "x.mp4"), ("h265", "x.mkv"), ("prores", "x.mov")]
KINDS += [("dnxhr", "x.mov"), ("ffv1", "x.mkv")]


def check(validator, path, frames):
    """It decodes without a word, has so many frames, and no validator objects."""
    said = validator("ffmpeg", "-v", "warning", "-i", path, "-map", "0:v", "-f", "framemd5", "-")
    rows = [line for line in said.splitlines() if not line.startswith("#")]
    assert len(rows) == frames and all(len(row.split(",")) == 6 for row in rows), said
    assert "Validate                        : OK" in validator("exiftool", "-validate", "-warning", "-a", path)
    if path.suffix == ".mkv":
        told = json.loads(validator("mkvmerge", "-J", path))
        assert told["container"]["supported"] and not told["errors"] and not told["warnings"]
        assert validator("mediaconch", "-mc", path).startswith("pass!")
    return [row.split(",")[5].strip() for row in rows]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("codec", "name"), KINDS)
def test_every_kind_is_valid(validator, tmp_path, codec, name, channels):
    images = ramp(6, channels, height=128, width=256)
    sums = check(validator, write(tmp_path / name, images, codec), 6)
    if codec == "ffv1":  # FFmpeg's own decoder has every bit; colours are stored as green, blue, red
        levels = [np.rint(image[[1, 2, 0][:channels] if channels == 3 else [0]].double().numpy() * 65535).astype("<u2") for image in images]
        assert sums == [hashlib.md5(each.tobytes()).hexdigest() for each in levels]


@pytest.mark.slow("computes the depth of a video")
@pytest.mark.parametrize("name", ["out.mkv", "out.mp4"])
def test_depth_of_a_video_with_sound_is_valid(validator, tmp_path, name):
    source = write_video(tmp_path / "in.mp4", moving_ball(10), codec="libx264", sound=(0.4, "aac"))
    words = ["video", str(source), "-o", str(tmp_path / name), "--model", "tiny", "--size", "64", "--device", "cpu"]
    assert main(words) == 0
    assert len(check(validator, tmp_path / name, 10)) == 10
    assert "Audio" in validator("ffprobe", "-v", "info", tmp_path / name)
