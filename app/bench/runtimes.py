"""Benchmarks each runtime of this machine: the speed of a model's network, and the deviation of its maps from torch's."""

from __future__ import annotations

import logging
import sys
import tempfile
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from logging.handlers import BufferingHandler
from pathlib import Path

import torch

from ...geometry.estimate import Estimate
from ...model_loader import runtimes
from ...model_loader.comfy import devices
from ...model_loader.load import parse_device
from ...model_loader.runtimes.measured import Measurement
from ...options.estimate import COMPILE, ONNX, OPENVINO, TORCH
from ..batch import per_image
from ..batch.options import Options
from ..differences import apart, faithfulness
from . import timing

EACH = (TORCH, ONNX, OPENVINO, COMPILE)
"""All runtimes; the one with a start-up of minutes is last."""

HEADER = (
    "| runtime | ms/image | torch's in turn | times torch | of 255: most, mean | ready after s | what ran it |",
    "|---|---:|---:|---:|---:|---:|---|",
)


@dataclass(frozen=True)
class Row:
    """The measurement of one runtime.

    Attributes:
        name: The runtime, with the dtype if it is not torch's own.
        words: The engine that ran the network; or why it did not run.
        ready: Start-up seconds: loading the weights, and building the engine or loading it from the cache.
        seconds: The network's seconds for one image; None if it did not run.
        torch_seconds: Torch's seconds for one image in float32, measured in turn; None for torch itself.
        most, mean: Largest and mean difference of the rendered images from torch's in float32, in 255ths.
        measurement: The data to store for `--keep`; None if it did not run.
    """

    name: str
    words: str
    ready: float
    seconds: float | None = None
    torch_seconds: float | None = None
    most: float = 0.0
    mean: float = 0.0
    measurement: Measurement | None = None

    @property
    def times(self) -> float:
        """The speed-up over torch in float32."""
        return self.torch_seconds / self.seconds if self.torch_seconds and self.seconds else 1.0


def measure_runtimes(
    options: Options, device: str, seconds: float, image_size: tuple[int, int] = timing.FULL_HD, asked: Collection[str] = EACH
) -> Iterator[Row]:
    """Benchmarks runtimes, each asked one of `RUNTIME_CHOICES`, and yields each; torch in float32 is first.

    Each takes turns with torch, for reliable ratios, and each takes about `seconds`, as does torch beside it. `device` as `load_model`;
    `image_size` is (width, height).
    """
    with tempfile.TemporaryDirectory(prefix="depth-normal-bench-") as folder:
        timing.write_image(image := Path(folder) / "picture.jpg", image_size)
        where = parse_device(device)
        first = _Measured("torch float32", replace(options, runtime=TORCH, dtype="float32"), device, image)
        wait = timing.waiting(where)
        yield first.row(timing.take_turns({TORCH: first.method}, wait, seconds)[TORCH])
        for name, wanted in _others(options, where, asked):
            other = _Measured(name, wanted, device, image)
            if other.is_left_to_torch:
                yield Row(name, " ".join(each.getMessage() for each in other.said) or "torch runs it", other.ready)
                continue
            times = timing.take_turns({TORCH: first.method, name: other.method}, wait, seconds)
            most, mean, _ = apart(other.found, first.found)
            yield replace(
                other.row(times[name]),
                torch_seconds=times[TORCH],
                most=most,
                mean=mean,
                measurement=Measurement(wanted.runtime, other.dtype, times[TORCH] / times[name], *faithfulness(other.found, first.found)),
            )


class _Measured:
    """A model with a runtime, its estimate, and its network calls for replay."""

    def __init__(self, name: str, options: Options, device: str, image: Path) -> None:
        start = time.perf_counter()
        with _captured_log() as self.said:
            model = options.load(device)
            # engines for a fixed size are built on the first image, and torch runs until then
            estimate = per_image.estimate(model, per_image.read(image), options) if model.engine is not None else None
        self.ready = time.perf_counter() - start
        self.is_left_to_torch = options.runtime != TORCH and model.runtime == TORCH
        self._name = name
        if self.is_left_to_torch:
            return
        self.found: Estimate = per_image.estimate(model, per_image.read(image), options) if estimate is None else estimate
        self.dtype = model.dtype_name
        self.method = partial(timing.replay, timing.network_calls(model, image, options, 1))
        self._words = model.runtime if model.runtime != TORCH else f"torch {torch.__version__}, {model.device}"

    def row(self, seconds: float) -> Row:
        """Its row, without a comparison to torch."""
        return Row(self._name, self._words, self.ready, seconds)


def _others(options: Options, where: torch.device, asked: Collection[str]) -> Iterator[tuple[str, Options]]:
    """The runtimes and dtypes to compare with torch in float32, by name."""
    for runtime in dict.fromkeys(asked):
        if runtime != TORCH:
            yield runtime, replace(options, runtime=runtime)
        for dtype in _half_of(runtime, where):
            yield f"{runtime} {dtype}", replace(options, runtime=runtime, dtype=dtype)


def _half_of(runtime: str, where: torch.device) -> list[str]:
    """The half precisions to measure a runtime in too."""
    if runtime == TORCH:
        return [dtype for dtype in ("bfloat16", "float16") if devices.is_fast(getattr(torch, dtype), where)]
    return ["bfloat16"] if runtime == OPENVINO and where.type == "cpu" and devices.is_fast(torch.bfloat16, where) else []


@contextmanager
def _captured_log() -> Iterator[list[logging.LogRecord]]:
    """Collects the messages in which a runtime says why it is not used."""
    listener, logger = BufferingHandler(sys.maxsize), logging.getLogger(runtimes.__name__)
    listener.setLevel(logging.WARNING)
    logger.addHandler(listener)
    try:
        yield listener.buffer
    finally:
        logger.removeHandler(listener)


def as_json(row: Row) -> dict[str, object]:
    """A row, JSON-serialisable."""
    ran = row.seconds is not None
    return {
        "runtime": row.name,
        "words": row.words,
        "ready_seconds": row.ready,
        "seconds_per_image": row.seconds,
        "torch_seconds_per_image": row.torch_seconds,
        "times_torch": row.times if ran else None,
        "most_of_255": row.most if ran else None,
        "mean_of_255": row.mean if ran else None,
        "measurement": row.measurement and asdict(row.measurement),
    }


def line(row: Row) -> str:
    """A row of the Markdown table below `HEADER`."""
    if row.seconds is None:
        return f"| {row.name} | | | | | {row.ready:.1f} | not run: {row.words} |"
    apart = f"{row.most:.2f}, {row.mean:.3f}"
    beside = f"{1000 * row.torch_seconds:.0f}" if row.torch_seconds else ""
    return f"| {row.name} | {1000 * row.seconds:.0f} | {beside} | {row.times:.2f} | {apart} | {row.ready:.1f} | {row.words} |"
