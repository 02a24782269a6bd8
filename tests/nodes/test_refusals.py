"""What no widget can say and what is no image, but a script can give, is refused in words: of every node, before a model is loaded."""

import math
import sys

import numpy as np
import pytest
import torch

from depth_normal import NODE_CLASS_MAPPINGS
from depth_normal.geometry.effects.lights import LightPlan
from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.geometry.kinds import Projection
from depth_normal.nodes.relight import MAX_LIGHTS
from depth_normal.nodes.widgets import COLOUR, GEOMETRY
from depth_normal.options.fields import Number, options_of
from depth_normal.options.views import AROUND_LAYOUTS
from tests.prompts import inputs_of, linked

HEIGHT, WIDTH = 16, 32
IMAGE = torch.rand(1, HEIGHT, WIDTH, 3)
# Asked of the loader, or of ComfyUI; and widgets of old graphs that have no effect.
ELSEWHERE = {("DepthNormal_LoadModel", "runtime"), ("AIO_Preprocessor", "resolution")}
ELSEWHERE |= {(node, "model") for node in ("DepthNormal_LoadModel", "DepthNormal_MiDaSNormalMap", "MiDaS-NormalMapPreprocessor")}
ELSEWHERE |= {
    (node, name) for node in ("DepthNormal_MiDaSDepthMap", "MiDaS-DepthMapPreprocessor") for name in ("a", "bg_threshold", "model")
}
ELSEWHERE |= {("DepthNormal_DemoImage", "image"), ("DepthNormal_DemoVideo", "file")}


def maps(quantity=None, batch=1, height=HEIGHT, width=WIDTH, **more):
    """Geometry of this depth alone, or of normals alone."""
    ramp = torch.linspace(1, 4, height).view(1, 1, height, 1).expand(batch, 1, height, width).contiguous()
    up = torch.tensor((0.0, 0.0, 1.0)).view(1, 3, 1, 1).expand(batch, 3, height, width).contiguous()
    return Estimate(ramp, quantity, **more) if quantity else Estimate(normals=up)


SOCKETS = {
    "IMAGE": lambda: IMAGE.clone(),
    "MASK": lambda: torch.ones(1, HEIGHT, WIDTH),
    GEOMETRY: lambda: maps(Quantity.METRIC_DEPTH, normals=maps().normals),
}


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
    known = [options_of(each) for each in NODE_CLASS_MAPPINGS[node_id].OPTIONS]
    return any(isinstance(each.get(name), Number) and (each[name].open or each[name].most is not None) for each in known)


NODES = [each for each, node in NODE_CLASS_MAPPINGS.items() if linked(node.INPUT_TYPES(), SOCKETS) is not None]


def run(node_id, **inputs):
    node = NODE_CLASS_MAPPINGS[node_id]
    return getattr(node(), node.FUNCTION)(**{**linked(node.INPUT_TYPES(), SOCKETS), **inputs})


@pytest.fixture(autouse=True)
def no_models(monkeypatch):
    for module in [module for name, module in sys.modules.items() if name.startswith("depth_normal.nodes.")]:
        monkeypatch.setattr(module, "load_model", lambda *_: pytest.fail("a model was loaded"), raising=False)


@pytest.mark.quick_cases(30)
@pytest.mark.parametrize("node_id", NODES)
def test_what_no_widget_can_say_is_refused_by_its_name(node_id):
    file = {"file": "a.npz"} if node_id == "DepthNormal_LoadGeometry" else {}
    for name, (kind, *options) in inputs_of(NODE_CLASS_MAPPINGS[node_id].INPUT_TYPES()).items():
        if name == "precision" or (node_id, name) in ELSEWHERE:
            continue
        for value in beyond(node_id, name, kind, options[0] if options else {}):
            with pytest.raises((ValueError, TypeError), match=name):
                run(node_id, **{**file, name: value})


METRES, DISPARITY, RELATIVE, NORMALS = maps(Quantity.METRIC_DEPTH), maps(Quantity.DISPARITY), maps(Quantity.RELATIVE_DEPTH), maps()
PANORAMA = maps(Quantity.METRIC_DEPTH, projection=Projection.EQUIRECTANGULAR)
TWO, FLAT = torch.rand(2, HEIGHT, WIDTH, 3), torch.tensor((0.5, 0.5, 1.0)).expand(1, HEIGHT, WIDTH, 3)
GREY = torch.linspace(0, 1, WIDTH).view(1, 1, WIDTH, 1).expand(1, HEIGHT, WIDTH, 3)
OF_MAP, OF_DEPTH = {"geometry": None, "normal_map": FLAT}, {"geometry": None, "depth": GREY}
OUT = ({"filename_prefix": "../x"}, "the file name.* holds '..'")
UNFIT = {
    "DepthAndNormals": [({"precision": "float8"}, "precision is"), ({"film": True, "tiles": "2"}, "tiles is 2 and film is on")],
    "LBMNormals": [
        ({"model": "lbm-normals", "geometry": NORMALS}, "has no depth; expected raw depth of the same images"),
        ({"model": "lbm-normals", "image": TWO, "geometry": METRES}, "geometry holds 1 images, image 2; accepted: one each"),
    ],
    "NormalsFromDepth": [
        ({"geometry": RELATIVE, "method": "plane fit"}, r"relative depth has an unknown zero.*near_far_ratio"),
        ({"geometry": NORMALS}, "normals but no depth"),
        ({"geometry": METRES, "method": "midas"}, "metric_depth; midas needs disparity"),
        (
            {"geometry": DISPARITY, "method": "dmap2norm"},
            "disparity; dmap2norm needs metric_depth or scale_invariant_depth or relative_depth",
        ),
    ],
    "DepthImageToGeometry": [
        ({"image": GREY, "values": "metres"}, r"within 0..1, as an image's grey levels"),
        ({"image": torch.eye(3).view(1, 1, 3, 3), "values": "depth"}, r"coloured.*Convert Normal Map"),
        ({"image": GREY, "values": "depth", "near_metres": 5.0}, r"expected 0 <= near < far"),
        ({"image": GREY, "mask": torch.zeros(1, 64, 64)}, "mask is black and 64x64, as Load Image gives it"),
    ],
    "RenderDepth": [({"geometry": NORMALS}, r"normals and no depth; use Render Normals")],
    "RenderNormals": [({"geometry": METRES}, r"depth and no normals; put Depth to Normals")],
    "ConvertNormalMap": [({"image": FLAT, "detail": FLAT[:, :8]}, r"resize one of them first")],
    "EstimatePanorama": [({"model": "dsine"}, "dsine predicts normals and no depth")],
    "RefineGeometry": [({"image": torch.rand(3, HEIGHT, WIDTH, 3), "geometry": maps(Quantity.METRIC_DEPTH, 2)}, "holds 2 images, image 3")],
    "PreviewGeometry": [({"image": TWO, "geometry": maps(Quantity.METRIC_DEPTH, 3)}, "image holds 2 images, geometry 3")],
    "GeometryToMoGe": [({"geometry": RELATIVE}, r"relative depth.*near_far_ratio"), ({"image": TWO}, "image holds 2 images, geometry 1")],
    "GeometryToDA3": [
        ({"geometry": RELATIVE}, r"relative depth.*near_far_ratio"),
        ({"image": TWO}, "image holds 2 images, geometry 1; accepted: one for all, or one each"),
        ({"geometry": NORMALS}, "normals but no depth"),
    ],
    "SaveMesh": [({"geometry": NORMALS}, "normals but no depth"), ({"image": TWO}, "2 images, geometry 1; accepted: one each"), OUT],
    "SaveRelief": [({"geometry": NORMALS}, "normals but no depth"), OUT],
    "SaveTexture": [OUT],
    "DepthMask": [
        ({"box_left": 0.2, "box_top": 0.2}, "the box lacks box_right, box_bottom"),
        (
            {"box_left": 0.2, "box_top": 0.2, "box_right": 0.1, "box_bottom": 0.8},
            r"left smaller than right, top smaller than bottom, all of them 0 to 1 of the image$",
        ),
    ],
    "Relight": [
        ({"lights": [1]}, "the lights input is list; link the output of the node Light"),
        ({"lights": (LightPlan(),) * (MAX_LIGHTS + 1)}, "65 lights; accepted: at most 64"),
    ],
    "Stereo": [
        ({"geometry": PANORAMA}, r"perspective camera.*Stereo 3D \(vr180"),
        *(({**OF_DEPTH, "layout": layout}, f"{layout} is for 360° panoramas") for layout in AROUND_LAYOUTS),
    ],
    "NormalToHeight": [
        ({"geometry": None}, "link either a normal map or geometry"),
        ({"normal_map": FLAT}, "one of them"),
        ({**OF_MAP, "mask": torch.zeros(1, HEIGHT, WIDTH)}, "mask leaves no normal"),
        ({**OF_MAP, "mask": torch.zeros(1, 64, 64)}, "mask is black and 64x64"),
        ({**OF_MAP, "mask": torch.ones(2, HEIGHT, WIDTH)}, "mask holds 2 images, the normals 1"),
        ({"geometry": RELATIVE}, "relative depth without normals"),
        ({**OF_MAP, "normal_map": torch.zeros(1, 1, 1, 3).expand(1, 16384, 16384, 3)}, "16384x16384 pixels.* 8192x8192 or less"),
        ({**OF_MAP, "normal_map": torch.full((1, 4, 4, 3), torch.nan)}, "NaN"),
        ({**OF_MAP, "normal_map": torch.tensor([0.7, 0.5, 0.9]).expand(1, 8, 8, 3), "borders": "seamless"}, "switch level on"),
    ],
    "Curvature": [({**OF_MAP, "height": GREY}, "unlink the others")],
    "AmbientOcclusion": [({"geometry": None}, "one of them"), ({"height": GREY}, "one of them"), ({"geometry": NORMALS}, "no depth")],
    "DetailNormals": [
        ({"image": None, "geometry": None}, "no input has relief"),
        ({"geometry": None, "source": "normals"}, "no normals"),
        ({"image": None, "source": "both"}, "no photograph"),
        ({"image": TWO, "geometry": maps(batch=3)}, "2 images, the normals 3"),
    ],
    "MaterialFromPhoto": [
        ({"geometry": 3}, "geometry input is a int"),
        ({"image": TWO, "geometry": maps(batch=3)}, "geometry holds 3 images, image 2"),
        ({"geometry": maps(height=WIDTH, width=HEIGHT)}, "the geometry has 16x32 pixels"),
    ],
}
"""Inputs that do not fit each other, or the node, and the words of the refusal."""


@pytest.mark.parametrize(
    ("node", "inputs", "words"), [pytest.param(node, *row, id=f"{node}-{row[1]}") for node, rows in UNFIT.items() for row in rows]
)
def test_what_does_not_fit_is_named(node, inputs, words, comfyui):
    with pytest.raises((ValueError, TypeError), match=words):
        run(f"DepthNormal_{node}", **inputs)
    assert not [path for path in comfyui.rglob("*") if path.is_file()]


NO_IMAGES = [
    ("a path", TypeError, "the image is of type str; expected a tensor"),
    (None, (TypeError, ValueError), "the image is of type NoneType|; link image"),
    (np.ones((1, HEIGHT, WIDTH, 3), np.float32), TypeError, "the image is of type ndarray"),
    (torch.full((1, HEIGHT, WIDTH, 3), math.nan), ValueError, "1536 NaN or infinite values of 1536.*: replace them .*--fp32-vae"),
    (torch.full((1, HEIGHT, WIDTH, 3), math.inf), ValueError, "1536 NaN or infinite values of 1536"),
    (torch.rand(0, HEIGHT, WIDTH, 3), ValueError, "batch is empty"),
    (torch.rand(1, HEIGHT, WIDTH, 2), ValueError, r"\(1, 16, 32, 2\).*1, 3 or 4 channels"),
    (torch.rand(HEIGHT, WIDTH), ValueError, r"shape \(16, 32\)"),
]


# NaN is a hole of these, or a value as any other.
WITH_HOLES = ("DepthNormal_DepthImageToGeometry", "DepthNormal_ConvertNormalMap", "DepthNormal_SaveTexture")


@pytest.mark.quick_cases(30)
@pytest.mark.parametrize("node_id", [each for each in NODES if each != "AIO_Preprocessor"])
def test_what_is_no_image_is_refused(node_id):
    """But for the node of all preprocessors, which leaves that to the one that runs. None comes of a node that returned nothing."""
    inputs = NODE_CLASS_MAPPINGS[node_id].INPUT_TYPES()
    for name in {"image", "images"} & linked(inputs, SOCKETS).keys():
        for image, kind, message in NO_IMAGES:
            if (node_id in WITH_HOLES and "NaN" in message) or (image is None and name not in inputs["required"]):
                continue
            with pytest.raises(kind, match=message):
                run(node_id, **{name: image})
