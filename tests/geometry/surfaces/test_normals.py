"""Truth: planes, spheres and edges whose normals are known; OpenCV as the oracle of the old formulas."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from depth_normal.geometry.camera import intrinsics_from_fov, pixel_rays
from depth_normal.geometry.conventions import encode_normal_map
from depth_normal.geometry.estimate import Axes
from depth_normal.geometry.filters import bands
from depth_normal.geometry.surfaces import plane_fit
from depth_normal.geometry.surfaces.normals import depth_to_normals, disparity_to_normals, dmap2norm, midas_normals
from depth_normal.options.render import EDGES
from tests.geometry.known_surfaces import angles, ball_before_wall, plane_depth
from tests.refusals import refuses

HEIGHT, WIDTH = 120, 160
K = intrinsics_from_fov(55, HEIGHT, WIDTH)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def plane(tilt, azimuth, height=HEIGHT, width=WIDTH, fov=55.0, distance=3.0):
    """Depth (float32), where it is visible, and the OpenGL normal of a plane facing the camera, tilted by degrees."""
    t, a = math.radians(tilt), math.radians(azimuth)
    normal = torch.tensor([math.sin(t) * math.cos(a), math.sin(t) * math.sin(a), math.cos(t)], dtype=torch.float64)
    depth, visible = plane_depth(normal, intrinsics_from_fov(fov, height, width), height, width, distance * abs(math.cos(t)))
    return depth, visible, normal.view(1, 3, 1, 1)


def two_walls(near_tilt, far_tilt):
    """Depth of walls at 2 and 4 metres that meet at a step, and their normals."""
    near, _, near_normal = plane(near_tilt, 90, distance=2.0)
    far, _, far_normal = plane(far_tilt, 0, distance=4.0)
    left = (torch.arange(WIDTH) < 70).view(1, 1, 1, -1)
    return torch.where(left, near, far), torch.where(left, near_normal, far_normal)


def with_noise(depth, share):
    return depth * (1 + share * torch.randn(depth.shape, generator=generator()))


def assert_unit(normals):
    assert torch.isfinite(normals).all()
    torch.testing.assert_close(torch.linalg.vector_norm(normals, dim=1), torch.ones_like(normals[:, 0]))


@pytest.mark.quick_cases(6)
@pytest.mark.parametrize("edges", EDGES)
@pytest.mark.parametrize("tilt", [0, 30, 80])
@pytest.mark.parametrize("azimuth", [0, 37, 200])
def test_a_tilted_plane_keeps_its_normal_up_to_the_border(tilt, azimuth, edges):
    depth, visible, normal = plane(tilt, azimuth)
    assert float(angles(depth_to_normals(depth, K, edges=edges), normal)[visible].max()) < 0.01


@pytest.mark.parametrize(
    ("tilt", "azimuth", "height", "width", "fov"),
    [
        (100, 270, HEIGHT, WIDTH, 100),  # a ceiling, whose z is negative
        pytest.param(80, 37, 1080, 1920, 40, marks=pytest.mark.slow("takes most of a second")),
    ],
)
def test_a_plane_is_exact_for_other_cameras(tilt, azimuth, height, width, fov):
    depth, visible, normal = plane(tilt, azimuth, height, width, fov)
    assert visible.any() and (float(normal[0, 2]) < 0) == (tilt > 90)
    normals = depth_to_normals(depth, intrinsics_from_fov(fov, height, width))
    assert float(angles(normals, normal)[visible].max()) < 0.01
    skewed = torch.tensor([[[150.0, 4.0, 20.0], [0.0, 130.0, 100.0], [0.0, 0.0, 1.0]]])  # oblong pixels, off centre
    depth, visible = plane_depth(normal.flatten(), skewed, HEIGHT, WIDTH, 2)
    assert float(angles(depth_to_normals(depth, skewed), normal)[visible].max()) < 0.01


def test_a_sphere_before_a_wall_is_right_up_to_its_silhouette():
    depth, hit, truth = ball_before_wall(1.0, K, HEIGHT, WIDTH)
    error = angles(depth_to_normals(depth.float(), K), truth)
    assert float(error[hit].mean()) < 1.0 and float(error[~hit].mean()) < 0.1
    inner, deep = (F.avg_pool2d(hit.float(), size, 1, size // 2) == 1 for size in (5, 9))
    assert float(error[inner].max()) < 5 and float(error[deep].mean()) < 0.1, "a clean sphere is not smoothed"


@pytest.mark.parametrize("tilts", [(0, 0), (30, 50), (60, 10)])
def test_a_jump_in_depth_bends_nothing(tilts):
    depth, truth = two_walls(*tilts)
    assert float(angles(depth_to_normals(depth, K), truth).max()) < 0.05


def test_a_crease_between_two_walls_is_sharp():
    first, _, first_normal = plane(45, 0)
    second, _, second_normal = plane(45, 180)
    ahead = first < second
    truth = torch.where(ahead, first_normal, second_normal)
    error = angles(depth_to_normals(torch.minimum(first, second), K), truth)
    beside = (torch.arange(WIDTH) - (WIDTH - 1) / 2).abs() > 1
    assert float(error[..., beside].max()) < 0.5
    assert float(error.mean()) < 0.1


@pytest.mark.parametrize(("noise", "limit"), [(0.0005, 0.5), (0.001, 0.5), (0.005, 1.0), (0.02, 3.0)])
def test_a_noisy_plane_is_averaged_over_as_much_as_it_takes(noise, limit):
    depth, _, normal = plane(40, 60)
    assert float(angles(depth_to_normals(with_noise(depth, noise), K), normal).mean()) < limit


@pytest.mark.parametrize("quantised", ["disparity", "depth"])
def test_the_steps_of_an_8_bit_source_are_smoothed(quantised):
    depth, _, normal = plane(55, 20)
    values = 1 / depth if quantised == "disparity" else depth
    low, high = values.min(), values.max()
    values = ((values - low) / (high - low) * 255).round() / 255 * (high - low) + low
    normals = depth_to_normals(1 / values if quantised == "disparity" else values, K)
    assert float(angles(normals, normal).mean()) < 1.5


def test_soft_edges_take_the_normal_from_beside_the_ramp():
    depth, truth = two_walls(30, 30)
    depth = 1 / F.avg_pool2d(F.pad(1 / depth, (2, 2, 2, 2), mode="replicate"), 5, 1)
    inside = (..., slice(4, -4), slice(4, -4))
    sharp, soft, auto = (angles(depth_to_normals(depth, K, edges=e), truth)[inside].mean() for e in ("sharp", "soft", "auto"))
    assert float(soft) < 0.01
    assert float(soft) < float(sharp) / 3
    assert float(auto) == float(soft)
    depth, _ = two_walls(30, 30)
    assert torch.equal(depth_to_normals(depth, K, edges="auto"), depth_to_normals(depth, K, edges="sharp")), "sharp ones are left alone"


def test_a_surface_that_turns_away_at_a_soft_edge_goes_on_turning():
    """A round post before a wall, at half size and enlarged: better at its rim than normals taken over from 2 pixels further in."""
    x = pixel_rays(K.double(), HEIGHT, WIDTH)[:, :1]
    axis, radius = 3.0, 0.5
    seen = axis**2 - (1 + x**2) * (axis**2 - radius**2)
    post = seen > 0
    distance = (axis - seen.clamp(min=0).sqrt()) / (1 + x**2)
    across, towards = torch.where(post, distance * x / radius, 0), torch.where(post, (axis - distance) / radius, 1)
    truth = torch.cat((across, torch.zeros_like(x), towards), 1)
    inverse = F.avg_pool2d(1 / torch.where(post, distance, 5.0), 2)
    inverse = F.interpolate(inverse, size=(HEIGHT, WIDTH), mode="bilinear")
    error = angles(depth_to_normals((1 / inverse).float(), K, edges="soft"), truth)
    rim = post & (F.max_pool2d((~post).double(), 13, 1, 6) > 0)
    right = rim & (torch.arange(WIDTH) > WIDTH / 2)
    assert float(error[right].mean()) < float(angles(truth.roll(2, 3), truth)[right].mean())


def test_the_vote_is_the_same_for_a_list_of_pixels_and_for_all(monkeypatch):
    """Other devices than CPUs take all pixels."""
    random = torch.Generator().manual_seed(0)
    planes = plane_fit.Planes(*(torch.rand(1, 1, 17, 23, generator=random) for _ in range(3)))
    moved, valid = ((torch.rand(1, 1, 17, 23, generator=random) < share).float() for share in (0.05, 0.8))
    chosen = plane_fit._agreed(planes, moved, valid)
    assert 0 < int((chosen.value != planes.value).sum()) < moved.numel() / 2
    assert torch.equal(chosen.value[valid == 0], planes.value[valid == 0])
    monkeypatch.setattr(plane_fit, "chosen_places", lambda near: torch.arange(near.numel()))
    monkeypatch.setattr(plane_fit, "_VOTES_AT_ONCE", 100)
    torch.testing.assert_close(tuple(plane_fit._agreed(planes, moved, valid)), tuple(chosen))


@pytest.mark.quick_cases(3)
@pytest.mark.parametrize("scale", [1e-30, 7.0, 1e30])
@pytest.mark.parametrize("edges", EDGES)
def test_the_unit_of_depth_does_not_matter(scale, edges):
    depth = with_noise(plane(50, 30)[0], 0.001)
    error = angles(depth_to_normals(depth * scale, K, edges=edges), depth_to_normals(depth, K, edges=edges))
    assert float(error.mean()) < 1e-3
    assert float((error > 0.01).double().mean()) < 0.001


@pytest.mark.quick_cases(3)
@pytest.mark.parametrize("edges", EDGES)
@pytest.mark.parametrize("kind", ["clean", "noisy", "eight bits"])
def test_bands_of_rows_give_what_the_whole_gives(edges, kind, monkeypatch):
    depth = plane(40, 70)[0].clone()
    depth[..., 60:] *= 1.4
    if kind == "noisy":
        depth = with_noise(depth, 0.01)
    if kind == "eight bits":
        depth = 255 / (255 / depth).round()
    mask = torch.rand(depth.shape, generator=generator(1)) > 0.02
    monkeypatch.setattr(bands, "_BAND_PIXELS", 2**30)
    whole = depth_to_normals(depth, K, mask, edges)
    monkeypatch.setattr(bands, "_BAND_PIXELS", 11 * WIDTH)
    torch.testing.assert_close(depth_to_normals(depth, K, mask, edges), whole, atol=1e-6, rtol=0)


@pytest.mark.parametrize("rubbish", [float("nan"), float("inf"), float("-inf"), 0.0, -3.0, 1e9])
def test_what_is_masked_is_never_looked_at_and_faces_the_viewer(rubbish):
    depth, _, normal = plane(40, 130)
    mask = torch.rand(depth.shape, generator=generator()) > 0.3
    normals = depth_to_normals(torch.where(mask, depth, rubbish), K, mask)
    assert torch.equal(normals[:, :, ~mask[0, 0]], torch.tensor([0.0, 0, 1]).view(1, 3, 1).expand(1, 3, int((~mask).sum())))
    surrounded = mask & (F.avg_pool2d(mask.float(), 3, 1, 1) > 0.6)
    assert float(angles(normals, normal)[surrounded].max()) < 0.02
    assert torch.equal(normals, depth_to_normals(depth, K, mask))


def test_holes_are_found_without_a_mask():
    depth, _, normal = plane(40, 130)
    for hole in (float("nan"), float("inf"), 0.0, -1.0):
        pierced = depth.clone()
        pierced[..., 40:60, 50:80] = hole
        normals = depth_to_normals(pierced, K)
        outside = torch.ones_like(depth, dtype=torch.bool)
        outside[..., 40:60, 50:80] = False
        assert float(angles(normals, normal)[outside].max()) < 0.01
        assert normals[0, :, 50, 60].tolist() == [0, 0, 1]


@pytest.mark.quick_cases(3)
@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 1), (1, 9), (9, 1), (3, 3), (5, 4), (40, 30)])
@pytest.mark.parametrize("edges", EDGES)
def test_no_input_gives_nan(size, edges):
    choice = torch.rand(1, 1, *size, generator=generator(size[0]))
    depth = torch.rand(1, 1, *size, generator=generator(size[1])) + 1
    for i, value in enumerate((float("nan"), float("inf"), float("-inf"), 0.0, -1.0, 1e38, 1e-38, 1e-45, 1e12)):
        depth[(choice > i / 20) & (choice < (i + 1) / 20)] = value
    camera = intrinsics_from_fov(60, *size)
    nothing = torch.zeros_like(depth, dtype=torch.bool)
    for mask in (None, nothing):
        assert_unit(depth_to_normals(depth, camera, mask, edges))
        assert_unit(disparity_to_normals(depth, mask, edges=edges))
    assert_unit(depth_to_normals(torch.rand(1, 1, *size, generator=generator(1)).exp(), camera, None, edges))
    assert_unit(disparity_to_normals(torch.zeros(1, 1, *size), edges=edges))


@pytest.mark.parametrize("edges", EDGES)
def test_gradients_are_those_of_the_function(edges):
    depth, _, _ = plane(30, 60, 12, 14)
    camera = intrinsics_from_fov(55, 12, 14)
    bumpy = (depth.double() * (1 + 0.003 * torch.rand(depth.shape, generator=generator(), dtype=torch.float64))).requires_grad_()
    for depth in (bumpy, torch.full((1, 1, 12, 14), 2.0, requires_grad=True)):
        (gradient,) = torch.autograd.grad(depth_to_normals(depth, camera, edges=edges)[0, 0].sum(), depth)
        assert torch.isfinite(gradient).all() and (depth is not bumpy or float(gradient.abs().max()) > 0)


def scene_with_ratio(ratio):
    """Disparity 0..1000 of a plane whose far and near ends (percentiles 2 and 98) differ by `ratio`; and its normal for 55 degrees."""
    low, high = 0.0, 89.0
    for _ in range(60):
        depth, visible, normal = plane((low + high) / 2, 270)
        ends = torch.quantile(1 / depth[visible], torch.tensor([0.02, 0.98]))
        found = float(ends[1] / ends[0]) if bool(visible.all()) else math.inf
        low, high = ((low + high) / 2, high) if found < ratio else (low, (low + high) / 2)
    depth, visible, normal = plane(low, 270)
    assert bool(visible.all())
    return (1 / depth - 0.01) * 1000, normal


def test_disparity_gives_true_normals_when_camera_and_ratio_are_as_assumed():
    disparity, normal = scene_with_ratio(2.0)
    assert float(angles(disparity_to_normals(disparity, near_far_ratio=2.0), normal).max()) < 0.5
    assert float(angles(disparity_to_normals(disparity * -0.1 + 5, near_far_ratio=2.0), normal).mean()) > 20
    disparity, normal = scene_with_ratio(3.0)
    assert float(angles(disparity_to_normals(disparity), normal).max()) < 0.5
    assert torch.equal(disparity_to_normals(disparity), disparity_to_normals(disparity, fov=55, near_far_ratio=3))
    scaled = disparity_to_normals(disparity * 0.03 + 7)
    assert float(angles(scaled, disparity_to_normals(disparity)).max()) < 0.05, "neither scale nor shift matters"


test_what_does_not_fit_is_refused = refuses(
    lambda call: call(torch.ones(1, 1, HEIGHT, WIDTH)),
    (lambda d: depth_to_normals(d[0], K), r"\(1, 120, 160\)"),
    (lambda d: depth_to_normals(d, K.expand(2, 3, 3)), r"\(2, 3, 3\)"),
    (lambda d: depth_to_normals(d, K, torch.ones_like(d)), "torch.bool"),
    (lambda d: depth_to_normals(d, K, None, "crisp"), "crisp"),
    (lambda d: disparity_to_normals(d, fov=180), "180"),
    (lambda d: disparity_to_normals(d, near_far_ratio=1.0), "above 1"),
    (lambda d: midas_normals(d[0]), r"\(1, 120, 160\)"),
    (lambda d: dmap2norm(d.repeat(1, 2, 1, 1)), r"\(1, 2, 120, 160\)"),
)


@pytest.mark.parametrize(("height", "width"), [(37, 53), (2, 2), (1, 6), (6, 1), (1, 1), (2, 5)])
@pytest.mark.parametrize(("a", "bg_threshold"), [(math.tau, 0.1), (0.5, 0.0), (15.7, 0.6)])
def test_midas_normals_are_opencvs_sobel(height, width, a, bg_threshold):
    cv2 = pytest.importorskip("cv2")
    disparity = np.random.default_rng(0).random((height, width), dtype=np.float32) * 50
    gx, gy = cv2.Sobel(disparity, cv2.CV_32F, 1, 0, ksize=3), cv2.Sobel(disparity, cv2.CV_32F, 0, 1, ksize=3)
    span = disparity.max() - disparity.min()
    background = (disparity - disparity.min()) / (span if span else 1) < bg_threshold
    gx[background] = gy[background] = 0
    expected = np.stack([gx, gy, np.full_like(gx, a)])
    expected /= np.linalg.norm(expected, axis=0)
    found = midas_normals(torch.from_numpy(disparity)[None, None], a, bg_threshold)[0].numpy()
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_midas_normals_stay_finite_where_z_is_zero_and_the_image_flat():
    for disparity in (torch.zeros(1, 1, 4, 4), torch.full((1, 1, 4, 4), 7.0), torch.rand(1, 1, 4, 4, generator=generator())):
        assert_unit(midas_normals(disparity, 0.0, 0.5))
    assert midas_normals(torch.full((1, 1, 2, 2), 7.0), 0.0)[0, :, 0, 0].tolist() == [0, 0, 1]
    assert_unit(midas_normals(torch.tensor([float("nan"), float("inf"), 1.0, 2.0]).view(1, 1, 2, 2)))


@pytest.mark.parametrize(("height", "width"), [(30, 41), (3, 3), (1, 7), (2, 2)])
def test_dmap2norm_is_the_tutorials(height, width):
    cv2 = pytest.importorskip("cv2")
    depth = np.random.default_rng(1).random((height, width)) * 4
    normal = np.dstack((-cv2.Sobel(depth, cv2.CV_64F, 1, 0, ksize=5), -cv2.Sobel(depth, cv2.CV_64F, 0, 1, ksize=5), np.ones_like(depth)))
    stored = (normal / np.linalg.norm(normal, axis=2, keepdims=True) + 1) / 2
    found = encode_normal_map(dmap2norm(torch.from_numpy(depth)[None, None]), "controlnet-1.0-normal", Axes.SCANNET)[0]
    np.testing.assert_allclose(found.permute(1, 2, 0).numpy(), stored[:, :, ::-1], atol=2e-5)
