"""Makes the pack's icon and banner for ComfyUI's registry: a sphere, its depth and its normals.

python docs/make_icon.py
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from depth_normal.geometry.files import write_image_png

IMAGES = Path(__file__).resolve().parent / "images"
ICON, BANNER = (400, 400), (1260, 540)
SAMPLES = 4
LIGHT = F.normalize(torch.tensor([-0.5, 0.6, 0.65]), dim=0)
WARM = torch.tensor([0.98, 0.72, 0.45])
BACKGROUND = torch.tensor([0.11, 0.12, 0.15])[:, None, None]


def sphere(width: int, height: int, centre: float, radius: float) -> tuple[Tensor, Tensor, Tensor]:
    """Normals (3, height, width) of a sphere, the columns' distance from its middle, and where it is; lengths in halves of the height."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    x, y = (2 * columns + 1) / height - 2 * centre * width / height, 1 - (2 * rows + 1) / height
    squared = (x.square() + y.square()) / radius**2
    return torch.stack([x / radius, y / radius, (1 - squared).clamp(min=0).sqrt()]), x, squared <= 1


def lit(normals: Tensor) -> Tensor:
    """Under a warm light from the upper left."""
    brightness = (normals * LIGHT[:, None, None]).sum(0).clamp(min=0)
    return (0.12 + 0.88 * brightness) * WARM[:, None, None]


def as_depth(normals: Tensor) -> Tensor:
    """Near = white."""
    return (0.15 + 0.85 * normals[2]).expand(3, -1, -1)


def as_normals(normals: Tensor) -> Tensor:
    """OpenGL's coding."""
    return normals * 0.5 + 0.5


def icon() -> Tensor:
    """One sphere, half depth, half normals."""
    width, height = (side * SAMPLES for side in ICON)
    normals, x, inside = sphere(width, height, 0.5, 0.84)
    image = torch.where(x < 0, as_depth(normals), as_normals(normals))
    return F.avg_pool2d(torch.where(inside, image, BACKGROUND)[None], SAMPLES)[0]


def banner() -> Tensor:
    """Image, depth, normals."""
    width, height = (side * SAMPLES for side in BANNER)
    image = BACKGROUND.expand(3, height, width)
    for shown, centre in ((lit, 0.18), (as_depth, 0.5), (as_normals, 0.82)):
        normals, _, inside = sphere(width, height, centre, 0.64)
        image = torch.where(inside, shown(normals), image)
    return F.avg_pool2d(image[None], SAMPLES)[0]


def main() -> None:
    """Writes both images."""
    write_image_png(IMAGES / "icon.png", icon())
    write_image_png(IMAGES / "banner.png", banner())


if __name__ == "__main__":
    main()
