"""Truth: planes of which only a few pixels count."""

import pytest
import torch

from depth_normal.geometry.camera import intrinsics_from_fov, pixel_rays
from depth_normal.geometry.surfaces.normals import depth_to_normals

HEIGHT, WIDTH = 96, 128
CAMERA = intrinsics_from_fov(60, HEIGHT, WIDTH)


def plane(x, y, z, distance=3.0):
    """Depth of a plane, and its normal (1, 3, 1, 1) in OPENGL axes."""
    normal = torch.nn.functional.normalize(torch.tensor([x, y, z]), dim=0)
    opencv = (normal * torch.tensor([1.0, -1.0, -1.0])).view(1, 3, 1, 1)
    return distance * opencv[:, 2:] / (pixel_rays(CAMERA, HEIGHT, WIDTH) * opencv).sum(1, keepdim=True), normal.view(1, 3, 1, 1)


def degrees_off(found, normal, where):
    return torch.rad2deg(torch.acos((found * normal).sum(1, keepdim=True).clamp(-1, 1)))[where]


def points(share, seed=0):
    return torch.rand(1, 1, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(seed)) < share


def lines():
    mask = torch.zeros(1, 1, HEIGHT, WIDTH, dtype=torch.bool)
    mask[..., ::8, :] = True
    return mask


@pytest.mark.parametrize("edges", ["sharp", "soft", "auto"])
@pytest.mark.parametrize("mask", [points(0.25), points(0.05), lines()], ids=["quarter", "few", "lines of a lidar"])
def test_a_plane_seen_at_a_few_points_keeps_its_normal(mask, edges):
    depth, normal = plane(0.3, 0.4, 0.8)
    assert degrees_off(depth_to_normals(depth, CAMERA, mask, edges), normal, mask).mean() < 0.05


def test_two_walls_are_not_joined_over_their_edge():
    (left, facing_right), (right, facing_left) = plane(0.6, 0.0, 0.8), plane(-0.6, 0.0, 0.8, 6.0)
    depth, mask = left.clone(), points(0.1)
    depth[..., 64:] = right[..., 64:]
    found = depth_to_normals(depth, CAMERA, mask)
    for columns, normal in ((slice(0, 60), facing_right), (slice(68, None), facing_left)):
        inside = mask.clone()
        inside[..., :] = False
        inside[..., columns] = mask[..., columns]
        assert degrees_off(found, normal, inside).median() < 0.1


def test_where_neighbours_count_nothing_changes(monkeypatch):
    depth, _ = plane(0.3, 0.4, 0.8)
    mask = torch.ones_like(depth, dtype=torch.bool)
    mask[..., 20:40, 30:60] = False
    found = depth_to_normals(depth, CAMERA, mask)
    monkeypatch.setattr("depth_normal.geometry.surfaces.normals.fit_isolated", lambda planes, *_: planes)
    assert torch.equal(found, depth_to_normals(depth, CAMERA, mask))


def test_a_wire_and_a_lonely_pixel_have_no_plane_and_do_no_harm():
    depth, _ = plane(0.0, 0.0, 1.0)
    mask = torch.zeros_like(depth, dtype=torch.bool)
    mask[..., 30, :], mask[..., 80, 64] = True, True
    found = depth_to_normals(depth, CAMERA, mask)
    assert torch.isfinite(found).all()
    torch.testing.assert_close(found.norm(dim=1), torch.ones(1, HEIGHT, WIDTH))
    assert torch.isfinite(depth_to_normals(depth[..., :1, :1], CAMERA)).all()
