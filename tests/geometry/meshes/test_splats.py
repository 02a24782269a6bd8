from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from depth_normal.geometry.camera import intrinsics_from_fov
from depth_normal.geometry.estimate import Axes, Estimate, Quantity
from depth_normal.geometry.files import SaveOptions, load_estimate, save_surface
from depth_normal.geometry.files.paths import FileFormatError
from depth_normal.geometry.meshes.mesh import MeshOptions, depth_to_mesh
from depth_normal.geometry.meshes.splats import SH_0, depth_to_splats, quaternions_of
from tests.refusals import refuses

HEIGHT, WIDTH = 24, 32
INTRINSICS = intrinsics_from_fov(60, HEIGHT, WIDTH)
SHARP = MeshOptions(edges="sharp")


def plane(normal, distance=3.0):
    """The plane that lies `distance` along the optical axis: (normals face the camera, OPENCV axes)."""
    normal = torch.nn.functional.normalize(torch.tensor(normal), dim=0)
    y, x = torch.meshgrid(torch.arange(float(HEIGHT)), torch.arange(float(WIDTH)), indexing="ij")
    rays = torch.stack((x, y, torch.ones_like(x)), -1) @ torch.linalg.inv(INTRINSICS[0]).T
    depth = distance * normal[2] / (rays @ normal)
    return Estimate(depth[None, None], Quantity.METRIC_DEPTH, intrinsics=INTRINSICS), normal


def matrices(splats):
    """Rotation matrices of quaternions w, x, y, z."""
    return Rotation.from_quat(splats.rotations[:, [1, 2, 3, 0]].astype(float)).as_matrix()


def spots(splats, flat=True):
    """(N, 2, 2), the covariance of each splat's image in pixels, and (N, 2) where it lies."""
    turned = matrices(splats) * splats.scales[:, None, :].astype(float) * ([1, 1, 0] if flat else [1, 1, 1])
    covariance = turned @ turned.transpose(0, 2, 1)
    x, y, z = splats.points.T.astype(float)
    focal_x, focal_y = INTRINSICS[0, 0, 0].item(), INTRINSICS[0, 1, 1].item()
    zero = np.zeros_like(x)
    jacobian = np.array([[focal_x / z, zero, -focal_x * x / z**2], [zero, focal_y / z, -focal_y * y / z**2]]).transpose(2, 0, 1)
    places = np.stack((focal_x * x / z, focal_y * y / z), 1) + INTRINSICS[0, :2, 2].numpy()
    return jacobian @ covariance @ jacobian.transpose(0, 2, 1), places


@pytest.mark.parametrize("normal", [(0.0, 0.0, -1.0), (0.7, 0.0, -1.0), (-0.4, 0.8, -1.0)])
@pytest.mark.parametrize("known", [True, False])
def test_every_splat_is_a_round_spot_at_its_pixel(normal, known):
    estimate, unit = plane(normal)
    if known:
        estimate = replace(estimate, normals=unit.view(1, 3, 1, 1).expand(1, 3, HEIGHT, WIDTH), axes=Axes.OPENCV)
    splats = depth_to_splats(estimate, options=SHARP)
    covariance, places = spots(splats)
    assert len(splats.points) == HEIGHT * WIDTH
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    assert abs(places - np.stack((x, y), -1).reshape(-1, 2)).max() < 1e-3
    assert abs(covariance - 0.36 * np.eye(2)).max() < 2e-3
    assert abs(matrices(splats)[:, :, 2] - unit.numpy()).max() < 2e-3 and (splats.scales[:, 2] < 0.11 * splats.scales[:, 1]).all()


def test_fewer_splats_are_larger():
    splats = depth_to_splats(plane((0.7, 0.0, -1.0))[0], options=MeshOptions(edges="sharp", max_points=HEIGHT * WIDTH // 4))
    covariance, places = spots(splats)
    assert len(splats.points) == HEIGHT * WIDTH // 4 and abs(covariance - 4 * 0.36 * np.eye(2)).max() < 8e-3
    assert abs(places[0] - 0).max() < 1e-3 and abs(places[1] - [2, 0]).max() < 1e-3


def test_steep_surfaces_and_silhouettes_make_no_needles():
    normals = torch.tensor([1.0, 0.0, -0.01]).view(1, 3, 1, 1).expand(1, 3, HEIGHT, WIDTH)
    depth = torch.full((1, 1, HEIGHT, WIDTH), 2.0)
    depth[..., WIDTH // 2 :] = 4.0
    splats = depth_to_splats(Estimate(depth, Quantity.METRIC_DEPTH, normals, Axes.OPENCV, intrinsics=INTRINSICS), options=SHARP)
    longer = (splats.scales[:, 0] / splats.scales[:, 1]).reshape(HEIGHT, WIDTH)
    assert longer.max() < 8.1 and longer[:, WIDTH // 2 - 1 : WIDTH // 2 + 1].max() < 1.51
    assert np.isfinite(splats.rotations).all()


def test_views_of_a_scene_lie_in_the_world():
    """The second camera stands a metre to the right and looks to the left: both see the same wall."""
    estimate, _ = plane((0.0, 0.0, -1.0))
    turn = torch.tensor([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])  # world to camera
    extrinsics = torch.stack((torch.eye(3, 4), torch.cat((turn, -(turn @ torch.tensor([1.0, 0.0, 0.0]))[:, None]), 1)))
    scene = Estimate(estimate.depth.repeat(2, 1, 1, 1), Quantity.METRIC_DEPTH, intrinsics=INTRINSICS.repeat(2, 1, 1), extrinsics=extrinsics)
    splats, mesh = depth_to_splats(scene, options=SHARP), depth_to_mesh(scene, options=SHARP)
    assert abs(splats.points * [1, -1, -1] - mesh.points).max() < 1e-5
    towards = matrices(splats)[:, :, 2]
    assert abs(towards[: HEIGHT * WIDTH] - [0, 0, -1]).max() < 1e-3 and abs(towards[HEIGHT * WIDTH :] - [1, 0, 0]).max() < 1e-3


def test_quaternions_of_all_rotations():
    axis = torch.nn.functional.normalize(torch.randn(500, 3, generator=torch.Generator().manual_seed(0)), dim=1)
    rotations = Rotation.from_rotvec((torch.linspace(0, 2 * torch.pi, 500)[:, None] * axis).numpy())
    found = quaternions_of(torch.from_numpy(rotations.as_matrix()).float()).numpy()
    assert np.abs((found * rotations.as_quat()[:, [3, 0, 1, 2]]).sum(1)).min() > 1 - 1e-5 and found[:, 0].min() >= 0
    assert (quaternions_of(torch.diag(torch.tensor([1.0, -1.0, -1.0]))[None]) == torch.tensor([[0.0, 1.0, 0.0, 0.0]])).all()


def test_the_file_is_that_of_gaussian_splatting(tmp_path):
    estimate, _ = plane((0.7, 0.0, -1.0))
    image = torch.rand(1, 3, HEIGHT, WIDTH)
    image[0, 0, 3, 4] = torch.nan
    options = SaveOptions(image=image, splats=True, mesh=SHARP)
    said = save_surface(tmp_path / "a.ply", estimate, options)
    head, body = (tmp_path / "a.ply").read_bytes().split(b"end_header\n")
    names = [line.split()[-1] for line in head.decode().splitlines() if line.startswith("property float")]
    colour, scale, turn = ([f"{name}_{i}" for i in range(count)] for name, count in (("f_dc", 3), ("scale", 3), ("rot", 4)))
    assert names == ["x", "y", "z", "nx", "ny", "nz", *colour, "opacity", *scale, *turn]
    rows = np.frombuffer(body, "<f4").reshape(-1, len(names))
    splats = depth_to_splats(estimate, image, SHARP)
    assert len(rows) == HEIGHT * WIDTH and said.startswith("768 splats, ") and np.isfinite(rows).all()
    assert abs(rows[:, :3] - splats.points).max() == 0 and abs(rows[:, 13:] - splats.rotations).max() == 0
    shown = (0.5 + SH_0 * rows[:, 6:9]).reshape(HEIGHT, WIDTH, 3)
    assert abs(shown - image[0].movedim(0, -1).nan_to_num(0).numpy()).max() < 1e-6
    assert abs(np.exp(rows[:, 10:13]) / splats.scales - 1).max() < 1e-5 and abs(1 / (1 + np.exp(-rows[:, 9])) - 0.98).max() < 1e-6
    with pytest.raises(FileFormatError, match="not read from"):
        load_estimate(tmp_path / "a.ply")


WALL = plane((0.0, 0.0, -1.0))[0]
test_what_has_no_points_is_refused = refuses(
    depth_to_splats,
    (replace(WALL, mask=torch.zeros(1, 1, HEIGHT, WIDTH, dtype=torch.bool)), "no pixel has a depth"),
    (Estimate(WALL.depth.repeat(2, 1, 1, 1), Quantity.METRIC_DEPTH), "the batch has 2"),
)
