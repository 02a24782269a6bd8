"""MiDaS against the authors' networks at the same random weights: controlnet-aux's copy, and timm's encoders.

`-s` prints how far both are from float64; docs/parity.md has the figures.
"""

import re
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from depth_normal.annotators.building import from_transformers, on_meta_device
from depth_normal.annotators.midas import MidasAnnotator, transformers_config
from depth_normal.annotators.networks.midas import dpt_official_to_hub
from depth_normal.annotators.registry import MODELS
from depth_normal.annotators.specs.base import CheckpointError
from depth_normal.annotators.specs.midas import DPT_BEIT_LARGE
from depth_normal.utils import check_images, images_to_rgb
from tests import exactness, midas_oracle
from tests.random_weights import make_images, randomise

pytest.importorskip("timm", reason="the oracle's encoders are timm's (extra 'test')")
dpt_depth = pytest.importorskip("controlnet_aux.midas.midas.dpt_depth", reason="the oracle is controlnet-aux (extra 'test')")
from controlnet_aux.midas.midas.vit import Transpose  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")


def lifted(network, seed=0):
    """Random weights, and a disparity above what the last ReLU cuts."""
    randomise(network, seed).scratch.output_conv[4].bias.fill_(20.0)
    return network


def assert_as_exact(ours, oracle, images):
    """As `exactness.assert_as_exact`, for an annotator and images (B, 3, H, W) of its network's size."""

    def run(network, dtype):
        disparity = network(images.to(dtype) * 2 - 1)
        assert disparity.min() > 0, "the ReLU hides errors: lift the oracle's output"
        return disparity

    exactness.assert_as_exact(ours.infer_resized(images).depth[:, 0], oracle, run)


def annotator(model_id, state, config=None):
    spec = MODELS[model_id]
    return MidasAnnotator.build(replace(spec, config=config or spec.config), {"network": state}, torch.float32)


def dpt_oracle(backbone, seed=0):
    with torch.device("meta"):
        network = dpt_depth.DPTDepthModel(path=None, backbone=backbone, non_negative=True)
    return lifted(network.to_empty(device="cpu"), seed)


@pytest.mark.slow("takes 1.5 GB of memory: the authors' network, not shrunk, in float64 too")
@pytest.mark.parametrize("seed", [0, 1])
def test_dpt_hybrid_is_as_exact_as_the_authors(photo, seed, memory_freed):
    """On the same input. It amplifies how OpenCV's and torch's cubic kernels round: prints by how much."""
    oracle = dpt_oracle("vitb_rn50_384", seed)
    state = oracle.state_dict()
    assert {"pretrained.model.head.weight", "pretrained.model.norm.weight"} < state.keys()
    ours, image = annotator("midas-dpt-hybrid", state), np.ascontiguousarray(photo[::2, ::2])
    enlarged = cv2.resize(image / 255, (384, 384), interpolation=cv2.INTER_CUBIC)
    enlarged = torch.from_numpy(enlarged).float().permute(2, 0, 1)[None]
    assert_as_exact(ours, oracle, enlarged)
    expected = oracle(enlarged * 2 - 1)
    found = ours.estimate(images_to_rgb(check_images(image))).depth[:, 0]
    apart = float((found - expected).abs().max() / expected.max())
    print(f"from image to map: {apart:.1e} of the largest value apart")
    assert apart < 5e-3


@pytest.mark.slow("takes 4 GB of memory: the authors' network, not shrunk, in float64 too")
def test_dpt_large_is_as_exact_as_the_authors(memory_freed):
    oracle = dpt_oracle("vitl16_384")
    assert_as_exact(annotator("midas-dpt-large", oracle.state_dict()), oracle, make_images(64, 96))


def official_state(network):
    """The state dict as timm 0.6 wrote it: a stage's downsampling at its end, and what the network does not use."""
    state = {}
    for key, value in network.state_dict().items():
        state[re.sub(r"layers\.(\d)\.downsample", lambda found: f"layers.{int(found[1]) - 1}.downsample", key)] = value
    table = next(key for key in state if key.endswith(("relative_position_bias_table", "logit_scale")))
    prefix = table.rsplit(".", 1)[0]
    for buffer in ("relative_position_index", "relative_coords_table", "k_bias"):
        state[f"{prefix}.{buffer}"] = torch.zeros(4)
    state[f"{prefix.removesuffix('.attn')}.attn_mask"] = torch.zeros(4)
    return state


SMALL_BEIT = replace(
    DPT_BEIT_LARGE,
    dpt={**DPT_BEIT_LARGE.dpt, "neck_hidden_sizes": [32, 48, 64, 64], "fusion_hidden_size": 32},
    backbone_config={**DPT_BEIT_LARGE.backbone_config, **midas_oracle.BLOCKS, "image_size": 128},
)


@pytest.fixture(scope="module")
def beit():
    return lifted(midas_oracle.SmallBeit(128))


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("shape", [(128, 128, 2), (96, 160)], ids=["its own size", "the table of relative positions is stretched"])
def test_beit_is_as_exact_as_the_authors(beit, shape):
    ours = annotator("midas-beit-large-512", official_state(beit), SMALL_BEIT)
    assert_as_exact(ours, beit, make_images(*shape))


@pytest.mark.parametrize(
    ("key", "shape", "named"),
    [
        ("scratch.refinenet3.out_conv.weight", None, "missing keys .first: neck.fusion_stage.layers.1.projection.weight"),
        ("scratch.refinenet3.out_conv.weight", (5, 16, 1, 1), "mismatched keys .first: neck.fusion_stage.layers.1.projection.weight"),
        ("scratch.layer8_rn.weight", (3,), "unexpected keys .first: neck.convs.7.weight"),
        ("scratch.stem_transpose.conv.weight", (3,), "unexpected keys .first: scratch.stem_transpose.conv.weight"),
        ("pretrained.model.blocks.0.attn.qkv.weight", (2, 8), "pretrained.model.blocks.0.attn.qkv.weight"),
    ],
)
def test_a_file_of_the_authors_that_differs_is_refused_by_name(beit, key, shape, named):
    changed = {**official_state(beit), key: None if shape is None else torch.zeros(shape)}
    with pytest.raises(CheckpointError, match=f"not a checkpoint of midas-beit-large-512.*{named}"):
        annotator("midas-beit-large-512", {key: value for key, value in changed.items() if value is not None}, SMALL_BEIT)


def test_the_large_beit_has_the_tensors_of_timms_and_the_authors_hooks():
    with torch.device("meta"):
        oracle = midas_oracle.dpt("beitl16_512")
    ours = on_meta_device(from_transformers("DPTForDepthEstimation")[0], transformers_config(DPT_BEIT_LARGE))
    expected = dpt_official_to_hub(oracle.state_dict(), "beit")
    assert sorted(value.shape for value in expected.values()) == sorted(value.shape for value in ours.state_dict().values())
    # hooks = [5, 11, 17, 23] in the authors' beit.py, counted from 0
    assert DPT_BEIT_LARGE.backbone_config["out_features"] == ["stage6", "stage12", "stage18", "stage24"]


@pytest.mark.slow("takes a second")
def test_swin2_is_as_exact_as_the_authors():
    """The tiny one, whole: it is small enough. It takes other sizes than its authors did."""
    oracle = lifted(midas_oracle.dpt("swin2t16_256"))
    for level in (1, 2, 3, 4):  # timm's layers end in maps today
        setattr(oracle.pretrained, f"act_postprocess{level}", nn.Sequential(Transpose(1, 3), Transpose(2, 3)))
    ours = annotator("midas-swin2-tiny", official_state(oracle))
    assert_as_exact(ours, oracle, make_images(256, 256))
    depth = ours.infer_resized(make_images(96, 160, 2)).depth
    assert depth.shape == (2, 1, 96, 160) and torch.isfinite(depth).all() and depth.std() > 0
