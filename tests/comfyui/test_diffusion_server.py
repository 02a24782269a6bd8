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
import torch

from depth_normal.annotators.registry import MATERIAL_MODELS, MODELS
from depth_normal.geometry.textures.seamless import margins, wrap
from depth_normal.model_loader import load_model
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


@pytest.fixture
def here(tiny_server, monkeypatch):
    """The same models in this process."""
    monkeypatch.setenv("DEPTH_NORMAL_HOME", str(tiny_server.base / "models"))
    for model_id in RENAMED:
        monkeypatch.setitem(MODELS, model_id, TINY.shrunk(MODELS[model_id]))
    monkeypatch.setitem(MATERIAL_MODELS, MATERIALS, TINY.shrunk(MATERIAL_MODELS[MATERIALS]))


def graph(image_path: Path, node: str, count: int = 1, **widgets) -> dict:
    required = NODES[f"DepthNormal_{node}"].INPUT_TYPES()["required"]
    defaults = {name: widget[1]["default"] for name, widget in required.items() if name != "image"}
    return chain(image_path.name, f"DepthNormal_{node}", count, **{"precision": "float32", **defaults, **widgets})


@pytest.mark.parametrize("family", ["Marigold", "Lotus", "LBM"])
def test_the_workflow_runs_and_gives_what_the_nodes_give_here(tiny_server, here, image_path, family, tmp_path):
    workflow = ROOT / "workflows" / f"{family} Depth and Normals.json"
    settings = [f"{node}.{setting}" for node in "23" for setting in ('precision="float32"', "resolution=192")]
    sent = tiny_server.run_workflow(workflow, tmp_path, *settings, image=image_path)
    image = torch.from_numpy(cv2.imread(str(image_path))[None, ..., ::-1].copy()).float() / 255
    depth = None
    for number, name, shown in (("2", "Depth", "4"), ("3", "Normals", "5")):
        (path,) = tmp_path.glob(f"{shown}_*.png")
        found = cv2.imread(str(path))[..., ::-1].astype(int)
        call = sent[number]
        widgets = {key: value for key, value in call["inputs"].items() if not isinstance(value, list)}
        links = {"geometry": depth} if "geometry" in call["inputs"] else {}
        expected, depth = NODES[call["class_type"]]().execute(image, **widgets, **links)
        assert call["class_type"] == f"DepthNormal_{family}Depth" and found.shape == (72, 96, 3)
        assert found.std() > 5 and np.abs(found - expected[0].numpy() * 255).max() <= 2
        if name == "Depth":
            assert found.min() == 0 and found.max() == 255
    assert ("geometry" in sent["3"]["inputs"]) is (family == "LBM")


def test_the_workflow_of_materials_gives_what_the_model_gives_here(tiny_server, here, image_path, tmp_path):
    workflow = ROOT / "workflows" / "Material from Photo.json"
    tiny_server.run_workflow(workflow, tmp_path, '4.precision="float32"', "4.resolution=192", image=image_path)
    image = torch.from_numpy(cv2.imread(str(image_path))[None, ..., ::-1].copy()).float().movedim(-1, 1) / 255
    beyond = margins(*image.shape[-2:], 0.25)
    expected = load_model(MATERIALS, "float32").estimate_materials(wrap(image, beyond), 192).folded(beyond)
    shown = {name: cv2.imread(str(path))[..., ::-1] for name in ["5", "6", "7", "9"] for path in tmp_path.glob(f"{name}_*.png")}
    assert len(shown) == 4 and all(each.shape == (72, 96, 3) and each.std() > 1 for each in shown.values())
    for number, name in (("5", "albedo"), ("7", "roughness")):
        value = expected.maps[name][0].expand(3, -1, -1).movedim(0, -1).numpy() * 255
        assert np.abs(shown[number].astype(int) - value).max() <= 3, name


def test_the_models_come_from_comfyuis_own_folders(tiny_server, image_path):
    for name, place in {
        "LotusDepth": "diffusion_models/lotus-depth-d-v1-1.safetensors",
        "LBMNormals": "diffusion_models/LBM/LBM_normals.safetensors",
        "MarigoldDepth": "diffusers/marigold-depth-v1-1/vae/diffusion_pytorch_model.fp16.safetensors",
    }.items():
        tiny_server.finished(graph(image_path, name, resolution=48))
        loaded = [line for line in tiny_server.log.splitlines() if "loading" in line]
        assert any(str(tiny_server.base / "models" / place) in line for line in loaded), loaded
    assert "vae/vae-ft-mse-840000-ema-pruned.safetensors" in tiny_server.log


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
