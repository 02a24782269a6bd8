"""Labels the photographs with the mean of earlier networks of this recipe, over mirror images too: it is better than each network.

    python -m training.ensemble --data DIR --models FILE [FILE ...] [--part 0/1]

Writes DIR/ensemble/NAME.npz, disparity and normals, for each of DIR/labels/ of the train split. FILE is an exported file or a run's
best.pt. Existing files are not made again. Optional: training mixes those that exist into the teacher's labels.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from depth_normal.annotators.detail import guided_upsample
from depth_normal.annotators.tiny import GUIDE_EPSILON, GUIDE_RADIUS, TinyAnnotator, sky_of, to_estimate
from depth_normal.geometry.conventions import unit_normals
from depth_normal.utils import resize_image, resize_map

from .data import read_npz, read_photos, save_npz
from .evaluate import load_tiny
from .parts import data_parser, part
from .teacher import normalise

LARGEST = 127  # of a normal's coordinate, as in the renders
BATCH = 16


@torch.inference_mode()
def mean_answers(networks: list[TinyAnnotator], images: Tensor) -> tuple[Tensor, Tensor]:
    """The mean predictions of several networks.

    Args:
        networks: At least one.
        images: (B, 3, H, W) RGB in [0, 1].

    Returns:
        Disparity (B, H, W), median 0 and mean absolute deviation 1; unit normals (B, H, W, 3) in OpenGL axes.
    """
    disparities, normals = [], []
    for network in networks:
        small = resize_image(images, *network.network_size(*images.shape[2:], network.spec.default_size))
        with torch.autocast(images.device.type, torch.bfloat16):
            disparity, vectors, *sky = network.run_network(network.normalised(small))
            estimate = to_estimate(disparity, unit_normals(vectors), *(~sky_of(each, small) for each in sky))
        assert estimate.depth is not None
        assert estimate.normals is not None
        maps = torch.cat((estimate.depth, estimate.normals), 1).float()
        maps = _enlarged(maps, small, images)
        disparities.append(normalise(maps[:, :1]))
        normals.append(maps[:, 1:])
    disparity, mean = torch.stack(disparities).mean(0), unit_normals(torch.stack(normals).mean(0))
    return normalise(disparity)[:, 0], mean.movedim(1, -1)


def _enlarged(maps: Tensor, seen: Tensor, images: Tensor) -> Tensor:
    """Enlarges maps to image size; those of the first version, at half its input size, with edges aligned to the images'."""
    height, width = images.shape[2:]
    if maps.shape[2] < seen.shape[2]:
        return guided_upsample(maps, images.mean(1, keepdim=True), GUIDE_RADIUS, GUIDE_EPSILON)
    return resize_map(maps, height, width)


def batched(paths: list[Path]) -> Iterator[tuple[list[Path], Tensor]]:
    """Batches of files whose images share an orientation, and their images (B, 3, H, W) in [0, 1]."""
    waiting: dict[tuple[int, ...], list[tuple[Path, np.ndarray]]] = defaultdict(list)
    for path in paths:
        image = read_npz(path)["rgb"]
        waiting[image.shape].append((path, image))
        if len(waiting[image.shape]) == BATCH:
            yield _stacked(waiting.pop(image.shape))
    for rest in waiting.values():
        yield _stacked(rest)


def _stacked(some: list[tuple[Path, np.ndarray]]) -> tuple[list[Path], Tensor]:
    return [path for path, _ in some], torch.from_numpy(np.stack([image for _, image in some])).movedim(3, 1).float() / 255


def main() -> None:
    """See the module."""
    parser = data_parser(__doc__)
    parser.add_argument("--models", type=Path, nargs="+", required=True)
    parser.add_argument("--part", type=part, default="0/1", help="i/n: only every n-th crop, for several processes")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    ids = {photo.id for photo in read_photos(split="train")}
    paths = [path for path in sorted((arguments.data / "labels").glob("*.npz")) if path.stem.split("_")[0] in ids]
    if not paths:
        parser.error(f"{arguments.data} has no labels that are learned from: run training.teacher first")
    for path in arguments.models:
        if not path.is_file():
            parser.error(f"{path} is no file: --models are exported files or a run's best.pt")
    try:
        networks = [load_tiny(path, mirrored=True) for path in arguments.models]
    except ValueError as error:
        parser.error(f"--models: {error}")
    target = arguments.data / "ensemble"
    target.mkdir(exist_ok=True)
    paths = [path for path in arguments.part.of(paths) if not (target / path.name).exists()]
    with tqdm(total=len(paths), desc="ensemble") as bar:
        for some, images in batched(paths):
            for path, disparity, normals in zip(some, *mean_answers(networks, images), strict=True):
                save_npz(target / path.name, disparity=disparity.half().numpy(), normals=(LARGEST * normals).round().to(torch.int8).numpy())
            bar.update(len(some))


if __name__ == "__main__":
    main()
