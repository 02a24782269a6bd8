"""Other packs' nodes in a real ComfyUI server, comfyui_controlnet_aux's alone and through AIO_Preprocessor, with the files where they were.

The networks are those of tests/tiny_old_nodes.py and tests/tiny_depth.py, which are packs in the server's custom_nodes as well.
"""

import cv2
import numpy as np
import pytest

from depth_normal.annotators.registry import MODELS
from tests import tiny_depth as TINY_DEPTH
from tests import tiny_old_nodes as TINY
from tests.prompts import call, chain

AUX = "custom_nodes/comfyui_controlnet_aux/ckpts"
DSINE, LERES = "DSINE-NormalMapPreprocessor", "LeReS-DepthMapPreprocessor"
MODEL_OF = {
    "BAE-NormalMapPreprocessor": "bae-normal",
    DSINE: "dsine",
    LERES: "leres",
    "Metric3D-NormalMapPreprocessor": "metric3d-vit-small",
    "Zoe-DepthMapPreprocessor": "zoedepth-nyu",
    "DepthAnythingPreprocessor": "depth-anything-large",
    "Zoe_DepthAnythingPreprocessor": "zoe-depth-anything-indoor",
    "Metric_DepthAnythingV2Preprocessor": "depth-anything-v2-metric-indoor-large",
    "DepthAnythingV2Preprocessor": "depth-anything-v2-large",
}
pytestmark = pytest.mark.comfyui


@pytest.fixture(scope="module")
def old_server(server):
    for model_id in TINY.IDS:
        TINY.write_files(TINY.shrunk(MODELS[model_id]), server.base / AUX)
    for spec in (MODELS[model_id] for model_id in MODEL_OF.values() if model_id not in TINY.IDS):
        TINY_DEPTH.write_file(TINY_DEPTH.shrunk(spec), server.base / AUX / spec.file.repo_id / spec.file.filename)
    for node in ("Test_UseTinyOldNodes", "Test_UseTinyDepthModels"):
        server.finished({"1": {"class_type": node, "inputs": {}}})
    coarse = np.random.default_rng(1).integers(0, 255, (8, 12, 3), np.uint8)
    cv2.imwrite(str(server.base / "input" / "old.png"), cv2.resize(coarse, (96, 64), interpolation=cv2.INTER_CUBIC))
    return server


def make_images(server, node: str, count: int = 1, **widgets) -> list[np.ndarray]:
    """Previews of the node's output, RGB."""
    entries = server.finished(chain("old.png", node, count, **widgets))["4"]["images"]
    return [cv2.imread(str(server.base / "temp" / each["filename"]))[..., ::-1].astype(int) for each in entries]


@pytest.mark.parametrize("node", MODEL_OF)
def test_prompts_of_old_scripts_run_and_load_once(old_server, node):
    """Only the image is given; then any of the widgets, a batch, and the same through the node for all of them."""
    loading = f"loading {MODEL_OF[node]} from {old_server.base / AUX}"
    (whole,) = make_images(old_server, node)
    loaded = old_server.log.count(loading)
    assert whole.shape == (512, 768, 3) and whole.std() > 2
    size = {} if node in (DSINE, LERES) else {"network_size": 56}
    several = make_images(old_server, node, count=3, resolution=128, precision="float32", **size)
    assert len(several) == 3 and all(np.abs(each - several[0]).max() <= 2 for each in several)
    (through,) = make_images(old_server, "AIO_Preprocessor", preprocessor=node)
    assert np.array_equal(through, whole)
    assert old_server.log.count(loading) == loaded > 0


VIDEO = "video_depth_anything_vits.pth"


def test_a_scripts_prompt_for_a_video_runs_and_writes_its_files(old_server):
    """As public scripts post it: raw depth as EXR, and images."""
    pytest.importorskip("OpenEXR", "3.4", reason="EXR files need OpenEXR 3.4")
    file = old_server.base / "models" / "videodepthanything" / VIDEO
    TINY_DEPTH.write_file(TINY_DEPTH.shrunk(MODELS["video-depth-anything-small"]), file)
    prompt = {
        "load": call("LoadImage", image="old.png"),
        "film": call("RepeatImageBatch", image=["load", 0], amount=40),
        "model": call("LoadVideoDepthAnythingModel", model=VIDEO),
        "vda": call("VideoDepthAnythingProcess", vda_model=["model", 0], images=["film", 0], input_size=56, max_res=1280, precision="fp16"),
        "images": call("VideoDepthAnythingOutput", depths=["vda", 0], colormap="gray"),
        "preview": call("PreviewImage", images=["images", 0]),
        "raw": call("VideoDepthAnythingSaveEXR", depths=["vda", 0], folder_name="shot01/depth_raw"),
    }
    assert len(old_server.finished(prompt)["preview"]["images"]) == 40
    files = sorted((old_server.base / "output" / "shot01" / "depth_raw").iterdir())
    assert [path.name for path in files] == [f"frame_{index:05}.exr" for index in range(40)]
    assert f"loading video-depth-anything-small from {file}" in old_server.log
