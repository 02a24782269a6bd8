"""Sky detection. On the command line: --sky, --no-sky or --sky-mask."""

from __future__ import annotations

from dataclasses import dataclass

from .fields import Options

SKIES = AUTO, NONE = ("auto", "none")


@dataclass(frozen=True)
class SkyOptions(Options):
    """A sky mask, which has no options."""
