"""Networks that load their authors' checkpoints, and rules for the names of parameters."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn

from .layers import ExactConv2d, to_dtype

StateDict = Mapping[str, Tensor]
Rule = tuple[str, str | Callable[[re.Match[str]], str]]
"""A pattern and its replacement, as in `re.sub`."""


def rename(key: str, rules: Iterable[Rule]) -> str:
    """A parameter's name after applying the rules in order."""
    for pattern, replacement in rules:
        key = re.sub(pattern, replacement, key)
    return key


class PublishedNetwork(nn.Module):
    """A network of this pack that loads its authors' checkpoints."""

    def set_dtype(self, dtype: torch.dtype) -> None:
        """Converts the network, except `exact_modules`."""
        to_dtype(self, dtype, *self.exact_modules())

    def exact_modules(self) -> Iterable[nn.Module]:
        """Modules that stay in float32, with all digits; by default each `ExactConv2d`."""
        return (module for module in self.modules() if isinstance(module, ExactConv2d))

    @staticmethod
    def official_names(state: StateDict) -> dict[str, Tensor]:
        """A published state dict under this network's names, without unused entries."""
        return dict(state)
