"""How much faster two workers of a Ray on this machine are than one, each computing in one thread.

    python benchmarks/ray_workers.py [--pictures N] [--size N]

Pictures a second from file to file, from the moment that a quarter of them is done until three quarters are: loading the model and
starting Ray are not in it.
The ratio can reach 2 where there is a core for each worker and one for reading and writing. The ceiling is what the cores allow: as if all
processor time of Ray's processes, measured with two workers, were shared out evenly among them.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np

from depth_normal.app.arguments import positive
from depth_normal.app.cluster.engine import estimate_with_ray
from depth_normal.app.cluster.options import RayOptions
from depth_normal.app.cluster.session import import_ray
from depth_normal.app.outputs import plan_outputs
from depth_normal.app.pictures import Source
from depth_normal.app.work import Options

OBJECT_STORE = 600 * 2**20


def main() -> None:
    """Prints both rates and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=positive, default=256, help="how many (default: %(default)s)")
    parser.add_argument("--size", type=positive, default=512, help="the network's side in pixels (default: %(default)s)")
    arguments = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    print(f"{cores} cores, {arguments.pictures} pictures of 640x480, tiny at {arguments.size}")
    with tempfile.TemporaryDirectory() as folder:
        pictures = write_pictures(Path(folder), arguments.pictures)
        os.environ.setdefault("RAY_worker_niceness", "0")  # else whatever else runs here goes first
        ray = import_ray()
        ray.init(
            address="local",
            num_cpus=cores,
            object_store_memory=OBJECT_STORE,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="ERROR",
        )
        runs = [run(pictures, Path(folder) / f"maps{workers}", workers, arguments.size) for workers in (1, 2)]
        ray.shutdown()
    for workers, (rate, processor) in zip(("1 worker ", "2 workers"), runs, strict=True):
        print(f"{workers} {rate:6.2f} pictures/s {1000 * processor:6.1f} ms of the processor a picture")
    (one, _), (two, processor) = runs
    print(f"ratio     {two / one:6.2f}\nceiling   {min(2, cores / processor / one):6.2f} with {cores} cores")


def write_pictures(folder: Path, count: int) -> list[Path]:
    """Smooth noise, as JPEG."""
    paths = [folder / f"{number:05}.jpg" for number in range(count)]
    for number, path in enumerate(paths):
        noise = np.random.default_rng(number).integers(0, 255, (12, 16, 3), np.uint8)
        cv2.imwrite(str(path), cv2.resize(noise, (640, 480), interpolation=cv2.INTER_CUBIC))
    return paths


def run(pictures: list[Path], out: Path, workers: int, size: int) -> tuple[float, float]:
    """Pictures a second of a run and the processor's seconds for each, in its second and third quarter."""
    plan = plan_outputs([Source(path, Path(path.name)) for path in pictures], out, ("depth",))
    first, last = len(pictures) // 4, 3 * len(pictures) // 4
    marks = {}
    for number, outcome in enumerate(estimate_with_ray(plan.todo, Options("tiny", size=size), RayOptions(workers=workers, device="cpu"))):
        if outcome.failure:
            raise SystemExit(outcome.failure.reason)
        if number in (first, last):
            marks[number] = time.perf_counter(), processor_seconds()
    (start, before), (end, after) = marks[first], marks[last]
    # Of processes that end in between nothing is known: Ray's idle workers, which take next to nothing.
    processor = sum(taken - before.get(process, 0) for process, taken in after.items())
    return (last - first) / (end - start), processor / (last - first)


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
