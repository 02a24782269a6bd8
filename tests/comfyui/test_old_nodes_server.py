"""The old nodes of BAE, DSINE, LeReS and Metric3D in a real ComfyUI server, alone and through AIO_Preprocessor, and MoGe-1 from a file.

The networks are those of tests/tiny_old_nodes.py and tests/tiny_depth.py, which are packs in the server's custom_nodes as well.
"""

import json
import shutil
import urllib.error
from pathlib import Path

import cv2
import numpy as np
import pytest

from depth_normal.annotators.registry import MODELS
from depth_normal.geometry.files import read_npz
from tests import tiny_depth as TINY_DEPTH
from tests import tiny_old_nodes as TINY
from tests.prompts import call, chain, colour, ours

ROOT = Path(__file__).resolve().parents[2]
AUX = "custom_nodes/comfyui_controlnet_aux/ckpts"
BAE, DSINE, LERES = "BAE-NormalMapPreprocessor", "DSINE-NormalMapPreprocessor", "LeReS-DepthMapPreprocessor"
METRIC3D_DEPTH, METRIC3D_NORMALS = "Metric3D-DepthMapPreprocessor", "Metric3D-NormalMapPreprocessor"
METRIC_V2, METRIC_V2_MODEL = "Metric_DepthAnythingV2Preprocessor", "depth-anything-v2-metric-indoor-large"
MODEL_OF = {
    BAE: "bae-normal",
    DSINE: "dsine",
    LERES: "leres",
    METRIC3D_DEPTH: "metric3d-vit-small",
    METRIC3D_NORMALS: "metric3d-vit-small",
    METRIC_V2: METRIC_V2_MODEL,
}
HEIGHT, WIDTH = 64, 96
pytestmark = pytest.mark.comfyui


@pytest.fixture(scope="module")
def old_server(server):
    for model_id in TINY.IDS:
        TINY.write_files(TINY.shrunk(MODELS[model_id]), server.base / AUX)
    for model_id in (METRIC_V2_MODEL, "depth-anything-3-small"):
        spec = TINY_DEPTH.shrunk(MODELS[model_id])
        TINY_DEPTH.write_file(spec, server.base / AUX / spec.file.repo_id / spec.file.filename)
    for node in ("Test_UseTinyOldNodes", "Test_UseTinyDepthModels"):
        server.finished({"1": {"class_type": node, "inputs": {}}})
    coarse = np.random.default_rng(1).integers(0, 255, (8, 12, 3), np.uint8)
    cv2.imwrite(str(server.base / "input" / "old.png"), cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC))
    return server


def make_images(server, node: str, count: int = 1, **widgets) -> list[np.ndarray]:
    """Previews of the node's output, RGB."""
    entries = server.finished(chain("old.png", node, count, **widgets))["4"]["images"]
    return [cv2.imread(str(server.base / "temp" / each["filename"]))[..., ::-1].astype(int) for each in entries]


@pytest.mark.parametrize("node", MODEL_OF)
def test_prompts_of_old_scripts_run_and_load_once(old_server, node):
    """Only the image is given; then any of the widgets, a batch, and the same through the node for all of them."""
    (whole,) = make_images(old_server, node)
    assert whole.shape == (512, 768, 3) and whole.std() > 2
    size = {} if node in (DSINE, LERES) else {"network_size": 56}
    several = make_images(old_server, node, count=3, resolution=128, precision="float32", **size)
    assert len(several) == 3 and all(np.abs(each - several[0]).max() <= 2 for each in several)
    (through,) = make_images(old_server, "AIO_Preprocessor", preprocessor=node)
    assert np.array_equal(through, whole)
    assert old_server.log.count(f"loading {MODEL_OF[node]} from {old_server.base / AUX}") == 1


def test_moge_1_is_recognised_and_gives_depth_and_a_mask(old_server):
    path = old_server.base / "models" / "geometry_estimation" / "first moge.pt"
    path.parent.mkdir(exist_ok=True)
    shutil.copy(old_server.base / AUX / "Ruicheng" / "moge-vitl" / "model.pt", path)
    graph = {
        "1": call("LoadImage", image="old.png"),
        "2": ours("LoadModel", model="(from file)", weights=path.name),
        "3": ours("EstimateGeometry", model=["2", 0], image=["1", 0]),
        "4": ours("SaveGeometry", geometry=["3", 0], filename_prefix="old/moge", format="npz"),
    }
    (entry,) = old_server.finished(graph)["4"]["files"]
    estimate = read_npz(old_server.base / "output" / entry["subfolder"] / entry["filename"])
    assert estimate.depth.shape == (1, 1, HEIGHT, WIDTH) and estimate.mask is not None and estimate.intrinsics is not None
    assert f"{path} is recognised as moge-vitl" in old_server.log


# --- what AIO_Preprocessor says of others ---


AIO = "AIO_Preprocessor"


def test_none_runs_and_the_list_has_the_other_packs_too(server):
    info = server.request(f"/object_info/{AIO}")[AIO]
    assert info["display_name"] == "AIO Aux Preprocessor" and info["category"] == "ControlNet Preprocessors"
    listed = info["input"]["optional"]["preprocessor"][0]
    assert {"none", "MiDaS-DepthMapPreprocessor", "CannyEdgePreprocessor"} <= set(listed)
    for widgets in ({}, {"preprocessor": "none", "resolution": 128}):
        assert len(server.finished(chain(colour(96, count=2), AIO, **widgets))["4"]["images"]) == 2


@pytest.mark.parametrize("name", ["CannyEdgePreprocessor", "OfSomeLaterVersionPreprocessor"])
def test_another_packs_preprocessor_says_what_to_install_before_anything_runs(server, name):
    with pytest.raises(urllib.error.HTTPError) as refused:
        server.submit(chain(colour(96, count=2), AIO, preprocessor=name))
    (error,) = json.loads(refused.value.read())["node_errors"]["3"]["errors"]
    assert f"install the pack comfyui_controlnet_aux (by ComfyUI Manager) for '{name}'" in error["details"]
