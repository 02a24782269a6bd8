"""Labels the sky in the labelled crops, as far as a rule and verdicts by eye can tell it.

    python -m training.skies --data DIR [--sheets DIR]

Writes DIR/skies/NAME.npz for each of DIR/labels/: 1 sky, 0 none, 2 unknown. Sky is what `geometry.regions.sky.find_sky` finds by the
image and the teacher's disparity, less its rim. Every find in the largest crops was looked at: skies.tsv lists the photographs in which
there is no sky, and those in which something else was taken for it. Apart from the
finds, what is near or lies under something near is labelled 0. --sheets draws the finds.
"""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import torch
from tqdm import tqdm

from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.geometry.levels import FAR_AND_NEAR_END
from depth_normal.geometry.regions.sky import find_sky
from depth_normal.utils import check_images, images_to_rgb

from .data import read_photos, save_npz
from .parts import data_parser

LISTS = Path(__file__).parent / "skies.tsv", Path(__file__).parent / "sky.tsv"
NO, YES, UNKNOWN = 0, 1, 2
RIM = 5  # unlabelled pixels at the border of the detected sky
NEAR = 0.3  # position between the farthest and the nearest disparity above which nothing is sky
TILES = 12, 10  # across and down, per sheet


@cache
def looked_at() -> dict[str, str]:
    """Visual verdicts on the photographs: "no" sky, "wrong" if the sky is elsewhere than detected, or "yes"."""
    seen = {}
    for path in reversed(LISTS):
        with path.open(newline="") as file:
            seen |= {row["id"]: row["sky"] for row in csv.DictReader(file, delimiter="\t")}
    return seen


def found_sky(image: np.ndarray, disparity: np.ndarray) -> np.ndarray:
    """(H, W) bool of a crop."""
    estimate = Estimate(torch.from_numpy(disparity.astype(np.float32))[None, None], Quantity.DISPARITY)
    return find_sky(images_to_rgb(check_images(image)), estimate)[0, 0].numpy()


def sky_label(image: np.ndarray, disparity: np.ndarray, seen: str | None) -> np.ndarray:
    """(H, W) uint8 labels of a crop: 0, 1 and 2; see the module. `seen` is the verdict of `looked_at`."""
    if seen == "no":
        return np.full(disparity.shape, NO, np.uint8)
    far_end, near_end = np.percentile(disparity.astype(np.float32), FAR_AND_NEAR_END)
    near = disparity > far_end + NEAR * (near_end - far_end)
    label = np.where(np.cumsum(near, 0) > RIM, NO, UNKNOWN).astype(np.uint8)
    if seen != "wrong" and (found := found_sky(image, disparity)).any():
        kernel = np.ones((2 * RIM + 1,) * 2, np.uint8)
        label[cv2.dilate(found.astype(np.uint8), kernel).astype(bool)] = UNKNOWN
        inner = cv2.erode(found.astype(np.uint8), kernel, borderValue=[1.0]).astype(bool)
        label[inner & (np.cumsum(~found, 0) == 0)] = YES
    return label


def draw_sheets(data: Path, folder: Path) -> None:
    """Writes contact sheets of the largest crops with detected sky, marked in red, and their names."""
    folder.mkdir(parents=True, exist_ok=True)
    tiles, names = [], []
    for photo in read_photos(split="train"):
        path = data / "labels" / f"{photo.id}_0.npz"
        if not path.exists() or looked_at().get(photo.id) == "no":
            continue
        with np.load(path) as arrays:
            image, label = arrays["rgb"], sky_label(arrays["rgb"], arrays["disparity"], looked_at().get(photo.id))
        if (label == YES).mean() < 0.005:
            continue
        image = np.where((label == YES)[..., None], image // 2 + np.array([127, 0, 0], np.uint8), image)
        tile = np.ascontiguousarray(cv2.resize(image, (120, 90), interpolation=cv2.INTER_AREA))
        cv2.putText(tile, str(len(tiles) % (TILES[0] * TILES[1])), (2, 86), cv2.FONT_HERSHEY_PLAIN, 0.9, (255, 255, 0), 1)
        tiles.append(tile)
        names.append(photo.id)
    count = TILES[0] * TILES[1]
    for start in range(0, len(tiles), count):
        part = tiles[start : start + count]
        part += [np.zeros_like(part[0])] * (-len(part) % TILES[0])
        sheet = np.concatenate([np.concatenate(part[i : i + TILES[0]], 1) for i in range(0, len(part), TILES[0])])
        cv2.imwrite(str(folder / f"{start // count}.png"), sheet[..., ::-1])
        (folder / f"{start // count}.txt").write_text("\n".join(names[start : start + count]))


def main() -> None:
    """See the module."""
    parser = data_parser(__doc__)
    parser.add_argument("--sheets", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.sheets:
        draw_sheets(arguments.data, arguments.sheets)
        return
    (arguments.data / "skies").mkdir(exist_ok=True)
    seen = looked_at()
    for path in tqdm(sorted((arguments.data / "labels").glob("*.npz")), desc="skies"):
        target = arguments.data / "skies" / path.name
        if not target.exists():
            with np.load(path) as arrays:
                verdict = seen.get(path.stem.split("_")[0])
                if verdict and "_mixed" in path.stem:
                    verdict = "wrong"  # the pasted foreground's photograph has no verdict of its own
                save_npz(target, sky=sky_label(arrays["rgb"], arrays["disparity"], verdict))


if __name__ == "__main__":
    main()
