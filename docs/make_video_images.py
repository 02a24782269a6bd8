"""Makes the images of the video nodes and the thumbnails of the video workflows: frames of a video that is computed here, and tiny's maps.

    python docs/make_video_images.py

A ball rolls past another before a wall. The video goes the way of `depth-normal video`, with the network that comes with the pack.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import cv2
import numpy as np
from make_node_images import DOCS, SHOWN_HEIGHT, render_scene

from depth_normal.app.cli import main as depth_normal

WORKFLOWS = DOCS.parent.parent / "workflows"
FRAMES, SHOWN = 24, (2, 12, 22)
THUMBNAIL = (560, 320)
# What is asked for, the node that makes it in ComfyUI, its workflow
MADE = (("depth", "DepthOfVideo", "Video Depth"), ("normals", "NormalsOfVideo", "Video Normals"))


def main() -> None:
    """Writes all images."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "frame_%03d.png"
        for number in range(FRAMES):
            ball = ((-1.6 + 3.0 * number / FRAMES, 0.45, 3.2), 0.55)
            _, image = render_scene((((-0.3, 0.1, 5.0), 0.9), ball))
            pixels = (image[0].numpy() * 255).round().astype(np.uint8)
            cv2.imwrite(str(numbered(source, number + 1)), pixels[..., ::-1])
        for what, node, workflow in MADE:
            out = Path(folder) / f"{what}_%03d.png"
            assert depth_normal(["video", str(source), "-o", str(out), "--what", what, "--model", "tiny"]) == 0
            rows = [np.hstack([read(numbered(each, shown)) for shown in SHOWN]) for each in (source, out)]
            sheet = np.vstack(rows)
            path = DOCS / f"DepthNormal_{node}" / "example.jpg"
            path.parent.mkdir(exist_ok=True)
            save(path, sheet, (round(sheet.shape[1] * 2 * SHOWN_HEIGHT / sheet.shape[0]), 2 * SHOWN_HEIGHT))
            save(WORKFLOWS / f"{workflow}.jpg", sheet, THUMBNAIL)


def numbered(pattern: Path, number: int) -> Path:
    """A frame's file."""
    return pattern.with_name(pattern.name % number)


def read(path: Path) -> np.ndarray:
    """(H, W, 3) of 8 bits."""
    image = cv2.imread(str(path))
    assert image is not None
    return image


def save(path: Path, sheet: np.ndarray, size: tuple[int, int]) -> None:
    """Writes an image, scaled to fit a size, on white."""
    scale = min(size[0] / sheet.shape[1], size[1] / sheet.shape[0])
    width, height = round(sheet.shape[1] * scale), round(sheet.shape[0] * scale)
    canvas = np.full((size[1], size[0], 3), 255, np.uint8)
    top, left = (size[1] - height) // 2, (size[0] - width) // 2
    canvas[top : top + height, left : left + width] = cv2.resize(sheet, (width, height), interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(path), canvas, [cv2.IMWRITE_JPEG_QUALITY, 88])


if __name__ == "__main__":
    main()
