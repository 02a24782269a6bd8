import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from depth_normal.annotators import depth_anything as da3
from depth_normal.annotators.networks.depth_anything import DepthAnything3, Prediction
from depth_normal.annotators.networks.dpt import DptConfig
from depth_normal.annotators.networks.vit import VitConfig
from depth_normal.annotators.registry import find_spec
from depth_normal.annotators.specs.base import IMAGENET_MEAN, IMAGENET_STD, ModelSpec, WeightFile
from depth_normal.annotators.specs.depth_anything import DepthAnythingConfig
from depth_normal.geometry.camera import DEFAULT_FOV
from depth_normal.geometry.estimate import Quantity
from tests import random_weights as RANDOM
from tests.pretend import Says
from tests.random_weights import make_images

SMALL = DepthAnythingConfig(
    VitConfig(16, 6, 2, (2, 3, 4, 5), alternating_from=2, norm_eps=1e-5, grid=3), DptConfig((8, 12, 16, 20), 8, outputs=2, positions=True)
)
LARGE = DepthAnythingConfig(VitConfig(16, 4, 2, (0, 1, 2, 3), norm_eps=1e-5, grid=3), DptConfig((8, 12, 16, 20), 8, sky=True))
CONFIGS = {"small": SMALL, "large": LARGE}


def spec(config, quantity=Quantity.RELATIVE_DEPTH):
    file = WeightFile("depth_anything_3_tiny.safetensors")
    return ModelSpec("tiny", "depth-anything-3", (file,), "MIT", quantity=quantity, multiple_of=14, default_size=42, config=config)


def tiny_network(config):
    return RANDOM.randomise(DepthAnything3(config.vit, config.dpt))


def official_state(network):
    """As the authors write it: everything below `model.`, with the parts for given cameras and rays."""
    state = {}
    for key, value in network.state_dict().items():
        place = key if key.startswith("cam_dec.") else key.replace("depth_head.", "head.").replace("pretrained.", "backbone.pretrained.")
        state[f"model.{place}"] = value
    if network.cam_dec is not None:
        for unused in ("cam_enc.pose_branch.fc1.weight", "head.scratch.output_conv1_aux.0.0.bias"):
            state[f"model.{unused}"] = torch.zeros(3)
        state["model.head.scratch.refinenet4_aux.out_conv.bias"] = torch.zeros(8)
    return state


def comfyui_state(network):
    """As repackaged for ComfyUI."""
    return RANDOM.hub_names(
        {key.removeprefix("model.").replace(".pretrained.", "."): value for key, value in official_state(network).items()}
    )


def build(config, state, dtype=torch.float32, quantity=Quantity.RELATIVE_DEPTH):
    return da3.DepthAnything3Annotator.build(spec(config, quantity), {"network": state}, dtype)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("layout", [official_state, comfyui_state])
def test_both_layouts_give_the_networks_own_output(config, layout):
    network = tiny_network(config)
    annotator = build(config, layout(network))
    images = make_images(28, 56, 2)
    expected, found = network(annotator.normalised(images)), annotator.network(annotator.normalised(images))
    for name, value in expected._asdict().items():
        if value is not None:
            torch.testing.assert_close(getattr(found, name), value, rtol=1e-4, atol=1e-5)
    present = {"small": {"depth", "confidence", "fov", "pose"}, "large": {"depth", "sky"}}["small" if config is SMALL else "large"]
    assert {name for name, value in expected._asdict().items() if value is not None} == present


@torch.no_grad()
@pytest.mark.parametrize("name", CONFIGS)
def test_the_network_is_the_authors(name, is_the_authors):
    pixels = torch.randn(1, 3, 28, 56, generator=torch.Generator().manual_seed(2))
    network = tiny_network(CONFIGS[name])
    for parameter in network.cam_dec.fc_fov.parameters() if name == "small" else ():
        parameter.neg_()  # as they are drawn both angles would be 0
    predicted = {output: value for output, value in network(pixels)._asdict().items() if value is not None}
    assert predicted.keys() == ({"depth", "sky"} if name == "large" else {"depth", "confidence", "fov", "pose"})
    is_the_authors(f"depth-anything-3, {name}", **predicted)


@pytest.mark.parametrize("height, width", [(200, 333), (90, 60), (400, 301)])
def test_images_are_resized_in_the_authors_two_steps(height, width):
    smooth = cv2.GaussianBlur(np.random.default_rng(0).random((height, width, 3)), (0, 0), 2)
    image = ((smooth - smooth.min()) / np.ptp(smooth) * 255).round().astype(np.uint8)
    scale = 126 / max(height, width)
    first = (round(width * scale), round(height * scale))
    expected = cv2.resize(image, first, interpolation=cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA)
    second = tuple(math.floor(side / 14 + 0.5) * 14 for side in first)
    if second != first:
        grows = second[0] > first[0] or second[1] > first[1]
        expected = cv2.resize(expected, second, interpolation=cv2.INTER_CUBIC if grows else cv2.INTER_AREA)
    mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    seen = []

    def network(x):
        seen.append(x * std + mean)
        return Prediction(torch.ones(len(x), 1, *x.shape[-2:]), None, None, None)

    images = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    da3.DepthAnything3Annotator(spec(LARGE), Says(network)).estimate(images, 126)
    found = seen[0][0].permute(1, 2, 0).numpy()
    assert found.shape == expected.shape
    # the authors round to 8 bits after each step
    np.testing.assert_allclose(found, expected / 255, atol=1.6 / 255)


def annotated(prediction, quantity=Quantity.RELATIVE_DEPTH, config=LARGE):
    annotator = da3.DepthAnything3Annotator(spec(config, quantity), Says(lambda _x: prediction))
    return annotator.infer_resized(torch.zeros_like(prediction.depth).expand(-1, 3, -1, -1))


def test_the_sky_of_each_image_is_as_far_as_its_farthest_hundredth():
    depth = torch.ones(2, 1, 20, 101)
    depth[0, 0, 10:] = torch.arange(101.0)
    depth[1, 0, 10:] = 2 * torch.arange(101.0)
    sky = torch.zeros(2, 1, 20, 101)
    sky[:, :, :10] = 0.31
    estimate = annotated(Prediction(depth, sky, None, None))
    assert estimate.depth[0, 0, :10].unique().tolist() == [99.0]
    assert estimate.depth[1, 0, :10].unique().tolist() == [198.0]
    assert torch.equal(estimate.depth[:, :, 10:], depth[:, :, 10:])
    assert not estimate.mask[:, :, :10].any()
    assert estimate.mask[:, :, 10:].all()


@pytest.mark.parametrize("level, trusted", [(0.0, True), (5.0, False)])
def test_an_image_of_nothing_but_sky_or_without_any_keeps_its_depth(level, trusted):
    depth = make_images(14, 14)[:, :1]
    estimate = annotated(Prediction(depth, torch.full_like(depth, level), None, None))
    assert torch.equal(estimate.depth, depth)
    assert estimate.mask.unique().tolist() == [trusted]


def test_metres_are_proportional_to_the_focal_length():
    depth = torch.full((1, 1, 378, 504), 2.0)
    estimate = annotated(Prediction(depth, None, None, None), Quantity.METRIC_DEPTH)
    focal = 252 / math.tan(math.radians(DEFAULT_FOV / 2))
    torch.testing.assert_close(estimate.depth, torch.full_like(depth, 2 * focal / 300))
    # at a focal length of 300 pixels, the output is in metres
    real = torch.tensor([[[310.0, 0, 251.5], [0, 290.0, 188.5], [0, 0, 1]]])
    found = metric().for_camera(estimate, real)
    torch.testing.assert_close(found.depth, depth)
    assert torch.equal(found.intrinsics, real)


def metric():
    return da3.DepthAnything3Annotator(spec(LARGE, Quantity.METRIC_DEPTH), nn.Identity())


def test_the_small_networks_know_the_camera():
    depth = torch.ones(2, 1, 28, 56)
    fov = torch.deg2rad(torch.tensor([[60.0, 90.0], [30.0, 60.0]]))
    intrinsics = annotated(Prediction(depth, None, depth + 1, fov), config=SMALL).intrinsics
    expected = torch.tensor([[28.0, 14 * 3**0.5], [28 * 3**0.5, 14 / math.tan(math.radians(15))]])
    torch.testing.assert_close(intrinsics[:, [0, 1], [0, 1]], expected)
    assert intrinsics[:, :2, 2].unique(dim=0).tolist() == [[27.5, 13.5]]


# DA3MONO-LARGE and DA3METRIC-LARGE whole; of DA3-SMALL, DA3-BASE and DA3-LARGE what depth takes, without the camera
def test_the_published_networks_differ_from_the_tiny_ones_only_in_size():
    blocks = {"small": (4, (5, 7, 9, 11)), "base": (4, (5, 7, 9, 11)), "large": (8, (11, 15, 19, 23))}
    for name, tiny in (("small", SMALL), ("base", SMALL), ("large", SMALL), ("mono-large", LARGE), ("metric-large", LARGE)):
        config = find_spec(f"depth-anything-3-{name}").config
        vit = replace(config.vit, width=16, depth=tiny.vit.depth, heads=2, taken=tiny.vit.taken, grid=3)
        assert replace(vit, alternating_from=tiny.vit.alternating_from) == tiny.vit
        assert (config.vit.alternating_from, config.vit.taken) == blocks.get(name, (None, (4, 11, 17, 23)))
        assert replace(config.dpt, channels=tiny.dpt.channels, features=8) == tiny.dpt
