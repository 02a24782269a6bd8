"""Packs photographs for `training.sharp`, labelled by tiny in tiles, with `refine_geometry`.

    python -m training.sharp_photos --data DATA --output FILE.npz [--count 300] [--part 0/2]

They teach the head what photographs look like; where edges are is taught by scenes. Needs the packages that `training.data` has fetched.
"""

from __future__ import annotations

import logging
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch

from depth_normal import load_model
from depth_normal.geometry.edges.refine import refine_geometry

from .data import Photo, package_files, read_photos, seeded
from .parts import data_parser, part

SHORT, LONG = 480, 640
LEVELS = 511

logger = logging.getLogger(__name__)


def originals(data: Path, photos: Sequence[Photo]) -> Iterator[np.ndarray]:
    """Images (480, 640, 3), (640, 480, 3) or with a shorter long side, BGR, of large enough photographs; at most four a package."""
    packages: dict[Path, set[str]] = defaultdict(set)
    for photo in photos:
        folder = data / "packages" / f"{photo.registry}-{photo.package.replace('/', '+')}-{photo.version.replace(':', '%3a')}"
        if folder.exists():
            packages[folder].add(photo.file)
    for folder, wanted in packages.items():
        taken = 0
        for name, content in package_files(next(folder.iterdir())):
            if name not in wanted or taken >= 4:
                continue
            image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
            if image is None or min(image.shape[:2]) < SHORT:
                continue
            taken += 1
            scale = SHORT / min(image.shape[:2])
            image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            long = min(LONG, max(image.shape[:2]))
            y, x = ((side - min(side, long)) // 2 for side in image.shape[:2])
            yield image[y : y + long, x : x + long]


def main() -> None:
    """See the module."""
    parser = data_parser(__doc__)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--part", type=part, default="0/1")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    photos = [photo for photo in read_photos(arguments.data) if photo.split == "train"]
    seeded("sharp").shuffle(photos)  # pyright: ignore[reportArgumentType]
    model = load_model("tiny", device="cpu")
    packed: dict[str, np.ndarray] = {}
    for count, image in enumerate(originals(arguments.data, arguments.part.of(photos)), 1):
        pixels = torch.from_numpy(image[..., ::-1].astype(np.float32) / 255).permute(2, 0, 1)[None]
        estimate = refine_geometry(model.estimate(pixels, tiles="auto", refine=False), pixels)
        assert estimate.depth is not None
        depth = estimate.depth[0, 0].numpy()
        low, high = np.quantile(depth, (0.001, 0.999))
        label = np.rint(np.clip((depth - low) / max(high - low, 1e-6), 0, 1) * LEVELS).astype(np.uint16)
        packed[f"image{count - 1}"] = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 80])[1]
        packed[f"label{count - 1}"] = cv2.imencode(".png", label, [cv2.IMWRITE_PNG_COMPRESSION, 9])[1]
        if count % 20 == 0 or count == arguments.count:
            np.savez(arguments.output, **packed, count=np.array(count))  # pyright: ignore[reportArgumentType]
            logger.info("%d, %d bytes", count, arguments.output.stat().st_size)
        if count >= arguments.count:
            break


if __name__ == "__main__":
    main()
