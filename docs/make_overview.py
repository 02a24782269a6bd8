"""Makes the README's images: what commands of this package make of a photograph, by the bundled model `tiny`.

python docs/make_overview.py
"""

from __future__ import annotations

import shlex
import tempfile
from pathlib import Path

import cv2
import numpy as np
from make_scene_thumbnails import turned

import depth_normal
from depth_normal.app.cli import main as depth_normal_command
from depth_normal.app.outcomes import DEMO_IMAGE
from depth_normal.geometry.files import read_image
from depth_normal.utils import check_images, images_to_rgb

IMAGES = Path(__file__).resolve().parent / "images"
WIDTH, HEIGHT, GAP = 480, 320, 6
LETTERS = 1.1
PAPER, INK = (255, 255, 255), (255, 255, 255)
DEMO_FILES = IMAGES.parent.parent / "media" / "demo_files"
PHOTO, WALL, ROOM = (shlex.quote(str(path)) for path in (DEMO_IMAGE, DEMO_FILES / "wall.jpg", DEMO_FILES / "breakfast.jpg"))
COMMANDS = {
    "estimate": f"estimate {PHOTO}",
    "relight": f"relight {PHOTO} --light 185,18 --intensity 1.4 --ambient 0.1",
    "depth_of_field": f"effect depth-of-field {PHOTO} --point 0.57,0.66 --blur 6",
    "anaglyph": f"stereo {PHOTO} --layout anaglyph --divergence 4",
    "texture": f"texture pbr {WALL}",
    "room": f"estimate {ROOM}",
    "room_relit": f"relight {ROOM} --point 0.22,0.38,0.95 --colour #ffb46b --shadows 0.7 --light-size 0.1 --ambient 0.2",
}
ONE_FILE = ("relight", "depth_of_field", "room_relit")  # whose --out is a file


def main() -> None:
    """Writes docs/images/first.jpg, a row of four panels with their names, and does_*.jpg, a panel each."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for command, line in COMMANDS.items():
            out = folder / f"{command}.png" if command in ONE_FILE else folder
            if depth_normal_command([*shlex.split(line), "--out", str(out), "--model", "tiny"]):
                raise SystemExit(f"depth-normal {line} failed")
        (anaglyph,) = folder.glob("coffee_anaglyph.png")
        depth, normals, relit = (read(folder / name) for name in ("coffee_depth.png", "coffee_normals.png", "relight.png"))
        textures = [read(folder / f"wall_{name}.png") for name in ("height", "normal", "ao")]
        panels = {
            "depth": split(depth, normals),
            "relight": relit,
            "depth_of_field": read(folder / "depth_of_field.png"),
            "mesh": mesh(),
            "stereo": read(anaglyph),
            "texture": split(*textures),
        }
        first = {
            "image": read(DEMO_FILES / "breakfast.jpg"),
            "depth": read(folder / "breakfast_depth.png"),
            "normals": read(folder / "breakfast_normals.png"),
            "relit": read(folder / "room_relit.png"),
        }
    save("first", beside([label(panel, words) for words, panel in first.items()]))
    for name, panel in panels.items():
        save(f"does_{name}", cv2.resize(panel, (360, 240), interpolation=cv2.INTER_AREA))


def save(name: str, image: np.ndarray) -> None:
    """Writes docs/images/<name>.jpg."""
    cv2.imwrite(str(IMAGES / f"{name}.jpg"), image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])


def split(*panels: np.ndarray) -> np.ndarray:
    """Parts of panels of one view in one panel, from left to right."""
    edges = [WIDTH * number // len(panels) for number in range(len(panels) + 1)]
    return np.hstack([panel[:, start:stop] for panel, start, stop in zip(panels, edges[:-1], edges[1:], strict=True)])


def mesh() -> np.ndarray:
    """The mesh that `depth-normal mesh` writes, drawn from the side."""
    photo = images_to_rgb(check_images(read_image(DEMO_IMAGE)))
    return fitted(turned(photo, depth_normal.load_model("tiny").estimate(photo), WIDTH, HEIGHT, 0.97))


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
    (width, height), _ = cv2.getTextSize(words, cv2.FONT_HERSHEY_SIMPLEX, LETTERS, 2)
    corner = panel[HEIGHT - height - 20 :, : width + 24]
    corner[:] = corner // 4
    cv2.putText(panel, words, (12, HEIGHT - 11), cv2.FONT_HERSHEY_SIMPLEX, LETTERS, INK, 2, cv2.LINE_AA)
    return panel


def beside(panels: list[np.ndarray]) -> np.ndarray:
    """Panels in a row, with a gap between."""
    gap = np.full((HEIGHT, GAP, 3), PAPER, np.uint8)
    return np.hstack([part for panel in panels for part in (gap, panel)][1:])


if __name__ == "__main__":
    main()
