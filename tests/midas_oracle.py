"""MiDaS 3.1 as controlnet-aux has the authors' code, beside ZoeDepth's; and small, on a BEiT of four blocks."""

import importlib

import pytest
from torch import nn

PACKAGE = "controlnet_aux.zoe.zoedepth.models.base_models"
BLOCKS = {"hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4}
BLOCKS |= {"out_features": ["stage1", "stage2", "stage3", "stage4"]}
"""Those of `SmallBeit`, as transformers' configuration has them."""


def authors(name):
    pytest.importorskip("timm", reason="the oracle's encoders are timm's (extra 'test')")
    pytest.importorskip(PACKAGE, reason="the oracle is controlnet-aux (extra 'test')")
    return importlib.import_module(f"{PACKAGE}.{name}")


def dpt(backbone):
    """Their network on an encoder that they know; its disparity is not negative."""
    return authors("midas_repo.midas.dpt_depth").DPTDepthModel(backbone=backbone, non_negative=True)


class SmallBeit(nn.Module):
    """Their network on four blocks of 64 channels; their large one has 24 of 1024."""

    number_layers, channels_last, features, channels = 4, False, 32, (32, 48, 64, 64)

    def __init__(self, side):
        super().__init__()
        beit, blocks, dpt_depth = (authors(f"midas_repo.midas.{name}") for name in ("backbones.beit", "blocks", "dpt_depth"))
        size = {"img_size": side, "embed_dim": 64, "depth": 4, "num_heads": 4}
        encoder = importlib.import_module("timm.models.beit").Beit(**size, init_values=0.1, use_abs_pos_emb=False, use_rel_pos_bias=True)
        self.pretrained = beit._make_beit_backbone(encoder, self.channels, [side, side], [0, 1, 2, 3], 64, use_readout="project")
        self.forward_transformer, self.whole = blocks.forward_beit, dpt_depth.DPT.forward
        self.scratch = blocks._make_scratch(self.channels, self.features)
        self.scratch.stem_transpose = None
        for level in (1, 2, 3, 4):
            setattr(self.scratch, f"refinenet{level}", dpt_depth._make_fusion_block(self.features, False))
        self.scratch.output_conv = nn.Sequential(
            nn.Conv2d(self.features, self.features // 2, 3, padding=1),
            dpt_depth.Interpolate(scale_factor=2, mode="bilinear", align_corners=True),
            nn.Conv2d(self.features // 2, 32, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 1, 1),
            nn.ReLU(),
        )

    def forward(self, x):
        return self.whole(self, x).squeeze(1)
