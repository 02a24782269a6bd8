"""What users do to a real ComfyUI server while it works: cancel, queue from two pages, move model files about, link what does not fit."""

import json
import time
import urllib.error
from pathlib import Path

import cv2
import numpy as np
import pytest

from depth_normal.annotators.registry import MODELS
from tests import tiny_depth as TINY
from tests.prompts import call, colour, ours

ROOT = Path(__file__).resolve().parents[2]
MODEL = "depth-anything-v2-base"
SOON = 3
"""Seconds from the button to the end: one where nothing else runs, and tests run beside others."""
pytestmark = pytest.mark.comfyui


def shown(last, **nodes):
    return {**nodes, "sink": call("PreviewAny", source=[last, 0])}


def estimate(count=1, size=96, **load):
    return shown(
        "estimate",
        image=colour(96, count=count),
        model=ours("LoadModel", **load),
        estimate=ours("EstimateGeometry", model=["model", 0], image=["image", 0], resolution=size),
    )


def problem(history):
    found = [body for kind, body in history["status"]["messages"] if kind == "execution_error"]
    return f"{found[0]['exception_type']}: {found[0]['exception_message']}" if found else None


# --- cancel ---


EFFECTS = {
    "DepthNormal_DepthOfField": {"blur": 20.0, "blades": 7},
    "DepthNormal_ForegroundCutout": {"edge": 10.0, "near": 20.0, "far": 40.0},
    "DepthNormal_Relight": {"shadows": 1.0, "light_size": 5.0},
    "DepthNormal_DepthParallax": {"frames": 200},
}


@pytest.mark.parametrize("node", EFFECTS)
def test_an_effect_ends_soon_when_it_is_cancelled(server, slope, node):
    inputs = {"image": ["image", 0], "depth": ["image", 0], **EFFECTS[node]}
    graph = shown("effect", image=call("LoadImage", image=slope), effect=call(node, **inputs))
    assert cancelled(server, graph, 1.5) < SOON


@pytest.mark.parametrize(("count", "size"), [(1, 1600), (80, 384)], ids=["large image", "many images"])
def test_a_network_ends_soon_when_it_is_cancelled_and_the_next_run_works(server, count, size):
    assert cancelled(server, estimate(count, size, model="midas-v2.1-small"), 1.5) < SOON
    assert problem(server.run(estimate(size=64, model="midas-v2.1-small"))) is None


@pytest.fixture(scope="module")
def slope(server):
    """A large image that is its own depth."""
    cv2.imwrite(str(server.base / "input" / "slope.png"), np.tile(np.linspace(0, 255, 2400, dtype=np.uint8), (1800, 1)))
    return "slope.png"


def cancelled(server, graph, after):
    """Seconds from the button to the end."""
    asked = server.submit(graph)
    time.sleep(after)
    if not server.request("/queue")["queue_running"]:
        pytest.fail(f"it ended before it was cancelled: {problem(server.wait(asked))}")
    pressed = time.monotonic()
    server.request("/interrupt", {})
    history = server.wait(asked)
    took = time.monotonic() - pressed
    assert any(kind == "execution_interrupted" for kind, _ in history["status"]["messages"]), history["status"]["messages"]
    return took


# --- two pages ---


def test_prompts_of_two_pages_do_not_meet(server):
    asked = []
    for number in range(4):
        page = f"page{number % 2}"
        graph = {
            "image": colour(64 + 32 * number),
            "depth": ours("MiDaSDepthMap", image=["image", 0], model="tiny", resolution=64),
            "sink": call("PreviewImage", images=["depth", 0]),
        }
        asked.append(server.request("/prompt", {"prompt": graph, "client_id": page})["prompt_id"])
    for number, prompt in enumerate(asked):
        history = server.wait(prompt)
        (made,) = history["outputs"]["sink"]["images"]
        assert cv2.imread(str(server.base / "temp" / made["filename"])).shape == (64, 64 + 32 * number, 3)


# --- model files ---


@pytest.fixture
def weights(server):
    """A small model's file where users keep it; gone again at the end."""
    assert problem(server.run({"1": {"class_type": "Test_UseTinyDepthModels", "inputs": {}}})) is None
    path = server.base / "models" / "depthanything" / "depth_anything_v2_vitb_fp32.safetensors"
    TINY.write_file(TINY.shrunk(MODELS[MODEL]), path)
    yield path
    path.unlink(missing_ok=True)


def test_a_model_file_may_be_deleted_swapped_and_broken_between_prompts(server, weights):
    whole = weights.read_bytes()
    sizes = iter(range(70, 200, 14))  # no two prompts alike: ComfyUI would not run the second

    def run():
        return problem(server.run(estimate(model=MODEL, precision="float32", size=next(sizes))))

    assert run() is None
    weights.unlink()
    assert run() is None, "it is in memory"
    weights.write_bytes(whole[: len(whole) // 2])
    assert "NoNetworkError" in (run() or ""), "half a file is none"
    TINY.write_file(TINY.shrunk(MODELS["depth-anything-3-small"]), weights)
    assert "CheckpointError" in (run() or "")
    weights.write_text("<html>Not found</html>")
    assert "NoNetworkError" in (run() or "")
    weights.write_bytes(whole)
    assert run() is None, "as if nothing had been"


# --- links ---


@pytest.mark.parametrize(
    ("node", "inputs"),
    [
        ("DepthNormal_EstimateGeometry", {"model": ["tiny", 0], "image": ["mask", 0]}),
        ("DepthNormal_EstimateGeometry", {"model": ["image", 0], "image": ["image", 0]}),
        ("DepthNormal_RenderDepth", {"geometry": ["image", 0]}),
        ("DepthNormal_MiDaSNormalMap", {"image": ["nowhere", 0]}),
        ("DepthNormal_MiDaSNormalMap", {"image": ["image", 7]}),
        ("DepthNormal_MiDaSNormalMap", {}),
    ],
)
def test_a_link_of_another_kind_is_refused_before_anything_runs(server, node, inputs):
    with pytest.raises(urllib.error.HTTPError) as refused:
        server.submit(shown("node", **SOURCES, node=call(node, **inputs)))
    assert refused.value.code == 400 and json.loads(refused.value.read())


@pytest.mark.parametrize(
    ("node", "inputs", "words"),
    [
        ("DepthNormal_MiDaSDepthMap", {"image": 5}, "the image is of type int"),
        ("DepthNormal_RenderDepth", {"geometry": "words"}, "geometry input is a str"),
        ("DepthNormal_EstimateGeometry", {"model": 3, "image": ["image", 0]}, "the model input is of type int"),
        ("DepthNormal_DepthMask", {"image": ["three", 0], "depth": ["two", 0]}, "depth holds 2 images, image 3"),
        ("DepthNormal_ForegroundCutout", {"image": ["image", 0], "mask": 7}, "mask"),
        ("DepthNormal_Fog", {"image": ["image", 0], "depth": ["image", 0], "colour": "fog"}, "colour is 'fog'"),
        ("DepthNormal_DepthImageToGeometry", {"image": ["red", 0]}, "coloured"),
    ],
)
def test_a_value_that_does_not_fit_is_answered_in_words(server, node, inputs, words):
    history = server.run(shown("node", **SOURCES, node=call(node, **inputs)))
    (error,) = (body for kind, body in history["status"]["messages"] if kind == "execution_error")
    assert words in error["exception_message"] and error["exception_type"].removeprefix("depth_normal.").isidentifier()
    frames = [frame for frame in error["traceback"] if frame.lstrip().startswith("File ")]
    assert "raise " in frames[-1] and "ComfyUI-Depth-Normal" in frames[-1], "it is the pack that says it"


def test_one_map_goes_with_every_image_of_a_batch(server):
    inputs = {"image": ["three", 0], "depth": ["image", 0]}
    assert problem(server.run(shown("node", **SOURCES, node=ours("Fog", **inputs)))) is None


SOURCES = {
    "image": colour(96),
    "red": colour(96, color=0xFF0000),
    "two": colour(96, count=2),
    "three": colour(96, count=3),
    "mask": call("SolidMask", value=1.0, width=96, height=64),
    "tiny": ours("LoadModel", model="tiny"),
}
