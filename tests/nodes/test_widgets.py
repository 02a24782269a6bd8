"""Every widget of the nodes that need only images and geometry changes what the node gives, where it says that it has an effect."""

from dataclasses import fields, is_dataclass, replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from depth_normal import NODE_CLASS_MAPPINGS
from depth_normal.geometry.conventions import encode_normal_map
from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.geometry.surfaces.derive import with_normals
from depth_normal.nodes import meshes
from depth_normal.nodes.widgets import COLOUR, GEOMETRY
from depth_normal.utils import to_image, unit_vectors
from tests.prompts import inputs_of, is_widget, linked

HEIGHT, WIDTH = 40, 64
DOWN, ACROSS = torch.meshgrid(torch.linspace(-1, 1, HEIGHT), torch.linspace(-1, 1, WIDTH), indexing="ij")
BALL = (0.2 - 0.6 * DOWN**2 - 1.5 * ACROSS**2).clamp(min=0)
DEPTH = torch.where(BALL > 0, 2.5 - BALL.sqrt(), 6 - 2 * DOWN)[None, None]
FLOOR = with_normals(Estimate(DEPTH, Quantity.METRIC_DEPTH))
"""A ball before a rising floor, in metres."""

OUTDOORS = replace(FLOOR, mask=(DOWN > -0.6)[None, None])
RELATIVE = Estimate(1 / DEPTH, Quantity.DISPARITY)
COLOURS = torch.stack((0.5 + 0.3 * ACROSS, 0.4 + 0.5 * (BALL > 0), 0.5 + 0.2 * torch.sin(9 * DOWN + 7 * ACROSS)), -1)[None].clamp(0, 1)
SOFT = F.avg_pool2d(COLOURS.movedim(-1, 1), 5, 1, 2, count_include_pad=False).movedim(1, -1)
NORMALS = to_image(encode_normal_map(FLOOR.normals))
GREY = (1 / DEPTH)[0, 0, None, ..., None].expand(1, HEIGHT, WIDTH, 3)
WAVES = to_image(encode_normal_map(unit_vectors(torch.stack(((9.42 * ACROSS).sin(), (9.42 * DOWN).sin(), 2 + 0 * DOWN))[None])))
CLIP = {"image": COLOURS.repeat(2, 1, 1, 1), "depth": torch.cat((GREY, GREY * 0.5)), "geometry": None}
SOCKETS = {"IMAGE": lambda: COLOURS, "MASK": lambda: torch.ones(1, HEIGHT, WIDTH), GEOMETRY: lambda: FLOOR}
IMAGES = {"normal_map": NORMALS, "height": GREY, "depth": GREY, "detail": NORMALS}
POINT = {"point_x": 0.5, "point_y": 0.5}
BOX = {"box_left": 0.3, "box_top": 0.18, "box_right": 0.7, "box_bottom": 0.82, "select": "object"}
SELECTION = {
    "point_x point_y tolerance select more_points": {**POINT, "select": "surface"},
    "not_points": {**POINT, "select": "object"},
    "box_left box_top box_right box_bottom": BOX,
}

NEEDED = {
    "DepthImageToGeometry": {
        "near values fov": {"image": GREY},
        "near_metres far_metres": {"image": GREY, "near_metres": 1.0, "far_metres": 9.0},
    },
    "NormalsFromDepth": {"near_far_ratio": {"geometry": RELATIVE}, "a bg_threshold": {"method": "midas", "geometry": RELATIVE}},
    "RefineGeometry": {"strength": {"radius": 8}, "normals": {"geometry": replace(FLOOR, normals=None)}},
    "RenderDepth": {"range_low range_high": {"normalisation": "fixed"}},
    "RenderNormals": {"background": {"geometry": OUTDOORS}},
    "ConvertNormalMap": {"source target strength": {"image": NORMALS}, "detail_strength": {"image": NORMALS, "detail": NORMALS}},
    "Relight": {
        "light_x light_y light_depth": {"light": "point"},
        "shininess": {"specular": 1.0},
        "normal_coding": {"normal_map": NORMALS, "depth": GREY, "geometry": None},
        "sky": {"geometry": OUTDOORS},
    },
    "DepthMask": SELECTION,
    "ForegroundCutout": {**SELECTION, "unit near far feather": {"far": 40.0}, "decontaminate": {"edge": 8.0, "image": SOFT}},
    "Fog": {"sky": {"geometry": OUTDOORS}},
    "DepthOfField": {
        "point_x point_y": POINT,
        "focal_length sensor": {"f_number": 2.0},
        "blades rotation highlights": {"blades": 5, "blur": 10.0, "image": (COLOURS * 1.5).clamp(max=1)},
    },
    "Stereo": {
        "fov": {"layout": "vr180"},
        "eye_distance eye_size": {"layout": "vr180"},
        "anaglyph": {"layout": "anaglyph"},
        "normalisation": CLIP,
    },
    "NormalToHeight": {"normal_coding borders": {"normal_map": WAVES, "geometry": None}},
    "Curvature": {"normal_coding": {"normal_map": NORMALS, "geometry": None}, "height_range": {"height": GREY, "geometry": None}},
    "AmbientOcclusion": {"height_range borders": {"height": GREY, "geometry": None}},
    "DetailNormals": {"normal_coding": {"normal_map": NORMALS, "geometry": None, "source": "normals"}},
    "GeometryToMoGe": {"near_far_ratio": {"geometry": RELATIVE}},
    "GeometryToDA3": {"near_far_ratio": {"geometry": RELATIVE}},
}
"""By node and widgets: the inputs with which the widgets have an effect."""


def usual(cls):
    """A node's usual inputs; None if it needs what only other nodes give."""
    values = linked(cls.INPUT_TYPES(), SOCKETS)
    if values is None:
        return None
    defaults = {name: row[0].get("default", kind[0]) if row else kind[0] for name, (kind, *row) in widgets_of(cls).items()}
    return {**values, **{name: IMAGES[name] for name in values.keys() & IMAGES}, **defaults}


def widgets_of(cls):
    return {name: each for name, each in inputs_of(cls.INPUT_TYPES()).items() if is_widget(each[0])}


def rows():
    for node_id, cls in NODE_CLASS_MAPPINGS.items():
        is_ours = node_id.startswith("DepthNormal_") and cls.__module__ != meshes.__name__  # those need ComfyUI's own meshes
        if is_ours and usual(cls) and widgets_of(cls) and not {"model", "file", "filename_prefix", "resolution"} & widgets_of(cls).keys():
            for name, (kind, *row) in widgets_of(cls).items():
                yield pytest.param(node_id.removeprefix("DepthNormal_"), name, kind, row[0] if row else {})


def others(name, kind, options, value):
    """Other values of a widget."""
    if isinstance(kind, list):
        return [each for each in kind if each != value]
    if kind == "BOOLEAN":
        return [not value]
    if kind == "STRING":
        return ["#204060"] if COLOUR in options else ["0.1,0.1", "0.5,0.4", "0.4,0.5"]
    low, high, step = options["min"], min(options["max"], 1e4), options.get("step", 1)
    near, far = 5 * step, (high - low) / 8
    values = (value + far, value - far, value + near, value - near, low, high)
    return [type(options["default"])(each) for each in values if low <= each <= high]


def parts(made):
    """The tensors and other values of an output."""
    if is_dataclass(made):
        return [part for field in fields(made) for part in parts(getattr(made, field.name))]
    if isinstance(made, dict):
        return [part for value in made.values() for part in parts(value)]
    return [part for value in made for part in parts(value)] if isinstance(made, list | tuple) else [made]


def are_equal(one, other):
    return type(one) is type(other) and (torch.equal(one.nan_to_num(), other.nan_to_num()) if isinstance(one, Tensor) else one == other)


@pytest.mark.quick_cases(12)
@pytest.mark.parametrize(("node_id", "name", "kind", "options"), [*rows()])
def test_a_widget_changes_the_output(node_id, name, kind, options):
    needed = next((values for names, values in NEEDED.get(node_id, {}).items() if name in names.split()), {})
    cls = NODE_CLASS_MAPPINGS[f"DepthNormal_{node_id}"]
    values = {**usual(cls), **needed}

    def outputs(**changed):
        made = getattr(cls(), cls.FUNCTION)(**{**values, **changed})
        return parts(made["result"] if isinstance(made, dict) else made)

    before = outputs()
    assert all(map(are_equal, outputs(), before)), "else any two runs differ"
    for value in others(name, kind, options, values[name]):
        try:
            after = outputs(**{name: value})
        except ValueError:
            continue
        if len(after) != len(before) or not all(map(are_equal, after, before)):
            return
    pytest.fail(f"no value of {name} changes anything")
