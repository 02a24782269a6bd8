"""`depth-normal bench`: measures how fast a model is, as a table to paste into an issue."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ...annotators.choices import RECOMMENDED_MODEL
from ...options.estimate import AUTO_RUNTIME, FAST_RUNTIME, TORCH
from ...options.outputs import DEFAULT_WRITES
from ...options.runs import DeviceOptions
from ..batch.allocator import keep_freed_memory
from ..commands.arguments import ALL, add_json, add_model_or_word, add_runtimes, check_weights, chosen_spec
from ..commands.option_table import add_options
from ..console.option_types import number_type
from ..console.terminal import echo
from ..outcomes import DONE

if TYPE_CHECKING:
    from ...model_loader.runtimes.measured import Measurement
    from ..batch.options import Options
    from .timing import Bench

SECONDS = 4.0
_seconds = number_type("a number of seconds above 0, at most 3600", lambda value: 0 < value <= 3600)
DISTURBED = 1.1  # of the network's rate: writing files cannot be faster than the network


def add_bench(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `bench`."""
    add_model_or_word(parser, RECOMMENDED_MODEL)
    add_options(parser, DeviceOptions)
    add_runtimes(parser)
    seconds = "about how long each of the five figures is measured (default: %(default)g)"
    parser.add_argument("--seconds", type=_seconds, default=SECONDS, metavar="N", help=seconds)
    parser.add_argument("--keep", action="store_true", help="keep the measurements, for --runtime auto and fast; measures all runtimes")
    add_json(parser)
    parser.set_defaults(run=_bench)


def _bench(arguments: argparse.Namespace) -> int:
    check_weights(arguments)
    keep_freed_memory()  # as the commands that it measures
    from ..batch.options import Options
    from ..batch.outputs import check_writes
    from .timing import measure

    options = Options(chosen_spec(arguments), weights=arguments.weights, dtype=arguments.dtype)
    check_writes(DEFAULT_WRITES, options)  # before anything is downloaded
    runtimes = [name for names in arguments.runtime or [(ALL if arguments.keep else TORCH,)] for name in names]
    if arguments.keep or ALL in runtimes or len(runtimes) > 1:
        return _bench_runtimes(arguments, options, runtimes)
    options = replace(options, runtime=runtimes[0])
    measurements = measure(options, arguments.device, arguments.seconds)
    echo(json.dumps(as_json(measurements), indent=2) if arguments.json else table(measurements))
    return DONE


def _bench_runtimes(arguments: argparse.Namespace, options: Options, runtimes: Sequence[str]) -> int:
    from .runtimes import EACH, HEADER, as_json, line, measure_runtimes

    named = [name for name in runtimes if name not in (AUTO_RUNTIME, FAST_RUNTIME)]
    asked = EACH if ALL in runtimes or not named else named  # auto and fast may choose any
    measured: list[dict[str, object]] = []
    to_keep: list[Measurement] = []
    try:
        for row in measure_runtimes(options, arguments.device, arguments.seconds, asked=asked):
            if not arguments.json:
                echo("\n".join((*(() if measured else HEADER), line(row))))
            measured.append(as_json(row))
            to_keep += [] if row.measurement is None else [row.measurement]
        if arguments.keep:
            _keep(arguments, options, to_keep)
    finally:
        if arguments.json and measured:  # partial results too
            echo(json.dumps(measured, indent=2))
    return DONE


def _keep(arguments: argparse.Namespace, options: Options, found: Sequence[Measurement]) -> None:
    from ...model_loader.load import default_dtype, parse_device
    from ...model_loader.runtimes.measured import choose, keep

    spec, device = options.spec, parse_device(arguments.device)
    file = keep(spec, Path(options.weights) if options.weights else None, device, found)
    if arguments.json:
        return
    default = default_dtype(spec, device)
    echo(f"kept in {file}:")
    for runtime in (AUTO_RUNTIME, FAST_RUNTIME):
        best = choose(found, runtime, options.dtype, default)
        echo(f"- --runtime {runtime}: {best.words if best else 'torch, as without it'}")


def as_json(found: Bench) -> dict[str, object]:
    """The figures, JSON-serialisable: seconds per image, images per second, fractions, bytes."""
    figures = {
        name: {
            "seconds_per_image": figure.seconds,
            "images_per_second": figure.rate,
            "at_once": figure.at_once,
            "of_network_rate": figure.of_network,
            "outside_network": max(0.0, 1 - figure.of_network),
        }
        for name, figure in found.figures.items()
    }
    return {"figures": figures, "peak_memory": found.memory, **found.machine}


def table(found: Bench) -> str:
    """The figures as a Markdown table."""
    names = {
        "single": "single: a file to two files",
        "batch": "batch: the same, several at once",
        "folder": "folder: as `estimate` does, overlapped",
    }
    rows = [("", "images/s", "ms/image", "of the network's rate", "outside the network")]
    for name, figure in found.figures.items():
        of_network, outside = (f"{figure.of_network:.0%}", f"{max(0.0, 1 - figure.of_network):.0%}") if name in names else ("", "")
        rows.append((names.get(name, f"{name} (bare)"), f"{figure.rate:.2f}", f"{1000 * figure.seconds:.0f}", of_network, outside))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["| " + " | ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) + " |" for row in rows]
    ruler = "|" + "|".join(["-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:])]) + "|"
    notes = [f"- {name}: {text}" for name, text in found.machine.items()]
    if any(found.figures[name].of_network > DISTURBED for name in found.figures.keys() & names):
        notes.insert(0, "- files took less time than the network alone: the machine did other work too; measure again when it is idle")
    memory = ", ".join(f"{size / 2**30:.2f} GiB {kind}" for kind, size in found.memory.items()) or "not known"
    return "\n".join([lines[0], ruler, *lines[1:], "", *notes, f"- most memory: {memory}"])
