"""How exact panoramas are that are merged of twelve views: errors against traced scenes, by an oracle and by a model.

    python benchmarks/panorama.py [--width 2048] [--model tiny] [--weights FILE]

The oracle gives each view its true depth, so that its errors are those of the merging:

true          as it is
scaled        each view times a scale of its own, of a deviation of 30 percent; the panorama is compared up to one scale

distance  median error in percent; beside the border (a 24th of the width on each side); around the poles (a 12th of the height each)
worst     the error that 1 percent of the pixels exceed, in percent
normals   median error in degrees, of normals of the distances, of all and of the same parts; share of pixels beyond 3 degrees
mask      share of the pixels that are sky in one alone
rolled    median change of distance in percent where the image is rolled by a quarter and the estimate rolled back

A model's distances are compared up to one scale.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from depth_normal.annotators.registry import MODELS
from depth_normal.geometry.estimate import Estimate
from depth_normal.geometry.surfaces.derive import with_normals
from depth_normal.model_loader import Model, load_model

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from tests import panorama_scenes
from tests.panorama_oracle import oracle

OPENGL = torch.tensor([1.0, -1.0, -1.0]).view(1, 3, 1, 1)
QUARTER = torch.tensor([[0.0, 0, -1], [0, 1, 0], [1, 0, 0]])
"""From the axes of a panorama rolled to the right by a quarter turn to the scene's."""


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--side", type=int, default=512, help="of the oracle's views")
    parser.add_argument("--model", default="tiny", choices=[spec.id for spec in MODELS.values() if spec.quantity], metavar="ID")
    parser.add_argument("--weights", type=Path)
    arguments = parser.parse_args()
    scales = torch.randn(12, generator=torch.Generator().manual_seed(0)).mul(0.3).exp()
    print("| scene | views | distance % | seam | poles | worst | normals ° | seam | poles | > 3° % | mask % | rolled % | s |")
    print("| --- | --- |" + " ---: |" * 11)
    for name, scene in panorama_scenes.SCENES.items():
        truth = panorama_scenes.panorama(scene(), arguments.width)
        ways: dict[str, dict[str, Any]] = {"true": {}, "scaled": {"scales": scales}}
        for way, options in ways.items():
            made = [oracle(scene(), side=arguments.side, turned=turned, **options) for turned in (None, QUARTER)]
            print(row(name, way, truth, *made, up_to_scale=way == "scaled"), flush=True)
        model = load_model(arguments.model, "float32", "cpu", arguments.weights)
        print(row(name, arguments.model, truth, model, model, up_to_scale=True), flush=True)


def row(name: str, way: str, truth: panorama_scenes.Traced, model: Model, rolled_model: Model, up_to_scale: bool) -> str:
    """Formats one row of the table."""
    start = time.perf_counter()
    found = model.estimate_panorama(truth.image, derive=with_normals)
    seconds = time.perf_counter() - start
    both = found.valid & truth.valid
    quarter = truth.image.shape[-1] // 4
    rolled = rolled_model.estimate_panorama(truth.image.roll(quarter, 3))
    distance, angle = errors(found, truth, both, up_to_scale)
    assert found.depth is not None and rolled.depth is not None
    moved = (rolled.depth / found.depth.roll(quarter, 3)).log()[both.roll(quarter, 3)]
    moved = (moved - moved.median() if up_to_scale else moved).abs()
    figures = [
        *(f"{100 * each:.3f}" for each in medians(distance, both)),
        f"{100 * rank(distance[both], 0.99):.2f}",
        *(f"{each:.2f}" for each in medians(angle, both)),
        f"{100 * float((angle[both] > 3).float().mean()):.1f}",
        f"{100 * float((found.valid != truth.valid).float().mean()):.2f}",
        f"{100 * float(moved.median()):.3f}",
        f"{seconds:.1f}",
    ]
    return f"| {name} | {way} | {' | '.join(figures)} |"


def errors(found: Estimate, truth: panorama_scenes.Traced, both: Tensor, up_to_scale: bool) -> tuple[Tensor, Tensor]:
    """Relative errors of distance, and errors of normals in degrees."""
    assert found.depth is not None and found.normals is not None
    ratio = found.depth / truth.distance
    if up_to_scale:
        ratio = ratio / ratio[both].median()
    cosine = (found.normals * truth.normals * OPENGL).sum(1, keepdim=True)
    return (ratio - 1).abs(), torch.rad2deg(torch.acos(cosine.clamp(-1, 1)))


def medians(error: Tensor, valid: Tensor) -> list[float]:
    """Medians over the whole panorama, beside its border, and around its poles."""
    rows, columns = error.shape[-2] // 12, error.shape[-1] // 24
    border, poles = torch.zeros_like(valid), torch.zeros_like(valid)
    border[..., :columns] = border[..., -columns:] = True
    poles[..., :rows, :] = poles[..., -rows:, :] = True
    return [float(error[valid & part].median()) for part in (torch.ones_like(valid), border, poles)]


def rank(values: Tensor, share: float) -> float:
    """The quantile `share` of the values."""
    return float(values.sort().values[int(share * (len(values) - 1))])


if __name__ == "__main__":
    main()
