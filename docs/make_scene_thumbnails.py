"""Draws the thumbnails of workflows whose models are not in the pack: Blender's truth of scenes of our own, and says so in the image.

    python docs/thumbnail_scenes.py --out DIR          (in a Python with bpy)
    python docs/make_scene_thumbnails.py [DIR]

Without DIR only those are made that need no scenes: *Depth and Normals*, of the demo image, and
*Tiny Preview*, *Mesh from Photo*, *Compare Models* and *Panorama*, which show what the pack's own
network makes of the demo's photograph and panorama.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import torch

import depth_normal
from depth_normal.app.outcomes import DEMO_IMAGE
from depth_normal.geometry.conventions import encode_normal_map
from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.geometry.files import read_image
from depth_normal.geometry.images.render import default_depth_image, depth_to_image
from depth_normal.geometry.meshes.mesh import MeshOptions, depth_to_meshes, joined_meshes
from depth_normal.nodes.demo import DEMO_IMAGES
from depth_normal.utils import check_images, images_to_rgb, to_image

WORKFLOWS = Path(__file__).resolve().parent.parent / "workflows"
SIZE, BAR, LEAN = 480, 34, 40
INK, PAPER = (235, 235, 235), (30, 30, 30)
TRUTH = "a rendered scene and its truth"
# Workflow: number of its scene, and the coding of its normals (None: depth alone, with metres written on it)
SCENES: dict[str, tuple[int, str | None]] = {
    "Marigold Depth and Normals": (1, "opengl"),
    "Lotus Depth and Normals": (2, "opengl"),
    "LBM Depth and Normals": (3, "opengl"),
    "Depth Anything V2": (4, "opengl"),
    "Depth Anything 3 in Metres": (5, "opengl"),
    "ZoeDepth in Metres": (6, None),
    "ControlNet with Normals": (7, "controlnet-normalbae"),
    "MoGe-3 in Metres": (8, "opengl"),
}


def main() -> None:
    """Writes all thumbnails, or those by `tiny`."""
    if len(sys.argv) > 1:
        scene_thumbnails(Path(sys.argv[1]))
    tiny_thumbnails()


def scene_thumbnails(folder: Path) -> None:
    """Those of rendered scenes."""
    for stem, (number, coding) in SCENES.items():
        with np.load(folder / f"{number}.npz") as scene:
            depth, normals = (torch.from_numpy(scene[name]).float() for name in ("depth", "normals"))
            panels = [scene["picture"], as_pixels(metres(depth[None, None]))]
            if coding:
                panels.append(as_pixels(encode_normal_map(normals.movedim(-1, 0)[None], coding)))
            else:
                write_metres(panels[1], scene["depth"])
        save(stem, panels, TRUTH)


def tiny_thumbnails() -> None:
    """Those of the demo's photograph and of the demo image."""
    room = images_to_rgb(check_images(read_image(DEMO_IMAGES["breakfast.jpg"])))[..., 160:800]
    found = depth_normal.load_model("tiny").estimate(room)
    assert found.depth is not None and found.normals is not None and found.quantity is not None
    maps = (depth_to_image(found.depth, found.quantity), encode_normal_map(found.normals))
    save("Depth and Normals", [as_pixels(each) for each in (room, *maps)], "by tiny, in the pack")
    photo = images_to_rgb(check_images(read_image(DEMO_IMAGE)))[..., 60:460]
    estimate = depth_normal.load_model("tiny").estimate(photo)
    assert estimate.depth is not None and estimate.normals is not None and estimate.quantity is not None
    shown = [as_pixels(each) for each in (photo, depth_to_image(estimate.depth, estimate.quantity), encode_normal_map(estimate.normals))]
    save("Tiny Preview", shown, "by tiny, in the pack")
    save("Compare Models", [shown[1], as_pixels(sharper(photo))], "tiny, once and in tiles")
    around = images_to_rgb(check_images(read_image(DEMO_IMAGES["panorama.jpg"])))
    panorama = depth_normal.load_model("tiny").estimate_panorama(around)
    assert panorama.normals is not None
    maps = (around, default_depth_image(panorama), encode_normal_map(panorama.normals))
    side = around.shape[-2]
    left = (around.shape[-1] - side) // 2
    save("Panorama", [as_pixels(each[..., left : left + side]) for each in maps], "by tiny, in the pack")
    # As the workflow: with sharper edges more shows behind the cup, in flat patches.
    surface = turned(photo, depth_normal.load_model("tiny").estimate(photo, refine=False), SIZE, SIZE)
    surface[12:132, 12:132] = cv2.resize(shown[0], (120, 120), interpolation=cv2.INTER_AREA)
    save("Mesh from Photo", [surface], "by tiny, in the pack")


def metres(depth: torch.Tensor) -> torch.Tensor:
    """Metric depth as the models' nodes show it."""
    return depth_to_image(depth, Quantity.METRIC_DEPTH, as_disparity=True)


def sharper(photo: torch.Tensor) -> torch.Tensor:
    """The depth of another pass, in the place of another model's."""
    other = depth_normal.load_model("tiny").estimate(photo, tiles=3)
    assert other.depth is not None and other.quantity is not None
    return depth_to_image(other.depth, other.quantity)


def turned(photo: torch.Tensor, estimate: Estimate, width: int, height: int, share: float = 0.8) -> np.ndarray:
    """The mesh that Save Mesh writes with `fill_behind`, seen from above and from the side: triangles from the farthest to the nearest."""
    mesh = joined_meshes(depth_to_meshes(estimate, photo, MeshOptions(near_far_ratio=1.7, fill_behind=35.0)))
    assert mesh.colours is not None
    points = mesh.points - np.median(mesh.points, axis=0)
    for axes, angle in (((0, 2), -0.42), ((1, 2), -0.2)):
        first, second = points[:, axes[0]].copy(), points[:, axes[1]].copy()
        points[:, axes[0]] = np.cos(angle) * first + np.sin(angle) * second
        points[:, axes[1]] = np.cos(angle) * second - np.sin(angle) * first
    scale = share * min(width / np.ptp(points[:, 0]), height / np.ptp(points[:, 1]))
    middle = (points[:, :2].max(0) + points[:, :2].min(0)) / 2
    flat = (points[:, :2] - middle) * (scale, -scale) + (width / 2, height / 2)
    canvas = np.full((height * 2, width * 2, 3), PAPER, np.uint8)
    corners = mesh.triangles[np.argsort(points[mesh.triangles, 2].mean(1))]
    shades = (mesh.colours[corners].mean(1) * 255).round().astype(np.uint8)
    for triangle, shade in zip((flat[corners] * 2).round().astype(np.int32), shades.tolist(), strict=True):
        cv2.fillConvexPoly(canvas, triangle, shade)
    return cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA)


def as_pixels(image: torch.Tensor) -> np.ndarray:
    """(1, C, H, W) in [0, 1] as a square of uint8 RGB."""
    pixels = (to_image(image)[0].numpy() * 255).round().astype(np.uint8)
    return cv2.resize(pixels, (SIZE, SIZE), interpolation=cv2.INTER_AREA)


def write_metres(pixels: np.ndarray, depth: np.ndarray) -> None:
    """Writes the metres of a few places beside them."""
    for row, column in ((0.18, 0.62), (0.45, 0.72), (0.62, 0.86), (0.86, 0.68)):
        y, x = int(row * SIZE), int(column * SIZE)
        write(pixels, f"{depth[y, x]:.1f} m", (x, y), 0.5, (255, 80, 40))


def save(stem: str, panels: list[np.ndarray], caption: str) -> None:
    """Writes panels side by side in one square, each a part of the same view, with slanting borders and a line below."""
    canvas = np.zeros((SIZE, SIZE, 3), np.uint8)
    lean = LEAN * (0.5 - np.arange(SIZE) / SIZE)
    columns = np.arange(SIZE)[None, :] - lean[:, None]
    part = np.clip((columns * len(panels) / SIZE).astype(int), 0, len(panels) - 1)
    for number, panel in enumerate(panels):
        canvas[part == number] = panel[part == number]
    border = np.diff(part, axis=1, append=part[:, -1:]) != 0
    canvas[cv2.dilate(border.astype(np.uint8), np.ones((1, 3))) > 0] = 255
    canvas[-BAR:] = PAPER
    write(canvas, caption, (SIZE // 2, SIZE - BAR // 2), 0.6, INK)
    cv2.imwrite(str(WORKFLOWS / f"{stem}.jpg"), canvas[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 86])


def write(canvas: np.ndarray, words: str, centre: tuple[int, int], size: float, colour: tuple[int, int, int]) -> None:
    """Words around a point."""
    (width, height), _ = cv2.getTextSize(words, cv2.FONT_HERSHEY_SIMPLEX, size, 1)
    corner = (centre[0] - width // 2, centre[1] + height // 2)
    cv2.putText(canvas, words, corner, cv2.FONT_HERSHEY_SIMPLEX, size, colour, 1, cv2.LINE_AA)


if __name__ == "__main__":
    main()
