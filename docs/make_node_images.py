"""Makes the images of the help pages of the geometry nodes, with the nodes themselves, from a scene that is computed here.

    python docs/make_node_images.py

Two balls on a checkered floor before a wall: depth and normals are known exactly, nobody's photograph is needed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
import torch
from torch import Tensor

from depth_normal.geometry.camera import intrinsics_from_fov, pixel_rays
from depth_normal.geometry.conventions import encode_normal_map, unit_normals
from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.nodes.depth_and_normals import DepthAndNormals
from depth_normal.nodes.geometry import DepthImageToGeometry, NormalsFromDepth
from depth_normal.nodes.render import ConvertNormalMap, RenderDepth, RenderNormals

DOCS = Path(__file__).resolve().parent.parent / "web" / "docs"
HEIGHT, WIDTH, FOV = 400, 480, 50.0
SHOWN_HEIGHT = 240
Balls: TypeAlias = tuple[tuple[tuple[float, float, float], float], ...]
BALLS: Balls = (((-0.75, 0.1, 4.0), 0.9), ((0.95, 0.5, 3.2), 0.5))
FLOOR, WALL, CEILING = 1.0, 6.5, 1e9
LIGHT = (-0.5, -0.7, -0.5)


def main() -> None:
    """Writes all images."""
    scene, image = render_scene()
    (geometry,) = NormalsFromDepth().execute(scene, "plane fit")
    normals = {coding: normal_map(geometry, coding) for coding in ("opengl", "directx", "controlnet-normalbae", "controlnet-1.0-normal")}
    grey = depth_image(scene)

    photo = photograph()
    depth, shown_normals, *_ = DepthAndNormals().execute(photo)
    save("DepthAndNormals", photo, depth, shown_normals)
    save("RenderDepth", grey, depth_image(scene, metric_as_disparity=False), depth_image(scene, colour_map="turbo"))
    save("RenderNormals", *normals.values())
    save("NormalsFromDepth", grey, normals["opengl"], normal_map(old_normals(scene), "opengl"))
    eight_bits = (grey * 255).round() / 255
    assert scene.depth is not None
    nearest = float(scene.depth.min())
    (read,) = DepthImageToGeometry().execute(eight_bits, "white", "disparity", near_metres=nearest, far_metres=WALL)
    save("DepthImageToGeometry", eight_bits, depth_image(read, colour_map="turbo"))
    strong, blended = converted(normals["opengl"], strength=2.5), converted(normals["opengl"], detail=dimples())
    save("ConvertNormalMap", normals["opengl"], normals["directx"], strong, blended)
    save("ConvertGeometry", image, grey, normals["opengl"])
    (rough,) = NormalsFromDepth().execute(with_depth(scene, levels_of(scene, 255)), "dmap2norm")
    (smooth,) = NormalsFromDepth().execute(with_depth(scene, levels_of(scene, 65535)), "dmap2norm")
    for node in ("SaveGeometry", "LoadGeometry"):
        save(node, normal_map(rough, "opengl"), normal_map(smooth, "opengl"))


def photograph() -> Tensor:
    """The middle of the demo's photograph, (1, H, W, 3) of the images' size."""
    coffee = cv2.imread(str(DOCS.parent.parent / "app" / "coffee.jpg"))[..., ::-1]
    left = (coffee.shape[1] - coffee.shape[0] * WIDTH // HEIGHT) // 2
    pixels = cv2.resize(coffee[:, left:-left], (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    return torch.from_numpy(pixels.astype(np.float32) / 255)[None]


def render_scene(balls: Balls = BALLS) -> tuple[Estimate, Tensor]:
    """The scene's depth in metres with its camera, and its image (1, H, W, 3), with balls at (x, y, z) of some radius in metres."""
    intrinsics = intrinsics_from_fov(FOV, HEIGHT, WIDTH)
    rays = pixel_rays(intrinsics, HEIGHT, WIDTH)
    down = rays[:, 1:2]
    depth = torch.minimum(torch.where(down > 0, FLOOR / down, CEILING), torch.tensor(WALL))
    vectors = torch.where(depth < WALL, torch.tensor([0.0, -1.0, 0.0]).view(1, 3, 1, 1), torch.tensor([0.0, 0.0, -1.0]).view(1, 3, 1, 1))
    for position, radius in balls:
        centre = torch.tensor(position).view(1, 3, 1, 1)
        a, b = (rays * rays).sum(1, keepdim=True), (rays * centre).sum(1, keepdim=True)
        under = b * b - a * ((centre * centre).sum() - radius**2)
        hit = torch.where(under > 0, (b - under.clamp(min=0).sqrt()) / a, CEILING)
        vectors = torch.where(hit < depth, (rays * hit - centre) / radius, vectors)
        depth = torch.minimum(depth, hit)
    points = rays * depth
    checks = ((points[:, :1] * 2).floor() + (points[:, 2:] * 2).floor()) % 2
    colour = torch.tensor([0.9, 0.55, 0.35]).view(1, 3, 1, 1) * (0.6 + 0.4 * checks)
    light = torch.nn.functional.normalize(torch.tensor(LIGHT), dim=0).view(1, 3, 1, 1)
    shade = 0.3 + 0.7 * (vectors * light).sum(1, keepdim=True).clamp(min=0)
    return Estimate(depth, Quantity.METRIC_DEPTH, intrinsics=intrinsics), (colour * shade).clamp(0, 1).movedim(1, -1)


def with_depth(scene: Estimate, depth: Tensor) -> Estimate:
    """The scene with another depth, in units in which the tutorial's formula shows relief."""
    return Estimate(depth, Quantity.RELATIVE_DEPTH, intrinsics=scene.intrinsics)


def levels_of(scene: Estimate, levels: int) -> Tensor:
    """The scene's depth rounded to so many grey levels of an image."""
    assert scene.depth is not None
    return (scene.depth / WALL * levels).round() / levels * 10


def old_normals(scene: Estimate) -> Estimate:
    """What the tutorial's formula makes of the depth."""
    return NormalsFromDepth().execute(with_depth(scene, levels_of(scene, 2**24)), "dmap2norm")[0]


def depth_image(estimate: Estimate, **widgets: object) -> Tensor:
    """(1, H, W, 3)."""
    return RenderDepth().execute(estimate, "white", "per_image", **widgets)[0]


def normal_map(estimate: Estimate, coding: str) -> Tensor:
    """(1, H, W, 3)."""
    return RenderNormals().execute(estimate, coding)[0]


def converted(image: Tensor, **widgets: object) -> Tensor:
    """(1, H, W, 3)."""
    return ConvertNormalMap().execute(image, "opengl", "opengl", **widgets)[0]


def dimples() -> Tensor:
    """A normal map (1, H, W, 3) of small waves."""
    wave = torch.arange(max(HEIGHT, WIDTH)) / 4
    slope_y, slope_x = torch.meshgrid(wave[:HEIGHT].sin() / 2, wave[:WIDTH].sin() / 2, indexing="ij")
    vectors = torch.stack((slope_x, slope_y, torch.ones_like(slope_x)))[None]
    return encode_normal_map(unit_normals(vectors)).movedim(1, -1)


def save(node: str, *images: Tensor) -> None:
    """Writes images (1, H, W, 3) side by side."""
    path = DOCS / f"DepthNormal_{node}" / "example.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.hstack([(image[0].numpy() * 255).round().astype(np.uint8) for image in images])
    size = (round(pixels.shape[1] * SHOWN_HEIGHT / HEIGHT), SHOWN_HEIGHT)
    cv2.imwrite(str(path), cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])


if __name__ == "__main__":
    main()
