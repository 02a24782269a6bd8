"""The old normal nodes: MiDaS's slopes by the old formula, a ball known in advance, and what each tells its network."""

import math

import cv2
import numpy as np
import pytest
import torch

from depth_normal.annotators.dsine import DsineOptions
from depth_normal.annotators.registry import MODELS
from depth_normal.geometry.conventions import decode_normal_map
from depth_normal.geometry.estimate import Axes, Estimate
from depth_normal.nodes.depth_maps import MidasNormalMap
from depth_normal.nodes.geometry import EstimateGeometry, LoadDepthNormalModel
from depth_normal.nodes.normal_maps import BaeNormalMap, DsineNormalMap, Metric3dDepthMap, Metric3dNormalMap
from depth_normal.options.map_images import CODINGS
from tests import tiny_old_nodes as TINY
from tests.nodes.scenes import ball

ALL = pytest.mark.parametrize("node", [BaeNormalMap, DsineNormalMap, Metric3dNormalMap], ids=lambda node: node.NODE_ID)
BALL = ball(64, 96)


@pytest.fixture
def seeing_the_ball(pretend):
    """A model that sees the ball, in the axes that networks of its kind have."""
    return pretend(Estimate(normals=BALL * torch.tensor([-1.0, 1.0, 1.0]).view(1, 3, 1, 1), axes=Axes.SCANNET))


@ALL
@pytest.mark.parametrize("coding", CODINGS)
def test_every_coding_holds_the_same_vectors(node, coding, seeing_the_ball):
    (image,) = node().execute(torch.rand(1, 64, 96, 3), resolution=64, coding=coding)
    assert (decode_normal_map(image.movedim(-1, 1), coding) - BALL).abs().max() < 1e-5


@ALL
@pytest.mark.parametrize("resolution", [64, 200, 448])
def test_a_resized_normal_map_holds_unit_vectors(node, resolution, seeing_the_ball):
    """Where the ball's rim meets the wall, means of the colours would be shorter."""
    (image,) = node().execute(torch.rand(1, 128, 192, 3), resolution=resolution)
    assert ((2 * image - 1).norm(dim=-1) - 1).abs().max() < 1e-5


def test_metric3ds_normal_map_is_the_old_one(seeing_the_ball):
    """To within one of 255 levels: 255 - uint8(127 n + 128) of OPENCV vectors."""
    shown = Metric3dNormalMap().execute(torch.rand(1, 64, 96, 3), resolution=64)[0].numpy() * 255
    opencv = (BALL * torch.tensor([1.0, -1.0, -1.0]).view(1, 3, 1, 1)).movedim(1, -1).numpy()
    assert np.abs(shown - (255 - (opencv * 127 + 128).astype(np.uint8).astype(int))).max() <= 1


@pytest.mark.parametrize("node", [Metric3dDepthMap, Metric3dNormalMap])
def test_fx_and_fy_change_nothing_as_in_the_old_node(node, tmp_path, monkeypatch):
    spec = TINY.shrunk(MODELS["metric3d-vit-small"])
    TINY.write_files(spec, tmp_path)
    monkeypatch.setenv("AUX_ANNOTATOR_CKPTS_PATH", str(tmp_path))
    monkeypatch.setitem(MODELS, spec.id, spec)
    image = torch.rand(1, 64, 96, 3)
    shown = [node().execute(image, resolution=64, fx=fx, fy=fy)[0] for fx, fy in ((1000, 1000), (1, 1), (16384, 300))]
    assert torch.equal(shown[0], shown[1]) and torch.equal(shown[0], shown[2]) and shown[0].std() > 0


def test_dsines_widgets_reach_the_model(seeing_the_ball):
    model, image = seeing_the_ball, torch.rand(1, 64, 96, 3)
    DsineNormalMap().execute(image)
    assert (model.fov, model.options) == (60.0, DsineOptions())
    DsineNormalMap().execute(image, 35.5, 20, 64, "as the old node", 448, "float16")
    assert model.asked == [("dsine", "auto"), ("dsine", "float16")]
    assert (model.sizes, model.shapes) == ([512, 448], [(1, 3, 64, 96)] * 2)
    assert (model.fov, model.options) == (35.5, DsineOptions(20, old_camera=True))


def test_a_model_of_normals_gives_vectors_and_their_certainty(tmp_path, monkeypatch):
    from depth_normal.annotators.networks import bae, dsine, efficientnet

    TINY.shrink_encoder({"bae": bae, "dsine": dsine, "efficientnet": efficientnet}, monkeypatch.setattr)
    spec = TINY.shrunk(MODELS["bae-normal"])
    TINY.write_files(spec, tmp_path)
    monkeypatch.setenv("AUX_ANNOTATOR_CKPTS_PATH", str(tmp_path))
    (model,) = LoadDepthNormalModel().execute("bae-normal", "float32")
    (estimate,) = EstimateGeometry().execute(model, torch.rand(1, 40, 60, 3), resolution=64)
    assert estimate.depth is None and estimate.normals.shape == (1, 3, 40, 60)
    assert (estimate.normals.norm(dim=1) - 1).abs().max() < 1e-5
    assert estimate.confidence.shape == (1, 1, 40, 60) and estimate.confidence.min() >= 0.01


# --- MiDaS ---


def midas(count, height, width, **widgets):
    return MidasNormalMap().execute(torch.rand(count, height, width, 3), resolution=height, **widgets)[0]


def test_any_coding_of_midas_slopes_has_the_same_vectors(pretend):
    pretend(100 * torch.rand(1, 1, 64, 96, generator=torch.Generator().manual_seed(0)))
    vectors, *others = (decode_normal_map(midas(1, 64, 96, coding=coding).movedim(-1, 1), coding) for coding in CODINGS)
    assert vectors.std() > 0.1 and all(torch.allclose(each, vectors, atol=1e-5) for each in others)


@pytest.mark.parametrize("height", [64, 96, 128])
def test_midas_slopes_are_unit_vectors_at_every_size(pretend, height):
    """The network's map has 64 rows. Vectors are resized, whose mean colour is that of shorter vectors."""
    pretend(100 * torch.rand(1, 1, 64, 96, generator=torch.Generator().manual_seed(0)))
    lengths = (2 * midas(1, height, height * 3 // 2) - 1).norm(dim=-1)
    assert (lengths - 1).abs().max() < 1e-5


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
def test_normal_map_is_the_old_one(a, bg_threshold, pretend):
    generator = torch.Generator().manual_seed(0)
    disparity = torch.nn.functional.interpolate(torch.rand(3, 1, 9, 12, generator=generator) * 900, size=(96, 128), mode="bicubic")
    pretend(disparity)
    for mine, values in zip(midas(3, 96, 128, a=a, bg_threshold=bg_threshold), disparity[:, 0].numpy(), strict=True):
        assert np.abs(np.floor(mine.numpy() * 255 + 1e-3) - old_normal_map(values.copy(), a, bg_threshold)).max() <= 1


def test_without_slopes_and_at_a_zero_all_faces_the_viewer(pretend):
    """Scripts post a = 0."""
    pretend(torch.full((1, 1, 64, 64), 7.0))
    assert (midas(1, 64, 64, a=0, bg_threshold=0.0) * 255).int().view(-1, 3).unique(dim=0).tolist() == [[255, 127, 127]]
