"""Makes the images of docs/edges.md: on the left by a simpler method, on the right by this package.

python docs/make_edge_images.py [NAME ...]
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from skimage import data
from torch import Tensor

import depth_normal
from depth_normal.geometry.camera import intrinsics_from_fov
from depth_normal.geometry.conventions import encode_normal_map
from depth_normal.geometry.edges.matting import cut_out
from depth_normal.geometry.effects.depth_mask import selected_mask
from depth_normal.geometry.effects.depths import known_depths
from depth_normal.geometry.effects.lights import LightPlan
from depth_normal.geometry.effects.lit_scene import lit_scene
from depth_normal.geometry.effects.relight import relight
from depth_normal.geometry.estimate import Estimate
from depth_normal.geometry.meshes.mesh import MeshOptions, depth_to_meshes, joined_meshes
from depth_normal.geometry.regions.sky import predicted_sky, sky_alpha
from depth_normal.geometry.textures.pbr import PbrOptions, material_normals, pbr_maps, relief_of_photo
from depth_normal.geometry.views.stereo import stereo_pair
from depth_normal.options.masks import MaskOptions
from depth_normal.options.views import StereoOptions
from depth_normal.utils import check_images, images_to_rgb, resize_map

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))
import mesh_views
import normals
import traced_views
from make_effect_images import CUP_BOX

IMAGES = Path(__file__).resolve().parent / "images"
GAP = 6
DUSK, GREEN = (0.93, 0.66, 0.45), (0.25, 0.55, 0.3)
TURN = 20.0


def main() -> None:
    """Writes docs/images/edges_*.jpg."""
    makers: tuple[Callable[[], tuple[Tensor, Tensor]], ...] = (sky, stereo, highlights, mortar, box, mesh, sensor)
    by_name = {make.__name__: make for make in makers}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which of {', '.join(by_name)} (default: all)")
    names = parser.parse_args().names
    if unknown := set(names) - by_name.keys():
        parser.error(f"{', '.join(sorted(unknown))}: choose from {', '.join(by_name)}")
    for make in (by_name[name] for name in names or by_name):
        panels = [(each[0].clamp(0, 1).movedim(0, -1).numpy() * 255).round().astype(np.uint8) for each in make()]
        sheet = np.hstack([panels[0], np.full((len(panels[0]), GAP, 3), 255, np.uint8), panels[1]])
        cv2.imwrite(str(IMAGES / f"edges_{make.__name__}.jpg"), sheet[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])


@cache
def photo(name: str) -> tuple[Tensor, Estimate]:
    """A photograph of scikit-image (1, 3, H, W), and what `tiny` makes of it. Those used are in the public domain or CC0."""
    image = images_to_rgb(check_images(np.atleast_3d(getattr(data, name)())))
    return image, depth_normal.load_model("tiny").estimate(image)


def part(image: Tensor, left: int, top: int, width: int, height: int) -> Tensor:
    """Pixels of (1, C, H, W), with three channels."""
    return image[..., top : top + height, left : left + width].expand(-1, 3, -1, -1)


def sky() -> tuple[Tensor, Tensor]:
    """Another sky, by the network's mask as it is, and by the matte."""
    image, estimate = photo("camera")
    colour = image.new_tensor(DUSK).view(1, 3, 1, 1)
    mask = resize_map(predicted_sky(estimate).float(), *image.shape[-2:]).round()
    shown = (torch.lerp(image, colour.expand_as(image), share) for share in (mask, sky_alpha(image, estimate)))
    left, right = (part(each, 130, 40, 260, 220) for each in shown)
    return left, right


def stereo() -> tuple[Tensor, Tensor]:
    """The right eye's image of a strong pair: each pixel read beside its own place, and by `stereo`."""
    image, estimate = photo("astronaut")
    options = StereoOptions(divergence=8.0)
    height, width = image.shape[-2:]
    disparity = estimate.resized(height, width).depth
    share = (disparity - disparity.min()) / (disparity.max() - disparity.min()) - options.convergence
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    grid = torch.stack((x + share[0, 0] * options.divergence / 100, y), -1)[None]
    plain = F.grid_sample(image, grid, padding_mode="reflection", align_corners=True)
    left, right = (part(each, 120, 0, 230, 240) for each in (plain, stereo_pair(image, estimate, options).right))
    return left, right


def highlights() -> tuple[Tensor, Tensor]:
    """A highlight of the network's normals alone, and with the photo's fine relief and without what is caught at soft edges."""
    image, estimate = photo("astronaut")
    scene = lit_scene(image, estimate, (LightPlan(azimuth=60, elevation=45, shadow=0.3),), sky=True)
    plain = replace(scene, relief=torch.zeros_like(scene.relief), glossy=torch.ones_like(scene.glossy))
    left, right = (part(relight(**vars(each), ambient=0.3, specular=0.1), 80, 0, 260, 300) for each in (plain, scene))
    return left, right


def mortar() -> tuple[Tensor, Tensor]:
    """The height of bricks with bright mortar, where bright is high, and as the pattern says."""
    image, estimate = photo("brick")
    options = PbrOptions(bright="high"), PbrOptions()
    heights = (pbr_maps(material_normals(estimate, relief_of_photo(image, each), each), each).height for each in options)
    left, right = (part(each, 120, 120, 260, 260) for each in heights)
    return left, right


def box() -> tuple[Tensor, Tensor]:
    """What is near, and the object in a box."""
    image, estimate = photo("coffee")
    depths = known_depths(estimate.resized(*image.shape[-2:]))
    left, right = (
        torch.lerp(image.new_tensor(GREEN).view(1, 3, 1, 1).expand_as(image), *cut_out(image, selected_mask(choice, depths, image), 0.6))
        for choice in (MaskOptions(far=45), MaskOptions(far=45, box=CUP_BOX))
    )
    return left, right


def mesh() -> tuple[Tensor, Tensor]:
    """A mesh from the side: cut at silhouettes, and continued behind them."""
    image, estimate = photo("astronaut")
    height, width = image.shape[-2:]
    camera = intrinsics_from_fov(55.0, height, width)[0].numpy()
    views = []
    for behind in (0.0, TURN):
        made = joined_meshes(depth_to_meshes(estimate, image, MeshOptions(drop_sky=False, fill_behind=behind, fov=55.0)))
        pivot = np.array([0, 0, -1.3 * made.points[:, 2].max()])
        view, _ = mesh_views.view_of(made, camera, (height, width), (TURN, 0.0), pivot)
        views.append(part(torch.from_numpy(view).float().movedim(-1, 0)[None], 0, 0, 380, 360))
    return views[0], views[1]


def sensor() -> tuple[Tensor, Tensor]:
    """Normals of a simulated Kinect's depth: by differences of neighbours, and by planes over several of its levels."""
    width, height = 640, 480
    _, depth = traced_views.render(traced_views.balls(np.random.default_rng(1)), np.zeros(3), width, height, rays=1)
    known = torch.from_numpy(depth)[None, None]
    camera = torch.from_numpy(traced_views.intrinsics(width, height))[None]
    scene = normals.Scene(known, known < math.inf, known.expand(-1, 3, -1, -1), camera)
    inverse = normals.degraded(scene, "registered")
    maps = (method(scene, inverse, "registered") for method in (normals.tutorial, normals.ours))
    left, right = (part(encode_normal_map(each), 180, 60, 300, 280) for each in maps if each is not None)
    return left, right


if __name__ == "__main__":
    main()
