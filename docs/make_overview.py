"""Makes the README's first image: what commands of this package make of one photograph, by the bundled model `tiny`.

python docs/make_overview.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import cv2
import numpy as np
from make_scene_thumbnails import turned

import depth_normal
from depth_normal.app.cli import main as depth_normal_command
from depth_normal.app.estimate_command import DEMO_PICTURE
from depth_normal.geometry.files import read_picture
from depth_normal.utils import as_batch

IMAGE = Path(__file__).resolve().parent / "images" / "overview.jpg"
WIDTH, HEIGHT, GAP = 480, 320, 6
PAPER, INK = (255, 255, 255), (255, 255, 255)
COMMANDS = {
    "estimate": (),
    "relight": ("--light", "185,18", "--intensity", "1.4", "--shadows", "0.8", "--light-size", "0.05", "--ambient", "0.12"),
    "stereo": ("--layout", "full-sbs", "--divergence", "4"),
}


def main() -> None:
    """Writes docs/images/overview.jpg: two rows of three panels, each with its name."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for command, options in COMMANDS.items():
            out = folder / "lit.png" if command == "relight" else folder
            if depth_normal_command([command, str(DEMO_PICTURE), "--out", str(out), "--model", "tiny", *options]):
                raise SystemExit(f"depth-normal {command} failed")
        (stereo,) = folder.glob("coffee_LRF*.png")
        panels = {
            "photo": read(DEMO_PICTURE),
            "depth": read(folder / "coffee_depth.png"),
            "normals": read(folder / "coffee_normals.png"),
            "relit": read(folder / "lit.png"),
            "mesh": mesh(),
            "stereo": both_eyes(stereo),
        }
    labelled = [label(panel, words) for words, panel in panels.items()]
    rows = [beside(labelled[:3], 1), beside(labelled[3:], 1)]
    cv2.imwrite(str(IMAGE), beside(rows, 0)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])


def mesh() -> np.ndarray:
    """The mesh that `depth-normal mesh` writes, drawn from the side."""
    photo = as_batch(read_picture(DEMO_PICTURE))
    return fitted(turned(photo, depth_normal.load_model("tiny").estimate(photo), WIDTH, HEIGHT, 0.97))


def both_eyes(path: Path) -> np.ndarray:
    """The middle of each eye's image, from a file that has them side by side."""
    image = cv2.imread(str(path))
    assert image is not None, path
    width = image.shape[1] // 4
    return fitted(np.hstack([image[:, middle - width // 2 : middle + width // 2] for middle in (width, 3 * width)])[..., ::-1])


def read(path: Path) -> np.ndarray:
    """An image file as (HEIGHT, WIDTH, 3) uint8 RGB."""
    image = cv2.imread(str(path))
    assert image is not None, path
    return fitted(image[..., ::-1])


def fitted(image: np.ndarray) -> np.ndarray:
    """An image (H, W, 3) as a panel's size."""
    return cv2.resize(image, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)


def label(panel: np.ndarray, words: str) -> np.ndarray:
    """A panel with its name on a dark ground in its lower left corner."""
    panel = panel.copy()
    (width, height), _ = cv2.getTextSize(words, cv2.FONT_HERSHEY_SIMPLEX, 0.7, 1)
    corner = panel[HEIGHT - height - 20 :, : width + 24]
    corner[:] = corner // 4
    cv2.putText(panel, words, (12, HEIGHT - 11), cv2.FONT_HERSHEY_SIMPLEX, 0.7, INK, 1, cv2.LINE_AA)
    return panel


def beside(panels: list[np.ndarray], axis: int) -> np.ndarray:
    """Panels in a row (axis 1) or a column (axis 0), with a gap between."""
    shape = list(panels[0].shape)
    shape[axis] = GAP
    gap = np.full(shape, PAPER, np.uint8)
    return np.concatenate([part for panel in panels for part in (gap, panel)][1:], axis)


if __name__ == "__main__":
    main()
