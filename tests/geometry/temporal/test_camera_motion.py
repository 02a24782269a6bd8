"""The movement of a camera: known movements are found, what moves by itself does not pull, and nothing moves a still image."""

import math

import pytest
import torch
import torch.nn.functional as F

from depth_normal.geometry.temporal.camera_motion import camera_motion, moved

HEIGHT, WIDTH = 90, 120


def make_image(seed=0, colours=3):
    random = torch.Generator().manual_seed(seed)
    coarse = (F.interpolate(torch.rand(1, colours, n, n, generator=random), size=(HEIGHT, WIDTH), mode="bicubic") for n in (4, 12, 30))
    return (sum(coarse) / 3).clamp(0, 1)


def theta(zoom=1.0, degrees=0.0, right=0.0, down=0.0):
    """A movement in pixels, as `F.affine_grid` takes it."""
    cos, sin = zoom * math.cos(math.radians(degrees)), zoom * math.sin(math.radians(degrees))
    rows = [[cos, -sin * HEIGHT / WIDTH, right * 2 / WIDTH], [sin * WIDTH / HEIGHT, cos, down * 2 / HEIGHT]]
    return torch.tensor([rows])


def error(found, true):
    """Pixels, at most."""
    grids = [F.affine_grid(each, [1, 1, HEIGHT, WIDTH], align_corners=False) for each in (found, true)]
    return ((grids[0] - grids[1]) * torch.tensor([WIDTH / 2, HEIGHT / 2])).norm(dim=-1).max().item()


@pytest.mark.parametrize(
    "movement", [{"right": 6}, {"down": -4.5}, {"zoom": 0.95}, {"degrees": 3}, {"zoom": 1.04, "degrees": -2, "right": -3, "down": 2}]
)
def test_a_known_movement_is_found(movement):
    before, true = make_image(), theta(**movement)
    assert error(camera_motion(before, moved(before, true)), true) < 0.3


@pytest.mark.parametrize("movement", [{"right": 6}, {"zoom": 1.04, "degrees": -2, "right": -3, "down": 2}])
def test_from_a_motion_near_to_it_it_is_found(movement):
    before, true = make_image(), theta(**movement)
    near = true + theta(right=0.7, down=-0.4) - theta()
    assert error(near, true) > 0.5 > 0.2 > error(camera_motion(before, moved(before, true), near), true)


def test_what_moves_by_itself_does_not_pull():
    before, true = make_image(), theta(right=3)
    after = moved(before, true)
    after[..., 20:60, 20:60] = make_image(9)[..., 20:60, 20:60]
    assert error(camera_motion(before, after), true) < 0.3


STILL = {
    "noise": make_image() + 0.02 * torch.randn(1, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1)),
    "brightness": make_image() * 0.8,
    "black": torch.zeros(1, 3, HEIGHT, WIDTH),
}


@pytest.mark.parametrize("after", STILL.values(), ids=STILL)
def test_without_movement_nothing_is_moved(after):
    assert torch.equal(camera_motion(make_image(), after), theta())


@pytest.mark.parametrize("right", [1, 3])
def test_a_movement_in_fog_is_found_through_grain(right):
    random = torch.Generator().manual_seed(0)
    true, fog = theta(right=right), 0.5 + 0.1 * (make_image() - 0.5)
    before, after = (each + 0.004 * torch.randn(each.shape, generator=random) for each in (fog, moved(fog, true)))
    assert error(camera_motion(before, after), true) < 0.5


@pytest.mark.parametrize("grain", [0.004, 0.02])
def test_grain_before_a_plain_wall_is_no_movement(grain):
    random = torch.Generator().manual_seed(0)
    before, after = (0.3 + grain * torch.randn(2, 1, 3, 96, 128, generator=random)).unbind()
    assert torch.equal(camera_motion(before, after), theta())


def test_nothing_comes_from_outside():
    gone = moved(torch.ones(1, 1, HEIGHT, WIDTH), theta(right=12), "zeros")
    assert gone[..., :-14].eq(1).all() and gone[..., -10:].eq(0).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (7, 300)])
def test_any_size_is_answered(size):
    assert camera_motion(torch.rand(1, 3, *size), torch.rand(1, 3, *size)).isfinite().all()
