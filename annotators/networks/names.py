"""State dicts, and how their keys are renamed: authors, libraries and repackagers publish the same tensors under different names."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

from torch import Tensor

StateDict = Mapping[str, Tensor]
Rule = tuple[str, str | Callable[[re.Match[str]], str]]
"""A pattern, and what it is replaced by: a template of `re.sub`, or a function of the match."""


def rename(key: str, rules: Iterable[Rule]) -> str:
    """A parameter's name after all the rules, applied in order."""
    for pattern, replacement in rules:
        key = re.sub(pattern, replacement, key)
    return key
