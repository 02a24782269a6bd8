"""MiDaS: transformers' names for its transformer checkpoints, and v2.1 small with its EfficientNet-Lite3 encoder.

Parameter names of the latter are the official checkpoint's.

Source:
    Ranftl et al., "Towards Robust Monocular Depth Estimation" (2020), code isl-org/MiDaS v2.1.
"""

from __future__ import annotations

import re

from torch import Tensor, nn

from .dpt import Fusion
from .efficientnet import LITE3, SameConv2d, batch_norm, encoder_stages
from .layers import conv3x3
from .published import Rule, StateDict, rename

_VIT = r"^pretrained\.model\."
_BLOCK = {
    **dict.fromkeys(("hybrid", "vit"), (_VIT + r"blocks\.(\d+)\.", r"dpt.encoder.layer.\1.")),
    "beit": (_VIT + r"blocks\.(\d+)\.", r"backbone.encoder.layer.\1."),
    "swinv2": (_VIT + r"layers\.(\d)\.blocks\.(\d+)\.", r"backbone.encoder.layers.\1.blocks.\2."),
}
_IN_BLOCK_VIT = (
    (r"(layer\.\d+)\.norm1\.", r"\1.layernorm_before."),
    (r"(layer\.\d+)\.norm2\.", r"\1.layernorm_after."),
    (r"(layer\.\d+|blocks\.\d+)\.attn\.proj\.", r"\1.attention.output.dense."),
    (r"(layer\.\d+|blocks\.\d+)\.mlp\.fc1\.", r"\1.intermediate.dense."),
    (r"(layer\.\d+|blocks\.\d+)\.mlp\.fc2\.", r"\1.output.dense."),
)
_DPT = (
    (_VIT + r"cls_token$", "dpt.embeddings.cls_token"),
    (_VIT + r"pos_embed$", "dpt.embeddings.position_embeddings"),
    (_VIT + r"norm\.", "dpt.layernorm."),
    (r"\.attn\.qkv\.", ".attention.attention.{qkv}."),
)
_RULES: dict[str, tuple[Rule, ...]] = {
    "vit": (*_DPT, (_VIT + r"patch_embed\.proj\.", "dpt.embeddings.patch_embeddings.projection.")),
    "hybrid": (
        *_DPT,
        (_VIT + r"patch_embed\.proj\.", "dpt.embeddings.projection."),
        (_VIT + r"patch_embed\.backbone\.stem\.conv\.", "dpt.embeddings.backbone.bit.embedder.convolution."),
        (_VIT + r"patch_embed\.backbone\.stem\.norm\.", "dpt.embeddings.backbone.bit.embedder.norm."),
        (_VIT + r"patch_embed\.backbone\.stages\.(\d)\.blocks\.(\d)\.", r"dpt.embeddings.backbone.bit.encoder.stages.\1.layers.\2."),
    ),
    "beit": (
        (_VIT + r"cls_token$", "backbone.embeddings.cls_token"),
        (_VIT + r"patch_embed\.proj\.", "backbone.embeddings.patch_embeddings.projection."),
        (r"\.gamma_([12])$", r".lambda_\1"),
        (r"\.attn\.relative_position_bias_table$", ".attention.attention.relative_position_bias.relative_position_bias_table"),
        (r"\.attn\.q_bias$", ".attention.attention.query.bias"),
        (r"\.attn\.v_bias$", ".attention.attention.value.bias"),
        (r"\.attn\.qkv\.", ".attention.attention.{qkv}."),
    ),
    "swinv2": (
        (_VIT + r"layers\.(\d)\.downsample\.", r"backbone.encoder.layers.\1.downsample."),
        (_VIT + r"patch_embed\.proj\.", "backbone.embeddings.patch_embeddings.projection."),
        (_VIT + r"patch_embed\.norm\.", "backbone.embeddings.norm."),
        (r"(blocks\.\d+)\.norm1\.", r"\1.layernorm_before."),
        (r"(blocks\.\d+)\.norm2\.", r"\1.layernorm_after."),
        (r"\.attn\.logit_scale$", ".attention.self.logit_scale"),
        (r"\.attn\.cpb_mlp\.", ".attention.self.continuous_position_bias_mlp."),
        (r"\.attn\.q_bias$", ".attention.self.query.bias"),
        (r"\.attn\.v_bias$", ".attention.self.value.bias"),
        (r"\.attn\.qkv\.", ".attention.self.{qkv}."),
    ),
}
_NECK: tuple[Rule, ...] = (
    (r"^scratch\.layer(\d)_rn\.", lambda match: f"neck.convs.{int(match[1]) - 1}."),
    (r"^scratch\.refinenet(\d)\.out_conv\.", lambda match: f"neck.fusion_stage.layers.{4 - int(match[1])}.projection."),
    (r"^scratch\.refinenet(\d)\.", lambda match: f"neck.fusion_stage.layers.{4 - int(match[1])}."),
    (r"\.resConfUnit(\d)\.conv(\d)\.", r".residual_layer\1.convolution\2."),
    (r"^pretrained\.act_postprocess(\d)\.0\.project\.0\.", lambda match: f"neck.reassemble_stage.readout_projects.{int(match[1]) - 1}.0."),
    (r"^pretrained\.act_postprocess(\d)\.3\.", lambda match: f"neck.reassemble_stage.layers.{int(match[1]) - 1}.projection."),
    (r"^pretrained\.act_postprocess(\d)\.4\.", lambda match: f"neck.reassemble_stage.layers.{int(match[1]) - 1}.resize."),
    (r"^scratch\.output_conv\.", "head.head."),
)
_UNUSED = re.compile(r"^pretrained\.model\.(head|head_dist|fc_norm|patch_embed\.backbone\.norm)\.|^auxlayer\.|attn_mask$|\.k_bias$")
# written by older versions of timm and transformers; newer ones compute them
_TABLES = re.compile(r"\.(relative_position_index|relative_coords_table)$")
_UNUSED_NORM = re.compile(r"^pretrained\.model\.norm\.")


def dpt_to_hub(state: StateDict, backbone: str) -> StateDict:
    """A state dict, with transformers' or the authors' names, under transformers' names, without unused and computed entries."""
    state = {key: value for key, value in state.items() if not _TABLES.search(key)}
    official = any(key.startswith(("pretrained.", "scratch.")) for key in state)
    return dpt_official_to_hub(state, backbone) if official else state


def dpt_official_to_hub(state: StateDict, backbone: str) -> dict[str, Tensor]:
    """Renames the authors' state dict to transformers' names, without unused entries."""
    rules = (_BLOCK[backbone], *_RULES[backbone], *_IN_BLOCK_VIT, *_NECK)
    renamed: dict[str, Tensor] = {}
    for key, value in state.items():
        if _UNUSED.search(key) or (backbone in ("beit", "swinv2") and _UNUSED_NORM.search(key)):
            continue
        new_key = rename(key, rules)
        if "{qkv}" in new_key and value.ndim and value.shape[0] % 3 == 0:
            for name, part in zip(("query", "key", "value"), value.chunk(3), strict=True):
                renamed[new_key.replace("{qkv}", name)] = part
        else:
            renamed[key if "{qkv}" in new_key else new_key] = value
    return renamed


# the stages whose outputs the decoder uses, at 1/4, 1/8, 1/16 and 1/32 of the image
ENCODER_LAYERS = (slice(0, 2), slice(2, 3), slice(3, 5), slice(5, 7))
DECODER_CHANNELS = (64, 128, 256, 512)


class DisparityHead(nn.Sequential):
    """MiDaS's last layers, from features at half size to disparity; all but the first convolution run in float32.

    Disparity reaches thousands, beyond float16, and bfloat16's eight bits of mantissa would show as steps in normals.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Disparity (B, 1, H, W) float32 of features (B, C, H / 2, W / 2) of any float dtype."""
        first, *others = self
        values = first(input).float()
        for layer in others:
            values = layer(values)
        return values


class MidasSmall(nn.Module):
    """MiDaS v2.1 small.

    Convention:
        Input (B, 3, H, W), normalised by ImageNet's mean and deviation, H and W multiples of 32. Output (B, 1, H, W): disparity,
        large = near, unknown scale and shift, never negative.
    """

    def __init__(self) -> None:
        super().__init__()
        stages = encoder_stages(LITE3)
        stem = [SameConv2d(3, LITE3.stem, 3, 2, bias=False), batch_norm(LITE3.stem), nn.ReLU6()]
        self.pretrained = nn.Module()
        self.scratch = nn.Module()
        fused = (DECODER_CHANNELS[0], *DECODER_CHANNELS[:-1])
        for level, layer in enumerate(ENCODER_LAYERS):
            modules = ([*stem] if level == 0 else []) + stages[layer]
            features, channels = LITE3.stages[layer.stop - 1][4], DECODER_CHANNELS[level]
            setattr(self.pretrained, f"layer{level + 1}", nn.Sequential(*modules))
            setattr(self.scratch, f"layer{level + 1}_rn", nn.Conv2d(features, channels, 3, padding=1, bias=False))
            setattr(self.scratch, f"refinenet{level + 1}", Fusion(channels, fused[level]))  # the coarsest joins no finer map
        half = DECODER_CHANNELS[0] // 2
        self.scratch.output_conv = DisparityHead(
            conv3x3(2 * half, half),
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
            conv3x3(half, 32),
            nn.ReLU(),
            nn.Conv2d(32, 1, 1),
            nn.ReLU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        features = []
        for level in range(4):
            x = self.pretrained.get_submodule(f"layer{level + 1}")(x)
            features.append(self.scratch.get_submodule(f"layer{level + 1}_rn")(x))
        path = self.scratch.get_submodule("refinenet4")(features[3])
        for level in (2, 1, 0):
            path = self.scratch.get_submodule(f"refinenet{level + 1}")(path, features[level])
        return self.scratch.get_submodule("output_conv")(path)
