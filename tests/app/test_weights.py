"""`--weights` without `--model`: the file says which model it is, and the records say so too."""

import json
import shutil

import cv2
import numpy as np
import pytest

import depth_normal
from depth_normal.annotators.registry import MODELS
from depth_normal.app import cli
from depth_normal.app.batch.records import RECORDS
from depth_normal.app.bench.timing import Bench
from depth_normal.app.commands.arguments import chosen_model
from depth_normal.model_loader.weights.integrity import BUNDLED_FOLDER


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "wave.png"
    cv2.imwrite(str(path), (127 + 120 * np.sin(np.arange(96 * 64 * 3).reshape(64, 96, 3) / 50)).astype(np.uint8))
    return path


@pytest.fixture
def own(tmp_path):
    """The pack's own weights under another name; the commands' default is another model."""
    path = tmp_path / "own.bin"
    shutil.copy(BUNDLED_FOLDER / "tiny.safetensors", path)
    return path


def estimate(image, out, *words, command="estimate"):
    return cli.main([command, str(image), "--out", str(out), *map(str, words)])


def test_the_record_and_a_resume_name_the_model_that_the_file_is_of(image, own, tmp_path, capsys, caplog):
    caplog.set_level("INFO")
    assert estimate(image, tmp_path / "out", "--weights", own) == 0
    assert f"{own} is recognised as tiny" in caplog.text
    settings = json.loads((tmp_path / "out" / RECORDS / "wave.json").read_text())["settings"]
    assert settings["model"] == "tiny" and settings["weights"]["name"] == "own.bin"
    capsys.readouterr()
    assert estimate(image, tmp_path / "out", "--weights", own, "--resume") == 0
    assert estimate(image, tmp_path / "out", "--weights", own, "--model", "tiny", "--resume") == 0
    assert capsys.readouterr().out == "", "both times it was done before"
    # weights of one's own run without the head for edges, which fits the published ones
    assert estimate(image, tmp_path / "named", "--model", "tiny", "--no-refine") == 0
    name = "wave_depth.png"
    assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "named" / name).read_bytes()


def test_stereo_takes_the_file_alone(image, own, tmp_path):
    assert estimate(image, tmp_path / "out", "--weights", own, command="stereo") == 0
    assert [path.name for path in (tmp_path / "out").glob("*.png")] == ["wave_LRF_Full_SBS.png"]


def test_numbered_images_of_a_video_take_the_file_alone(image, own, tmp_path):
    shutil.copy(image, tmp_path / "frame_1.png")
    words = ["video", str(tmp_path / "frame_%d.png"), "-o", str(tmp_path / "depth_%d.png"), "--weights", str(own), "--size", "64"]
    pytest.importorskip("av", reason="videos are read by PyAV")
    assert cli.main(words) == 0 and (tmp_path / "depth_1.png").is_file()


def test_bench_speaks_of_the_model_that_the_file_is_of(own, monkeypatch, capsys):
    asked = []

    def measure(options, *_):
        asked.append((options.spec.id, options.weights))
        return Bench({}, {}, {})

    monkeypatch.setattr("depth_normal.app.bench.timing.measure", measure)
    assert cli.main(["bench", "--json", "--weights", str(own)]) == 0
    assert cli.main(["bench", "--json"]) == 0
    assert asked[0] == ("tiny", own) and asked[1][0] in MODELS and asked[1][1] is None


@pytest.mark.parametrize(
    "command", [("estimate", "a.png", "--out", "x"), ("stereo", "a.png", "--out", "x"), ("video", "a.mp4"), ("bench",)]
)
def test_a_model_that_is_named_counts_more_than_a_file_and_neither_is_the_default(command):
    parse = cli._parsed
    assert chosen_model(parse([*command, "--model", "zoedepth-nyu", "--weights", "absent.pth"])) == "zoedepth-nyu"
    default = parse(command)
    assert chosen_model(default) == default.default_model and default.default_model in MODELS


def test_a_folder_from_python_takes_the_file_alone(image, own, tmp_path):
    ((path, found),) = depth_normal.estimate_folder(image, tmp_path / "out", weights=own)
    assert path == image and found.normals is not None
    assert json.loads((tmp_path / "out" / RECORDS / "wave.json").read_text())["settings"]["model"] == "tiny"
