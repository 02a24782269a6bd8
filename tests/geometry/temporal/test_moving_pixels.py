"""What moves slowly by itself is found, whatever the camera does, and temporal smoothing leaves no patches on it."""

import pytest
import torch
import torch.nn.functional as F

from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.geometry.temporal.moving_pixels import MovingPixels, optical_flow, warped
from depth_normal.geometry.temporal.stabilization import VideoAligner
from depth_normal.options.video import VideoOptions

HEIGHT, WIDTH = 120, 160


def texture(seed, strength=0.5):
    """(1, 3, 120, 320) of soft patches of all sizes."""
    random = torch.Generator().manual_seed(seed)
    layers = [
        F.interpolate(torch.rand(1, 3, 15 * n, 40 * n, generator=random) - 0.5, size=(HEIGHT, 2 * WIDTH), mode="bicubic") / n
        for n in (1, 2, 4)
    ]
    return 0.5 + strength * torch.stack(layers).sum(0)


def shifted(image, pixels):
    theta = torch.eye(2, 3)[None]
    theta[0, 0, 2] = -2 * pixels / image.shape[-1]
    return F.grid_sample(
        image, F.affine_grid(theta, list(image.shape), align_corners=False), align_corners=False, padding_mode="reflection"
    )


def film(frames, speed, pan=0.0, grain=1.5 / 255):
    """A soft block of faint texture, 60x70, that moves before a room, and where it is; (T, 3, H, W) and (T, 1, H, W)."""
    room, person, random = texture(0), texture(1, 0.2), torch.Generator().manual_seed(2)
    where = torch.zeros(1, 1, HEIGHT, 2 * WIDTH)
    where[..., 30:100, 40:100] = 1
    images, places = [], []
    for t in range(frames):
        place = shifted(where, speed * t)
        images.append(torch.lerp(shifted(room, pan * t), shifted(person, speed * t), place)[..., :WIDTH])
        places.append(place[..., :WIDTH] > 0.5)
    images = torch.cat(images)
    return (images + grain * torch.randn(images.shape, generator=random)).clamp(0, 1), torch.cat(places)


def split(places):
    """The inner part of the block, and what is far from it."""
    return -F.max_pool2d(-places.float(), 9, 1, 4) > 0.5, F.max_pool2d(places.float(), 31, 1, 15) < 0.5


def moving(images, cuts=None):
    found = MovingPixels()
    return torch.cat([found.push(images[t : t + 1], None if cuts is None else torch.tensor(t in cuts)) for t in range(len(images))])


@pytest.mark.parametrize("moved", [1.3, 6.5])
def test_flow_is_exact_to_a_twentieth_of_a_pixel(moved):
    before, after = (shifted(texture(0), pixels)[:, :1, :, 20:180] for pixels in (0, moved))
    flow = optical_flow(before, after)[..., 10:-10, 10:-10]
    assert (flow - torch.tensor([-moved, 0]).view(1, 2, 1, 1)).abs().mean() < 0.03
    assert (warped(before, optical_flow(before, after)) - after)[..., 10:-10, 10:-10].abs().mean() < 0.005


def test_flow_is_exact_along_a_texture_that_leans():
    """Where slopes across and down go together, a movement down alone shows in both."""
    down, across = torch.meshgrid(torch.arange(120.0), torch.arange(160.0), indexing="ij")
    before, after = ((torch.sin(0.5 * (across + y)) + torch.sin(0.2 * (across - y)))[None, None] / 4 + 0.5 for y in (down, down - 0.6))
    flow = optical_flow(before, after)[..., 10:-10, 10:-10]
    assert (flow - torch.tensor([0, -0.6]).view(1, 2, 1, 1)).abs().mean() < 0.03


@pytest.mark.parametrize("speed", [0.12, 0.3])
@pytest.mark.parametrize("pan", [0.0, 0.5])
@pytest.mark.slow("takes most of a second")
def test_a_slow_movement_is_found(speed, pan):
    images, places = film(16, speed, pan)
    found, (inner, far) = moving(images)[8:], split(places[8:])
    assert found[inner].mean() > 0.9 and found[far].mean() < 0.03


def test_nothing_moves_in_grain():
    assert moving(film(10, 0)[0]).mean() < 0.01


def test_a_camera_past_things_near_and_far_is_no_movement_of_things():
    """Rows move by three amounts, as the floor does beside a car: smoothing goes on."""
    lanes = (torch.arange(HEIGHT) // 15 % 3).view(1, 1, -1, 1)
    images = [torch.stack([shifted(texture(0), 0.3 * t * (1 + lane)) * (lanes == lane) for lane in range(3)]).sum(0) for t in range(9)]
    images = torch.cat(images)[..., :WIDTH]
    assert moving(images)[7:].mean() < 0.35


@pytest.mark.slow("takes a second")
def test_a_cut_is_no_movement():
    images = torch.cat((film(8, 0.3)[0], texture(7)[..., :WIDTH].clamp(0, 1).repeat(6, 1, 1, 1)))
    assert moving(images, cuts={8})[8:].max() < 0.01
    assert moving(images)[8:].max() > 0.5, "without the cut it would be one"


def walk(frames=24, speed=0.2):
    """Images, disparity in levels of 255 and places: the block comes nearer by 1.5 levels a frame, the room trembles by a level."""
    images, places = film(frames, speed)
    random = torch.Generator().manual_seed(3)
    tremble = torch.randn(frames, 1, HEIGHT, WIDTH, generator=random)
    ramp = torch.linspace(20, 100, WIDTH).expand(HEIGHT, WIDTH)
    depth = torch.where(places, 150 + 1.5 * torch.arange(frames).view(-1, 1, 1, 1), ramp)
    return images, depth + tremble, places


@pytest.mark.slow("takes most of a second")
def test_smoothing_leaves_no_patches_on_what_moves_slowly():
    images, depth, places = walk()
    found = VideoAligner(VideoOptions("none", smooth=1)).push(images, Estimate(depth, Quantity.DISPARITY)).depth
    inner, far = split(places)
    patches = F.avg_pool2d(found - depth, 9, 1, 4)[8:][inner[8:]].abs()
    assert patches.max() < 4, "a mean over 16 frames lags by up to 12"
    still = far[1:] & far[:-1]
    assert found.diff(dim=0).abs()[still].mean() < 0.15 * depth.diff(dim=0).abs()[still].mean()


@pytest.mark.slow("takes a second")
def test_a_stop_changes_nothing():
    images, depth, _ = walk(10)
    first, estimate = stopped(images, depth)
    second = VideoAligner()
    second.load_state_dict(first.state_dict())
    whole = VideoAligner().push(images, estimate).depth
    assert torch.equal(whole[8:], second.push(images[8:], estimate.slice(8, 10)).depth)


def stopped(images, depth):
    """An aligner that has seen eight frames, and the estimates of all."""
    aligner, estimate = VideoAligner(), Estimate(depth, Quantity.DISPARITY)
    aligner.push(images[:8], estimate.slice(0, 8))
    return aligner, estimate


def test_after_a_stop_flow_is_computed_for_the_same_frames():
    images, _ = film(6, 0.3)
    first, second = MovingPixels(), MovingPixels()
    for image in images[:5]:
        first.push(image[None])
    second.load_state_dict(first.state_dict())
    found = first.push(images[5:])
    assert found.amax() > 0.1 and torch.equal(second.push(images[5:]), found)
