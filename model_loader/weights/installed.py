"""Lists the models that are available locally. Fast enough for lists that are rebuilt again and again."""

from __future__ import annotations

import time
from dataclasses import dataclass

from ...annotators.registry import all_specs
from .find import find_all
from .integrity import seems_usable

# An answer holds for so many seconds, and for so many times as long as it took: folders of the network take long.
_HOLDS = 5.0
_HOLDS_TIMES = 30.0


@dataclass
class _Answer:
    models: frozenset[str] = frozenset()
    until: float = 0.0


_answer = _Answer()


def models_on_disk() -> frozenset[str]:
    """Ids of the models all of whose files are on this computer, those of the pack itself included.

    The folders are looked through at most every five seconds, without a network; what is in the files is not read.
    """
    now = time.monotonic()
    if now >= _answer.until:
        there = find_all([file for spec in all_specs() for file in spec.files], seems_usable)
        found = [spec.id for spec in all_specs() if there.issuperset(spec.files)]
        took = time.monotonic() - now
        _answer.models, _answer.until = frozenset(found), now + took + max(_HOLDS, _HOLDS_TIMES * took)
    return _answer.models


def forget() -> None:
    """Forgets the list of models, after a file has come."""
    _answer.until = 0.0
