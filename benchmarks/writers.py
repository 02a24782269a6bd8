"""Writers of one folder: how long they wait for each other.

    python benchmarks/writers.py [--counts 1 2 4] [--pictures 600] [--rounds 3]

So many threads of one process, and so many processes of one thread, write the results of images of their own into one folder, through
`staged` alone: two small files each, without a network or an image to pack. For each count it prints the milliseconds that a writer takes
for an image, and how many of them come after its files are written, where writers can wait for each other: the median of the rounds.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import mean, median

from depth_normal.app.batch.outputs import Outputs
from depth_normal.app.batch.staging import Stages, staged

CONTENT = bytes(20_000)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--pictures", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; {arguments.pictures} images, median of {arguments.rounds} rounds")
    kinds = {"threads": ThreadPoolExecutor, "processes": partial(ProcessPoolExecutor, mp_context=multiprocessing.get_context("spawn"))}
    for kind, pool in kinds.items():
        for count in arguments.counts:
            rounds = [run(pool, count, arguments.pictures) for _ in range(arguments.rounds)]
            total, after = (1000 * median(values) for values in zip(*rounds, strict=True))
            print(f"{count} {kind:9} {total:7.2f} ms an image for each writer, {after:7.2f} of them to record and rename them")


def run(pool: Callable[[int], Executor], count: int, images: int) -> tuple[float, float]:
    """Mean seconds an image, and those of them after its files were written, of so many writers."""
    with tempfile.TemporaryDirectory() as folder, pool(count) as writers:
        each = images // count
        list(writers.map(write, [folder] * count, range(count), [1] * count))  # imports are done by then
        found = [figures for part in writers.map(write, [folder] * count, range(count), [each] * count) for figures in part]
    return mean(total for total, _ in found), mean(after for _, after in found)


def write(folder: str, writer: int, images: int) -> list[tuple[float, float]]:
    """Writes one image after the other; returns for each its seconds, and those of them after its files were written."""
    figures = []
    with Stages() as stages:
        for number in range(images):
            start = time.perf_counter()
            with staged(Outputs(Path(f"{writer}-{number}.png"), Path(folder)), {}, stages=stages) as stage:
                for path in stage.paths():
                    path.write_bytes(CONTENT)
                written = time.perf_counter()
            end = time.perf_counter()
            figures.append((end - start, end - written))
    return figures


if __name__ == "__main__":
    main()
