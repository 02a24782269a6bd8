import numpy as np
import pytest
import torch

from depth_normal.geometry.conventions import encode_normal_map
from depth_normal.geometry.estimate import Axes, Estimate, Quantity
from depth_normal.geometry.files import SaveOptions, save_estimate, write_depth_png, write_normal_png

HEIGHT, WIDTH = 12, 20
INTRINSICS = np.array([[25.0, 0, 9.0], [0, 24.0, 6.5], [0, 0, 1]])
UNIT = 0.5
"""Metres a Blender unit in the scenes that inside_blender.py makes for meshes."""
STRENGTH = 0.25
HOLE = (3, 4)


def depth_and_mask():
    """A bumpy metric depth with one hole."""
    v, u = np.mgrid[0:HEIGHT, 0:WIDTH]
    mask = np.ones((HEIGHT, WIDTH), bool)
    mask[HOLE] = False
    return (2 + 0.05 * u + 0.3 * np.sin(v)).astype(np.float32), mask


def estimate(camera=True):
    depth, mask = (torch.from_numpy(values)[None, None] for values in depth_and_mask())
    intrinsics = torch.from_numpy(INTRINSICS.astype(np.float32))[None] if camera else None
    return Estimate(depth, Quantity.METRIC_DEPTH, mask=mask, intrinsics=intrinsics)


def back_projected():
    """The surface in Blender units, camera axes, row by row without the hole."""
    depth, mask = depth_and_mask()
    v, u = np.mgrid[0:HEIGHT, 0:WIDTH]
    points = np.stack(((u - 9.0) / 25 * depth, -(v - 6.5) / 24 * depth, -depth), -1)
    return points[mask] / UNIT


@pytest.fixture(scope="module")
def meshes(inside_blender, tmp_path_factory):
    folder = tmp_path_factory.mktemp("meshes")
    for name in ("metric.npz", "metric_camera.exr", "metric.png", "nocamera.npz"):
        save_estimate(folder / f"map_{name}", estimate(camera=name != "nocamera.npz"))
    image = torch.linspace(0.25, 0.75, WIDTH).expand(1, HEIGHT, WIDTH)
    write_depth_png(folder / "map_picture.png", image)
    inside_blender("meshes", folder)
    return {path.name[len("mesh_") : -len(".npz")]: dict(np.load(path)) for path in folder.glob("mesh_*")}


@pytest.mark.parametrize(("name", "tolerance"), [("map_metric.npz", 1e-6), ("map_metric_camera.exr", 1e-6), ("map_metric.png", 5e-5)])
def test_metric_depth_becomes_its_back_projected_points(meshes, name, tolerance):
    """A 16-bit PNG keeps the range of about 2 m in 65534 steps, half a step is 1.2e-5 m, here in units of half a metre."""
    np.testing.assert_allclose(meshes[name]["vertices"], back_projected(), atol=tolerance, rtol=1e-6)


def test_the_mesh_is_whole_faces_the_viewer_and_leaves_out_the_hole(meshes):
    mesh = meshes["map_metric.npz"]
    assert mesh["valid"] and len(mesh["vertices"]) == HEIGHT * WIDTH - 1
    assert len(mesh["faces"]) == (HEIGHT - 1) * (WIDTH - 1) - 4 and (mesh["normals"][:, 2] > 0).all()
    assert set(mesh["faces"].ravel()) == set(range(HEIGHT * WIDTH - 1))


def test_uvs_are_the_pixels_centres(meshes):
    _, mask = depth_and_mask()
    v, u = np.mgrid[0:HEIGHT, 0:WIDTH]
    expected = np.stack(((u + 0.5) / WIDTH, 1 - (v + 0.5) / HEIGHT), -1)[mask]
    np.testing.assert_allclose(meshes["map_metric.npz"]["uvs"], expected, atol=1e-6)


def test_the_mesh_stands_where_the_camera_is_or_upright(meshes):
    upright = [[1, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]]
    np.testing.assert_allclose(meshes["map_metric.npz"]["matrix"], upright, atol=1e-6)
    turn = [np.eye(3), np.eye(3), np.eye(3)]
    for axis, angle in enumerate((0.3, 0.4, 0.5)):
        i, j = (axis + 1) % 3, (axis + 2) % 3
        turn[axis][[i, i, j, j], [i, j, i, j]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
    matrix = meshes["map_metric_camera.exr"]["matrix"]
    np.testing.assert_allclose(matrix[:3, :3], turn[2] @ turn[1] @ turn[0], atol=1e-6)
    np.testing.assert_allclose(matrix[:3, 3], [1, 2, 3])


def test_an_image_becomes_a_relief_of_its_aspect(meshes):
    """White is near: it rises by the whole strength; 20 pixels span 2 units between their outer edges."""
    vertices = meshes["map_picture.png"]["vertices"].reshape(HEIGHT, WIDTH, 3)
    pitch = 2 / WIDTH
    np.testing.assert_allclose(vertices[0, :, 0], (np.arange(WIDTH) - 9.5) * pitch, atol=1e-6)
    np.testing.assert_allclose(vertices[:, 0, 1], (5.5 - np.arange(HEIGHT)) * pitch, atol=1e-6)
    np.testing.assert_allclose(vertices[4, :, 2], np.linspace(0, STRENGTH, WIDTH), atol=STRENGTH / 2**15)


def test_metric_depth_without_a_camera_becomes_a_relief_with_near_on_top(meshes):
    depth, mask = depth_and_mask()
    valid = depth[mask]
    expected = (valid.max() - valid) / (valid.max() - valid.min()) * STRENGTH
    np.testing.assert_allclose(meshes["map_nocamera.npz"]["vertices"][:, 2], expected, atol=1e-6)


@pytest.fixture(scope="module")
def shaded(inside_blender, tmp_path_factory):
    """What Cycles sees of the same normals in maps of three conventions and three kinds of file, beside the normals."""
    folder = tmp_path_factory.mktemp("shaded")
    v, u = np.mgrid[0:32, 0:32] / 31 - 0.5
    normals = np.stack((0.8 * u, -0.6 * v, np.ones_like(u)), -1)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    planar = torch.from_numpy(normals.astype(np.float32)).movedim(-1, 0)[None]
    for target in ("opengl", "directx", "scannet"):
        write_normal_png(folder / f"normals_{target}_map.png", encode_normal_map(planar, target), bits=16)
    write_normal_png(folder / "normals_opengl_8bit.png", encode_normal_map(planar, "opengl"), bits=8)
    for suffix in ("npz", "exr"):
        # The file names its axes: what the caller says (by the name, DirectX) must not count.
        save_estimate(folder / f"normals_directx_own.{suffix}", Estimate(normals=planar, axes=Axes.OPENGL))
    inside_blender("shading", folder)
    return normals, {path.name[len("seen_") : -len(".npz")]: np.load(path)["normals"] for path in folder.glob("seen_*.npz")}


def test_cycles_sees_the_normals_of_the_map(shaded):
    """A plane of the map's size fills the view, a pixel of the render on a pixel of the map."""
    normals, seen = shaded
    assert len(seen) == 6
    for name, found in seen.items():
        error = np.degrees(np.arccos(np.clip((found * normals).sum(-1), -1, 1)))
        assert error.max() < (0.5 if "8bit" in name else 0.05), name


RAMP = np.linspace(0.2, 0.8, 48, dtype=np.float32).reshape(6, 8)
HOLED = np.where(np.arange(6)[:, None] > 1, RAMP, np.nan)
FACING = np.float32([1, 0.5, 0.5]) * np.ones((6, 8, 1), np.float32)
FACING_IMAGE = [0.5, 0.5, 1, "scannet"]
ARCHIVES = {
    "scaled": ({"dmap": HOLED}, "relative_depth"),
    "metres": ({"dmap": HOLED * 9}, "metric_depth"),
    "viewer": ({"dmap": np.dstack([HOLED] * 3 + [np.ones_like(RAMP)])}, "relative_depth"),
    "whole": ({"dmap": np.uint8([[1, 2], [3, 4]])}, "a 'dmap' of whole numbers without 'quantity'"),
    "empty": ({"dmap": np.zeros((4, 4))}, "'dmap' holds no depth"),
    "image": ({"nmap": FACING}, FACING_IMAGE),
    "bytes": ({"nmap": np.round(FACING * 255).astype(np.uint8)}, FACING_IMAGE),
    "holes": ({"nmap": np.where(np.isfinite(HOLED)[..., None], FACING, np.nan)}, FACING_IMAGE),
    "world": ({"nmap": np.float32([0, 0, 1]) * np.ones((6, 8, 1))}, "in world axes"),
    "camera": ({"nmap": np.float32([0, 0, 1]) * np.ones((6, 8, 1)), "axes": "opengl"}, [0.5, 0.5, 1, "opengl"]),
}


def test_the_tutorials_archives_are_what_the_node_pack_says(inside_blender, tmp_path):
    for name, (arrays, _) in ARCHIVES.items():
        np.savez(tmp_path / name, **arrays)
    found = inside_blender("archives", tmp_path)
    for name, (_, expected) in ARCHIVES.items():
        assert expected == found[name] or (isinstance(expected, str) and expected in found[name]), (name, found[name])


def test_the_add_on_does_both_and_reports_what_is_wrong(inside_blender, tmp_path):
    said = inside_blender("addon", tmp_path)
    assert "never saved" in said["render"] and "/no/such.exr" in said["apply"]
    assert said["objects after errors"] == said["objects"]
    assert said["rendered"] == said["applied"] == ["FINISHED"] and said["material"]
    assert said["undo"] and said["gone"]
    # The mesh put at the camera lies on the cube that was rendered: the largest coordinate is 1 everywhere.
    distance = np.abs(np.abs(said["world"]).max(-1) - 1)
    assert len(distance) > 200 and distance.max() < 1e-4


@pytest.fixture(scope="module")
def imported(inside_blender, tmp_path_factory):
    """A slope that rises from the floor, in each format, through Blender's own importers: its points, sorted."""
    folder = tmp_path_factory.mktemp("meshes")
    depth = 1 / torch.linspace(0.25, 0.5, 6).reshape(1, 1, 6, 1).expand(1, 1, 6, 8)
    slope = Estimate(depth, Quantity.METRIC_DEPTH, intrinsics=torch.tensor([[[8.0, 0, 3.5], [0, 8, 2.5], [0, 0, 1]]]))
    worn = SaveOptions(image=torch.rand(1, 3, 12, 16, generator=torch.Generator().manual_seed(0)))
    for name, options in {"m.glb": None, "worn.glb": worn, "y.ply": SaveOptions(ply_up="y"), "z.ply": SaveOptions(ply_up="z")}.items():
        save_estimate(folder / name, slope, *([options] if options else []))
    points = {name: np.array(points) for name, points in inside_blender("imported", folder).items()}
    return {name: each[np.lexsort(each.round(4).T)] for name, each in points.items()}


def test_glb_and_ply_with_z_up_stand_upright_in_blender_and_a_ply_with_y_up_lies_on_its_back(imported):
    """The camera looks along Blender's +Y: distances of 2 to 4 lie on that axis, in the PLY with Y up on -Z."""
    assert len(imported["m.glb"]) == 48
    for name in ("z.ply", "worn.glb"):
        np.testing.assert_allclose(imported[name], imported["m.glb"], atol=1e-6)
    for name, axis, ends in (("m.glb", 1, [2, 4]), ("y.ply", 2, [-4, -2])):
        np.testing.assert_allclose([imported[name][:, axis].min(), imported[name][:, axis].max()], ends, atol=1e-6)
