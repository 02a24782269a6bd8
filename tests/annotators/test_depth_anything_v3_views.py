import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from depth_normal.annotators import depth_anything as da3
from depth_normal.annotators.base import MAX_NETWORK_PIXELS
from depth_normal.annotators.networks.depth_anything import Prediction
from depth_normal.annotators.registry import MODELS, find_spec, models_of_scenes
from depth_normal.geometry.camera import (
    camera_to_world_points,
    depth_to_points,
    fov_from_intrinsics,
    intrinsics_from_focal_length,
    pixel_rays,
)
from depth_normal.geometry.estimate import Quantity
from tests.pretend import Says

SMALL = find_spec("depth-anything-3-small")
HEIGHT, WIDTH = 42, 56


def rotation(axis, degrees):
    """A rotation about an axis, by the exponential of its cross product."""
    x, y, z = (math.radians(degrees) * F.normalize(torch.tensor(axis, dtype=torch.float64), dim=0)).tolist()
    return torch.linalg.matrix_exp(torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64))


def quaternion(axis, degrees, length=1.0):
    """The same rotation as x, y, z, w."""
    half = math.radians(degrees) / 2
    unit = F.normalize(torch.tensor(axis, dtype=torch.float64), dim=0)
    return length * torch.cat((unit * math.sin(half), torch.tensor([math.cos(half)])))


# where each camera stands, and how it is turned: axis and degrees, in the world's OPENCV axes
CAMERAS = (
    ((0.0, 0.0, 0.0), ((0.0, 1.0, 0.0), 0.0)),
    ((0.6, -0.1, 0.2), ((0.0, 1.0, 0.0), -12.0)),
    ((-0.4, 0.3, -0.5), ((0.3, -0.5, 1.0), 20.0)),
)
FOV = torch.tensor([[50.0, 64.0], [48.0, 62.0], [55.0, 70.0]])
NORMAL, DISTANCE = F.normalize(torch.tensor([0.2, -0.3, 1.0], dtype=torch.float64), dim=0), 4.0


def plane_depth(height, width):
    """What the cameras see of the plane NORMAL . p = DISTANCE, by rays in the world."""
    maps = []
    for (place, turn), (vertical, horizontal) in zip(CAMERAS, torch.deg2rad(FOV), strict=True):
        focal = width / 2 / torch.tan(horizontal / 2), height / 2 / torch.tan(vertical / 2)
        rays = pixel_rays(intrinsics_from_focal_length(focal[0], height, width, focal_length_y=focal[1]), height, width)[0].double()
        in_world = torch.einsum("ij,jhw->ihw", rotation(*turn), rays)
        maps.append((DISTANCE - NORMAL @ torch.tensor(place, dtype=torch.float64)) / torch.einsum("i,ihw->hw", NORMAL, in_world))
    return torch.stack(maps)[:, None].float()


def sees_the_plane(x, one_scene=False):
    assert one_scene
    poses = [torch.cat((torch.tensor(place), quaternion(*turn, length=3.0).float())) for place, turn in CAMERAS]
    depth = plane_depth(*x.shape[-2:])
    return Prediction(depth, None, depth + 1, torch.deg2rad(FOV), torch.stack(poses))


def estimated(network=sees_the_plane, **options):
    return da3.DepthAnything3Annotator(SMALL, Says(network)).estimate_scene(torch.rand(3, 3, HEIGHT, WIDTH), 56, **options)


@pytest.fixture(scope="module")
def seen():
    return estimated()


def test_poses_are_those_of_the_cameras(seen):
    for index, (place, turn) in enumerate(CAMERAS):
        to_camera = rotation(*turn).T
        expected = torch.cat((to_camera, -to_camera @ torch.tensor(place, dtype=torch.float64)[:, None]), 1)
        torch.testing.assert_close(seen.extrinsics[index], expected.float(), rtol=0, atol=1e-6)


def test_points_of_all_views_lie_on_the_plane_in_the_world(seen):
    assert seen.quantity is Quantity.SCALE_INVARIANT_DEPTH, "no shift: points can be made of it as it is"
    world = camera_to_world_points(depth_to_points(seen.depth, seen.intrinsics), seen.extrinsics)
    torch.testing.assert_close(torch.einsum("i,bihw->bhw", NORMAL.float(), world), torch.full((3, HEIGHT, WIDTH), DISTANCE))


def test_a_known_field_of_view_is_every_cameras(seen):
    known = estimated(fov=40.0)
    torch.testing.assert_close(fov_from_intrinsics(known.intrinsics, HEIGHT, WIDTH), torch.full((3,), 40.0))
    assert torch.equal(known.extrinsics, seen.extrinsics) and torch.equal(known.depth, seen.depth)


def test_poses_that_are_not_finite_are_an_error():
    def lost(x, one_scene=False):
        prediction = sees_the_plane(x, one_scene)
        return prediction._replace(pose=prediction.pose * math.inf)

    with pytest.raises(ArithmeticError, match="gave extrinsics that is not finite"):
        estimated(lost)


def test_which_models_see_scenes():
    assert models_of_scenes() == ["depth-anything-3-small", "depth-anything-3-base", "depth-anything-3-large"]
    mono = da3.DepthAnything3Annotator(MODELS["depth-anything-3-mono-large"], nn.Identity())
    with pytest.raises(ValueError, match="mono-large processes each image by itself"):
        mono.estimate_scene(torch.rand(2, 3, HEIGHT, WIDTH))


def test_more_views_than_any_machine_holds_are_refused():
    annotator = da3.DepthAnything3Annotator(SMALL, nn.Identity())
    fit = MAX_NETWORK_PIXELS // (378 * 504)
    annotator.check_scene(fit, 480, 640, None)
    with pytest.raises(ValueError, match=rf"{fit + 1} views .* at 504x378 each, are more than 64 megapixels: give at most {fit} views"):
        annotator.check_scene(fit + 1, 480, 640, None)
