import functools
import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from depth_normal.annotators import metric3d
from depth_normal.annotators.networks.configs import Metric3dConfig, VitConfig
from depth_normal.annotators.networks.metric3d import Metric3d, Metric3dOutput
from depth_normal.annotators.registry import MODELS
from depth_normal.annotators.specs.base import ModelSpec, WeightFile
from depth_normal.geometry.camera import DEFAULT_FOV, fov_from_intrinsics, intrinsics_from_fov
from depth_normal.geometry.estimate import Axes, Quantity
from tests import random_weights as RANDOM
from tests.balls import FACING
from tests.pretend import Says
from tests.random_weights import smooth_images

SMALL = Metric3dConfig(VitConfig(16, 2, 2, (1,), grid=3, registers=4), (6, 8, 16, 16), (6, 8, 16, 16), 8, 2)
GIANT = replace(SMALL, vit=VitConfig(24, 4, 3, (0, 1, 2, 3), swiglu=True, grid=3, registers=4), levels=(6, 8, 24, 24), path=(6, 8, 24, 24))
BOTH = pytest.mark.parametrize("config", [SMALL, GIANT], ids=["one block", "four blocks"])


def spec(config=SMALL, size=56):
    file = WeightFile("metric3d_tiny.pth")
    metres = Quantity.METRIC_DEPTH
    return ModelSpec("metric3d-tiny", "metric3d", (file,), "BSD", metres, Axes.OPENCV, multiple_of=28, default_size=size, config=config)


_state_of = functools.cache(lambda config: RANDOM.state_of(Metric3d(config)))


def tiny_state(config=SMALL):
    return dict(_state_of(config))


def annotator(config=SMALL, dtype=torch.float32):
    return metric3d.Metric3dAnnotator.build(spec(config), {"network": tiny_state(config)}, dtype)


@BOTH
@torch.no_grad()
def test_the_network_is_the_authors(config, is_the_authors):
    pixels = torch.randn(1, 3, 56, 84, generator=torch.Generator().manual_seed(1))
    found = annotator(config).network(pixels)
    is_the_authors(f"metric3d, blocks read: {len(config.vit.taken)}", **found._asdict())


def published(state, mask_token=True):
    """Under the authors' names: blocks in one chunk, a normalisation twice, and a token that only training needs."""
    named = {}
    for key, value in state.items():
        named["depth_model." + key.replace("encoder.blocks.", "encoder.blocks.0.")] = value
        if ".downsample.1." in key:
            named["depth_model." + key.replace(".downsample.1.", ".norm3.")] = value
    return {**named, "depth_model.encoder.mask_token": torch.zeros(1, 16)} if mask_token else named


@pytest.mark.parametrize("mask_token", [True, False])
def test_the_authors_files_load(mask_token):
    state = tiny_state()
    found = metric3d.Metric3dAnnotator.build(spec(), {"network": published(state, mask_token)}, torch.float32).network.state_dict()
    assert found.keys() == state.keys() and all(torch.equal(found[key], state[key]) for key in state)


def authors_input(image, frame):
    """Their resizing and padding of an image (H, W, 3) of 0..255, and what they cut away again."""
    height, width = image.shape[:2]
    scale = min(frame[0] / height, frame[1] / width)
    resized = cv2.resize(image, (int(width * scale), int(height * scale)), interpolation=cv2.INTER_LINEAR)
    down, across = frame[0] - resized.shape[0], frame[1] - resized.shape[1]
    border = (down // 2, down - down // 2, across // 2, across - across // 2)
    padded = cv2.copyMakeBorder(resized, *border, cv2.BORDER_CONSTANT, value=[123.675, 116.28, 103.53])
    return padded, scale, resized.shape[:2], border


SHAPES = pytest.mark.parametrize(("height", "width"), [(480, 640), (600, 400), (90, 160), (333, 999), (1000, 300), (40, 30), (616, 1064)])


@pytest.mark.quick_cases(3)
@SHAPES
def test_the_image_is_fitted_into_the_frame_as_by_the_authors(height, width):
    frame = (112, 196)
    assert annotator().network_size(height, width, 112) == frame
    image = (smooth_images(height, width)[0].movedim(0, -1).numpy() * 255).round().astype(np.float32)
    found = annotator().resize_images(torch.from_numpy(image).movedim(-1, 0)[None] / 255, 112)[0].movedim(0, -1).numpy() * 255
    of_bytes, *_ = authors_input(image.astype(np.uint8), frame)
    assert np.abs(found - of_bytes).max() < 1, "they round to bytes, here nothing is rounded"
    unrounded, _, (rows, columns), (top, _, left, _) = authors_input(image, frame)
    inside = np.s_[top : top + rows, left : left + columns]
    np.testing.assert_allclose(found[inside], unrounded[inside], atol=1e-3)
    found[inside] = of_bytes[inside]
    np.testing.assert_allclose(found, of_bytes, atol=1e-4, err_msg="the border is as theirs, to the byte")


def known(depth, normals=None):
    normals = FACING.expand(len(depth), 3, *depth.shape[2:]) if normals is None else normals
    return metric3d.Metric3dAnnotator(spec(), Says(lambda pixels: Metric3dOutput(depth, depth / 100, normals, depth)))


def focal_length(fov, height, width):
    return max(height, width) / 2 / math.tan(math.radians(fov / 2))


@SHAPES
def test_what_is_cut_away_and_the_metres_are_the_authors(height, width):
    frame, fov = (112, 196), 47.0
    canonical = torch.rand(1, 1, *frame, generator=torch.Generator().manual_seed(3)) * 50 + 1
    normals = torch.nn.functional.normalize(torch.randn(1, 3, *frame, generator=torch.Generator().manual_seed(4)), dim=1)
    found = known(canonical, normals).estimate(smooth_images(height, width), 112, fov=fov)
    _, scale, size, (top, bottom, left, right) = authors_input(np.zeros((height, width, 3), np.uint8), frame)
    cut = canonical[..., top : 112 - bottom, left : 196 - right]
    assert cut.shape[2:] == size
    metres = (cut * (focal_length(fov, height, width) * scale / 1000)).clamp(0, 300)
    torch.testing.assert_close(found.depth, metres, rtol=1e-5, atol=0)
    torch.testing.assert_close(found.confidence, cut / 100)
    torch.testing.assert_close(found.normals, normals[..., top : 112 - bottom, left : 196 - right])
    assert found.quantity is Quantity.METRIC_DEPTH and found.axes is Axes.OPENCV
    torch.testing.assert_close(found.resized(height, width).intrinsics, intrinsics_from_fov(fov, height, width), rtol=1e-4, atol=1e-2)


def test_without_a_camera_a_usual_one_is_taken_and_said():
    canonical = torch.full((2, 1, 112, 196), 7.0)
    found, given = (known(canonical).estimate(smooth_images(480, 640, 2), 112, fov=fov) for fov in (0.0, DEFAULT_FOV))
    torch.testing.assert_close(found.depth, given.depth)
    assert fov_from_intrinsics(found.intrinsics, found.height, found.width).tolist() == pytest.approx([DEFAULT_FOV] * 2, abs=0.3)
    assert MODELS["metric3d-vit-small"].knows_camera


def test_nothing_is_farther_than_the_authors_end():
    found = known(torch.full((1, 1, 112, 196), 200.0)).estimate(smooth_images(480, 640), 112, fov=1.0)
    assert (found.depth == 300).all()
