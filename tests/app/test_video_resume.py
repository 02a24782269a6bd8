"""`depth-normal video --resume`: whatever stopped a run, and wherever, the film is the one of a run that nothing stopped, bit for bit."""

import json
import os
import runpy
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from depth_normal.annotators import registry
from depth_normal.app import cli
from depth_normal.app.films import pictures as film_pictures
from depth_normal.app.films.state import read_state, state_to_bytes
from depth_normal.geometry.films import FilmError

TESTS = Path(__file__).parents[1]
FILMS = SimpleNamespace(**runpy.run_path(str(TESTS / "films.py")))
TINY = SimpleNamespace(**runpy.run_path(str(TESTS / "tiny_depth.py")))
MODEL = "video-depth-anything-small"

# A run that is killed, as by a power failure, when so many frames have been estimated: nothing of it can clean up.
KILLED = """
import os, runpy, signal, sys
from dataclasses import replace
from depth_normal.annotators import registry
from depth_normal.app import cli
from depth_normal.app.films import pictures
tiny = runpy.run_path(sys.argv[1])
registry.MODELS[sys.argv[2]] = replace(tiny["shrunk"](registry.MODELS[sys.argv[2]]), default_size=56)
shown, seen = pictures.Renderer.shown, []
def killed(self, frames, *rest):
    seen.extend(frames)
    if len(seen) > int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
    return shown(self, frames, *rest)
pictures.Renderer.shown = killed
sys.exit(cli.main(sys.argv[4:]))
"""


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    spec = TINY.shrunk(registry.MODELS[MODEL])
    path = tmp_path_factory.mktemp("weights") / spec.file.name
    TINY.write_file(spec, path)
    return path


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setitem(registry.MODELS, MODEL, replace(TINY.shrunk(registry.MODELS[MODEL]), default_size=56))


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> Path:
    """100 frames in two shots: the cut is at frame 61, in the middle of a window."""
    frames = FILMS.moving_ball(61)
    frames += [[255 - luma[::-1].copy(), blue, red] for luma, blue, red in FILMS.moving_ball(39)]
    return FILMS.write_film(tmp_path_factory.mktemp("film") / "in.mkv", frames)


def words(film, out, weights, *more) -> list[str]:
    return ["video", str(film), str(out), "--model", MODEL, "--weights", str(weights), "--segment", "8", *map(str, more)]


def frames_of(path) -> list[bytes]:
    """The coded frames, bit by bit."""
    with FILMS.av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(container.streams.video[0]) if packet.size]


def pieces_of(folder: Path) -> list[int]:
    (record,) = folder.glob(".depth-normal/*.film/pieces.json")
    return [each["frames"] for each in json.loads(record.read_bytes())["pieces"]]


def stop_after(monkeypatch, frames: int) -> None:
    """Ctrl-C once so many frames are estimated."""
    shown, seen = film_pictures.Renderer.shown, []

    def stops(self, part, *rest):
        seen.extend(part)
        if len(seen) > frames:
            raise KeyboardInterrupt
        return shown(self, part, *rest)

    monkeypatch.setattr(film_pictures.Renderer, "shown", stops)


@pytest.fixture(scope="module")
def whole(film, weights, tmp_path_factory):
    """What a run that nothing stops makes, by the output's name."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry.MODELS, MODEL, replace(TINY.shrunk(registry.MODELS[MODEL]), default_size=56))
        assert cli.main(words(film, folder / "out.mkv", weights, "--codec", "ffv1")) == 0
        assert cli.main(words(film, folder / "d_%03d.png", weights)) == 0
    return folder


def test_a_film_in_windows_that_was_killed_goes_on_bit_by_bit(film, weights, whole, small, tmp_path):
    """Killed in a window twice; the second run goes on behind the first."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    done = []
    for after in (24, 22):
        command = [sys.executable, "-c", KILLED, str(TESTS / "tiny_depth.py"), MODEL, str(after)]
        killed = subprocess.run(
            [*command, *words(film, tmp_path / "out.mkv", weights, "--codec", "ffv1", "--resume")], env=environment, timeout=600
        )
        assert killed.returncode == -signal.SIGKILL
        done.append(sum(pieces_of(tmp_path)))
    assert done == [24, 46]
    assert cli.main(words(film, tmp_path / "out.mkv", weights, "--codec", "ffv1", "--resume")) == 0
    assert frames_of(tmp_path / "out.mkv") == frames_of(whole / "out.mkv")


@pytest.mark.parametrize("after", [24, 46, 61])
def test_a_film_in_windows_that_was_stopped_goes_on_bit_by_bit(film, weights, whole, small, tmp_path, monkeypatch, after):
    """At each place where a piece can end: behind the first window, behind one that is joined to others, and at the cut."""
    with monkeypatch.context() as stopped:
        stop_after(stopped, after)
        assert cli.main(words(film, tmp_path / "d_%03d.png", weights)) == 130
    assert sum(pieces_of(tmp_path)) == after
    assert cli.main(words(film, tmp_path / "d_%03d.png", weights, "--resume")) == 0
    made, expected = ([path.read_bytes() for path in sorted(folder.glob("d_*.png"))] for folder in (tmp_path, whole))
    assert len(made) == 100
    assert [number + 1 for number, (one, other) in enumerate(zip(made, expected, strict=True)) if one != other] == []
