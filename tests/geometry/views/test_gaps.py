"""What lies far behind a thing does not show inside of it, where the depth map has a step there."""

import pytest
import torch

from depth_normal.geometry.camera import intrinsics_from_focal_length
from depth_normal.geometry.views.forward_warp import render_layer, with_margin
from depth_normal.geometry.views.gaps import close_gaps
from depth_normal.geometry.views.parallax import parallax_frames
from tests.geometry.views.moved_cameras import moved_camera

HEIGHT, WIDTH = 80, 120
# Inverse depths of the sky, the tower, and a part of the tower that the map has too near.
SKY, TOWER, NEARER = 0.02, 1.0, 1.2


def tower(raised):
    """A red tower, columns 40 to 79 and rows 30 to 79, before a blue sky; the map has it nearer in some places (80, 120) bool."""
    image, inverse = torch.zeros(1, 3, HEIGHT, WIDTH), torch.full((1, 1, HEIGHT, WIDTH), SKY)
    image[:, 2] = 1.0
    image[..., 30:, 40:80] = torch.tensor((1.0, 0.0, 0.0)).view(3, 1, 1)
    inverse[..., 30:, 40:80] = torch.where(raised, NEARER, TOWER)[30:, 40:80]
    return image, inverse


def rim():
    """Up to 12 pixels from the tower's silhouette."""
    inside = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
    inside[42:, 52:68] = True
    return ~inside


@pytest.mark.parametrize("position", [(0.3, 0, 0), (-0.3, 0, 0), (0.2, 0.2, 0), (-0.2, 0.2, 0)], ids=str)
def test_no_sky_shows_inside_of_a_tower(position):
    """The rim moves by up to 6 pixels more than the tower, and the sky, far behind, by 30 less than both."""
    image, inverse = tower(rim())
    intrinsics = intrinsics_from_focal_length(100.0, HEIGHT, WIDTH)
    (frame,) = parallax_frames(image, 1 / inverse, intrinsics, torch.tensor([position]))
    columns, rows = (round(100 * axis * TOWER) for axis in position[:2])
    # The tower as its own depth moves it, without what the rim hides.
    inside = frame[0, :, 40 - rows : 70 - rows, 50 - columns : 70 - columns]
    assert (inside[2] < 0.1).all() and (inside[0] > 0.9).all()
    assert (frame[0, 2] > 0.9).float().mean() > 0.5


@pytest.mark.parametrize("pixels", [30.0, -30.0])
@pytest.mark.parametrize("sky_between", [True, False])
def test_between_two_towers_and_beside_a_silhouette_the_sky_stays(pixels, sky_between):
    """One pixel of sky between both is enough: the one beside it ends there."""
    raised = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
    raised[:, 61:] = sky_between
    image, inverse = tower(raised)
    if sky_between:
        inverse[..., 60] = SKY
    view, layer = moved_camera(pixels, stretch=1), with_margin(image, inverse, (70, 0))
    rendered = render_layer(layer, view, HEIGHT, WIDTH)
    assert close_gaps(layer, view, rendered, sideways=sky_between) is rendered
