"""ZoeDepth: metres from one picture, indoors (NYU), outdoors (KITTI), or whichever of the two the network takes it for.

Source:
    Bhat et al., "ZoeDepth: Zero-shot Transfer by Combining Relative and Metric Depth" (2023); code isl-org/ZoeDepth. The network is
    that of the transformers library.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..geometry.estimate import Estimate, Quantity
from .base import ModelSpec, StateDict, from_transformers
from .hub import from_state_dict
from .midas import DPT_BEIT_LARGE, dpt_official_to_hub
from .resizing import Fit, Resizing, linear_to_corners
from .zoe_depth_anything import BINS
from .zoe_inference import ZoeInference


@dataclass(frozen=True)
class ZoeConfig:
    """An architecture of ZoeDepth.

    Attributes:
        bin_centres: "softplus" (unbounded) or "normed" (between the ranges' ends).
        ranges: Name and greatest depth in metres of each kind of scene.
        backbone: Keyword arguments of transformers' BeitConfig.
        neck: Channels of the neck's four levels.
        features: Channels of the fusion path.
        frame: Height and width that pictures are fitted to.
    """

    bin_centres: str
    ranges: tuple[tuple[str, float], ...]
    backbone: Mapping[str, Any]
    neck: tuple[int, int, int, int] = (256, 512, 1024, 1024)
    features: int = 256
    frame: tuple[int, int] = (384, 512)


_CLASSIFIER = {
    "num_patch_transformer_layers": 4,
    "patch_transformer_hidden_size": 128,
    "patch_transformer_intermediate_size": 1024,
    "patch_transformer_num_attention_heads": 4,
}
_BEIT_LARGE_384 = {**(DPT_BEIT_LARGE.backbone_config or {}), "image_size": 384}
ZOE_NYU = ZoeConfig("softplus", (("nyu", 10.0),), _BEIT_LARGE_384)
# 80 as in the authors' evaluation: their default, and the Hugging Face configuration, cut everything beyond 10 m off
ZOE_KITTI = ZoeConfig("normed", (("kitti", 80.0),), _BEIT_LARGE_384, frame=(384, 768))
ZOE_NYU_KITTI = ZoeConfig("softplus", (("nyu", 10.0), ("kitti", 80.0)), _BEIT_LARGE_384)


def resizing(config: ZoeConfig) -> Resizing:
    """How the authors bring pictures to the size of a network's input."""
    return Resizing(Fit.MINIMAL, config.frame[1] / config.frame[0], linear_to_corners)


class ZoeAnnotator(ZoeInference):
    """ZoeDepth, any version."""

    @classmethod
    def build(cls, spec: ModelSpec, states: Mapping[str, StateDict], dtype: torch.dtype) -> ZoeAnnotator:
        """See `Annotator.build`. Takes the authors' checkpoints and the Hugging Face conversions of them."""
        (network_class,) = from_transformers("ZoeDepthForDepthEstimation")
        state = states["network"]
        if any(key.startswith("core.") for key in state):
            state = official_to_hub(state)
        network = from_state_dict(network_class, _transformers_config(spec.config), state, spec.id)
        network.to(memory_format=torch.channels_last)
        for part in (network.backbone, network.neck):
            part.to(dtype)
        # small differences of large numbers, and divisions by less than float16 holds
        for head in (network.relative_head, network.metric_head):
            head.float().register_forward_pre_hook(_to_float32, with_kwargs=True)
        return cls(spec, network)

    @classmethod
    def check_requirements(cls, spec: ModelSpec) -> None:
        """See `Annotator.check_requirements`."""
        from_transformers("ZoeDepthForDepthEstimation")

    def predict(self, pixels: Tensor) -> Estimate:
        """See `Annotator.predict`."""
        dtype = next(self.network.parameters()).dtype
        normalised = ((pixels - 0.5) / 0.5).to(dtype).contiguous(memory_format=torch.channels_last)
        # with several kinds of scene, a batch would vote for the one of all its pictures
        parts = normalised.split(1) if len(self.spec.config.ranges) > 1 else (normalised,)
        depth = torch.cat([self.network(part).predicted_depth for part in parts])
        return Estimate(depth=depth[:, None].contiguous(), quantity=Quantity.METRIC_DEPTH)


def _to_float32(_module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    def convert(value: Any) -> Any:
        return value.float() if isinstance(value, Tensor) else [each.float() for each in value]

    return tuple(map(convert, args)), {name: convert(value) for name, value in kwargs.items()}


def _transformers_config(config: ZoeConfig) -> Any:
    zoe_config, beit_config = from_transformers("ZoeDepthConfig", "BeitConfig")
    bins = [{"name": name, "n_bins": BINS, "min_depth": 1e-3, "max_depth": far} for name, far in config.ranges]
    classifier = _CLASSIFIER if len(bins) > 1 else {}
    return zoe_config(
        # 1e-6 is timm's, with which the authors trained
        backbone_config=beit_config(**config.backbone, layer_norm_eps=1e-6),
        neck_hidden_sizes=list(config.neck),
        fusion_hidden_size=config.features,
        bottleneck_features=config.features,
        bin_centers_type=config.bin_centres,
        bin_configurations=bins,
        **classifier,
    )


_METRIC_HEAD = (
    (r"^mlp_classifier\.(\d)\.", lambda match: f"mlp_classifier.linear{int(match[1]) // 2 + 1}."),
    (r"\._net\.(\d)\.", lambda match: f".conv{int(match[1]) // 2 + 1}."),
    (r"^patch_transformer\.transformer_encoder\.layers\.", "patch_transformer.transformer_encoder."),
)


def official_to_hub(state: StateDict) -> dict[str, Tensor]:
    """The authors' state dict under transformers' names, without what the network never uses."""
    core = {key.removeprefix("core.core."): value for key, value in state.items() if key.startswith("core.core.")}
    renamed = {
        re.sub(r"^head\.head\.(\d)\.", lambda match: f"relative_head.conv{int(match[1]) // 2 + 1}.", key): value
        for key, value in dpt_official_to_hub(core, "beit").items()
    }
    for key, value in state.items():
        if key.startswith("core.core.") or key.endswith((".k_idx", ".K_minus_1")):
            continue
        for pattern, replacement in _METRIC_HEAD:
            key = re.sub(pattern, replacement, key)
        if ".self_attn.in_proj_" in key:
            for name, part in zip(("query", "key", "value"), value.chunk(3), strict=True):
                renamed[f"metric_head.{key.replace('in_proj_', f'{name}.')}"] = part
        else:
            renamed[f"metric_head.{key}"] = value
    return renamed
