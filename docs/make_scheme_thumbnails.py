"""Draws the thumbnails of the diffusion models' workflows: schemes in words, for no result of theirs is shown that was not computed.

python docs/make_scheme_thumbnails.py
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

WORKFLOWS = Path(__file__).resolve().parent.parent / "workflows"
WIDTH, HEIGHT = 560, 320
INK, PAPER, BOX = (40, 40, 40), (235, 235, 235), (255, 255, 255)
LINES = {
    "Marigold": "Stable Diffusion 2, 4 steps or 1",
    "Lotus": "Stable Diffusion 2, 1 step",
    "LBM": "latent bridge matching, 1 step - CC BY-NC 4.0",
}


def main() -> None:
    """Writes one thumbnail a family."""
    for family, line in LINES.items():
        canvas = np.full((HEIGHT, WIDTH, 3), PAPER, np.uint8)
        write(canvas, f"{family}: depth and normals", (WIDTH // 2, 44), 0.9)
        write(canvas, line, (WIDTH // 2, 78), 0.5)
        write_box(canvas, "picture", (100, 195))
        for name, y in (("depth", 145), ("normals", 245)):
            write_box(canvas, f"{family}", (280, y))
            write_box(canvas, name, (460, y))
            cv2.arrowedLine(canvas, (160, 195), (220, y), INK, 1, cv2.LINE_AA, tipLength=0.12)
            cv2.arrowedLine(canvas, (340, y), (400, y), INK, 1, cv2.LINE_AA, tipLength=0.15)
        cv2.imwrite(str(WORKFLOWS / f"{family}_Depth-Normal.jpg"), canvas, [cv2.IMWRITE_JPEG_QUALITY, 90])


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
