"""What a run over several items does when it cannot go on: the same whatever is made of the items."""

import errno
import os
import signal
import sys
from itertools import count
from pathlib import Path

import pytest
from PIL import Image

import depth_normal
from depth_normal.app import cli
from depth_normal.app.batch import staging
from depth_normal.app.batch.run import GO_ON
from depth_normal.geometry.files import paths, read_image
from tests.forked import exit_code_of, python

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "somewhere")
TINY = ("--model", "tiny", "--size", "32")
EFFECTS = [
    ("effect", "fog", *TINY),
    ("relight", *TINY),
    ("parallax", "--longer-side", "32", "--seconds", "0.1", *TINY),
    ("texture", "pbr", *TINY),
    ("texture", "normals"),
]


@pytest.fixture
def photos(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    for name in "abc":
        Image.new("RGB", (48, 32), (200, 90, 40)).save(f"photos/{name}.png")
    return Path("photos")


@pytest.fixture
def at_the_second(monkeypatch):
    """Has something happen when the second image is about to be written."""

    def arrange(happens, place=staging.Stages, name="empty") -> None:
        calls, begin = count(1), getattr(place, name)

        def instead(*words, **more):
            if next(calls) == 2:
                happens()
            return begin(*words, **more)

        monkeypatch.setattr(place, name, instead)

    return arrange


def run(words, photos) -> int:
    return cli.main([*words, str(photos), "-o", "out"])


def results() -> list[str]:
    return sorted({path.name[0] for path in Path("out").glob("*.*") if path.is_file()})


def full(*_):
    raise FULL


def unmount():
    Path("out").rename("drive")
    Path("out").mkdir()


@pytest.mark.parametrize(
    ("words", "happens", "place", "left", "said"),
    [
        (EFFECTS[0], full, (), ["a"], "cannot write to out: No space left on device; "),
        (EFFECTS[1], unmount, (staging, "check_run_marker"), [], "its drive is gone"),
    ],
)
def test_a_run_that_cannot_go_on_ends_and_what_was_made_counts(words, happens, place, left, said, photos, at_the_second, capsys):
    at_the_second(happens, *place)
    assert run(words, photos) == 1 and results() == left
    found = capsys.readouterr().err
    assert "1 done, 1 failed of 3 images in" in found
    assert "stopped with 1 image not begun: photos/b.png: " in found and said in found and GO_ON in found


def test_an_image_is_no_failure_where_the_disk_is_full(photos, monkeypatch, capsys):
    monkeypatch.setattr(staging.Stages, "empty", full)
    assert run(("estimate", *TINY), photos) == 2 and not Path("out").exists()
    assert "No space left on device" in capsys.readouterr().err
    with pytest.raises(OSError, match=r"No space left on device.*resume=True"):
        list(depth_normal.estimate_folder(photos, out="out", model="tiny", size=32))
    assert not Path("out").exists()


def times() -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in Path("out").glob("*.*") if path.is_file()}


@pytest.mark.quick_cases(2)
@pytest.mark.skipif(sys.platform == "win32", reason="signals of Windows end the process")
@pytest.mark.parametrize("words", EFFECTS)
def test_a_stopped_run_is_gone_on_with(words, photos, at_the_second, capsys):
    at_the_second(lambda: os.kill(os.getpid(), signal.SIGINT))
    assert run(words, photos) == 130 and results() == ["a", "b"], "the image in progress is finished"
    assert f"stopped with 1 image not begun; {GO_ON}" in capsys.readouterr().err
    made = times()
    assert run((*words, "--resume"), photos) == 0 and results() == ["a", "b", "c"]
    assert made.items() <= times().items() and "1 done, 2 skipped" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="signals of Windows end the process")
def test_ctrl_c_in_the_last_image_stops_nothing(photos, at_the_second, capsys):
    (photos / "c.png").unlink()
    at_the_second(lambda: os.kill(os.getpid(), signal.SIGINT))
    assert run(EFFECTS[0], photos) == 0 and results() == ["a", "b"]
    assert "not begun" not in capsys.readouterr().err


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    ("change", "made_anew"),
    [((), 0), (("--density", "0.2"), 3), (("--no-sky",), 3), (("--size", "64"), 3), (("--device", "cpu"), 0), (("--recursive",), 0)],
)
def test_results_of_other_settings_are_made_anew(change, made_anew, photos, capsys):
    fog = [*EFFECTS[0], str(photos), "-o", "out", "--density", "0.1", "--resume"]
    assert cli.main(fog) == 0
    capsys.readouterr()
    assert cli.main([*fog, *change]) == 0
    assert (f"{made_anew} done, " if made_anew else "0 done, 3 skipped (done before)") in capsys.readouterr().err


def test_names_that_no_disk_takes_and_images_that_cannot_be_read_leave_the_others(photos, capsys):
    longest = photos / f"{'x' * 251}.png"
    (photos / "b.png").rename(longest)
    (photos / "a.png").write_text("no image")
    assert run(EFFECTS[0], photos) == 1 and results() == ["c"]
    said = capsys.readouterr().err
    assert f"is too long for the disk of out; give {longest} a shorter one" in said
    assert said.count("photos/a.png") == 1 and "1 done, 2 failed of 3 images in" in said and "stopped" not in said


KILLED = """
import os, pathlib, sys
from depth_normal.app import cli
at, replace, moves = int(sys.argv[1]), pathlib.Path.replace, []
def killed(source, target):
    moves.append(target)
    if len(moves) == at:
        os.kill(os.getpid(), 9)
    return replace(source, target)
pathlib.Path.replace = killed
cli.main(sys.argv[2:])
"""


@pytest.mark.slow("starts another process")
@pytest.mark.skipif(sys.platform == "win32", reason="it has no such signal")
@pytest.mark.parametrize(("at", "anew"), [(2, False), (3, False), (3, True), (4, True)])
def test_a_killed_run_leaves_nothing_half_written(at, anew, photos, capsys):
    """Of each image three files are moved: the result among what is not finished, the record, and the result to its place."""
    words = [*EFFECTS[0], str(photos), "-o", "out"]
    if anew:
        assert cli.main(words) == 0
        words += ["--density", "0.5"]
    assert exit_code_of(python(KILLED, at, *words)) == -signal.SIGKILL
    before = times()
    assert all(read_image(Path("out") / name).shape == (32, 48, 3) for name in before)
    capsys.readouterr()
    paths._remove_leftovers_once.cache_clear()  # as a process of its own
    assert cli.main([*words, "--resume"]) == 0
    done = (at - 1) // 3
    assert f"{3 - done} done, " in capsys.readouterr().err and [*sorted(times())] == ["a_fog.png", "b_fog.png", "c_fog.png"]
    assert sorted(path.name for path in Path("out/.depth-normal").iterdir()) == ["a.json", "b.json", "c.json", "lock"]
    assert len(before.items() - times().items()) == len(before) - done
