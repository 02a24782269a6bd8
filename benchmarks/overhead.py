"""What an image costs beside its network: each step from file to file, whole ways against a plain one, and some nodes.

    python benchmarks/overhead.py [IMAGE] [--model tiny] [--device cpu] [--threads 2] [--rounds 7]

The plain way is what a short script with OpenCV does, one after another: read, scale down, the network, scale up, round, write. Where the
network gives no normals, both ways derive them alike. Every figure is the median of its rounds, in which all steps and ways take turns, so
that a machine that slows down slows all of them. On a GPU each step waits for the device; the whole ways wait once, at their end.
Without IMAGE: a photograph made of the pack's own, 1920x1080.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
import torch
from families import hooked, mend_torchvision, narrow, refuse_diffusion
from families import load as random_model

import depth_normal
from depth_normal.annotators.registry import MODELS
from depth_normal.app.batch import per_image
from depth_normal.app.batch.options import Options
from depth_normal.geometry.estimate import Axes, Estimate, Quantity
from depth_normal.geometry.files import read_image, write_depth_png, write_normals_png, write_npz
from depth_normal.geometry.files.paths import write_bytes
from depth_normal.geometry.images.render import depth_to_image
from depth_normal.geometry.surfaces.derive import with_normals
from depth_normal.model_loader import Model
from depth_normal.model_loader.inference.recent import forget_estimates
from depth_normal.utils import check_images, images_to_rgb

FULL_HD = (1920, 1080)
Times = dict[str, list[float]]


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", nargs="?", type=Path, metavar="IMAGE")
    parser.add_argument("--model", default="tiny", choices=list(MODELS), metavar="ID")
    parser.add_argument("--weights", type=Path, help="the model's file, where it is not in its place")
    parser.add_argument("--random", action="store_true", help="random weights, on the best device there is")
    parser.add_argument("--narrow", action="store_true", help="random weights of a network with few channels, for a quick check")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, mps (default: cpu)")
    parser.add_argument("--threads", type=int, help="of torch and OpenCV (default: as they choose)")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    arguments.random |= arguments.narrow
    if arguments.random:
        refuse_diffusion(parser, [arguments.model])
    if arguments.image and not arguments.image.is_file():
        parser.error(f"{arguments.image} is not a file; give an image, or nothing for the pack's own")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
        cv2.setNumThreads(arguments.threads)
    mend_torchvision()
    with narrow([arguments.model]) if arguments.narrow else nullcontext():
        model = load(arguments)
        print_overhead(model, arguments)


def load(arguments: argparse.Namespace) -> Model:
    """The model, in float32."""
    if arguments.random:
        return random_model(arguments.model, "float32")
    return depth_normal.load_model(arguments.model, "float32", torch.device(arguments.device), weights=arguments.weights)


def print_overhead(model: Model, arguments: argparse.Namespace) -> None:
    """Measures, and prints the tables."""
    device = model.device
    with tempfile.TemporaryDirectory() as folder:
        image = arguments.image or own_photograph(Path(folder) / "photograph.jpg")
        height, width = read_image(image).shape[:2]
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{device.type}, {torch.get_num_threads()} threads"
        print(f"{arguments.model} on {name}; torch {torch.__version__}, OpenCV {cv2.__version__}; image {width}x{height}")
        measure(model, device, image, Path(folder), arguments.rounds)


def own_photograph(path: Path) -> Path:
    """The demo's photograph at a video frame's size."""
    coffee = cv2.imread(str(Path(__file__).parents[1] / "app" / "coffee.jpg"))
    cv2.imwrite(str(path), cv2.resize(coffee, FULL_HD, interpolation=cv2.INTER_CUBIC), [cv2.IMWRITE_JPEG_QUALITY, 92])
    return path


def measure(model: Model, device: torch.device, image: Path, folder: Path, rounds: int) -> None:
    """Runs all measurements alternately, `rounds` times."""
    wait = partial(torch.cuda.synchronize, device) if device.type == "cuda" else torch.mps.synchronize if device.type == "mps" else nothing
    steps, wholes = Steps(wait), defaultdict(list)
    ways = {
        "plain way": partial(plain_way, model, device, image, folder),
        "estimate, file to file": partial(our_way, model, image, folder),
        **nodes(model, image),
    }
    for number in range(rounds + 1):  # the first round warms up
        if number == 1:
            steps.times.clear()
            wholes.clear()
        steps.new_round()
        step_by_step(model, device, image, folder, steps)
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            wait()
            wholes[name].append(time.perf_counter() - start)
    print_table(steps.times, wholes)


class Steps:
    """A stopwatch for consecutive steps."""

    def __init__(self, wait: Callable[[], object]) -> None:
        self.times: Times = defaultdict(list)
        self._wait = wait
        self._marked = 0.0
        self._done: set[str] = set()

    def new_round(self) -> None:
        """Starts a new round."""
        self._done.clear()

    def start(self) -> None:
        """Starts timing."""
        self._wait()
        self._marked = time.perf_counter()

    def end(self, name: str) -> None:
        """Ends the step since the last mark and starts the next. Times of the same step add up within a round."""
        self._wait()
        now = time.perf_counter()
        if name in self._done:  # the network may run several times
            self.times[name][-1] += now - self._marked
        else:
            self.times[name].append(now - self._marked)
        self._done.add(name)
        self._marked = time.perf_counter()


def step_by_step(model: Model, device: torch.device, path: Path, folder: Path, steps: Steps) -> None:
    """`depth-normal estimate`, timed step by step."""
    steps.start()
    pixels = read_image(path)
    steps.end("read and decode")
    batch = images_to_rgb(check_images(pixels))
    steps.end("to a tensor")
    with marked_network(model, steps):
        (found,) = model.estimates(batch)
    steps.end("after the network")
    found = with_normals(found)
    steps.end("normals of the depth")
    height, width = batch.shape[-2:]
    found = found.resized(height, width, model.resampling)
    steps.end("enlarge")
    found = found.to("cpu")
    steps.end("to the CPU")
    if found.depth is not None and found.quantity is not None:
        image = depth_to_image(found.depth, found.quantity, mask=found.mask)
        steps.end("image of depth")
        write_depth_png(folder / "depth.png", image)
        steps.end("depth as PNG")
    if found.normals is not None:
        write_normals_png(folder / "normals.png", found.normals, found.axes or Axes.OPENGL, found.mask)
        steps.end("normals as PNG")
    files = [path.read_bytes() for path in sorted(folder.glob("*.png"))]
    steps.start()
    for data in files:
        write_bytes(folder / "copy", data)
    steps.end(WRITING)
    write_npz(folder / "numbers.npz", found)
    steps.end(ON_REQUEST)


WRITING, ON_REQUEST = "  of PNG: writing the files", "raw numbers as npz (on request)"


@contextmanager
def marked_network(model: Model, steps: Steps) -> Iterator[None]:
    """Marks begin and end of the forward pass."""
    with hooked(model, lambda *_: steps.end("to the network's size"), lambda *_: steps.end(FORWARD)):
        yield


FORWARD = "the network's forward"


def our_way(model: Model, path: Path, folder: Path) -> None:
    """Reads, estimates and writes the command's default files, sequentially in one thread."""
    found = per_image.estimate(model, per_image.read(path), Options(model.spec))
    if found.depth is not None and found.quantity is not None:
        write_depth_png(folder / "depth.png", depth_to_image(found.depth, found.quantity, mask=found.mask))
    if found.normals is not None:
        write_normals_png(folder / "normals.png", found.normals, found.axes or Axes.OPENGL, found.mask)


@torch.no_grad()
def plain_way(model: Model, device: torch.device, path: Path, folder: Path) -> None:
    """A short script with the same network."""
    pixels = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
    height, width = pixels.shape[:2]
    annotator = model.annotator
    net_height, net_width = annotator.network_size(height, width, annotator.spec.default_size)
    small = cv2.resize(pixels, (net_width, net_height), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    found = with_normals(annotator.infer_resized(torch.from_numpy(small).permute(2, 0, 1)[None].to(device)))
    if found.depth is not None:
        values = found.depth if found.quantity is Quantity.DISPARITY else -found.depth
        depth = cv2.resize(values[0, 0].cpu().numpy(), (width, height), interpolation=cv2.INTER_LINEAR)
        depth -= depth.min()
        cv2.imwrite(str(folder / "plain_depth.png"), (depth * (65535 / max(depth.max(), 1e-6)) + 0.5).astype(np.uint16))
    if found.normals is not None:
        normals = cv2.resize(found.normals[0].permute(1, 2, 0).cpu().numpy(), (width, height), interpolation=cv2.INTER_LINEAR)
        normals /= np.sqrt(np.einsum("hwc,hwc->hw", normals, normals))[..., None]
        cv2.imwrite(str(folder / "plain_normals.png"), (normals[..., ::-1] * 127.5 + 128).astype(np.uint8))


def nodes(model: Model, path: Path) -> dict[str, Callable[[], object]]:
    """The nodes that a user waits for, with their inputs."""
    image = torch.from_numpy(read_image(path))[None]
    found: Estimate = node("EstimateGeometry", model=model, image=image)()
    ways: dict[str, Callable[[], object]] = {"Depth & Normals (advanced)": node("EstimateGeometry", model=model, image=image)}
    if found.depth is not None:
        depth = Estimate(found.depth, found.quantity, mask=found.mask)
        ratio = 3.0 if found.quantity is Quantity.RELATIVE_DEPTH else 0.0
        ways["Depth to Normals"] = node("NormalsFromDepth", geometry=depth, method="plane fit", near_far_ratio=ratio)
        ways["Render Depth"] = node("RenderDepth", geometry=found, near="white", normalisation="per_image")
    if found.normals is not None:
        normal_map = node("RenderNormals", geometry=found, coding="opengl")()
        ways["Render Normals"] = node("RenderNormals", geometry=found, coding="opengl")
        ways["Convert Normal Map"] = node("ConvertNormalMap", image=normal_map, source="opengl", target="directx")
    return ways


def node(name: str, **inputs: object) -> Callable[[], Any]:
    """Runs a node with fixed inputs and returns its first output."""
    made = depth_normal.NODE_CLASS_MAPPINGS[f"DepthNormal_{name}"]()

    def run() -> Any:
        forget_estimates()  # otherwise reused by the node
        return getattr(made, made.FUNCTION)(**inputs)[0]

    return run


def nothing() -> None:
    """A CPU needs no synchronisation."""


def print_table(steps: Times, wholes: Times) -> None:
    """Prints step, milliseconds and share; then the methods and their ratio to the plain one."""
    parts = {name: median(times) * 1e3 for name, times in steps.items()}
    total = sum(ms for name, ms in parts.items() if name not in (WRITING, ON_REQUEST))
    print(f"\n{'step':<34}{'ms':>8}{'share':>8}")
    for name, ms in parts.items():
        print(f"{name:<34}{ms:>8.1f}{'' if name in (WRITING, ON_REQUEST) else f'{ms / total:.0%}':>8}")
    print(f"{'all':<34}{total:>8.1f}\n{'outside the forward':<34}{total - parts[FORWARD]:>8.1f}{1 - parts[FORWARD] / total:>8.0%}")
    plain = wholes["plain way"]
    print(f"\n{'whole way':<34}{'ms':>8}{'ratio to plain':>17}")
    for name, times in wholes.items():
        ratio = median(ours / theirs for ours, theirs in zip(times, plain, strict=True))
        print(f"{name:<34}{median(times) * 1e3:>8.1f}{ratio:>17.2f}")


if __name__ == "__main__":
    sys.exit(main())
