"""ZoeDepth, Depth Anything and Video Depth Anything in a real ComfyUI server: workflows and prompts, tiny models where their files are.

The networks are those of tests/tiny_depth.py, which is a pack in the server's custom_nodes as well.
"""

import json
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from depth_normal import load_model
from depth_normal.annotators.registry import MODELS
from depth_normal.geometry.camera import DEFAULT_FOV
from depth_normal.geometry.files import load_estimate
from depth_normal.nodes import depth_maps
from tests import tiny_depth as TINY
from tests.prompts import call

ROOT = Path(__file__).resolve().parents[2]
AUX = "custom_nodes/comfyui_controlnet_aux/ckpts"
# where the packs that came before keep them
PLACES = {
    "zoedepth-nyu": f"{AUX}/lllyasviel/Annotators/ZoeD_M12_N.pt",
    "depth-anything-v2-small": "models/depthanything/depth_anything_v2_vits_fp32.safetensors",
    "depth-anything-3-metric-large": "models/geometry_estimation/depth_anything_3_metric_large.safetensors",
}
HEIGHT, WIDTH = 72, 96
pytestmark = pytest.mark.comfyui


@pytest.fixture(scope="module")
def tiny_server(server):
    for model_id, place in PLACES.items():
        TINY.write_file(TINY.shrunk(MODELS[model_id]), server.base / place)
    server.finished({"1": {"class_type": "Test_UseTinyDepthModels", "inputs": {}}})
    return server


@pytest.fixture(scope="module")
def image_path(server) -> Path:
    path = server.base / "input" / "view.png"
    coarse = np.random.default_rng(1).integers(0, 255, (9, 12, 3), np.uint8)
    cv2.imwrite(str(path), cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC))
    return path


@pytest.fixture
def image(image_path) -> torch.Tensor:
    return torch.from_numpy(cv2.imread(str(image_path))[None, ..., ::-1].copy()).float() / 255


@pytest.fixture
def here(tiny_server, monkeypatch):
    """The same models in this process."""
    monkeypatch.setenv("DEPTH_NORMAL_HOME", str(tiny_server.base / "models"))
    monkeypatch.setenv("AUX_ANNOTATOR_CKPTS_PATH", str(tiny_server.base / AUX))
    for model_id in PLACES:
        monkeypatch.setitem(MODELS, model_id, TINY.shrunk(MODELS[model_id]))


@pytest.fixture
def run_workflow(tiny_server, image_path, tmp_path):
    """Runs a workflow as published, but for the settings; its previews by the number of the node, as RGB."""

    def run(workflow: Path, *settings: str) -> dict[str, np.ndarray]:
        tiny_server.run_workflow(workflow, tmp_path, *settings, image=image_path)
        return {path.name.split("_")[0]: cv2.imread(str(path))[..., ::-1].astype(int) for path in tmp_path.glob("*.png")}

    return run


def workflow(name: str) -> Path:
    return ROOT / "workflows" / f"{name}.json"


def test_the_v2_workflow(run_workflow, here, image, tiny_server):
    previews = run_workflow(
        workflow("Depth Anything V2"), '2.precision="float32"', "2.network_size=182", '3.precision="float32"', "4.resolution=182"
    )
    (expected,) = depth_maps.DepthAnythingV2Map().execute(
        image, ckpt_name="depth_anything_v2_vits.pth", network_size=182, precision="float32"
    )
    depth, normals = previews["6"], previews["7"]
    assert np.abs(depth - expected[0].numpy() * 255).max() <= 2 and depth.min() <= 2 and depth.max() >= 253
    assert normals.shape == (HEIGHT, WIDTH, 3) and normals[..., 2].mean() > 127, "blue holds the axis to the viewer"
    assert tiny_server.log.count("loading depth-anything-v2-small ") == 1, "the old node and the new one share the model"


def test_the_v3_workflow(run_workflow, here, image, tiny_server):
    assert DEFAULT_FOV == 55
    previews = run_workflow(workflow("Depth Anything 3 in Metres"), '2.precision="float32"', "3.resolution=182")
    depth, normals = previews["6"], previews["7"]
    estimate = load_model("depth-anything-3-metric-large", "float32").estimate(image.movedim(-1, 1), 182)
    trusted = estimate.mask[0, 0].numpy()
    nearness = 1 / estimate.depth[0, 0].numpy()
    low, high = nearness[trusted].min(), nearness[trusted].max()
    expected = np.where(trusted, (nearness - low) / (high - low), 0)
    assert trusted.mean() > 0.05 and (np.abs(depth[..., 0] - expected * 255) > 2).mean() < 0.005
    assert normals.shape == (HEIGHT, WIDTH, 3) and normals[trusted][:, 2].mean() > 127


@pytest.mark.parametrize("exr", [False, True], ids=["as published", "EXR unmuted"])
def test_the_zoe_workflow(run_workflow, here, image, tiny_server, comfyui_python, tmp_path, exr):
    path = workflow("ZoeDepth in Metres")
    if exr:
        if subprocess.run([comfyui_python, "-c", "import OpenEXR"], capture_output=True, check=False).returncode:
            pytest.skip("EXR files need the package OpenEXR in ComfyUI's own Python, which has none")
        graph = json.loads(path.read_text())
        for node in graph["nodes"]:
            node["mode"] = 0
        path = tmp_path / "unmuted.json"
        path.write_text(json.dumps(graph))
    before = set(tiny_server.base.glob("output/geometry/zoe_*"))
    previews = run_workflow(path, '2.precision="float32"', '3.normals="auto"' if exr else '3.normals="model only"')
    written = {each.suffix: each for each in set(tiny_server.base.glob("output/geometry/zoe_*")) - before}
    assert set(written) == ({".npz", ".exr"} if exr else {".npz"})
    metres = load_model("zoedepth-nyu", "float32").estimate(image.movedim(-1, 1)).depth
    for each in written.values():
        found = load_estimate(each)
        assert found.quantity.value == "metric_depth"
        torch.testing.assert_close(found.depth, metres, rtol=1e-4, atol=1e-5)
    (expected,) = depth_maps.ZoeDepthMap().execute(image, resolution=HEIGHT, precision="float32")
    assert np.abs(previews["5"] - expected[0].numpy() * 255).max() <= 2, "the image of the old node"


# --- Video Depth Anything ---


SMALL = "video_depth_anything_vits.pth"


@pytest.fixture(scope="module")
def video_server(server):
    TINY.write_file(TINY.shrunk(MODELS["video-depth-anything-small"]), server.base / "models" / "videodepthanything" / SMALL)
    server.finished({"1": {"class_type": "Test_UseTinyDepthModels", "inputs": {}}})
    coarse = np.random.default_rng(1).integers(0, 255, (9, 12, 3), np.uint8)
    cv2.imwrite(str(server.base / "input" / "film.png"), cv2.resize(coarse, (96, 72), interpolation=cv2.INTER_CUBIC))
    return server


def test_a_scripts_prompt_runs_and_writes_its_files(video_server):
    """As public scripts post it: raw depth as EXR, and images."""
    pytest.importorskip("OpenEXR", "3.4", reason="EXR files need OpenEXR 3.4")
    prompt = {
        "load": call("LoadImage", image="film.png"),
        "film": call("RepeatImageBatch", image=["load", 0], amount=40),
        "model": call("LoadVideoDepthAnythingModel", model=SMALL),
        "vda": call("VideoDepthAnythingProcess", vda_model=["model", 0], images=["film", 0], input_size=56, max_res=1280, precision="fp16"),
        "images": call("VideoDepthAnythingOutput", depths=["vda", 0], colormap="gray"),
        "preview": call("PreviewImage", images=["images", 0]),
        "raw": call("VideoDepthAnythingSaveEXR", depths=["vda", 0], folder_name="shot01/depth_raw"),
    }
    outputs = video_server.finished(prompt)
    assert len(outputs["preview"]["images"]) == 40
    files = sorted((video_server.base / "output" / "shot01" / "depth_raw").iterdir())
    assert [path.name for path in files] == [f"frame_{index:05}.exr" for index in range(40)]
    assert f"loading video-depth-anything-small from {video_server.base / 'models' / 'videodepthanything' / SMALL}" in video_server.log
