"""Runtimes in a real ComfyUI server: cancelled while they are built, built, and exchanged, beside its memory manager."""

import subprocess
import time

import cv2
import numpy as np
import pytest

pytestmark = pytest.mark.comfyui


@pytest.fixture(autouse=True)
def _packages(comfyui_python):
    asked = subprocess.run([comfyui_python, "-c", "import onnx, onnxscript, onnxruntime, openvino"], capture_output=True, check=False)
    if asked.returncode:
        pytest.skip(f"the Python of ComfyUI lacks a package: {asked.stderr.decode().strip().splitlines()[-1]}")


def estimate(runtime):
    return {
        "image": {"class_type": "EmptyImage", "inputs": {"width": 96, "height": 64, "batch_size": 1, "color": 0x8040C0}},
        "model": {"class_type": "DepthNormal_LoadModel", "inputs": {"model": "tiny", "precision": "float32", "runtime": runtime}},
        "estimate": {
            "class_type": "DepthNormal_EstimateGeometry",
            "inputs": {"model": ["model", 0], "image": ["image", 0], "resolution": 96},
        },
        "render": {"class_type": "DepthNormal_RenderDepth", "inputs": {"geometry": ["estimate", 0]}},
        "sink": {"class_type": "SaveImage", "inputs": {"images": ["render", 0], "filename_prefix": f"runtime-{runtime}"}},
    }


def test_an_engine_is_cancelled_while_it_is_built_then_built_and_exchanged(server):
    asked = server.submit(estimate("onnx"))
    end = time.monotonic() + 60
    while "exporting its graph" not in server.log and time.monotonic() < end:
        time.sleep(0.1)
    time.sleep(1)
    pressed = time.monotonic()
    server.request("/interrupt", {})
    assert any(kind == "execution_interrupted" for kind, _ in server.wait(asked)["status"]["messages"])
    assert time.monotonic() - pressed < 3
    pictures = {}
    for runtime in ("torch", "onnx", "openvino"):
        history = server.run(estimate(runtime))
        (made,) = history["outputs"]["sink"]["images"]
        pictures[runtime] = cv2.imread(str(server.base / "output" / made["filename"])).astype(np.int16)
        server.request("/free", {"unload_models": True, "free_memory": True})
    assert "tiny is run by ONNX Runtime" in server.log and "tiny is run by OpenVINO" in server.log
    assert all(np.abs(picture - pictures["torch"]).max() <= 1 for picture in pictures.values())
    assert server.log.count("exporting its graph") == 2, "once in vain, once for both engines"
    assert "Traceback" not in server.log
