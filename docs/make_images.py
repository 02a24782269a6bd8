"""Makes the images of README, help pages and workflows with the pack itself, from the demo's photograph; with `--model` MiDaS' too.

python docs/make_images.py [--model ID [--weights FILE]]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import torch
from skimage import data

import depth_normal
from depth_normal.app.outcomes import DEMO_IMAGE
from depth_normal.geometry.conventions import encode_normal_map
from depth_normal.geometry.estimate import Axes
from depth_normal.geometry.files import read_image
from depth_normal.geometry.images.render import depth_to_image
from depth_normal.geometry.surfaces.normals import midas_normals
from depth_normal.nodes.demo import DEMO_IMAGES
from depth_normal.nodes.relight import Relight
from depth_normal.nodes.views import DepthParallax, Stereo
from depth_normal.utils import check_images, images_to_rgb, to_image

ROOT = Path(__file__).resolve().parent.parent
TINY_EXAMPLES = ("astronaut", "chelsea", "rocket", "brick")  # of scikit-image: public domain (NASA), and CC0


def main() -> None:
    """Writes all images."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="what the images of MiDaS' pages and of its workflow are made with")
    parser.add_argument("--weights", type=Path)
    arguments = parser.parse_args()
    photo = images_to_rgb(check_images(read_image(DEMO_IMAGE)))
    save_stereo(photo)
    save_large(photo)
    save_uses(images_to_rgb(check_images(read_image(DEMO_IMAGES["breakfast.jpg"]))))
    for name in TINY_EXAMPLES:
        save(ROOT / "docs" / "images" / f"tiny_{name}.jpg", tiny_maps(images_to_rgb(check_images(np.atleast_3d(getattr(data, name)())))))
    if arguments.model:
        save_examples(photo, depth_normal.load_model(arguments.model, weights=arguments.weights))


def tiny_maps(photo: torch.Tensor) -> list[np.ndarray]:
    """A photograph, its depth and its normals by the pack's own network."""
    estimate = depth_normal.load_model("tiny").estimate(photo)
    return [at_size(each) for each in (photo, depth_to_image(estimate.depth, estimate.quantity), encode_normal_map(estimate.normals))]


def save_stereo(photo: torch.Tensor) -> None:
    """Writes what the node Stereo makes of a photograph, by the pack's own network."""
    estimate = depth_normal.load_model("tiny").estimate(photo)
    anaglyph, halves = (
        at_size(Stereo().execute(to_image(photo), layout, 3.0, geometry=estimate)[0].movedim(-1, 1)) for layout in ("anaglyph", "half-sbs")
    )
    save(
        ROOT / "web" / "docs" / "DepthNormal_Stereo" / "example.jpg",
        [at_size(depth_to_image(estimate.depth, estimate.quantity)), anaglyph, halves],
    )
    save(ROOT / "workflows" / "Stereo 3D.jpg", [anaglyph])


def save_large(photo: torch.Tensor) -> None:
    """Writes the normals that tiles give a photograph, beside those of one pass."""
    model = depth_normal.load_model("tiny")
    maps = (model.estimate(photo, tiles=tiles).normals for tiles in (0, 3))
    save(ROOT / "workflows" / "Large Image.jpg", [at_size(encode_normal_map(normals))[:, 60:340] for normals in maps])


def save_uses(photo: torch.Tensor) -> None:
    """Writes a photograph under other light, and a camera's move through it, by the pack's own network."""
    estimate, image = depth_normal.load_model("tiny").estimate(photo), to_image(photo)
    lights = (
        {"azimuth": 165.0, "elevation": 25.0, "intensity": 1.2, "ambient": 0.2, "shadows": 0.8, "light_size": 0.05},
        {"light": "point", "colour": "#ffb46b", "light_x": 0.85, "light_y": 0.3, "light_depth": 0.8, "ambient": 0.2, "light_size": 0.1},
    )
    sun, lamp = (at_size(Relight().execute(image, geometry=estimate, **light)[0].movedim(-1, 1)) for light in lights)
    (frames,) = DepthParallax().execute(image, move="swing", frames=4, amount=0.08, focus=0.5, geometry=estimate)
    moved = [at_size(frames[i : i + 1].movedim(-1, 1)) for i in (1, 3)]
    depth, normals = at_size(depth_to_image(estimate.depth, estimate.quantity)), at_size(encode_normal_map(estimate.normals))
    save(ROOT / "web" / "docs" / "DepthNormal_Relight" / "example.jpg", [at_size(photo), sun, lamp])
    save(ROOT / "web" / "docs" / "DepthNormal_DepthParallax" / "example.jpg", [depth, *moved])
    for workflow, shown in (
        ("Geometry to Normals and Light", [normals, sun]),
        ("Relight", [at_size(photo), lamp]),
        ("Depth Parallax", moved),
    ):
        save(ROOT / "workflows" / f"{workflow}.jpg", [image[:, 100:380] for image in shown])


def save_examples(photo: torch.Tensor, model: depth_normal.Model) -> None:
    """Writes what MiDaS' nodes make of one photograph."""
    (estimate,) = model.estimates(photo)
    old = encode_normal_map(midas_normals(estimate.depth), "controlnet-1.0-normal", source=Axes.SCANNET)
    shown, depth, normals = map(at_size, (photo, depth_to_image(estimate.depth, estimate.quantity), old))
    save(ROOT / "web" / "docs" / "MiDaS-DepthMapPreprocessor" / "example.jpg", [shown, depth])
    save(ROOT / "web" / "docs" / "MiDaS-NormalMapPreprocessor" / "example.jpg", [shown, normals])
    save(ROOT / "workflows" / "MiDaS Depth and Normal Map.jpg", [image[:, 100:380] for image in (depth, normals)])


def at_size(image: torch.Tensor, height: int = 320) -> np.ndarray:
    """(1, C, H, W) in [0, 1] as (height, W, 3) uint8 RGB."""
    pixels = (to_image(image)[0].numpy() * 255).round().astype(np.uint8)
    return cv2.resize(pixels, (round(pixels.shape[1] * height / pixels.shape[0]), height), interpolation=cv2.INTER_AREA)


def save(path: Path, images: list[np.ndarray]) -> None:
    """Writes images side by side."""
    path.parent.mkdir(parents=True, exist_ok=True)
    height = min(image.shape[0] for image in images)
    cv2.imwrite(str(path), np.hstack([image[:height] for image in images])[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])


if __name__ == "__main__":
    main()
