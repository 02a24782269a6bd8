"""MiDaS: disparity from one picture, up to scale and shift.

Source:
    Ranftl et al., "Towards Robust Monocular Depth Estimation" (2020) and "Vision Transformers for Dense Prediction" (2021); code
    isl-org/MiDaS. The transformer networks are those of the transformers library, the convolutional one is `midas_small`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..geometry.estimate import Estimate, Quantity
from .base import IMAGENET_MEAN, IMAGENET_STD, Annotator, CheckpointError, ModelSpec, StateDict, checkpoint_mismatch, from_transformers
from .hub import from_state_dict
from .midas_small import DisparityHead, meta_network
from .resizing import Fit, Resizing, cubic

HALF = (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class MidasConfig:
    """An architecture of MiDaS.

    Attributes:
        backbone: "hybrid", "vit", "swinv2" or "beit" (transformers' DPT), or "efficientnet-lite3".
        dpt: Keyword arguments of transformers' DPTConfig.
        backbone_config: Keyword arguments of the backbone's own config, where it has one.
        mean: Subtracted from the RGB values in [0, 1] ...
        std: ... before they are divided by this.
    """

    backbone: str
    dpt: Mapping[str, Any] | None = None
    backbone_config: Mapping[str, Any] | None = None
    mean: tuple[float, float, float] = HALF
    std: tuple[float, float, float] = HALF


DPT_HYBRID = MidasConfig(
    backbone="hybrid",
    dpt={"is_hybrid": True, "hidden_size": 768, "reassemble_factors": [1, 1, 1, 0.5], "neck_hidden_sizes": [256, 512, 768, 768]},
)
DPT_LARGE = MidasConfig(
    backbone="vit",
    dpt={
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "backbone_out_indices": [5, 11, 17, 23],
        "neck_hidden_sizes": [256, 512, 1024, 1024],
    },
)
DPT_SWIN2_TINY = MidasConfig(
    backbone="swinv2",
    dpt={"neck_hidden_sizes": [96, 192, 384, 768]},
    backbone_config={
        "image_size": 256,
        "embed_dim": 96,
        "depths": (2, 2, 6, 2),
        "num_heads": (3, 6, 12, 24),
        "window_size": 16,
        "pretrained_window_sizes": (0, 0, 0, 0),
        "out_features": ["stage1", "stage2", "stage3", "stage4"],
    },
)
DPT_BEIT_LARGE = MidasConfig(
    backbone="beit",
    dpt={"neck_hidden_sizes": [256, 512, 1024, 1024]},
    backbone_config={
        "image_size": 512,
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "use_relative_position_bias": True,
        "reshape_hidden_states": False,
        "out_features": ["stage6", "stage12", "stage18", "stage24"],
    },
)
MIDAS_SMALL = MidasConfig(backbone="efficientnet-lite3", mean=IMAGENET_MEAN, std=IMAGENET_STD)

# of the authors' run.py, by version
DPT_RESIZING = Resizing(Fit.MINIMAL, resample=cubic)
SWIN2_RESIZING = Resizing(Fit.STRETCHED, resample=cubic)
SMALL_RESIZING = Resizing(Fit.UPPER_BOUND, resample=cubic)


class MidasAnnotator(Annotator):
    """MiDaS, any version.

    Convention:
        Disparity: large = near, unknown scale and shift, never negative; typically 0 to a few thousand.
    """

    bytes_per_pixel = 2600
    auto_dtypes = (torch.float16,)
    resampling = "bicubic"

    @classmethod
    def build(cls, spec: ModelSpec, states: Mapping[str, StateDict], dtype: torch.dtype) -> MidasAnnotator:
        """See `Annotator.build`. Takes the authors' checkpoints and the Hugging Face conversions of them."""
        if spec.config.backbone == "efficientnet-lite3":
            network = _build_small(spec, states["network"])
        else:
            network = _build_dpt(spec, states["network"])
        exact = {module: module.state_dict() for module in network.modules() if isinstance(module, DisparityHead)}
        network.to(dtype).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]  torch's stubs forget it
        for head, state in exact.items():
            head.keep_float32(state)
        if spec.config.backbone == "swinv2" and dtype == torch.float16:
            # its attention divides by norms, zero where windows are padded; float16 has no number as small as the epsilon there
            network.get_submodule("backbone").float()
        return cls(spec, network)

    @classmethod
    def check_requirements(cls, spec: ModelSpec) -> None:
        """See `Annotator.check_requirements`."""
        if spec.config.backbone != "efficientnet-lite3":
            from_transformers("DPTForDepthEstimation")

    def predict(self, pixels: Tensor) -> Estimate:
        """See `Annotator.predict`."""
        config = self.spec.config
        mean, std = (pixels.new_tensor(value)[:, None, None] for value in (config.mean, config.std))
        first = next(self.network.parameters())
        normalised = ((pixels - mean) / std).to(first.dtype).contiguous(memory_format=torch.channels_last)
        return Estimate(depth=self.network(normalised).contiguous(), quantity=Quantity.DISPARITY)


def _build_small(spec: ModelSpec, state: StateDict) -> nn.Module:
    network = meta_network()
    expected = network.state_dict()
    if mismatch := checkpoint_mismatch(expected, state):
        raise CheckpointError(f"not a checkpoint of {spec.id}: {mismatch}")
    network.load_state_dict(dict(state), assign=True)
    return network


def _build_dpt(spec: ModelSpec, state: StateDict) -> nn.Module:
    """The transformers library's DPT without its demand for square pictures; with the head of `midas_small`."""
    (base,) = from_transformers("DPTForDepthEstimation")

    class Dpt(base):
        def forward(self, x: Tensor) -> Tensor:
            rows, columns = x.shape[-2] // 16, x.shape[-1] // 16
            if self.backbone is not None:
                maps = [each.to(self.head.head[0].weight.dtype) for each in self.backbone(x).feature_maps]
                return self.head.head(self.neck(maps, rows, columns)[-1])
            indices = self.config.backbone_out_indices
            if self.config.is_hybrid:
                self.dpt.embeddings.image_size = tuple(x.shape[-2:])  # what it compares the picture with; the embedding is resized
            outputs = self.dpt(x, output_hidden_states=True)
            hidden = outputs.hidden_states[1:]
            if self.config.is_hybrid:
                features = [*outputs.intermediate_activations[:2], *(hidden[i] for i in indices[2:])]
            else:
                features = [hidden[i] for i in indices]
            return self.head.head(self.neck(features, rows, columns)[-1])

    state = {key: value for key, value in state.items() if not _TABLES.search(key)}
    official = any(key.startswith(("pretrained.", "scratch.")) for key in state)
    hub_state = dpt_official_to_hub(state, spec.config.backbone) if official else state
    network = from_state_dict(Dpt, _transformers_config(spec.config), hub_state, spec.id)
    network.head.head = DisparityHead(*network.head.head)
    return network


def _transformers_config(config: MidasConfig) -> Any:
    dpt_config, swinv2_config, beit_config = from_transformers("DPTConfig", "Swinv2Config", "BeitConfig")
    backbones = {"swinv2": swinv2_config, "beit": beit_config}
    backbone = {}
    if config.backbone_config is not None:
        backbone["backbone_config"] = backbones[config.backbone](**config.backbone_config)
    # 1e-6 is timm's, with which the authors trained; the library's default is 1e-12
    return dpt_config(**(config.dpt or {}), **backbone, layer_norm_eps=1e-6, use_batch_norm_in_fusion_residual=False)


# The authors' parameter names -> transformers'. Applied in order; group numbers may go through `_RENUMBER`.
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
_RULES: dict[str, tuple[tuple[str, str], ...]] = {
    "vit": (
        (_VIT + r"cls_token$", "dpt.embeddings.cls_token"),
        (_VIT + r"pos_embed$", "dpt.embeddings.position_embeddings"),
        (_VIT + r"norm\.", "dpt.layernorm."),
        (_VIT + r"patch_embed\.proj\.", "dpt.embeddings.patch_embeddings.projection."),
        (r"\.attn\.qkv\.", ".attention.attention.{qkv}."),
    ),
    "hybrid": (
        (_VIT + r"cls_token$", "dpt.embeddings.cls_token"),
        (_VIT + r"pos_embed$", "dpt.embeddings.position_embeddings"),
        (_VIT + r"norm\.", "dpt.layernorm."),
        (_VIT + r"patch_embed\.proj\.", "dpt.embeddings.projection."),
        (_VIT + r"patch_embed\.backbone\.stem\.conv\.", "dpt.embeddings.backbone.bit.embedder.convolution."),
        (_VIT + r"patch_embed\.backbone\.stem\.norm\.", "dpt.embeddings.backbone.bit.embedder.norm."),
        (
            _VIT + r"patch_embed\.backbone\.stages\.(\d)\.blocks\.(\d)\.",
            r"dpt.embeddings.backbone.bit.encoder.stages.\1.layers.\2.",
        ),
        (r"\.attn\.qkv\.", ".attention.attention.{qkv}."),
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
_NECK = (
    (r"^scratch\.layer(\d)_rn\.", "neck.convs.{dec}."),
    (r"^scratch\.refinenet(\d)\.out_conv\.", "neck.fusion_stage.layers.{rev}.projection."),
    (r"^scratch\.refinenet(\d)\.", "neck.fusion_stage.layers.{rev}."),
    (r"\.resConfUnit(\d)\.conv(\d)\.", r".residual_layer\1.convolution\2."),
    (r"^pretrained\.act_postprocess(\d)\.0\.project\.0\.", "neck.reassemble_stage.readout_projects.{dec}.0."),
    (r"^pretrained\.act_postprocess(\d)\.3\.", "neck.reassemble_stage.layers.{dec}.projection."),
    (r"^pretrained\.act_postprocess(\d)\.4\.", "neck.reassemble_stage.layers.{dec}.resize."),
    (r"^scratch\.output_conv\.", "head.head."),
)
_UNUSED = re.compile(r"^pretrained\.model\.(head|head_dist|fc_norm|patch_embed\.backbone\.norm)\.|^auxlayer\.|attn_mask$|\.k_bias$")
# what older versions of timm and of transformers wrote, and the newer ones compute
_TABLES = re.compile(r"\.(relative_position_index|relative_coords_table)$")
_UNUSED_NORM = re.compile(r"^pretrained\.model\.norm\.")


def dpt_official_to_hub(state: StateDict, backbone: str) -> dict[str, Tensor]:
    """The authors' state dict under transformers' names, without what the network never uses."""
    rules = (_BLOCK[backbone], *_RULES[backbone], *_IN_BLOCK_VIT, *_NECK)
    renamed: dict[str, Tensor] = {}
    for key, value in state.items():
        if _UNUSED.search(key) or (backbone in ("beit", "swinv2") and _UNUSED_NORM.search(key)):
            continue
        new_key = key
        for pattern, replacement in rules:
            new_key = re.sub(pattern, lambda match, template=replacement: _expand(match, template), new_key)
        if "{qkv}" in new_key and value.ndim and value.shape[0] % 3 == 0:
            for name, part in zip(("query", "key", "value"), value.chunk(3), strict=True):
                renamed[new_key.replace("{qkv}", name)] = part
        else:
            renamed[key if "{qkv}" in new_key else new_key] = value
    return renamed


def _expand(match: re.Match[str], template: str) -> str:
    r"""Fills `\1`, and `{dec}` = first group - 1, `{rev}` = 4 - first group."""
    if "{dec}" in template or "{rev}" in template:
        number = int(match.group(1))
        return template.replace("{dec}", str(number - 1)).replace("{rev}", str(4 - number))
    return match.expand(template)
