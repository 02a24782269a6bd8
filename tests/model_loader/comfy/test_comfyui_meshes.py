"""Meshes and cameras as ComfyUI's 3D nodes take them; tests/comfyui/test_geometry_server.py has the real nodes."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from depth_normal.geometry.camera import depth_to_points, intrinsics_from_fov, world_to_camera_points
from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.geometry.files.mesh_files import write_glb
from depth_normal.geometry.meshes.mesh import Mesh, depth_to_meshes
from depth_normal.model_loader.comfy.meshes import comfy_file_3d, comfy_mesh, load_3d_camera

HEIGHT, WIDTH = 20, 30
TURNED = torch.linalg.matrix_exp(torch.tensor([[0.0, 0.3, -0.5], [-0.3, 0.0, 0.2], [0.5, -0.2, 0.0]]))


class OldMesh:
    """ComfyUI 0.16's."""

    def __init__(self, vertices, faces):
        self.vertices, self.faces = vertices, faces


class NewMesh:
    """ComfyUI 0.30's."""

    def __init__(self, vertices, faces, uvs=None, vertex_colors=None, texture=None, vertex_counts=None, face_counts=None, unlit=False):
        self.vertices, self.faces, self.uvs = vertices, faces, uvs
        self.vertex_colors, self.texture, self.unlit = vertex_colors, texture, unlit


@pytest.fixture
def comfyui(monkeypatch):
    """Says which types a ComfyUI has."""

    def having(**types):
        monkeypatch.setitem(sys.modules, "comfy_api.latest", SimpleNamespace(Types=SimpleNamespace(**types)))
        monkeypatch.setitem(sys.modules, "comfy_execution.graph_utils", SimpleNamespace(ExecutionBlocker=str))

    return having


def surface(**more) -> Estimate:
    depth = 2 + torch.linspace(0, 1, WIDTH).expand(1, 1, HEIGHT, WIDTH) ** 2
    return Estimate(depth.contiguous(), Quantity.METRIC_DEPTH, intrinsics=intrinsics_from_fov(70, HEIGHT, WIDTH), **more)


def test_a_mesh_has_its_texture_where_comfyui_has_one(comfyui):
    (mesh,) = depth_to_meshes(surface(), torch.rand(1, 3, 40, 60))
    comfyui(MESH=NewMesh)
    new = comfy_mesh(mesh)
    assert new.vertices.shape == (1, HEIGHT * WIDTH, 3) and new.faces.shape == (1, len(mesh.triangles), 3)
    assert new.texture.shape == (1, 40, 60, 3) and new.uvs.shape == (1, HEIGHT * WIDTH, 2) and 0.9 < new.texture.max() <= 1
    assert new.vertex_colors is None, "they would be multiplied"
    comfyui(MESH=OldMesh)
    old = comfy_mesh(mesh)
    assert torch.equal(old.vertices, new.vertices) and torch.equal(old.faces, new.faces) and old.faces.dtype is torch.int64


def test_a_mesh_without_a_texture_has_linear_colours(comfyui):
    comfyui(MESH=NewMesh)
    grey = np.full((4, 3), 0.5, np.float32)
    mesh = Mesh(np.eye(4, 3, dtype=np.float32), np.array([[0, 1, 2]], np.uint32), colours=grey)
    made = comfy_mesh(mesh)
    assert made.texture is None and made.unlit and made.vertex_colors.numpy() == pytest.approx(0.21404, abs=1e-5)


def test_what_this_comfyui_lacks_stops_only_who_takes_it(comfyui):
    comfyui()
    (mesh,) = depth_to_meshes(surface())
    assert "no MESH; update ComfyUI" in comfy_mesh(mesh)
    assert "no 3D files; update ComfyUI" in comfy_file_3d(".glb", lambda path: write_glb(path, mesh))


def test_outside_comfyui_the_error_says_what_to_use():
    (mesh,) = depth_to_meshes(surface())
    with pytest.raises(RuntimeError, match=r"ComfyUI is not running; use depth_normal\.geometry"):
        comfy_mesh(mesh)


@pytest.mark.parametrize("pose", [None, torch.cat([TURNED, torch.tensor([[0.4], [-0.3], [1.0]])], 1)], ids=["camera", "world"])
def test_the_camera_shows_the_mesh_as_the_image_does(pose):
    """A viewer's projection of each point is its pixel."""
    extrinsics = None if pose is None else pose[None]
    estimate = surface(extrinsics=extrinsics)
    meshes = depth_to_meshes(estimate)
    camera = load_3d_camera(estimate, meshes)
    points = fitted(meshes[0].points)
    position, turn = vector(camera["position"]), rotation(camera["quaternion"])
    seen = (points - position) @ turn
    half = np.tan(np.radians(camera["fov"]) / 2)
    across, down = seen[:, 0] / -seen[:, 2] / half / camera["aspect"], -seen[:, 1] / -seen[:, 2] / half
    rows, columns = np.divmod(np.arange(HEIGHT * WIDTH), WIDTH)
    assert (across * WIDTH / 2 + WIDTH / 2) == pytest.approx(columns + 0.5, abs=1e-3)
    assert (down * HEIGHT / 2 + HEIGHT / 2) == pytest.approx(rows + 0.5, abs=1e-3)
    ahead = (vector(camera["target"]) - position) @ turn
    assert ahead[:2] == pytest.approx(0, abs=1e-6) and seen[:, 2].min() < ahead[2] < seen[:, 2].max()
    if extrinsics is not None:
        world = depth_to_points(estimate.depth, estimate.intrinsics)
        assert not torch.allclose(world, world_to_camera_points(world, extrinsics)), "the pose turns and moves"


def fitted(points: np.ndarray) -> np.ndarray:
    """As the page's viewer places a model: size 5, in the middle, on the ground (SceneModelManager.ts of frontend 1.58)."""
    points = points * (5 / (points.max(0) - points.min(0)).max())
    low, high = points.min(0), points.max(0)
    return points - [(low[0] + high[0]) / 2, low[1], (low[2] + high[2]) / 2]


def vector(values: dict[str, float]) -> np.ndarray:
    return np.array([values[axis] for axis in "xyz"])


def rotation(q: dict[str, float]) -> np.ndarray:
    """Columns: the camera's axes."""
    x, y, z, w = (q[axis] for axis in "xyzw")
    assert x * x + y * y + z * z + w * w == pytest.approx(1)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + 2 * w * cross + 2 * cross @ cross
