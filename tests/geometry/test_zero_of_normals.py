"""The zero of disparity that the normals beside it tell."""

import pytest
import torch

from depth_normal.geometry.assumptions import assumed_depth
from depth_normal.geometry.camera import pixel_rays
from depth_normal.geometry.conventions import convert_normals
from depth_normal.geometry.estimate import Axes, Estimate, Quantity
from depth_normal.geometry.surfaces.derive import with_normals
from depth_normal.geometry.zero_of_normals import cells_of, inverse_ratio

CAMERA = torch.tensor([[[90.0, 0, 63], [0, 120, 40], [0, 0, 1]]])


def floor_and_wall(height=96, width=128):
    """Inverse depth and normals, OPENCV axes, of a floor and of a wall on the left."""
    rays = pixel_rays(CAMERA, height, width)
    normals = torch.tensor([[0.0, -0.98, -0.2], [0.8, 0.0, -0.6]]).view(2, 3, 1, 1)
    normals = normals / normals.norm(dim=1, keepdim=True)
    inverse = -(normals * rays).sum(1) / torch.tensor([1.5, 2.0]).view(2, 1, 1)
    nearer = inverse.argmax(0)
    return inverse.amax(0).view(1, 1, height, width), normals[:, :, 0, 0][nearer].movedim(-1, 0)[None]


def ends(estimate):
    return [float(estimate.depth.flatten().quantile(share)) for share in (0.02, 0.98)]


def found(estimate):
    cells = cells_of(estimate, CAMERA)
    return inverse_ratio(cells["cells"][0].numpy(), cells["camera"][0].numpy(), *ends(estimate))


@pytest.mark.parametrize("axes", [Axes.OPENGL, Axes.SCANNET])
@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (700.0, -40.0)])
def test_normals_tell_the_zero_whatever_scale_and_shift(axes, scale, shift):
    inverse, normals = floor_and_wall()
    estimate = Estimate(inverse * scale + shift, Quantity.DISPARITY, normals=convert_normals(normals, Axes.OPENCV, axes), axes=axes)
    far, near = (float(inverse.flatten().quantile(share)) for share in (0.02, 0.98))
    ratio, weight = found(estimate)
    assert ratio == pytest.approx(far / near, abs=1e-3) and weight > 0.5


def test_half_of_the_zero_is_the_normals_and_half_the_usual_ratio():
    inverse, normals = floor_and_wall()
    estimate = Estimate(inverse + 5, Quantity.DISPARITY, normals=normals, axes=Axes.OPENCV, intrinsics=CAMERA)
    far, near = (float(inverse.flatten().quantile(share)) for share in (0.02, 0.98))
    depth = assumed_depth(estimate)
    found = float(depth.flatten().quantile(0.02) / depth.flatten().quantile(0.98))
    assert found == pytest.approx((far / near + 1 / 3) / 2, rel=0.03)
    assert torch.equal(assumed_depth(estimate, 4.0), assumed_depth(Estimate(inverse + 5, Quantity.DISPARITY), 4.0)), "what is given wins"


@pytest.mark.parametrize("ratio", [3.0, 10.0])
def test_normals_that_were_derived_from_a_depth_range_tell_that_range(ratio):
    inverse, _ = floor_and_wall()
    known = with_normals(Estimate(inverse, Quantity.DISPARITY, intrinsics=CAMERA), near_far_ratio=ratio)
    assert found(known)[0] == pytest.approx(1 / ratio, rel=0.05)


def test_surfaces_that_face_the_camera_tell_nothing():
    normals = torch.tensor([0.0, 0, 1]).view(1, 3, 1, 1).expand(1, 3, 48, 64)
    disparity = torch.linspace(1, 2, 48).view(1, 1, 48, 1).expand(1, 1, 48, 64)
    facing = Estimate(disparity, Quantity.DISPARITY, normals=normals)
    assert torch.allclose(assumed_depth(facing), assumed_depth(Estimate(disparity, Quantity.DISPARITY)))
    tiny = Estimate(disparity[..., :2, :2], Quantity.DISPARITY, normals=normals[..., :2, :2])
    assert torch.isfinite(assumed_depth(tiny)).all()


def test_pixels_without_a_value_have_no_opinion():
    inverse, normals = floor_and_wall()
    whole = Estimate(inverse, Quantity.DISPARITY, normals=normals, axes=Axes.OPENCV)
    holes = torch.ones_like(inverse, dtype=torch.bool)
    holes[..., 10:30, 20:70] = False
    broken = Estimate(inverse.where(holes, torch.nan), Quantity.DISPARITY, normals=normals * holes, axes=Axes.OPENCV)
    far_and_near = ends(whole)
    cells = cells_of(broken, CAMERA)
    assert inverse_ratio(cells["cells"][0].numpy(), cells["camera"][0].numpy(), *far_and_near)[0] == pytest.approx(
        found(whole)[0], abs=1e-3
    )
