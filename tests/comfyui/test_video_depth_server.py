"""Graphs of ComfyUI-Video-Depth-Anything in a real ComfyUI server, with a tiny model where that pack keeps its files."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from depth_normal.annotators.registry import MODELS
from tests import tiny_depth as TINY
from tests.prompts import call

ROOT = Path(__file__).resolve().parents[2]
SMALL = "video_depth_anything_vits.pth"
pytestmark = pytest.mark.comfyui


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


def public_graph() -> dict:
    """The depth part of Lightricks' LTX-2.3 union control graph, with its widgets as it stores them."""
    ends = {"vda_model": "VDAMODEL", "images": "IMAGE", "depths": "DEPTHS"}

    def node(number, kind, inputs, output, widgets):
        wires = [{"name": name, "type": ends[name], "link": link} for name, link in inputs.items()]
        return {"id": number, "type": kind, "inputs": wires, "outputs": output, "widgets_values": widgets}

    nodes = [
        node(1, "LoadImage", {}, [{"name": "IMAGE", "type": "IMAGE"}], ["film.png", "image"]),
        node(5060, "LoadVideoDepthAnythingModel", {}, [{"name": "vda_model", "type": "VDAMODEL"}], [SMALL]),
        node(5061, "VideoDepthAnythingProcess", {"vda_model": 1, "images": 2}, [{"name": "depths", "type": "DEPTHS"}], [518, 960, "fp32"]),
        node(5062, "VideoDepthAnythingOutput", {"depths": 3}, [{"name": "images", "type": "IMAGE"}], ["gray"]),
        node(9, "PreviewImage", {"images": 4}, [], []),
    ]
    links = [[1, 5060, 0, 5061, 0, "VDAMODEL"], [2, 1, 0, 5061, 1, "IMAGE"], [3, 5061, 0, 5062, 0, "DEPTHS"], [4, 5062, 0, 9, 0, "IMAGE"]]
    return {"nodes": nodes, "links": links, "version": 0.4}


def test_a_public_control_graph_opens_and_runs(video_server, tmp_path):
    path, folder = tmp_path / "union_control.json", tmp_path / "out"
    path.write_text(json.dumps(public_graph()))
    folder.mkdir()
    video_server.run_workflow(path, folder, image=video_server.base / "input" / "film.png")
    (image,) = (cv2.imread(str(each)) for each in folder.glob("*.png"))
    assert image.shape == (72, 96, 3) and image.min() == 0 and image.max() == 255
