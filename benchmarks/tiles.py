"""What tiles do for large images: errors against rendered truth, edges, seams, and memory.

    python benchmarks/tiles.py DIR [--model tiny] [--weights FILE] [--tiles 2 4] [--photos FILE ...] [--plane 2560 1920]
    python benchmarks/tiles.py --memory [--width 12000 --height 9000]

DIR has what `benchmarks/tiles_scenes.py` renders, at about four times the network's size. The ways:

one pass    the whole image alone, enlarged
cut         tiles, each brought to the whole by scale and shift, cut where they meet
blend       the same, faded into each other linearly
ours        `Model.estimate(..., tiles=N)`

error   mean |disparity - truth| in percent of the truth, once all of it is brought to the truth by one scale and shift
near    the same within 8 pixels of the truth's jumps
F1      jumps of more than 15 % over 4 pixels: found and right (of such pairs, the harmonic mean of recall and precision)
normal  mean error in degrees, of models that give normals
seam    second differences across the lines where tiles begin, meet and end, by those 16 pixels beside them, each line's median; 1 = no seam
plane   the same in the image of a floor, where nothing hides a seam
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from depth_normal.annotators.registry import MODELS
from depth_normal.geometry.alignment.mosaic import Grid, lay_tiles
from depth_normal.geometry.alignment.scale_shift import fit_scale_shift
from depth_normal.geometry.conventions import unit_normals
from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.geometry.files import read_image
from depth_normal.geometry.filters.extremes import largest_within
from depth_normal.model_loader import Model, load_model
from depth_normal.model_loader.inference.tiles import OVERLAP, tiles_along
from depth_normal.options.estimate import check_tiles
from depth_normal.utils import resize_map, to_planar

WITH_DEPTH = [spec.id for spec in MODELS.values() if spec.quantity is not None]
NEAR, JUMP, APART, REACH, BESIDE = 8, 1.15, 4, 4, 16


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenes", nargs="?", type=Path, metavar="DIR", help="what tiles_scenes.py rendered")
    parser.add_argument("--model", default="tiny", choices=WITH_DEPTH, metavar="ID")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--tiles", nargs="+", type=int, default=[2, 4])
    parser.add_argument("--photos", nargs="+", type=Path, default=[])
    parser.add_argument("--plane", nargs=2, type=int, default=(2560, 1920), metavar=("WIDTH", "HEIGHT"), help="of the image of a floor")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--width", type=int, default=12000)
    parser.add_argument("--height", type=int, default=9000)
    parser.add_argument("--one", help=argparse.SUPPRESS)  # runs one measurement in a fresh process
    arguments = parser.parse_args()
    if arguments.one is not None:
        print(*_peak(arguments))
        return
    if arguments.memory:
        print_memory(arguments)
        return
    model = load_model(arguments.model, "float32", "cpu", weights=arguments.weights)
    print(f"{arguments.model}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    for path in sorted(arguments.scenes.glob("*.npz")) if arguments.scenes else ():
        scene = np.load(path)
        print_scene(path.stem, scene, model, arguments.tiles)
    for path in arguments.photos:
        print_seams(path.stem, to_planar(torch.from_numpy(read_image(path))), model, arguments.tiles)
    print_seams("plane", plane(*reversed(arguments.plane)), model, arguments.tiles)


def print_scene(name: str, scene: np.lib.npyio.NpzFile, model: Model, tiles: list[int]) -> None:
    """Prints a table of the methods for one scene."""
    image = torch.from_numpy(scene["rgb"]).movedim(-1, 0)[None].float() / 255
    truth = 1 / torch.from_numpy(scene["depth"])[None, None]
    normals = torch.from_numpy(scene["normals"]).movedim(-1, 0)[None]
    print(f"\n{name}, {image.shape[-1]}x{image.shape[-2]}: {'error %':>15} {'near %':>7} {'F1':>6} {'normal':>7} {'seam':>6} {'s':>6}")
    for way, grid, estimate in ways(model, image, tiles):
        start = time.perf_counter()
        found = estimate()
        seconds = time.perf_counter() - start
        error, near, f1 = depth_errors(found, truth)
        degrees = normal_error(found, normals)
        print(f"  {way:22} {error:13.2f} {near:7.2f} {f1:6.3f} {degrees:7.2f} {seam(found, grid):6.3f} {seconds:6.1f}", flush=True)


def print_seams(name: str, image: Tensor, model: Model, tiles: list[int]) -> None:
    """Prints the methods' seams in one image."""
    print(f"\n{name}, {image.shape[-1]}x{image.shape[-2]}: seam")
    for way, grid, estimate in ways(model, image, tiles):
        print(f"  {way:22} {seam(estimate(), grid):6.3f}", flush=True)


def ways(model: Model, image: Tensor, tiles: list[int]) -> list[tuple[str, Grid, Callable[[], Estimate]]]:
    """Each method with the tiles whose borders are evaluated."""
    height, width = image.shape[-2:]

    grids = {count: lay_tiles(height, width, *tiles_along(count, height, width, model.network_size), OVERLAP) for count in tiles}
    found: list[tuple[str, Grid, Callable[[], Estimate]]] = [("one pass", grids[tiles[-1]], lambda: model.estimate(image))]
    for count, grid in grids.items():
        found += [
            (f"{count} tiles, cut", grid, lambda grid=grid: plainly_tiled(model, image, grid, _cut)),
            (f"{count} tiles, blend", grid, lambda grid=grid: plainly_tiled(model, image, grid, _tent)),
            (f"{count} tiles, ours", grid, lambda count=count: model.estimate(image, tiles=check_tiles(count))),
        ]
    return found


def plainly_tiled(model: Model, image: Tensor, grid: Grid, window: Callable[[Grid, int, int], Tensor]) -> Estimate:
    """Tiles aligned to the whole in scale and shift, and blended by windows."""
    whole = model.estimate(image)
    assert whole.depth is not None
    depth, total = torch.zeros_like(whole.depth), torch.zeros_like(whole.depth)
    normals = None if whole.normals is None else torch.zeros_like(whole.normals)
    for row, top in enumerate(grid.tops):
        for column, left in enumerate(grid.lefts):
            part = (..., slice(top, top + grid.tile_height), slice(left, left + grid.tile_width))
            tile = model.estimate(image[part].contiguous())
            assert tile.depth is not None
            scale, shift = fit_scale_shift(tile.depth, whole.depth[part])
            weight = window(grid, row, column)
            depth[part] += weight * (scale * tile.depth + shift).float()
            total[part] += weight
            if normals is not None and tile.normals is not None:
                normals[part] += weight * tile.normals
    return replace(whole, depth=depth / total, normals=None if normals is None else unit_normals(normals))


def _cut(grid: Grid, row: int, column: int) -> Tensor:
    """1 up to the middle of an overlap."""
    down = _steps(grid.tops, grid.tile_height, row)
    return down[:, None] * _steps(grid.lefts, grid.tile_width, column)


def _steps(starts: tuple[int, ...], side: int, index: int) -> Tensor:
    places = torch.arange(side) + starts[index]
    before = (starts[index - 1] + side + starts[index]) // 2 if index else 0
    after = (starts[index] + side + starts[index + 1]) // 2 if index + 1 < len(starts) else starts[-1] + side
    return ((places >= before) & (places < after)).float()


def _tent(grid: Grid, row: int, column: int) -> Tensor:
    rows, columns = (torch.arange(side) + 0.5 for side in (grid.tile_height, grid.tile_width))
    down, across = torch.minimum(rows, grid.tile_height - rows), torch.minimum(columns, grid.tile_width - columns)
    return down[:, None] * across


def depth_errors(found: Estimate, truth: Tensor) -> tuple[float, float, float]:
    """Relative error in percent, everywhere and near jumps, and F1 of jumps."""
    disparity = as_disparity(found)
    scale, shift = fit_scale_shift(disparity, truth)
    brought = (scale * disparity + shift).float().clamp(min=float(truth.min()) / 2)
    error = (brought - truth).abs() / truth
    low, high = -largest_within(-truth, 1), largest_within(truth, 1)
    near = largest_within((high > low * 1.1).float(), NEAR) > 0
    right = wrong = missed = 0
    for axis in (-1, -2):
        of_truth, of_found = (jumps(each, axis) for each in (truth, brought))
        for sign in (1, -1):
            is_, said = of_truth == sign, of_found == sign
            right, wrong, missed = right + int((is_ & said).sum()), wrong + int((~is_ & said).sum()), missed + int((is_ & ~said).sum())
    return 100 * float(error.mean()), 100 * float(error[near].mean()), 2 * right / max(1, 2 * right + wrong + missed)


def jumps(disparity: Tensor, axis: int) -> Tensor:
    """1 and -1 at jumps up and down along an axis, else 0."""
    count = disparity.shape[axis] - APART
    ratio = disparity.narrow(axis, APART, count) / disparity.narrow(axis, 0, count)
    return (ratio > JUMP).int() - (ratio < 1 / JUMP).int()


def as_disparity(found: Estimate) -> Tensor:
    """Depth as disparity, large = near."""
    depth, quantity, _ = found.known_depth()
    if quantity is Quantity.DISPARITY:
        return depth
    return 1 / depth if quantity is Quantity.METRIC_DEPTH else -depth


def normal_error(found: Estimate, truth: Tensor) -> float:
    """Mean error in degrees; NaN without normals."""
    if found.normals is None:
        return float("nan")
    return float(torch.rad2deg((found.normals * truth).sum(1).clamp(-1, 1).acos()).mean())


def seam(found: Estimate, grid: Grid) -> float:
    """How much tiles' border lines stand out."""
    disparity = as_disparity(found)
    on, beside = [], []
    for axis, starts, side in ((-2, grid.tops, grid.tile_height), (-1, grid.lefts, grid.tile_width)):
        lines = {*starts[1:], *(start + side for start in starts[:-1])}
        lines |= {(before + side + start) // 2 for before, start in pairwise(starts)}
        bent = disparity.diff(n=2, dim=axis).abs()
        for line in lines:
            # the median, as seams extend along a whole line, unlike objects' edges
            across = [bent.narrow(axis, line - REACH + shift, 2 * REACH).mean(axis).median() for shift in (-BESIDE, 0, BESIDE)]
            on.append(across[1])
            beside.append((across[0] + across[2]) / 2)
    return float(torch.stack(on).mean() / torch.stack(beside).mean()) if on else 1.0


def plane(height: int, width: int) -> Tensor:
    """A photograph of a receding floor: blotches that shrink with distance."""
    noise = torch.rand(1, 3, 512, 512, generator=torch.Generator().manual_seed(0))
    noise = (0.5 * resize_map(resize_map(noise, 128, 128), 512, 512, "bicubic") + 0.5 * noise).clamp(0, 1)
    v, u = torch.meshgrid(torch.linspace(0.35, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    grid = torch.stack((torch.remainder(u / v * 2 + 1, 4) / 2 - 1, torch.remainder(3 / v, 4) / 2 - 1), -1)
    return torch.nn.functional.grid_sample(noise, grid[None], mode="bilinear", padding_mode="reflection", align_corners=False)


def print_memory(arguments: argparse.Namespace) -> None:
    """Prints peak memory beyond the image and the result, at growing sizes, each in a fresh process (Linux only)."""
    print(f"{'image':>14} {'tiles':>6} {'image MB':>11} {'result MB':>10} {'beyond both MB':>15} {'s':>7}")
    for share in (4, 2, 1):
        for tiles in ("0", "auto", "8"):
            size = ("--width", str(arguments.width // share), "--height", str(arguments.height // share))
            command = [sys.executable, __file__, "--one", tiles, "--model", arguments.model, *size]
            row = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
            print(f"{size[1] + 'x' + size[3]:>14} {tiles:>6} {row[0]:>11} {row[1]:>10} {row[2]:>15} {row[3]:>7}", flush=True)


def _peak(arguments: argparse.Namespace) -> tuple[str, ...]:
    from families import resident

    model = load_model(arguments.model, "float32", "cpu")
    model.estimate(torch.rand(1, 3, 64, 64))
    image = torch.empty(1, 3, arguments.height, arguments.width)
    for row in range(0, arguments.height, 100):
        image[:, :, row : row + 100] = torch.rand(1, 3, len(image[0, 0, row : row + 100]), 1)
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before, start = resident("VmRSS"), time.perf_counter()
    found = model.estimate(image, tiles="auto" if arguments.one == "auto" else int(arguments.one))
    seconds = time.perf_counter() - start
    result = sum(each.numel() * each.element_size() for each in found.maps.values()) / 2**20
    own = image.numel() * image.element_size() / 2**20
    return tuple(f"{each:.0f}" for each in (own, result, resident("VmHWM") - before - result, seconds))


if __name__ == "__main__":
    main()
