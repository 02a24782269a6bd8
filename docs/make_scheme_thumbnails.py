"""Draws the thumbnails of workflows whose models nobody ran here: schemes in words, for no result of theirs is shown that was not computed.

python docs/make_scheme_thumbnails.py
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

WORKFLOWS = Path(__file__).resolve().parent.parent / "workflows"
WIDTH, HEIGHT = 560, 320
INK, PAPER, BOX = (40, 40, 40), (235, 235, 235), (255, 255, 255)
# Stem of the workflow: title, what the model is, its name (or one a row), what comes out
SCHEMES = {
    "Marigold_Depth-Normal": ("Marigold: depth and normals", "Stable Diffusion 2, 4 steps or 1", "Marigold", ("depth", "normals")),
    "Lotus_Depth-Normal": ("Lotus: depth and normals", "Stable Diffusion 2, 1 step", "Lotus", ("depth", "normals")),
    "LBM_Depth-Normal": ("LBM: depth and normals", "latent bridge matching, 1 step - CC BY-NC 4.0", "LBM", ("depth", "normals")),
    "Depth_Anything_V2": ("Depth Anything V2", "DINOv2, small - Apache-2.0", "DA V2", ("depth", "normals")),
    "Depth_Anything_V3": ("Depth Anything 3: metres", "DINOv2, large, metric - Apache-2.0", "DA 3", ("depth", "normals")),
    "ZoeDepth_Metric": ("ZoeDepth: metres", "BEiT, large, metric - MIT", "Zoe", ("depth", "metres")),
    "ControlNet_Normal": (
        "Normals for ControlNet 1.1",
        "BAE, then control_v11p_sd15_normalbae",
        ("BAE", "BAE + SD"),
        ("normals", "picture"),
    ),
}


def main() -> None:
    """Writes one thumbnail a workflow."""
    for stem, (title, line, model, results) in SCHEMES.items():
        canvas = np.full((HEIGHT, WIDTH, 3), PAPER, np.uint8)
        write(canvas, title, (WIDTH // 2, 44), 0.9)
        write(canvas, line, (WIDTH // 2, 78), 0.5)
        write_box(canvas, "picture", (100, 195))
        names = (model, model) if isinstance(model, str) else model
        for own, name, y in zip(names, results, (145, 245), strict=True):
            write_box(canvas, own, (280, y))
            write_box(canvas, name, (460, y))
            cv2.arrowedLine(canvas, (160, 195), (220, y), INK, 1, cv2.LINE_AA, tipLength=0.12)
            cv2.arrowedLine(canvas, (340, y), (400, y), INK, 1, cv2.LINE_AA, tipLength=0.15)
        cv2.imwrite(str(WORKFLOWS / f"{stem}.jpg"), canvas, [cv2.IMWRITE_JPEG_QUALITY, 90])


def write_box(canvas: np.ndarray, words: str, centre: tuple[int, int]) -> None:
    """A word in a box."""
    (x, y), (half_width, half_height) = centre, (58, 30)
    for colour, thickness in ((BOX, cv2.FILLED), (INK, 1)):
        cv2.rectangle(canvas, (x - half_width, y - half_height), (x + half_width, y + half_height), colour, thickness)
    write(canvas, words, centre, 0.6)


def write(canvas: np.ndarray, words: str, centre: tuple[int, int], size: float) -> None:
    """Words around a point."""
    (width, height), _ = cv2.getTextSize(words, cv2.FONT_HERSHEY_SIMPLEX, size, 1)
    corner = (centre[0] - width // 2, centre[1] + height // 2)
    cv2.putText(canvas, words, corner, cv2.FONT_HERSHEY_SIMPLEX, size, INK, 1, cv2.LINE_AA)


if __name__ == "__main__":
    main()
