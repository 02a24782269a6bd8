"""`depth-normal video`: video to video, as a person runs it."""

import errno
import functools
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from depth_normal.annotators.registry import MODELS
from depth_normal.app import cli
from depth_normal.app.video import rendering as video_rendering
from depth_normal.app.video import run as video_run
from depth_normal.app.video import segments as video_segments
from depth_normal.app.video import task as video_task
from depth_normal.app.video.run import threads_of_pipeline
from depth_normal.app.video.task import usual_name
from depth_normal.geometry.camera import intrinsics_from_fov
from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.geometry.files import load_estimate
from depth_normal.geometry.images.render import default_depth_image, default_depth_range, normals_to_image
from depth_normal.geometry.levels import measure_range
from depth_normal.geometry.surfaces.derive import with_normals
from depth_normal.geometry.temporal.ranges import RunningRange
from depth_normal.geometry.views import parallax, stereo, vr
from depth_normal.media import read_frames, video_header
from depth_normal.media.sequences import numbered
from depth_normal.model_loader import load_model
from depth_normal.options.video import PRESETS, ClipOptions, VideoOptions
from depth_normal.options.views import LoopOptions
from tests.forked import COMMAND, end_of, python
from tests.videos import frames_of, moving_ball, seconds_of, sound_of, stop_after, with_damaged_packets, write_video

H264 = {"codec": "libx264", "options": {"crf": "1"}}
MORE = pytest.mark.slow("more of a command's choices")
LOOK = 8 / 255
"""The most that H.264 of 8 bits at the best quality may change of a grey image; how much depends on the last bits of its input."""
LEVEL = 0.6 / 65535
"""Half a level of 16 bits, and how batches of another size round."""


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    """28 frames with a sound of 1.12 seconds."""
    return write_video(tmp_path_factory.mktemp("film") / "in.mp4", moving_ball(28), sound=(1.12, "aac"), **H264)


def run(source, out, *words) -> int:
    return cli.main(["video", str(source), "-o", str(out), "--model", "tiny", "--size", "32", *map(str, words)])


def read(path) -> torch.Tensor:
    return torch.stack([frame.image() for frame in read_frames(path)])


@functools.cache
def expected(source, options=VideoOptions(), derive=None):  # noqa: B008 (it is frozen)
    """The estimates of a video at the network's size by the Python API, in the chunks that the command reads."""
    return estimates_of(read(source), options, derive)


def estimates_of(images, options=VideoOptions(), derive=None) -> Estimate:  # noqa: B008
    chunks = (chunk for chunk in images.tensor_split([2, 4, *range(8, len(images), 8)]) if len(chunk))
    parts = load_model("tiny").estimate_video(chunks, options, size=32, derive=derive, at_network_size=True)
    return Estimate.cat(list(parts))


def depth_of(found, size=(48, 64), normalisation="per_image") -> torch.Tensor:
    """Images whose range is that of the depth at the network's size."""
    measure = {"per_image": measure_range, "per_clip": functools.partial(measure_range, per_clip=True), "running": RunningRange().update}
    ends = default_depth_range(found, measure[normalisation])
    return default_depth_image(found.resized(*size), lambda *_: ends).expand(-1, 3, -1, -1)


@pytest.mark.slow("takes most of a second")
def test_depth_and_normals_of_a_video(video, tmp_path, capsys):
    out = tmp_path / "out.mp4"
    assert run(video, out, "--what", "depth,normals,side-by-side", "--normalise", "per-image", "--quality", 1) == 0
    found = expected(video, derive=with_normals)
    names = {what: tmp_path / f"out_{what}.mp4" for what in ("depth", "normals", "side-by-side")}
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in names.values()}, "and nothing else is left"
    depth, sized = depth_of(found), found.resized(48, 64)
    off = (read(names["depth"]) - depth).abs()
    assert off.max() < LOOK and off.mean() < LOOK / 4
    normals = normals_to_image(sized.normals, source=sized.axes)
    assert (read(names["normals"]) - normals).abs().mean() < 0.02
    beside = read(names["side-by-side"])
    assert beside.shape == (28, 3, 48, 128) and (beside[..., 64:] - depth).abs().mean() < 0.01
    assert (beside[..., :64] - read(video)).abs().mean() < 0.01
    for path in names.values():
        assert [frame.time for frame in read_frames(path)] == [frame.time for frame in read_frames(video)]
        assert sound_of(path) == sound_of(video) and seconds_of(path) == pytest.approx(seconds_of(video), abs=0.001)
    assert "(28 frames)" in capsys.readouterr().out


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("normalise", [pytest.param("per-image", marks=MORE), "per-clip", "running"])
def test_ranges(video, tmp_path, normalise):
    out = tmp_path / "out.mkv"
    assert run(video, out, "--codec", "ffv1", "--normalise", normalise) == 0
    truth = depth_of(expected(video), normalisation=normalise.replace("-", "_"))
    # Between two passes depth has 16 bits of each frame's range.
    assert (read(out) - truth).abs().max() < (1.6 / 65535 if normalise == "per-clip" else LEVEL)
    assert [path.name for path in tmp_path.iterdir()] == ["out.mkv"]


@pytest.mark.slow("takes a second")
def test_frames_that_no_output_shows_are_reduced_while_they_are_read(tmp_path, monkeypatch):
    planes = moving_ball(4, 96, 160)
    for luma, *_ in planes:
        luma[:] = 60 + luma // 2
    source = write_video(tmp_path / "in.mkv", planes)
    sizes, shown = [], video_rendering.Renderer.shown

    def watched(self, frame, image, *rest):
        sizes.append(tuple(image.shape[-2:]))
        return shown(self, frame, image, *rest)

    monkeypatch.setattr(video_rendering.Renderer, "shown", watched)
    assert run(source, tmp_path / "out.mkv", "--codec", "ffv1", "--normalise", "per-image") == 0
    assert set(sizes) == {(64, 128)}
    assert (read(tmp_path / "out.mkv") - depth_of(estimates_of(read(source)), (96, 160))).abs().max() < 1 / 255
    sizes.clear()
    assert run(source, tmp_path / "beside.mkv", "--what", "side-by-side", "--frames", 1) == 0
    assert set(sizes) == {(96, 160)}


@pytest.mark.parametrize(("normalise", "near"), [("per_image", "white"), ("per_clip", "white"), ("running", "white"), ("running", "black")])
def test_metres_are_shown_as_disparity(normalise, near):
    """Two shots of a plain with a speck before the lens: half of the greys are for what is between the nearest and twice as far."""
    disparity = torch.linspace(1e-3, 1, 200).view(1, 1, -1, 1).repeat(2, 1, 1, 300) / torch.tensor([1.0, 2.0]).view(-1, 1, 1, 1)
    disparity[:, :, 0, :3] = 100
    found = Estimate(1 / disparity, Quantity.METRIC_DEPTH, mask=disparity > 0.002)
    task = video_task.VideoTask(Path("in"), {"depth": Path("out")}, "ffv1", ClipOptions(normalise=normalise, near=near))
    kept_depth = video_rendering.KEPT_DEPTH
    source = torch.zeros(1, 3, 200, 300)

    def shown_of(renderer, estimates):
        return [renderer.shown(None, source, each) for each in estimates]

    first = shown_of(video_rendering.Renderer(task, {"depth"} if normalise != "per_clip" else {kept_depth}), found.split())
    if normalise == "per_clip":
        kept = [video_rendering.from_levels(each.images[kept_depth][0].expand(3, -1, -1), *each.ranges, "metric_depth") for each in first]
        torch.testing.assert_close(1 / Estimate.cat(kept).depth[found.mask], disparity[found.mask], atol=100 / 65534, rtol=0)
        ends = video_rendering.clip_range([ends for each in first for ends in each.black_and_white])
        first = shown_of(video_rendering.Renderer(task, {"depth"}, ends), kept)
    images = torch.cat([each.images["depth"] for each in first])
    images = images if near == "white" else torch.where(found.mask, 1 - images, images)  # other pixels are black
    middle = images[:, 0, 100, 9].tolist()
    assert middle == pytest.approx([0.5, 0.5 if normalise == "per_image" else 0.25], abs=0.02), "a running range follows slowly"
    assert (images[..., 0, :3] == 1).all() and (images[:, :, :1, 3:] == 0).all()


@pytest.mark.slow("takes most of a second")
def test_numbered_files_in_and_out(video, tmp_path):
    assert run(video, tmp_path / "d_%03d.png", "--frames", 10, "--normalise", "per-clip") == 0
    truth = depth_of(expected(video).slice(0, 10), normalisation="per_clip")
    levels = torch.stack([torch.from_numpy(read_png(numbered(tmp_path / "d_%03d.png", number))) for number in range(1, 11)])
    assert (levels / 65535 - truth[:, 0]).abs().max() < 1.6 / 65535
    assert run(tmp_path / "d_%03d.png", tmp_path / "again.mp4", "--fps", 10) == 0
    assert video_header(tmp_path / "again.mp4").seconds == 1
    pytest.importorskip("OpenEXR", reason="EXR needs OpenEXR")
    assert run(video, tmp_path / "d_%03d.exr", "--frames", 3, "--align", "none", "--smooth", 0) == 0
    plain = expected(video, VideoOptions(align="none", smooth=0)).resized(48, 64).depth
    for number in range(3):
        found = load_estimate(tmp_path / f"d_{number + 1:03d}.exr").depth
        torch.testing.assert_close(found, plain[number : number + 1], atol=1e-3, rtol=1e-4)  # unrounded; batches of 3 and of 8


def read_png(path) -> np.ndarray:
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED).astype(np.float32)


@pytest.mark.slow("makes a video three times")
@pytest.mark.parametrize("normalise", ["running", "per-clip"])
def test_a_run_that_was_stopped_goes_on_bit_by_bit(video, tmp_path, monkeypatch, capsys, normalise):
    options = ("--normalise", normalise, "--segment", 8, "--what", "depth,normals", "--codec", "ffv1")
    assert run(video, tmp_path / "whole.mkv", *options) == 0
    stop_after(monkeypatch, 21)
    assert run(video, tmp_path / "out.mkv", *options) == 130
    assert "16 frames are finished" in capsys.readouterr().err
    assert not (tmp_path / "out_depth.mkv").exists()
    monkeypatch.undo()
    assert run(video, tmp_path / "out.mkv", *options, "--smooth", 0.1, "--resume") == 2, (
        "other settings would not go on, but begin another video"
    )
    assert "smooth" in capsys.readouterr().err
    assert run(video, tmp_path / "out.mkv", *options, "--resume") == 0
    assert "16 frames are finished, going on" in capsys.readouterr().out
    for what in ("depth", "normals"):
        assert frames_of(tmp_path / f"out_{what}.mkv") == frames_of(tmp_path / f"whole_{what}.mkv")
        assert [frame.time for frame in read_frames(tmp_path / f"out_{what}.mkv")] == [frame.time for frame in read_frames(video)]
    assert [path.name for path in (tmp_path / ".depth-normal").iterdir()] == ["out_depth.mkv.film.json"], "of a run with --resume alone"


@pytest.mark.slow("takes most of a second")
def test_a_video_is_finished_while_all_of_it_is_as_it_was_made(video, tmp_path, capsys):
    source, out, record = tmp_path / "in.mp4", tmp_path / "out.mkv", tmp_path / ".depth-normal" / "out_depth.mkv.film.json"
    source.write_bytes(video.read_bytes())

    def again(*words, what="depth,normals") -> tuple[int, str]:
        code = run(source, out, "--frames", 8, "--what", what, "--resume", *words)
        said = capsys.readouterr()
        return code, "made before" if "made before: nothing is left to do" in said.out else said.err

    assert again()[0] == 0
    before = (tmp_path / "out_depth.mkv").stat().st_mtime_ns
    assert again() == again(what="normals,depth") == (0, "made before")
    assert (tmp_path / "out_depth.mkv").stat().st_mtime_ns == before
    link = tmp_path / "link.mp4"
    link.symlink_to(source)
    assert run(link, out, "--frames", 8, "--what", "depth,normals", "--resume") == 0 and "made before" in capsys.readouterr().out
    code, said = again("--smooth", 0.5)
    assert code == 2 and f"{record}: the video was made with other settings (smooth)" in said
    (tmp_path / "out_side-by-side.mkv").write_text("another's")
    code, said = again(what="depth,side-by-side")
    assert code == 2 and "other settings (what)" in said
    assert (tmp_path / "out_side-by-side.mkv").read_text() == "another's"
    for change in (os.utime, Path.unlink):
        change(tmp_path / "out_normals.mkv")
        code, said = again()
        assert code == 2 and f"{tmp_path / 'out_normals.mkv'} was changed since it was made, or lacks files" in said
    sound = json.loads(record.read_bytes())
    (tmp_path / "out_depth.mkv").write_text("another's")
    for damage in ({"settings": []}, {"files": 1}, {"frames": float("inf")}, {"frames": -3}, {"version": 99}):
        record.write_text(json.dumps({**sound, **damage}))
        code, said = again()
        assert code == 2 and "out_depth.mkv is there already" in said, damage
    record.write_text("[")
    assert again()[0] == 2
    assert again("--overwrite")[0] == 0 and again() == (0, "made before")
    for name in ("depth", "normals"):
        (tmp_path / f"out_{name}.mkv").unlink()
    assert again()[1] != "made before" and (tmp_path / "out_normals.mkv").is_file(), "it is made anew"
    os.utime(source)
    code, said = again()
    assert code == 2 and "other settings (source_files)" in said
    assert run(source, out, "--frames", 8, "--what", "depth,normals", "--overwrite") == 0
    assert not record.exists(), "a run without --resume leaves none"


@pytest.mark.slow("takes a second")
def test_a_video_of_other_weights_is_not_the_same(video, tmp_path, capsys):
    weights = tmp_path / "mine.safetensors"
    weights.write_bytes(load_model("tiny").weights_path.read_bytes())
    words = ("--frames", 8, "--weights", weights, "--resume")
    assert [run(video, tmp_path / "out.mp4", *words) for _ in range(2)] == [0, 0]
    os.utime(weights)
    assert run(video, tmp_path / "out.mp4", *words) == 2
    assert "other settings (weights)" in capsys.readouterr().err


@pytest.mark.slow("takes a second")
def test_images_that_came_since_are_not_left_out(video, tmp_path):
    assert run(video, tmp_path / "s" / "p_%03d.png", "--frames", 4) == 0
    assert [run(tmp_path / "s", tmp_path / "out.mp4", "--resume") for _ in range(2)] == [0, 0]
    (tmp_path / "s" / "p_005.png").write_bytes((tmp_path / "s" / "p_004.png").read_bytes())
    assert run(tmp_path / "s", tmp_path / "out.mp4", "--resume") == 2


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no such signals")
@pytest.mark.slow("starts another process")
def test_ctrl_c_leaves_what_can_be_gone_on_with(tmp_path):
    """Of so many frames that the run cannot end by itself before."""
    video, state = write_video(tmp_path / "in.mkv", moving_ball(600)), tmp_path / ".depth-normal" / "out.mp4.film" / "pieces.json"
    words = ("video", video, "-o", tmp_path / "out.mp4", "--model", "tiny", "--segment", "8", "--size", "64")
    with python(COMMAND, *words, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and not (state.is_file() and json.loads(state.read_bytes())["pieces"]):
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, errors = end_of(process)
    assert process.returncode == 130 and "--resume" in errors and "Traceback" not in errors and not (tmp_path / "out.mp4").exists()
    assert all((state.parent / name).is_file() for each in json.loads(state.read_bytes())["pieces"] for name in each["files"].values())


@pytest.mark.slow("takes most of a second")
def test_numbered_files_go_on_too(video, tmp_path, monkeypatch, caplog, capsys):
    """What lies at their place is the stopped run's own, and is another video's where no run was stopped."""
    run(video, tmp_path / "whole_%03d.png")
    stop_after(monkeypatch, 21)
    assert run(video, tmp_path / "d_%03d.png", "--segment", 8) == 130
    assert len(list(tmp_path.glob("d_*.png"))) == 16, "those of the finished pieces"
    monkeypatch.undo()
    assert run(video, tmp_path / "d_%03d.png", "--segment", 8) == 2, "without --resume it is in the way"
    assert run(video, tmp_path / "d_%03d.png", "--segment", 8, "--resume") == 0
    made, whole = ([path.read_bytes() for path in sorted(tmp_path.glob(name))] for name in ("d_*.png", "whole_*.png"))
    assert len(made) == 28 and made == whole
    assert run(video, tmp_path / "d_%03d.png", "--segment", 8, "--resume") == 0, "nothing is left to do"
    assert "made before: nothing is left to do" in capsys.readouterr().out
    (tmp_path / "d_001.png").unlink()
    assert run(video, tmp_path / "d_%03d.png", "--frames", 3) == 2, "the second is there"
    assert run(video, tmp_path / "d_%03d.png", "--frames", 3, "--overwrite") == 0
    assert "25 files, the first d_004.png, are of another video" in caplog.text


@pytest.mark.slow("makes videos of numbered images")
@pytest.mark.parametrize("first", [1001, -3])
def test_numbers_of_images_stay(tmp_path, monkeypatch, capsys, first):
    (shot := tmp_path / "shot").mkdir()
    numbers = [*range(first, first + 4), *range(first + 5, first + 29)]
    for number in numbers:
        Image.new("L", (32, 24), number - first + 1).save(shot / f"s.{number:04d}.png")
    for place, source in (("a", shot), ("b", shot / "s.%04d.png")):
        with monkeypatch.context() as patch:
            stop_after(patch, 21)
            assert run(source, tmp_path / place / "d.%04d.png", "--segment", 8) == 130
        assert run(source, tmp_path / place / "d.%04d.png", "--segment", 8, "--resume") == 0
        assert sorted(int(path.stem[2:]) for path in (tmp_path / place).glob("*.png")) == numbers
        assert f"d.{first:04d}.png to d.{first + 28:04d}.png (28 frames)" in capsys.readouterr().out
        assert run(source, tmp_path / place / "d.%04d.png", "--segment", 8, "--resume") == 0
        assert "nothing is left to do" in capsys.readouterr().out
    assert run(shot, tmp_path / "d.mkv", "--fps", 10) == 0
    assert [first + frame.time * 10 for frame in read_frames(tmp_path / "d.mkv")] == numbers


@pytest.mark.slow("takes a second")
@pytest.mark.parametrize("fails_at", [3, 12])
def test_a_full_disk_costs_the_unfinished_piece(video, tmp_path, monkeypatch, capsys, fails_at):
    """The piece whose file cannot be written has been handed over long ago when that is known."""
    write = video_segments.write_depth_png

    def full(path, image):
        if path.name == f"d_{fails_at:03d}.png":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        write(path, image)

    monkeypatch.setattr(video_segments, "write_depth_png", full)
    assert run(video, tmp_path / "d_%03d.png", "--segment", 8) == 2
    assert "No space left" in (errors := capsys.readouterr().err) and ("8 frames are finished" in errors) == (fails_at > 8)
    assert len(list(tmp_path.glob("*.png"))) == (8 if fails_at > 8 else 0)
    assert (tmp_path / ".depth-normal").exists() == (fails_at > 8)


@pytest.mark.slow("takes a second")
def test_two_runs_do_not_make_one_video(video, tmp_path, monkeypatch, capsys):
    first_pass, codes = video_run._first_pass, []

    def meanwhile(*words):
        monkeypatch.undo()
        codes.append(run(video, tmp_path / "out.mp4", "--overwrite"))
        return first_pass(*words)

    monkeypatch.setattr(video_run, "_first_pass", meanwhile)
    assert run(video, tmp_path / "out.mp4", "--frames", 9) == 0 and codes == [2]
    assert "another run makes this video" in capsys.readouterr().err
    assert len(read(tmp_path / "out.mp4")) == 9 and [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


@pytest.mark.slow("takes a second")
def test_a_variable_frame_rate_a_start_and_an_end(tmp_path):
    times = [0, 24, 48, 100, 124, 148, 172, 300, 324, 348, 372, 396]
    source = write_video(tmp_path / "vfr.mp4", moving_ball(12), times=times, time_base=Fraction(1, 600), sound=(0.7, "aac"), **H264)
    assert run(source, tmp_path / "all.mp4") == 0
    assert [frame.time * 600 for frame in read_frames(tmp_path / "all.mp4")] == times
    assert run(source, tmp_path / "part.mp4", "--start", "0.1", "--frames", 5) == 0
    assert [frame.time * 600 for frame in read_frames(tmp_path / "part.mp4")] == [time - 100 for time in times[3:8]]
    assert sound_of(tmp_path / "part.mp4")[1] == pytest.approx((324 - 100) / 600, abs=0.06)
    assert run(source, tmp_path / "end.mp4", "--start", "0.1", "--end", "0.54") == 0
    assert [frame.time * 600 for frame in read_frames(tmp_path / "end.mp4")] == [time - 100 for time in times[3:8]], "0.54 s is left out"
    assert sound_of(tmp_path / "end.mp4") == sound_of(tmp_path / "part.mp4")
    assert run(source, tmp_path / "pause.mp4", "--end", "0.4") == 0
    assert seconds_of(tmp_path / "pause.mp4") == pytest.approx(0.4, abs=0.03), "within the pause of 172 to 300"


@pytest.mark.slow("takes a second each")
@pytest.mark.parametrize("name", ["wan", "ltx"])
def test_presets_play_as_the_models_expect(name, tmp_path, caplog):
    """Frame by frame against the arrays: which source frame is shown at which time, cropped, and how many there are."""
    preset = PRESETS[name]
    source = write_video(tmp_path / "in.mp4", moving_ball(40, 54, 82), rate=30, sound=(1.3, "aac"), **H264)
    assert run(source, tmp_path / "new" / "out.mkv", "--preset", name, "--codec", "ffv1", "--normalise", "per-image") == 0
    out = tmp_path / "new" / "out.mkv"
    found = list(read_frames(out))
    whole = int(Fraction(40, 30) * preset.rate - Fraction(1, 10**6)) + 1
    assert len(found) == (whole - 1) // preset.group * preset.group + 1
    task = video_task.VideoTask(source, {}, "ffv1", ClipOptions(preset=name))
    assert task.expected(video_header(source)) == len(found), "what the progress bar counts to"
    assert (
        f"{preset.name}: the middle {82 // preset.side * preset.side}x{54 // preset.side * preset.side} of 82x54 pixels" in caplog.messages
    )
    assert ("left out at the video's end" in caplog.text) == (len(found) < whole)
    shown = [int(number * Fraction(30, preset.rate)) for number in range(len(found))]
    assert all(abs(frame.time - Fraction(number, preset.rate)) <= Fraction(1, 1000) for number, frame in enumerate(found)), (
        "Matroska's unit"
    )
    top, left = 54 % preset.side // 2, 82 % preset.side // 2
    source_frames = read(source)[shown][..., top : top + 54 // preset.side * preset.side, left : left + 82 // preset.side * preset.side]
    truth = depth_of(estimates_of(source_frames), source_frames.shape[-2:])
    assert (torch.stack([frame.image() for frame in found]) - truth).abs().max() < LEVEL
    assert sound_of(out)[1] == pytest.approx(len(found) / preset.rate, abs=0.06)


def test_what_was_done_of_a_damaged_video_is_kept(tmp_path, capsys):
    for name, sides in (("a.ts", (48, 64)), ("b.ts", (32, 64))):
        write_video(tmp_path / name, moving_ball(10, *sides), codec="libx264", options={"g": "5"})
    (tmp_path / "both.ts").write_bytes((tmp_path / "a.ts").read_bytes() + (tmp_path / "b.ts").read_bytes())
    for more in ("", ", made before: nothing is left to do"):
        assert run(tmp_path / "both.ts", tmp_path / "out.mp4", "--resume") == 1
        said = capsys.readouterr()
        assert "from 64x48 to 64x32 pixels after 10 frames" in said.err and "10 frames before that are kept" in said.err
        assert said.out.splitlines()[-1].endswith(f"(10 frames){more}")
    assert len(read(tmp_path / "out.mp4")) == 10


@MORE
def test_damaged_frames_are_held_and_counted_and_strict_stops(tmp_path, capsys):
    whole = write_video(tmp_path / "whole.mp4", moving_ball(10), **H264)
    damaged = with_damaged_packets(whole, tmp_path / "damaged.mp4", (9,))
    assert run(damaged, tmp_path / "out.mp4", "--align", "none", "--smooth", "0", "--normalise", "per-image") == 0
    assert "1 of 10 frames cannot be decoded, and the last good frame is held in their place" in capsys.readouterr().err
    frames = read(tmp_path / "out.mp4")
    assert len(frames) == 10 and (frames[9] - frames[8]).abs().mean() < 0.005 < (frames[8] - frames[7]).abs().mean()
    assert run(damaged, tmp_path / "strict.mp4", "--strict") == 1
    assert "frames before that are kept" in capsys.readouterr().err


def test_one_frame_and_odd_sides(tmp_path):
    planes = [np.full((31, 63), 90, np.uint8), np.full((16, 32), 128, np.uint8), np.full((16, 32), 128, np.uint8)]
    source = write_video(tmp_path / "in.mkv", [planes])
    assert run(source, tmp_path / "out.mp4") == 0
    assert read(tmp_path / "out.mp4").shape == (1, 3, 32, 64)
    assert run(source, tmp_path / "out.mkv", "--codec", "ffv1") == 0
    assert read(tmp_path / "out.mkv").shape == (1, 3, 31, 63)
    frames = [Image.new("RGB", (64, 48), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    assert run(tmp_path / "moving.gif", tmp_path / "moving.mp4") == 0


def test_the_names_of_other_sources(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shots").mkdir()
    assert usual_name(Path("frame_%05d.png"), ["depth"]) == "frame_depth.mp4"
    assert usual_name(Path("%d.png"), ["depth"]) == "video_depth.mp4"
    assert usual_name(Path("clip.v2.mp4"), ["depth"]) == "clip.v2_depth.mp4"
    assert usual_name(Path("shots"), ["normals"], codec="ffv1") == "shots_normals.mkv"
    assert usual_name(tmp_path / "shots" / "..", ["stereo"], "half-tb") == f"{tmp_path.name}_TB.mp4"


def test_a_missing_library_is_said_before_a_model_is_loaded(video, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "OpenEXR", None)
    monkeypatch.setattr("depth_normal.model_loader.load_model", lambda *_: pytest.fail("a model was loaded"))
    assert run(video, tmp_path / "out_%03d.exr") == 2
    assert 'pip install "OpenEXR' in capsys.readouterr().err


def views_of(video, normalise):
    found = expected(video).slice(0, 12).resized(48, 64)
    far, near = stereo.disparity_range(found)
    ends = {"per-image": None, "per-clip": (far.min(), near.max()), "running": RunningRange().update(found.depth, None, (2, 98))}
    return read(video)[:12], found, ends[normalise]


VR180 = "--layout vr180 --eye-size 128"


def half_tb(*shown):
    return stereo.compose(stereo.stereo_pair(*shown[:2], stereo.StereoOptions(divergence=5), shown[2]), "half-tb")


def half_spheres(*shown):
    options = stereo.StereoOptions(eye_distance=200, eye_size=128)
    return stereo.compose(vr.vr_pair(*shown[:2], "vr180", options, shown[2], 90.0), "vr180")


def swing(*shown):
    times = [Fraction(frame, 25) for frame in range(12)]
    return torch.cat(list(parallax.parallax_of_clip(*shown[:2], LoopOptions("swing", 0.1, loop=0.5), times, shown[2])))


@pytest.mark.slow("takes two seconds each")
@pytest.mark.parametrize(
    ("what", "words", "expected_of", "ranges"),
    [
        ("stereo,depth", "--layout half-tb --divergence 5", half_tb, ("per-image", "running", "per-clip")),
        ("stereo", f"{VR180} --fov 90 --eye-distance 200", half_spheres, ("running", "per-clip")),
        ("parallax", "--move swing --amount 0.1 --loop 0.5", swing, ("running", "per-clip")),
    ],
)
def test_stereo_and_parallax(video, tmp_path, what, words, expected_of, ranges):
    """In segments of five frames, as a run that was stopped has them: the camera goes on where it was."""
    for normalise in ranges:
        common = ("--what", what, "--frames", 12, "--segment", 5, "--codec", "ffv1", "--normalise", normalise)
        assert run(video, tmp_path / f"{normalise}.mkv", *common, *words.split()) == 0
        (made,) = (path for path in tmp_path.glob(f"{normalise}*.mkv") if "depth" not in path.name)
        source_frames, *known = views_of(video, normalise)
        images, truth = read(made), expected_of(source_frames, *known)
        assert (images - truth).abs().mean() < 2e-3 and sound_of(made)[1] == pytest.approx(12 / 25, abs=0.05)
        if what == "parallax":
            assert (images - source_frames).abs().mean() > 2e-3
        elif "," in what:
            assert made.stem == normalise + stereo.stereo_suffix("half-tb"), "beside others it says what it is"
        if VR180 in words:
            assert (images[0] > 0.02).any(0).any(0)[:128].sum() == pytest.approx(64, abs=2), "90 of 180 degrees"


@pytest.mark.slow("stops and goes on")
def test_half_spheres_keep_the_field_of_view_of_the_first_frame(video, tmp_path, monkeypatch, capsys):
    """A model says another one for each frame. A run that was stopped goes on with that of the first."""

    def with_cameras(self, frame, image, found, size=None):
        own = intrinsics_from_fov(60.0 + float(frame.time * 25), found.height, found.width)
        return shown(self, frame, image, replace(found, intrinsics=own))

    shown = video_rendering.Renderer.shown
    monkeypatch.setattr(video_rendering.Renderer, "shown", with_cameras)
    words = ("--what", "stereo", *VR180.split(), "--codec", "ffv1", "--segment", 8, "--frames", 14)
    assert run(video, tmp_path / "whole.mkv", *words) == 0
    with monkeypatch.context() as stopped:
        stop_after(stopped, 12)
        assert run(video, tmp_path / "out.mkv", *words) == 130
    capsys.readouterr()
    assert run(video, tmp_path / "out.mkv", *words, "--resume") == 0 and "8 frames are finished, going on" in capsys.readouterr().out
    made = read(tmp_path / "whole.mkv")
    assert torch.equal(made, read(tmp_path / "out.mkv"))
    spans = [int((frame > 0.02).any(0).any(0)[:128].sum()) for frame in made]
    assert max(spans) - min(spans) <= 1 and spans[0] == pytest.approx(60 / 180 * 128, abs=2)


@pytest.mark.slow("encodes a large frame")
def test_a_video_for_headsets_has_the_name_and_size_that_they_take(video, tmp_path):
    assert usual_name(Path("a.mp4"), ["stereo"], "vr180") == "a_180x180_LR.mp4"
    assert run(video, tmp_path / "out.mp4", "--what", "stereo", "--layout", "vr180", "--frames", 1) == 0
    assert read(tmp_path / "out.mp4").shape == (1, 3, 2048, 4096)


@pytest.mark.slow("takes a second")
def test_frames_are_scaled_before_anything_is_made_of_them(video, tmp_path):
    out = tmp_path / "out.mkv"
    assert run(video, out, "--codec", "ffv1", "--width", 96, "--height", 40, "--frames", 3) == 0
    assert read(out).shape == (3, 3, 40, 96)
    assert run(video, tmp_path / "wan.mkv", "--codec", "ffv1", "--width", 96, "--preset", "wan", "--frames", 5) == 0
    shape = read(tmp_path / "wan.mkv").shape
    assert shape[3] == 96 and shape[2] % 16 == 0


@pytest.mark.slow("takes most of a second")
@pytest.mark.parametrize("codec", ["prores", "dnxhr"])
def test_videos_for_editing_programs_are_joined_of_pieces(video, tmp_path, codec):
    out = tmp_path / "out.mov"
    assert run(video, out, "--codec", codec, "--width", 256, "--segment", 8) == 0
    assert read(out).shape == (28, 3, 192, 256) and sound_of(out) == sound_of(video)
    assert [frame.time for frame in read_frames(out)] == [frame.time for frame in read_frames(video)]


def test_a_preview_of_a_folder_of_one_image_shows_it(tmp_path, capsys):
    (tmp_path / "one").mkdir()
    Image.new("RGB", (48, 32), "teal").save(tmp_path / "one" / "x.png")
    assert run(tmp_path / "one", tmp_path / "out.mp4", "--preview", 1) == 0
    assert "(1 frame)" in capsys.readouterr().out


@pytest.mark.slow("runs a video five times")
def test_a_preview_is_one_sheet_of_frames_above_what_is_made_of_them(video, tmp_path, capsys):
    out = tmp_path / "out.mp4"
    assert run(video, out, "--preview", 5, "--what", "depth,normals") == 0
    assert [path.name for path in tmp_path.iterdir()] == ["in_preview.png"]
    sheet = torch.from_numpy(read_png(tmp_path / "in_preview.png")).float() / 255
    assert sheet.shape == (3 * 52 + 16, 5 * 72 + 8, 3)
    frames = read(video)
    for place, number in enumerate((2, 8, 14, 19, 25)):
        cell = sheet[8:56, 8 + 72 * place : 72 + 72 * place].movedim(-1, 0)
        nearest = (frames - cell).abs().mean((1, 2, 3)).argmin()
        assert abs(int(nearest) - number) <= 1
    assert "in_preview.png (5 frames)" in capsys.readouterr().out
    assert run(video, out, "--preview", 5) == 0, "it is of the same command and video"
    (tmp_path / "in_preview.png").write_bytes(b"mine")
    assert run(video, out, "--preview", 5) == 2 and "is there already" in capsys.readouterr().err
    assert run(video, out, "--preview", 5, "--resume", "--overwrite") == 2 and "--resume has no effect" in capsys.readouterr().err
    assert run(video, out, "--preview", 100, "--what", "stereo", "--overwrite") == 0
    assert "in_preview.png (28 frames)" in capsys.readouterr().out
    assert run(video, tmp_path / "sheet.png", "--preview", 1) == 0 and (tmp_path / "sheet.png").is_file()
    sheet = tmp_path / "new" / "folder" / "in_preview.png"
    for count in (1, 2):
        assert run(video, f"{tmp_path}/new/folder/", "--preview", count) == 0 and sheet.is_file(), "under its default name it is replaced"
    sheet.write_bytes(b"mine")
    assert run(video, f"{tmp_path}/new/folder/", "--preview", 1) == 2 and sheet.read_bytes() == b"mine"
    capsys.readouterr()
    assert run(video, out, "--preview", 3, "--start", 100, "--overwrite") == 2 and "from 100 s on; it lasts" in capsys.readouterr().err


@pytest.mark.parametrize(("device", "cores", "beside"), [("cuda", 64, 2), ("cuda", 4, 1), ("cuda", 1, 1), ("cpu", 64, 16)])
def test_beside_a_gpu_each_part_takes_two_threads_at_most(device, cores, beside):
    model = SimpleNamespace(device=torch.device(device), spec=MODELS["tiny"])
    assert threads_of_pipeline(model, cores).beside == beside
