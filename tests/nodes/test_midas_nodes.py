"""The old nodes' contract: ids, widgets, sizes, looks; and what the old ones did wrong."""

import math

import cv2
import numpy as np
import pytest
import torch

import depth_normal
from depth_normal.annotators.choices import NODES, worded
from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.nodes import midas as nodes
from depth_normal.nodes.legacy import annotate, render_depth
from depth_normal.options.map_images import CODINGS, NORMAL_1_0
from depth_normal.utils import resize_image
from tests.pretend import Pretend

NORMAL, DEPTH = nodes.MidasNormalMap, nodes.MidasDepthMap
SMALL = "midas-v2.1-small"


@pytest.fixture
def small(midas_small, monkeypatch):
    """The nodes with real weights behind every model name."""
    monkeypatch.setattr(
        nodes, "load_model", lambda model, precision, _advice: depth_normal.load_model(SMALL, precision, weights=midas_small)
    )


def pretend(disparity):
    """What loads a model that sees this."""
    return lambda: Pretend(Estimate(disparity, Quantity.DISPARITY))


def sphere(size=201):
    """Disparity of a ball before a far wall, scaled so that at 95 % of its radius it changes by 10 a pixel.

    Sobel's sum of weights is 8, so a slope there is 80 against a = 2 pi: z = 0.078 of the unit vector, stored as 137.
    """
    axis = torch.linspace(-1.25, 1.25, size)
    height = (1 - (axis[:, None] ** 2 + axis[None] ** 2)).clamp(min=0).sqrt()
    slope = 0.95 / (1 - 0.95**2) ** 0.5 * (2.5 / (size - 1))
    return (height * 10 / slope)[None, None]


def test_sphere_has_the_five_colours():
    disparity = sphere()
    image = annotate(torch.rand(1, 201, 201, 3), pretend(disparity), 201, lambda e: nodes._render_normals(e, math.tau, 0.1, NORMAL_1_0))
    codes = (image[0] * 255).to(torch.uint8)
    middle = 100

    def code(row, column):
        return tuple(codes[row, column].tolist())

    assert code(0, 0) == (255, 127, 127), "background faces the viewer"
    for place, expected in {
        (middle, 24): (137, 127, 254),
        (middle, 176): (137, 127, 0),
        (24, middle): (137, 254, 127),
        (176, middle): (137, 0, 127),
    }.items():
        assert max(abs(a - b) for a, b in zip(code(*place), expected, strict=True)) <= 1, (place, code(*place), expected)


def old_normal_map(disparity, a, bg_threshold):
    """The old pack's formula, on one disparity map, as its documentation and contract give it (independent of our torch code)."""
    normalised = (disparity - disparity.min()) / (disparity.max() - disparity.min())
    x, y = (cv2.Sobel(disparity, cv2.CV_32F, *order, ksize=3) for order in ((1, 0), (0, 1)))
    x[normalised < bg_threshold] = 0
    y[normalised < bg_threshold] = 0
    normal = np.stack([x, y, np.full_like(x, a)], 2)
    normal /= np.linalg.norm(normal, axis=2, keepdims=True)
    return (normal * 127.5 + 127.5).clip(0, 255).astype(np.uint8)[:, :, ::-1]


@pytest.mark.parametrize(("a", "bg_threshold"), [(math.tau, 0.1), (0.5, 0.0), (15.7, 0.6)])
def test_normal_map_is_the_old_one(a, bg_threshold):
    generator = torch.Generator().manual_seed(0)
    disparity = torch.nn.functional.interpolate(torch.rand(3, 1, 9, 12, generator=generator) * 900, size=(96, 128), mode="bicubic")
    ours = annotate(torch.rand(3, 96, 128, 3), pretend(disparity), 96, lambda e: nodes._render_normals(e, a, bg_threshold, NORMAL_1_0))
    for mine, map_ in zip(ours, disparity, strict=True):
        old = old_normal_map(map_[0].numpy().copy(), a, bg_threshold)
        assert np.abs(np.floor(mine.numpy() * 255 + 1e-3) - old).max() <= 1


def test_codings_are_the_same_vectors():
    disparity = sphere()
    maps = {c: nodes._render_normals(Estimate(depth=disparity, quantity=Quantity.DISPARITY), 6.28, 0.1, c) for c in CODINGS}
    old = maps["controlnet-1.0-normal"]
    assert torch.allclose(maps["opengl"], torch.stack((1 - old[:, 2], old[:, 1], old[:, 0]), 1), atol=1e-6), (
        "contract: OpenGL = (1-B, G, R)"
    )
    assert torch.allclose(maps["controlnet-normalbae"], old.flip(1), atol=1e-6)
    assert torch.allclose(maps["directx"][:, 1], 1 - maps["opengl"][:, 1], atol=1e-6)
    assert nodes.MidasNormalMap.INPUT_TYPES()["optional"]["coding"][1]["default"] == "controlnet-1.0-normal"


@pytest.mark.parametrize("node", [NORMAL, DEPTH])
def test_the_networks_short_side_is_the_resolution_whatever_its_authors_do(small, node, midas_small, monkeypatch):
    seen = []
    annotator = type(depth_normal.load_model(SMALL, weights=midas_small).annotator)
    infer = annotator.infer_resized
    monkeypatch.setattr(
        annotator, "infer_resized", lambda self, pixels, asked: seen.append((self.spec, pixels)) or infer(self, pixels, asked)
    )
    image = torch.rand(1, 120, 180, 3, generator=torch.Generator().manual_seed(0))
    node().execute(image, resolution=64)
    depth_normal.load_model(SMALL, weights=midas_small).estimate(image.movedim(-1, 1), 64)
    (_, old), (spec, new) = seen
    assert tuple(old.shape[-2:]) == (64, 96)
    torch.testing.assert_close(old, resize_image(image.movedim(-1, 1), 64, 96), rtol=0, atol=0)
    assert tuple(new.shape[-2:]) == (32, 64), "upper bound 64: 42.7 x 64"
    model = depth_normal.load_model(SMALL, weights=midas_small)
    assert spec is model.spec and model.resampling == "bicubic"


def test_a_constant_disparity_gives_a_constant_image():
    flat = Estimate(depth=torch.full((1, 1, 64, 64), 7.0), quantity=Quantity.DISPARITY)
    assert render_depth(flat).unique().numel() == 1
    assert nodes._render_normals(flat, 0.0, 0.0, NORMAL_1_0).mul(255).int().flatten(2)[0, :, 0].tolist() == [255, 127, 127]


def test_a_zero_is_finite(small):
    """Scripts post a = 0."""
    (image,) = NORMAL().execute(torch.rand(1, 64, 64, 3), a=0, bg_threshold=0.1, resolution=64)
    assert torch.isfinite(image).all()


def test_depth_shows_near_as_white(photo):
    (depth,) = DEPTH().execute(torch.from_numpy(photo / 255.0).float()[None], resolution=256, model="tiny")
    face, wall = depth[0, 40:70, 105:120].mean(), depth[0, 10:40, 150:165].mean()
    assert face > wall + 0.4


def test_an_absurdly_long_image_is_refused_with_what_to_do(small):
    with worded(NODES), pytest.raises(ValueError, match=r"5000x7 .*lower the resolution or crop"):
        DEPTH().execute(torch.rand(1, 7, 5000, 3))
