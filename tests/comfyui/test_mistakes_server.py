"""What users do to a real ComfyUI server while it works: cancel, and move model files about."""

import time

import cv2
import numpy as np
import pytest

from depth_normal.annotators.registry import MODELS
from tests import tiny_depth as TINY
from tests.prompts import call, colour, ours

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


EFFECTS = {"DepthOfField": {"blur": 20.0, "blades": 7}, "DepthParallax": {"frames": 200}}


@pytest.mark.parametrize("node", EFFECTS)
def test_an_effect_ends_soon_when_it_is_cancelled(server, slope, node):
    inputs = {"image": ["image", 0], "depth": ["image", 0], **EFFECTS[node]}
    graph = shown("effect", image=call("LoadImage", image=slope), effect=ours(node, **inputs))
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
    return server.cancel(asked)


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
