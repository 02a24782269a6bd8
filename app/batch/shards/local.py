"""Estimates images on this machine into shards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from threading import Event, Lock

from ....geometry.estimate import Estimate
from ....model_loader import Model
from ...outcomes import EXPECTED_ERRORS
from ..failures import Failure, failure_of
from ..local_engine import InFlight, process
from ..options import Options
from ..outputs import Outputs
from ..run import Outcome
from ..staging import check_run_marker
from .rows import row_of
from .writer import Closed, ShardTarget, ShardWriter


def estimate_shards(
    model: Model, todo: Sequence[Outputs], options: Options, target: ShardTarget, stop: Event, marker: Path | None
) -> Iterator[Outcome]:
    """Reads images, estimates and writes shards; yields outcomes once their shard is published. As `engines.Engine.run`, with a model."""
    one_at_a_time = Lock()
    with ShardWriter[Outputs](target.store, target.run, partial(check_run_marker, marker)) as writer:

        def outcomes(closed: Closed[Outputs] | None) -> list[Outcome]:
            if closed is None:
                return []
            if closed.shard is not None:
                target.stored(closed.shard)
                return [Outcome(outputs, (target.store.path(closed.shard.name),)) for outputs in closed.items]
            if not isinstance(closed.error, EXPECTED_ERRORS):
                raise closed.error or AssertionError("no shard and no error")
            failures = [failure_of(str(outputs.image), closed.error, target.store.local) for outputs in closed.items]
            if any(failure.stops_run for failure in failures):
                stop.set()
            return [Outcome(outputs, failure=failure) for outputs, failure in zip(closed.items, failures, strict=True)]

        def finish(item: InFlight, estimate: Estimate) -> list[Outcome]:
            row = row_of(str(item.outputs.image.absolute()), estimate, target.run.options.numbers)
            with one_at_a_time:
                return outcomes(writer.add(item.outputs, row, item.source_mark))

        for outputs, result in process(model, todo, options, finish, stop):
            if isinstance(result, Failure):
                yield Outcome(outputs, failure=result)
            else:
                yield from result
        yield from outcomes(writer.close())
