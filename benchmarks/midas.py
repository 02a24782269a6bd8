"""Our MiDaS node against the old way, in one run: ratios, the share outside the network, and what bfloat16 changes.

    python benchmarks/midas.py [--size 512] [--rounds 3] [--batches 1 4] [--precisions float32 bfloat16] [--weights midas_v21_small_256.pt]

The old way is what the old nodes did: controlnet-aux's detector, built and loaded from disk for every call, one image at a time.
Needs the `test` extra. The weights are random (the time does not depend on them), written to a temporary folder; with --weights, a
real file of MiDaS v2.1 small also tells how far bfloat16 and float16 change the image.
"""

from __future__ import annotations

import argparse
import importlib.util
import runpy
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import torch

import depth_normal
from depth_normal.geometry.images.render import normalise_per_image
from depth_normal.model_loader.comfy import devices
from depth_normal.model_loader.inference.recent import forget_estimates
from depth_normal.nodes import midas as nodes
from depth_normal.utils import check_images, images_to_rgb

OLD_FILE = "dpt_hybrid-midas-501f0c75.pt"


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batches", nargs="+", type=int, choices=range(1, 5), default=(1, 4), metavar="N", help="images a call, 1 to 4")
    parser.add_argument("--precisions", nargs="+", choices=("float32", "bfloat16"), default=("float32", "bfloat16"), metavar="NAME")
    parser.add_argument("--weights", type=Path)
    arguments = parser.parse_args()
    if importlib.util.find_spec("controlnet_aux") is None:
        parser.error(
            "the old way is controlnet-aux's, which is not installed: python -m pip install controlnet-aux==0.0.10 timm torchvision"
        )
    if arguments.weights and not arguments.weights.is_file():
        parser.error(f"{arguments.weights} is not a file; --weights takes MiDaS's midas_v21_small_256.pt")
    device = devices.default_device()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{device.type}, {torch.get_num_threads()} threads"
    print(f"device: {name}; torch {torch.__version__}; image {arguments.size}x{arguments.size}")
    with tempfile.TemporaryDirectory() as folder:
        save_random_weights(Path(folder) / OLD_FILE)
        compare(Path(folder), arguments, device)
    if arguments.weights:
        compare_dtypes(arguments.weights)


def save_random_weights(path: Path) -> None:
    """A checkpoint of dpt_hybrid in the authors' layout."""
    torch.manual_seed(0)
    torch.save(controlnet_aux().api.DPTDepthModel(path=None, backbone="vitb_rn50_384").state_dict(), path)


def controlnet_aux():
    """controlnet-aux's MiDaS, also beside a torchvision that does not fit torch."""
    warnings.simplefilter("ignore")
    runpy.run_path(str(Path(__file__).parents[1] / "tests" / "mend_torchvision.py"))
    import controlnet_aux.midas

    return controlnet_aux.midas


def compare(folder: Path, arguments: argparse.Namespace, device: torch.device) -> None:
    """Old against new, in turn, so that a machine that slows down slows both."""
    size, rounds = arguments.size, arguments.rounds
    images = torch.rand(4, size, size, 3, generator=torch.Generator().manual_seed(0))
    detector = controlnet_aux().MidasDetector

    def old(count: int) -> None:
        for image in images[:count]:
            model = detector.from_pretrained(str(folder)).to(device)
            pixels = np.asarray(image * 255.0, dtype=np.uint8)
            model(pixels, depth_and_normal=True, detect_resolution=size, image_resolution=size, output_type="np")

    nodes.load_model = lambda model, precision, advice: depth_normal.load_model(model, precision, weights=folder / OLD_FILE)
    node = nodes.MidasNormalMap()

    def new(count: int, precision: str) -> None:
        forget_estimates()  # a node that runs again would take them
        node.execute(images[:count], resolution=size, precision=precision)

    for precision in arguments.precisions:
        for count in arguments.batches:
            call_old, call_new = partial(old, count), partial(new, count, precision)
            call_new()
            times = [(seconds(call_old, device), seconds(call_new, device)) for _ in range(rounds)]
            ratio = median(before / after for before, after in times)
            old_time, new_time = (median(column) for column in zip(*times, strict=True))
            print(f"{precision}, batch of {count}: old {old_time:.2f} s, ours {new_time:.2f} s, ratio {ratio:.1f}x", flush=True)
        share = share_outside(partial(new, 1, precision), folder, precision, rounds)
        print(f"{precision}, share of a warm call outside the network's forward: {share:.1%}", flush=True)


def seconds(call: Callable[[], None], device: torch.device) -> float:
    """Wall time of a call, the device's work included."""
    start = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def share_outside(call: Callable[[], None], folder: Path, precision: str, rounds: int) -> float:
    """The part of a call that is not spent in the network's forward."""
    model = depth_normal.load_model(nodes.DEFAULT_MODEL, precision, weights=folder / OLD_FILE)
    network, device = model.network, devices.default_device()
    marks: list[float] = []

    def mark(*_: object) -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        marks.append(time.perf_counter())

    hooks = [network.register_forward_pre_hook(mark), network.register_forward_hook(mark)]
    shares = []
    for _ in range(rounds):
        marks.clear()
        total = seconds(call, device)
        shares.append(1 - (marks[1] - marks[0]) / total)
    for hook in hooks:
        hook.remove()
    return median(shares)


def compare_dtypes(weights: Path) -> None:
    """How far an image of MiDaS v2.1 small in half precision is from the one in float32, in 255ths."""
    from skimage import data

    print(f"weights {weights.name}: mean difference of the depth image from float32's, in 255ths")
    for name in ("astronaut", "coffee", "chelsea", "rocket"):
        image = images_to_rgb(check_images(getattr(data, name)()))
        maps = {}
        for dtype in ("float32", "bfloat16", "float16"):
            model = depth_normal.load_model("midas-v2.1-small", dtype, weights=weights)
            (estimate,) = model.estimates(image)
            maps[dtype] = normalise_per_image(estimate.depth)
        differences = {dtype: (maps[dtype] - maps["float32"]).abs().mean().item() * 255 for dtype in ("bfloat16", "float16")}
        print(f"  {name}: bfloat16 {differences['bfloat16']:.2f}, float16 {differences['float16']:.2f}")


if __name__ == "__main__":
    sys.exit(main())
