"""How true the maps of materials are, and what they cost: heights, round trips, occlusion, seams, seconds.

    python benchmarks/textures.py [--scenes DIR] [--device cpu] [--threads 1] [--rounds 3] [--rays 256]
        [--width 1920 --height 1080] [--side 2048]

Heights are integrated from the true normals of surfaces that are known, seen straight on, and from the same normals in 8 bits; the error is
the root mean square in percent of the surface's own height (its standard deviation), where normals count. Peer: Frankot and Chellappa
(1988), a dozen lines of numpy.fft. Sources: heights from
normal maps that were made in several ways of the heights that skimage's photographs show. Two reliefs: coins of known height with a
photograph on them; `comb` is the root mean square of what alternates from pixel to pixel in the error. Occlusion is compared with rays that
are cast through the same height one by one; with --scenes, it and normals with Cycles, in what occlusion_scenes.py rendered. Seams: the
mean step over the borders, divided by the mean step inside.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch import Tensor

from depth_normal import load_model
from depth_normal.geometry.camera import intrinsics_from_fov
from depth_normal.geometry.conventions import encode_normal_map, unit_normals
from depth_normal.geometry.estimate import Estimate
from depth_normal.geometry.filters.transforms import blurred
from depth_normal.geometry.surfaces.derive import with_normals
from depth_normal.geometry.textures.curvature import mean_curvature
from depth_normal.geometry.textures.height import (
    AUTO,
    FREE,
    SEAMLESS,
    height_to_normals,
    normals_to_height,
    normals_to_slopes,
    slopes_to_normals,
)
from depth_normal.geometry.textures.occlusion import depth_to_occlusion, height_to_occlusion
from depth_normal.geometry.textures.pbr import PbrOptions, material_normals, relief_of_photo
from depth_normal.geometry.textures.seamless import margins, seamless_estimate, wrap
from depth_normal.geometry.textures.slopes import slopes_of
from depth_normal.options.textures import CENTRAL, DERIVATIVES, HIGH, MAX_SHAPE, SPLINE

SIDE = 256
# supersampling of the surfaces for normal maps
FINER = 4
# a high-pass filter: responds to values that alternate from pixel to pixel
COMB = torch.tensor([1.0, -4.0, 6.0, -4.0, 1.0], dtype=torch.float64) / 16
RAY_STEP = 0.75
Surface = tuple[Tensor, Tensor, Tensor, str]


def main() -> None:
    """Prints all tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=Path, metavar="DIR", help="compare with Cycles, and nothing else")
    parser.add_argument("--device", default="cpu", help="for the seconds (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--width", type=int, default=1920, help="of the smaller maps that are timed (default: %(default)s)")
    parser.add_argument("--height", type=int, default=1080, help="of the smaller maps that are timed (default: %(default)s)")
    parser.add_argument("--side", type=int, default=2048, help="of the largest maps that are timed (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rays", type=int, default=256, help="from each pixel, that occlusion is compared with (default: %(default)s)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    if arguments.scenes:
        print_scenes(arguments.scenes)
        return
    print_heights()
    print_sources()
    print_two_reliefs()
    print_round_trips()
    print_occlusion(arguments.rays)
    print_seams()
    print_seconds(torch.device(arguments.device), ((arguments.height, arguments.width), (arguments.side,) * 2), arguments.rounds)


def surfaces() -> dict[str, Surface]:
    """Height, slopes (right, down), valid pixels and kind of borders, each by its formula."""
    y, x = torch.meshgrid(torch.arange(SIDE, dtype=torch.float64), torch.arange(SIDE, dtype=torch.float64), indexing="ij")
    everywhere = torch.ones(1, 1, SIDE, SIDE, dtype=torch.bool)
    turn = 2 * math.pi / SIDE

    def made(height: Tensor, right: Tensor, down: Tensor, known: Tensor = everywhere, borders: str = FREE) -> Surface:
        return height[None, None], torch.stack((right, down))[None], known, borders

    middle = (SIDE - 1) / 2
    across, below = x - middle, y - middle
    dome = (200.0**2 - across**2 - below**2).sqrt()
    ball = (100.0**2 - across**2 - below**2).clamp(min=1).sqrt()
    inside = (across**2 + below**2 < 0.9 * 100.0**2)[None, None]
    long_wave, short_wave = 8 * turn, 32 * turn
    edge = (x - 0.3 * y - 90) / 3
    return {
        "dome, free borders": made(dome, -across / dome, -below / dome),
        "ball in a mask": made(ball, -across / ball, -below / ball, inside),
        "waves of 32 pixels, seamless": wave(x, y, long_wave, made),
        "waves of 8 pixels, seamless": wave(x, y, short_wave, made),
        "step of 20 pixels over 12": made(20 * torch.sigmoid(edge), *slope_of_step(edge)),
    }


def wave(x: Tensor, y: Tensor, frequency: float, made: Callable[..., Surface]) -> Surface:
    """Bumps in rows and columns."""
    height = 2 / frequency * (frequency * x).sin() * (frequency * y).cos()
    right, down = 2 * (frequency * x).cos() * (frequency * y).cos(), -2 * (frequency * x).sin() * (frequency * y).sin()
    return made(height * 0.3, right * 0.3, down * 0.3, borders=SEAMLESS)


def slope_of_step(edge: Tensor) -> tuple[Tensor, Tensor]:
    """Slopes of 20 sigmoid(edge), to the right and downwards."""
    steep = 20 * torch.sigmoid(edge) * torch.sigmoid(-edge) / 3
    return steep, -0.3 * steep


def print_heights() -> None:
    """Prints errors of integration, ours and others'."""
    ways = {
        "central": lambda n, k, b: normals_to_height(n, weight=k, borders=b, level=b == SEAMLESS, derivative=CENTRAL),
        "spline": lambda n, k, b: normals_to_height(n, weight=k, borders=b, level=b == SEAMLESS, derivative=SPLINE),
        "Frankot-Chellappa": lambda n, k, b: frankot_chellappa(torch.where(k, n, 0)),
    }
    print("\nHeight from normals: root mean square error, % of the height; exact normals / normals of 8 bits\n")
    print("| surface | " + " | ".join(ways) + " |\n| --- |" + " ---: |" * len(ways))
    for name, (height, slopes, known, borders) in surfaces().items():
        normals = slopes_to_normals(slopes)
        rounded = unit_normals((encode_normal_map(normals) * 255).round() / 127.5 - 1)
        errors = ([relative_error(way(each, known, borders), height, known) for each in (normals, rounded)] for way in ways.values())
        print(f"| {name} | " + " | ".join(f"{exact:.3f} / {coarse:.3f}" for exact, coarse in errors) + " |")


def relative_error(found: Tensor, height: Tensor, known: Tensor) -> float:
    """In percent."""
    difference, truth = (found.double() - height)[known], height[known]
    return 100 * ((difference - difference.mean()).square().mean().sqrt() / (truth - truth.mean()).square().mean().sqrt()).item()


def frankot_chellappa(normals: Tensor) -> Tensor:
    """The classic, as in many packs."""
    right, down = normals_to_slopes(normals)[0].numpy()
    u, v = np.meshgrid(2 * np.pi * np.fft.fftfreq(right.shape[1]), 2 * np.pi * np.fft.fftfreq(right.shape[0]))
    power = u**2 + v**2
    power[0, 0] = 1
    spectrum = -1j * (u * np.fft.fft2(right) + v * np.fft.fft2(down)) / power
    spectrum[0, 0] = 0
    return torch.from_numpy(np.fft.ifft2(spectrum).real)[None, None]


def print_sources() -> None:
    """Prints the effect of the slopes' measurement for real-world normal maps."""
    from skimage import data

    ways = (CENTRAL, SPLINE, AUTO)
    print("\nHeight from normal maps of 8 bits, by where they are from: root mean square error, % of the height\n")
    print("| height | normal map | " + " | ".join(ways) + " |\n| --- | --- |" + " ---: |" * len(ways))
    for name in ("brick", "gravel", "grass"):
        levels = torch.from_numpy(getattr(data, name)()[:128, :128] / 255 * 8)[None, None]
        fine = blurred(levels.repeat_interleave(FINER, 2).repeat_interleave(FINER, 3), 0.7 * FINER, True)
        height = fine[..., ::FINER, ::FINER]
        for source, normals in maps_of(fine, height).items():
            rounded = unit_normals((encode_normal_map(normals) * 255).round() / 127.5 - 1)
            found = (normals_to_height(rounded, borders=SEAMLESS, level=True, derivative=way) for way in ways)
            errors = (relative_error(each, height, torch.ones_like(height, dtype=torch.bool)) for each in found)
            print(f"| {name} | {source} | " + " | ".join(f"{error:.1f}" for error in errors) + " |")


def maps_of(fine: Tensor, height: Tensor) -> dict[str, Tensor]:
    """Normals of a tile: from its fine surface, as by a renderer or baker, and from the height's pixels, as by programs."""
    surface = slopes_to_normals(slopes_of(fine, True, SPLINE) * FINER)
    around = torch.nn.functional.pad(surface, (FINER // 2, FINER - 1 - FINER // 2) * 2, mode="circular")
    pixels = slopes_of(height, True, CENTRAL)
    beside = [(each.roll(1, dim) + 2 * each + each.roll(-1, dim)) / 4 for each, dim in zip(pixels.split(1, 1), (-2, -1), strict=True)]
    return {
        "rendered, one ray a pixel": surface[..., ::FINER, ::FINER],
        "rendered, mean of each pixel": unit_normals(torch.nn.functional.avg_pool2d(around, FINER, 1)[..., ::FINER, ::FINER]),
        "central differences of the height": slopes_to_normals(pixels),
        "Sobel's of the height": slopes_to_normals(torch.cat(beside, 1)),
    }


def print_two_reliefs() -> None:
    """Prints the combination of normals and a photograph's shading in one material."""
    from skimage import data

    image = torch.from_numpy(data.brick()[:SIDE, :SIDE] / 255).float().expand(1, 3, -1, -1)
    y, x = torch.meshgrid(torch.arange(SIDE).float(), torch.arange(SIDE).float(), indexing="ij")
    print("\nHeight of normals and a photograph together: root mean square error, % of the height; comb, in pixels\n")
    print("| coins | error | comb |\n| --- | ---: | ---: |")
    for steepest in (0.5, 1.5, 3.0):
        coins = 8 * steepest * torch.sigmoid((24 - torch.hypot(x % 64 - 32, y % 64 - 32)) / 2)[None, None]
        # so that no larger shape is removed
        options = PbrOptions(radius=MAX_SHAPE, bright=HIGH)
        photo = relief_of_photo(image, options)
        normals = material_normals(Estimate(normals=height_to_normals(coins)), photo, options)
        found = normals_to_height(normals, level=True, derivative=CENTRAL)
        truth = (coins + photo.height(HIGH)).double()
        error = found - truth
        alternating = [torch.nn.functional.conv2d(error, comb) for comb in (COMB.view(1, 1, 1, 5), COMB.view(1, 1, 5, 1))]
        comb = torch.cat([each.flatten() for each in alternating]).square().mean().sqrt().item()
        print(f"| slopes up to {steepest} | {relative_error(found, truth, torch.ones_like(truth, dtype=torch.bool)):.2f} | {comb:.4f} |")


def print_scenes(folder: Path) -> None:
    """Compares with Cycles."""
    print("\nNormals of a displaced surface, degrees apart on average; occlusion: mean absolute difference (bias), correlation\n")
    print("| scene | normals, central | spline | occlusion | correlation |\n| --- | ---: | ---: | ---: | ---: |")
    for path in sorted(folder.glob("*.npz")):
        scene = {name: torch.from_numpy(array).float() for name, array in np.load(path).items()}
        normals = scene["normals"].movedim(-1, 0)[None]
        if "height" in scene:
            height, truth = scene["height"][None, None], scene["open"][None, None]
            made = [height_to_normals(height, borders=SEAMLESS, derivative=way) for way in DERIVATIVES]
            apart = [f"{torch.rad2deg((each * normals).sum(1).clamp(-1, 1).acos()).mean().item():.2f}" for each in made]
            found = height_to_occlusion(height, radius=1024, borders=SEAMLESS)
        else:
            depth, truth, apart = scene["depth"][None, None], scene["near"][None, None], ["", ""]
            known = depth > 0
            filled = torch.where(known, depth, 100)
            found = depth_to_occlusion(filled, scene["intrinsics"][None], normals, radius=float(scene["radius"]), weight=known)
            found, truth = found[known], truth[known]
        error = found - truth
        together = np.corrcoef(found.flatten().numpy(), truth.flatten().numpy())[0, 1]
        judged = f"{error.abs().mean().item():.4f} ({error.mean().item():+.4f}) | {together:.3f}"
        print(f"| {path.stem} | {' | '.join(apart)} | {judged} |")


def print_round_trips() -> None:
    """Round-trips, in float32 as in nodes."""
    print("\nRound trips: largest error of a height in % of its range, and of normals in degrees\n")
    print("| borders | derivative | height, normals, height | normals, height, normals |\n| --- | --- | ---: | ---: |")
    for borders in (FREE, SEAMLESS):
        height = (60 * blurred(torch.rand(1, 1, 1024, 1024, dtype=torch.float64), 1.5, borders == SEAMLESS)).float()
        for derivative in DERIVATIVES:
            options = {"borders": borders, "derivative": derivative}
            normals = height_to_normals(height, **options)
            back = normals_to_height(normals, **options)
            error = (back - height + height.mean()).abs().max() / (height.max() - height.min())
            again = height_to_normals(back, **options)
            angle = torch.rad2deg(2 * torch.asin(((again - normals).norm(dim=1) / 2).clamp(max=1))).max()
            print(f"| {borders} | {derivative} | {100 * error.item():.4f} % | {angle.item():.4f}° |")


def print_occlusion(rays: int) -> None:
    """Compares with ray casting."""
    side = 64
    bumps = 80 * blurred(torch.rand(1, 1, side, side), 3.0, True)
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    joints = 6.0 * ((x % 32 > 3) & (y % 16 > 3)).float()[None, None]
    blocks = blurred(joints, 0.7, True)
    print("\nAmbient occlusion against rays: mean absolute difference (of 1), and its bias\n")
    print("| height | 8 directions | 16 | 32 | darkest true value |\n| --- | ---: | ---: | ---: | ---: |")
    for name, height in {"bumps": bumps, "bricks": blocks}.items():
        truth = cast_rays(height, rays)
        found = [height_to_occlusion(height, radius=1024, directions=count, borders=SEAMLESS) - truth for count in (8, 16, 32)]
        row = " | ".join(f"{each.abs().mean().item():.4f} ({each.mean().item():+.4f})" for each in found)
        print(f"| {name} | {row} | {truth.min().item():.2f} |")


def cast_rays(height: Tensor, rays: int) -> Tensor:
    """The unoccluded share of cosine-weighted rays from a tileable height, each followed until it is above everything."""
    side, top = height.shape[-1], height.max()
    level, normals = height[0, 0], height_to_normals(height, borders=SEAMLESS)[0]
    y, x = torch.meshgrid(torch.arange(side).float(), torch.arange(side).float(), indexing="ij")
    escaped = torch.zeros_like(level)
    for index in range(rays):
        # a Fibonacci sphere about the normal's tip gives cosine-weighted directions
        z, angle = 1 - (2 * index + 1) / rays, index * math.pi * (3 - math.sqrt(5))
        flat = math.sqrt(1 - z * z)
        ray = normals + torch.tensor([flat * math.cos(angle), flat * math.sin(angle), z]).view(3, 1, 1)
        ray = ray / ray.norm(dim=0).clamp(min=1e-6)
        free = torch.ones_like(level, dtype=torch.bool)
        across = ray[:2].norm(dim=0).clamp(min=1e-3)
        reach = float(((top - level) / (ray[2] / across).clamp(min=0.05)).max().clamp(max=3 * side))
        for step in np.arange(1.0, reach, RAY_STEP):
            column, row = x + ray[0] / across * step, y - ray[1] / across * step
            free &= bilinear(level, row % side, column % side) <= level + ray[2] / across * step + 1e-3
        escaped += free
    return (escaped / rays)[None, None]


def bilinear(level: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """Bilinear samples on the torus."""
    side = level.shape[-1]
    above, left = row.floor(), column.floor()
    y, x = row - above, column - left
    above, left = above.long() % side, left.long() % side
    below, right = (above + 1) % side, (left + 1) % side
    return torch.lerp(torch.lerp(level[above, left], level[above, right], x), torch.lerp(level[below, left], level[below, right], x), y)


def print_seams() -> None:
    """Compares `tiny` on tileable images, plain and with wrap-around."""
    model = load_model("tiny", device="cpu")
    print("\nSeams: the mean step over the borders divided by the mean step inside; 1 = invisible\n")
    print("| image | depth, plain | depth, seamless | normals, plain | normals, seamless |\n| --- | ---: | ---: | ---: | ---: |")
    for name, sigma in {"cloudy, fine": 2.0, "cloudy, coarse": 8.0}.items():
        tile = blurred(torch.rand(1, 3, 256, 256), sigma, True)
        tile = (tile - tile.amin()) / (tile.amax() - tile.amin())
        beyond = margins(256, 256, 0.25)
        plain = model.estimate(tile, derive=with_normals)
        seamless = seamless_estimate(model.estimate(wrap(tile, beyond), derive=with_normals), beyond)
        maps = (plain.depth, seamless.depth, plain.normals, seamless.normals)
        ratios = (over / inside for over, inside in (seam_step(each) for each in maps if each is not None))
        print(f"| {name} | " + " | ".join(f"{ratio:.2f}" for ratio in ratios) + " |")


def seam_step(maps: Tensor) -> tuple[float, float]:
    """Mean absolute change of maps (B, C, H, W) between pixels: across the two seams, and inside."""
    over = (maps[..., 0, :] - maps[..., -1, :]).abs().flatten(), (maps[..., :, 0] - maps[..., :, -1]).abs().flatten()
    inside = maps.diff(dim=-1).abs().flatten(), maps.diff(dim=-2).abs().flatten()
    return torch.cat(over).mean().item(), torch.cat(inside).mean().item()


def print_seconds(device: torch.device, sizes: tuple[tuple[int, int], ...], rounds: int) -> None:
    """Prints median times at two sizes."""
    print(f"\nSeconds on {device}, {torch.get_num_threads()} thread(s)\n")
    print("| | " + " | ".join(f"{width}x{height}" for height, width in sizes) + " |\n| --- | ---: | ---: |")
    made = [100 * blurred(torch.rand(1, 1, *size), 4.0).to(device) for size in sizes]
    normals = [height_to_normals(each) for each in made]
    hole = [torch.ones_like(each, dtype=torch.bool) for each in made]
    for each in hole:
        each[..., 100:200, 100:300] = False
    cameras = [intrinsics_from_fov(50.0, *size).to(device) for size in sizes]
    rows: dict[str, Callable[[int], object]] = {
        "normals to height, free": lambda i: normals_to_height(normals[i]),
        "normals to height, seamless": lambda i: normals_to_height(normals[i], borders=SEAMLESS, level=True),
        "normals to height, with a hole": lambda i: normals_to_height(normals[i], weight=hole[i]),
        "height to normals": lambda i: height_to_normals(made[i]),
        "curvature": lambda i: mean_curvature(normals[i], scale=2.0),
        "occlusion of a height, radius 64, 16 directions": lambda i: height_to_occlusion(made[i]),
        "occlusion of depth, radius 64, 16 directions": lambda i: depth_to_occlusion(500 - made[i], cameras[i], normals[i]),
    }
    for name, run in rows.items():
        print(f"| {name} | " + " | ".join(f"{timed(run, index, rounds, device):.2f}" for index in range(2)) + " |")


def timed(run: Callable[[int], object], index: int, rounds: int, device: torch.device) -> float:
    """Median seconds; the first call warms up if there are several."""
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        run(index)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - start)
    return median(seconds[1:] or seconds)


if __name__ == "__main__":
    main()
