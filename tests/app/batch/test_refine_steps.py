"""--refine-steps: what it does to MoGe-3's depth, what a run records of it, and what other models say to it."""

import runpy
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from depth_normal.annotators.networks.moge import MoGe
from depth_normal.annotators.registry import MODELS
from depth_normal.app.batch.folders import estimate_folder
from depth_normal.app.batch.options import Options
from depth_normal.app.batch.records import read_record
from depth_normal.app.cli import main
from depth_normal.geometry.files import load_estimate

TINY = runpy.run_path(str(Path(__file__).resolve().parents[2] / "annotators" / "test_moge_3.py"))


@pytest.fixture
def third(tmp_path, monkeypatch):
    """A MoGe-3 of few channels in the table, and the words that run it on an image."""
    spec = TINY["spec"]()
    monkeypatch.setitem(MODELS, spec.id, spec)
    monkeypatch.setattr("depth_normal.app.batch.options.REFINED", (spec,))
    state = {name: value.contiguous() for name, value in TINY["as_published"](MoGe(spec.config)).items()}
    save_file(state, tmp_path / "moge_3.safetensors")
    (tmp_path / "in").mkdir()
    cv2.imwrite(str(tmp_path / "in" / "a.png"), np.random.default_rng(0).integers(0, 255, (40, 64, 3), dtype=np.uint8))
    return [
        *("estimate", str(tmp_path / "in"), "--model", spec.id, "--weights", str(tmp_path / "moge_3.safetensors")),
        *("--device", "cpu", "--write", "npz"),
    ]


def run(words, folder, *more):
    assert main([*words, "--out", str(folder), *more]) == 0
    (found,) = folder.glob("a*.npz")
    record = read_record(folder / ".depth-normal" / "a.json")
    assert record is not None
    return np.load(found)["depth"], record["settings"]


def test_the_steps_change_the_depth_and_are_recorded(third, tmp_path):
    plain, settings = run(third, tmp_path / "default")
    assert "refine_steps" not in settings, "runs from before there were steps can be resumed"
    three, settings = run(third, tmp_path / "three", "--refine-steps", "3")
    assert "refine_steps" not in settings and np.array_equal(three, plain), "3 is the default"
    none, settings = run(third, tmp_path / "none", "--refine-steps", "0")
    assert settings["refine_steps"] == 0 and not np.allclose(none, plain)


def test_other_models_say_which_have_steps():
    with pytest.raises(
        ValueError, match=r"tiny has no steps of refinement; only moge-3-vitl and moge-3-vitg have: leave --refine-steps out"
    ):
        Options(MODELS["tiny"], refine_steps=2).load("cpu")
    with pytest.raises(ValueError, match=r"refine_steps is .*accepted: 0 to 8"):
        Options(MODELS["moge-3-vitl"], refine_steps=9).load("cpu")


def test_folders_in_python_take_the_steps(third, tmp_path):
    words = {"model": third[3], "weights": third[5], "device": "cpu", "writes": ()}
    depths = [next(iter(estimate_folder(tmp_path / "in", **words, refine_steps=steps)))[1].depth.numpy() for steps in (None, 3, 0)]
    assert np.array_equal(depths[0], depths[1]) and not np.allclose(depths[0], depths[2])
    with pytest.raises(ValueError, match="tiny has no steps of refinement"):
        estimate_folder(tmp_path / "in", model="tiny", refine_steps=2)


@pytest.mark.slow("takes a second")
def test_videos_take_the_steps(third, tmp_path):
    pytest.importorskip("av")
    outs = [tmp_path / name / "d_%d.exr" for name in ("default", "three", "none")]
    for out, more in zip(outs, ((), ("--refine-steps", "3"), ("--refine-steps", "0")), strict=True):
        assert main(["video", *third[1:-2], "--out", str(out), "--start", "0", *more]) == 0
    default, three, none = (load_estimate(out.with_name("d_1.exr")).depth for out in outs)
    assert torch.equal(default, three) and not torch.allclose(default, none)
