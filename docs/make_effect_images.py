"""Makes the images of the help pages of effects and previews, and two workflows' thumbnails, from the demo's photograph by tiny.

That of the sky is of a photograph of scikit-image, which is CC0.

python docs/make_effect_images.py [EFFECT ...]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from make_images import save
from skimage import data

import depth_normal
from depth_normal.app.outcomes import DEMO_IMAGE
from depth_normal.geometry.files import read_image
from depth_normal.nodes.effects import NODE_OF
from depth_normal.nodes.preview import PreviewGeometry
from depth_normal.nodes.relight import Relight
from depth_normal.options.effects import CUTOUT, EFFECTS, MASK, EffectSpec
from depth_normal.utils import check_images, images_to_rgb, to_image

ROOT = Path(__file__).resolve().parent.parent
LIVE = ROOT / "workflows" / "Relight Live.json"
CUP = {"point_x": 0.45, "point_y": 0.45}
TABLE = "0.19,0.93 0.3,0.965"
"""Two points on the table beside the saucer."""
CUP_BOX = {"box_left": 0.11, "box_top": 0.02, "box_right": 0.82, "box_bottom": 0.98}
"""The cup in its photograph."""
SHOWN: dict[str, list[dict[str, Any]]] = {
    "mask": [{"select": "object", **CUP_BOX, "not_points": TABLE}],
    "cutout": [CUP_BOX],
    "fog": [{"density": 0.5, "start": 1.2}],
    "depth-of-field": [{**CUP, "blur": 4.0}, {"focus": 80.0, "blur": 4.0, "blades": 6}],
}
"""What is set in the images of an effect; of one that is not here, nothing."""


def main(only: list[str]) -> None:
    """Writes all images, or those of the effects that are named."""
    photo = images_to_rgb(check_images(read_image(DEMO_IMAGE)))
    geometry, image = depth_normal.load_model("tiny").estimate(photo), to_image(photo)
    shown: dict[str, list[torch.Tensor]] = {}
    for spec in EFFECTS:
        if only and spec.name not in only:
            continue
        shown[spec.name] = [image, *(made(spec, image, geometry, each) for each in SHOWN.get(spec.name, [{}]))]
        row = [at_size(each, 240) for each in other_sky()] if spec.name == "sky" else [at_size(each) for each in shown[spec.name]]
        save(ROOT / "web" / "docs" / spec.node_id / "example.jpg", row)
    if only:
        return
    save(ROOT / "workflows" / "Depth of Field.jpg", [at_size(each)[:, 90:370] for each in shown["depth-of-field"][:2]])
    save(ROOT / "web" / "docs" / "DepthNormal_PreviewGeometry" / "example.jpg", [at_size(PreviewGeometry().execute(geometry)[0], 240)])
    (lit,) = Relight().execute(image, geometry=geometry, **live_light())
    save(LIVE.with_suffix(".jpg"), [at_size(each)[:, 90:370] for each in (image, lit)])


def made(spec: EffectSpec, image: torch.Tensor, geometry: depth_normal.Estimate, options: dict[str, Any]) -> torch.Tensor:
    """What an effect makes of an image."""
    result = NODE_OF[spec.name]().execute(image=image, geometry=geometry, **options)[0]
    if spec.result is MASK:
        return result[..., None]
    return on_checks(result) if spec.result is CUTOUT else result


def other_sky() -> list[torch.Tensor]:
    """A photograph, the mask of its sky, and dusk in its place."""
    photo = images_to_rgb(check_images(np.atleast_3d(data.camera()))).expand(-1, 3, -1, -1)
    image = to_image(photo)
    mask = NODE_OF["sky"]().execute(image, depth_normal.load_model("tiny").estimate(photo))[0][..., None]
    dusk = torch.linspace(0, 1, image.shape[1]).view(1, -1, 1, 1) * torch.tensor((0.35, 0.1, -0.25)) + torch.tensor((0.72, 0.6, 0.62))
    return [each[:, :240, 40:360] for each in (image, mask, torch.lerp(image, dusk.expand_as(image), mask))]


def on_checks(cutout: torch.Tensor) -> torch.Tensor:
    """An image with alpha on a chequered ground."""
    rows, columns = torch.meshgrid(*(torch.arange(side) // 16 for side in cutout.shape[1:3]), indexing="ij")
    ground = (0.75 + 0.2 * ((rows + columns) % 2))[None, ..., None]
    return torch.lerp(ground, cutout[..., :3], cutout[..., 3:])


def at_size(image: torch.Tensor, height: int = 320) -> np.ndarray:
    """An IMAGE (1, H, W, 1 or 3) as (height, W, 3) uint8 RGB."""
    pixels: Any = (image[0].expand(-1, -1, 3).clamp(0, 1).numpy() * 255).round().astype(np.uint8)
    return cv2.resize(pixels, (round(pixels.shape[1] * height / pixels.shape[0]), height), interpolation=cv2.INTER_AREA)


def live_light() -> dict[str, object]:
    """The light that the workflow Relight Live is saved with."""
    (node,) = (node for node in json.loads(LIVE.read_text())["nodes"] if node["type"] == Relight.NODE_ID)
    names = [each["name"] for each in node["inputs"] if "widget" in each]
    return dict(zip(names, node["widgets_values"], strict=False))


if __name__ == "__main__":
    main(sys.argv[1:])
