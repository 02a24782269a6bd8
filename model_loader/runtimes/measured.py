"""Measurements of this machine's runtimes by `depth-normal bench --keep`, and the choice of `auto` and `fast` among them.

A model's measurements are in the engine store, in `measured/<model>-<key>.json`. The key holds everything that they depend on: weights,
device, torch's threads, versions of the libraries, of the graphs and of the pack's speed (`SPEED_VERSION`). A change of one invalidates
the measurements.
"""

from __future__ import annotations

import json
import logging
import math
import platform
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from ...annotators.graphs import GRAPH_VERSION
from ...annotators.specs.base import ModelSpec
from ...geometry.files.paths import read_json, write_bytes
from ...options.estimate import AUTO_RUNTIME, DTYPE_CHOICES, RUNTIME_CHOICES, TORCH
from ..weights.find import user_cache
from ..weights.integrity import stamp
from .engine_store import Key, key_digest, store_folder

logger = logging.getLogger(__name__)

_LIBRARIES = ("torch", "onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "openvino", "triton")
_LEAST_GAIN = 1.05

SPEED_VERSION = "2"
"""Changes whenever this pack's code makes networks or engines faster or slower, to invalidate old measurements."""

MOST_LEVELS, MOST_DEGREES = 1.0, 0.2
"""Limits of `auto` at the 99.9th percentile of pixels: 255ths of depth's range, degrees of normals."""

LEAST_CORRELATION, MOST_MOVED = 0.9999, 0.01
"""Limits of `fast`: minimum correlation of depth with torch's, and maximum share of depth edges that move by more than a pixel."""


@dataclass(frozen=True)
class Measurement:
    """A runtime and dtype, compared with torch in float32."""

    runtime: str  # as in `load_model`
    dtype: str  # as in `load_model`; never "auto"
    times: float  # speed relative to torch in float32
    levels: float  # difference of the depth images, 99.9th percentile, in 255ths of the range
    degrees: float  # angle between the normals, 99.9th percentile; normals are derived from depth if the model predicts none
    correlation: float  # of the depth images, -1 to 1
    moved: float  # share of depth edges without an edge of the other image within a pixel, 0 to 1

    @property
    def is_exact(self) -> bool:
        """Whether the maps equal torch's to 8 bits, so that `auto` may use it."""
        return self.levels <= MOST_LEVELS and self.degrees <= MOST_DEGREES

    @property
    def is_faithful(self) -> bool:
        """Whether shapes and edges equal torch's, so that `fast` may use it."""
        return self.correlation > LEAST_CORRELATION and self.moved <= MOST_MOVED

    @property
    def words(self) -> str:
        """A description for the line that reports the choice."""
        return (
            f"{self.runtime} {self.dtype}, {self.times:.2f} times as fast as torch float32 here, "
            f"{self.levels:.2f} of 255 and {self.degrees:.2f} degrees apart at 99.9 % of the pixels"
        )


def choose(measurements: Iterable[Measurement], runtime: str, dtype: str, default: str) -> Measurement | None:
    """The fastest measurement that the runtime `auto` or `fast` allows; None if that is plain torch, or less than 5 % faster.

    `dtype` is the requested one, "auto" = any; `default` is torch's for the model.
    """
    of_dtype = [each for each in measurements if dtype in ("auto", each.dtype)]
    torch_itself = (TORCH, default if dtype == "auto" else dtype)
    as_it_is = next((each.times for each in of_dtype if (each.runtime, each.dtype) == torch_itself), 1.0)
    allowed = [each for each in of_dtype if each.is_exact or (runtime != AUTO_RUNTIME and each.is_faithful)]
    best = max(allowed, key=lambda each: each.times, default=None)
    return best if best is not None and best.times >= _LEAST_GAIN * as_it_is else None


def advice(spec: ModelSpec, weights: Path | None = None) -> str:
    """The command that measures a model."""
    model = spec.id if weights is None else f"{spec.id} --weights {weights}"
    return f"`depth-normal bench --model {model} --keep` measures which is the fastest"


def keep(spec: ModelSpec, weights: Path | None, device: torch.device, measurements: Sequence[Measurement]) -> Path:
    """Saves a model's measurements, replacing earlier ones, and returns the file.

    Args:
        weights: A file that replaces the published one.
        device: The device that torch used.

    Raises:
        OSError: The file cannot be written; earlier measurements are kept.
    """
    key = _key(spec, weights, device)
    path = _path(key, store_folder())
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"key": key, "measurements": [asdict(each) for each in measurements]}, indent=1)
    write_bytes(path, text.encode())
    return path


def kept(spec: ModelSpec, weights: Path | None, device: torch.device) -> list[Measurement] | None:
    """A model's saved measurements; None if there are none, or with a logged warning if the file is damaged.

    Inside ComfyUI, which has a store of its own, those in the user's cache count too.
    """
    key = _key(spec, weights, device)
    stores = dict.fromkeys((store_folder(), user_cache() / store_folder().name))
    return next((measurements for store in stores if (measurements := _read(_path(key, store), key, spec)) is not None), None)


def _read(path: Path, key: Key, spec: ModelSpec) -> list[Measurement] | None:
    try:
        record = read_json(path)
        if record["key"] != key:
            raise ValueError("it is of something else than its name says")
        return _checked([Measurement(**each) for each in record["measurements"]])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        logger.warning(
            "measured speeds cannot be used; `depth-normal bench --model %s --keep` measures anew: %s (%s)", spec.id, error, path
        )
        return None


def _checked(found: list[Measurement]) -> list[Measurement]:
    for each in found:
        figures = (each.times, each.levels, each.degrees, each.correlation, each.moved)
        are_figures = all(isinstance(figure, int | float) and math.isfinite(figure) for figure in figures)
        if each.runtime not in RUNTIME_CHOICES or each.dtype not in DTYPE_CHOICES or not are_figures:
            raise ValueError(f"{each} is no measurement")
    return found


def _path(key: Key, store: Path) -> Path:
    return store / "measured" / f"{key['model']}-{key_digest(key)}.json"


def _key(spec: ModelSpec, weights: Path | None, device: torch.device) -> Key:
    libraries = {}
    for name in _LIBRARIES:
        try:
            libraries[name] = version(name)
        except PackageNotFoundError:
            continue
    file = "published" if weights is None else " ".join(map(str, stamp(weights.resolve())))
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{device.type}, {processor()}"
    versions = {"speed": SPEED_VERSION, "graph": GRAPH_VERSION, **libraries}
    return {"model": spec.id, "weights": file, "device": where, "threads": str(torch.get_num_threads()), **versions}


def processor() -> str:
    """The name of this machine's processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next(iter(names), "") or platform.processor() or platform.machine()
