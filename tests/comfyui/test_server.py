"""The pack in a real ComfyUI server: each node runs by prompts of sockets alone, weights are read once, and errors help."""

import json
import urllib.error

import cv2
import pytest

from depth_normal import NODE_CLASS_MAPPINGS
from tests.prompts import call, chain, colour, ours

pytestmark = pytest.mark.comfyui

SMALL = "midas-v2.1-small"
NORMAL, DEPTH = "MiDaS-NormalMapPreprocessor", "MiDaS-DepthMapPreprocessor"


@pytest.fixture(scope="module")
def image_name(server, photo) -> str:
    cv2.imwrite(str(server.base / "input" / "astronaut.png"), photo[64:448, :, ::-1])
    return "astronaut.png"


def test_the_second_run_reads_no_weights(server, image_name):
    server.finished(chain(image_name, DEPTH, model=SMALL, resolution=128))
    loads, read = server.log.count(f"loading {SMALL}"), server.bytes_read()
    server.finished(chain(image_name, NORMAL, model=SMALL, resolution=192, a=5.0))
    assert server.log.count(f"loading {SMALL}") == loads > 0
    assert server.bytes_read() - read < 20e6, "the weights alone are 86 MB"


def test_without_file_and_network_the_error_helps_and_the_next_run_works(server, image_name):
    message = server.error_of(chain(image_name, DEPTH, resolution=64))
    assert message.startswith("Choose 'tiny' in the widget model: ")
    for words in ("dpt_hybrid-midas-501f0c75.pt", "lllyasviel/Annotators", str(server.base / "models" / "depth_normal")):
        assert words in message, message
    files = [path for path in (server.base / "models" / "depth_normal").rglob("*") if path.is_file() and path.suffix != ".lock"]
    assert {path.name for path in files if "runtimes" not in path.parts} == {"midas_v21_small_256.pt"}  # what engines keep is theirs
    server.finished(chain(image_name, DEPTH, model=SMALL, resolution=64, a=2.0))


# --- prompts that name nothing but sockets ---


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
