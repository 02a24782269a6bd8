"""The camera of a point map, where it is known what camera it is."""

import math

import pytest
import torch

from depth_normal.geometry.camera import depth_to_points, find_focal_and_shift, intrinsics_from_fov


def plane_of(height, width):
    """u and v in units of half the diagonal: pixels' centres, the middle of the image at 0."""
    diagonal = math.hypot(height, width)
    u = (2 * torch.arange(width) + 1 - width) / diagonal
    v = (2 * torch.arange(height) + 1 - height) / diagonal
    return torch.stack(torch.meshgrid(u, v, indexing="xy"))[None]


def points_of(fov, shift, height=90, width=120, noise=0.0):
    """Points of hills 2 to 5 m away, moved by `-shift`, and the focal length that sees them."""
    generator = torch.Generator().manual_seed(3)
    hills = torch.nn.functional.interpolate(torch.rand(1, 1, 6, 6, generator=generator), (height, width), mode="bicubic")
    depth = 3 + 2 * hills
    depth = depth * (1 + noise * torch.randn(depth.shape, generator=generator))
    intrinsics = intrinsics_from_fov(fov, height, width)
    points = depth_to_points(depth, intrinsics)
    points[:, 2] -= shift
    return points, intrinsics[0, 0, 0].item() / (math.hypot(height, width) / 2)


@pytest.mark.parametrize("knows_camera", [False, True])
@pytest.mark.parametrize("fov", [25, 55, 90, 120])
@pytest.mark.parametrize("shift", [-4.0, 0.0, 1.5])
def test_camera_and_shift_are_found(fov, shift, knows_camera):
    points, expected = points_of(fov, shift)
    focal, found = find_focal_and_shift(points, plane_of(90, 120), focal_length=torch.tensor([expected]) if knows_camera else None)
    assert focal.item() == pytest.approx(expected, rel=1e-4)
    assert found.item() == pytest.approx(shift, abs=5e-4)


def test_each_image_of_a_batch_has_its_own():
    (first, wide), (second, narrow) = points_of(80, 1.0), points_of(30, -1.0)
    focal, shift = find_focal_and_shift(torch.cat((first, second)), plane_of(90, 120))
    torch.testing.assert_close(focal, torch.tensor([wide, narrow]), rtol=1e-4, atol=0)
    torch.testing.assert_close(shift, torch.tensor([1.0, -1.0]), rtol=0, atol=1e-3)


@pytest.mark.parametrize(("noise", "near", "at"), [(0.0, 1e-4, 5e-4), (0.02, 0.02, 0.1)])
def test_noise_moves_the_answer_little_and_what_is_masked_out_may_be_anything(noise, near, at):
    points, expected = points_of(55, 1.0, noise=noise)
    mask = torch.rand(1, 1, 90, 120, generator=torch.Generator().manual_seed(0)) > 0.3
    points = torch.where(mask, points, torch.tensor([torch.inf, torch.nan, -1.0]).view(1, 3, 1, 1))
    focal, shift = find_focal_and_shift(points, plane_of(90, 120), mask)
    assert focal.item() == pytest.approx(expected, rel=near) and shift.item() == pytest.approx(1.0, abs=at)


def test_without_points_nothing_is_claimed():
    points, _ = points_of(55, 1.0)
    focal, shift = find_focal_and_shift(points, plane_of(90, 120), torch.zeros(1, 1, 90, 120, dtype=torch.bool))
    assert focal.isnan().all() and shift.item() == 0


def test_points_of_no_camera_stay_finite():
    points = torch.rand(1, 3, 40, 40, generator=torch.Generator().manual_seed(1)) * torch.tensor([1.0, 1.0, 3.0]).view(1, 3, 1, 1) + 0.1
    focal, shift = find_focal_and_shift(points, plane_of(40, 40))
    assert torch.isfinite(shift).all() and (focal.isnan() | (focal < 1e6)).all()


def test_mirrored_points_have_no_camera():
    points, _ = points_of(55, 0.0)
    points[:, :2] *= -1
    assert find_focal_and_shift(points, plane_of(90, 120))[0].isnan().all()


def test_other_sizes_are_refused():
    points, _ = points_of(55, 0.0)
    with pytest.raises(ValueError, match="plane has shape"):
        find_focal_and_shift(points, plane_of(90, 121))
