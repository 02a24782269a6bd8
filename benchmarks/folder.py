"""A folder of images, file to file: images a second beside the plain way and beside the bare network, and memory over many images.

    python benchmarks/folder.py [--model tiny] [--weights FILE | --random] [--pictures 24] [--width 1920 --height 1080] [--rounds 3]
    python benchmarks/folder.py --memory 20000 --size 96 [--folder DIR]

- folder: `depth-normal estimate FOLDER --out DIR` from the first image to the last, without the start of Python.
- plain: one after another what cannot be left out: OpenCV decodes the file, the bare network runs on the input that the model makes of the
  image, OpenCV packs the two results and writes them.
- network: the bare network alone.
- files: reading the image and writing its two files as `estimate` does, in one thread, without a network.
They take turns in one process, and the median of the rounds counts. The aims are: folder in at most 0.9 of the time of plain with a
network that is small beside the rest (tiny), and at 95 % of the rate of the network alone with a larger one.

The bound is what no overlap can beat: the processor's time of folder, shared out evenly among the cores, or on a GPU the network's own time
where that is longer. On a CPU the network shares the cores with the files: a folder can reach no more of its rate than what the files
leave it, unless images side by side use the cores better than one image alone. --random takes random weights, for a model whose file is
not here: time does not depend on them.

--memory estimates so many small images in one run and prints the resident memory after each thousand. The images are links to a few
files. With --folder it goes on where an earlier run stopped.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
import torch
from families import Calls, hooked, mend_torchvision, narrow, refuse_diffusion, resident, run_bare
from families import load as random_model

from depth_normal.annotators.registry import MODELS
from depth_normal.app.batch.allocator import keep_freed_memory
from depth_normal.app.batch.local_engine import count_cores, estimate_files
from depth_normal.app.batch.options import Options
from depth_normal.app.batch.outputs import plan_outputs
from depth_normal.app.batch.per_image import estimate, read, write
from depth_normal.app.batch.sources import find_images
from depth_normal.geometry.estimate import Estimate
from depth_normal.geometry.images.render import depth_to_image, normals_to_image
from depth_normal.model_loader import Model

CURVE_STEP = 1000


def main() -> None:
    """Prints the rates, or the memory."""
    arguments = parse()
    keep_freed_memory()
    options = Options(MODELS[arguments.model], weights=arguments.weights, size=arguments.size)
    if arguments.memory:
        with nullcontext(arguments.folder) if arguments.folder else tempfile.TemporaryDirectory() as folder:
            print_memory(Path(folder), arguments.memory, options)
        return
    with tempfile.TemporaryDirectory() as folder, narrow([arguments.model]) if arguments.narrow else nullcontext():
        print_rates(Path(folder), options, arguments)


def print_rates(folder: Path, options: Options, arguments: argparse.Namespace) -> None:
    """Measures the four methods alternately, and prints their times."""
    save_photos(folder / "in", arguments.pictures, arguments.width, arguments.height)
    model = random_model(arguments.model, "float32") if arguments.random else options.load(arguments.device)
    paths = sorted((folder / "in").iterdir())
    network, found = network_call(model, options, paths[0]), estimate(model, read(paths[0]), options)
    results = encoded(found)
    ways: dict[str, Callable[[], object]] = {
        "folder": lambda: run_folder(model, options, folder / "in", folder / "out", tuple(results)),
        "plain": lambda: [run_plain(path, network, results, folder) for path in paths] and None,
        "network": lambda: [network() for _ in paths] and None,
        "files": lambda: run_files(folder / "in", folder / "files", tuple(results), found, options),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    processor: dict[str, list[float]] = {name: [] for name in ways}
    for round_number in range(arguments.rounds + 1):
        for name, way in ways.items():
            start, start_processor = time.perf_counter(), time.process_time()
            way()
            if round_number:  # the first round warms up
                seconds[name].append((time.perf_counter() - start) / len(paths))
                processor[name].append((time.process_time() - start_processor) / len(paths))
    place = torch.cuda.get_device_name(model.device) if model.device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(f"{place}; torch {torch.__version__}; {options.spec.id}; {len(paths)} images of {arguments.width}x{arguments.height}")
    middle = {name: median(values) for name, values in seconds.items()}
    cores, taken = count_cores(), {name: median(values) for name, values in processor.items()}
    for name, value in middle.items():
        print(f"{name:8} {1000 * value:7.1f} ms an image {1 / value:7.2f} images/s {1000 * taken[name]:7.1f} ms of the processor")
    bound = max(taken["folder"] / cores, middle["network"] if model.device.type != "cpu" else 0)
    print(f"bound    {1000 * bound:7.1f} ms an image {1 / bound:7.2f} images/s with {cores} cores")
    print(f"folder to plain: {middle['folder'] / middle['plain']:.2f} of the time; bound {bound / middle['plain']:.2f}")
    shares = [100 * middle["network"] / value for value in (middle["folder"], bound)]
    print(f"folder to network: {shares[0]:.0f} % of the rate; bound {shares[1]:.0f} %")
    for_files, for_network = taken["files"] / cores, taken["network"] / cores
    left = 100 * for_network / (for_files + for_network)
    print(f"files alone: {100 * for_files / middle['folder']:.0f} % of folder's time on {cores} cores; they leave the network {left:.0f} %")


def run_folder(model: Model, options: Options, source: Path, out: Path, outputs: tuple[str, ...]) -> None:
    """Runs the command's work after loading the model."""
    sources, _ = find_images([source])
    plan = plan_outputs(sources, out, outputs)
    failures = [outcome.failure for outcome in estimate_files(model, plan.todo, options) if outcome.failure]
    assert not failures, failures


def run_files(source: Path, out: Path, names: tuple[str, ...], found: Estimate, options: Options) -> None:
    """Only reads and writes, sequentially in one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for outputs in plan_outputs(find_images([source])[0], out, names).todo:
        write(outputs, found, options, read(outputs.image))
    torch.set_num_threads(threads)


def run_plain(path: Path, network: Callable[[], Any], results: dict[str, np.ndarray], folder: Path) -> None:
    """Decodes, runs the network, packs and writes."""
    assert cv2.imread(str(path)) is not None
    network()
    for name, pixels in results.items():
        cv2.imwrite(str(folder / f"{name}.png"), pixels)


def network_call(model: Model, options: Options, path: Path) -> Callable[[], Any]:
    """The bare network on the input that the model makes of an image."""
    calls: Calls = []
    with hooked(model, lambda *call: calls.append(call)):
        estimate(model, read(path).to(model.device), options)

    @torch.inference_mode()
    def run() -> None:
        run_bare(model, calls)
        if model.device.type == "cuda":
            torch.cuda.synchronize()

    return run


def encoded(found: Estimate) -> dict[str, np.ndarray]:
    """The pixels of the depth and normal images, as far as the model predicts them."""
    pixels = {}
    if found.depth is not None and found.quantity is not None:
        pixels["depth"] = depth_to_image(found.depth, found.quantity)[0, 0].mul(65535).round().numpy().astype(np.uint16)
    if found.normals is not None:
        normals = normals_to_image(found.normals, source=found.axes)[0].movedim(0, -1).mul(255).round().numpy().astype(np.uint8)
        pixels["normals"] = np.ascontiguousarray(normals[..., ::-1])
    return pixels


def save_photos(folder: Path, count: int, width: int, height: int) -> None:
    """Writes images with photographic grain, each another part of one photograph."""
    folder.mkdir(parents=True, exist_ok=True)
    photo = cv2.imread(str(Path(__file__).resolve().parent.parent / "app" / "coffee.jpg"))
    assert photo is not None
    random = np.random.default_rng(0)
    for number in range(count):
        top, left = random.integers(0, photo.shape[0] // 4), random.integers(0, photo.shape[1] // 4)
        part = cv2.resize(photo[top:, left:], (width, height), interpolation=cv2.INTER_CUBIC)
        grain = random.normal(0, 4, part.shape)
        cv2.imwrite(str(folder / f"{number:05}.jpg"), (part + grain).clip(0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 92])


def print_memory(folder: Path, count: int, options: Options) -> None:
    """Prints resident memory against the number of images done."""
    if not (folder / "photos").exists():  # rewritten images would count as new ones
        save_photos(folder / "photos", 8, 128, 96)
    photos = sorted((folder / "photos").iterdir())
    (folder / "in").mkdir(exist_ok=True)
    for number in range(count):
        link = folder / "in" / f"{number:06}.jpg"
        if not link.exists():
            os.link(photos[number % len(photos)], link)
    model = options.load("cpu")
    sources, _ = find_images([folder / "in"])
    plan = plan_outputs(sources, folder / "out", done_by=options.settings(("depth", "normals")))
    print(f"{count} images of 128x96, {len(plan.done)} of them done before; {resident('VmRSS:'):.0f} MB before the first", flush=True)
    start = time.monotonic()
    for number, outcome in enumerate(estimate_files(model, plan.todo, options), 1):
        assert outcome.failure is None, outcome.failure
        if number % CURVE_STEP == 0:
            rate = number / (time.monotonic() - start)
            print(f"{len(plan.done) + number:7} done  {resident('VmRSS:'):6.0f} MB  {rate:6.1f} images/s", flush=True)


def parse() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny", choices=MODELS, metavar="ID")
    parser.add_argument("--size", type=int, metavar="N", help="side of the network's input in pixels (default: the model's)")
    parser.add_argument("--weights", type=Path, help="the model's file, where it is not in its place")
    parser.add_argument("--random", action="store_true", help="random weights, in float32")
    parser.add_argument("--narrow", action="store_true", help="random weights of a network with few channels, for a quick check")
    parser.add_argument("--device", default="auto", help="cpu, cuda, mps (default: the best there is)")
    parser.add_argument("--pictures", type=int, default=24)
    parser.add_argument("--width", type=int, default=1920)
    parser.add_argument("--height", type=int, default=1080)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", type=int, metavar="PICTURES", help="print the memory over so many small images instead")
    parser.add_argument("--folder", type=Path, help="where --memory keeps its images, to go on later")
    arguments = parser.parse_args()
    arguments.random |= arguments.narrow
    if arguments.random:
        mend_torchvision()
        refuse_diffusion(parser, [arguments.model])
    return arguments


if __name__ == "__main__":
    main()
