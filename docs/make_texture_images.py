"""Makes the images of docs/textures.md: a wall of our own, which tiles, and the maps made of it by `tiny` and its light and dark.

python docs/make_texture_images.py
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch

from depth_normal import load_model
from depth_normal.geometry.conventions import encode_normal_map
from depth_normal.geometry.filters.transforms import blurred
from depth_normal.geometry.surfaces.derive import with_normals
from depth_normal.geometry.textures.height import SEAMLESS, height_to_image, height_to_normals
from depth_normal.geometry.textures.occlusion import height_to_occlusion
from depth_normal.geometry.textures.pbr import PbrOptions, material_normals, pbr_maps, relief_of_photo
from depth_normal.geometry.textures.seamless import margins, seamless_estimate, wrap

ROOT = Path(__file__).resolve().parent.parent
SIDE, ROWS, COLUMNS = 512, 8, 4
JOINT, DEPTH = 9.0, 9.0
PANEL = 256


def main() -> None:
    """Writes media/demo_files/wall.jpg, docs/images/pbr_maps.jpg, the workflows' thumbnails and the pages' images."""
    photo, albedo, true_height = wall()
    write(ROOT / "media/demo_files/wall.jpg", photo)
    options = PbrOptions(borders=SEAMLESS)
    beyond = margins(SIDE, SIDE, 0.25)
    known = seamless_estimate(load_model("tiny").estimate(wrap(photo, beyond), derive=with_normals), beyond)
    maps = pbr_maps(material_normals(known, relief_of_photo(photo, options), options), options)
    normal = encode_normal_map(maps.normals)
    panels = [photo, maps.height, normal, maps.occlusion, maps.bend.curvature]
    write(ROOT / "docs/images/pbr_maps.jpg", strip(panels))
    write(ROOT / "workflows/PBR Textures.jpg", grid(panels))
    truth = (photo, albedo, encode_normal_map(height_to_normals(true_height, borders=SEAMLESS)), *occluded(true_height))
    write(ROOT / "workflows/Material from Photo.jpg", grid(truth))
    pages = {
        "NormalToHeight": (normal, maps.height),
        "HeightToNormal": (maps.height, normal),
        "Curvature": (normal, maps.bend.curvature, maps.bend.edges, maps.bend.cavities),
        "AmbientOcclusion": (maps.height, maps.occlusion),
        "SeamlessGeometry": (photo, encode_normal_map(known.normals), encode_normal_map(known.normals).repeat(1, 1, 2, 2)),
        "MaterialFromPhoto": truth,
        "DetailNormals": (photo, encode_normal_map(known.normals), normal),
    }
    for page, images in pages.items():
        folder = ROOT / f"web/docs/DepthNormal_{page}"
        folder.mkdir(exist_ok=True)
        write(folder / "example.jpg", strip(images))


def occluded(height: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A height as an image, and its occlusion."""
    return height_to_image(height)[0], height_to_occlusion(height, radius=24, borders=SEAMLESS)


def wall() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A brick wall in the evening sun, drawn from a height; it tiles.

    Returns:
        (1, 3, SIDE, SIDE) the photograph and its albedo, both in sRGB, and (1, 1, SIDE, SIDE) the height in pixels.
    """
    random = torch.Generator().manual_seed(3)

    def noise(sigma: float, channels: int = 1) -> torch.Tensor:
        values = blurred(torch.randn(1, channels, SIDE, SIDE, generator=random), sigma, True)
        return values / values.std()

    y, x = torch.meshgrid(torch.arange(SIDE) + 0.5, torch.arange(SIDE) + 0.5, indexing="ij")
    x, y = x + 1.5 * noise(12)[0, 0], y + 1.5 * noise(12)[0, 0]
    tall, wide = SIDE / ROWS, SIDE / COLUMNS
    row = (y / tall).floor()
    shifted = x + (row % 2) * wide / 2
    column = (shifted / wide).floor() % COLUMNS
    beside, above = (shifted / wide % 1 - 0.5).abs() * wide, (y / tall % 1 - 0.5).abs() * tall
    edge = torch.minimum(wide / 2 - beside, tall / 2 - above)
    brick = torch.sigmoid((edge - JOINT / 2) / 1.2)
    each = torch.rand(ROWS, COLUMNS, 4, generator=random)[(row % ROWS).long(), column.long()]
    rough = (0.7 * noise(1.5) + 0.5 * noise(5))[0, 0]
    height = brick * (DEPTH + 3 * each[..., 0] + 0.6 * rough) + (1 - brick) * 0.8 * noise(2)[0, 0]
    height = blurred(height[None, None], 0.8, True)
    sun = torch.tensor([-0.5, 0.55, 0.67]).view(1, 3, 1, 1)
    light = 0.75 * (height_to_normals(height, borders=SEAMLESS) * sun).sum(1, keepdim=True).clamp(min=0)
    light = light + 0.45 * height_to_occlusion(height, radius=24, borders=SEAMLESS)
    clay = torch.stack((0.50 + 0.12 * each[..., 1], 0.24 + 0.07 * each[..., 2], 0.17 + 0.05 * each[..., 3])) + 0.02 * rough
    colour = brick * clay + (1 - brick) * torch.tensor([0.55, 0.52, 0.48]).view(3, 1, 1)
    photo, albedo = (((each.clamp(0, 1)) ** (1 / 2.2)).float().clamp(0, 1) for each in (colour * light, colour[None]))
    return photo, albedo, height.float()


def strip(images) -> torch.Tensor:
    """Panels side by side."""
    panels = [torch.nn.functional.interpolate(each[:1].float(), (PANEL, PANEL), mode="area").expand(1, 3, -1, -1) for each in images]
    return torch.cat(panels, 3)


def grid(images) -> torch.Tensor:
    """The photograph large, its maps in two rows beside it."""
    rows = [strip(images[start : start + 2]) for start in (1, 3)]
    large = torch.nn.functional.interpolate(images[0], (2 * PANEL, 2 * PANEL), mode="area")
    return torch.nn.functional.interpolate(torch.cat((large, torch.cat(rows, 2)), 3), scale_factor=0.55, mode="area")


def write(path: Path, image: torch.Tensor) -> None:
    """A JPEG."""
    pixels = (image[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    cv2.imwrite(str(path), np.ascontiguousarray(pixels[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, 88])


if __name__ == "__main__":
    main()
