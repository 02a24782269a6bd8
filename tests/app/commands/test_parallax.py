"""`depth-normal parallax`: a video of a small camera move through an image, or through a video."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from depth_normal.app import cli
from depth_normal.app.commands.arguments import chosen_move
from depth_normal.media import read_frames, video_header
from depth_normal.options.views import AMOUNT, AMOUNT_OF_TINY, MoveOptions
from tests.videos import moving_ball, write_video

TINY = ("--model", "tiny", "--size", "32")


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "photo.png"
    pixels = np.random.default_rng(0).integers(0, 255, (9, 12, 3), dtype=np.uint8)
    cv2.imwrite(str(path), cv2.resize(pixels, (97, 72), interpolation=cv2.INTER_CUBIC))
    return path


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "clips" / "clip.mkv"
    path.parent.mkdir()
    write_video(path, moving_ball(12))
    return path


@pytest.fixture
def depth(tmp_path):
    path = tmp_path / "depth.png"
    cv2.imwrite(str(path), np.repeat(np.where(np.arange(97) < 40, 255, 0)[None], 72, 0).astype(np.uint8))
    return path


def run(*words):
    return cli.main(["parallax", *map(str, words)])


def frames(path):
    return [frame.image() for frame in read_frames(path)]


@pytest.mark.parametrize(("asked", "model", "amount"), [(None, "tiny", AMOUNT_OF_TINY), (None, None, AMOUNT), (0.1, "tiny", 0.1)])
def test_the_camera_goes_less_far_with_soft_depth(asked, model, amount):
    arguments = cli._parsed(["parallax", "a.png", *([] if asked is None else ["--amount", str(asked)])])
    assert chosen_move(arguments, MoveOptions, model).amount == amount
    assert chosen_move(arguments, MoveOptions, "moge-2-vits-normal").amount == (asked or AMOUNT)


@pytest.mark.parametrize(
    ("words", "of_video"),
    [
        ("", ""),
        (
            "--move swing --amount 0.1 --focus 0.2 --border mirror --seconds 0.5 --rate 10",
            "--move swing --amount 0.1 --focus 0.2 --border mirror --loop 0.5 --fps 10",
        ),
    ],
)
@pytest.mark.slow("takes most of a second")
def test_a_video_is_made_as_by_the_command_of_videos(clip, tmp_path, words, of_video):
    one, other = tmp_path / "a.mp4", tmp_path / "b.mp4"
    assert run(clip, *TINY, *words.split(), "-o", one) == 0
    assert cli.main([*map(str, ("video", clip, "--what", "parallax", *TINY, *of_video.split(), "-o", other))]) == 0
    assert video_header(one).rate == video_header(other).rate
    assert np.array_equal(frames(one), frames(other))


@pytest.mark.slow("takes most of a second")
def test_a_list_on_stdin_is_read_once(clip, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    listed = tmp_path / "list.txt"
    listed.write_text("clips/clip.mkv\n")
    with listed.open() as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        assert run("-", *TINY, "-o", "out/") == 0
    assert Path("out", "clips", "clip_parallax.mp4").exists()


def test_numbered_images_are_one_video(image, tmp_path):
    for number in range(3):
        (tmp_path / f"frame_{number}.png").write_bytes(image.read_bytes())
    assert run(tmp_path / "frame_%d.png", *TINY, "-o", tmp_path / "a.mp4") == 0
    assert len(frames(tmp_path / "a.mp4")) == 3


def test_a_loop_begins_with_the_image_and_moves_what_is_near(image, depth, tmp_path, capsys):
    out = tmp_path / "a.mp4"
    words = ("--move", "swing", "--seconds", "0.5", "--rate", "16", "--focus", "0", "--amount", "0.1", "--border", "mirror")
    assert run(image, "--depth", depth, *words, "-o", out) == 0
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
