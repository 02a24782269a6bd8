"""What a smaller input of the network gains in time and costs in accuracy: what a CPU should take in place of a model's default.

    python benchmarks/sizes.py [SCENES] --model moge-2-vits-normal [--sizes 840 640 485] [--weights FILE] [--seconds 4]
    python benchmarks/sizes.py [SCENES] --model moge-2-vits-normal --random

SCENES is a folder of .npz files as those of `normals.py`, each with `rgb` (H, W, 3) uint8 too. The first size is the one that the others
are compared with; without --sizes, the model's own, then three quarters and half of it. Each error is the mean of the scenes.

times     how many times as fast as the first size, measured in turn
AbsRel    of depth, brought to the ground truth by one scale and shift where the model does not know metres
normals   mean angle in degrees, of models that give normals
worse     by how much the error has grown that has grown most, in percent

--random measures the time alone, with random weights.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from families import load, mend_torchvision, refuse_diffusion
from normals import DEFAULT_SCENES, SCENES, load_scene_and_image
from torch import Tensor

from depth_normal.annotators.registry import MODELS
from depth_normal.app.bench.timing import take_turns, waiting
from depth_normal.geometry.alignment.metrics import compare_depth, compare_normals
from depth_normal.geometry.estimate import Axes, Estimate, Quantity
from depth_normal.model_loader import Model, load_model

GOOD_ENOUGH = 5
"""Percent by which an error may grow for a size to count as good enough."""


def main() -> None:
    """Prints the table, and the fastest size that is good enough."""
    parser = argparse.ArgumentParser(description=__doc__, epilog=SCENES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenes", nargs="?", type=Path, default=DEFAULT_SCENES)
    parser.add_argument("--model", default="tiny", choices=MODELS, metavar="ID")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--random", action="store_true", help="random weights: time alone")
    parser.add_argument("--sizes", nargs="+", type=int, metavar="N")
    parser.add_argument("--seconds", type=float, default=4.0, help="for each size (default: %(default)g)")
    arguments = parser.parse_args()
    if arguments.random:
        refuse_diffusion(parser, [arguments.model])
    scenes = [read(path) for path in sorted(arguments.scenes.glob("*.npz"))]
    if not scenes:
        parser.error(f"{arguments.scenes} holds no scenes. {SCENES}")
    mend_torchvision()
    own = MODELS[arguments.model].default_size
    sizes = arguments.sizes or [own, own * 3 // 4, own // 2]
    model = load(arguments.model, "float32") if arguments.random else load_model(arguments.model, weights=arguments.weights)
    image = scenes[0][0]
    times = take_turns({str(size): partial(model.estimate, image, size=size) for size in sizes}, waiting(model.device), arguments.seconds)
    print(
        f"{arguments.model}, {model.device}, {torch.get_num_threads()} threads; {len(scenes)} scenes of {image.shape[-1]}x{image.shape[-2]}"
    )
    print(f"{'size':>6} {'network':>10} {'s/image':>8} {'times':>6} {'AbsRel':>8} {'normals':>8} {'worse':>7}")
    first: dict[str, float] = {}
    good_enough: dict[int, float] = {}
    for size in sizes:
        errors = {} if arguments.random else errors_at(model, size, scenes)
        first = first or errors
        worse = max((100 * (error / first[name] - 1) for name, error in errors.items()), default=np.nan)
        if worse <= GOOD_ENOUGH:
            good_enough[size] = times[str(size)]
        height, width = model.network_size(*image.shape[-2:], size=size)
        cells = [f"{errors[name]:8.{digits}f}" if name in errors else f"{'':8}" for name, digits in (("AbsRel", 4), ("normals", 2))]
        speed = f"{times[str(size)]:8.3f} {times[str(sizes[0])] / times[str(size)]:6.2f}"
        print(f"{size:6} {f'{width}x{height}':>10} {speed} {' '.join(cells)} {worse:+6.1f}%", flush=True)
    if good_enough:
        print(f"the fastest whose errors grow by {GOOD_ENOUGH} % at most: {min(good_enough, key=good_enough.__getitem__)}")


def read(path: Path) -> tuple[Tensor, Estimate]:
    """A scene's image (1, 3, H, W) in [0, 1] and its ground truth.

    Raises:
        ValueError: It lacks one of the arrays.
    """
    scene, image = load_scene_and_image(path)
    return image, Estimate(scene.depth, Quantity.METRIC_DEPTH, normals=scene.normals, axes=Axes.OPENGL, mask=scene.mask)


def errors_at(model: Model, size: int, scenes: list[tuple[Tensor, Estimate]]) -> dict[str, float]:
    """The mean errors over the scenes, of what the model gives."""
    found: dict[str, list[float]] = {}
    for image, ground_truth in scenes:
        estimate = model.estimate(image, size=size)
        if estimate.depth is not None:
            found.setdefault("AbsRel", []).append(compare_depth(estimate, ground_truth)["AbsRel"])
        if estimate.normals is not None:
            found.setdefault("normals", []).append(compare_normals(estimate, ground_truth)["mean"])
    return {name: fmean(each) for name, each in found.items()}


if __name__ == "__main__":
    main()
