"""The parameter names of MiDaS's transformer networks: the authors' -> those of the transformers library's DPT."""

from __future__ import annotations

import re

from torch import Tensor

from .published import Rule, StateDict, rename

_VIT = r"^pretrained\.model\."
_BLOCK = {
    "hybrid": (_VIT + r"blocks\.(\d+)\.", r"dpt.encoder.layer.\1."),
    "vit": (_VIT + r"blocks\.(\d+)\.", r"dpt.encoder.layer.\1."),
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
    "vit": (
        *_DPT,
        (_VIT + r"patch_embed\.proj\.", "dpt.embeddings.patch_embeddings.projection."),
    ),
    "hybrid": (
        *_DPT,
        (_VIT + r"patch_embed\.proj\.", "dpt.embeddings.projection."),
        (_VIT + r"patch_embed\.backbone\.stem\.conv\.", "dpt.embeddings.backbone.bit.embedder.convolution."),
        (_VIT + r"patch_embed\.backbone\.stem\.norm\.", "dpt.embeddings.backbone.bit.embedder.norm."),
        (
            _VIT + r"patch_embed\.backbone\.stages\.(\d)\.blocks\.(\d)\.",
            r"dpt.embeddings.backbone.bit.encoder.stages.\1.layers.\2.",
        ),
    ),
    "beit": (
        (_VIT + r"cls_token$", "backbone.embeddings.cls_token"),
        (_VIT + r"patch_embed\.proj\.", "backbone.embeddings.patch_embeddings.projection."),
        (r"\.gamma_([12])$", r".lambda_\1"),
        (
            r"\.attn\.relative_position_bias_table$",
            ".attention.attention.relative_position_bias.relative_position_bias_table",
        ),
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
# what older versions of timm and of transformers wrote, and the newer ones compute
_TABLES = re.compile(r"\.(relative_position_index|relative_coords_table)$")
_UNUSED_NORM = re.compile(r"^pretrained\.model\.norm\.")


def dpt_to_hub(state: StateDict, backbone: str) -> StateDict:
    """A state dict under transformers' names, whether it has them or the authors', without what is never used or is computed."""
    state = {key: value for key, value in state.items() if not _TABLES.search(key)}
    official = any(key.startswith(("pretrained.", "scratch.")) for key in state)
    return dpt_official_to_hub(state, backbone) if official else state


def dpt_official_to_hub(state: StateDict, backbone: str) -> dict[str, Tensor]:
    """The authors' state dict under transformers' names, without what the network never uses."""
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
