"""`depth-normal clean` lists what the program keeps for itself, asks, and leaves results and weights alone."""

import io
import sys
from contextlib import suppress
from unittest.mock import Mock

import pytest
import torch
from PIL import Image

from depth_normal.annotators.registry import MODELS
from depth_normal.app import cli
from depth_normal.app.batch import overwriting
from depth_normal.app.batch.failures import Failure, FailureLog, folder_of_failures
from depth_normal.app.batch.records import RECORDS
from depth_normal.app.batch.remote_files import as_path
from depth_normal.app.batch.shards.catalogue import write_manifest
from depth_normal.app.batch.shards.shard_store import open_store
from depth_normal.app.verify.figures import write_figures
from depth_normal.app.video.task import SEGMENTS_FILE, segments_folder
from depth_normal.model_loader.runtimes import engine_store, measured
from depth_normal.model_loader.weights import download
from depth_normal.model_loader.weights.find import user_cache


@pytest.fixture
def places(tmp_path, monkeypatch):
    monkeypatch.setenv("DEPTH_NORMAL_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    odd = "maps/b" if sys.platform == "win32" else "maps/b\n"
    engine = "cache/runtimes/tiny/onnx-0123456789abcdef/model"
    go = ["cache/runs/named.json", engine, "depth-normal/.depth-normal/a.json", f"{odd}/.depth-normal/b.json"]
    stay = ["cache/org/repo/model.safetensors", "depth-normal/a_depth.png", f"{odd}/b.npz"]
    for name in go + stay:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    return [tmp_path / name for name in go], [tmp_path / name for name in stay]


def test_the_programs_own_files_go_and_results_and_weights_stay(places, capsys):
    go, stay = places
    assert cli.main(["clean", "depth-normal", "maps", ".", "--yes"]) == 0
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


def test_what_other_programs_keep_under_the_same_names_stays_and_is_named(places, tmp_path, capsys):
    """TensorBoard, Ultralytics and Lightning keep checkpoints in `runs`; DEPTH_NORMAL_HOME may itself be called `.depth-normal`."""
    theirs = [
        "cache/runs/exp1/checkpoint.pt",
        "cache/runs/0123456789abcdef/events",
        "cache/runtimes/tiny/notes.txt",
        "cache/.locks/models--org--name/model.lock",
        "depth-normal/.depth-normal/org/repo/model.safetensors",
    ]
    for name in theirs:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / "disk" / "tiny" / "onnx-0123456789abcdef").mkdir(parents=True)
    (tmp_path / "cache/runtimes/linked").symlink_to(tmp_path / "disk" / "tiny", target_is_directory=True)
    assert cli.main(["clean", "depth-normal", "maps", "--yes"]) == 0
    said = capsys.readouterr().out
    assert all((tmp_path / name).exists() for name in theirs) and not [path for path in places[0] if path.exists()]
    assert (tmp_path / "disk" / "tiny" / "onnx-0123456789abcdef").exists()
    assert "runs/0123456789abcdef, runs/exp1 " in said and "runtimes/linked, runtimes/tiny/notes.txt " in said, said
    assert cli.main(["clean", "--yes"]) == 0 and "nothing to remove" in capsys.readouterr().out


def test_everything_that_is_written_is_known(tmp_path, monkeypatch):
    monkeypatch.setenv("DEPTH_NORMAL_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    spec, out, photo = MODELS["tiny"], tmp_path / "depth-normal", tmp_path / "a.png"
    Image.new("RGB", (32, 32)).save(photo)
    key = {"model": "some/model", "weights": "abc", "engine": "onnxruntime cpu"}
    entry = engine_store.kept(key, lambda folder: (folder / "engine.bin").touch(), bool)
    with suppress(KeyboardInterrupt):
        engine_store.kept({**key, "weights": "d"}, Mock(side_effect=KeyboardInterrupt), bool)
    entry.with_name(f"{entry.name}.0123abcd{engine_store._PART}").mkdir()  # of a killed process
    measured.keep(spec, None, torch.device("cpu"), [])
    overwriting.note_named(photo, [photo], "estimate")
    with download._lock(user_cache(), spec.files[0], Mock()):
        write_figures(tmp_path / "figures.json", {})
    failed = FailureLog(folder_of_failures(as_path("s3://bucket/maps")))
    failed.add(photo, failed._out, Failure("it is broken"))
    assert failed.path.exists() and cli.main(["estimate", str(photo), "--out", "depth-normal", "--model", "tiny"]) == 0
    FailureLog(out).add(photo, out, Failure("it is broken"))
    segments = segments_folder({"depth": out / "clip.mp4"})
    for path in (segments / SEGMENTS_FILE, segments.with_name(f"{segments.name}.json"), segments.with_name(f"{segments.name}.lock")):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    write_manifest(open_store(out), [])
    with open_store(out).alone():
        pass
    leftover = out / RECORDS / ".depth-normal-0123456789ab"
    leftover.mkdir()
    assert cli.main(["clean", "--yes"]) == 0
    assert list((tmp_path / "cache").iterdir()) == [] and not (out / RECORDS).exists() and len(list(out.iterdir())) == 2
