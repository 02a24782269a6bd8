"""How sharp and how true the depth edges of a model are, on scenes with known depth and image.

    python benchmarks/edges.py [SCENES] [--model tiny] [--threads N] [--traced N]

SCENES is a folder of .npz files as in `normals.py`, with `rgb` (H, W, 3) uint8 too; --traced adds scenes of `traced_views.py`. Predicted
disparity is fitted to the true one by scale and shift, each before it is measured.

- d1: share of pixels whose depth is within 1.25 times the true one; near: of those within 5 pixels of true jumps.
- F1, precision, recall: of depth jumps between neighbours, mean over ratios from 1.05 to 1.25, 2 pixels apart at most. Source: Depth Pro's
  boundary metric (A. Bochkovskii et al., 2024), with a tolerance.
- width: median number of pixels in which isolated true steps go from 10 to 90 %.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from normals import DEFAULT_SCENES, SCENES, load_scene_and_image
from refine import true_inverse
from torch import Tensor
from traced_views import SCENES as TRACED
from traced_views import render

from depth_normal import load_model
from depth_normal.geometry.edges.refine import refine_geometry
from depth_normal.geometry.filters.extremes import largest_within

RATIOS = np.linspace(1.05, 1.25, 9)
TOLERANCE, NEAR = 2, 5
# An isolated step: number of pixels on each side with a true change of less than this share of the step, and the step's minimum ratio.
AROUND, FLAT, STEP = 16, 0.15, 1.15
COLUMNS = ("d1", "near", "F1", "precision", "recall", "width")


@dataclass(frozen=True)
class Case:
    """An image (1, 3, H, W), its true inverse depth (1, 1, H, W) with the sky at a finite distance, and valid pixels."""

    image: Tensor
    inverse: Tensor
    mask: Tensor


def load(path: Path) -> Case:
    """Reads one .npz file."""
    scene, image = load_scene_and_image(path)
    return Case(image, true_inverse(scene), scene.mask)


def traced(count: int) -> list[Case]:
    """Ray-traced scenes of balls and posts."""
    cases = []
    for scene in TRACED.values():
        for seed in range(count):
            image, depth = render(scene(np.random.default_rng(seed)), np.zeros(3), 640, 480, 2)
            inverse = torch.from_numpy(1 / depth)[None, None]
            cases.append(Case(torch.from_numpy(image).movedim(2, 0)[None], inverse, inverse > 0))
    return cases


def jumps(inverse: Tensor, ratio: float) -> Tensor:
    """Pixels with a right or lower neighbour that is nearer or farther by a ratio."""
    found = torch.zeros_like(inverse, dtype=torch.bool)
    for axis in (-1, -2):
        here, there = inverse.narrow(axis, 0, inverse.shape[axis] - 1), inverse.narrow(axis, 1, inverse.shape[axis] - 1)
        found.narrow(axis, 0, inverse.shape[axis] - 1).logical_or_(torch.maximum(here, there) > ratio * torch.minimum(here, there))
    return found


def aligned(disparity: Tensor, case: Case) -> Tensor:
    """Inverse depth: disparity after a robust fit of scale and shift to the ground truth."""
    x, y = disparity[case.mask].double(), case.inverse[case.mask].double()
    weight = torch.ones_like(x)
    mean_x = mean_y = scale = torch.zeros((), dtype=x.dtype)
    for _ in range(10):
        mean_x, mean_y = (weight * x).sum() / weight.sum(), (weight * y).sum() / weight.sum()
        scale = (weight * (x - mean_x) * (y - mean_y)).sum() / (weight * (x - mean_x) ** 2).sum()
        error = (scale * x + (mean_y - scale * mean_x) - y).abs()
        weight = 1 / error.clamp(min=float(error.median()) * 0.1)
    shift = mean_y - scale * mean_x
    # 0.02 of the near end: anything farther is practically at infinity
    return (scale * disparity.double() + shift).clamp(min=float(y.quantile(0.98)) * 0.02).to(case.inverse)


def near(places: Tensor, radius: int) -> Tensor:
    """A boolean map dilated by a square."""
    return largest_within(places.float(), radius) > 0


def agreement(found: Tensor, true: Tensor) -> list[float]:
    """F1, precision and recall, averaged over the ratios."""
    rows = []
    for ratio in RATIOS:
        ours, theirs = jumps(found, ratio), jumps(true, ratio)
        if not bool(theirs.any()):
            continue
        precision = float(near(theirs, TOLERANCE)[ours].float().mean()) if bool(ours.any()) else 0.0
        recall = float(near(ours, TOLERANCE)[theirs].float().mean())
        rows.append((2 * precision * recall / max(precision + recall, 1e-9), precision, recall))
    return [float(value) for value in np.mean(rows, 0)] if rows else [float("nan")] * 3


def widths(found: Tensor, true: Tensor) -> list[float]:
    """Widths of isolated steps, along rows and columns."""
    result = []
    for turned in (False, True):
        ours, theirs = ((each[0, 0].T if turned else each[0, 0]).numpy() for each in (found, true))
        here, there = theirs[:, AROUND:-AROUND], theirs[:, AROUND + 1 : theirs.shape[1] - AROUND + 1]
        for row, place in np.argwhere(np.maximum(here, there) > STEP * np.minimum(here, there))[::7]:
            before, after = theirs[row, place : place + AROUND + 1], theirs[row, place + AROUND + 1 : place + 2 * AROUND + 1]
            step = after.mean() - before.mean()
            if max(np.ptp(before), np.ptp(after)) > FLAT * abs(step):
                continue
            line = ours[row, place : place + 2 * AROUND + 1] * np.sign(step)
            low, high = np.median(line[: AROUND // 2]), np.median(line[-AROUND // 2 :])
            if high - low < 0.3 * abs(step):
                continue  # missed completely
            share = (line - low) / (high - low)
            middle = AROUND + 0.5
            up = np.nonzero(share > 0.9)[0]
            down = np.nonzero(share < 0.1)[0]
            last = down[down < (up[up > 0].min() if len(up) else middle)]
            first = up[up > (last.max() if len(last) else 0)]
            if len(first) and len(last):
                # linear interpolation between samples
                a, b = last.max(), first.min()
                start = a + (0.1 - share[a]) / max(share[a + 1] - share[a], 1e-6)
                end = b - (share[b] - 0.9) / max(share[b] - share[b - 1], 1e-6)
                result.append(float(max(end - start, 0)))
    return result


def figures(disparity: Tensor, case: Case) -> tuple[list[float], list[float]]:
    """All columns but the last, and the widths."""
    found = aligned(disparity, case)
    right = torch.maximum(found / case.inverse, case.inverse / found) < 1.25
    edge = near(jumps(case.inverse, 1.1), NEAR) & case.mask
    return [float(right[case.mask].float().mean()), float(right[edge].float().mean()), *agreement(found, case.inverse)], widths(
        found, case.inverse
    )


def main() -> int:
    """Prints the table; 1 if there are no scenes."""
    parser = argparse.ArgumentParser(description=__doc__, epilog=SCENES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenes", nargs="?", type=Path, default=DEFAULT_SCENES)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--traced", type=int, default=4, help="scenes of each kind of traced_views.py (default: %(default)s)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    sets = {"scenes": [load(path) for path in sorted(arguments.scenes.glob("*.npz"))], "traced": traced(arguments.traced)}
    model = load_model(arguments.model, device="cpu")
    print(f"{'':10s}{'':16s}" + "".join(f"{name:>11s}" for name in COLUMNS) + f"{'seconds':>11s}")
    for group, cases in sets.items():
        for name, method in METHODS.items() if cases else ():
            rows, steps, times = [], [], []
            for case in cases:
                start = time.perf_counter()
                disparity = method(model, case.image)
                times.append(time.perf_counter() - start)
                row, found = figures(disparity, case)
                rows.append(row)
                steps += found
            values = [*np.nanmean(rows, 0), statistics.median(steps) if steps else float("nan"), min(times)]
            print(f"{group:10s}{name:16s}" + "".join(f"{value:11.3f}" for value in values), flush=True)
    return 0 if any(sets.values()) else 1


def run(model, image: Tensor, **options) -> Tensor:
    """Disparity (1, 1, H, W) at image size."""
    depth = model.estimate(image, **options).resized(*image.shape[-2:]).depth
    assert depth is not None
    return depth


def refined(model, image: Tensor) -> Tensor:
    """The model's plain map, refined like that of any other model."""
    depth = refine_geometry(model.estimate(image, refine=False), image).depth
    assert depth is not None
    return depth


METHODS: dict[str, Callable] = {
    "no-refine": lambda model, image: run(model, image, refine=False),
    "that, refined": lambda model, image: refined(model, image),
    "default": lambda model, image: run(model, image),
    "refine": lambda model, image: run(model, image, refine=True),
    "refine, in tiles": lambda model, image: run(model, image, refine=True, tiles="auto"),
}

if __name__ == "__main__":
    sys.exit(main())
