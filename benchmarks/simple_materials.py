"""How near albedo and roughness of a photograph are to the truth without a model of materials (`texture pbr --materials simple`).

    python benchmarks/simple_materials.py [--side 256] [--seeds 2] [--pictures OUT]

Walls and floors of known height, albedo and roughness are traced: by sky light that the relief hides in part, by a sun with
cast shadows and highlights (GGX), and by a lamp that is nearer to one side. Albedo: root mean square difference of its logarithm in linear
light, in %, where the overall exposure counts for nothing; of the photograph itself, and of what is made of it with the photograph's own
relief, with that of tiny's normals too, and with the true relief. Roughness: root mean square difference of one constant, and of a rule by
highlights that the pack does not have: single bright points make a surface smoother. Spots: the same with spots of white paint.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from depth_normal import load_model
from depth_normal.geometry.estimate import Estimate
from depth_normal.geometry.filters.transforms import blurred
from depth_normal.geometry.images.srgb import linear_to_srgb, luminance, srgb_to_linear
from depth_normal.geometry.surfaces.derive import with_normals
from depth_normal.geometry.textures.height import SEAMLESS, height_to_normals
from depth_normal.geometry.textures.materials import ROUGHNESS, remove_light
from depth_normal.geometry.textures.occlusion import height_to_occlusion
from depth_normal.geometry.textures.pbr import material_normals, pbr_maps, relief_of_photo
from depth_normal.options.textures import BOTH, PHOTO, PbrOptions

LIGHTS = {
    "even": (0.0, (0.0, 0.0, 1.0), 0.0),
    "overcast": (0.0, (0.0, 0.0, 1.0), 0.25),
    "sun": (1.5, (-0.6, 0.3, 0.74), 0.25),
    "low sun": (3.0, (0.8, 0.45, 0.4), 0.25),
    "flash": (2.0, (0.0, 0.05, 1.0), 0.25),
}
"""The sun's strength relative to the sky's 1, its direction (right, up, to the viewer), and a lamp's proximity to one side."""
PAIRS = ((0.12, 0.9), (0.25, 0.8), (0.4, 0.6), (0.55, 0.9), (0.7, 0.7), (0.9, 0.5), (0.95, 0.95))
"""Roughnesses of stones and joints."""
_DIRECTIONS, _REACH, _REFLECTED = 48, 48, 0.04


@dataclass(frozen=True)
class Traced:
    """A photograph and its ground truth."""

    image: Tensor
    albedo: Tensor
    roughness: Tensor
    height: Tensor


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=256, help="of the square images in pixels (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=2, help="surfaces of each kind (default: %(default)s)")
    parser.add_argument("--lights", nargs="+", choices=LIGHTS, default=list(LIGHTS), help="in which light (default: all)")
    parser.add_argument("--pictures", type=Path, metavar="OUT", help="folder for photograph, albedo with each relief, true albedo")
    arguments = parser.parse_args()
    tiny = load_model("tiny", device="cpu")
    print("Albedo, % off          " + "".join(f"{name:>13}" for name in ("photograph", "own relief", "with tiny", "true relief")))
    everything = []
    for light in arguments.lights:
        rows = []
        for name, scene in surfaces(light, arguments.side, arguments.seeds):
            found = [remove_light(scene.image, *each) for each in reliefs(scene, tiny.estimate(scene.image, derive=with_normals))]
            rows.append([off(each, scene.albedo) for each in (scene.image, *found)])
            if arguments.pictures:
                write_row(arguments.pictures / f"{name}.png", scene, found)
        everything += rows
        print_row(light, rows)
    print_row("all", everything)
    print("\nRoughness, off by      " + "".join(f"{name:>13}" for name in (f"constant {ROUGHNESS}", "highlights")))
    for spots in (False, True):
        everything = []
        for light in arguments.lights:
            rows = [rough_off(scene) for _, scene in surfaces(light, arguments.side, arguments.seeds, spots)]
            everything += rows
            print_row(f"{light}, spots" if spots else light, rows, 3)
        print_row("all, spots" if spots else "all", everything, 3)


def print_row(name: str, rows: list[list[float]], digits: int = 1) -> None:
    """One line of a table."""
    print(f"{name:23}" + "".join(f"{value:13.{digits}f}" for value in np.mean(rows, 0)))


def surfaces(light: str, side: int, seeds: int, spots: bool = False) -> Iterator[tuple[str, Traced]]:
    """All surfaces under one light, each with a pair of roughnesses."""
    for seed in range(seeds):
        for index, kind in enumerate(SURFACES):
            pair = PAIRS[(index + 2 * list(LIGHTS).index(light) + 3 * seed) % len(PAIRS)]
            yield f"{kind}_{light}_{seed}", traced(kind, light, pair, side, seed, spots)


def reliefs(scene: Traced, estimate: Estimate) -> Iterator[tuple[Tensor, Tensor]]:
    """Normals and occlusion: from the photograph alone, with an estimate's normals, and the true ones."""
    for source, known in ((PHOTO, None), (BOTH, estimate)):
        options = PbrOptions(source=source)
        maps = pbr_maps(material_normals(known, relief_of_photo(scene.image, options), options), options)
        yield maps.normals, maps.occlusion
    yield height_to_normals(scene.height, borders=SEAMLESS), height_to_occlusion(scene.height, borders=SEAMLESS)


def off(found: Tensor, albedo: Tensor) -> float:
    """Difference in percent of sRGB from a linear albedo, independent of its exposure."""
    difference = (srgb_to_linear(found).clamp(min=0.005) / albedo.clamp(min=0.005)).log()
    return 100 * float(difference.std())


def rough_off(scene: Traced) -> list[float]:
    """Errors of the constant, and of the rule by highlights."""
    return [float((found - scene.roughness).square().mean().sqrt()) for found in (ROUGHNESS, by_highlights(scene.image))]


def by_highlights(image: Tensor) -> float:
    """The best rule tried: by how much points exceed 2.5 times their surroundings, on average."""
    bright = luminance(srgb_to_linear(image))
    around = blurred(bright, min(image.shape[-2:]) / 32).clamp(min=0.01)
    return 0.65 - 0.35 * min(1.0, float((bright / around - 2.5).clamp(min=0).mean()) / 0.003)


def write_row(path: Path, scene: Traced, found: list[Tensor]) -> None:
    """Writes images side by side; the true albedo is as bright as the photograph."""
    from depth_normal.geometry.files import write_image_png

    exposure = (srgb_to_linear(scene.image) + 0.005).log().mean() - (scene.albedo + 0.005).log().mean()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image_png(path, torch.cat((scene.image, *found, linear_to_srgb((scene.albedo * exposure.exp()).clamp(0, 1))), 3), 8)


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


def traced(kind: str, light: str, roughness: tuple[float, float], side: int, seed: int, spots: bool = False) -> Traced:
    """A surface of stones and joints with roughnesses (stones', joints')."""
    random = np.random.default_rng(seed)
    height, is_joint, stone = SURFACES[kind](random, side)
    height = planar(height + 0.15 * noise(random, side, 1.5) + 0.3 * noise(random, side, 4)).float()
    hue = random.uniform(0.6, 1, (stone.max() + 1, 3))[stone]
    tones = random.uniform(0.12, 0.5, stone.max() + 1)[stone] * (1 + 0.12 * noise(random, side, 6) + 0.06 * noise(random, side, 1.2))
    joints = random.uniform(0.08, 0.7) * (1 + 0.08 * noise(random, side, 1.5))
    albedo = np.where(is_joint[..., None], joints[..., None] * np.array([1, 0.95, 0.9]), tones[..., None] * hue).clip(0.02, 0.9)
    if spots:
        albedo = np.where(noise(random, side, 1)[..., None] > 2.1, 0.8, albedo)
    rough = planar(np.where(is_joint, roughness[1], roughness[0])).float()
    colour = planar(albedo).float()
    image = photographed(height, colour, rough, *LIGHTS[light], random)
    return Traced(image, colour, rough, height)


def photographed(
    height: Tensor,
    albedo: Tensor,
    roughness: Tensor,
    strength: float,
    direction: tuple[float, ...],
    nearer: float,
    random: np.random.Generator,
) -> Tensor:
    """Traced light as 8-bit sRGB, exposed so that 1 % of the pixels are white."""
    normals = height_to_normals(height, borders=SEAMLESS)
    light = torch.tensor(direction) / torch.tensor(direction).norm()
    sky = sky_light(height, normals)
    facing = (normals * light.view(1, 3, 1, 1)).sum(1, keepdim=True).clamp(min=0)
    seen = visible(height, light)
    side = height.shape[-1]
    y, x = torch.meshgrid(torch.linspace(-1, 1, side), torch.linspace(-1, 1, side), indexing="ij")
    angle = random.uniform(0, 2 * math.pi)
    lamp = 1 / (1 - nearer * (x * math.cos(angle) + y * math.sin(angle))) ** 2
    mirrored = strength * highlight(normals, light, roughness) * facing * seen + sky
    lit = lamp * (albedo * (sky + strength * facing * seen) + _REFLECTED * mirrored)
    lit = lit / torch.quantile(lit.flatten(), 0.99)
    grain = planar(0.004 * random.standard_normal((side, side, 3))).float()
    return ((linear_to_srgb(lit.clamp(0, 1)) + grain).clamp(0, 1) * 255).round() / 255


def visible(height: Tensor, direction: Tensor) -> Tensor:
    """Which points of a tileable height see a light."""
    across = float(direction[:2].norm())
    free = torch.ones_like(height)
    if across < 1e-3:
        return free
    for step in range(1, _REACH):
        shift = (round(float(direction[1]) / across * step), round(-float(direction[0]) / across * step))
        free = free * ((height.roll(shift, (-2, -1)) - height) <= float(direction[2]) / across * step + 0.5)
    return free


def sky_light(height: Tensor, normals: Tensor) -> Tensor:
    """Light from a uniform sky, 1 on an open plane."""
    total, whole = torch.zeros_like(height), 0.0
    for index in range(_DIRECTIONS):
        up, angle = (index + 0.5) / _DIRECTIONS, index * math.pi * (3 - math.sqrt(5))
        flat = math.sqrt(1 - up * up)
        ray = torch.tensor([flat * math.cos(angle), flat * math.sin(angle), up])
        total += (normals * ray.view(1, 3, 1, 1)).sum(1, keepdim=True).clamp(min=0) * visible(height, ray)
        whole += up
    return total / whole


def highlight(normals: Tensor, light: Tensor, roughness: Tensor) -> Tensor:
    """A GGX surface's specular reflection of a light, seen frontally, relative to a white matt one's (both times pi)."""
    half = light + torch.tensor([0.0, 0.0, 1.0])
    half = half / half.norm()
    cosine = (normals * half.view(1, 3, 1, 1)).sum(1, keepdim=True).clamp(0, 1)
    square = roughness.clamp(min=0.05) ** 4
    spread = square / (cosine**2 * (square - 1) + 1) ** 2
    return spread / 4


if __name__ == "__main__":
    main()
