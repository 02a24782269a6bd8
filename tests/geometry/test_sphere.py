import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from depth_normal.geometry.camera import pixel_rays
from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.geometry.kinds import Projection
from depth_normal.geometry.projections import need_perspective
from depth_normal.geometry.sphere import (
    cube_rotations,
    cut_view,
    in_view,
    panorama_directions,
    panorama_points,
    view_intrinsics,
    view_rotations,
    with_surroundings,
)
from tests.refusals import refusals


@pytest.mark.parametrize(
    ("row", "column", "expected"),
    [(32, 64, (0, 0, 1)), (32, 96, (1, 0, 0)), (32, 32, (-1, 0, 0)), (32, 0, (0, 0, -1)), (0, 5, (0, -1, 0)), (63, 5, (0, 1, 0))],
    ids=["middle ahead", "right", "left", "border behind", "zenith", "nadir"],
)
def test_the_middle_is_ahead_and_up_is_minus_y(row, column, expected):
    found = panorama_directions(64, 128)[0, :, row, column]
    assert math.degrees(math.acos(float(found @ torch.tensor(expected, dtype=torch.float32)))) < 360 / 128


def test_directions_have_unit_length():
    whole = panorama_directions(30, 60)
    assert torch.allclose(whole.norm(dim=1), torch.ones(1, 30, 60), atol=1e-6)
    assert torch.allclose(panorama_points(torch.full((1, 1, 30, 60), 2.0)), 2 * whole)


@pytest.mark.parametrize("rotations", [view_rotations(), cube_rotations()], ids=["icosahedron", "cube"])
def test_views_are_level_rotations(rotations):
    assert torch.allclose(rotations @ rotations.mT, torch.eye(3).expand_as(rotations), atol=1e-6)
    assert torch.allclose(torch.linalg.det(rotations), torch.ones(len(rotations)), atol=1e-6)
    steep = rotations[:, 2, 1].abs() > 0.999
    # the row of "right" has no height, and what is down in the world is down in the view
    assert rotations[~steep][:, 0, 1].abs().max() < 1e-6 and (rotations[~steep][:, 1, 1] > 0).all()


def test_the_views_see_every_direction_well_inside():
    directions = panorama_directions(90, 180)
    weights = torch.stack([in_view(directions, rotation)[1] for rotation in view_rotations()])
    assert weights.amax(0).min() > 0.15
    assert ((weights > 0).sum(0) >= 2).float().mean() > 0.7, "most directions are seen by two views, which are compared there"
    golden = (1 + 5**0.5) / 2
    corners = torch.tensor([0, 1, golden]) / (1 + golden**2) ** 0.5
    assert torch.allclose(view_rotations()[:, 2].abs().sort(1).values, corners.expand(12, 3), atol=1e-6), "an icosahedron's, as MoGe's"


def test_a_view_shows_what_is_along_its_rays():
    directions = panorama_directions(512, 1024)
    for rotation in (*view_rotations(), *cube_rotations()):
        seen = cut_view(directions, rotation, 64, 1.2)
        rays = F.normalize(pixel_rays(view_intrinsics(64, 1.2), 64, 64), dim=1)
        expected = torch.einsum("rc,brhw->bchw", rotation, rays)
        assert (F.normalize(seen, dim=1) - expected).abs().max() < 1e-3


def test_weights_fade_to_the_border_of_a_view():
    rotation = view_rotations()[3]
    right, _, ahead = rotation
    places, weight = in_view(torch.stack((ahead, ahead + right / 2, -ahead), -1).view(1, 3, 1, 3), rotation)
    assert places[0, 0, :2].flatten().tolist() == pytest.approx([0, 0, 0.5, 0], abs=1e-6)
    assert weight.flatten().tolist() == pytest.approx([1, 0.5, 0], abs=1e-6)


def test_beyond_the_borders_is_the_other_side():
    panorama = torch.arange(8.0).view(1, 1, 1, 8) + 10 * torch.arange(4.0).view(1, 1, 4, 1)
    around = with_surroundings(panorama, 2)[0, 0]
    assert around.shape == (8, 12)
    assert around[2:6, :2].tolist() == panorama[0, 0, :, -2:].tolist() and around[2:6, -2:].tolist() == panorama[0, 0, :, :2].tolist()
    assert around[1, 2:10].tolist() == panorama[0, 0, 0].roll(4).tolist(), "above the first row is the first row, half a turn away"
    assert around[7, 2:10].tolist() == panorama[0, 0, 2].roll(4).tolist()


def panorama(distance):
    return Estimate(distance, Quantity.METRIC_DEPTH, mask=distance < 5, projection=Projection.EQUIRECTANGULAR)


@pytest.mark.parametrize("size", [(64, 128), (24, 48), (50, 99), (16, 33)])
def test_a_panorama_is_resized_around_its_border(size):
    distance = 3 + panorama_directions(32, 64)[:, 2:] + (panorama_directions(32, 64)[:, :1] > 0.2)
    plain, rolled = panorama(distance).resized(*size), panorama(distance.roll(32, 3)).resized(*size)
    assert plain.projection is Projection.EQUIRECTANGULAR and (plain.height, plain.width) == size
    if size[1] % 2 == 0:
        assert torch.allclose(plain.depth.roll(size[1] // 2, 3), rolled.depth, atol=1e-5)
        assert torch.equal(plain.mask.roll(size[1] // 2, 3), rolled.mask)
    elif size[1] > 64:
        over, inside = (plain.depth[..., 0] - plain.depth[..., -1]).abs(), plain.depth.diff(dim=-1).abs()
        assert over.max() < 2 * inside.median() + 0.01


test_panoramas_have_no_pinhole_camera = refusals(
    (lambda: replace(panorama(torch.ones(1, 1, 4, 8)), intrinsics=torch.eye(3)[None]), "has intrinsics or extrinsics, which are a pinhole"),
    (
        lambda: need_perspective(panorama(torch.ones(1, 1, 4, 8)), "it"),
        r"^it needs images of a perspective camera.*Estimate a perspective i",
    ),
)
