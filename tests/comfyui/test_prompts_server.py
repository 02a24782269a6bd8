"""Prompts that name nothing but sockets: a real ComfyUI server accepts them for every node, and runs them where no model is needed."""

import json
import urllib.error

import pytest

from depth_normal import NODE_CLASS_MAPPINGS
from tests.prompts import call, colour, ours

# Which file to load is the user's choice.
NO_DEFAULT = {"DepthNormal_LoadGeometry"}
# A model that is not on this machine, a package that is not installed there, an input that is optional because another may stand for it.
WITHOUT_MORE = ("download", "pip install", "link", "connect")
# Twice as wide as high, which a panorama must be.
SCENE = {
    "image": colour(96, 48),
    "mask": call("SolidMask", value=1.0, width=96, height=48),
    "video": call("CreateVideo", images=["image", 0], fps=8.0),
    "depth": ours("DepthImageToGeometry", image=["image", 0]),
    "geometry": ours("NormalsFromDepth", geometry=["depth", 0]),
    "moge": ours("GeometryToMoGe", geometry=["geometry", 0], image=["image", 0]),
    "da3": ours("GeometryToDA3", geometry=["geometry", 0], image=["image", 0]),
    "model": ours("LoadModel", model="tiny"),
    "vda": ours("LoadVideoDepthAnything"),
    "dav2": ours("LoadDepthAnythingV2Model"),
    "depths": ours("VideoDepthAnything", vda_model=["vda", 0], images=["image", 0]),
}
GIVEN = {
    "IMAGE": "image", "MASK": "mask", "VIDEO": "video", "DEPTH_NORMAL_GEOMETRY": "geometry", "DEPTH_NORMAL_MODEL": "model",
    "MOGE_GEOMETRY": "moge", "DA3_GEOMETRY": "da3", "VDAMODEL": "vda", "DEPTHS": "depths", "DAMODEL": "dav2",
}  # fmt: skip
pytestmark = pytest.mark.comfyui


def prompt_of(node_id: str) -> dict:
    node = NODE_CLASS_MAPPINGS[node_id]
    required = node.INPUT_TYPES()["required"].items()
    # a list among the required inputs is that of Demo Image and Demo Video, for which the page has an upload button
    sockets = {name: options["default"] if isinstance(kind, list) else [GIVEN[kind.split(",")[0]], 0] for name, (kind, options) in required}
    sink = {} if getattr(node, "OUTPUT_NODE", False) else {"sink": call("PreviewAny", source=["node", 0])}
    return {**SCENE, "node": call(node_id, **sockets), **sink}


@pytest.mark.parametrize("node_id", [each for each in NODE_CLASS_MAPPINGS if each.startswith("DepthNormal_") and each not in NO_DEFAULT])
def test_a_prompt_of_sockets_alone_is_accepted(server, node_id):
    try:
        asked = server.submit(prompt_of(node_id))
    except urllib.error.HTTPError as refused:
        pytest.fail(json.dumps(json.loads(refused.read())["node_errors"], indent=1))
    history = server.wait(asked)
    problems = [body["exception_message"] for kind, body in history["status"]["messages"] if kind == "execution_error"]
    assert not problems or any(word in problems[0] for word in WITHOUT_MORE), problems
