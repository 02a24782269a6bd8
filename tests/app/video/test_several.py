"""`depth-normal video` over a folder, a pattern or a list of videos: what is made, skipped, gone on with, and said of what fails."""

import errno
import signal
from pathlib import Path

import pytest

from depth_normal.annotators.networks.tiny import TinyNetwork
from depth_normal.app import cli
from depth_normal.app.batch.options import Options
from depth_normal.app.video import segments as video_segments
from depth_normal.model_loader import free
from tests.forked import exit_code_of, python
from tests.videos import KILLED, fails_in_half_precision, frames_of, moving_ball, stop_after, write_video

OPTIONS = ("--model", "tiny", "--size", "32", "--segment", "8", "--codec", "ffv1")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Three videos of 20, 28 and 12 frames; the second is in a folder below."""
    folder = tmp_path_factory.mktemp("videos") / "clips"
    (folder / "more").mkdir(parents=True)
    ball = moving_ball(28)
    write_video(folder / "a.mkv", ball[:20])
    write_video(folder / "more" / "b.mkv", ball)
    write_video(folder / "c.mov", [[255 - luma, blue, red] for luma, blue, red in ball[:12]], codec="libx264")
    return folder


@pytest.fixture
def clips(made, tmp_path, monkeypatch) -> Path:
    """The same in the working directory, as a folder of links."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clips" / "more").mkdir(parents=True)
    for name in ("a.mkv", "more/b.mkv", "c.mov"):
        Path("clips", name).symlink_to(made / name)  # whose results have the links' names
    return Path("clips")


@pytest.fixture(scope="module")
def whole(made, tmp_path_factory) -> Path:
    """What an undisturbed run over all three makes."""
    out = tmp_path_factory.mktemp("whole")
    assert run(made, "--recursive", out=out) == 0
    return out


def run(*words, out="maps") -> int:
    return cli.main(["video", *map(str, words), "-o", str(out), *OPTIONS])


def results(folder) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file() and ".depth-normal" not in path.parts)


def equal_to(whole, out="maps") -> bool:
    return results(out) == results(whole) and all(frames_of(Path(out, name)) == frames_of(whole / name) for name in results(whole))


@pytest.mark.slow("makes three videos")
def test_a_folder_keeps_its_tree_and_a_second_run_leaves_what_is_finished(clips, whole, capsys, monkeypatch):
    assert results(whole) == ["a_depth.mkv", "c_depth.mkv", "more/b_depth.mkv"]
    Path("clips/notes.txt").write_text("of the day")
    assert run("clips") == 0
    assert results("maps") == ["a_depth.mkv", "c_depth.mkv"], "without --recursive that folder alone"
    assert "2 done, 0 failed of 2 videos in" in capsys.readouterr().err
    times = [Path("maps", name).stat().st_mtime_ns for name in results("maps")]
    loads, load = [], Options.load
    monkeypatch.setattr(Options, "load", lambda *rest: loads.append(1) or load(*rest))
    assert run("clips", "--recursive", "--resume") == 0
    said = capsys.readouterr()
    assert "1 done, 2 skipped (done before), 0 failed of 3 videos in" in said.err
    assert said.out.splitlines() == [f"{clips}/more/b.mkv: maps/more/b_depth.mkv (28 frames)"] and len(loads) == 1
    assert [Path("maps", name).stat().st_mtime_ns for name in ("a_depth.mkv", "c_depth.mkv")] == times
    assert equal_to(whole)
    assert run("clips", "--recursive", "--resume") == 0 and len(loads) == 1, "where nothing is left to do, no model is loaded"
    assert "0 done, 3 skipped (done before), 0 failed of 3 videos in" in capsys.readouterr().err


@pytest.mark.slow("starts another process")
def test_a_run_that_was_killed_goes_on_in_the_middle_of_a_video(clips, whole, capsys):
    words = ["video", "clips", "--recursive", "-o", "maps", *OPTIONS, "--resume"]
    assert exit_code_of(python(KILLED, 29, *words)) == -signal.SIGKILL and results("maps") == ["a_depth.mkv"]
    first = Path("maps/a_depth.mkv").stat().st_mtime_ns
    assert run("clips", "--recursive", "--resume") == 0
    said = capsys.readouterr()
    assert "c.mov: 8 frames are finished, going on behind them" in said.out and "2 done, 1 skipped (done before), 0 failed of 3" in said.err
    assert Path("maps/a_depth.mkv").stat().st_mtime_ns == first and equal_to(whole)


@pytest.mark.slow("makes videos")
def test_ctrl_c_stops_all_and_says_how_to_go_on(clips, whole, capsys, monkeypatch):
    with monkeypatch.context() as stopped:
        stop_after(stopped, 10)
        assert run("clips", "--recursive") == 130
    said = capsys.readouterr().err
    assert "clips/a.mkv: 8 frames are finished" in said and "stopped with 2 videos not begun; run the same command with --resume" in said
    assert results("maps") == []
    assert run("clips", "--recursive", "--resume") == 0 and equal_to(whole)


@pytest.mark.slow("makes videos")
def test_one_that_fails_is_said_and_the_others_go_on(clips, capsys):
    Path("clips/broken.mp4").write_text("no video")
    Path("clips/b.mkv").write_bytes(Path("clips/more/b.mkv").read_bytes()[:300])
    assert run("clips", "gone.mp4", "clips/notes.txt") == 1
    said = capsys.readouterr()
    assert results("maps")[0] == "a_depth.mkv" and "c_depth.mkv" in results("maps")
    for words in ("gone.mp4: there is no such file", "clips/notes.txt: there is no such file", "clips/broken.mp4", "clips/b.mkv"):
        assert words in said.err
    assert "2 done, 4 failed of 6 videos in" in said.err
    assert run("clips", "--resume") == 1 and "0 done, 2 skipped (done before), 2 failed of 4 videos" in capsys.readouterr().err
    for name in ("a.mkv", "c.mov"):
        Path("clips", name).unlink()
    assert run("clips/broken.mp4", "gone.mp4") == 2


@pytest.mark.slow("makes videos")
def test_two_of_one_name_do_not_replace_each_other(clips, capsys):
    Path("clips/A.mov").symlink_to(Path("clips/c.mov").resolve())
    for words in ((), ("--overwrite",)):
        assert run("clips", *words) == 1
        said = capsys.readouterr().err
        assert "clips/A.mov and clips/a.mkv would write the same files (maps/a_depth.mkv); run them apart, each with its own --out" in said
        assert len(frames_of("maps/A_depth.mkv")) == 12 and results("maps") == ["A_depth.mkv", "c_depth.mkv"]


@pytest.mark.slow("makes videos")
def test_a_video_that_is_read_is_never_replaced(clips, capsys):
    Path("clips/c.mov").rename("clips/a_depth.mkv")
    assert cli.main(["video", "clips/a.mkv", "clips/a_depth.mkv", "-o", "clips", *OPTIONS, "--overwrite"]) == 1
    assert "clips/a_depth.mkv is an image or a file that is read" in capsys.readouterr().err
    assert Path("clips/a_depth.mkv").is_symlink()


def test_a_full_disk_ends_the_run(clips, capsys, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device", "maps/somewhere")

    with monkeypatch.context() as without_space:
        without_space.setattr(video_segments, "_write_durably", full)
        assert run("clips", "--recursive") == 2
    said = capsys.readouterr().err
    assert "stopped with 2 videos not begun: clips/a.mkv: maps/somewhere: No space left on device; free room there, " in said
    assert "0 done, 1 failed of 3 videos" in said and not [*Path("maps").rglob("*.film")]
    assert not Path("maps").exists()


@pytest.mark.slow("makes videos")
def test_a_folder_of_images_is_one_video_as_before(clips, capsys):
    assert run("clips/c.mov", out="frames/f_%03d.png") == 2, "the codec is a video's"
    assert cli.main(["video", "clips/c.mov", "-o", "frames/f_%03d.png", *OPTIONS[:4]]) == 0
    capsys.readouterr()
    assert run("frames", "clips/a.mkv", "frames/f_%03d.png", "clips/*.mov") == 0, "and beside others too"
    assert results("maps") == ["a_depth.mkv", "c_depth.mkv", "f_depth.mkv", "frames_depth.mkv"]
    assert len(frames_of("maps/frames_depth.mkv")) == len(frames_of("maps/f_depth.mkv")) == 12
    Path("frames/c.mov").symlink_to(Path("clips/c.mov").resolve())
    capsys.readouterr()
    assert run("frames") == 2
    assert "frames: 1 videos and 12 images are in it; name the videos (frames/*.mp4), or the images as frames" in capsys.readouterr().err
    assert run("frames", out="one.mkv") == 0, "one file can be of one video alone"
    assert len(frames_of("one.mkv")) == 12
    assert run("frames", "--recursive", out="all") == 0 and results("all") == ["c_depth.mkv"]


def test_a_list_and_words_behind_options(clips, capsys):
    Path("list.txt").write_text("clips/a.mkv\nclips/more/b.mkv\n")
    assert cli.main(["video", "@list.txt", "--preview", "1", "-o", "sheets", "--model", "tiny", "--size", "32", "clips/c.mov"]) == 0
    assert results("sheets") == ["c_preview.png", "clips/a_preview.png", "clips/more/b_preview.png"]
    assert "3 done, 0 failed of 3 videos" in capsys.readouterr().err


@pytest.mark.slow("runs in half precision")
def test_half_precision_begins_anew_with_each_video(clips, monkeypatch):
    """A video that needed float32 changes nothing of the next one, whose frames do not depend on what else was in the run."""
    half = ("--dtype", "bfloat16")
    assert run("clips/c.mov", *half, out="alone/") == 0
    free()
    fails_in_half_precision(monkeypatch, TinyNetwork, "forward", lambda call: call == 2)
    assert run("clips", *half) == 0
    assert frames_of("maps/c_depth.mkv") == frames_of("alone/c_depth.mkv")
    free()


def test_a_folder_needs_no_slash_behind_the_folder_of_its_results(clips, capsys):
    """Images beside the videos do not turn the folder into one video."""
    (clips / "cover.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert cli.main(["video", "clips", "-o", "maps", *OPTIONS]) == 2
    assert "clips: 2 videos and 1 images are in it; name the videos" in capsys.readouterr().err
    (clips / "cover.png").unlink()
    assert cli.main(["video", "clips", "-o", "maps", "--frames", "2", *OPTIONS]) == 0
    assert sorted(path.name for path in Path("maps").glob("*.m*")) == ["a_depth.mkv", "c_depth.mkv"]
