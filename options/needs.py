"""What options need of a scene."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class NeedsMetres:
    """An option that needs depth in metres.

    Attributes:
        option: Its name, with its value where that decides. {name} stands for the option of that name.
        instead: What to do without metres, in words.
    """

    option: str
    instead: str

    def named(self, names: Mapping[str, str]) -> NeedsMetres:
        """The same with the names that options have somewhere."""
        return NeedsMetres(self.option.format_map(names), self.instead.format_map(names))


DISTANCES_IN_METRES = NeedsMetres("{unit} metres", "give all distances in percent (0 the near end, 100 the far end) without {unit}")
