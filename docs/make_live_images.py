"""Makes the images of Preview Geometry's help page and of the workflow Relight Live, from the demo's photograph by tiny.

python docs/make_live_images.py
"""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import torch

import depth_normal
from depth_normal.app.commands.estimate import DEMO_IMAGE
from depth_normal.geometry.files import read_image
from depth_normal.nodes.preview import PreviewGeometry
from depth_normal.nodes.relight import Relight
from depth_normal.utils import check_images, images_to_rgb, to_image

ROOT = Path(__file__).resolve().parent.parent
WORKFLOW = ROOT / "workflows" / "Relight Live.json"


def main() -> None:
    """Writes all images."""
    photo = images_to_rgb(check_images(read_image(DEMO_IMAGE)))
    geometry, image = depth_normal.load_model("tiny").estimate(photo), to_image(photo)
    maps, _ = PreviewGeometry().execute(geometry)
    save(ROOT / "web" / "docs" / "DepthNormal_PreviewGeometry" / "example.jpg", [at_height(maps, 240)])
    (lit,) = Relight().execute(image, geometry=geometry, **lamp())
    save(WORKFLOW.with_suffix(".jpg"), [at_height(each, 320)[:, 90:370] for each in (image, lit)])


def lamp() -> dict[str, object]:
    """The light that the workflow is saved with."""
    (node,) = (node for node in json.loads(WORKFLOW.read_text())["nodes"] if node["type"] == Relight.NODE_ID)
    names = [each["name"] for each in node["inputs"] if "widget" in each]
    return dict(zip(names, node["widgets_values"], strict=False))


def at_height(image: torch.Tensor, height: int) -> np.ndarray:
    """An IMAGE (1, H, W, 3) as (height, W, 3) uint8 RGB."""
    pixels = (image[0].clamp(0, 1).numpy() * 255).round().astype(np.uint8)
    return cv2.resize(pixels, (round(pixels.shape[1] * height / pixels.shape[0]), height), interpolation=cv2.INTER_AREA)


def save(path: Path, images: list[np.ndarray]) -> None:
    """Writes images side by side."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.hstack(images)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])


if __name__ == "__main__":
    main()
