"""A run over a folder or a video with `--runtime auto` or `fast` that is stopped goes on with the runtime that it began with."""

import json
import logging
import runpy
from pathlib import Path

import pytest
import torch
from PIL import Image

from depth_normal.annotators.registry import MODELS
from depth_normal.app import cli
from depth_normal.app.batch.begun_runtime import BegunRuntime
from depth_normal.app.batch.options import Options
from depth_normal.model_loader import free
from depth_normal.model_loader.runtimes import measured
from depth_normal.model_loader.runtimes.measured import Measurement

TESTS = Path(__file__).resolve().parents[2]
_fixtures = runpy.run_path(str(TESTS / "model_loader" / "conftest.py"))
caches, point_hub_at, weights = (_fixtures[name] for name in ("caches", "point_hub_at", "weights"))
convolved = runpy.run_path(str(TESTS / "model_loader" / "runtimes" / "conftest.py"))["convolved"]

CPU = torch.device("cpu")
EXACT = Measurement("onnx", "float32", 1.4, 0.02, 0.01, 1.0, 0.0)
NOTE = "auto.runtime"


@pytest.fixture
def ran(convolved, caplog, monkeypatch):
    """The runtimes that the last command loaded, by their names."""
    pytest.importorskip("onnxruntime")
    caplog.set_level(logging.INFO, "depth_normal")

    def run(*words, code=0):
        free()
        caplog.clear()
        assert cli.main([*map(str, words), "--model", "convolved", "--weights", str(convolved.weights), "--device", "cpu"]) == code
        return [record.getMessage() for record in caplog.records if "is run by" in record.getMessage()]

    yield run
    free()


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(3):
        Image.effect_noise((64, 32), 40 + number).convert("RGB").save(folder / f"{number}.png")
    return folder


def measure(convolved, *found):
    measured.keep(MODELS["convolved"], convolved.weights, CPU, found)


def note(out):
    path = out / ".depth-normal" / NOTE
    return json.loads(path.read_text())["runtime"] if path.exists() else None


@pytest.mark.slow("takes a second")
def test_a_folder_that_torch_began_is_finished_by_torch(photos, out, tmp_path, ran, convolved):
    words = ("--runtime", "auto")
    assert not ran("estimate", photos / "0.png", "-o", out, *words) and note(out) is None
    measure(convolved, EXACT)
    assert not ran("estimate", photos, "-o", out, "--resume", *words), "other runs measured meanwhile"
    assert note(out) is None and len(list(out.glob("*_depth.png"))) == 3
    assert ran("estimate", photos, "-o", tmp_path / "new", *words), "what begins anew takes what was measured"
    assert note(tmp_path / "new") == "onnx"


def test_a_folder_that_an_engine_began_is_finished_by_it(photos, out, ran, convolved):
    measure(convolved, EXACT)
    words = ("--runtime", "fast")
    assert "ONNX Runtime" in ran("estimate", photos / "0.png", "-o", out, *words)[0] and note(out) == "onnx"
    measure(convolved)
    assert "ONNX Runtime" in ran("estimate", photos, "-o", out, "--resume", *words)[0]
    assert not ran("estimate", photos, "-o", out, "--overwrite", *words) and note(out) is None, "a run that begins anew"


def test_a_runtime_by_name_and_a_run_that_made_nothing_leave_no_note(photos, out, ran, convolved):
    measure(convolved, EXACT)
    assert ran("estimate", photos / "0.png", "-o", out, "--runtime", "onnx") and note(out) is None
    (photos / "bad.png").write_bytes(b"no image")
    ran("estimate", photos / "bad.png", "-o", out / "new", "--runtime", "auto", code=2)
    assert note(out / "new") is None


@pytest.mark.parametrize("text", ["", "[]", '{"model": "convolved"}', '{"runtime": "onnx"}', "null"])
def test_a_note_that_cannot_be_read_means_torch(text, tmp_path, convolved):
    measure(convolved, EXACT)
    (tmp_path / ".depth-normal").mkdir()
    (tmp_path / ".depth-normal" / NOTE).write_text(text)
    options = Options(MODELS["convolved"], weights=convolved.weights, runtime="auto")
    assert BegunRuntime(tmp_path, options, "cpu", is_begun=True).options.runtime == "torch"
    assert BegunRuntime(tmp_path, options, "cpu", is_begun=False).options.runtime == "onnx"


@pytest.mark.slow("makes five videos")
def test_a_video_goes_on_with_what_it_began_with(tmp_path, ran, convolved, monkeypatch):
    from tests.videos import moving_ball, stop_after, write_video

    video = write_video(tmp_path / "in.mkv", moving_ball(12))
    words = ("--segment", "4", "--align", "none", "--runtime", "auto")
    for began, later in (((), (EXACT,)), ((EXACT,), ())):
        out = tmp_path / ("by_engine" if began else "by_torch") / "d_%03d.png"
        out.parent.mkdir()
        measure(convolved, *began)
        with monkeypatch.context() as stopped:
            stop_after(stopped, 8)
            ran("video", video, "-o", out, *words, code=130)
        measure(convolved, *later)
        loaded = ran("video", video, "-o", out, *words, "--resume")
        assert len(list(out.parent.glob("d_*.png"))) == 12
        assert loaded or not began
    assert not ran("video", video, "-o", tmp_path / "whole_%03d.png", *words)
    for number in range(1, 13):
        whole = (tmp_path / f"whole_{number:03d}.png").read_bytes()
        assert (tmp_path / "by_torch" / f"d_{number:03d}.png").read_bytes() == whole
