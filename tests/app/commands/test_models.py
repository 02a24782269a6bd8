"""The command line's list of models, and its end by SIGTERM."""

import json
import re
import subprocess
import sys
from pathlib import Path

import torch

from depth_normal.annotators.registry import all_specs
from depth_normal.app import cli
from depth_normal.app.commands.models import SUGGESTIONS
from depth_normal.model_loader.weights import find

MODELS = {spec.id: spec for spec in all_specs()}


def listed(capsys, *words):
    assert cli.main(["models", *words]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 100
    return {line.split()[0]: line for line in lines if re.match(r"  [a-z]", line)}


def test_models_shows_every_model_once_tiny_and_the_defaults_first(capsys):
    rows = listed(capsys, "--all")
    assert sorted(rows) == sorted(MODELS)
    assert set(list(rows)[1:3]) == {"moge-2-vits-normal", "video-depth-anything-small"} and next(iter(rows)) == "tiny"
    for model, row in rows.items():
        assert re.search(rf" {re.escape(MODELS[model].size_in_words)}  (yes )? +{MODELS[model].commercial_use} +\S", row), row


def test_the_first_screen_says_which_model_to_take(capsys, monkeypatch):
    monkeypatch.setattr(find, "find_weights", lambda file, *_: Path(file.name) if "res101" in file.name or file.bundled else None)
    assert cli.main(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) < 24 and max(map(len, lines[:-1])) <= 100
    rows = {line.split()[0]: line for line in lines[1 : lines.index("")]}
    assert list(rows)[: len(SUGGESTIONS)] == list(SUGGESTIONS) and list(rows)[:2] == ["tiny", "moge-2-vits-normal"]
    assert set(rows) - set(SUGGESTIONS) == {"leres", "leres-boost"}
    for model, row in rows.items():
        assert row.endswith(SUGGESTIONS.get(model, MODELS[model].gives)) and f" {MODELS[model].commercial_use} " in row
    assert "all models" in lines[-1] and lines[-1].endswith("models --all`")


def test_models_that_are_named_are_listed_alone(capsys):
    assert cli.main(["models", "zipdepth-base", "tiny"]) == 0
    zipdepth, tiny = capsys.readouterr().out.split("\n\n")
    assert tiny.startswith("tiny\n") and "--model tiny" in tiny and str(find.find_weights(MODELS["tiny"].file)) in tiny
    facts = ("27 MB", "MIT (https://", "CC-BY-NC-4.0", "small CPU", "not on this computer", "zipdepth_base.pth", "--model zipdepth-base")
    assert zipdepth.startswith("zipdepth-base\n") and not [fact for fact in facts if fact not in zipdepth]
    assert cli.main(["models", "marigold-iid-appearance", "--json"]) == 0
    assert [row["id"] for row in json.loads(capsys.readouterr().out)] == ["marigold-iid-appearance"]
    assert cli.main(["models", "depth-anything-v2-giant"]) == 0
    assert "from       nowhere: its authors have not published it" in re.sub(" {8,}", "       ", capsys.readouterr().out)
    assert cli.main(["models", "tini"]) == 2 and "did you mean tiny?" in capsys.readouterr().err


def test_models_of_a_licence(capsys):
    found = {choice: set(listed(capsys, "--licence", choice)) for choice in ("commercial", "non-commercial", "unclear")}
    assert sorted(model for models in found.values() for model in models) == sorted(MODELS)
    assert "tiny" in found["commercial"] and "depth-anything-v2-large" in found["non-commercial"] and "bae-normal" in found["unclear"]


def test_models_on_the_disk_with_their_place(capsys, tmp_path, monkeypatch):
    for name in ("TORCH_HOME", "HF_HOME", "DEPTH_NORMAL_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    assert cli.main(["models", "--on-disk"]) == 0
    lines = capsys.readouterr().out.splitlines()
    (row,) = (number for number, line in enumerate(lines) if line.startswith("  tiny "))
    assert Path(lines[row + 1].strip()) == Path(cli.__file__).parents[1] / "annotators" / "tiny.safetensors"
    assert "moge-2-vits-normal" not in "".join(lines)


LISTING = """
import contextlib, sys
from depth_normal.app import cli
with contextlib.redirect_stdout(sys.stderr):
    cli.main(["models"])
cli.main(["models", "--json"])
large = {"torch", "numpy", "PIL", "cv2", "transformers", "httpx", "requests", "tqdm"}
print("large:", *sorted(large & sys.modules.keys()), file=sys.stderr)
"""


def test_the_list_is_told_without_torch(tmp_path, monkeypatch):
    for name in ("TORCH_HOME", "HF_HOME", "DEPTH_NORMAL_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    checkpoints = tmp_path / "TORCH_HOME" / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True)
    torch.save({"weight": torch.zeros(1)}, checkpoints / "midas_v21_small_256.pt")
    (checkpoints / "dpt_large_384.pt").write_text("<!DOCTYPE html>")
    run = subprocess.run([sys.executable, "-c", LISTING], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert run.stderr.splitlines()[-1] == "large:"
    rows = {row["id"]: row for row in json.loads(run.stdout)}
    assert rows["midas-dpt-hybrid"] == {
        **{"id": "midas-dpt-hybrid", "gives": "disparity", "group": "disparity", "licence": "MIT", "commercial_use": "yes"},
        **{"size": 492757791, "size_is_exact": True, "file": None},
    }
    files = {model: row["file"] for model, row in rows.items()}
    assert list(files) == list(MODELS)
    assert files["midas-v2.1-small"] == str(checkpoints / "midas_v21_small_256.pt")
    assert files["midas-dpt-large"] is None and Path(files["tiny"]).parent.name == "annotators"


def test_the_place_of_torchs_own_downloads_is_torchs(monkeypatch, tmp_path):
    """With torch in memory, `torch.hub.set_dir` holds; without, the environment, as torch reads it."""
    for variables in ({"TORCH_HOME": "~/elsewhere"}, {"XDG_CACHE_HOME": str(tmp_path)}, {}):
        for name in ("TORCH_HOME", "XDG_CACHE_HOME"):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        expected = torch.hub.get_dir()
        with monkeypatch.context() as without_torch:
            without_torch.setitem(sys.modules, "torch", None)
            assert str(find._torch_hub()) == expected
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "set"))
    assert find._torch_hub() == tmp_path / "set"
