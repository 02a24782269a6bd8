"""ZoeDepth: the authors' parameter names as the transformers library's, and its metric head on Depth Anything V1."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .depth_anything import DepthAnything, without_unused
from .dpt import HEAD_CHANNELS, DptConfig, resized
from .midas import dpt_official_to_hub
from .published import PublishedNetwork, Rule, StateDict, rename
from .vit import VitConfig

_METRIC_HEAD: tuple[Rule, ...] = (
    (r"^mlp_classifier\.(\d)\.", lambda match: f"mlp_classifier.linear{int(match[1]) // 2 + 1}."),
    (r"\._net\.(\d)\.", lambda match: f".conv{int(match[1]) // 2 + 1}."),
    (r"^patch_transformer\.transformer_encoder\.layers\.", "patch_transformer.transformer_encoder."),
)


def official_to_hub(state: StateDict) -> dict[str, Tensor]:
    """Renames the authors' state dict to transformers' names, without unused entries."""
    core = {key.removeprefix("core.core."): value for key, value in state.items() if key.startswith("core.core.")}
    renamed = {
        re.sub(r"^head\.head\.(\d)\.", lambda match: f"relative_head.conv{int(match[1]) // 2 + 1}.", key): value
        for key, value in dpt_official_to_hub(core, "beit").items()
    }
    for key, value in without_binomial_tables(state).items():
        if key.startswith("core.core."):
            continue
        key = rename(key, _METRIC_HEAD)
        if ".self_attn.in_proj_" in key:
            for name, part in zip(("query", "key", "value"), value.chunk(3), strict=True):
                renamed[f"metric_head.{key.replace('in_proj_', f'{name}.')}"] = part
        else:
            renamed[f"metric_head.{key}"] = value
    return renamed


def without_binomial_tables(state: StateDict) -> dict[str, Tensor]:
    """Drops constants that ZoeDepth's authors store beside the parameters of their distribution."""
    return {key: value for key, value in state.items() if not key.endswith((".k_idx", ".K_minus_1"))}


BINS = 64
_EMBEDDING = 128
_ATTRACTORS = (16, 8, 4, 1)
_ATTRACTION = 300.0  # the configuration's 1000 never reaches the authors' function
_TEMPERATURES = (0.0212, 50.0)
_SHARE_EPS, _LOG_EPS = 1e-4, 1e-7


class _Perceptron(nn.Module):
    def __init__(self, inputs: int, inner: int, outputs: int) -> None:
        super().__init__()
        self._net = nn.Sequential(nn.Conv2d(inputs, inner, 1), nn.ReLU(), nn.Conv2d(inner, outputs, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self._net(x)


class _ConditionalLogBinomial(nn.Module):
    """Weights of the bins: a binomial distribution with predicted parameters and temperature."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Conv2d(inputs, inputs // 2, 1), nn.GELU(), nn.Conv2d(inputs // 2, 4, 1))

    def forward(self, x: Tensor) -> Tensor:
        parameters = F.softplus(self.mlp(x)) + _SHARE_EPS
        share = parameters[:, :1] / parameters[:, :2].sum(1, keepdim=True)
        low, high = _TEMPERATURES
        temperature = low + (high - low) * parameters[:, 2:3] / parameters[:, 2:].sum(1, keepdim=True)
        index = torch.arange(BINS, device=x.device, dtype=x.dtype)[:, None, None]
        rest = BINS - 1 - index
        # log binomial coefficient by Stirling's formula, without terms common to all bins
        log_coefficients = -(index + _LOG_EPS) * (index + _LOG_EPS).log() - rest * (rest + _LOG_EPS).log()
        likelihood = log_coefficients + index * share.clamp(_SHARE_EPS, 1.0).log() + rest * (1 - share).clamp(_SHARE_EPS, 1.0).log()
        return (likelihood / temperature).softmax(1)


class ZoeDepthAnything(PublishedNetwork):
    """Depth Anything V1 and ZoeDepth's single metric head with softplus bins, with the official checkpoints' parameter names.

    Convention:
        Input as `DepthAnything`. Output (B, 1, H, W) float32 metres.
    """

    def __init__(self, vit: VitConfig, dpt: DptConfig) -> None:
        super().__init__()
        width = dpt.features
        self.core = DepthAnything(vit, dpt)
        self.conv2 = nn.Conv2d(width, width, 1)
        self.seed_bin_regressor = _Perceptron(width, 256, BINS)
        self.seed_projector = _Perceptron(width, 128, _EMBEDDING)
        self.projectors = nn.ModuleList(_Perceptron(width, 128, _EMBEDDING) for _ in _ATTRACTORS)
        self.attractors = nn.ModuleList(_Perceptron(_EMBEDDING, 128, count) for count in _ATTRACTORS)
        self.conditional_log_binomial = _ConditionalLogBinomial(HEAD_CHANNELS + 1 + _EMBEDDING)

    def set_dtype(self, dtype: torch.dtype) -> None:
        """Converts Depth Anything (see `DepthAnything.set_dtype`); ZoeDepth's head stays in float32."""
        self.float()
        self.core.set_dtype(dtype)

    def forward(self, x: Tensor) -> Tensor:
        head = self.core.depth_head
        height, width = x.shape[-2:]
        maps, _ = self.core.pretrained(x)
        coarsest, *levels = head.pyramid(maps, height, width)
        first, relu, last = head.scratch.output_conv2
        features = relu(first(head.full_size(levels[-1], height, width)))
        features = torch.cat((features, F.relu(last(features))), 1)
        centres, embedding = self._bins(coarsest.float(), [level.float() for level in levels])
        weights = self.conditional_log_binomial(torch.cat((features, resized(embedding, (height, width))), 1))
        return (weights * resized(centres, (height, width))).sum(1, keepdim=True)

    @staticmethod
    def official_names(state: StateDict) -> dict[str, Tensor]:
        renamed = {key.replace("core.core.", "core.", 1): value for key, value in without_unused(state).items()}
        return without_binomial_tables(renamed)

    def _bins(self, coarsest: Tensor, levels: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Bin centres (B, BINS, h, w) in metres and their embedding, at the finest level's size."""
        seed = self.conv2(coarsest)
        centres = F.softplus(self.seed_bin_regressor(seed))
        embedding = self.seed_projector(seed)
        for projector, attractor, level in zip(self.projectors, self.attractors, levels, strict=True):
            size = level.shape[-2:]
            previous, embedding = resized(embedding, size), projector(level)
            points = F.softplus(attractor(embedding + previous))
            centres = resized(centres, size)
            shift = torch.zeros_like(centres)
            for point in points.split(1, 1):
                distance = point - centres
                shift += distance / (1 + _ATTRACTION * distance**2)
            centres = centres + shift / points.shape[1]
        return centres, embedding
