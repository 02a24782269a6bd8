"""What the loader costs around the networks: looking for weights among many files, and memory on the way through a model.

    python benchmarks/loader.py find [--files 100000] [--folders 200]
    python benchmarks/loader.py memory [--frames 24] [--height 2160 --width 3840]

- find: seconds to look for every file of the table of models in a generated tree, the first time and again, and folders read.
- memory: MB of a fresh process at its highest during `Model.estimate` (Linux only), beyond what was there before the call, the images
  included; and what images and results take by themselves.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np

from depth_normal import load_model
from depth_normal.annotators.registry import MODELS
from depth_normal.model_loader.weights.find import find_weights

MEGABYTE = 2**20


def main() -> None:
    """Runs one of the measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    find = commands.add_parser("find")
    find.add_argument("--files", type=int, default=100_000)
    find.add_argument("--folders", type=int, default=200)
    find.set_defaults(run=measure_find)
    memory = commands.add_parser("memory")
    memory.add_argument("--frames", type=int, default=24)
    memory.add_argument("--height", type=int, default=2160)
    memory.add_argument("--width", type=int, default=3840)
    memory.set_defaults(run=measure_memory)
    arguments = parser.parse_args()
    arguments.run(arguments)


def measure_find(arguments: argparse.Namespace) -> None:
    """Prints how long the table takes to be looked for."""
    files = [file for spec in MODELS.values() for file in spec.files if not file.bundled]
    with tempfile.TemporaryDirectory() as folder:
        os.environ["DEPTH_NORMAL_HOME"] = folder
        for i in range(arguments.folders):
            place = Path(folder, f"pack{i % 20}", f"folder{i}")
            place.mkdir(parents=True)
            for j in range(arguments.files // arguments.folders):
                (place / f"file{j}.safetensors").touch()
        time.sleep(2.1)  # folders that just changed are read again
        read = count_folders_read()
        for turn in ("first", "again"):
            start = time.perf_counter()
            found = [find_weights(file) for file in files]
            seconds = time.perf_counter() - start
            print(f"{turn}: {len(files)} files looked for among {arguments.files}: {seconds:.2f} s, {len(read)} folders read")
            assert not any(path and path.is_relative_to(folder) for path in found)
            read.clear()


def count_folders_read() -> list[str]:
    """A list to which each folder that is read from now on is added."""
    read: list[str] = []
    scandir = os.scandir

    def counting(place: str = ".") -> os._ScandirIterator:  # pyright: ignore[reportAttributeAccessIssue]
        read.append(str(place))
        return scandir(place)

    os.scandir = counting
    return read


def measure_memory(arguments: argparse.Namespace) -> None:
    """Prints the peak of a long batch of 8-bit images through the small model of the pack."""
    model = load_model("tiny", device="cpu")
    model.estimate(np.zeros((1, 64, 64, 3), np.uint8))
    frames = np.random.default_rng(0).integers(0, 255, (arguments.frames, arguments.height, arguments.width, 3), np.uint8)
    Path("/proc/self/clear_refs").write_text("5")  # the highest is now what is
    before = resident("VmRSS")
    estimate = model.estimate(frames)
    maps = [value for value in vars(estimate).values() if hasattr(value, "nbytes")]
    print(f"{arguments.frames} images of {arguments.width}x{arguments.height}: {frames.nbytes / MEGABYTE:.0f} MB as bytes")
    print(f"results: {sum(value.nbytes for value in maps) / MEGABYTE:.0f} MB")
    print(f"peak beyond the images: {resident('VmHWM') - before:.0f} MB")


def resident(field: str) -> float:
    """A line of the kernel's account of this process, in MB."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main()
