"""`depth-normal video --depth`: what the user's own depth of each frame makes, whatever files it is in."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from depth_normal.app import cli
from depth_normal.app.video.own_depth import DepthKind
from depth_normal.geometry.estimate import Quantity
from depth_normal.geometry.files import load_estimate
from depth_normal.geometry.files.values import read_values
from depth_normal.media.sequences import MAPS, find_images
from tests.videos import frames_of, moving_ball, stop_after, write_video

pytest.importorskip("OpenEXR")
COUNT, HEIGHT, WIDTH = 12, 48, 64
LEVELS = np.stack([np.tile(np.arange(WIDTH, dtype=np.uint16) * 3 + 5 * number, (HEIGHT, 1)) for number in range(COUNT)])
"""A ramp of disparity for each frame, which is brighter from frame to frame."""


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    return write_video(tmp_path_factory.mktemp("clip") / "in.mp4", moving_ball(COUNT), codec="libx264")


def run(*words) -> int:
    return cli.main(["video", *map(str, words)])


def numbered(path: Path, kind: str, numbers=range(1, COUNT + 1), levels=LEVELS) -> Path:
    path.mkdir()
    for number, each in zip(numbers, levels, strict=False):
        if kind == "png":
            Image.fromarray(each.astype(np.uint8)).save(path / f"d_{number:04d}.png")
        else:
            np.savez(path / f"d_{number:04d}.npz", depth=each / np.float32(255))
    return path


def made(folder: Path, pattern="o_*.exr") -> tuple[list[int], np.ndarray]:
    """The numbers of the EXRs that were written, and their disparity."""
    found = sorted(folder.glob(pattern))
    estimates = [load_estimate(path) for path in found]
    assert {each.quantity for each in estimates} <= {Quantity.DISPARITY}
    return [int(path.stem[2:]) for path in found], np.stack([each.depth[0, 0].numpy() for each in estimates])


SOURCES = {
    "video": lambda at: write_video(at / "d.mkv", [[each * np.uint16(257)] for each in LEVELS], "gray16le"),
    "folder": lambda at: numbered(at / "d", "png"),
    "pattern": lambda at: numbered(at / "d", "npz", range(COUNT)) / "d_%04d.npz",
    "array": lambda at: np.savez(at / "d.npz", depths=LEVELS / np.float32(255)) or at / "d.npz",
}


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("kind", SOURCES)
def test_each_frame_has_its_depth(clip, tmp_path, kind):
    assert run(clip, "--depth", SOURCES[kind](tmp_path), "-o", tmp_path / "o_%02d.exr", "--start", 0.1) == 0
    numbers, depth = made(tmp_path)
    assert numbers == list(range(1, COUNT - 2)), "the depth of frames that are left out is left out"
    np.testing.assert_allclose(depth, LEVELS[3:] / 255, atol=0.003)


@pytest.mark.slow("takes a second")
def test_a_depth_cameras_video_is_in_millimetres(clip, tmp_path, caplog):
    levels = LEVELS * np.uint16(16)
    depth = write_video(tmp_path / "d.mkv", [[each] for each in levels], "gray16le")
    assert run(clip, "--depth", depth, "-o", tmp_path / "o.mp4", "--what", "depth") == 0
    assert caplog.text.count("add --quantity millimetres") == 1, "not for each frame"
    assert run(clip, "--depth", depth, "-o", tmp_path / "o_%02d.exr", "--quantity", "millimetres") == 0
    found = load_estimate(tmp_path / "o_12.exr")
    assert found.quantity is Quantity.METRIC_DEPTH
    np.testing.assert_allclose(found.depth[0, 0], levels[-1] / 1000, rtol=1e-6)


def test_depth_is_cut_as_the_frames_are(clip, tmp_path):
    depth = numbered(tmp_path / "d", "npz")
    assert run(clip, "--depth", depth, "-o", tmp_path / "o_%02d.exr", "--width", 48, "--height", 48) == 0
    np.testing.assert_allclose(made(tmp_path)[1], LEVELS[:, :, 8:56] / 255, atol=0.003)


def test_frames_and_depth_with_numbers_belong_together_by_these(tmp_path):
    frames = numbered(tmp_path / "shot", "png", range(1001, 1001 + COUNT))
    (frames / "d_1005.png").unlink()
    depth = numbered(tmp_path / "d", "npz", range(1001, 1001 + COUNT))
    assert run(frames, "--depth", depth, "-o", tmp_path / "o_%04d.exr") == 0
    numbers, found = made(tmp_path)
    assert numbers == [number for number in range(1001, 1001 + COUNT) if number != 1005]
    np.testing.assert_allclose(found, np.delete(LEVELS, 4, 0) / 255, atol=1e-6)


@pytest.mark.slow("takes a second")
def test_frames_of_a_variable_rate_are_counted(tmp_path, caplog):
    """Matroska says no number of frames, and of a variable rate no rate."""
    moments, planes = [0, 40, 200, 210, 900, 1000], [[each] for each in LEVELS[:6].astype(np.uint8)]
    clip = write_video(tmp_path / "c.mkv", planes, "gray", rate=10, times=moments, time_base=Fraction(1, 1000))
    depth = tmp_path / "d.mkv"
    assert run(clip, "--depth", numbered(tmp_path / "d", "npz", range(6)), "-o", depth, "--codec", "ffv1") == 0
    assert run(clip, "--depth", depth, "-o", tmp_path / "o_%02d.exr") == 0
    assert made(tmp_path)[0] == [1, 2, 3, 4, 5, 6] and "has 6 frames" not in caplog.text


@pytest.mark.slow("takes a second")
@pytest.mark.parametrize(("kept", "reason"), [(range(9), "frame 10"), ([*range(5), *range(6, COUNT)], "frame 6")])
def test_a_frame_without_depth_ends_the_video_and_is_said(clip, tmp_path, capsys, caplog, kept, reason):
    depth = numbered(tmp_path / "d", "npz", [number + 1 for number in kept], LEVELS[list(kept)])
    assert run(clip, "--depth", depth, "-o", tmp_path / "o.mp4", "--what", "stereo") == 1 and (tmp_path / "o.mp4").exists()
    assert f"has {len(kept)} frames, and {clip} {COUNT}" in caplog.text
    assert f"there is no depth for {reason} of the video" in capsys.readouterr().err
    if len(kept) == 9:
        assert run(clip, "--depth", depth, "-o", tmp_path / "p.mp4", "--what", "stereo", "--frames", 9) == 0


@pytest.mark.slow("takes most of a second")
def test_a_run_that_was_stopped_goes_on_with_the_same_depth(clip, tmp_path, monkeypatch, capsys):
    first, other = numbered(tmp_path / "d", "png"), numbered(tmp_path / "e", "png", levels=LEVELS[::-1])
    words = ("-o", tmp_path / "o.mkv", "--codec", "ffv1", "--what", "stereo", "--segment", 4)
    assert run(clip, "--depth", first, "-o", tmp_path / "whole.mkv", *words[2:]) == 0
    with monkeypatch.context() as patch:
        stop_after(patch, 6)
        assert run(clip, "--depth", first, *words) == 130
    assert run(clip, "--depth", other, *words, "--resume") == 2
    assert "begun with other settings (depth, depth_files)" in capsys.readouterr().err
    assert run(clip, "--depth", first, *words, "--resume") == 0
    packets = frames_of(tmp_path / "o.mkv")
    assert packets == frames_of(tmp_path / "whole.mkv") and len(packets) == COUNT


def test_a_tutorials_dmap_is_large_where_far(tmp_path):
    np.savez(tmp_path / "d.npz", dmap=LEVELS[0] / 255)
    values = read_values(tmp_path / "d.npz")
    assert [DepthKind(named).estimate(values, "d").quantity.value for named in (None, "disparity")] == ["relative_depth", "disparity"]


def test_of_a_folder_the_files_that_say_most_are_the_depth(tmp_path):
    depth = numbered(tmp_path / "d", "png")
    np.savez(depth / "d_0001.npz", depth=LEVELS[0])
    assert [path.name for path in find_images(depth, MAPS)] == ["d_0001.npz"] and len(find_images(depth)) == COUNT
