"""Marigold, Lotus and LBM in a real ComfyUI server: the workflows as published, with tiny models in ComfyUI's own folders.

A file of tiny tensors does not fit the published architectures, which are loaded strictly. So a pack beside ours (tests/tiny_diffusion.py)
shrinks the architectures in the server's table of models; ids, file names and folders, and the way through the loader, are the real ones.
"""

import shutil
import subprocess
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from depth_normal.annotators.registry import MATERIAL_MODELS, MODELS
from depth_normal.nodes import diffusion
from tests import tiny_diffusion as TINY
from tests.prompts import chain

ROOT = Path(__file__).resolve().parents[2]
NODES = {node.NODE_ID: node for node in diffusion.NODES}
RENAMED = {
    "marigold-depth": {},
    "marigold-normals": {},
    # as users have them who took the single files of others
    "lotus-depth-d": {
        "diffusers/lotus-depth-d-v1-1/unet/diffusion_pytorch_model.safetensors": "diffusion_models/lotus-depth-d-v1-1.safetensors",
        "diffusers/lotus-depth-d-v1-1/vae/diffusion_pytorch_model.safetensors": "vae/vae-ft-mse-840000-ema-pruned.safetensors",
    },
    "lotus-normals-d": {
        "diffusers/lotus-depth-d-v1-1/vae/diffusion_pytorch_model.safetensors": "vae/vae-ft-mse-840000-ema-pruned.safetensors"
    },
    "lbm-depth": {"diffusers/LBM_depth/model.safetensors": "diffusion_models/LBM/LBM_depth.safetensors"},
    "lbm-normals": {"diffusers/LBM_normals/model.safetensors": "diffusion_models/LBM/LBM_normals.safetensors"},
}
MATERIALS = "marigold-iid-appearance"
pytestmark = pytest.mark.comfyui


@pytest.fixture(scope="module")
def tiny_server(server, comfyui_python):
    pytest.importorskip("diffusers", reason="the diffusion models need the extra [diffusion]")
    if subprocess.run([comfyui_python, "-c", "import diffusers, scipy"], capture_output=True, check=False).returncode:
        pytest.skip("the diffusion models need diffusers and scipy in ComfyUI's own Python, which has them not")
    models = server.base / "models"
    for model_id, moves in RENAMED.items():
        TINY.write_files(TINY.shrunk(MODELS[model_id]), models / "diffusers")
        for source, target in moves.items():
            (models / target).parent.mkdir(parents=True, exist_ok=True)
            shutil.move(models / source, models / target)
    TINY.write_files(TINY.shrunk(MATERIAL_MODELS[MATERIALS]), models / "diffusers")
    server.finished({"1": {"class_type": "Test_UseTinyModels", "inputs": {}}})
    return server


@pytest.fixture(scope="module")
def image_path(server) -> Path:
    path = server.base / "input" / "small.png"
    coarse = np.random.default_rng(0).integers(0, 255, (9, 12, 3), np.uint8)
    cv2.imwrite(str(path), cv2.resize(coarse, (96, 72), interpolation=cv2.INTER_CUBIC))
    return path


def graph(image_path: Path, node: str, count: int = 1, **widgets) -> dict:
    required = NODES[f"DepthNormal_{node}"].INPUT_TYPES()["required"]
    defaults = {name: widget[1]["default"] for name, widget in required.items() if name != "image"}
    return chain(image_path.name, f"DepthNormal_{node}", count, **{"precision": "float32", **defaults, **widgets})


WORKFLOWS = {
    "LBM Depth and Normals": ("2 3", "4 5", "diffusion_models/LBM/LBM_normals.safetensors"),
    "Lotus Depth and Normals": ("2 3", "4 5", "vae/vae-ft-mse-840000-ema-pruned.safetensors"),
    "Marigold Depth and Normals": ("2 3", "4 5", "diffusers/marigold-depth-v1-1/vae/diffusion_pytorch_model.fp16.safetensors"),
    "Material from Photo": ("4", "5 6 7 9", f"diffusers/{MATERIALS}"),
}
"""By the workflow: its nodes with a model, its previews, and what is read of ComfyUI's own folders."""


@pytest.mark.parametrize("workflow", WORKFLOWS)
def test_a_workflow_runs_with_the_models_of_comfyuis_own_folders(tiny_server, image_path, workflow, tmp_path):
    nodes, shown, file = (each.split() for each in WORKFLOWS[workflow])
    settings = [f"{node}.{setting}" for node in nodes for setting in ('precision="float32"', "resolution=192")]
    sent = tiny_server.run_workflow(ROOT / "workflows" / f"{workflow}.json", tmp_path, *settings, image=image_path)
    images = {path.name.split("_")[0]: cv2.imread(str(path)) for path in tmp_path.glob("*.png")}
    assert not set(shown) - set(images) and all(images[each].shape == (72, 96, 3) and images[each].std() > 1 for each in shown)
    if "3" in nodes:
        assert images["4"].min() == 0 and images["4"].max() == 255, "depth"
        assert ("geometry" in sent["3"]["inputs"]) is (workflow.startswith("LBM"))
    loaded = [line for line in tiny_server.log.splitlines() if "loading" in line]
    assert any(str(tiny_server.base / "models" / file[0]) in line for line in loaded), loaded


def progress(log: str) -> list[str]:
    return [line.split("progress: ")[1].strip() for line in log.splitlines() if "progress: " in line]


def test_cancel_stops_between_steps_and_the_next_run_works(tiny_server, image_path):
    before = len(tiny_server.log)
    prompt = tiny_server.submit(graph(image_path, "LBMDepth", count=4, steps=50, seed=12, resolution=512))
    end = time.monotonic() + 60
    while not progress(tiny_server.log[before:]) and time.monotonic() < end:
        time.sleep(0.05)
    assert tiny_server.cancel(prompt) < 10
    seen = progress(tiny_server.log[before:])
    assert 0 < len(seen) < 50, seen
    tiny_server.finished(graph(image_path, "LBMDepth", steps=1, seed=13, resolution=64))
