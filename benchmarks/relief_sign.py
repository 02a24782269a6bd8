"""How often relief from the light and dark of a photograph has the right sign, and how well it correlates with the true heights.

    python benchmarks/relief_sign.py [--side 512] [--seeds 2] [--pictures OUT]

Walls and floors of known height are lit and painted: bricks, tiles, cobbles, planks, gravel and stucco; joints brighter than the stones,
darker, or of their colour; by a flash, by light from the left and by grazing light. Hues: stones of several, and grey joints. `wrong`
counts surfaces with inverted relief: with bright taken for high (`high`), as other programs do, and by the pattern (`pattern`); `alike` is
the mean correlation of fine relief with the truth.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from depth_normal.geometry.filters.transforms import blurred
from depth_normal.geometry.textures.detail import AUTO, HIGH, PhotoRelief

LIGHTS = {"flash": (0.0, 0.0, 1.0), "left": (-0.6, 0.3, 0.74), "grazing": (0.8, 0.45, 0.4)}
JOINTS = {"bright": 0.75, "dark": 0.18, "alike": None}
_RADIUS = 24.0


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=512, help="of the square images in pixels (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=2, help="surfaces of each kind (default: %(default)s)")
    parser.add_argument("--pictures", type=Path, metavar="OUT", help="folder for image, relief by brightness, relief by pattern, truth")
    arguments = parser.parse_args()
    print(f"{'':20}{'surfaces':>9}{'wrong: high':>13}{'pattern':>9}{'alike: high':>13}{'pattern':>9}{'lines':>15}")
    everything = []
    for kind in SURFACES:
        for joints in JOINTS if kind != "stucco" else ("alike",):
            rows = [judged(*each) for each in photographs(kind, joints, arguments.side, arguments.seeds, arguments.pictures)]
            everything += rows
            print_row(f"{kind}, {joints}", rows)
    print_row("all", everything)
    everything = []
    for kind in (kind for kind in SURFACES if kind != "stucco"):
        for joints in ("bright", "dark"):
            rows = [judged(*each) for each in photographs(kind, joints, arguments.side, arguments.seeds, arguments.pictures, coloured=True)]
            everything += rows
            print_row(f"{kind}, {joints}, hues", rows)
    print_row("all, hues", everything)


def print_row(name: str, rows: list[tuple[float, float, float]]) -> None:
    """Prints one line of the table; rows hold both correlations, and the strength of bright lines."""
    high, pattern, lines = np.array(rows).T
    wrong = f"{(high < 0).sum():13}{(pattern < 0).sum():9}"
    print(f"{name:20}{len(rows):9}{wrong}{high.mean():13.2f}{pattern.mean():9.2f}{f'{lines.min():+.2f} to {lines.max():+.2f}':>15}")


def judged(image: Tensor, height: Tensor) -> tuple[float, float, float]:
    """Correlations of the relief with the truth, for bright = high and by the pattern; and the strength of bright lines."""
    relief = PhotoRelief(image)
    found = (alike(relief.height(bright), height) for bright in (HIGH, AUTO))
    return (*found, float(relief.lines))  # type: ignore[return-value]


def alike(found: Tensor, truth: Tensor) -> float:
    """Correlation of detail finer than a radius."""
    found, truth = (each - blurred(each, _RADIUS, seamless=False) for each in (found, truth))
    return float(torch.corrcoef(torch.stack((found.flatten(), truth.flatten())))[0, 1])


def photographs(
    kind: str, joints: str, side: int, seeds: int, pictures: Path | None, coloured: bool = False
) -> Iterator[tuple[Tensor, Tensor]]:
    """Images (1, 3, H, W) and heights (1, 1, H, W) in pixels of one kind of surface, under every light."""
    for seed in range(seeds):
        random = np.random.default_rng(seed)
        height, is_joint, stone = SURFACES[kind](random, side)
        height = height + 0.15 * noise(random, side, 1.5) + 0.3 * noise(random, side, 4)
        tones = random.uniform(0.25, 0.5, stone.max() + 1)[stone] * (1 + 0.12 * noise(random, side, 6) + 0.06 * noise(random, side, 1.2))
        if (tone := JOINTS[joints]) is not None:
            tones = np.where(is_joint, tone * (1 + 0.08 * noise(random, side, 1.5)), tones)
        hue = np.array([1, 0.85, 0.7])
        if coloured:
            hue = np.where(is_joint[..., None], hue.mean(), random.uniform(0.6, 1, (stone.max() + 1, 3))[stone])
        for light, direction in LIGHTS.items():
            image = photographed(height, tones[..., None] * hue, np.array(direction))
            if pictures:
                write_row(pictures / f"{kind}_{joints}_{'hues_' * coloured}{light}_{seed}.png", image, planar(height))
            yield image, planar(height)


def photographed(height: np.ndarray, colours: np.ndarray, light: np.ndarray) -> Tensor:
    """An 8-bit sRGB photograph of a lit surface, with less ambient light in deep parts."""
    down, across = np.gradient(height)
    normals = np.stack((-across, down, np.ones_like(height)), -1)
    shade = (normals @ (light / np.linalg.norm(light)) / np.linalg.norm(normals, axis=-1)).clip(0)
    open_to_light = np.exp(-(blurred(planar(height), 10, seamless=True)[0, 0].numpy() - height).clip(0) / 8)
    linear = colours * (0.35 * open_to_light + 0.75 * shade)[..., None]
    return planar(np.round(linear.clip(0, 1) ** (1 / 2.2) * 255) / 255)


def bricks(_: np.random.Generator, side: int) -> tuple[np.ndarray, ...]:
    """Height, joints, and each pixel's stone index."""
    y, x = np.mgrid[:side, :side]
    row = y // 64
    x = x + row % 2 * 64
    edge = np.minimum(np.minimum(x % 128, 128 - x % 128), np.minimum(y % 64, 64 - y % 64))
    return ((edge - 4) / 3).clip(0, 1) * 6, edge < 5, (row * 7 + x // 128 * 13) % 31


def tiles(_: np.random.Generator, side: int) -> tuple[np.ndarray, ...]:
    """As `bricks`."""
    y, x = np.mgrid[:side, :side]
    edge = np.minimum(np.minimum(x % 64, 64 - x % 64), np.minimum(y % 64, 64 - y % 64))
    return ((edge - 2.5) / 2).clip(0, 1) * 3, edge < 3.5, (x // 64 * 5 + y // 64 * 11) % 17


def planks(_: np.random.Generator, side: int) -> tuple[np.ndarray, ...]:
    """As `bricks`."""
    y, _x = np.mgrid[:side, :side]
    edge = np.minimum(y % 85, 85 - y % 85)
    return ((edge - 2.5) / 2).clip(0, 1) * 4, edge < 3.5, y // 85


def cobbles(random: np.random.Generator, side: int) -> tuple[np.ndarray, ...]:
    """As `bricks`."""
    edge, stone = cells(random, side, 64)
    return np.sqrt(((edge - 6) / 40).clip(0, 1)) * 14, edge < 7, stone


def gravel(random: np.random.Generator, side: int) -> tuple[np.ndarray, ...]:
    """As `bricks`; "joints" are the gaps between stones."""
    edge, stone = cells(random, side, 17)
    return np.sqrt((edge / 14).clip(0, 1)) * 9, edge < 2, stone


def stucco(random: np.random.Generator, side: int) -> tuple[np.ndarray, ...]:
    """As `bricks`, without joints."""
    nothing = np.zeros((side, side), int)
    return 2 * noise(random, side, 5), nothing > 0, nothing


def cells(random: np.random.Generator, side: int, pitch: int) -> tuple[np.ndarray, np.ndarray]:
    """Distance to the second nearest centre minus that to the nearest, for irregular stones, and the nearest's index."""
    count = -(-side // pitch)
    y, x = np.mgrid[:side, :side]
    middles = (np.stack(np.mgrid[:count, :count], -1) + 0.5 + random.uniform(-0.4, 0.4, (count, count, 2))) * pitch
    near, stones = [], []
    for down in (-1, 0, 1):
        for across in (-1, 0, 1):
            row, column = (y // pitch + down) % count, (x // pitch + across) % count
            middle = middles[row, column]
            away = ((np.stack((y, x), -1) - middle + count * pitch / 2) % (count * pitch) - count * pitch / 2) ** 2
            near.append(np.sqrt(away.sum(-1)))
            stones.append(row * count + column)
    order = np.argsort(near, 0)
    sorted_near = np.take_along_axis(np.array(near), order, 0)
    return sorted_near[1] - sorted_near[0], np.take_along_axis(np.array(stones), order, 0)[0]


SURFACES = {"bricks": bricks, "tiles": tiles, "cobbles": cobbles, "planks": planks, "gravel": gravel, "stucco": stucco}


def noise(random: np.random.Generator, side: int, width: float) -> np.ndarray:
    """Smooth noise with standard deviation 1."""
    values = blurred(planar(random.standard_normal((side, side))), width, seamless=True)
    return (values / values.std())[0, 0].numpy()


def planar(array: np.ndarray) -> Tensor:
    """(H, W) or (H, W, 3) as (1, C, H, W) float32."""
    values = torch.from_numpy(np.ascontiguousarray(array)).float()
    return (values[None] if values.ndim == 2 else values.movedim(-1, 0))[None].contiguous()


def write_row(path: Path, image: Tensor, height: Tensor) -> None:
    """The image, both reliefs and the truth, side by side."""
    from depth_normal.geometry.files import write_image_png

    relief = PhotoRelief(image)
    maps = (relief.height(HIGH), relief.height(AUTO), height)
    levels = (((values - values.amin()) / (values.amax() - values.amin())).expand_as(image) for values in maps)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image_png(path, torch.cat((image, *levels), 3), 8)


if __name__ == "__main__":
    main()
