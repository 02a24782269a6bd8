"""Prompts that name nothing but sockets: a real ComfyUI server accepts them for every node, and runs them where no model is needed."""

import json
import urllib.error

import pytest

from depth_normal import NODE_CLASS_MAPPINGS

# Which file to load is the user's choice.
NO_DEFAULT = {"DepthNormal_LoadGeometry"}
# A model that is not on this machine, a package that is not installed there, an input that is optional because another may stand for it.
WITHOUT_MORE = ("download", "pip install", "link", "connect")
# Twice as wide as high, which a panorama must be.
SCENE = {
    "image": {"class_type": "EmptyImage", "inputs": {"width": 96, "height": 48, "batch_size": 1, "color": 0x808080}},
    "mask": {"class_type": "SolidMask", "inputs": {"value": 1.0, "width": 96, "height": 48}},
    "video": {"class_type": "CreateVideo", "inputs": {"images": ["image", 0], "fps": 8.0}},
    "depth": {"class_type": "DepthNormal_DepthImageToGeometry", "inputs": {"image": ["image", 0]}},
    "geometry": {"class_type": "DepthNormal_NormalsFromDepth", "inputs": {"geometry": ["depth", 0]}},
    "moge": {"class_type": "DepthNormal_GeometryToMoGe", "inputs": {"geometry": ["geometry", 0], "image": ["image", 0]}},
    "da3": {"class_type": "DepthNormal_GeometryToDA3", "inputs": {"geometry": ["geometry", 0], "image": ["image", 0]}},
    "model": {"class_type": "DepthNormal_LoadModel", "inputs": {"model": "tiny"}},
    "vda": {"class_type": "DepthNormal_LoadVideoDepthAnything", "inputs": {}},
    "dav2": {"class_type": "DepthNormal_LoadDepthAnythingV2Model", "inputs": {}},
    "depths": {"class_type": "DepthNormal_VideoDepthAnything", "inputs": {"vda_model": ["vda", 0], "images": ["image", 0]}},
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
    prompt = {**SCENE, "node": {"class_type": node_id, "inputs": sockets}}
    return (
        prompt
        if getattr(node, "OUTPUT_NODE", False)
        else {**prompt, "sink": {"class_type": "PreviewAny", "inputs": {"source": ["node", 0]}}}
    )


@pytest.mark.parametrize("node_id", [each for each in NODE_CLASS_MAPPINGS if each.startswith("DepthNormal_") and each not in NO_DEFAULT])
def test_a_prompt_of_sockets_alone_is_accepted(server, node_id):
    try:
        asked = server.submit(prompt_of(node_id))
    except urllib.error.HTTPError as refused:
        pytest.fail(json.dumps(json.loads(refused.read())["node_errors"], indent=1))
    history = server.wait(asked)
    problems = [body["exception_message"] for kind, body in history["status"]["messages"] if kind == "execution_error"]
    assert not problems or any(word in problems[0] for word in WITHOUT_MORE), problems
