"""Whether there is a sky. On the command line it is --sky, --no-sky or --sky-mask."""

from __future__ import annotations

from dataclasses import dataclass

from .fields import Options

SKIES = AUTO, NONE = ("auto", "none")


@dataclass(frozen=True)
class SkyOptions(Options):
    """A mask of the sky: nothing can be set."""
