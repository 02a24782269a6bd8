"""Networks that take published state dicts: authors, libraries and repackagers publish the same tensors under different names."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn

StateDict = Mapping[str, Tensor]
Rule = tuple[str, str | Callable[[re.Match[str]], str]]
"""A pattern, and what it is replaced by: a template of `re.sub`, or a function of the match."""


def rename(key: str, rules: Iterable[Rule]) -> str:
    """A parameter's name after all the rules, applied in order."""
    for pattern, replacement in rules:
        key = re.sub(pattern, replacement, key)
    return key


class PublishedNetwork(nn.Module):
    """A network of this pack that takes its authors' checkpoints."""

    def set_dtype(self, dtype: torch.dtype) -> None:
        """Brings the network to a dtype, but for the layers that stay in float32."""
        self.to(dtype)

    @staticmethod
    def official_names(state: StateDict) -> dict[str, Tensor]:
        """A published state dict under the names of this network, without what it never uses."""
        return dict(state)
