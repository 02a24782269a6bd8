"""The pack's own network in a real ComfyUI server on which no model file lies."""

import subprocess
import sys
from pathlib import Path

import cv2
import pytest

ROOT = Path(__file__).resolve().parents[2]
RUNNER = Path(__file__).with_name("run_workflow.py")
pytestmark = pytest.mark.comfyui


@pytest.mark.parametrize(
    ("workflow", "settings"),
    [("MiDaS Depth and Normal Map", ('2.model="tiny"', '3.model="tiny"')), ("Tiny Preview", ()), ("Large Image", ())],
)
def test_a_workflow_runs_without_any_model_file(bare_server, photo, tmp_path, workflow, settings):
    image = bare_server.base / "input" / "astronaut.png"
    cv2.imwrite(str(image), photo[64:448, :, ::-1])
    words = ["--image", image, "--out", tmp_path, "--server", bare_server.address]
    words += [word for setting in settings for word in ("--set", setting)]
    graph = ROOT / "workflows" / f"{workflow}.json"
    run = subprocess.run([sys.executable, RUNNER, graph, *map(str, words)], capture_output=True, text=True, check=False)
    assert run.returncode == 0 and "PROBLEM" not in run.stdout, run.stdout + run.stderr
    maps = [cv2.imread(str(path)) for path in tmp_path.glob("*.png")]
    (depth,) = (each for each in maps if (each[..., 0] == each[..., 2]).all())
    (normals,) = (each for each in maps if not (each[..., 0] == each[..., 2]).all())
    assert depth.min() == 0 and depth.max() >= 253
    assert normals.shape == depth.shape and normals.std() > 5
    assert [path for path in bare_server.base.glob("models/**/*") if path.is_file()] == []
    assert not any((bare_server.base / folder).exists() for folder in ("cache", "hf", "hub"))


@pytest.mark.parametrize(("workflow", "made"), [("Mesh from Photo", "output/3d/mesh_*.glb"), ("Compare Models", "temp/depth_normal_*.png")])
def test_a_workflow_makes_its_files_without_any_model_file(bare_server, photo, tmp_path, workflow, made):
    """Of *Compare Models* the row of *tiny*: the others are muted."""
    image = bare_server.base / "input" / "astronaut.png"
    cv2.imwrite(str(image), photo[64:448, :, ::-1])
    before = set(bare_server.base.glob(made))
    words = [ROOT / "workflows" / f"{workflow}.json", "--image", image, "--out", tmp_path, "--server", bare_server.address]
    run = subprocess.run([sys.executable, RUNNER, *map(str, words)], capture_output=True, text=True, check=False)
    assert run.returncode == 0 and "PROBLEM" not in run.stdout, run.stdout + run.stderr
    assert set(bare_server.base.glob(made)) - before


def test_a_photograph_becomes_a_material_without_any_model_file(bare_server, tmp_path):
    words = ["--image", ROOT / "docs" / "images" / "wall.jpg", "--out", tmp_path, "--server", bare_server.address]
    run = subprocess.run(
        [sys.executable, RUNNER, ROOT / "workflows" / "PBR Textures.json", *map(str, words)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0 and "PROBLEM" not in run.stdout, run.stdout + run.stderr
    maps = [cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in tmp_path.rglob("*.png")]
    assert len(maps) == 5 and all(each.shape[:2] == (512, 512) and each.std() > 1 for each in maps)
    assert [each.ndim for each in maps if each.dtype == "uint16"] == [2], "the height, grey in 16 bits"
