"""The engine of `estimate` for a Ray cluster. Nothing large is imported before a run begins."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from ..batch.engines import Words
from ..batch.sources import Source
from .options import RayOptions

if TYPE_CHECKING:
    from ..batch.options import Options
    from ..batch.outputs import Outputs
    from ..batch.run import Outcome
    from ..batch.shards.writer import ShardTarget


class RayEngine:
    """A Ray cluster, or a Ray on this machine.

    Args:
        ray_options: How a run is spread over it.
    """

    def __init__(self, ray_options: RayOptions) -> None:
        self._ray_options = ray_options

    def find(self, words: Words, recursive: bool, out: Path) -> tuple[list[Source], list[str]]:
        """See `Engine`."""
        from ..batch.remote_files import find_sources

        return find_sources(words, recursive, out)

    def prepare(self, options: Options) -> None:
        """See `Engine`. The model is loaded where the workers are."""

    def run(
        self, todo: Sequence[Outputs], options: Options, stop: Event, marker: Path | None, target: ShardTarget | None
    ) -> Iterator[Outcome]:
        """See `Engine`."""
        from .engine import estimate_with_ray

        return estimate_with_ray(todo, options, self._ray_options, stop, marker, target)
