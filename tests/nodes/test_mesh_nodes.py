"""Meshes and reliefs in ComfyUI's output folder, and what the page is told of them."""

import json
import struct
import sys
import types

import pytest
import torch

from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.geometry.kinds import Projection
from depth_normal.nodes.meshes import GeometryToMesh, GeometryToSplats, SaveMesh, SaveRelief


@pytest.fixture(autouse=True)
def output(comfyui):
    return comfyui / "output"


def slope(batch=1, quantity=Quantity.DISPARITY):
    return Estimate(torch.linspace(0.9, 0.2, 24).expand(batch, 1, 16, 24).contiguous(), quantity)


def below(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_glb_of_disparity_says_what_it_assumes(output):
    told = SaveMesh().execute(slope(), torch.rand(1, 33, 50, 3))
    assert below(output) == ["3d/mesh_00001.glb"]
    assert told["ui"]["3d"] == [{"filename": "mesh_00001.glb", "subfolder": "3d", "type": "output"}]
    names, said = told["result"]
    assert names == ["3d/mesh_00001.glb"] and said == told["ui"]["text"]
    size = (output / names[0]).stat().st_size
    assert said == [
        f"128 points, 207 triangles, {size / 1e6:.3g} MB; disparity: no metres, depth range guessed as 1:3; another near-far ratio "
        "changes it; field of view 55° (assumed)"
    ]


def test_a_batch_is_a_file_each_and_a_scene_one(output):
    names, said = SaveMesh().execute(slope(2), torch.rand(2, 16, 24, 3), "a/b", "ply", max_points=100)["result"]
    assert names == ["a/b_00001.ply", "a/b_00002.ply"] and len(said) == 2
    scene = Estimate(slope(2).depth, Quantity.METRIC_DEPTH, extrinsics=torch.eye(3, 4).repeat(2, 1, 1))
    assert SaveMesh().execute(scene, filename_prefix="c")["result"][0] == ["c_00001.glb"]


def test_what_is_behind_near_things_has_a_texture_of_its_own(output):
    depth = torch.full((2, 1, 16, 24), 4.0)
    depth[..., 4:12, 8:16] = 1.0
    estimate = Estimate(depth, Quantity.METRIC_DEPTH)
    names, said = SaveMesh().execute(estimate, torch.rand(2, 16, 24, 3), fill_behind=20.0, drop_sky=False)["result"]
    front = SaveMesh().execute(estimate, torch.rand(2, 16, 24, 3), fill_behind=0.0, drop_sky=False)["result"][1]
    assert len(names) == 2 and all(int(each.split()[0]) > int(before.split()[0]) for each, before in zip(said, front, strict=True))
    data = (output / names[0]).read_bytes()
    document = json.loads(data[20 : 20 + struct.unpack_from("<I", data, 12)[0]])
    assert len(document["images"]) == len(document["meshes"][0]["primitives"]) == 2
    (same,) = SaveMesh().execute(estimate.slice(0, 1), torch.rand(1, 16, 24, 3), format="splats", fill_behind=20.0)["result"][1]
    assert same.startswith("384 splats")
    scene = Estimate(depth, Quantity.METRIC_DEPTH, extrinsics=torch.eye(3, 4).repeat(2, 1, 1))
    with_and_without = [SaveMesh().execute(scene, fill_behind=degrees)["result"][1] for degrees in (20.0, 0.0)]
    assert with_and_without[0] == with_and_without[1], "each view shows what the others hide"


def test_a_relief_is_as_large_as_asked(output):
    told = SaveRelief().execute(slope(2), width=40, relief=3, base=1, max_points=60)
    assert below(output) == ["3d/relief_00001.stl", "3d/relief_00002.stl"]
    assert told["result"][1][0].endswith("; 40 x 26.67 x 4 mm, of disparity")
    data = (output / "3d/relief_00001.stl").read_bytes()
    assert len(data) == 84 + 50 * struct.unpack_from("<I", data, 80)[0]


@pytest.mark.parametrize("node", [GeometryToMesh, GeometryToSplats])
def test_an_image_without_depth_is_named_unless_it_is_the_only_one(node):
    for images, words in ((2, "^image 1: no pixel"), (1, "^no pixel")):
        with pytest.raises(ValueError, match=words):
            node().execute(Estimate(torch.zeros(images, 1, 16, 24), Quantity.METRIC_DEPTH))


@pytest.fixture
def with_core_meshes(monkeypatch):
    """ComfyUI's own meshes and files."""
    latest = types.ModuleType("comfy_api.latest")
    latest.Types = types.SimpleNamespace(MESH=CoreMesh, File3D=str)
    monkeypatch.setitem(sys.modules, "comfy_api.latest", latest)
    monkeypatch.setitem(sys.modules, "comfy_execution.graph_utils", types.ModuleType("comfy_execution.graph_utils"))


@pytest.mark.usefixtures("with_core_meshes")
def test_each_image_becomes_a_mesh_and_the_views_of_a_scene_one(output):
    """What core's nodes do with them, tests/comfyui/test_geometry_server.py runs."""
    meshes, files, clouds, cameras = GeometryToMesh().execute(slope(2), torch.rand(2, 33, 50, 3))
    assert [mesh.vertices.shape for mesh in meshes] == [(1, 384, 3)] * 2 and len(cameras) == 2
    assert len({*files, *clouds}) == 4 and below(output.parent / "temp") == sorted(path.split("/")[-1] for path in (*files, *clouds))
    assert meshes[0].texture.shape == (1, 33, 50, 3) and not torch.equal(meshes[0].texture, meshes[1].texture)
    scene = Estimate(slope(2).depth, Quantity.METRIC_DEPTH, extrinsics=torch.eye(3, 4).repeat(2, 1, 1))
    (mesh,), (glb,), (ply,), (camera,) = GeometryToMesh().execute(scene, torch.rand(2, 16, 24, 3))
    assert mesh.vertices.shape == (1, 768, 3) and mesh.texture is None and mesh.vertex_colors.shape == (1, 768, 3)
    assert glb.endswith(".glb") and ply.endswith(".ply") and camera["quaternion"]["w"] == pytest.approx(1)


@pytest.mark.usefixtures("with_core_meshes")
def test_a_panorama_is_seen_from_its_middle():
    distance = torch.full((1, 1, 16, 32), 2.0)
    panorama = Estimate(distance, Quantity.METRIC_DEPTH, projection=Projection.EQUIRECTANGULAR)
    (mesh,), _, _, (camera,) = GeometryToMesh().execute(panorama, torch.rand(1, 16, 32, 3))
    # A ball of a radius of 2, in the viewers' scale: 5 across, on the ground.
    assert camera["position"] == pytest.approx({"x": 0, "y": 2.5, "z": 0}, abs=0.05)
    assert camera["fov"] == 75 and camera["target"]["z"] < -0.5, "it looks ahead, along -Z"
    assert mesh is not None


class CoreMesh:
    def __init__(self, vertices, faces, uvs=None, vertex_colors=None, texture=None):
        self.vertices, self.faces, self.uvs, self.vertex_colors, self.texture = vertices, faces, uvs, vertex_colors, texture
