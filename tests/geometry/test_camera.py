"""Truth: what a pinhole camera does, computed by hand or with numpy's linear algebra."""

import math

import numpy as np
import pytest
import torch

from depth_normal.geometry import camera
from tests.refusals import refusals

K = torch.tensor([[[500.0, 0.0, 319.5], [0.0, 480.0, 239.5], [0.0, 0.0, 1.0]]])


@pytest.mark.parametrize(("side", "length"), [("longer", 640), ("shorter", 480), ("horizontal", 480), ("vertical", 640), ("diagonal", 800)])
def test_the_field_of_view_spans_the_side_it_names(side, length):
    intrinsics, focal = camera.intrinsics_from_fov(60, 640, 480, side=side), length / 2 / math.tan(math.radians(30))
    torch.testing.assert_close(intrinsics, torch.tensor([[[focal, 0, 239.5], [0, focal, 319.5], [0, 0, 1]]]))


@pytest.mark.parametrize("side", ["longer", "shorter", "horizontal", "vertical"])
def test_the_field_of_view_comes_back(side):
    intrinsics = camera.intrinsics_from_fov(torch.tensor([30.0, 75.0]), 480, 640, side=side)
    torch.testing.assert_close(camera.fov_from_intrinsics(intrinsics, 480, 640, side=side), torch.tensor([30.0, 75.0]))


def test_a_50_mm_lens_on_full_frame_sees_39_6_degrees():
    intrinsics = camera.intrinsics_from_sensor(50, 1080, 1920)
    assert float(camera.fov_from_intrinsics(intrinsics, 1080, 1920)) == pytest.approx(39.5978, abs=1e-3)


def test_resizing_keeps_what_a_skewed_camera_sees():
    skewed = K.clone()
    skewed[0, 0, 1] = 7.0
    half = camera.resize_intrinsics(skewed, (480, 640), (240, 320))
    assert half[0, 0, 1] == 3.5
    points = torch.tensor([[[0.3, -0.2, 2.0], [-0.1, 0.4, 1.5]]])
    for height, width in ((240, 320), (96, 200), (960, 320)):
        scale = torch.tensor([width / 640, height / 480])
        moved = (camera.ray_to_pixel(points, skewed) + 0.5) * scale - 0.5
        small = camera.resize_intrinsics(skewed, (480, 640), (height, width))
        torch.testing.assert_close(camera.ray_to_pixel(points, small), moved, atol=1e-4, rtol=0)


def test_cropping_keeps_the_rays_of_what_is_left():
    rays = camera.pixel_rays(K, 480, 640)
    torch.testing.assert_close(camera.pixel_rays(camera.crop_intrinsics(K, 100, 40), 200, 300), rays[:, :, 40:240, 100:400])


def test_rays_are_the_inverse_camera_matrix_times_the_pixel_and_points_lie_along_them():
    skewed = K.clone()
    skewed[0, 0, 1] = 7.0
    rays = camera.pixel_rays(skewed, 480, 640)[0]
    points = camera.depth_to_points(torch.full((1, 1, 480, 640), 2.0), skewed)[0]
    for u, v in ((0, 0), (639, 479), (13, 401)):
        expected = np.linalg.inv(skewed[0].double().numpy()) @ [u, v, 1]
        np.testing.assert_allclose(rays[:, v, u].numpy(), expected, atol=1e-6)
        np.testing.assert_allclose(points[:, v, u].numpy(), 2 * expected, atol=2e-6)


def test_pixels_and_rays_are_each_others_inverse():
    pixels = torch.rand(2, 50, 2, generator=torch.Generator().manual_seed(0)) * 500
    intrinsics = torch.cat((K, camera.intrinsics_from_fov(40, 300, 200)))
    rays = camera.pixel_to_ray(pixels, intrinsics) * 3.7
    torch.testing.assert_close(camera.ray_to_pixel(rays, intrinsics), pixels, atol=1e-3, rtol=1e-5)


def test_what_is_behind_the_camera_has_no_pixel():
    assert torch.isnan(camera.ray_to_pixel(torch.tensor([[[0.1, 0.2, -1.0], [1.0, 1.0, 0.0]]]), K)).all()


def test_a_sphere_around_the_camera_has_one_ray_distance_and_less_depth_at_the_side():
    depth = camera.ray_distance_to_depth(torch.full((1, 1, 480, 640), 5.0), K)
    points = camera.depth_to_points(depth, K)
    torch.testing.assert_close(torch.linalg.vector_norm(points, dim=1), torch.full((1, 480, 640), 5.0))
    torch.testing.assert_close(camera.depth_to_ray_distance(depth, K), torch.full_like(depth, 5.0))
    assert float(depth[0, 0, 240, 320]) == pytest.approx(5.0, abs=1e-4)
    assert float(depth.min()) == pytest.approx(5 / math.sqrt(1 + (319.5 / 500) ** 2 + (239.5 / 480) ** 2), rel=1e-5)


def test_a_camera_that_looks_along_another_axis():
    """It stands at x = 2 and looks along the world's x axis: a quarter turn to the right about the axis that points down."""
    turn = torch.tensor([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])  # columns: the camera's x, y and z in the world
    extrinsics = torch.cat((turn.T, -turn.T @ torch.tensor([[2.0], [0], [0]])), 1)[None]
    world = torch.tensor([[5.0, 0.5, 0], [2, 0, 1]]).T.reshape(1, 3, 1, 2)
    seen = camera.world_to_camera_points(world, extrinsics)
    assert seen[0, :, 0, 0].tolist() == [0, 0.5, 3], "three in front of it"
    assert seen[0, :, 0, 1].tolist() == [-1, 0, 0], "the world's z is on its left"
    torch.testing.assert_close(camera.camera_to_world_points(seen, extrinsics), world)


test_what_fits_no_camera_is_refused = refusals(
    (lambda: camera.intrinsics_from_fov(180, 10, 10), "180"),
    (lambda: camera.intrinsics_from_fov(float("nan"), 10, 10), "field of view"),
    (lambda: camera.intrinsics_from_fov(60, 0, 10), "10x0"),
    (lambda: camera.intrinsics_from_fov(60, 10, 10, side="wide"), "wide"),
    (lambda: camera.intrinsics_from_focal_length(-1, 10, 10), "fx and fy > 0"),
    (lambda: camera.intrinsics_from_sensor(0, 10, 10), "positive"),
    (lambda: camera.depth_to_points(torch.ones(2, 1, 4, 4), K), r"\(2, 3, 3\)"),
    (lambda: camera.pixel_to_ray(torch.ones(1, 5, 3), K), "count, 2"),
    (lambda: camera.world_to_camera_points(torch.ones(1, 5, 3), torch.eye(3, 4)[None]), "points has shape"),
    (lambda: camera.camera_to_world_points(torch.ones(2, 3, 4, 4), torch.eye(3, 4)[None]), r"expected \(2, 3, 4\)"),
)
