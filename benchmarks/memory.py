"""Peak memory and time of steps that large images and long clips pass through, each in a fresh process, beside a plain way.

    python benchmarks/memory.py [NAME ...]        (--help lists the names)

MB: the resident set at its highest beyond what was taken before, the result included (Linux only). The plain way: a matrix of all
weights, the batch copied, everything sorted, torch's own interpolation and `normalize`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.geometry.levels import measure_range
from depth_normal.utils import resize_image

HD, UHD = (1080, 1920), (2160, 3840)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", type=_case, help=f"what to measure (default: all): {', '.join(CASES)}")
    parser.add_argument("--one", choices=("plain", "ours"), help=argparse.SUPPRESS)  # runs one measurement in a fresh process
    arguments = parser.parse_args()
    if arguments.one:
        print(*measure(*CASES[arguments.names[0]][arguments.one == "ours"]))
        return
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    print(f"{'':44} {'plain MB':>9} {'ours MB':>9} {'plain s':>8} {'ours s':>8}")
    for name in arguments.names or CASES:
        command = [sys.executable, __file__, name, "--one"]
        plain, ours = (subprocess.run([*command, way], capture_output=True, text=True, check=True) for way in ("plain", "ours"))
        (plain_mb, plain_s), (ours_mb, ours_s) = (map(float, run.stdout.split()) for run in (plain, ours))
        print(f"{name:44} {plain_mb:9.0f} {ours_mb:9.0f} {plain_s:8.2f} {ours_s:8.2f}", flush=True)


def _case(name: str) -> str:
    """Refuses unknown names; argparse's `choices` would refuse the empty list, which means all."""
    if name not in CASES:
        raise argparse.ArgumentTypeError(f"{name!r} is not known; known are {', '.join(CASES)}")
    return name


def measure(prepare: Callable[[], object], run: Callable) -> tuple[float, float]:
    """MB and seconds of the first run in this process."""
    prepared = prepare()
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before, start = resident("VmRSS"), time.perf_counter()
    kept = run(prepared)
    seconds = time.perf_counter() - start
    del kept
    return resident("VmHWM") - before, seconds


def dense_area(image: Tensor, height: int, width: int) -> Tensor:
    """Area average by products with weight matrices."""
    for length in (height, width):
        old = image.shape[-2]
        edges, cells = torch.arange(length + 1, dtype=torch.float64) * (old / length), torch.arange(old, dtype=torch.float64)
        overlap = torch.minimum(edges[1:, None], cells + 1) - torch.maximum(edges[:-1, None], cells)
        image = ((overlap.clamp(min=0) * (length / old)).to(image) @ image).transpose(-1, -2)
    return image


def plainly_resized(estimate: Estimate) -> Estimate:
    """Interpolates depth and normals regardless of holes."""
    depth, normals = (F.interpolate(m, UHD, mode="bilinear") for m in (estimate.depth, estimate.normals) if m is not None)
    return replace(estimate, depth=depth, normals=F.normalize(normals, dim=1))


def maps(batch: int, size: tuple[int, int]) -> Estimate:
    """An estimate of depth and normals."""
    return Estimate(torch.rand(batch, 1, *size) + 1, Quantity.METRIC_DEPTH, normals=F.normalize(torch.randn(batch, 3, *size), dim=1))


def sorted_range(clip: Tensor) -> tuple[Tensor, Tensor]:
    """Percentiles 2 and 85 by sorting."""
    ordered = clip.flatten().sort().values
    return ordered[int(0.02 * len(ordered))], ordered[int(0.85 * len(ordered))]


# name: (plain, ours), each a preparation and the measured function
CASES: dict[str, tuple[tuple[Callable, Callable], tuple[Callable, Callable]]] = {}
for _name, _prepare, _plain, _ours in (
    ("16384x64 to 8192x32", lambda: torch.rand(1, 3, 16384, 64), lambda p: dense_area(p, 8192, 32), lambda p: resize_image(p, 8192, 32)),
    ("4000x3000 to 700x525", lambda: torch.rand(1, 3, 3000, 4000),
     lambda p: dense_area(p, 525, 700), lambda p: resize_image(p, 525, 700)),
    ("one 1920x1080 geometry for 50 images", lambda: maps(1, HD), lambda e: Estimate.cat([e] * 50), lambda e: e.expanded(50)),
    ("percentiles of 8 frames of 1920x1080", lambda: torch.rand(8, 1, *HD), sorted_range,
     lambda clip: measure_range(clip, torch.ones_like(clip, dtype=torch.bool), (2, 85), per_clip=True)),
    ("geometry of 960x540 to 3840x2160", lambda: maps(1, (540, 960)), plainly_resized, lambda e: e.resized(*UHD)),
):  # fmt: skip
    CASES[_name] = (_prepare, _plain), (_prepare, _ours)


def resident(field: str) -> float:
    """A field of the kernel's status of this process, in MB."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main()
