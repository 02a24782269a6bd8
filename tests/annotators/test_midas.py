"""MiDaS on transformers' networks: both layouts of weights, dtypes, and what is refused."""

import copy
import functools
import importlib
import re
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from depth_normal.annotators.midas import MidasAnnotator
from depth_normal.annotators.registry import MODELS
from depth_normal.annotators.specs.base import CheckpointError
from depth_normal.annotators.specs.midas import DPT_BEIT_LARGE, DPT_HYBRID, DPT_LARGE, DPT_SWIN2_TINY
from depth_normal.geometry.estimate import Quantity
from tests.random_weights import make_images, randomise
from tests.torch_calls import Calls

NECK = {"neck_hidden_sizes": [16, 24, 32, 32], "fusion_hidden_size": 16}
VIT = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "backbone_out_indices": [0, 1, 2, 3]}
BIT = {"depths": [1, 2, 1], "hidden_sizes": [32, 64, 128], "embedding_size": 16, "num_groups": 4, "layer_type": "bottleneck"}
BIT_STAGES = {"global_padding": "same", "embedding_dynamic_padding": True, "out_features": ["stage1", "stage2", "stage3"]}
TINY = {
    "hybrid": replace(
        DPT_HYBRID,
        dpt={
            **DPT_HYBRID.dpt,
            **VIT,
            "image_size": 64,
            "backbone_config": {"model_type": "bit", **BIT, **BIT_STAGES},
            "backbone_featmap_shape": [1, 128, 4, 4],
            "neck_hidden_sizes": [32, 64, 32, 32],
            "fusion_hidden_size": 16,
        },
    ),
    "vit": replace(DPT_LARGE, dpt={**DPT_LARGE.dpt, **VIT, **NECK, "image_size": 64}),
    "beit": replace(
        DPT_BEIT_LARGE,
        dpt=NECK,
        backbone_config={
            **DPT_BEIT_LARGE.backbone_config,
            **{key: value for key, value in VIT.items() if key != "backbone_out_indices"},
            "image_size": 64,
            "out_features": ["stage1", "stage2", "stage3", "stage4"],
        },
    ),
    "swinv2": replace(
        DPT_SWIN2_TINY,
        dpt={"neck_hidden_sizes": [8, 16, 32, 64], "fusion_hidden_size": 16},
        backbone_config={
            **DPT_SWIN2_TINY.backbone_config,
            "image_size": 64,
            "embed_dim": 8,
            "depths": (2, 2, 2, 2),
            "num_heads": (1, 2, 4, 8),
            "window_size": 8,
        },
    ),
}
IDS = {"hybrid": "midas-dpt-hybrid", "vit": "midas-dpt-large", "beit": "midas-beit-large-512", "swinv2": "midas-swin2-tiny"}

# transformers' names on the hub -> the authors', for the attention's three parts put together
P = "pretrained.model."
TO_OFFICIAL = (
    (r"^head\.head\.", "scratch.output_conv."),
    (r"^neck\.convs\.(\d)", lambda found: f"scratch.layer{int(found[1]) + 1}_rn"),
    (r"^neck\.fusion_stage\.layers\.(\d)\.projection", lambda found: f"scratch.refinenet{4 - int(found[1])}.out_conv"),
    (r"^neck\.fusion_stage\.layers\.(\d)", lambda found: f"scratch.refinenet{4 - int(found[1])}"),
    (r"residual_layer(\d)\.convolution(\d)", r"resConfUnit\1.conv\2"),
    (r"^neck\.reassemble_stage\.readout_projects\.(\d)\.0", lambda found: f"pretrained.act_postprocess{int(found[1]) + 1}.0.project.0"),
    (r"^neck\.reassemble_stage\.layers\.(\d)\.projection", lambda found: f"pretrained.act_postprocess{int(found[1]) + 1}.3"),
    (r"^neck\.reassemble_stage\.layers\.(\d)\.resize", lambda found: f"pretrained.act_postprocess{int(found[1]) + 1}.4"),
    (r"^(dpt|backbone)\.embeddings\.cls_token", P + "cls_token"),
    (r"^dpt\.embeddings\.position_embeddings", P + "pos_embed"),
    (r"^dpt\.layernorm", P + "norm"),
    (r"^(dpt|backbone)\.embeddings\.(patch_embeddings\.)?projection", P + "patch_embed.proj"),
    (r"^backbone\.embeddings\.norm", P + "patch_embed.norm"),
    (r"^dpt\.embeddings\.backbone\.bit\.embedder\.convolution", P + "patch_embed.backbone.stem.conv"),
    (r"^dpt\.embeddings\.backbone\.bit\.embedder\.norm", P + "patch_embed.backbone.stem.norm"),
    (r"^dpt\.embeddings\.backbone\.bit\.encoder\.stages\.(\d)\.layers\.", P + r"patch_embed.backbone.stages.\1.blocks."),
    (r"^(dpt|backbone)\.encoder\.layer\.", P + "blocks."),
    (r"^backbone\.encoder\.layers\.", P + "layers."),
    (r"layernorm_before|layernorm_after", lambda found: "norm1" if found[0].endswith("before") else "norm2"),
    (r"attention\.output\.dense", "attn.proj"),
    (r"\.intermediate\.dense", ".mlp.fc1"),
    (r"\.output\.dense", ".mlp.fc2"),
    (r"\.lambda_([12])$", r".gamma_\1"),
    (r"attention\.(attention|self)\.", "attn."),
    (r"attn\.relative_position_bias\.", "attn."),
    (r"attn\.continuous_position_bias_mlp", "attn.cpb_mlp"),
)


def official(hub, variant):
    names = {key: key for key in hub}
    for pattern, replacement in TO_OFFICIAL:
        names = {key: re.sub(pattern, replacement, name) for key, name in names.items()}
    state = {name: hub[key] for key, name in names.items()}
    for name in [name for name in state if re.search(r"attn\.query\.", name)]:
        if name.endswith("bias") and variant in ("beit", "swinv2"):
            state[name.replace("query.bias", "q_bias")] = state.pop(name)
            state[name.replace("query.bias", "v_bias")] = state.pop(name.replace("query", "value"))
        else:
            state[name.replace("query", "qkv")] = torch.cat([state.pop(name.replace("query", part)) for part in ("query", "key", "value")])
    return state


def build(variant, state, dtype=torch.float32):
    spec = replace(MODELS[IDS[variant]], config=TINY[variant])
    return MidasAnnotator.build(spec, {"network": state}, dtype)


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


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """(transformers' own network, its weights as `save_pretrained` writes them) of a variant, tiny."""

    @functools.cache
    def make(variant):
        network = transformers_network(TINY[variant])
        folder = tmp_path_factory.mktemp(variant)
        network.save_pretrained(folder)
        return network, load_file(folder / "model.safetensors")

    return make


# a name of each variant in Intel's files on the hub, so that the layout tested is the one that is published
ON_THE_HUB = {
    "hybrid": "dpt.embeddings.backbone.bit.encoder.stages.0.layers.0.downsample.conv.weight",
    "vit": "dpt.encoder.layer.3.attention.attention.query.weight",
    "beit": "backbone.encoder.layer.3.attention.attention.relative_position_bias.relative_position_bias_table",
    "swinv2": "backbone.encoder.layers.1.blocks.0.attention.self.continuous_position_bias_mlp.0.weight",
}


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("variant", TINY)
def test_both_layouts_give_what_transformers_gives(hub, variant):
    network, state = hub(variant)
    assert ON_THE_HUB[variant] in state
    images = make_images(64, 64, 2)
    expected = network(images * 2 - 1).predicted_depth[:, None]
    assert expected.min() > 0
    for layout in (state, official(state, variant)):
        estimate = build(variant, layout).infer_resized(images)
        assert estimate.quantity is Quantity.DISPARITY
        error = (estimate.depth - expected).abs().max()
        assert error < 1e-5 * expected.max()
        assert error < 1e-4 * expected.std()


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("variant", TINY)
def test_an_image_that_is_not_square_keeps_its_shape_and_each_of_a_batch_its_values(hub, variant):
    annotator = build(variant, hub(variant)[1])
    images = make_images(64, 96, 3)
    together = annotator.infer_resized(images).depth
    assert together.shape == (3, 1, 64, 96)
    alone = torch.cat([annotator.infer_resized(image[None]).depth for image in images])
    assert torch.allclose(together, alone, rtol=1e-5, atol=1e-5)
    assert (together[0] - together[1]).abs().max() > 1e-3


@pytest.mark.parametrize("variant", ["beit", "swinv2"])
def test_the_index_tables_that_older_versions_wrote_are_no_obstacle(hub, variant):
    state = dict(hub(variant)[1])
    table = next(key for key in state if key.endswith(("relative_position_bias_table", "logit_scale")))
    state[table.rsplit(".", 1)[0] + ".relative_position_index"] = torch.zeros(3, 3, dtype=torch.long)
    build(variant, state)


PROJECTION = "neck.fusion_stage.layers.1.projection.weight"
QKV, VIT_QKV = P + "layers.0.blocks.0.attn.qkv.weight", P + "blocks.0.attn.qkv.weight"


@pytest.mark.parametrize(
    ("variant", "layout", "changed", "named"),
    [
        ("hybrid", "hub", {PROJECTION: None}, PROJECTION),
        ("vit", "official", {"scratch.refinenet3.out_conv.weight": None}, PROJECTION),
        ("vit", "hub", {"neck.convs.7.weight": torch.zeros(3)}, "neck.convs.7.weight"),
        ("hybrid", "official", {"scratch.layer8_rn.weight": torch.zeros(3)}, "neck.convs.7.weight"),
        ("swinv2", "official", {"scratch.stem_transpose.conv.weight": torch.zeros(3)}, "scratch.stem_transpose.conv.weight"),
        ("swinv2", "hub", {PROJECTION: torch.zeros(5, 16, 1, 1)}, PROJECTION),
        ("beit", "official", {"scratch.refinenet3.out_conv.weight": torch.zeros(5, 16, 1, 1)}, PROJECTION),
    ],
    ids=["missing", "missing, official", "extra", "extra, official", "unknown, official", "shape", "shape, official"],
)
def test_a_checkpoint_that_differs_is_refused_by_name(hub, variant, layout, changed, named):
    state = hub(variant)[1]
    state = official(state, variant) if layout == "official" else state
    state = {name: value for name, value in {**state, **changed}.items() if value is not None}
    with pytest.raises(CheckpointError, match=rf"not a checkpoint of {IDS[variant]}: 1 .*{re.escape(named)}"):
        build(variant, state)


@pytest.mark.parametrize(
    ("variant", "key", "shape"), [("swinv2", QKV, (2, 8)), ("vit", "weight", (3,)), ("vit", VIT_QKV, ()), ("vit", VIT_QKV, (2, 2))]
)
def test_no_three_parts_and_what_is_no_midas_at_all_are_refused(hub, variant, key, shape):
    whole = official(hub("swinv2")[1], "swinv2") if variant == "swinv2" else {}
    with pytest.raises(CheckpointError, match=f"not a checkpoint of {IDS[variant]}.*{re.escape(key) if whole else ''}"):
        build(variant, {**whole, key: torch.zeros(shape)})


@pytest.mark.quick_cases(3)
@pytest.mark.parametrize("layout", ["hub", "official"])
@pytest.mark.parametrize(("given", "wanted"), [("vit", "hybrid"), ("hybrid", "vit"), ("vit", "beit"), ("beit", "vit"), ("beit", "swinv2")])
def test_another_architectures_checkpoint_is_refused(hub, given, wanted, layout):
    state = hub(given)[1]
    state = official(state, given) if layout == "official" else state
    with pytest.raises(CheckpointError, match=rf"not a checkpoint of {IDS[wanted]}: .*keys \(first: "):
        build(wanted, state)


def test_transformers_keeps_its_verbosity_and_its_bars(hub):
    logging = importlib.import_module("transformers.utils.logging")
    state = hub("vit")[1]
    before = logging.get_verbosity()
    logging.set_verbosity_info()
    try:
        build("vit", state)
        with pytest.raises(CheckpointError):
            build("vit", {"weight": torch.zeros(3)})
        assert logging.get_verbosity() == logging.INFO
        assert logging.is_progress_bar_enabled()
    finally:
        logging.set_verbosity(before)


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("variant", TINY)
def test_lower_precision_gives_float32_near_the_same(hub, variant, dtype):
    state = hub(variant)[1]
    images = make_images(64, 96)
    exact = build(variant, state).infer_resized(images).depth
    found = build(variant, state, dtype).infer_resized(images).depth
    assert found.dtype == torch.float32
    # eight bits of mantissa, rounded some tens of times on the way
    tolerance = 2.0**-4 if dtype == torch.bfloat16 else 2.0**-7
    assert (found - exact).abs().max() < tolerance * (exact.max() - exact.min())
    assert (found.to(dtype).float() != found).float().mean() > 0.5, "the disparity has only the steps of the low precision"


@pytest.mark.quick_cases(1)
@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_weights_are_standardised_once_and_the_same_as_in_each_pass(hub, dtype):
    network, state = hub("hybrid")
    annotator = build("hybrid", state, dtype)
    with Calls() as calls:
        annotator.infer_resized(make_images(64, 64))
    assert calls.of("convolution") and not calls.of("batch_norm")
    library = dict(copy.deepcopy(network).to(dtype).named_modules())
    layers = {name: layer for name, layer in library.items() if type(layer).__name__ == "WeightStandardizedConv2d"}
    assert layers
    for name, layer in layers.items():
        x = torch.rand(2, layer.in_channels, 15, 18).to(dtype, memory_format=torch.channels_last)  # sides of which the padding differs
        expected = layer(x)
        error = (annotator.network.get_submodule(name)(x) - expected).abs().max()
        assert error <= 4 * torch.finfo(dtype).eps * expected.abs().max()


@pytest.mark.parametrize("has_amx", [False, True])
def test_bfloat16_multiplies_as_such_in_attention_where_torchs_own_does_not(hub, monkeypatch, has_amx):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: has_amx, raising=False)

    def asks_torch(dtype):
        annotator = build("hybrid", hub("hybrid")[1], dtype)
        with torch.no_grad(), Calls() as calls:
            annotator.infer_resized(make_images(64, 64))
        return calls.of("scaled_dot_product") > 0

    if not asks_torch(torch.float32):
        pytest.skip("this version of transformers multiplies attention's matrices itself")
    assert asks_torch(torch.bfloat16) == has_amx


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_a_disparity_beyond_float16_does_not_overflow(hub, dtype):
    state = dict(hub("vit")[1])
    state["head.head.4.weight"] = state["head.head.4.weight"] * 1e5
    state["head.head.4.bias"] = torch.full((1,), 1e6)
    depth = build("vit", state, dtype).infer_resized(make_images(64, 64)).depth
    assert torch.isfinite(depth).all()
    assert depth.max() > 1e6


def test_a_checkpoint_in_half_precision_computes_in_the_dtype_asked_for(hub):
    state = {key: value.half() for key, value in hub("vit")[1].items()}
    images = make_images(64, 64)
    annotator = build("vit", state)
    assert {value.dtype for value in annotator.network.parameters()} == {torch.float32}
    widened = build("vit", {key: value.float() for key, value in state.items()})
    assert torch.equal(annotator.infer_resized(images).depth, widened.infer_resized(images).depth)


def test_the_file_in_memory_stays_as_it_was(hub):
    state = hub("vit")[1]
    before = {key: value.clone() for key, value in state.items()}
    build("vit", state, torch.float16)
    assert all(torch.equal(value, before[key]) and value.dtype == torch.float32 for key, value in state.items())
