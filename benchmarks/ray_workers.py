"""How much faster two workers of a Ray on this machine are than one, each computing in one thread.

    python benchmarks/ray_workers.py [--pictures N] [--image WIDTHxHEIGHT] [--size N | --sleep MS]

Images a second from file to file, from the moment that a quarter of them is done until three quarters are: loading the model and
starting Ray are not in it.
The ratio can reach 2 where there is a core for each worker and one for reading and writing. Two ceilings say what the cores allow:
- of processes: how much faster two plain processes are than one, measured in the same run. Each reads, estimates and writes in one thread;
  they share nothing but the cores.
- of the processor: as if all processor time of Ray's processes, measured with two workers, were shared out evenly among the cores. With one
  worker Ray reads and writes beside it, so that a second worker does not find a whole core.

--sleep simulates workers that have a core or a GPU each: in place of the network each sleeps so long for an image. What keeps the ratio
from 2 then, and what an image takes beyond the network, is the pipeline's own: reading, writing, and handing images from step to step.
Measured is from the moment that every worker has begun its first image until one has ended its last.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from depth_normal.annotators.registry import MODELS
from depth_normal.app.batch.options import Options
from depth_normal.app.batch.outputs import plan_outputs
from depth_normal.app.batch.per_image import estimate, read
from depth_normal.app.batch.per_image import run as work_on
from depth_normal.app.batch.sources import Source
from depth_normal.app.cluster.engine import estimate_with_ray
from depth_normal.app.cluster.local_ray import local_ray
from depth_normal.app.console.option_types import positive
from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.options.folders import RayOptions

OBJECT_STORE = 600 * 2**20
# Seconds that one process waits for another.
PATIENCE = 300


class SleepingModel:
    """A model that sleeps in place of computing, off Python's lock, and whose maps are the same for all images of a size."""

    device = torch.device("cpu")

    def __init__(self, seconds: float, log: str) -> None:
        self.seconds, self.log = seconds, log
        self._found = lru_cache(_any_estimate)

    def estimate(self, images: Tensor, *_: Any, **__: Any) -> Estimate:
        """As `Model.estimate`."""
        found = self._found(*images.shape[2:])
        begun = time.monotonic()  # of one clock in all processes
        time.sleep(self.seconds)
        with Path(self.log).open("a") as log:
            log.write(f"{os.getpid()} {begun} {time.monotonic()}\n")
        return found


def _any_estimate(height: int, width: int) -> Estimate:
    """Depth and normals, as of `tiny`; smooth, so that their files are as large as those of a network's maps."""
    down, across = torch.linspace(0, 6, height)[:, None], torch.linspace(0, 8, width)[None]
    depth = (down.sin() + across.cos() + 3)[None, None]
    normals = torch.nn.functional.normalize(torch.stack(torch.broadcast_tensors(across.sin(), down.cos(), torch.ones(1, 1)))[None])
    return Estimate(depth=depth, quantity=Quantity.DISPARITY, normals=normals)


@dataclass(frozen=True)
class SleepingOptions(Options):
    """Options whose model is a `SleepingModel`.

    Attributes:
        seconds: That it sleeps for an image.
        log: The file in which it notes when it slept.
    """

    seconds: float = 0.0
    log: str = ""

    def load(self, *_: Any, **__: Any) -> Any:
        """As `Options.load`."""
        return SleepingModel(self.seconds, self.log)


def networks_at_work(log: Path) -> tuple[float, int]:
    """How many networks slept at once, on average, while every worker was at work; and how many workers had images."""
    naps = [(worker, float(begin), float(end)) for worker, begin, end in (line.split() for line in log.read_text().splitlines())]
    workers = {worker for worker, _, _ in naps}
    first = max(min(begin for each, begin, _ in naps if each == worker) for worker in workers)
    last = min(max(end for each, _, end in naps if each == worker) for worker in workers)
    return sum(max(0.0, min(end, last) - max(begin, first)) for _, begin, end in naps) / (last - first), len(workers)


def main() -> None:
    """Prints both rates and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=positive, default=256, help="how many (default: %(default)s)")
    parser.add_argument("--image", type=_sides, default=(640, 480), metavar="WIDTHxHEIGHT", help="of an image (default: 640x480)")
    parser.add_argument("--size", type=positive, default=512, help="the network's side in pixels (default: %(default)s)")
    parser.add_argument("--sleep", type=positive, metavar="MS", help="milliseconds that the network sleeps for an image, in place of tiny")
    arguments = parser.parse_args()
    cores, (width, height) = len(os.sched_getaffinity(0)), arguments.image
    seconds = (arguments.sleep or 0) / 1000
    network = f"a network that sleeps {arguments.sleep} ms" if seconds else f"tiny at {arguments.size}"
    print(f"{cores} cores, {arguments.pictures} images of {width}x{height}, {network}")
    with tempfile.TemporaryDirectory() as folder:
        images = write_images(Path(folder), arguments.pictures, width, height)
        os.environ.setdefault("RAY_worker_niceness", "0")  # else whatever else runs here goes first
        with local_ray(num_cpus=cores, object_store_memory=OBJECT_STORE):
            if seconds:
                print_sleeping(images, Path(folder), seconds)
                return
            options = Options(MODELS["tiny"], size=arguments.size)
            runs = [run(images, Path(folder) / f"maps{workers}", workers, options) for workers in (1, 2)]
        plain = [run_plain(images, Path(folder), count, options) for count in (1, 2)]
    for workers, (rate, processor) in zip(("1 worker ", "2 workers"), runs, strict=True):
        print(f"{workers} {rate:6.2f} images/s {1000 * processor:6.1f} ms of the processor an image")
    for count, rate in zip(("1 process ", "2 processes"), plain, strict=True):
        print(f"{count:<9} {rate:5.2f} images/s")
    (one, _), (two, processor) = runs
    ceilings = {"processes": plain[1] / plain[0], "the processor": cores / processor / one}
    print(f"ratio     {two / one:6.2f}")
    for name, ceiling in ceilings.items():
        print(f"ceiling   {min(2, ceiling):6.2f} of {name} with {cores} cores")
    print(f"reached   {two / one / min(2, *ceilings.values()):6.0%} of the lower ceiling; {two / plain[1]:.0%} of two processes' rate")


def print_sleeping(images: list[Path], folder: Path, seconds: float) -> None:
    """Prints the rates of one and two workers that sleep, and their ratio."""
    at_work = []
    for workers in (1, 2):
        log = folder / f"log{workers}"
        _, processor = run(images, folder / f"maps{workers}", workers, SleepingOptions(MODELS["tiny"], seconds=seconds, log=str(log)))
        networks, busy = networks_at_work(log)
        at_work.append(networks)
        words = f"{networks / seconds:6.2f} images/s {1000 * processor:6.1f} ms of the processor an image"
        print(f"{busy} worker{'s' if busy > 1 else ' '} {words}, {busy / networks - 1:.1%} beyond the network")
    if busy < workers:
        print(f"ratio     not known: {busy} of {workers} workers had images before they were all done; give more --pictures")
    else:
        print(f"ratio     {at_work[1] / at_work[0]:6.2f}")


def _sides(text: str) -> tuple[int, int]:
    width, height = map(int, text.split("x"))
    return width, height


def write_images(folder: Path, count: int, width: int, height: int) -> list[Path]:
    """Smooth noise, as JPEG."""
    paths = [folder / f"{number:05}.jpg" for number in range(count)]
    for number, path in enumerate(paths):
        noise = np.random.default_rng(number).integers(0, 255, (12, 16, 3), np.uint8)
        cv2.imwrite(str(path), cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC))
    return paths


def run(images: list[Path], out: Path, workers: int, options: Options) -> tuple[float, float]:
    """Images a second of a run and the processor's seconds for each, in its second and third quarter."""
    plan = plan_outputs([Source(path, Path(path.name)) for path in images], out, ("depth",))
    first, last = len(images) // 4, 3 * len(images) // 4
    marks = {}
    for number, outcome in enumerate(estimate_with_ray(plan.todo, options, RayOptions(workers=workers, device="cpu"))):
        if outcome.failure:
            raise SystemExit(outcome.failure.reason)
        if number in (first, last):
            marks[number] = time.perf_counter(), processor_seconds()
    (start, before), (end, after) = marks[first], marks[last]
    # Of processes that end in between nothing is known: Ray's idle workers, which take next to nothing.
    processor = sum(taken - before.get(process, 0) for process, taken in after.items())
    processor = max(processor, 1 / os.sysconf("SC_CLK_TCK"))  # of few images the system may have counted nothing yet
    return (last - first) / (end - start), processor / (last - first)


def run_plain(images: list[Path], folder: Path, processes: int, options: Options) -> float:
    """Images a second of plain processes together, each with an equal part of the images."""
    parts = [images[number::processes] for number in range(processes)]
    start_method = multiprocessing.get_context("spawn")  # torch's threads do not outlive a fork
    ready, results = start_method.Barrier(processes), start_method.Queue()
    running = [
        start_method.Process(target=estimate_alone, args=(part, folder / f"plain{processes}_{number}", options, ready, results))
        for number, part in enumerate(parts)
    ]
    for process in running:
        process.start()
    seconds = [results.get(timeout=PATIENCE) for _ in running]
    for process in running:
        process.join()
    return len(images) / max(seconds)


def estimate_alone(images: list[Path], out: Path, options: Options, ready: Barrier, results: Queue) -> None:
    """The whole way of images in one thread, once all processes are ready."""
    torch.set_num_threads(1)
    model = options.load("cpu")
    todo = plan_outputs([Source(path, Path(path.name)) for path in images], out, ("depth",)).todo
    estimate(model, read(images[0]), options)
    ready.wait(PATIENCE)
    start = time.perf_counter()
    for outputs in todo:
        work_on(model, outputs, options)
    results.put(time.perf_counter() - start)


def processor_seconds() -> dict[str, float]:
    """What this process and each that it started, and that still runs, has taken of the processor, as Linux tells it."""
    parents, ticks = {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has just ended
            fields = stat.read_text().rpartition(")")[2].split()
            parents[stat.parent.name], ticks[stat.parent.name] = fields[1], sum(map(int, fields[11:13]))
    family, found = set(), {str(os.getpid())}
    while found:
        family |= found
        found = {child for child, parent in parents.items() if parent in found} - family
    return {each: ticks[each] / os.sysconf("SC_CLK_TCK") for each in family}


if __name__ == "__main__":
    main()
