import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from depth_normal.annotators.dsine import FALLBACK_FOV, DsineAnnotator, DsineOptions
from depth_normal.annotators.networks.configs import DsineConfig
from depth_normal.annotators.networks.dsine import DSINE, Pinhole, turn
from depth_normal.annotators.registry import find_spec
from depth_normal.annotators.specs.base import CheckpointError
from depth_normal.geometry.camera import fov_from_intrinsics, intrinsics_from_fov, pixel_rays
from depth_normal.geometry.conventions import convert_normals
from depth_normal.geometry.estimate import Axes
from tests.random_weights import smooth_images, state_of

CONFIG = DsineConfig(features=32, state=8)
SPEC = replace(find_spec("dsine"), config=CONFIG, default_size=64)
CAMERA = Pinhole(70.0, 66.0, 43.0, 35.0)
UNUSED = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def tiny_state():
    unused = {f"encoder.original_model.bn2.{name}": torch.zeros(2048 if name[0] != "n" else ()) for name in UNUSED}
    return state_of(DSINE(CONFIG), gain=1.3) | unused


@pytest.fixture(scope="module")
def state():
    return tiny_state()


@pytest.fixture(scope="module")
def annotator(state):
    return DsineAnnotator.build(SPEC, {"network": state}, torch.float32)


@pytest.mark.slow("takes a second")
@torch.no_grad()
@pytest.mark.parametrize("iterations", [1, 3])
def test_the_network_is_the_authors(annotator, iterations, is_the_authors):
    pixels = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    normals = annotator.network(pixels, CAMERA, iterations)
    is_the_authors(f"dsine, iterations: {iterations}", 2e-4, normals=normals)
    torch.testing.assert_close(normals.norm(dim=1), torch.ones(1, 64, 96))


def test_a_surface_seen_edge_on_stays():
    edge_on = torch.tensor([[1.0, 0.0, 0.0]])
    for radians in (1.0, 2.5):
        turned = turn(edge_on, torch.tensor([[0.0, 0.3, 1.0]]), torch.tensor([[0.0, 0.1]]), torch.tensor([[radians]]))
        torch.testing.assert_close(turned, edge_on)


@torch.no_grad()
@pytest.mark.parametrize(("height", "width"), [(64, 96), (96, 50)])
def test_every_normal_points_to_the_viewer(annotator, height, width):
    """The rays slant by up to 75 degrees: a wrong sign of any of the three axes would show."""
    found = annotator.estimate(smooth_images(height, width), fov=150.0)
    assert found.axes is Axes.SCANNET and found.depth is None
    normals = convert_normals(found.normals, found.axes, Axes.OPENCV)
    rays = pixel_rays(found.intrinsics, found.height, found.width)
    assert ((normals * rays).sum(1) < 0).float().mean() > 0.98
    for axes in (Axes.OPENGL, Axes.DIRECTX):
        mistaken = convert_normals(found.normals, axes, Axes.OPENCV)
        assert ((mistaken * rays).sum(1) < 0).float().mean() < 0.9


class Known(torch.nn.Module):
    """Gives back what it sees, black as it was black, and notes it."""

    def __init__(self):
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(1))

    def forward(self, pixels, camera, iterations):
        self.camera, self.iterations = camera, iterations
        mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        self.seen = pixels * std[:, None, None] + mean[:, None, None]
        return self.seen


@pytest.fixture
def known():
    return DsineAnnotator(SPEC, Known())


@pytest.mark.parametrize(("height", "width"), [(64, 96), (71, 100), (130, 64), (33, 65), (1, 1), (64, 640)])
def test_the_image_lies_in_the_middle_of_black_and_comes_back_whole(known, height, width):
    image = smooth_images(height, width)
    found = known.estimate(image, min(height, width))
    torch.testing.assert_close(found.normals, image)
    seen = known.network.seen
    rows, columns = seen.shape[-2] - height, seen.shape[-1] - width
    assert not any(side % 32 for side in seen.shape[-2:]) and 0 <= rows < 32 and 0 <= columns < 32
    left, top = columns // 2, rows // 2
    torch.testing.assert_close(seen, F.pad(image, (left, columns - left, top, rows - top)), rtol=0, atol=1e-6)
    camera = known.network.camera
    assert (camera.cx, camera.cy) == pytest.approx(((width - 1) / 2 + left, (height - 1) / 2 + top))


@pytest.mark.parametrize(("height", "width"), [(96, 160), (160, 96), (100, 100)])
@pytest.mark.parametrize("size", [48, 96, 192])
@pytest.mark.parametrize("fov", [1.0, 60.0, 175.0])
def test_the_field_of_view_is_of_the_longer_side_at_any_size(known, height, width, size, fov):
    found = known.estimate(smooth_images(height, width), size, fov=fov)
    camera, focal_length = known.network.camera, max(found.height, found.width) / 2 / math.tan(math.radians(fov / 2))
    assert (camera.fx, camera.fy) == pytest.approx((focal_length, focal_length), rel=1e-5)
    assert fov_from_intrinsics(found.intrinsics, found.height, found.width).item() == pytest.approx(fov, rel=1e-4)


def test_pixels_that_are_not_quite_square_have_two_focal_lengths(known):
    known.estimate(smooth_images(100, 333), 64, fov=60.0)
    focal_length = 333 / 2 / math.tan(math.radians(30))
    assert (known.network.camera.fx, known.network.camera.fy) == pytest.approx((focal_length * 213 / 333, focal_length * 64 / 100))


def test_a_camera_that_is_not_known_is_taken_as_the_authors_take_it(known):
    assert known.estimate(smooth_images(64, 96)).intrinsics is None, "it is a guess"
    guessed = known.network.camera
    given = known.estimate(smooth_images(64, 96), fov=FALLBACK_FOV)
    assert guessed == known.network.camera
    torch.testing.assert_close(given.intrinsics, intrinsics_from_fov(60, 64, 96))
    known.infer_resized(smooth_images(64, 96))
    assert guessed == known.network.camera and known.network.iterations == 5
    assert known.estimate(smooth_images(64, 96)).normals.shape == (1, 3, 64, 96) and guessed == known.network.camera
    assert not SPEC.knows_camera


@pytest.mark.parametrize(
    ("image", "size", "camera", "right", "below"),
    [
        ((1080, 1920), 512, (1662.769, 1662.769, 959.5, 543.5), 50, 0),
        ((96, 128), 96, (110.851, 110.851, 63.5, 63.5), 0, 32),
        ((150, 100), 64, (129.904, 129.904, 63.5, 95.5), 0, 32),
    ],
)
def test_the_old_nodes_camera(known, image, size, camera, right, below):
    """As its code computes it, by hand: the original's focal length and middle, moved by half of what the original lacks to 64."""
    found = known.estimate(smooth_images(*image), size, fov=60.0, options=DsineOptions(old_camera=True))
    assert tuple(known.network.camera) == pytest.approx(camera, rel=1e-5)
    black = known.network.seen
    assert black.shape[-2:] == (found.height + below, found.width + right), "black at the right and below"
    torch.testing.assert_close(black[..., : found.height, : found.width], found.normals)
    assert black[..., found.height :, :].abs().sum() + black[..., found.width :].abs().sum() < 1e-2


@torch.no_grad()
@pytest.mark.parametrize("fov", [0.01, 1.0, 175.0, 179.9])
def test_extreme_fields_of_view_are_finite(annotator, fov):
    normals = annotator.estimate(smooth_images(64, 70), fov=fov).normals
    torch.testing.assert_close(normals.norm(dim=1), torch.ones(1, 64, 70))


@torch.no_grad()
def test_each_iteration_is_a_pass(annotator, monkeypatch):
    passes = []
    gru = type(annotator.network.gru).forward
    monkeypatch.setattr(type(annotator.network.gru), "forward", lambda self, *given: passes.append(1) or gru(self, *given))
    found = {}
    for iterations in (1, 5, 20):
        passes.clear()
        found[iterations] = annotator.estimate(smooth_images(64, 64), options=DsineOptions(iterations)).normals
        assert len(passes) == iterations
    assert (found[1] - found[5]).abs().max() > 1e-3 and torch.isfinite(found[20]).all()
    torch.testing.assert_close(found[5], annotator.estimate(smooth_images(64, 64)).normals)


def test_a_vector_in_place_of_a_weight_that_is_standardised_is_refused(state):
    with pytest.raises(CheckpointError, match=r"not a checkpoint of dsine: 1 tensors of another shape"):
        DsineAnnotator.build(SPEC, {"network": state | {"decoder.up1._net.0.weight": torch.zeros(3)}}, torch.float32)
