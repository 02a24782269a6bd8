"""Meshes of any depth: what is assumed, what is left out, and how many points."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from depth_normal.geometry.camera import intrinsics_from_fov
from depth_normal.geometry.estimate import Axes, Estimate, Quantity
from depth_normal.geometry.surfaces.mesh import MeshOptions, depth_to_mesh, depth_to_meshes, describe_source, grid_step

HEIGHT, WIDTH = 48, 64


def slope(quantity=Quantity.METRIC_DEPTH, **more):
    """A wall that recedes to the right, from 2 to 4 m."""
    inverse = torch.linspace(0.5, 0.25, WIDTH).expand(1, 1, HEIGHT, WIDTH).contiguous()
    values = inverse if quantity is Quantity.DISPARITY else 1 / inverse
    return Estimate(values, quantity, **{"intrinsics": intrinsics_from_fov(60, HEIGHT, WIDTH)} | more)


def test_every_quantity_gives_a_mesh_and_says_of_what():
    metric = slope()
    assert describe_source(metric) == "metric depth, 2.02 to 3.94 m; field of view 60° (known)"
    assert len(depth_to_mesh(metric).points) == HEIGHT * WIDTH
    disparity = slope(Quantity.DISPARITY, intrinsics=None)
    assert describe_source(disparity) == "disparity: likely depth, near:far 1:3; field of view 55° (assumed)"
    relative = slope(Quantity.RELATIVE_DEPTH)
    assert describe_source(relative, MeshOptions(near_far_ratio=5, fov=90)).startswith("relative depth: likely depth, near:far 1:5; field")
    for estimate in (disparity, relative):
        depth = -depth_to_mesh(estimate).points[:, 2]
        assert depth.min() == pytest.approx(1, rel=0.05) and depth.max() == pytest.approx(3, rel=0.1)


def test_fewer_points_lie_where_the_others_did():
    estimate, image = slope(normals=torch.randn(1, 3, HEIGHT, WIDTH), axes=Axes.OPENGL), torch.rand(1, 3, HEIGHT, WIDTH)
    (whole,), (fewer,) = depth_to_meshes(estimate, image), depth_to_meshes(estimate, image, MeshOptions(max_points=400))
    step, first = 3, 1
    assert len(fewer.points) <= 400
    kept = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH)[first::step, first::step].reshape(-1)
    for name in ("points", "normals", "colours", "uvs"):
        np.testing.assert_allclose(getattr(fewer, name), getattr(whole, name)[kept], atol=2e-6, err_msg=name)
    np.testing.assert_allclose(np.linalg.norm(fewer.normals, axis=1), 1, atol=1e-6)
    assert fewer.texture.shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize(("size", "most"), [((4000, 6000), 1_000_000), ((1, 1), 1), ((3, 1000), 10), ((480, 640), 307_200), ((7, 9), 0)])
def test_the_step_is_the_least_that_serves(size, most):
    step = grid_step(*size, most)
    assert step == 1 if not most else -(-size[0] // step) * -(-size[1] // step) <= most


def test_unused_points_are_left_out():
    depth = slope().depth.clone()
    depth[..., 10, 10] = 0.1  # alone before the wall
    mesh = depth_to_mesh(replace(slope(), depth=depth))
    assert len(mesh.points) == HEIGHT * WIDTH - 1 and mesh.points[:, 2].max() < -1
    assert np.array_equal(np.unique(mesh.triangles), np.arange(len(mesh.points)))


def test_the_sky_is_left_out():
    """A ground that recedes up to a bright sky, which is far but not constant."""
    rows = torch.linspace(0, 1, HEIGHT).view(1, 1, -1, 1).expand(1, 1, HEIGHT, WIDTH)
    sky = rows < 0.4
    disparity = torch.where(sky, 0.02 * rows, rows)
    image = torch.where(sky, 0.9, 0.3).expand(1, 3, -1, -1)
    estimate = Estimate(disparity, Quantity.DISPARITY)
    lower, all_of_it = (depth_to_mesh(estimate, image, MeshOptions(drop_sky=drop, edges="sharp")) for drop in (True, False))
    assert len(lower.points) == pytest.approx(int((~sky).sum()), rel=0.05) and len(all_of_it.points) > 0.95 * HEIGHT * WIDTH


def test_the_farthest_points_are_finite():
    far = replace(slope(), depth=slope().depth * 3e5)
    mesh = depth_to_mesh(far)
    assert np.isfinite(mesh.points).all() and mesh.points[:, 2].min() == pytest.approx(-1.2e6)
    depth = slope().depth.clone()
    depth[..., 5:, :] = 1e10
    assert len(depth_to_mesh(replace(slope(), depth=depth)).points) == 5 * WIDTH


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (5, 1), (2, 2)])
def test_tiny_images(shape):
    mesh = depth_to_mesh(Estimate(torch.full((1, 1, *shape), 2.0), Quantity.METRIC_DEPTH), torch.rand(1, 3, *(4 * side for side in shape)))
    assert len(mesh.points) == shape[0] * shape[1] and len(mesh.triangles) == 2 * (shape[0] - 1) * (shape[1] - 1)


def test_constant_disparity_is_a_wall():
    mesh = depth_to_mesh(Estimate(torch.full((1, 1, 6, 8), 0.3), Quantity.DISPARITY))
    assert np.ptp(mesh.points[:, 2]) == 0 and len(mesh.triangles) == 2 * 5 * 7


def test_images_above_one_and_not_numbers_become_colours():
    image = torch.full((1, 3, 9, 12), 7.0)
    image[..., 0] = torch.nan
    mesh = depth_to_meshes(slope(), image, MeshOptions(drop_sky=False))[0]
    assert mesh.texture[:, 1:].min() == 255 and mesh.texture[:, 0].max() == 0


@pytest.mark.parametrize(("name", "value"), [("max_jump", -0.1), ("max_jump", float("nan")), ("max_points", -1), ("edges", "both")])
def test_wrong_options_are_refused(name, value):
    with pytest.raises(ValueError, match=name):
        MeshOptions(**{name: value})
