"""Benchmarks a model on this machine, from files to files and for the bare network, in one run.

The device is synchronised before the clock is read. Every method has a warm-up; the methods take turns, so that a slowing machine affects
all alike, and the result is the median.
"""

from __future__ import annotations

import copy
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch

from ..._version import __version__
from ...annotators.base import Annotator
from ...annotators.family import Request
from ...model_loader import Model
from ...model_loader.runtimes.measured import processor
from ...utils import opencv
from ..batch import per_image
from ..batch.local_engine import estimate_files
from ..batch.options import Options
from ..batch.outputs import Outputs, plan_outputs
from ..batch.sources import Source
from ..outcomes import DEMO_IMAGE

FULL_HD = (1920, 1080)
AT_ONCE = 4
"""Batch size."""
_FEWEST, _MOST = 3, 50  # rounds
_TURN_SECONDS = 0.25
_MOST_IN_FOLDER = 200

Method = Callable[[], object]


@dataclass(frozen=True)
class Figure:
    """The time of one method, with a batch size; None if the engine decides.

    `network`: the bare network's seconds per image at that batch size; if the engine decides, the lowest.
    """

    seconds: float
    at_once: int | None
    network: float

    @property
    def rate(self) -> float:
        """Images per second."""
        return 1 / self.seconds

    @property
    def of_network(self) -> float:
        """Speed as a fraction of the bare network's."""
        return self.network / self.seconds


@dataclass(frozen=True)
class Bench:
    """The measurements of a model.

    Attributes:
        figures: "network" and "network, N at once"; "single", "batch" and "folder".
        machine: The conditions: model, device, versions.
        memory: Peak bytes: "process" (where the system reports it), "cuda".
    """

    figures: dict[str, Figure]
    machine: dict[str, str]
    memory: dict[str, int]


def measure(options: Options, device: str, seconds: float, image_size: tuple[int, int] = FULL_HD) -> Bench:
    """Benchmarks a model, each method for about `seconds`, from a JPEG of (width, height) to the two PNGs that `estimate` writes."""
    model = options.load(device)
    wait = waiting(model.device)
    with tempfile.TemporaryDirectory(prefix="depth-normal-bench-") as temporary:
        folder = Path(temporary)
        write_image(image := folder / "picture.jpg", image_size)
        if model.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(model.device)
        run = partial(per_image.run, model, Outputs(image, folder / "single"), options)
        calls = {count: network_calls(model, image, options, count) for count in (1, AT_ONCE)}
        methods: dict[str, Method] = {f"network {count}": partial(replay, each) for count, each in calls.items()}
        methods |= {"single": run, "batch": partial(_batch, model, image, folder / "batch", options)}
        times = take_turns(methods, wait, seconds)
        one, many = times["network 1"], times[f"network {AT_ONCE}"] / AT_ONCE
        each = _folder(model, image, folder, options, seconds / times["single"], wait)
        figures = {
            "network": Figure(one, 1, one),
            f"network, {AT_ONCE} at once": Figure(many, AT_ONCE, many),
            "single": Figure(times["single"], 1, one),
            "batch": Figure(times["batch"] / AT_ONCE, AT_ONCE, many),
            "folder": Figure(each, None, min(one, many)),
        }
    return Bench(figures, _machine(model, image_size, calls[1]), _memory(model.device))


def write_image(path: Path, image_size: tuple[int, int]) -> None:
    """Writes the demo photo at a size (width, height)."""
    from PIL import Image

    with Image.open(DEMO_IMAGE) as image:
        image.convert("RGB").resize(image_size, Image.Resampling.BICUBIC).save(path, quality=92)


def waiting(device: torch.device) -> Method:
    """Returns a function that synchronises with the device."""
    if device.type == "cuda":
        return partial(torch.cuda.synchronize, device)
    if device.type == "xpu":
        return partial(torch.xpu.synchronize, device)
    return torch.mps.synchronize if device.type == "mps" else lambda: None


def network_calls(model: Model, image: Path, options: Options, count: int) -> list[Method]:
    """Records the network calls of an estimate of `count` images, for replay, by a variant of the model.

    That records calls of `Annotator.run_network`, or of `infer_resized` where the network is not one function.
    """
    calls: list[Method] = []

    def recording(annotator: Annotator) -> Annotator:
        variant = copy.copy(annotator)
        name = "infer_resized" if annotator.why_no_graph(model.spec) else "run_network"
        run = getattr(annotator, name)

        def record(*arguments: Any) -> Any:
            silent = (replace(each, progress=None) if isinstance(each, Request) else each for each in arguments)
            calls.append(partial(run, *silent))
            return run(*arguments)

        setattr(variant, name, record)
        return variant

    per_image.estimate(model.varied(recording), per_image.read(image).expand(count, -1, -1, -1), options)
    return calls


def replay(calls: list[Method]) -> None:
    """Repeats recorded calls."""
    with torch.no_grad():
        for call in calls:
            call()


def _batch(model: Model, image: Path, folder: Path, options: Options) -> None:
    """Reads several images, estimates them in one batch and writes them, one step after the other."""
    images = torch.cat([per_image.read(image) for _ in range(AT_ONCE)])
    estimates = per_image.estimate(model, images, options)
    for index in range(AT_ONCE):
        outputs = Outputs(image, folder / str(index))
        per_image.write(outputs, estimates.slice(index, index + 1), options)


def _folder(model: Model, image: Path, folder: Path, options: Options, images: float, wait: Method) -> float:
    """Seconds per image of `depth-normal estimate FOLDER`, without loading the model."""
    count = max(2 * AT_ONCE, min(_MOST_IN_FOLDER, int(images)))
    data = image.read_bytes()
    sources = [Source(folder / "photos" / f"{number}.jpg", Path(f"{number}.jpg")) for number in range(count)]
    sources[0].path.parent.mkdir()
    for source in sources:
        source.path.write_bytes(data)

    def run(some: list[Source], out: Path) -> None:
        for outcome in estimate_files(model, plan_outputs(some, out).todo, options):
            if outcome.failure:
                raise RuntimeError(outcome.failure.reason)

    run(sources[: 2 * AT_ONCE], folder / "warm")
    return _time(partial(run, sources, folder / "maps"), wait) / count


def take_turns(methods: dict[str, Method], wait: Method, seconds: float) -> dict[str, float]:
    """The median seconds per call of each method, over at least `_FEWEST` turns.

    A turn has several calls if they are short. Threads of some engines spin on after a call and slow down the next method: with one call a
    turn, torch beside ONNX Runtime took twice its time on two cores.
    """
    for method in methods.values():
        _time(method, wait)
    times: dict[str, list[float]] = {name: [] for name in methods}
    end = time.perf_counter() + len(methods) * seconds
    for done in range(_MOST):
        if done >= _FEWEST and time.perf_counter() > end:
            break
        for name, method in methods.items():
            times[name] += _turn(method, wait, min(_TURN_SECONDS, seconds / _FEWEST))
    return {name: median(each) for name, each in times.items()}


def _turn(method: Method, wait: Method, seconds: float) -> list[float]:
    """Seconds of each call; drops the first of several short calls, during which the previous method's threads may still spin."""
    first = _time(method, wait)
    if first >= seconds:
        return [first]
    times: list[float] = []
    end = time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        times.append(_time(method, wait))
    return times


def _time(method: Method, wait: Method) -> float:
    wait()
    start = time.perf_counter()
    method()
    wait()
    return time.perf_counter() - start


def _machine(model: Model, image_size: tuple[int, int], calls: list[Method]) -> dict[str, str]:
    import numpy as np
    import PIL

    shapes = [call.args[0].shape for call in calls if isinstance(call, partial)]
    inputs = [f"{shape[-1]}x{shape[-2]}" for shape in shapes]
    device = model.device
    cv2 = opencv()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return {
        "model": f"{model.spec.id}, {model.dtype_name}",
        "device": name,
        "runtime": model.runtime,
        "processor": f"{processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads of torch"
        + (f", {cv2.getNumThreads()} of OpenCV" if cv2 else ""),
        "image": f"{image_size[0]}x{image_size[1]} JPEG, the network sees {', '.join(inputs)}",
        "versions": f"depth-normal {__version__}, Python {platform.python_version()}, torch {torch.__version__}, NumPy {np.__version__}, "
        f"{f'OpenCV {cv2.__version__}' if cv2 else 'no OpenCV'}, Pillow {PIL.__version__}, {platform.system()} {platform.release()}",
    }


def _memory(device: torch.device) -> dict[str, int]:
    """Peak bytes since the process began; on the GPU, since the model was loaded."""
    peaks = {}
    if sys.platform != "win32":
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        peaks["process"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    if device.type == "cuda":
        peaks["cuda"] = torch.cuda.max_memory_allocated(device)
    return peaks
