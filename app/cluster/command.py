"""What `estimate --engine ray` does otherwise: pictures and shards in stores, and a cluster that does the work."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from threading import Event

from ...annotators.registry import find_spec
from ..arguments import SHARD_CHOICES
from ..batch import Outcome
from ..failures import folder_of_failures
from ..outputs import Plan, plan_outputs
from ..pictures import Source
from ..shards import plan_shards
from ..stores import Store, is_url
from ..work import Options, check_writes
from .engine import estimate_with_ray
from .options import ray_options

Engine = Callable[[Event, Path | None], Iterator[Outcome]]


def plan_for_ray(
    arguments: argparse.Namespace, sources: Sequence[Source], writes: tuple[str, ...], options: Options
) -> tuple[Plan, Engine, Path]:
    """What is to be done, what does it when it is called, and the folder that `failures.jsonl` goes below.

    Args:
        arguments: Of the command line.
        sources: The pictures.
        writes: Files as `Outputs.writes`, or one of SHARD_CHOICES.
        options: What is asked of every picture.

    Raises:
        ValueError: Shards and files are asked for at once, files in a store, or as `plan_outputs` and `plan_shards`.
    """
    going_on = arguments.resume or arguments.retry_failed
    engine = partial(estimate_with_ray, options=options, ray_options=ray_options(arguments))
    if not set(writes) & set(SHARD_CHOICES):
        if is_url(arguments.out):
            raise ValueError(
                f"--out {arguments.out}: files go to a folder, shards to a store too: add --write {' or '.join(SHARD_CHOICES)}"
            )
        check_writes(writes, options)
        plan = plan_outputs(sources, arguments.out, writes, arguments.overwrite, options.settings(writes) if going_on else None)
        return plan, lambda stop, sign: engine(plan.todo, stop=stop, sign=sign), arguments.out
    if len(writes) > 1:
        raise ValueError(f"--write {','.join(writes)}: shards hold all maps, and one kind of them is written by itself; choose one")
    find_spec(options.model)
    store, log = Store(arguments.out), folder_of_failures(arguments.out)
    settings = {**options.settings(writes), "numbers": arguments.numbers}
    plan, stale = plan_shards(sources, store, log, settings, going_on, arguments.overwrite)
    return plan, lambda stop, _: engine(plan.todo, stop=stop, shards=store, stale=stale, settings=settings), log
