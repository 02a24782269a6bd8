"""Truth: depth disturbed by noise of known deviation and correlation, and surfaces without any, which must not be taken for noise."""

import functools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from benchmarks import normals, traced_views
from depth_normal.geometry.camera import intrinsics_from_fov, pixel_rays
from depth_normal.geometry.conventions import convert_normals
from depth_normal.geometry.estimate import Axes
from depth_normal.geometry.filters.extremes import extremes_within
from depth_normal.geometry.surfaces.noise import measure_noise
from depth_normal.geometry.surfaces.normals import depth_to_normals
from tests.geometry.known_surfaces import angles, depth_of_things
from tests.ray_traced_scenes import ball, plane

HEIGHT, WIDTH = 240, 320
EVERYWHERE = torch.ones(1, 1, HEIGHT, WIDTH)


@functools.cache
def correlated(length, seed=0):
    """(1, 1, H, W) noise of deviation 1 that is shared over a square of `length` pixels; 1 = white."""
    noise = torch.randn(1, 1, HEIGHT, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    if length > 1:
        # A Gaussian blur of deviation s gives a correlation whose sum is 4 pi s^2.
        blur = length / math.sqrt(4 * math.pi)
        at = torch.arange(-math.ceil(4 * blur), math.ceil(4 * blur) + 1, dtype=torch.float64)
        kernel = torch.exp(-(at**2) / (2 * blur**2))
        radius = len(at) // 2
        noise = F.pad(noise, (radius, radius, radius, radius), mode="reflect")
        noise = F.conv2d(F.conv2d(noise, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))
    return noise / noise.std()


@functools.cache
def tilted_wall(near_far=2.0):
    """Inverse depth of a plane that is `near_far` times nearer at the bottom than at the top, and its normal for 55 degrees."""
    intrinsics = intrinsics_from_fov(55, HEIGHT, WIDTH)
    inverse = torch.linspace(2 / (1 + near_far), 2 * near_far / (1 + near_far), HEIGHT, dtype=torch.float64)
    inverse = inverse.view(1, 1, -1, 1).expand(1, 1, HEIGHT, WIDTH)
    ends = [
        convert_normals(pixel_rays(intrinsics, HEIGHT, WIDTH), Axes.OPENCV, Axes.OPENGL)[0, :, y, x].double()
        for y, x in ((0, 0), (0, -1), (-1, 0))
    ]
    a, b, c = (ray / inverse[0, 0, y, x] for ray, (y, x) in zip(ends, ((0, 0), (0, -1), (-1, 0)), strict=True))
    normal = F.normalize(torch.linalg.cross(c - a, b - a), dim=0)
    return inverse, normal.view(1, 3, 1, 1), intrinsics


@pytest.mark.quick_cases(8)
@pytest.mark.parametrize("length", [1.0, 2.5, 4.0, 5.0])
@pytest.mark.parametrize("deviation", [1e-3, 1e-2])
@pytest.mark.parametrize("seed", [0, 1])
def test_noise_and_how_far_it_is_shared_are_found(length, deviation, seed):
    inverse = tilted_wall()[0] + deviation * correlated(length, seed)
    found = measure_noise(inverse.float(), EVERYWHERE)
    assert found.noise == pytest.approx(deviation, rel=0.15)
    assert found.noise_length == pytest.approx(length, rel=0.2)
    assert found.step == 0


@pytest.mark.parametrize("length", [1.0, 4.0])
@pytest.mark.parametrize("power", [0, 1, 2])
def test_how_noise_depends_on_depth_is_found(power, length):
    inverse = tilted_wall(3.0)[0]
    noise = inverse**power * 5e-3 * correlated(length)
    found = measure_noise((inverse + noise).float(), EVERYWHERE)
    assert found.noise_power == pytest.approx(power, abs=0.1)
    assert found.noise == pytest.approx(5e-3, rel=0.15)


def test_noise_as_smooth_as_a_surface_is_left():
    found = measure_noise((tilted_wall()[0] + 1e-2 * correlated(7.0)).float(), EVERYWHERE)
    assert found.noise_length == 1 and found.noise <= found.pixel_noise


def test_holes_do_not_hide_the_noise():
    patches = correlated(12.0, 3)
    valid = patches > torch.quantile(patches, 0.5)
    inverse = torch.where(valid, tilted_wall()[0] + 0.004 * correlated(4.0), 1e6)
    found = measure_noise(inverse.float(), valid.float())
    assert found.noise == pytest.approx(0.004, rel=0.2)
    assert found.noise_length == pytest.approx(4.0, rel=0.3)


@functools.cache
def surfaces():
    v, u = torch.meshgrid(torch.arange(float(HEIGHT)).double(), torch.arange(float(WIDTH)).double(), indexing="ij")
    waves = 1 + 0.1 * torch.sin(u / 20) * torch.cos(v / 15)
    dome = 1 - (u**2 + v**2) / 4e5
    # Straight pieces between points at random, as along lines in a room.
    corners = torch.rand(1, 1, 13, 17, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    pieces = 1 + F.interpolate(corners, size=(HEIGHT, WIDTH), mode="bilinear", align_corners=True)
    return {"waves": waves[None, None], "dome": dome[None, None], "pieces": pieces}


@pytest.mark.parametrize("name", ["waves", "dome", "pieces"])
def test_a_clean_surface_is_no_noise_however_much_it_bends(name):
    found = measure_noise(surfaces()[name].float(), EVERYWHERE)
    assert found.noise < 1e-5
    assert found.noise_length == 1
    assert found.noise <= max(2e-7, found.pixel_noise / 4)


@pytest.mark.slow("takes a second")
@pytest.mark.parametrize("image", ["coffee", "astronaut", "chelsea", "rocket"])
def test_a_networks_depth_has_no_noise_that_a_window_should_average(image):
    data = pytest.importorskip("skimage.data")
    import depth_normal

    pixels = torch.from_numpy(getattr(data, image)()).movedim(-1, 0)[None] / 255
    estimate = depth_normal.load_model("tiny").estimate(pixels)
    valid = estimate.valid.float()  # a sky is one value, in which there is nothing to measure
    low, high = torch.quantile(estimate.depth, torch.tensor([0.02, 0.98]))
    inverse = ((estimate.depth - low) / (high - low)).clamp(min=-0.4) * (2 / 3) + 1 / 3
    found = measure_noise(inverse, valid)
    assert found.noise < 1e-4  # a fortieth of a level of 255
    assert found.noise_length == 1
    median = inverse[estimate.valid].median()
    assert found.noise * median ** (found.noise_power - 1) <= found.pixel_noise  # both as a share of the median
    rounded = (inverse * 128).round() / 128
    found = measure_noise(rounded, valid)
    assert found.step == pytest.approx(1 / 128, rel=0.01)
    assert found.noise == 0


def test_a_staircase_without_noise_has_a_step_and_no_noise():
    found = measure_noise((surfaces()["dome"] * 255).round().float() / 255, EVERYWHERE)
    assert found.step == pytest.approx(1 / 255, rel=0.01)
    assert found.noise == 0


@pytest.mark.parametrize("length", [1.0, 3.0])
def test_noise_is_found_on_a_staircase(length):
    step = 1 / 128
    noisy = ((tilted_wall()[0] + 0.6 * step * correlated(length)) / step).round() * step
    found = measure_noise(noisy.float(), EVERYWHERE)
    assert found.step == pytest.approx(step, rel=0.01)
    assert found.noise == pytest.approx(0.6 * step, rel=0.2)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("near_far", [2.0, 4.0])
def test_the_step_of_a_registered_depth_camera_is_found(near_far):
    inverse = F.interpolate(tilted_wall(near_far)[0], scale_factor=2, mode="bilinear", align_corners=True) / 3
    inverse = inverse + 0.02 * torch.sin(torch.arange(640) / 50)
    intrinsics = intrinsics_from_fov(55, 480, 640)[0].double()
    registered = normals.registered_depth(1 / inverse[0, 0], intrinsics)
    assert torch.unique(registered).numel() > 2048
    found = measure_noise(3 / registered[None, None].float(), torch.ones_like(inverse))
    assert found.step == pytest.approx(3 * normals.SENSOR_STEP / normals.SENSOR_SCALE, rel=0.01)
    assert found.step_power == 0
    assert found.noise == pytest.approx(found.step / 2)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    ("size", "wall", "balls"),
    [
        ((240, 320), 4.0, [(-0.6, 0.2, 2.2, 0.5), (0.5, 0.0, 3.0, 0.6), (0.9, 0.7, 2.5, 0.3)]),
        ((480, 640), 3.0, [(-0.6, 0.2, 1.5, 0.3)]),
        ((320, 480), 3.0, [(-0.6, 0.2, 2.2, 0.5), (0.5, 0.0, 2.6, 0.4)]),
    ],
    ids=["a small map", "a wall that is most of the map", "a wall"],
)
def test_the_step_is_found_where_there_are_few_levels(size, wall, balls):
    things = [plane((0, 1, 0), (0, 1, 0)), plane((0, 0, wall), (0, 0, 1)), *(ball(place, radius) for *place, radius in balls)]
    intrinsics = intrinsics_from_fov(55, *size).double()
    depth = depth_of_things(things, intrinsics, *size)
    registered = normals.registered_depth(depth[0, 0], intrinsics[0])[None, None].float()
    found = measure_noise(3 / registered, torch.ones_like(registered))
    assert found.step == pytest.approx(3 * normals.SENSOR_STEP / normals.SENSOR_SCALE, rel=0.01)
    truth = depth_to_normals(depth, intrinsics)
    error = angles(depth_to_normals(registered, intrinsics.float()), truth)
    assert float(error.mean()) < 5  # of levels that are not found, 13 to 28


@pytest.mark.slow("takes most of a second")
def test_strips_that_a_sensor_fills_beside_silhouettes_show_the_surface_behind():
    """Depth there is between both surfaces' and tells nothing of a slope."""
    _, known = traced_views.render(traced_views.balls(np.random.default_rng(1)), np.zeros(3), 640, 480, rays=1)
    depth, intrinsics = torch.from_numpy(known)[None, None], torch.from_numpy(traced_views.intrinsics(640, 480))[None]
    distance = normals.ROOM_DISTANCE / depth.median()
    registered = normals.registered_depth(depth[0, 0] * distance, intrinsics[0].double())[None, None].float()
    error = angles(depth_to_normals(registered, intrinsics.float()), depth_to_normals(depth, intrinsics))
    low, high = extremes_within(1 / depth, 3)
    assert float(error[high > low * 1.05].mean()) < 11  # 12.4 with the planes of the strips themselves


@pytest.mark.parametrize(("length", "limit"), [(1.0, 0.5), (2.5, 0.7), (4.0, 0.7), (5.0, 0.7)])
def test_a_wall_seen_by_a_depth_camera_is_a_wall(length, limit):
    inverse, normal, intrinsics = tilted_wall()
    noisy = inverse + 0.002 * correlated(length)
    error = angles(depth_to_normals((1 / noisy).float(), intrinsics), normal)
    assert float(error.mean()) < limit


def mean_error(folder, condition):
    errors = []
    for scene in map(normals.load_scene, sorted(folder.glob("*.npz"))):
        inverse, scene = normals.degraded(scene, condition), normals.measured(scene, condition)
        errors.append(normals.mean_error(normals.ours(scene, inverse, condition), scene, condition))
    return np.mean(errors)


@pytest.mark.slow("takes more than a second")
def test_clean_scenes_stay_below_the_bar(true_scenes):
    assert mean_error(true_scenes, "clean") < 0.6


@pytest.mark.parametrize(
    ("condition", "bar"), [("noise 0.5 %", 2.4), ("noise 0.1 %", 1.2), ("8-bit", 3.0), ("sensor", 3.2), ("registered", 6.5), ("lidar", 6.0)]
)
def test_scenes_stay_below_the_bars(rendered_scenes, condition, bar):
    assert mean_error(rendered_scenes, condition) < bar


@pytest.mark.slow("takes more than a second")
def test_ray_traced_scenes_stay_below_half_a_bar(traced_scenes):
    assert mean_error(traced_scenes, "sensor") < 3.2 / 2
