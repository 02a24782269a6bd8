"""ZoeDepth's parameter names: the authors' -> those of the transformers library."""

from __future__ import annotations

import re

from torch import Tensor

from .midas_names import dpt_official_to_hub
from .published import Rule, StateDict, rename

_METRIC_HEAD: tuple[Rule, ...] = (
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
    """The state dict without the constants that ZoeDepth's authors keep beside the parameters of their distribution."""
    return {key: value for key, value in state.items() if not key.endswith((".k_idx", ".K_minus_1"))}
