"""Writes the demo images and the demo video from what `demo_scene.py` rendered.

python docs/demo_scene.py --out DIR        (in a Python with bpy)
python docs/make_demo_media.py DIR
"""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path

import cv2
import torch

from depth_normal.geometry.files import read_image
from depth_normal.media import VideoWriter
from depth_normal.nodes.demo import DEMO_IMAGES, DEMO_VIDEOS

RATE = Fraction(12)
QUALITY = 90


def main() -> None:
    """Writes all of them."""
    folder = Path(sys.argv[1])
    for source, name in (("still.png", "breakfast.jpg"), ("panorama.png", "panorama.jpg")):
        still = cv2.imread(str(folder / source))
        assert still is not None, f"{folder} has no {source}; run demo_scene.py first"
        cv2.imwrite(str(DEMO_IMAGES[name]), still, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    with VideoWriter(DEMO_VIDEOS["breakfast.mp4"], "h264", RATE, Fraction(1, 12)) as writer:
        for number, path in enumerate(sorted((folder / "clip").glob("*.png"))):
            writer.write(torch.from_numpy(read_image(path)).movedim(-1, 0), number / RATE, 1 / RATE)


if __name__ == "__main__":
    main()
