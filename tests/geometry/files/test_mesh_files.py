import io
import json
import struct
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from depth_normal.geometry.estimate import Axes, Estimate, Quantity
from depth_normal.geometry.files import SaveOptions, mesh_files, save_estimate, write_glb, write_ply, write_stl
from depth_normal.geometry.files.mesh_files import MAX_TEXTURE_SIDE
from depth_normal.geometry.meshes.mesh import Mesh, MeshOptions, depth_to_mesh, depth_to_meshes
from tests.geometry.meshes.solids import facing
from tests.refusals import refuses

# Focal length 10 and the centre on pixel (1, 1): a pixel to the right or down is 0.1 per unit of depth.
INTRINSICS = torch.tensor([[[10.0, 0, 1], [0, 10, 1], [0, 0, 1]]])


def plane(depth=2.0, height=3, width=3, **kwargs):
    return Estimate(depth=torch.full((1, 1, height, width), depth), quantity=Quantity.METRIC_DEPTH, intrinsics=INTRINSICS, **kwargs)


def read_glb(path):
    data = path.read_bytes()
    assert struct.unpack_from("<4sII", data) == (b"glTF", 2, len(data))
    length, kind = struct.unpack_from("<I4s", data, 12)
    assert kind == b"JSON" and length % 4 == 0
    document, binary = json.loads(data[20 : 20 + length]), data[28 + length :]
    assert struct.unpack_from("<I4s", data, 20 + length) == (document["buffers"][0]["byteLength"], b"BIN\0")
    assert len(binary) == document["buffers"][0]["byteLength"] and len(binary) % 4 == 0

    def array(index):
        accessor = document["accessors"][index]
        view = document["bufferViews"][accessor["bufferView"]]
        dtype = {5126: "<f4", 5123: "<u2", 5125: "<u4"}[accessor["componentType"]]
        width = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}[accessor["type"]]
        block = binary[view["byteOffset"] : view["byteOffset"] + view["byteLength"]]
        return np.frombuffer(block, dtype).reshape(accessor["count"], width)

    return document, array


def test_a_slanted_surface_within_the_allowed_jump_stays_whole():
    estimate = replace(plane(), depth=(torch.arange(4.0) * 0.04 + 1)[None].repeat(3, 1)[None, None])
    assert len(depth_to_mesh(estimate).triangles) == 12
    assert len(depth_to_mesh(estimate, options=MeshOptions(max_jump=1e-4)).triangles) == 0


def test_glb_holds_points_triangles_normals_and_linear_colours(tmp_path):
    facing = torch.tensor([0.0, 0.0, -1.0]).reshape(1, 3, 1, 1).expand(1, 3, 3, 3)
    image = torch.tensor([1.0, 0.5, 0.0]).reshape(1, 3, 1, 1).expand(1, 3, 3, 3)
    mesh = depth_to_mesh(plane(normals=facing, axes=Axes.OPENCV), image)
    assert mesh.texture is None
    write_glb(tmp_path / "m.glb", mesh)
    document, array = read_glb(tmp_path / "m.glb")
    primitive = document["meshes"][0]["primitives"][0]
    assert primitive["mode"] == 4, "triangles"
    attributes = primitive["attributes"]
    np.testing.assert_array_equal(array(attributes["POSITION"]), mesh.points)
    np.testing.assert_array_equal(array(primitive["indices"]).reshape(-1, 3), mesh.triangles)
    np.testing.assert_array_equal(array(attributes["NORMAL"]), np.tile([0, 0, 1], (9, 1)))
    # sRGB 0.5 is 0.2140 linear (IEC 61966-2-1).
    np.testing.assert_allclose(array(attributes["COLOR_0"])[0] / 65535, [1, 0.21404, 0, 1], atol=2e-5)
    extent = document["accessors"][attributes["POSITION"]]
    np.testing.assert_allclose([extent["min"], extent["max"]], [mesh.points.min(0), mesh.points.max(0)])
    write_glb(tmp_path / "points.glb", depth_to_mesh(plane(height=1)))
    primitive = read_glb(tmp_path / "points.glb")[0]["meshes"][0]["primitives"][0]
    assert primitive["mode"] == 0 and "indices" not in primitive


@pytest.mark.parametrize(("count", "component"), [(2**16 - 1, 5123), (2**16, 5125)])
def test_points_of_small_meshes_have_short_numbers(tmp_path, count, component):
    points, triangles = np.random.default_rng(0).random((count, 3), np.float32), np.array([[0, 1, count - 1]], np.uint32)
    write_glb(tmp_path / "m.glb", Mesh(points, triangles))
    document, array = read_glb(tmp_path / "m.glb")
    place = document["meshes"][0]["primitives"][0]["indices"]
    assert document["accessors"][place]["componentType"] == component and array(place).ravel().tolist() == [0, 1, count - 1]


def test_ply_holds_the_same(tmp_path):
    image = torch.tensor([1.0, 0.5, 0.0]).reshape(1, 3, 1, 1).expand(1, 3, 3, 3)
    mesh = depth_to_mesh(plane(), image)
    write_ply(tmp_path / "m.ply", mesh)
    header, _, body = (tmp_path / "m.ply").read_bytes().partition(b"end_header\n")
    assert header.decode().splitlines() == [
        *("ply", "format binary_little_endian 1.0", "element vertex 9"),
        *(f"property float {name}" for name in "xyz"),
        *(f"property uchar {name}" for name in ("red", "green", "blue")),
        *("element face 8", "property list uchar uint vertex_indices"),
    ]
    points = np.frombuffer(body, [("place", "<f4", 3), ("colour", "u1", 3)], 9)
    faces = np.frombuffer(body, [("count", "u1"), ("corners", "<u4", 3)], offset=points.nbytes)
    np.testing.assert_array_equal(points["place"], mesh.points)
    assert (points["colour"] == (255, 128, 0)).all() and (faces["count"] == 3).all()
    np.testing.assert_array_equal(faces["corners"], mesh.triangles)


def test_a_ply_with_z_up_stands_before_a_camera_that_looks_along_y(tmp_path):
    facing = torch.tensor([0.0, 0.6, -0.8]).reshape(1, 3, 1, 1).expand(1, 3, 3, 3)
    estimate = plane(normals=facing, axes=Axes.OPENCV)
    save_estimate(tmp_path / "y.ply", estimate)
    save_estimate(tmp_path / "z.ply", estimate, SaveOptions(ply_up="z"))
    bodies = [(tmp_path / f"{up}.ply").read_bytes().partition(b"end_header\n")[2] for up in "yz"]
    y, z = (np.frombuffer(body, "<f4", 9 * 6).reshape(9, 6) for body in bodies)
    # Top left pixel, 2 before the camera; its normal points down and back to the camera.
    np.testing.assert_allclose(y[0], [-0.2, 0.2, -2, 0, -0.6, 0.8], atol=1e-6)
    np.testing.assert_allclose(z[0], [-0.2, 2, 0.2, 0, -0.8, -0.6], atol=1e-6)
    assert bodies[0][9 * 6 * 4 :] == bodies[1][9 * 6 * 4 :]
    with pytest.raises(ValueError, match="'x'; accepted: y, z"):
        save_estimate(tmp_path / "x.ply", estimate, SaveOptions(ply_up="x"))
    assert not (tmp_path / "x.ply").exists()


test_what_is_no_surface_is_refused = refuses(
    depth_to_mesh,
    (Estimate(normals=torch.ones(1, 3, 3, 3), intrinsics=INTRINSICS), "normals but no depth"),
    (plane(depth=float("nan")), "no pixel has a depth"),
    (Estimate(depth=torch.ones(2, 1, 3, 3), quantity=Quantity.METRIC_DEPTH, intrinsics=INTRINSICS.expand(2, 3, 3)), "one image"),
    (Estimate(depth=torch.ones(1, 1, 3, 3), quantity=Quantity.METRIC_DEPTH, intrinsics=torch.zeros(1, 3, 3)), "not a camera's"),
    (plane(), torch.zeros(2, 3, 4, 4), "as many as the depth"),
)


@pytest.mark.parametrize("suffix", ["ply", "glb", "stl"])
def test_an_image_of_another_size_is_resized_and_of_another_shape_refused(suffix, tmp_path):
    depth, path = Estimate(1 + torch.rand(1, 1, 20, 30), Quantity.METRIC_DEPTH), tmp_path / f"m.{suffix}"
    for size in ((20, 30), (10, 15), (33, 50)):
        save_estimate(path, depth, SaveOptions(image=torch.rand(1, 3, *size)))
        path.unlink()
    for size in ((30, 20), (20, 60), (1, 100)):
        words = rf"depth has 30x20 pixels, the image {size[1]}x{size[0]}: another shape"
        with pytest.raises(ValueError, match=words):
            save_estimate(path, depth, SaveOptions(image=torch.rand(1, 3, *size)))
    with pytest.raises(ValueError, match=r"image has shape \(1, 1, 20, 30\); expected \(1, 3,"):
        save_estimate(path, depth, SaveOptions(image=torch.rand(1, 1, 20, 30)))
    assert not list(tmp_path.iterdir()), "nothing half-written stays"


test_a_mesh_has_one_of_each_for_each_point = refuses(
    lambda more: Mesh(np.zeros((4, 3), np.float32), np.zeros((1, 3), np.uint32), **more),
    *(({name: np.zeros((1, 3), np.float32)}, rf"4 points has 1 {name}; expected one for each") for name in ("normals", "colours", "uvs")),
)


def textured(path, size=(9, 9), of=None):
    """A plane of 3x3 points that wears an image of another size, red on the left and blue on the right: the GLB, and its image."""
    image = torch.zeros(1, 3, *size)
    image[:, 0, :, : size[1] // 2], image[:, 2, :, size[1] // 2 :] = 1, 1
    write_glb(path, depth_to_meshes(of or plane(), image))
    data = path.read_bytes()
    return *read_glb(path), Image.open(io.BytesIO(data[data.index(b"\xff\xd8\xff") :]))


def test_a_glb_wears_the_image_at_its_own_size(tmp_path):
    document, array, image = textured(tmp_path / "m.glb")
    attributes = document["meshes"][0]["primitives"][0]["attributes"]
    assert "COLOR_0" not in attributes, "colours would darken the texture"
    # The middle of each pixel of the depth, from the top left.
    expected = [[(column + 0.5) / 3, (row + 0.5) / 3] for row in range(3) for column in range(3)]
    np.testing.assert_allclose(array(attributes["TEXCOORD_0"]), expected, atol=1e-6)
    material = document["materials"][0]
    assert material["doubleSided"] and "KHR_materials_unlit" in material["extensions"]
    view = document["bufferViews"][document["images"][0]["bufferView"]]
    data = (tmp_path / "m.glb").read_bytes()
    assert data.index(b"BIN\0") + 4 + view["byteOffset"] == data.index(b"\xff\xd8\xff") and image.size == (9, 9)
    assert image.getpixel((0, 3))[0] > 200 and image.getpixel((8, 3))[2] > 200


def test_large_textures_become_what_all_viewers_take(tmp_path):
    wide = Estimate(torch.ones(1, 1, 2, 1250), Quantity.METRIC_DEPTH)
    *_, image = textured(tmp_path / "m.glb", (8, MAX_TEXTURE_SIDE + 904), wide)
    assert image.size == (MAX_TEXTURE_SIDE, 7)


def test_each_view_of_a_scene_wears_its_own_image(tmp_path):
    for suffix in ("ply", "glb"):
        options = SaveOptions(image=torch.rand(2, 3, 5, 5))
        assert save_estimate(tmp_path / f"m.{suffix}", wall_from_two_places(), options) == (tmp_path / f"m.{suffix}",)
    document, array = read_glb(tmp_path / "m.glb")
    primitives = document["meshes"][0]["primitives"]
    assert len(primitives) == len(document["images"]) == 2 and [each["material"] for each in primitives] == [0, 1]
    assert [array(each["attributes"]["POSITION"]).shape for each in primitives] == [(9, 3), (9, 3)]
    offsets = [view["byteOffset"] for view in document["bufferViews"]]
    assert all(offset % 4 == 0 for offset in offsets) and offsets == sorted(offsets)


def test_stl_holds_corners_and_normals(tmp_path):
    mesh = depth_to_mesh(plane())
    write_stl(tmp_path / "m.stl", mesh)
    data = (tmp_path / "m.stl").read_bytes()
    assert len(data) == 84 + 50 * 8 and struct.unpack_from("<I", data, 80) == (8,)
    assert not data.startswith(b"solid"), "programs would take it for text"
    facets = np.frombuffer(data, [("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("more", "<u2")], offset=84)
    np.testing.assert_array_equal(facets["corners"], mesh.points[mesh.triangles])
    np.testing.assert_allclose(facets["normal"], np.tile([0, 0, 1], (8, 1)), atol=1e-6)
    with pytest.raises(ValueError, match="points alone"):
        write_stl(tmp_path / "n.stl", depth_to_mesh(plane(height=1)))


def wall_from_two_places():
    """A wall at Z = 4 of the world, seen by a camera at the origin and by one at (0.5, 0, 1), turned by a quarter about its axis."""
    turned = torch.tensor([[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]])
    poses = [torch.eye(3, 4), torch.cat((turned, -turned @ torch.tensor([[0.5], [0], [1.0]])), 1)]
    return Estimate(
        depth=torch.tensor([4.0, 3.0])[:, None, None, None].expand(2, 1, 3, 3),
        quantity=Quantity.METRIC_DEPTH,
        normals=torch.nn.functional.normalize(torch.tensor([0.6, 0.0, 0.8]).view(1, 3, 1, 1).expand(2, 3, 3, 3)),
        intrinsics=INTRINSICS.expand(2, 3, 3),
        extrinsics=torch.stack(poses),
    )


def test_views_of_one_scene_become_one_mesh_in_the_world():
    estimate = wall_from_two_places()
    mesh = depth_to_mesh(estimate, torch.stack((torch.zeros(3, 3, 3), torch.ones(3, 3, 3))))
    assert mesh.points.shape == (18, 3) and mesh.triangles.shape == (16, 3)
    np.testing.assert_allclose(mesh.points[:, 2], -4.0, atol=1e-6)
    # the middle; right for the second camera is down in the world
    np.testing.assert_allclose(mesh.points[[9 + 4, 9 + 5]], [[0.5, 0, -4], [0.5, -0.3, -4]], atol=1e-6)
    np.testing.assert_allclose(mesh.normals[[0, 9]], [[0.6, 0, 0.8], [0, -0.6, 0.8]], atol=1e-6)
    np.testing.assert_array_equal(mesh.colours[:, 0], [0.0] * 9 + [1.0] * 9)
    twice_area = facing(mesh)[:, 2]
    np.testing.assert_allclose([twice_area[:8].sum() / 2, twice_area[8:].sum() / 2], [0.8**2, 0.6**2], rtol=1e-5)
    second = depth_to_mesh(estimate.slice(1, 2))
    np.testing.assert_array_equal(second.points, mesh.points[9:], "a view by itself lies where it does in its scene")
    np.testing.assert_array_equal(second.triangles, mesh.triangles[8:] - 9)


def test_what_one_view_of_a_scene_does_not_see_leaves_the_others_whole():
    estimate = wall_from_two_places()
    depth = estimate.depth.clone()
    depth[1], depth[0, 0, 0, 0] = torch.inf, torch.inf
    mesh = depth_to_mesh(replace(estimate, depth=depth))
    assert mesh.points.shape == (8, 3) and np.isfinite(mesh.points).all()
    with pytest.raises(ValueError, match="no pixel has a depth"):
        depth_to_mesh(replace(estimate, depth=torch.full_like(depth, torch.inf)))


def test_a_glb_that_would_be_too_large_is_refused_before_it_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr(mesh_files, "GLB_LIMIT", 4000)
    monkeypatch.setattr(mesh_files, "depth_to_meshes", lambda *_: pytest.fail("a mesh was made"))
    with pytest.raises(ValueError, match=r"400 points make a GLB of about .* ask for at most 100 points, or write PLY"):
        save_estimate(tmp_path / "m.glb", plane(height=20, width=20))
    monkeypatch.undo()
    monkeypatch.setattr(mesh_files, "GLB_LIMIT", 4000)
    save_estimate(tmp_path / "m.glb", plane(height=20, width=20), SaveOptions(mesh=MeshOptions(max_points=100)))
    with pytest.raises(ValueError, match="a GLB holds 4"):
        write_glb(tmp_path / "n.glb", depth_to_mesh(plane(height=20, width=20)))
    assert list(tmp_path.iterdir()) == [tmp_path / "m.glb"]
