import numpy as np
import pytest
import torch

from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.geometry.files import SaveOptions, save_surface
from depth_normal.geometry.kinds import Projection
from depth_normal.geometry.meshes.mesh import MeshOptions, depth_to_mesh, depth_to_meshes
from depth_normal.geometry.sphere import panorama_directions
from depth_normal.geometry.surfaces.derive import panorama_normals
from tests.geometry.meshes.solids import facing, open_edges, volume

HALF = np.array([2.0, 1.4, 3.0])


def room(height=48, width=96, mask=None, normals=False):
    directions = panorama_directions(height, width)
    safe = torch.where(directions.abs() > 1e-9, directions.abs(), 1e-9)
    distance = (torch.tensor(HALF).view(1, 3, 1, 1).float() / safe).amin(1, keepdim=True)
    found = panorama_normals(distance) if normals else None
    return Estimate(distance, Quantity.METRIC_DEPTH, found, mask=mask, projection=Projection.EQUIRECTANGULAR)


def welded(mesh):
    """Triangles by points that lie at one place, without those that have no area."""
    _, names = np.unique(mesh.points.round(5), axis=0, return_inverse=True)
    triangles = names.reshape(-1)[mesh.triangles]
    return triangles[(triangles != np.roll(triangles, 1, 1)).all(1)]


@pytest.mark.slow("takes most of a second")
@pytest.mark.parametrize("options", [MeshOptions(), MeshOptions(edges="sharp"), MeshOptions(max_points=4000, max_jump=0.2)])
def test_a_room_is_closed_and_seen_from_inside(options):
    mesh = depth_to_mesh(room(160, 320), None, options)
    assert open_edges(welded(mesh)) == 0 and volume(mesh) == pytest.approx(-8 * HALF.prod(), rel=0.03)
    outwards, middles = facing(mesh), mesh.points[mesh.triangles].mean(1)
    is_area = np.linalg.norm(outwards, axis=1) > 1e-9
    assert ((outwards * middles).sum(1)[is_area] < 0).all(), "counter-clockwise seen from the camera"


def test_points_are_where_the_walls_are_and_up_is_plus_y():
    mesh = depth_to_mesh(room(), None, MeshOptions(edges="sharp"))
    assert np.abs(np.abs(mesh.points) / HALF).max(1) == pytest.approx(1, abs=1e-4)
    zenith, nadir = mesh.points[-2:]
    assert zenith == pytest.approx([0, 1.4, 0], abs=1e-4) and nadir == pytest.approx([0, -1.4, 0], abs=1e-4)
    assert mesh.points[0][1] > 0, "the first row is the zenith's"


def test_normals_and_the_texture_go_around():
    image = panorama_directions(48, 96) / 2 + 0.5
    (mesh,) = depth_to_meshes(room(normals=True), image, MeshOptions(drop_sky=False))
    assert (mesh.normals * mesh.points).sum(1).max() < 0, "towards the camera"
    assert mesh.uvs[:, 1].min() == 0 and mesh.uvs[:, 1].max() == 1
    directions = mesh.points / np.linalg.norm(mesh.points, axis=1, keepdims=True)
    u = (np.arctan2(directions[:, 0], -directions[:, 2]) / (2 * np.pi) + 0.5) % 1
    level = np.abs(directions[:, 1]) < 0.99
    apart = np.abs(mesh.uvs[:, 0] % 1 - u)[level]
    assert np.minimum(apart, 1 - apart).max() < 1e-3
    spans = mesh.uvs[mesh.triangles.astype(np.int64)][:-192, :, 0]
    assert np.ptp(spans, axis=1).max() < 2 / 96, "no triangle has the whole texture on it"


def test_a_sky_is_a_hole():
    mask = torch.ones(1, 1, 48, 96, dtype=torch.bool)
    mask[..., :20, :] = False
    mesh = depth_to_mesh(room(mask=mask))
    assert open_edges(welded(mesh)) > 0
    assert mesh.points[:, 1].max() < 1.4 - 0.05, "no point of the sky, and no fan around the zenith"
    assert mesh.points[-1] == pytest.approx([0, -1.4, 0], abs=1e-4)


def test_things_are_cut_from_the_wall_behind_them_at_the_border_too():
    estimate = room(96, 192)
    distance = estimate.depth.clone()
    distance[..., 40:60, -8:] = distance[..., 40:60, :8] = 0.7
    mesh = depth_to_mesh(Estimate(distance, Quantity.METRIC_DEPTH, projection=Projection.EQUIRECTANGULAR))
    corners = np.linalg.norm(mesh.points[mesh.triangles.astype(np.int64)], axis=2)
    assert (corners.max(1) / corners.min(1)).max() < 1.5, "no triangle hangs between the thing and the wall"
    assert ((corners < 0.75).all(1)).sum() > 300


@pytest.mark.parametrize("suffix", [".glb", ".ply"])
def test_files_are_written_and_say_that_it_is_a_panorama(suffix, tmp_path):
    image = torch.rand(1, 3, 48, 96, generator=torch.Generator().manual_seed(0))
    said = save_surface(tmp_path / f"room{suffix}", room(), SaveOptions(image=image, mesh=MeshOptions(drop_sky=False)))
    assert said.endswith("m; panorama")
    repeats = b'"wrapS":10497' in (tmp_path / f"room{suffix}").read_bytes().replace(b" ", b"")
    assert repeats is (suffix == ".glb"), "the texture goes on at its other border"


def test_a_field_of_view_is_refused():
    with pytest.raises(ValueError, match="a field of view needs images of a perspective camera"):
        depth_to_mesh(room(), None, MeshOptions(fov=60))
