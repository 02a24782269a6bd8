"""`depth-normal clean` lists what the program keeps for itself, asks, and leaves results and weights alone."""

import io
import sys

import pytest

from depth_normal.app import cli
from depth_normal.app.commands import clean
from depth_normal.model_loader.runtimes.engine_store import store_folder
from depth_normal.model_loader.weights.find import user_cache


@pytest.fixture
def places(tmp_path, monkeypatch):
    monkeypatch.setenv("DEPTH_NORMAL_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    odd = "maps/b" if sys.platform == "win32" else "maps/b\n"
    go = ["cache/runs/named.json", "cache/runtimes/tiny/onnx/model", "depth-normal/.depth-normal/a.json", f"{odd}/.depth-normal/b.json"]
    stay = ["cache/org/repo/model.safetensors", "depth-normal/a_depth.png", f"{odd}/b.npz"]
    for name in go + stay:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    return [tmp_path / name for name in go], [tmp_path / name for name in stay]


def test_the_programs_own_files_go_and_results_and_weights_stay(places, capsys):
    go, stay = places
    assert cli.main(["clean", "depth-normal", "maps", "--yes"]) == 0
    said = capsys.readouterr().out
    assert not [path for path in go if path.exists()] and all(path.exists() for path in stay)
    assert "runs" in said and "weights stay" in said and len(said.splitlines()) == len(go) + 1, "a line a place"
    assert cli.main(["clean"]) == 0 and "nothing to remove" in capsys.readouterr().out


@pytest.mark.parametrize(("typed", "left"), [(None, True), ("\n", True), ("y\n", False)])
def test_it_asks_first_and_deletes_nothing_where_nobody_answers(places, monkeypatch, typed, left, capsys):
    answers = io.StringIO(typed or "")
    monkeypatch.setattr(answers, "isatty", lambda: typed is not None, raising=False)
    monkeypatch.setattr("sys.stdin", answers)
    assert cli.main(["clean"]) == 0
    assert [path.exists() for path in places[0]] == [left, left, left, True], "maps was not named"
    assert ("--yes" in capsys.readouterr().out) == left


def test_every_place_that_is_written_is_known():
    assert store_folder().name in clean.KEPT and user_cache().is_absolute()
