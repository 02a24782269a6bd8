"""Estimate Panorama; and panoramas at every node that takes geometry: it handles them, or refuses them with words."""

import re
from dataclasses import replace

import pytest
import torch

from depth_normal.geometry import projections
from depth_normal.geometry.effects.makers import make
from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.geometry.kinds import Projection
from depth_normal.geometry.views.transparency import split_layers
from depth_normal.nodes import NODE_CLASS_MAPPINGS
from depth_normal.nodes.depth_and_normals import EstimatePanorama
from depth_normal.nodes.widgets import GEOMETRY
from depth_normal.options.effects import EFFECTS

HEIGHT, WIDTH = 32, 64
IMAGE = torch.rand(1, HEIGHT, WIDTH, 3, generator=torch.Generator().manual_seed(0))
REFUSED = "needs images of a perspective camera, and this geometry is a panorama's"

# What they need beside the geometry, or to be refused by.
SETTINGS = {"DepthNormal_DepthParallax": {"frames": 2, "move": "orbit"}, "DepthNormal_LBMNormals": {"model": "lbm-normals"}}
HANDLED = {
    "DepthNormal_RenderDepth",
    "DepthNormal_RenderNormals",
    "DepthNormal_NormalsFromDepth",
    "DepthNormal_PreviewGeometry",
    *(spec.node_id for spec in EFFECTS if spec.panoramas),
    "DepthNormal_SaveGeometry",
    "DepthNormal_SaveMesh",
}
"""Nodes that take panoramas; all others must refuse them."""


def panorama(quantity=Quantity.METRIC_DEPTH):
    distance = torch.linspace(1, 4, HEIGHT).view(1, 1, -1, 1).expand(1, 1, HEIGHT, WIDTH)
    normals = torch.tensor((0.0, 0.0, 1.0)).view(1, 3, 1, 1).expand(1, 3, HEIGHT, WIDTH)
    return Estimate(distance, quantity, normals, projection=Projection.EQUIRECTANGULAR)


def takers():
    """The nodes that take geometry, by id."""
    found = {}
    for name, node in NODE_CLASS_MAPPINGS.items():
        inputs = node.INPUT_TYPES()
        groups = [inputs.get(group, {}) for group in ("required", "optional")]
        if any(kind[0] == GEOMETRY for group in groups for kind in group.values()):
            found[name] = (node, [name for group in groups for name, kind in group.items() if kind[0] == GEOMETRY], groups)
    return found


TAKERS = takers()


def run(name, geometry):
    node, inputs, groups = TAKERS[name]
    images = {each: IMAGE for group in groups for each, kind in group.items() if kind[0] == "IMAGE" and each in ("image", "images")}
    return node().execute(**images, **dict.fromkeys(inputs, geometry), **SETTINGS.get(name, {}))


def test_every_node_of_the_list_takes_geometry():
    assert TAKERS.keys() >= HANDLED


def test_an_error_calls_nodes_by_the_names_that_they_have():
    names = [name.split(" (")[0].removeprefix("and ") for name in re.split(r", (?![^(]*\))", projections.HANDLED)]
    known = {node.DISPLAY_NAME for node in NODE_CLASS_MAPPINGS.values()}
    assert set(names) <= known, "geometry/projections.py names what is no node"
    assert len(names) == 7 + sum(spec.panoramas for spec in EFFECTS), "a node was added to HANDLED in geometry/projections.py: raise the 7"


# Geometry to Mesh takes them, too, and needs ComfyUI: test_mesh_nodes.py.
@pytest.mark.quick_cases(5)
@pytest.mark.parametrize("name", sorted(TAKERS.keys() - {"DepthNormal_GeometryToMesh"}))
def test_a_node_handles_a_panorama_or_refuses_it(name, comfyui):
    if name in HANDLED:
        run(name, panorama())
        return
    try:
        run(name, panorama())
    except ValueError as refused:
        assert re.search(REFUSED, str(refused))
    else:
        pytest.fail("it takes a panorama: add it to both lists HANDLED, or refuse panoramas by `need_perspective`")


@pytest.mark.parametrize("name", TAKERS)
def test_what_is_no_geometry_is_refused(name):
    for other, kind in (({"points": 1}, "a dictionary with points"), (IMAGE, "a Tensor"), ("depth", "a str")):
        with pytest.raises(TypeError, match=f"geometry input is {kind}; expected this pack's GEOMETRY: link the output geometry"):
            run(name, other)


def test_an_effect_refuses_panoramas_unless_its_record_says_that_it_takes_them():
    spec, layers = replace(EFFECTS[0], panoramas=False), split_layers(IMAGE.movedim(-1, 1))
    make(EFFECTS[0], layers, panorama(), spec.options(), False)
    with pytest.raises(ValueError, match=f"depth mask {REFUSED}"):
        make(spec, layers, panorama(), spec.options(), False)


@pytest.mark.parametrize("suffix", ["npz", "exr"])
def test_a_panorama_is_saved_and_loaded_as_one(suffix, comfyui):
    pytest.importorskip("OpenEXR")
    NODE_CLASS_MAPPINGS["DepthNormal_SaveGeometry"]().execute(panorama(), "pano", suffix)
    (file,) = (comfyui / "output").rglob(f"pano*.{suffix}")
    (loaded,) = NODE_CLASS_MAPPINGS["DepthNormal_LoadGeometry"]().execute(f"{file.relative_to(comfyui / 'output')} [output]")
    assert loaded.projection is Projection.EQUIRECTANGULAR
    assert torch.equal(loaded.depth, panorama().depth)


@pytest.mark.parametrize("suffix", ["png", "pfm", "html", "stl"])
def test_formats_that_would_lose_the_projection_refuse_it(suffix, comfyui):
    with pytest.raises(ValueError, match=REFUSED):
        NODE_CLASS_MAPPINGS["DepthNormal_SaveGeometry"]().execute(panorama(), "pano", suffix)
    assert not list((comfyui / "output").iterdir())


def test_a_field_of_view_is_refused_for_the_normals_of_a_panorama():
    with pytest.raises(ValueError, match=REFUSED):
        NODE_CLASS_MAPPINGS["DepthNormal_NormalsFromDepth"]().execute(panorama(), fov=60.0)


# --- Estimate Panorama ---


def execute(*arguments, **widgets):
    made = EstimatePanorama().execute(*arguments, **widgets)
    return made["result"] if isinstance(made, dict) else made


def street(height=64):
    """A blue sky over a green ground, with a wall ahead."""
    image = torch.zeros(1, height, 2 * height, 3)
    image[:, : height // 2] = torch.tensor((0.4, 0.6, 0.95))
    image[:, height // 2 :] = torch.tensor((0.3, 0.5, 0.2))
    image[:, height // 3 : 2 * height // 3, height // 2 : height] = torch.tensor((0.6, 0.3, 0.2))
    return image


@pytest.mark.slow("takes two seconds")
def test_a_panorama_becomes_maps_of_its_size_and_geometry():
    depth, normals, mask, geometry = execute(torch.cat([street()] * 2), "tiny", coding="directx")
    assert depth.shape == normals.shape == (2, 64, 128, 3) and mask.shape == (2, 64, 128)
    assert geometry.projection is Projection.EQUIRECTANGULAR and geometry.batch == 2
    assert torch.equal(depth[0], depth[1]) and depth.min() >= 0 and depth.max() <= 1
    # Of a ground below the camera the normal is up: not green, in DirectX's colours.
    assert normals[0, -4:, :, 1].mean() < 0.2
    assert depth[0, -4:].mean() > depth[0, 34:38].mean(), "what is under the camera is nearer than the ground far away"


def test_the_model_is_checked_in_the_page():
    assert EstimatePanorama.VALIDATE_INPUTS("tiny") is True
    assert "predicts normals and no depth" in str(EstimatePanorama.VALIDATE_INPUTS("dsine"))
