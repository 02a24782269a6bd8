import copy
import functools
import importlib
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from depth_normal.annotators.midas import MidasAnnotator
from depth_normal.annotators.registry import MODELS
from depth_normal.annotators.specs.base import CheckpointError
from depth_normal.annotators.specs.midas import DPT_BEIT_LARGE, DPT_HYBRID, DPT_LARGE, DPT_SWIN2_TINY
from tests.random_weights import make_images, randomise
from tests.torch_calls import Calls

BLOCKS = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "image_size": 64}
NECK = {"neck_hidden_sizes": [16, 24, 32, 32], "fusion_hidden_size": 16}
VIT = {**BLOCKS, **NECK, "backbone_out_indices": [0, 1, 2, 3]}
BIT = {"depths": [1, 2, 1], "hidden_sizes": [32, 64, 128], "embedding_size": 16, "num_groups": 4, "layer_type": "bottleneck"}
BIT |= {"model_type": "bit", "global_padding": "same", "embedding_dynamic_padding": True, "out_features": ["stage1", "stage2", "stage3"]}
WITH_BIT = {"backbone_config": BIT, "backbone_featmap_shape": [1, 128, 4, 4], "neck_hidden_sizes": [32, 64, 32, 32]}
STAGES = {"out_features": ["stage1", "stage2", "stage3", "stage4"]}
WINDOWS = {"image_size": 64, "embed_dim": 8, "depths": (2, 2, 2, 2), "num_heads": (1, 2, 4, 8), "window_size": 8}
NARROW = {**NECK, "neck_hidden_sizes": [8, 16, 32, 64]}
HYBRID, LARGE, BEIT, SWIN = "midas-dpt-hybrid", "midas-dpt-large", "midas-beit-large-512", "midas-swin2-tiny"
TINY = {
    HYBRID: replace(DPT_HYBRID, dpt={**DPT_HYBRID.dpt, **VIT, **WITH_BIT}),
    LARGE: replace(DPT_LARGE, dpt={**DPT_LARGE.dpt, **VIT}),
    BEIT: replace(DPT_BEIT_LARGE, dpt=NECK, backbone_config={**DPT_BEIT_LARGE.backbone_config, **BLOCKS, **STAGES}),
    SWIN: replace(DPT_SWIN2_TINY, dpt=NARROW, backbone_config={**DPT_SWIN2_TINY.backbone_config, **WINDOWS}),
}
QKV = "pretrained.model.blocks.0.attn.qkv.weight"


def transformers_network(config):
    transformers = importlib.import_module("transformers")
    backbone = {}
    if config.backbone_config:
        kind = transformers.Swinv2Config if config.backbone == "swinv2" else transformers.BeitConfig
        backbone = {"backbone_config": kind(**config.backbone_config)}
    dpt_config = transformers.DPTConfig(**config.dpt, **backbone, layer_norm_eps=1e-6, use_batch_norm_in_fusion_residual=False)
    network = randomise(transformers.DPTForDepthEstimation(dpt_config))
    network.head.head[4].bias.fill_(10)  # above what the last ReLU cuts
    return network


@functools.cache
def hub(model_id):
    """transformers' own network, tiny, and its weights as `save_pretrained` writes them."""
    network = transformers_network(TINY[model_id])
    with tempfile.TemporaryDirectory() as folder:
        network.save_pretrained(folder)
        return network, load_file(Path(folder, "model.safetensors"))


def build(model_id, state, dtype=torch.float32):
    return MidasAnnotator.build(replace(MODELS[model_id], config=TINY[model_id]), {"network": state}, dtype)


def annotator(model_id, dtype=torch.float32):
    return build(model_id, dict(hub(model_id)[1]), dtype)


# a name of each variant in Intel's files on the hub, so that the layout tested is the one that is published
ON_THE_HUB = {
    HYBRID: "dpt.embeddings.backbone.bit.encoder.stages.0.layers.0.downsample.conv.weight",
    LARGE: "dpt.encoder.layer.3.attention.attention.query.weight",
    BEIT: "backbone.encoder.layer.3.attention.attention.relative_position_bias.relative_position_bias_table",
    SWIN: "backbone.encoder.layers.1.blocks.0.attention.self.continuous_position_bias_mlp.0.weight",
}


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("model_id", TINY)
def test_the_hubs_files_give_what_transformers_gives(model_id):
    network, state = hub(model_id)
    assert ON_THE_HUB[model_id] in state
    images = make_images(64, 64, 2)
    expected = network(images * 2 - 1).predicted_depth[:, None]
    assert expected.min() > 0
    error = (annotator(model_id).infer_resized(images).depth - expected).abs().max()
    assert error < 1e-5 * expected.max()
    assert error < 1e-4 * expected.std()


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("model_id", [BEIT, SWIN])
def test_the_index_tables_that_older_versions_wrote_are_no_obstacle(model_id):
    state = dict(hub(model_id)[1])
    table = next(key for key in state if key.endswith(("relative_position_bias_table", "logit_scale")))
    state[table.rsplit(".", 1)[0] + ".relative_position_index"] = torch.zeros(3, 3, dtype=torch.long)
    build(model_id, state)


@pytest.mark.parametrize(("key", "shape"), [("weight", (3,)), (QKV, ()), (QKV, (2, 2))])
def test_no_three_parts_and_what_is_no_midas_at_all_are_refused(key, shape):
    with pytest.raises(CheckpointError, match=f"not a checkpoint of {LARGE}"):
        build(LARGE, {key: torch.zeros(shape)})


def test_transformers_keeps_its_verbosity_and_its_bars():
    logging = importlib.import_module("transformers.utils.logging")
    state = hub(LARGE)[1]
    before = logging.get_verbosity()
    logging.set_verbosity_info()
    try:
        build(LARGE, state)
        with pytest.raises(CheckpointError):
            build(LARGE, {"weight": torch.zeros(3)})
        assert logging.get_verbosity() == logging.INFO
        assert logging.is_progress_bar_enabled()
    finally:
        logging.set_verbosity(before)


@pytest.mark.quick_cases(1)
@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_weights_are_standardised_once_and_the_same_as_in_each_pass(dtype):
    network, ours = hub(HYBRID)[0], annotator(HYBRID, dtype)
    with Calls() as calls:
        ours.infer_resized(make_images(64, 64))
    assert calls.of("convolution") and not calls.of("batch_norm")
    library = dict(copy.deepcopy(network).to(dtype).named_modules())
    layers = {name: layer for name, layer in library.items() if type(layer).__name__ == "WeightStandardizedConv2d"}
    assert layers
    for name, layer in layers.items():
        x = torch.rand(2, layer.in_channels, 15, 18).to(dtype, memory_format=torch.channels_last)  # sides of which the padding differs
        expected = layer(x)
        error = (ours.network.get_submodule(name)(x) - expected).abs().max()
        assert error <= 4 * torch.finfo(dtype).eps * expected.abs().max()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_a_disparity_beyond_float16_does_not_overflow(dtype):
    state = dict(hub(LARGE)[1])
    state["head.head.4.weight"] = state["head.head.4.weight"] * 1e5
    state["head.head.4.bias"] = torch.full((1,), 1e6)
    depth = build(LARGE, state, dtype).infer_resized(make_images(64, 64)).depth
    assert torch.isfinite(depth).all()
    assert depth.max() > 1e6
