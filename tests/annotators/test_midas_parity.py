"""MiDaS against the authors' networks, at the same random weights: controlnet-aux's copy of them, and timm's encoders."""

import re
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from depth_normal.annotators.building import from_transformers, on_meta_device
from depth_normal.annotators.midas import MidasAnnotator, transformers_config
from depth_normal.annotators.networks.midas import dpt_official_to_hub
from depth_normal.annotators.registry import MODELS
from depth_normal.annotators.specs.midas import DPT_BEIT_LARGE
from tests.random_weights import make_images, randomise

timm = pytest.importorskip("timm", reason="the oracle's encoders are timm's (extra 'test')")
dpt_depth = pytest.importorskip("controlnet_aux.midas.midas.dpt_depth", reason="the oracle is controlnet-aux (extra 'test')")
from controlnet_aux.midas.midas import blocks as oracle_blocks  # noqa: E402
from controlnet_aux.midas.midas.vit import ProjectReadout, Transpose  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")


def lifted(network):
    """Random weights, and a disparity above what the last ReLU cuts."""
    randomise(network).scratch.output_conv[4].bias.fill_(20.0)
    return network


def assert_same(found, expected):
    assert found.dtype == torch.float32
    assert found.shape == expected.shape
    assert expected.min() > 0, "the ReLU hides errors: lift the oracle's output"
    error = (found - expected).abs().max()
    assert error < 1e-4 * expected.max()
    assert error < 1e-3 * expected.std(), "right on average, wrong in its structure"


def annotator(model_id, state, config=None):
    spec = MODELS[model_id]
    return MidasAnnotator.build(replace(spec, config=config or spec.config), {"network": state}, torch.float32)


def dpt_oracle(backbone):
    with torch.device("meta"):
        network = dpt_depth.DPTDepthModel(path=None, backbone=backbone, non_negative=True)
    return lifted(network.to_empty(device="cpu"))


@pytest.mark.slow("takes 1.5 GB of memory: the authors' network, not shrunk, in float64 too")
def test_dpt_hybrid_is_as_exact_as_the_authors(memory_freed):
    """Prints how far they are apart, and from float64 at the network's own size; docs/parity.md has the figures."""
    oracle = dpt_oracle("vitb_rn50_384")
    state = oracle.state_dict()
    assert {"pretrained.model.head.weight", "pretrained.model.norm.weight"} < state.keys()
    ours = annotator("midas-dpt-hybrid", state)
    for shape in ((64, 96, 2), (384, 384)):
        images = make_images(*shape)
        found, authors = ours.infer_resized(images).depth[:, 0], oracle(images * 2 - 1)
        assert_same(found, authors)
        print(f"{shape}: {float((found - authors).abs().max() / authors.max()):.1e} of the largest value apart")
    exact = oracle.double()(images.double() * 2 - 1)
    off, theirs = (float((each - exact).abs().max() / (exact.max() - exact.min())) for each in (found, authors))
    print(f"of the range from float64: {off:.1e} here, {theirs:.1e} the authors'")
    assert off < 2 * theirs


@pytest.mark.slow("takes 1.4 GB of memory: the authors' network, not shrunk")
def test_dpt_large(memory_freed):
    oracle = dpt_oracle("vitl16_384")
    images = make_images(64, 96)
    assert_same(annotator("midas-dpt-large", oracle.state_dict()).infer_resized(images).depth[:, 0], oracle(images * 2 - 1))


class Encoder(nn.Module):
    """A timm encoder whose blocks' outputs are kept, under the names of the official checkpoints."""

    def __init__(self, model, blocks, tokens_to_map):
        super().__init__()
        self.model = model
        self.maps = {}
        for level, block in enumerate(blocks, start=1):
            block.register_forward_hook(lambda _block, _inputs, output, level=level: self.maps.update({level: output}))
            setattr(self, f"act_postprocess{level}", tokens_to_map(level))

    def forward(self, x):
        self.model.forward_features(x)
        return [self.get_submodule(f"act_postprocess{level}")(self.maps[level]) for level in (1, 2, 3, 4)]


class Oracle(nn.Module):
    """MiDaS 3.1's network, put together from timm's encoder and controlnet-aux's decoder as the authors' dpt_depth.py does."""

    def __init__(self, encoder, channels, features):
        super().__init__()
        self.pretrained = encoder
        self.scratch = oracle_blocks._make_scratch(channels, features)
        for level in (1, 2, 3, 4):
            block = oracle_blocks.FeatureFusionBlock_custom(features, nn.ReLU(False), align_corners=True)
            setattr(self.scratch, f"refinenet{level}", block)
        self.scratch.output_conv = nn.Sequential(
            nn.Conv2d(features, features // 2, 3, padding=1),
            oracle_blocks.Interpolate(scale_factor=2, mode="bilinear", align_corners=True),
            nn.Conv2d(features // 2, 32, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 1, 1),
            nn.ReLU(),
        )

    def forward(self, x):
        maps = [self.scratch.get_submodule(f"layer{level}_rn")(found) for level, found in enumerate(self.pretrained(x), start=1)]
        path = self.scratch.get_submodule("refinenet4")(maps[3])
        for level in (3, 2, 1):
            path = self.scratch.get_submodule(f"refinenet{level}")(path, maps[level - 1])
        return self.scratch.get_submodule("output_conv")(path)

    def official_state(self):
        """The state dict as timm 0.6 wrote it: a stage's downsampling at its end, and what the network does not use."""
        state = {}
        for key, value in self.state_dict().items():
            state[re.sub(r"layers\.(\d)\.downsample", lambda found: f"layers.{int(found[1]) - 1}.downsample", key)] = value
        table = next(key for key in state if key.endswith(("relative_position_bias_table", "logit_scale")))
        prefix = table.rsplit(".", 1)[0]
        for buffer in ("relative_position_index", "relative_coords_table", "k_bias"):
            state[f"{prefix}.{buffer}"] = torch.zeros(4)
        state[f"{prefix.removesuffix('.attn')}.attn_mask"] = torch.zeros(4)
        return state


def beit_map(level, width, channels, grid):
    resize = {
        1: nn.ConvTranspose2d(channels, channels, 4, stride=4),
        2: nn.ConvTranspose2d(channels, channels, 2, stride=2),
        3: nn.Identity(),
        4: nn.Conv2d(channels, channels, 3, stride=2, padding=1),
    }[level]
    return nn.Sequential(ProjectReadout(width), Transpose(1, 2), nn.Unflatten(2, grid), nn.Conv2d(width, channels, 1), resize)


def beit_oracle(height, width):
    """Four blocks of 64 channels; the authors' large one has 24 of 1024."""
    channels = (32, 48, 64, 64)
    model = timm.models.beit.Beit(
        img_size=(height, width), embed_dim=64, depth=4, num_heads=4, init_values=0.1, use_abs_pos_emb=False, use_rel_pos_bias=True
    )
    grid = (height // 16, width // 16)
    encoder = Encoder(model, model.blocks, lambda level: beit_map(level, 64, channels[level - 1], grid))
    return lifted(Oracle(encoder, channels, 32))


SMALL_BEIT = replace(
    DPT_BEIT_LARGE,
    dpt={**DPT_BEIT_LARGE.dpt, "neck_hidden_sizes": [32, 48, 64, 64], "fusion_hidden_size": 32},
    backbone_config={
        **DPT_BEIT_LARGE.backbone_config,
        "image_size": 128,
        "hidden_size": 64,
        "intermediate_size": 256,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "out_features": ["stage1", "stage2", "stage3", "stage4"],
    },
)


def test_beit():
    oracle = beit_oracle(128, 128)
    images = make_images(128, 128, 2)
    ours = annotator("midas-beit-large-512", oracle.official_state(), SMALL_BEIT)
    assert_same(ours.infer_resized(images).depth, oracle(images * 2 - 1))


def test_beit_of_another_size_stretches_the_table_of_relative_positions():
    trained, oracle = beit_oracle(128, 128), beit_oracle(96, 160)
    state = {key: value for key, value in trained.state_dict().items() if not key.endswith("table")}
    for key, table in trained.state_dict().items():
        if key.endswith("table"):  # 15 x 15 offsets between the patches of an 8 x 8 grid, and three of the class token
            offsets = table[:-3].T.reshape(1, 4, 15, 15)
            stretched = F.interpolate(offsets, size=(11, 19), mode="bilinear", align_corners=False)
            state[key] = torch.cat((stretched.flatten(2)[0].T, table[-3:]))
    oracle.load_state_dict(state)
    images = make_images(96, 160)
    ours = annotator("midas-beit-large-512", trained.official_state(), SMALL_BEIT)
    assert_same(ours.infer_resized(images).depth, oracle(images * 2 - 1))


def test_the_large_beit_has_the_tensors_of_timms_and_the_authors_hooks():
    channels = (256, 512, 1024, 1024)
    with torch.device("meta"):
        model = timm.create_model("beit_large_patch16_512")
        encoder = Encoder(model, model.blocks[5::6], lambda level: beit_map(level, 1024, channels[level - 1], (32, 32)))
        oracle = Oracle(encoder, channels, 256)
    ours = on_meta_device(from_transformers("DPTForDepthEstimation")[0], transformers_config(DPT_BEIT_LARGE))
    expected = dpt_official_to_hub(oracle.state_dict(), "beit")
    assert sorted(value.shape for value in expected.values()) == sorted(value.shape for value in ours.state_dict().values())
    # hooks = [5, 11, 17, 23] in the authors' beit.py, counted from 0
    assert DPT_BEIT_LARGE.backbone_config["out_features"] == ["stage6", "stage12", "stage18", "stage24"]


@pytest.mark.slow("takes a second")
def test_swin2():
    """The tiny one, whole: it is small enough. It takes other sizes than its authors did."""
    model = timm.create_model("swinv2_tiny_window16_256")
    encoder = Encoder(model, [layer.blocks[-1] for layer in model.layers], lambda _level: nn.Identity())
    encoder.register_forward_hook(lambda _encoder, _inputs, maps: [each.permute(0, 3, 1, 2) for each in maps])
    oracle, images = lifted(Oracle(encoder, (96, 192, 384, 768), 256)), make_images(256, 256)
    ours = annotator("midas-swin2-tiny", oracle.official_state())
    assert_same(ours.infer_resized(images).depth, oracle(images * 2 - 1))
    depth = ours.infer_resized(make_images(96, 160, 2)).depth
    assert depth.shape == (2, 1, 96, 160)
    assert torch.isfinite(depth).all()
    assert depth.std() > 0
