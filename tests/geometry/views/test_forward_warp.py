"""What a moved camera sees, against pixels moved one by one, and against surfaces whose place is known."""

import math

import pytest
import torch

from depth_normal.geometry.views.forward_warp import _splat, landing, pixel_grid, render_layer, with_margin
from tests.geometry.views.moved_cameras import moved_camera

HEIGHT, WIDTH, MARGIN = 20, 30, (4, 3)
MIDDLE = (WIDTH - 1) / 2, (HEIGHT - 1) / 2


def scene():
    """Two layers' worth of blocks at random depths, seen by a camera that moves aside and forward."""
    generator = torch.Generator().manual_seed(0)
    blocks = torch.rand(2, 1, 5, 6, generator=generator)
    inverse = 0.1 + 0.8 * torch.nn.functional.interpolate(blocks, (HEIGHT, WIDTH), mode="nearest")
    inverse += 0.02 * torch.rand(inverse.shape, generator=generator)
    view = moved_camera(9.0, 2.0, 1.0, 0.3, MIDDLE, sideways=False, batch=2)
    return with_margin(inverse.expand(-1, 3, -1, -1), inverse, MARGIN), view


def moved_one_by_one(layer, view):
    target = torch.zeros(layer.inverse.shape[0], 1, HEIGHT, WIDTH)
    for b, _, row, column in torch.cartesian_prod(*map(torch.arange, layer.inverse.shape)).tolist():
        inverse = layer.inverse[b, 0, row, column]
        x, y = column - MARGIN[0] - 9 * inverse, row - MARGIN[1] - 2 * inverse
        closer = 1 / (1 - 0.3 * inverse)
        x = (x - MIDDLE[0]) * closer + MIDDLE[0] + 1
        y = (y - MIDDLE[1]) * closer + MIDDLE[1]
        i, j = math.floor(float(y) + 0.5), math.floor(float(x) + 0.5)
        if 0 <= i < HEIGHT and 0 <= j < WIDTH:
            target[b, 0, i, j] = torch.maximum(target[b, 0, i, j], inverse)
    return target


def test_each_pixel_shows_the_nearest_that_lands_on_it():
    layer, view = scene()
    found = _splat(layer, view, HEIGHT, WIDTH)
    assert (found > 0).float().mean() > 0.5
    assert torch.equal(found, moved_one_by_one(layer, view))


def test_pixels_that_land_outside_do_not_queue_for_one_place():
    """On a GPU those that write to one place go one after the other."""
    layer, view = scene()
    index, _ = landing(*view.targets(layer.inverse, *pixel_grid(layer.inverse, layer.margin)), HEIGHT, WIDTH)
    assert index[0].flatten().bincount().max() < index[0].numel() / 10


@pytest.mark.parametrize("growth", [1.3, 2.2, 3.5])
def test_a_stretched_surface_has_no_cracks_and_nothing_shines_through(growth):
    """A camera that comes so near that things grow, a near wall before a far one: only the near one is seen, each place with its colour."""
    near, far = 1.0, 0.2
    inverse = torch.full((1, 1, HEIGHT, WIDTH), far)
    inverse[..., 4:-4] = near
    image = torch.arange(WIDTH).expand(1, 3, HEIGHT, WIDTH) / WIDTH
    view = moved_camera(forward=1 - 1 / growth, middle=MIDDLE, sideways=False)
    seen = render_layer(with_margin(image, inverse, (0, 0)), view, HEIGHT, WIDTH)
    columns = torch.arange(WIDTH)
    inside = (columns - MIDDLE[0]).abs() < (WIDTH / 2 - 4.5) * growth
    assert (seen.inverse[..., inside] == near).all()
    expected = (MIDDLE[0] + (columns - MIDDLE[0]) / growth) / WIDTH
    assert (seen.colour[0, 0] - expected)[:, inside].abs().max() < 1e-5


def test_a_gap_between_near_things_stays_open():
    """Two plates one pixel apart: what lies behind goes on being seen between them."""
    inverse = torch.full((1, 1, HEIGHT, WIDTH), 0.2)
    inverse[..., 8:15] = inverse[..., 16:24] = 1.0
    for pixels in (3.0, 3.4, -2.6):
        view = moved_camera(pixels, shift_x=pixels * 0.2)
        seen = render_layer(with_margin(inverse.expand(-1, 3, -1, -1), inverse, (4, 0)), view, HEIGHT, WIDTH)
        gap = math.floor(15 - pixels * 0.8 + 0.5)
        assert (seen.inverse[..., gap - 7 : gap] == 1).all() and (seen.inverse[..., gap] < 0.5).all()
        assert (seen.inverse[..., gap + 1 : gap + 8] == 1).all()


def test_a_move_by_half_a_pixel_leaves_no_holes():
    inverse = torch.ones(1, 1, HEIGHT, WIDTH)
    view = moved_camera(2.5, stretch=0)
    assert (_splat(with_margin(inverse.expand(-1, 3, -1, -1), inverse, (3, 0)), view, HEIGHT, WIDTH) > 0).all()


@pytest.mark.parametrize("gap", [1, 2, 3, 4])
@pytest.mark.parametrize("near_side", [1, -1])
def test_a_small_step_that_opens_is_stretched_in_order(gap, near_side):
    """Beside a step of depth that is taken for noise, colours that grow along the rows go on growing in the view."""
    columns = torch.arange(40.0)
    inverse = torch.where((columns - 19.5) * near_side > 0, 0.5, 0.45).expand(1, 1, 12, 40).contiguous()
    image = (columns / 40).expand(1, 3, 12, 40)
    across = -near_side * gap / 0.05
    view = moved_camera(across, shift_x=across * 0.45)
    rendered = render_layer(with_margin(image, inverse, (0, 0)), view, 12, 40)
    inside = slice(gap + 1, 39 - gap)
    assert (rendered.inverse[..., inside] > 0).all()
    assert (rendered.colour[..., inside].diff() > -1e-6).all()
