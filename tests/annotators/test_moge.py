import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from depth_normal.annotators import moge
from depth_normal.annotators.networks import moge as moge_network
from depth_normal.annotators.networks.configs import MogeConfig, VitConfig
from depth_normal.annotators.networks.moge import MoGe, MogeOutput
from depth_normal.annotators.specs.base import ModelSpec, WeightFile
from depth_normal.geometry.camera import intrinsics_from_fov, pixel_rays
from depth_normal.geometry.estimate import Axes, Quantity
from tests import random_weights as RANDOM
from tests.balls import ball_before_wall
from tests.pretend import Says
from tests.random_weights import make_images

CONFIG = MogeConfig(VitConfig(16, 4, 2, (1, 3), grid=3), (16, 12, 8, 8, 8))


def spec(config=CONFIG):
    axes = Axes.OPENCV if config.normals else None
    file = WeightFile("moge_tiny.pt")
    return ModelSpec("moge-tiny", "moge", (file,), "MIT", Quantity.METRIC_DEPTH, axes, multiple_of=14, default_size=70, config=config)


def tiny_state(config=CONFIG):
    return RANDOM.state_of(MoGe(config))


def annotator(config=CONFIG, dtype=torch.float32):
    return moge.MogeAnnotator.build(spec(config), {"network": tiny_state(config)}, dtype)


@torch.no_grad()
def test_the_network_is_the_authors(is_the_authors):
    pixels = torch.randn(1, 3, 28, 42, generator=torch.Generator().manual_seed(1))
    is_the_authors("moge-2", **annotator().network(pixels, aspect=1.4)._asdict())


def outputs_by(network, pixels, monkeypatch, *, folded):
    with monkeypatch.context() as patch, FlopCounterMode(display=False) as counter:
        if not folded:
            patch.setattr(moge_network, "folds", lambda x: False)
        return network(pixels, 1.4), counter.get_total_flops()


@pytest.mark.quick_cases(1)
@torch.no_grad()
@pytest.mark.parametrize(
    ("config", "share"),
    [(CONFIG, 0.8), (replace(CONFIG, normals=False), 0.8), (replace(CONFIG, head_blocks=(0, 1, 1, 1, 1)), math.inf)],
    ids=["normals", "without normals", "finest level not linear"],
)
def test_on_a_cpu_the_same_outputs_take_fewer_operations(config, share, monkeypatch):
    network, pixels = annotator(config).network, torch.randn(2, 3, 42, 70, generator=torch.Generator().manual_seed(1))
    folded, operations = outputs_by(network, pixels, monkeypatch, folded=True)
    one_by_one, all_operations = outputs_by(network, pixels, monkeypatch, folded=False)
    assert operations < share * all_operations
    for got, expected in zip(folded, one_by_one, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


def test_the_layouts_of_file_give_the_same_network():
    state = tiny_state()
    extra = {
        "encoder.backbone.mask_token": torch.zeros(1, 16),
        "encoder.image_mean": torch.zeros(1, 3, 1, 1),
        "encoder.image_std": torch.ones(1, 3, 1, 1),
    }
    for layout in ({**state, **extra}, RANDOM.hub_names(state)):
        found = moge.MogeAnnotator.build(spec(), {"network": layout}, torch.float32).network.state_dict()
        assert found.keys() == state.keys() and all(torch.equal(found[key], state[key]) for key in state)


def ball(height=96, width=128, shift=0.7, scale=2.5):
    """A ball before a wall, as the network would say it; and the true depth in metres, normals and mask."""
    depth, normals, hit = ball_before_wall(height, width, 50.0)
    points = pixel_rays(intrinsics_from_fov(50.0, height, width), height, width) * depth / scale
    z = points[:, 2:] - shift / scale
    output = MogeOutput(torch.cat((points[:, :2] / z, z.log()), 1), torch.ones_like(z), torch.tensor([scale]), 3 * normals)
    return output, depth, normals, hit


def estimated(output, height, width, fov=0.0):
    known = moge.MogeAnnotator(spec(), Says(lambda pixels, aspect: output))
    return known.estimate(make_images(height, width), fov=fov)


@pytest.mark.parametrize("fov", [0.0, 50.0])
def test_metres_normals_and_camera_of_a_ball(fov):
    output, depth, normals, hit = ball()
    found = estimated(output, 96, 128, fov)
    assert found.quantity is Quantity.METRIC_DEPTH and found.axes is Axes.OPENCV and found.mask.all()
    torch.testing.assert_close(found.depth, depth, rtol=2e-3, atol=0)
    torch.testing.assert_close(found.intrinsics, intrinsics_from_fov(50.0, 96, 128), rtol=2e-3, atol=1e-2)
    torch.testing.assert_close(found.normals, normals, rtol=0, atol=1e-5)
    right_half = hit & (torch.arange(128) > 90)
    assert found.normals[:, :1][right_half].mean() > 0.5, "OPENCV: what leans right has x > 0"
    assert (found.normals[:, 2:] < 0).float().mean() > 0.99, "and what is seen faces the camera"


def test_the_maps_are_enlarged_before_they_become_metres():
    """As the authors do: the logarithm of z is enlarged, not z."""
    output, *_ = ball(24, 32)
    found = estimated(output, 96, 128)
    z = F.interpolate(output.points, size=(96, 128), mode="bilinear")[:, 2:].exp()
    ratio = found.depth / (z + 0.7 / 2.5)
    assert ratio.std() / ratio.mean() < 2e-3


def test_what_has_no_points_does_not_count():
    output, depth, _, _ = ball()
    mask = output.mask.clone()
    mask[..., :40] = -1
    found = estimated(output._replace(mask=mask), 96, 128)
    assert not found.mask[..., :39].any() and found.mask[..., 41:].all()
    torch.testing.assert_close(found.depth[..., 41:], depth[..., 41:], rtol=3e-3, atol=0)
    nothing = estimated(output._replace(mask=-torch.ones_like(mask)), 96, 128)
    assert not nothing.mask.any() and torch.isfinite(nothing.depth).all()
    torch.testing.assert_close(nothing.intrinsics, intrinsics_from_fov(moge.FALLBACK_FOV, 96, 128))


def test_a_scalar_input_is_the_images_aspect(monkeypatch):
    found, seen = annotator(), []
    run = found.run_network
    monkeypatch.setitem(vars(found), "run_network", lambda inputs, scalars: seen.append(scalars) or run(inputs, scalars))
    found.estimate(make_images(30, 40), fov=50.0)
    assert seen == [(40 / 30,)]
