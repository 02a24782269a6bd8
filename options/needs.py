"""Requirements of options on a scene."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class NeedsMetres:
    """An option that needs metric depth.

    Attributes:
        option: Its name, with its value if that matters. {name} stands for an option's name.
        instead: Advice for scenes without it.
    """

    option: str
    instead: str

    def named(self, names: Mapping[str, str]) -> NeedsMetres:
        """A copy with option names filled in."""
        return NeedsMetres(self.option.format_map(names), self.instead.format_map(names))


DISTANCES_IN_METRES = NeedsMetres("{unit} metres", "give all distances in percent (0 the near end, 100 the far end) without {unit}")
