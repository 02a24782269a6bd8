"""What a run over several items does when it cannot go on: the same whatever is made of the items."""

import errno
import os
import signal
import sys
from pathlib import Path

import pytest
from PIL import Image

from depth_normal.app import cli
from depth_normal.app.commands import scene
from depth_normal.media import VideoWriter

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "somewhere")
EFFECTS = [("effect", "fog"), ("relight",), ("parallax", "--longer-side", "32", "--seconds", "0.1")]


@pytest.fixture
def photos(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    for name in "abc":
        Image.new("RGB", (48, 32), (200, 90, 40)).save(f"photos/{name}.png")
    return Path("photos")


@pytest.fixture
def at_the_second(monkeypatch):
    """Has something happen while the second result is written."""

    def arrange(happens) -> None:
        for place, name in ((scene, "write_image"), (VideoWriter, "__enter__")):
            monkeypatch.setattr(place, name, _with(getattr(place, name), happens, []))

    return arrange


def _with(write, happens, calls):
    def instead(*words, **more):
        calls.append(words)
        if len(calls) == 2:
            happens()
        return write(*words, **more)

    return instead


def run(words, photos) -> int:
    return cli.main([*words, str(photos), "-o", "out", "--model", "tiny", "--size", "32"])


def results() -> list[str]:
    return sorted(path.name[0] for path in Path("out").glob("*.*") if path.is_file())


@pytest.mark.parametrize("words", EFFECTS)
def test_a_full_disk_ends_a_run_and_what_was_made_counts(words, photos, at_the_second, capsys):
    def full():
        raise FULL

    at_the_second(full)
    assert run(words, photos) == 1 and results() == ["a"]
    said = capsys.readouterr().err
    assert "1 done, 1 failed of 3 images in" in said
    assert "stopped with 1 image not begun: photos/b.png: somewhere: No space left on device; the same command" in said


@pytest.mark.parametrize("words", EFFECTS)
def test_a_drive_that_goes_away_ends_a_run(words, photos, at_the_second, capsys):
    """Below its name lies another, empty folder."""

    def unmount():
        Path("out").rename("drive")
        Path("out").mkdir()

    at_the_second(unmount)
    assert run(words, photos) == 1
    said = capsys.readouterr().err
    assert "stopped with " in said and results() in ([], ["b"]), "the third is not written there"


@pytest.mark.skipif(sys.platform == "win32", reason="signals of Windows end the process")
@pytest.mark.parametrize("words", EFFECTS)
def test_ctrl_c_finishes_the_image_in_progress(words, photos, at_the_second, capsys):
    at_the_second(lambda: os.kill(os.getpid(), signal.SIGINT))
    assert run(words, photos) == 130 and results() == ["a", "b"]
    assert "stopped with 1 image not begun; the same command makes all of them anew" in capsys.readouterr().err


def test_an_image_that_cannot_be_read_leaves_the_others(photos, capsys):
    (photos / "b.png").write_text("no image")
    assert run(EFFECTS[0], photos) == 1 and results() == ["a", "c"]
    said = capsys.readouterr().err
    assert said.count("photos/b.png") == 1 and "2 done, 1 failed of 3 images in" in said and "stopped" not in said
