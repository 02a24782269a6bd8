import logging
from dataclasses import replace

import pytest
import torch

from depth_normal.annotators import depth_anything as da
from depth_normal.annotators.building import from_transformers
from depth_normal.annotators.networks.dpt import DptConfig
from depth_normal.annotators.networks.vit import VitConfig
from depth_normal.annotators.specs.base import CheckpointError, ModelSpec, WeightFile
from depth_normal.annotators.specs.depth_anything import RESIZING, DepthAnythingConfig
from depth_normal.geometry.estimate import Quantity
from depth_normal.model_loader.weights.checkpoint import read_checkpoint
from tests.pretend import Says
from tests.random_weights import make_images, randomise, state_of

HEAD = DptConfig((16, 24, 32, 40), 16)
SPREAD = DepthAnythingConfig(VitConfig(32, 4, 2, (0, 1, 2, 3)), HEAD)
CONFIGS = {
    "relative": DepthAnythingConfig(VitConfig(32, 6, 2, (1, 2, 4, 5)), HEAD),
    "metric": replace(SPREAD, max_depth=20.0),
    "gated": DepthAnythingConfig(VitConfig(32, 4, 2, (0, 1, 2, 3), swiglu=True), HEAD),
}


def tiny_spec(config=SPREAD, **changes):
    file = WeightFile("depth_anything_v2_vits.pth")
    quantity = Quantity.DISPARITY if config.max_depth is None else Quantity.METRIC_DEPTH
    return ModelSpec(
        "tiny", "depth-anything", (file,), "MIT", quantity, multiple_of=14, resizing=RESIZING, default_size=28, config=config, **changes
    )


@pytest.fixture(scope="module")
def official():
    """A state dict as the authors write it, with what they leave in it."""
    state = state_of(da.DepthAnything(SPREAD.vit, SPREAD.dpt))
    state["pretrained.mask_token"] = torch.zeros(1, 32)
    for conv in ("conv1", "conv2"):
        state[f"depth_head.scratch.refinenet4.resConfUnit1.{conv}.weight"] = torch.zeros(16, 16, 3, 3)
        state[f"depth_head.scratch.refinenet4.resConfUnit1.{conv}.bias"] = torch.zeros(16)
    return state


def build(state, config=SPREAD, dtype=torch.float32):
    return da.DepthAnythingAnnotator.build(tiny_spec(config), {"network": state}, dtype)


@pytest.fixture(params=CONFIGS)
def hub_model(request):
    config = CONFIGS[request.param]
    base, config_class, backbone_class = from_transformers("DepthAnythingForDepthEstimation", "DepthAnythingConfig", "Dinov2Config")
    backbone = backbone_class(
        image_size=518,
        patch_size=14,
        hidden_size=config.vit.width,
        num_hidden_layers=config.vit.depth,
        num_attention_heads=config.vit.heads,
        out_indices=[index + 1 for index in config.vit.taken],
        apply_layernorm=True,
        reshape_hidden_states=False,
        use_swiglu_ffn=config.vit.swiglu,
    )
    kind = {"depth_estimation_type": "metric", "max_depth": 20} if config.max_depth else {}
    model = base(
        config_class(
            backbone_config=backbone,
            reassemble_hidden_size=config.vit.width,
            fusion_hidden_size=config.dpt.features,
            neck_hidden_sizes=list(config.dpt.channels),
            **kind,
        )
    )
    randomise(model)
    model.state_dict()["head.conv3.bias"].fill_(0.0 if config.max_depth else 4.0)  # so that the ReLU hides little
    return model, config


@pytest.mark.quick_cases(1)
def test_it_agrees_with_transformers_at_its_native_size_and_loads_its_files(hub_model, tmp_path):
    model, config = hub_model
    model.save_pretrained(tmp_path)
    state = read_checkpoint(tmp_path / "model.safetensors")
    assert "backbone.encoder.layer.0.attention.attention.query.weight" in state, "not the layout of the hub"
    annotator = build(state, config)
    if not config.vit.swiglu:  # no such network is published in this layout
        in_memory = build(dict(model.state_dict()), config).network.state_dict()  # other names in transformers 5
        assert all(torch.equal(in_memory[name], value) for name, value in annotator.network.state_dict().items())
    images = make_images(518, 518)
    expected = model(annotator.normalised(images)).predicted_depth[:, None]
    found = annotator.infer_resized(images)
    assert found.quantity == (Quantity.METRIC_DEPTH if config.max_depth else Quantity.DISPARITY)
    assert found.depth is not None
    assert (expected > 0).float().mean() > 0.5
    assert (found.depth - expected).abs().max() < 1e-5 * expected.abs().max()
    assert (found.depth - expected).abs().max() < 1e-4 * expected.std()


@pytest.mark.parametrize(
    ("key", "named"),
    [
        ("pretrained.register_tokens", "register_tokens"),
        ("backbone.encoder.layer.0.attention.attention.query.weight", "0.attn.query.weight"),
    ],
    ids=["registers", "half a triple"],
)
def test_what_no_layout_holds_is_refused_by_name(official, key, named):
    with pytest.raises(CheckpointError, match=f"not a checkpoint of tiny: 1 .*{named}"):
        build({**official, key: torch.zeros(32, 32)})


def test_the_large_distilled_networks_names_are_read(official):
    """Its transformer is `backbone`, and its blocks lie in one chunk."""
    renamed = {}
    for key, value in official.items():
        chunked = key.replace("pretrained.blocks.", "pretrained.blocks.0.")
        renamed[chunked.replace("pretrained.", "backbone.", 1)] = value
    found, expected = build(renamed).network.state_dict(), build(official).network.state_dict()
    assert found.keys() == expected.keys() and all(torch.equal(found[key], expected[key]) for key in expected)


def constant(logit):
    return Says(lambda x: torch.full((len(x), 1, *x.shape[-2:]), logit))


@pytest.mark.parametrize(
    "max_depth, logit, words",
    [(None, -2.0, "of a metric model"), (20.0, 30.0, "of a relative model"), (None, 2.0, None), (20.0, -2.0, None)],
)
def test_weights_whose_output_makes_no_sense_for_the_model_are_warned_of_once(caplog, max_depth, logit, words):
    annotator = da.DepthAnythingAnnotator(tiny_spec(replace(SPREAD, max_depth=max_depth)), constant(logit))
    with caplog.at_level(logging.WARNING):
        annotator.infer_resized(make_images(14, 14))
        annotator.infer_resized(make_images(14, 14))
    assert len(caplog.records) == (words is not None)
    assert words is None or words in caplog.text


def test_metric_networks_end_at_their_greatest_depth():
    annotator = da.DepthAnythingAnnotator(tiny_spec(replace(SPREAD, max_depth=80.0)), constant(0.0))
    depth = annotator.infer_resized(make_images(14, 14)).depth
    assert depth.unique().tolist() == [40.0]
