"""Saves the features of the teacher's encoder for every crop and render: training makes the network predict them too.

    python -m training.features --data DIR --weights DIR [--part 0/1]

Reads DIR/labels/ and DIR/renders/, writes one .npz each to DIR/features/: the features of MiDaS's encoder at 1/16 and 1/32 of its input,
each along its main axes, which are found once (DIR/features/axes.npz). Existing files are not made again. Optional:
training learns from features where they are.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from .data import FEATURES, read_npz, save_npz
from .parts import data_parser, part
from .teacher import MIDAS_FILE, SIZES, load_midas, midas_pixels

SEEN = 200  # number of crops for the principal axes


class Encoder:
    """MiDaS v2.1 small's encoder."""

    def __init__(self, weights: Path) -> None:
        self.layers = [load_midas(weights / MIDAS_FILE).pretrained.get_submodule(f"layer{level}") for level in (1, 2, 3, 4)]

    @torch.inference_mode()
    def __call__(self, image: np.ndarray) -> tuple[Tensor, Tensor]:
        """Features (C, h, w) at 1/16 and (D, h / 2, w / 2) at 1/32 of MiDaS's input size, of an image (H, W, 3) uint8 RGB."""
        height, width = image.shape[:2]
        values, found = midas_pixels(image, SIZES[0] if width >= height else SIZES[0][::-1]), []
        with torch.autocast("cpu", torch.bfloat16):
            for layer in self.layers:
                values = layer(values)
                found.append(values.float()[0])
        return found[2], found[3]


def main_axes(samples: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean (C,) and principal axes (C, count) of samples (N, C), scaled to a mean square of 1 over all of them."""
    mean = samples.mean(0)
    values, vectors = np.linalg.eigh(np.cov(samples - mean, rowvar=False))
    chosen = np.argsort(values)[::-1][:count]
    return mean, vectors[:, chosen] / values[chosen].mean() ** 0.5


def find_axes(encoder: Encoder, paths: list[Path]) -> dict[str, np.ndarray]:
    """Mean and principal axes of each layer, from some of the crops."""
    seen: dict[str, list[np.ndarray]] = {name: [] for name in FEATURES}
    for path in tqdm(paths[:: max(1, len(paths) // SEEN)], desc="axes"):
        for name, values in zip(FEATURES, encoder(read_npz(path)["rgb"]), strict=True):
            seen[name].append(values.flatten(1).T.numpy())
    found = {}
    for name, samples in seen.items():
        found[f"{name}_mean"], found[f"{name}_axes"] = main_axes(np.concatenate(samples).astype(np.float64), FEATURES[name][1])
    return found


def main() -> None:
    """See the module."""
    parser = data_parser(__doc__)
    parser.add_argument("--weights", type=Path, required=True, help=f"folder with {MIDAS_FILE}")
    parser.add_argument("--part", type=part, default="0/1", help="i/n: only every n-th crop, for several processes")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    paths = [path for folder in ("labels", "renders") for path in sorted((arguments.data / folder).glob("*.npz"))]
    if not paths:
        parser.error(f"{arguments.data} has no labels or renders: run training.teacher or training.scenes first")
    target = arguments.data / "features"
    target.mkdir(exist_ok=True)
    encoder = Encoder(arguments.weights)
    if not (target / "axes.npz").exists():
        save_npz(target / "axes.npz", **find_axes(encoder, paths))
    axes = {name: torch.from_numpy(values).float() for name, values in read_npz(target / "axes.npz").items()}
    for path in tqdm(arguments.part.of(paths), desc="features"):
        if not (target / path.name).exists():
            maps = {
                name: torch.einsum("chw,cd->dhw", values - axes[f"{name}_mean"][:, None, None], axes[f"{name}_axes"])
                for name, values in zip(FEATURES, encoder(read_npz(path)["rgb"]), strict=True)
            }
            save_npz(target / path.name, **{name: values.numpy().astype(np.float16) for name, values in maps.items()})


if __name__ == "__main__":
    main()
