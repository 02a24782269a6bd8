"""BAE: the authors' network with the same weights, and the old pack's image."""

import contextlib
import io
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from depth_normal.annotators.bae import BaeAnnotator
from depth_normal.annotators.registry import MODELS
from depth_normal.geometry.estimate import Axes
from depth_normal.geometry.images.render import normals_to_image
from tests.exactness import assert_as_exact
from tests.random_weights import make_images, randomise

SPEC = MODELS["bae-normal"]
MEAN, STD = (torch.tensor(values)[:, None, None] for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))


def build(state, dtype=torch.float32):
    return BaeAnnotator.build(SPEC, {"network": state}, dtype)


@pytest.fixture(scope="module")
def oracle():
    """The authors' network, as controlnet-aux carries it."""
    oracles = pytest.importorskip("controlnet_aux.normalbae.nets.NNET", reason="the oracle is controlnet-aux (extra 'test')")
    options = SimpleNamespace(mode="client", architecture="BN", pretrained="scannet", sampling_ratio=0.4, importance_ratio=0.7)
    with contextlib.redirect_stdout(io.StringIO()):
        return randomise(oracles.NNET(options), gain=1.3)


@pytest.fixture(scope="module")
def ours(oracle):
    return build(oracle.state_dict())


@pytest.mark.slow("takes 0.7 GB of memory: the authors' network, not shrunk")
@pytest.mark.parametrize("shape", [(64, 96, 2), (96, 32)], ids=str)
def test_it_is_as_exact_as_the_authors(oracle, ours, shape):
    """`-s` prints how far both are from float64; docs/parity.md has the figures."""
    assert len(oracle.state_dict()) == 936, "as many as in scannet.pt"
    images = make_images(*shape)
    found = ours.infer_resized(images)
    assert found.normals.std() > 0.05, "the normals differ from pixel to pixel"
    assert found.axes is Axes.SCANNET and found.depth is None
    for name, channels in (("normals", slice(0, 3)), ("confidence", slice(3, 4))):

        def predicted(network, dtype, channels=channels):
            return network((images.to(dtype) - MEAN) / STD)[0][-1][:, channels]

        assert_as_exact(getattr(found, name), oracle, predicted)


@pytest.mark.slow("takes 0.7 GB of memory: the authors' network, not shrunk")
def test_the_image_is_the_old_nodes_but_for_its_rounding(oracle, ours):
    """The old pack: an image of 8 bits, sides of multiples of 64, the network, colours cut to 8 bits."""
    levels = (make_images(64, 128) * 255).floor()
    normals = oracle((levels / 255 - MEAN) / STD)[0][-1][0, :3].permute(1, 2, 0).numpy()
    old = (((normals + 1) * 0.5).clip(0, 1) * 255.0).clip(0, 255).astype(np.uint8)
    estimate = ours.estimate(levels / 255, 64)
    shown = normals_to_image(estimate.normals, "controlnet-normalbae", estimate.axes)[0].permute(1, 2, 0).numpy() * 255
    assert shown.shape == old.shape == (64, 128, 3)
    lost = shown - old
    assert lost.min() > -0.01 and lost.max() < 1.01, "never more than what cutting off loses"
    assert 0.4 < lost.mean() < 0.6
