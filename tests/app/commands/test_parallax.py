"""`depth-normal parallax`: a video of a small camera move through an image."""

import cv2
import numpy as np
import pytest

from depth_normal.app import cli
from depth_normal.app.commands.camera_moves import MAX_AMOUNT, MOVE_CHOICES
from depth_normal.geometry.views import parallax
from depth_normal.media import read_frames, video_header

pytest.importorskip("av", reason="videos need PyAV")


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "photo.png"
    pixels = np.random.default_rng(0).integers(0, 255, (9, 12, 3), dtype=np.uint8)
    cv2.imwrite(str(path), cv2.resize(pixels, (97, 72), interpolation=cv2.INTER_CUBIC))
    return path


@pytest.fixture
def depth(tmp_path):
    """A depth image: the left half is near."""
    path = tmp_path / "depth.png"
    cv2.imwrite(str(path), np.repeat(np.where(np.arange(97) < 40, 255, 0)[None], 72, 0).astype(np.uint8))
    return path


def run(*words):
    return cli.main(["parallax", *map(str, words)])


def frames(path):
    return [frame.image() for frame in read_frames(path)]


def test_the_choices_are_those_of_the_geometry():
    assert MOVE_CHOICES == parallax.MOVES and MAX_AMOUNT == parallax.MAX_AMOUNT


def test_a_video_is_sent_to_the_command_of_videos(tmp_path, capsys):
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"\0\0\0\x18ftypisom" + bytes(100))
    assert run(clip, "--model", "tiny") == 2
    assert "`depth-normal video` makes maps, stereo and camera moves of videos" in capsys.readouterr().err


def test_a_loop_begins_with_the_image_and_moves_what_is_near(image, depth, tmp_path, capsys):
    out = tmp_path / "a.mp4"
    assert (
        run(image, "--depth", depth, "--move", "swing", "--seconds", "0.5", "--rate", "16", "--focus", "0", "--amount", "0.1", "-o", out)
        == 0
    )
    assert "a.mp4 (8 frames)" in capsys.readouterr().out
    header, shown = video_header(out), frames(out)
    assert len(shown) == 8 and header.rate == 16 and shown[0].shape[-2:] == (72, 98), "an even width"
    photo = cv2.imread(str(image))[..., ::-1].astype(np.float32) / 255
    first = shown[0][..., :97].numpy()
    assert np.abs(first - np.moveaxis(photo, -1, 0)).mean() < 0.03
    moved = np.abs(shown[2].numpy() - shown[0].numpy()).mean((0, 1))
    assert moved[5:30].mean() > 5 * moved[60:95].mean(), "the far half, in focus, stays"


def test_a_large_image_is_made_smaller(image, depth, tmp_path):
    assert run(image, "--depth", depth, "--seconds", "0.1", "--longer-side", "48", "-o", tmp_path / "a.mov") == 0
    assert frames(tmp_path / "a.mov")[0].shape[-2:] == (36, 48)


def test_several_images_go_to_a_folder(image, tmp_path):
    second = tmp_path / "second.png"
    second.write_bytes(image.read_bytes())
    assert run(image, second, "--model", "tiny", "--size", "64", "--seconds", "0.1", "-o", f"{tmp_path / 'out'}/") == 0
    assert sorted(path.name for path in (tmp_path / "out").glob("*.mp4")) == ["photo_parallax.mp4", "second_parallax.mp4"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--amount", "0.5"), "--amount is 0.5"),
        (("--focus", "2"), "--focus is 2"),
        (("--seconds", "0"), "are 0 frames; accepted: 1 to 10000"),
        (("--longer-side", "3"), "--longer-side is 3; accepted: 0, and 16 and more"),
        (("-o", "a.png"), "this command writes .mp4, .mov, .mkv"),
        (("--model", "bae-normal"), "depth is needed"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_read(image, words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(image, "--model", "tiny", *words) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "depth-normal").exists()
