"""Runtimes in a real ComfyUI server: cancelled while they are built, built once, unloaded, and exchanged."""

import asyncio
import subprocess
import time

import cv2
import numpy as np
import pytest

from depth_normal.annotators.registry import MODELS
from tests import tiny_old_nodes as TINY
from tests.prompts import call, colour, ours

pytestmark = pytest.mark.comfyui


MODEL = "moge-vitl"  # small, and of one size: exported in a third of *tiny*'s time
_PROGRESS_TEXT = 3  # ComfyUI's protocol.BinaryEventTypes.TEXT
PACKAGES = ("onnx", "onnxscript", "onnxruntime", "openvino")


@pytest.fixture(autouse=True)
def _packages(comfyui_python):
    code = "import sys, importlib.util as found; print(*[name for name in sys.argv[1:] if found.find_spec(name) is None])"
    lacking = subprocess.run([comfyui_python, "-c", code, *PACKAGES], capture_output=True, text=True, check=True).stdout.split()
    if lacking:
        pytest.skip(f"the Python of ComfyUI lacks {', '.join(lacking)}; tests/comfyui/install.py installs them")


@pytest.fixture
def small_server(server):
    TINY.write_files(TINY.shrunk(MODELS[MODEL]), server.base / "custom_nodes" / "comfyui_controlnet_aux" / "ckpts")
    server.finished({"1": {"class_type": "Test_UseTinyOldNodes", "inputs": {}}})
    return server


def estimate(runtime, color=0x8040C0, model=MODEL):
    return {
        "image": colour(96, color=color),
        "model": ours("LoadModel", model=model, precision="float32", runtime=runtime),
        "estimate": ours("EstimateGeometry", model=["model", 0], image=["image", 0], resolution=96),
        "render": ours("RenderDepth", geometry=["estimate", 0]),
        "sink": call("SaveImage", images=["render", 0], filename_prefix=f"runtime-{runtime}"),
    }


def seconds_to_cancel(server, runtime, words):
    """From the press to the prompt's end, once the server has said the words and gone on for a second."""
    said = len(server.log)
    asked = server.submit(estimate(runtime))
    end = time.monotonic() + 60
    while words not in server.log[said:] and time.monotonic() < end:
        time.sleep(0.1)
    time.sleep(1)
    return server.cancel(asked)


async def said_on_nodes(server, prompt):
    """What a page shows on each node while a prompt runs, in order, by the node's id."""
    import aiohttp

    said: dict[str, list[str]] = {}
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{server.address}/ws?clientId=page") as socket:
        server.request("/prompt", {"prompt": prompt, "client_id": "page"})
        async for message in socket:
            if message.type is aiohttp.WSMsgType.TEXT:
                if message.json()["type"] in ("execution_success", "execution_error"):
                    return said
            elif int.from_bytes(message.data[:4], "big") == _PROGRESS_TEXT:
                end = 8 + int.from_bytes(message.data[4:8], "big")
                said.setdefault(message.data[8:end].decode(), []).append(message.data[end:].decode())
    raise AssertionError(f"the server hung up: {server.log[-3000:]}")


def make_images(server, runtimes, color):
    """What each runtime gives, every model unloaded before the next runs."""
    found = {}
    for runtime in runtimes:
        (made,) = server.finished(estimate(runtime, color))["sink"]["images"]
        found[runtime] = cv2.imread(str(server.base / "output" / made["filename"])).astype(np.int16)
        server.request("/free", {"unload_models": True, "free_memory": True})
    return found


def test_an_engine_is_cancelled_while_it_is_built_then_built_once_and_exchanged(small_server):
    server = small_server
    before = len(server.log)
    cancelled = seconds_to_cancel(server, "onnx", "exporting its graph")
    begin = time.monotonic()
    rounds = [make_images(server, ("onnx", "openvino", "torch"), color) for color in (0x8040C0, 0x203040)]
    assert cancelled < max(3, (time.monotonic() - begin) / 4), "it ended by itself"
    assert all(np.abs(image - found["torch"]).max() <= 1 for found in rounds for image in found.values())
    assert all(found["torch"].std() > 1 for found in rounds), "there is something to compare"
    said = server.log[before:]
    built = (f"{MODEL} is run by ONNX Runtime", f"{MODEL} is run by OpenVINO", "compiling for CPU")
    assert [said.count(words) for words in built] == [2, 2, 1], "/free lets the whole model go; the engine stays on disk"
    assert said.count("exporting its graph") == 2, "once in vain, once for both engines"
    assert "Traceback" not in said and "torch runs it" not in said
    assert not list((server.base / "models" / "depth_normal" / "runtimes").rglob("*.part"))


def test_auto_that_was_not_measured_says_on_the_node_how_to_measure(server):
    said = asyncio.run(asyncio.wait_for(said_on_nodes(server, estimate("auto", 0x102030, "tiny")), 120))
    assert "torch runs it; `depth-normal bench --model tiny --keep` measures" in said["model"][-1]
