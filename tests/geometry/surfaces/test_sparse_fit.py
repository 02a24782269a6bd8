"""Truth: planes of which only a few pixels count."""

import pytest
import torch

from depth_normal.geometry.camera import intrinsics_from_fov, pixel_rays
from depth_normal.geometry.surfaces.normals import depth_to_normals
from tests.geometry.known_surfaces import angles, plane_depth

HEIGHT, WIDTH = 96, 128
CAMERA = intrinsics_from_fov(60, HEIGHT, WIDTH)


def plane(x, y, z, distance=3.0):
    """Depth of a plane, and its normal (1, 3, 1, 1) in OPENGL axes."""
    normal = torch.nn.functional.normalize(torch.tensor([x, y, z]), dim=0)
    return plane_depth(normal, CAMERA, HEIGHT, WIDTH, distance * float(normal[2]))[0], normal.view(1, 3, 1, 1)


def points(share, seed=0):
    return torch.rand(1, 1, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(seed)) < share


def lines(every=8, along=1):
    mask = torch.zeros(1, 1, HEIGHT, WIDTH, dtype=torch.bool)
    mask[..., ::every, ::along] = True
    return mask


@pytest.mark.quick_cases(4)
@pytest.mark.parametrize("edges", ["sharp", "soft", "auto"])
@pytest.mark.parametrize(
    "mask",
    [points(0.25), points(0.05), points(0.005), points(0.002), lines(), lines(24, 1), lines(16, 4)],
    ids=["quarter", "few", "half a percent", "two in a thousand", "lines of a lidar", "lines far apart", "dotted lines"],
)
def test_a_plane_seen_at_a_few_points_keeps_its_normal(mask, edges):
    depth, normal = plane(0.3, 0.4, 0.8)
    assert angles(depth_to_normals(depth, CAMERA, mask, edges), normal)[mask].mean() < 0.05


def test_two_walls_are_not_joined_over_their_edge():
    (left, facing_right), (right, facing_left) = plane(0.6, 0.0, 0.8), plane(-0.6, 0.0, 0.8, 6.0)
    depth, mask = left.clone(), points(0.1)
    depth[..., 64:] = right[..., 64:]
    found = depth_to_normals(depth, CAMERA, mask)
    for columns, normal in ((slice(0, 60), facing_right), (slice(68, None), facing_left)):
        inside = torch.zeros_like(mask)
        inside[..., columns] = mask[..., columns]
        assert angles(found, normal)[inside].median() < 0.1


def road_and_wall():
    """Depth of a road 1.5 below the camera that ends at a wall at 12, where the wall is, and their normals."""
    rays = pixel_rays(CAMERA, HEIGHT, WIDTH)
    road = torch.where(rays[:, 1:2] > 0.01, 1.5 / rays[:, 1:2].clamp(min=0.01), 1e3)
    wall = road > 12
    normals = torch.where(wall, torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1), torch.tensor([0.0, 1.0, 0.0]).view(1, 3, 1, 1))
    return road.clamp(max=12), wall, normals


@pytest.mark.parametrize("mask", [points(0.01), points(0.02), points(0.05), lines(16, 3), lines(12, 1)])
def test_a_road_lies_flat_however_few_its_points(mask):
    depth, wall, normals = road_and_wall()
    found = depth_to_normals(depth, CAMERA, mask)
    for surface in (wall, ~wall):
        assert angles(found, normals)[mask & surface].median() < 0.1


@pytest.mark.parametrize("mask", [points(0.01), points(0.05), lines(8, 3)])
def test_the_noise_of_a_lidar_is_averaged(mask):
    depth, wall, normals = road_and_wall()
    noise = torch.randn(depth.shape, generator=torch.Generator().manual_seed(1))
    found = depth_to_normals(depth + 0.02 * noise, CAMERA, mask)
    assert angles(found, normals)[mask & ~wall].mean() < 8


def test_a_thing_before_a_wall_is_not_joined_to_it():
    depth, mask = torch.full((1, 1, HEIGHT, WIDTH), 10.0), points(0.05)
    tilted, normal = plane(0.5, 0.0, 0.8, 3.0)
    depth[..., 30:60, 40:80] = tilted[..., 30:60, 40:80]
    inside = torch.zeros_like(mask)
    inside[..., 30:60, 40:80] = True
    found = depth_to_normals(depth, CAMERA, mask)
    assert angles(found, normal)[mask & inside].mean() < 3
    assert angles(found, torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1))[mask & ~inside].mean() < 1


def test_a_wire_and_a_lonely_pixel_have_no_plane_and_do_no_harm():
    depth, _ = plane(0.0, 0.0, 1.0)
    mask = torch.zeros_like(depth, dtype=torch.bool)
    mask[..., 30, :], mask[..., 80, 64] = True, True
    found = depth_to_normals(depth, CAMERA, mask)
    assert torch.isfinite(found).all()
    torch.testing.assert_close(found.norm(dim=1), torch.ones(1, HEIGHT, WIDTH))
    assert torch.isfinite(depth_to_normals(depth[..., :1, :1], CAMERA)).all()
