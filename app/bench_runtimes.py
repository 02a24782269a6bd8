"""How fast each runtime of this machine runs a model's network, and how far its pictures are from torch's, in one run."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from ..annotators.choices import RUNTIME_CHOICES
from ..geometry.estimate import Estimate
from ..model_loader import Model, host, runtimes
from . import bench, work
from .apart import apart
from .work import Options

TORCH, *_OTHERS = RUNTIME_CHOICES
_MEASURED = (TORCH, *(name for name in _OTHERS if name != "auto"))


@dataclass(frozen=True)
class Row:
    """One runtime.

    Attributes:
        name: The runtime, with the dtype where that is not torch's own.
        words: What ran the network; or why there is nothing, in words.
        ready: Seconds until it could run: to load the weights, and to build the engine or to take it from the store.
        seconds: Of the network for one picture; None where it did not run.
        most: How far its pictures are from torch's in float32, in 255ths: the pixel that is farthest.
        mean: The same, of all pixels.
    """

    name: str
    words: str
    ready: float
    seconds: float | None = None
    most: float = 0.0
    mean: float = 0.0


def measure_runtimes(
    options: Options,
    device: str = "auto",
    seconds: float = 4.0,
    sides: tuple[int, int] = bench.FULL_HD,
    without: Collection[str] = (),
) -> list[Row]:
    """Measures every runtime that is here, torch first. They take turns, so that the ratios hold.

    Args:
        options: The model and how it is run.
        device: As `load_model`.
        seconds: About how long each is measured.
        sides: Width and height of the picture.
        without: Runtimes that are left out.
    """
    with tempfile.TemporaryDirectory(prefix="depth-normal-bench-") as folder:
        picture = Path(folder) / "picture.jpg"
        bench.write_picture(picture, sides)
        rows, ways = [], {}
        expected: Estimate | None = None
        where = _where(device)
        for name, asked in _asked(options, where):
            if asked.runtime in without:
                continue
            start = time.perf_counter()
            with _told() as lines:
                model = asked.load(device)
            ready = time.perf_counter() - start
            if asked.runtime != TORCH and model.runtime == TORCH:
                rows.append(Row(name, " ".join(lines) or "torch runs it", ready))
                continue
            found = work.estimate(model, work.read(picture), asked)
            expected = expected or found
            most, mean, _ = apart(found, expected)
            ways[name] = partial(bench.replay, bench.network_calls(model, picture, asked, 1))
            rows.append(Row(name, _words(model), ready, 0.0, most, mean))
        times = bench.take_turns(ways, bench.waiting(where), seconds)
    return [replace(row, seconds=times.get(row.name)) for row in rows]


def _asked(options: Options, where: torch.device) -> Iterator[tuple[str, Options]]:
    """What is measured, by name: torch in float32 first, then all others."""
    yield "torch float32", replace(options, runtime=TORCH, dtype="float32")
    for dtype in ("bfloat16", "float16"):
        if host.is_fast(getattr(torch, dtype), where):
            yield f"torch {dtype}", replace(options, runtime=TORCH, dtype=dtype)
    for name in _MEASURED[1:]:
        yield name, replace(options, runtime=name)
    if host.is_fast(torch.bfloat16, torch.device("cpu")) and where.type == "cpu":
        yield "openvino bfloat16", replace(options, runtime="openvino", dtype="bfloat16")


def _where(device: str) -> torch.device:
    return host.default_device() if device == "auto" else torch.device(device)


def _words(model: Model) -> str:
    return model.runtime if model.runtime != TORCH else f"torch {torch.__version__}, {model.device}"


@contextmanager
def _told() -> Iterator[list[str]]:
    """The lines in which a runtime says why it is not used."""
    lines: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    listener, logger = Listener(logging.WARNING), logging.getLogger(runtimes.__name__)
    logger.addHandler(listener)
    try:
        yield lines
    finally:
        logger.removeHandler(listener)


def as_json(rows: list[Row]) -> list[dict[str, object]]:
    """The rows as JSON can hold them."""
    return [
        {
            "runtime": row.name,
            "words": row.words,
            "ready_seconds": row.ready,
            "seconds_per_picture": row.seconds,
            "most_of_255": None if row.seconds is None else row.most,
            "mean_of_255": None if row.seconds is None else row.mean,
        }
        for row in rows
    ]


def table(rows: list[Row]) -> str:
    """The rows for people: Markdown."""
    base = next(row.seconds for row in rows if row.seconds)
    lines = ["| runtime | ms/picture | times torch | of 255: most, mean | ready after s | what ran it |", "|---|---:|---:|---:|---:|---|"]
    for row in rows:
        if row.seconds is None:
            lines.append(f"| {row.name} | | | | {row.ready:.1f} | not run: {row.words} |")
            continue
        apart = f"{row.most:.2f}, {row.mean:.3f}"
        lines.append(f"| {row.name} | {1000 * row.seconds:.0f} | {base / row.seconds:.2f} | {apart} | {row.ready:.1f} | {row.words} |")
    return "\n".join(lines)
