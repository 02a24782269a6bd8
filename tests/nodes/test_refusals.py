"""What no widget can say and what is no image, but a script can give, is refused in words: of every node, before a model is loaded."""

import math
import sys

import numpy as np
import pytest
import torch

from depth_normal import NODE_CLASS_MAPPINGS
from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.nodes.widgets import COLOUR, GEOMETRY
from depth_normal.options.fields import Number, options_of

HEIGHT, WIDTH = 16, 32
IMAGE = torch.rand(1, HEIGHT, WIDTH, 3)
WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")
# Asked of the loader, or of ComfyUI; and widgets of old graphs that have no effect.
ELSEWHERE = {("DepthNormal_LoadModel", "runtime"), ("AIO_Preprocessor", "resolution")}
ELSEWHERE |= {(node, "model") for node in ("DepthNormal_LoadModel", "DepthNormal_MiDaSNormalMap", "MiDaS-NormalMapPreprocessor")}
ELSEWHERE |= {
    (node, name) for node in ("DepthNormal_MiDaSDepthMap", "MiDaS-DepthMapPreprocessor") for name in ("a", "bg_threshold", "model")
}
ELSEWHERE |= {("DepthNormal_DemoImage", "image"), ("DepthNormal_DemoVideo", "file")}


def geometry():
    depth = torch.linspace(1, 4, HEIGHT).view(1, 1, HEIGHT, 1).expand(1, 1, HEIGHT, WIDTH).contiguous()
    up = torch.tensor((0.0, 0.0, 1.0)).view(1, 3, 1, 1).expand(1, 3, HEIGHT, WIDTH).contiguous()
    return Estimate(depth, Quantity.METRIC_DEPTH, up)


SOCKETS = {"IMAGE": lambda: IMAGE.clone(), "MASK": lambda: torch.ones(1, HEIGHT, WIDTH), GEOMETRY: geometry}


def linked(inputs):
    """What is linked to a node: all that it requires, and its image and its geometry; None where it requires what only others make."""
    found = {}
    for group in ("required", "optional"):
        for name, (kind, *_) in inputs.get(group, {}).items():
            is_known = isinstance(kind, str) and kind in SOCKETS
            if is_known and (group == "required" or name in ("image", "images", "geometry")):
                found[name] = SOCKETS[kind]()
            elif group == "required" and not is_known and isinstance(kind, str) and kind not in WIDGETS:
                return None
    return found


def beyond(node_id, name, kind, options):
    """Values that neither the widget nor a script can give."""
    if isinstance(kind, list):
        return ["no such choice", 2.5, ["no such choice"]]
    if kind == "STRING" and COLOUR not in options:
        return [5, None, ["0.5,0.5"]]
    if kind == "BOOLEAN":
        return ["False", None, IMAGE, IMAGE.numpy()]
    if kind not in ("INT", "FLOAT") or "max" not in options:
        return []
    low, high = options["min"] - max(1, abs(options["min"])), options["max"] + max(1, abs(options["max"]))
    return [low, 10**30 if is_open(node_id, name) else high, math.nan if kind == "FLOAT" else options["min"] + 0.5]


def is_open(node_id, name):
    known = [options_of(each) for each in getattr(NODE_CLASS_MAPPINGS[node_id], "OPTIONS", ())]
    return any(isinstance(each.get(name), Number) and (each[name].open or each[name].most is not None) for each in known)


NODES = [each for each, node in NODE_CLASS_MAPPINGS.items() if linked(node.INPUT_TYPES()) is not None]


def run(node_id, **inputs):
    node = NODE_CLASS_MAPPINGS[node_id]
    return getattr(node(), node.FUNCTION)(**{**linked(node.INPUT_TYPES()), **inputs})


@pytest.fixture(autouse=True)
def no_models(monkeypatch):
    for module in [module for name, module in sys.modules.items() if name.startswith("depth_normal.nodes.")]:
        monkeypatch.setattr(module, "load_model", lambda *_: pytest.fail("a model was loaded"), raising=False)


@pytest.mark.parametrize("node_id", NODES)
def test_what_no_widget_can_say_is_refused_by_its_name(node_id):
    inputs = NODE_CLASS_MAPPINGS[node_id].INPUT_TYPES()
    file = {"file": "a.npz"} if node_id == "DepthNormal_LoadGeometry" else {}
    for name, (kind, *options) in [each for group in ("required", "optional") for each in inputs.get(group, {}).items()]:
        if name == "precision" or (node_id, name) in ELSEWHERE:
            continue
        for value in beyond(node_id, name, kind, options[0] if options else {}):
            with pytest.raises((ValueError, TypeError), match=name):
                run(node_id, **{**file, name: value})


NO_IMAGES = [
    ("a path", TypeError, "the image is of type str; expected a tensor"),
    (None, (TypeError, ValueError), "the image is of type NoneType|; link image"),
    (np.ones((1, HEIGHT, WIDTH, 3), np.float32), TypeError, "the image is of type ndarray"),
    (torch.full((1, HEIGHT, WIDTH, 3), math.nan), ValueError, "1536 NaN or infinite values of 1536"),
    (torch.full((1, HEIGHT, WIDTH, 3), math.inf), ValueError, "1536 NaN or infinite values of 1536"),
    (torch.rand(0, HEIGHT, WIDTH, 3), ValueError, "batch is empty"),
    (torch.rand(1, HEIGHT, WIDTH, 2), ValueError, r"\(1, 16, 32, 2\).*1, 3 or 4 channels"),
    (torch.rand(HEIGHT, WIDTH), ValueError, r"shape \(16, 32\)"),
]


# NaN is a hole of these, or a value as any other.
WITH_HOLES = ("DepthNormal_DepthImageToGeometry", "DepthNormal_ConvertNormalMap", "DepthNormal_SaveTexture")


@pytest.mark.parametrize("node_id", [each for each in NODES if each != "AIO_Preprocessor"])
def test_what_is_no_image_is_refused(node_id):
    """But for the node of all preprocessors, which leaves that to the one that runs. None comes of a node that returned nothing."""
    inputs = NODE_CLASS_MAPPINGS[node_id].INPUT_TYPES()
    for name in {"image", "images"} & linked(inputs).keys():
        for image, kind, message in NO_IMAGES:
            if (node_id in WITH_HOLES and "NaN" in message) or (image is None and name not in inputs["required"]):
                continue
            with pytest.raises(kind, match=message):
                run(node_id, **{name: image})
