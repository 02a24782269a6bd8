"""The second view of stereo pairs, from the first and its depth: how near it comes to what the second camera saw.

    python benchmarks/stereo.py DIR [--against CHECKOUT] [--pictures OUT]

DIR: pairs that `stereo_scenes.py` rendered. The pair "motorcycle" of scikit-image (Middlebury 2014, with measured disparity) comes along
where that is installed. Each image is taken with its true depth, and with depth as a network gives it: soft edges that lie a pixel or
two beside those of the image.

PSNR (dB) and SSIM of the whole view, and PSNR of the part alone that only the second camera sees. Beside ours: the image read back
through its own depth with `grid_sample`, and, with --against, the renderer of another checkout of the pack.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

Way = Callable[["Pair", Tensor], Tensor]
SOFTNESS, SHIFT = 2.0, 1.5


class Pair(NamedTuple):
    """Two images (1, 3, H, W), the first one's depth (1, 1, H, W), its camera, the way to the second, and what only that sees."""

    name: str
    left: Tensor
    right: Tensor
    depth: Tensor
    intrinsics: Tensor
    baseline: float
    uncovered: Tensor
    judged: Tensor


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--against", type=Path, metavar="CHECKOUT", help="root of another version of the pack")
    parser.add_argument("--pictures", type=Path, metavar="OUT", help="folder for the views as images")
    arguments = parser.parse_args()
    ways: dict[str, Way] = {"grid_sample": plain}
    if arguments.against:
        ways["against"] = renderer(pack_at(arguments.against))
    ways["ours"] = renderer(importlib.import_module("depth_normal"))
    pairs = [*rendered_pairs(arguments.folder), *motorcycle()]
    if not pairs:
        parser.error(f"no .npz in {arguments.folder}; render some with stereo_scenes.py")
    for kind, depth_of in (("true depth", lambda pair: pair.depth), ("soft depth", softened)):
        print(f"{kind:14}" + "".join(f"{name:>30}" for name in ways))
        print(f"{'':14}" + "".join(f"{'PSNR':>10}{'SSIM':>8}{'uncovered':>12}" for _ in ways))
        sums = np.zeros((len(ways), 3))
        for pair in pairs:
            depth = depth_of(pair)
            views = [way(pair, depth) for way in ways.values()]
            rows = np.array([score(view, pair) for view in views])
            sums += rows
            print(line(pair.name, rows), flush=True)
            if arguments.pictures:
                write_images(arguments.pictures / f"{pair.name}_{kind[:4]}.png", pair, views)
        print(line("mean", sums / len(pairs)) + "\n")


def plain(pair: Pair, depth: Tensor) -> Tensor:
    """The left image read where its own depth says, as if the right image had the same depth."""
    _, _, height, width = depth.shape
    columns, rows = torch.arange(width) + pair.intrinsics[0, 0, 0] * pair.baseline / depth[0, 0], torch.arange(height).view(-1, 1)
    grid = torch.stack((columns / (width - 1) * 2 - 1, (rows / (height - 1) * 2 - 1).expand(height, width)), -1)
    return F.grid_sample(pair.left, grid[None], padding_mode="reflection", align_corners=True)


def renderer(pack: ModuleType) -> Way:
    """The layered renderer of a version of the pack, as its node uses it."""
    edges, parallax = (importlib.import_module(f"{pack.__name__}.geometry.{name}") for name in ("edges.depth_edges", "views.parallax"))

    def way(pair: Pair, depth: Tensor) -> Tensor:
        if hasattr(edges, "depth_at_image_edges"):
            stepped = edges.depth_at_image_edges(depth, pair.left)
        else:
            radius = max(1, round(max(depth.shape[-2:]) / 100))
            stepped = edges.sharpen_depth_edges(depth, radius, growth=max(1, radius // 3))
        return next(parallax.parallax_frames(pair.left, stepped, pair.intrinsics, torch.tensor([[pair.baseline, 0.0, 0.0]])))

    return way


def pack_at(root: Path) -> ModuleType:
    """Another version of the pack under a name of its own."""
    spec = importlib.util.spec_from_file_location("other_depth_normal", root / "__init__.py", submodule_search_locations=[str(root)])
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def rendered_pairs(folder: Path) -> Iterator[Pair]:
    """What `stereo_scenes.py` wrote."""
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as file:
            images = [torch.from_numpy(file[name]).permute(2, 0, 1)[None] / 255 for name in ("left", "right")]
            depth, other = (torch.from_numpy(file[f"depth_{name}"])[None, None] for name in ("left", "right"))
            intrinsics, baseline = torch.from_numpy(file["intrinsics"])[None], float(file["baseline"])
        shift = float(intrinsics[0, 0, 0]) * baseline
        yield Pair(path.stem, *images, depth, intrinsics, baseline, only_seen_by_the_other(depth, other, shift), torch.ones_like(depth) > 0)


def motorcycle() -> Iterator[Pair]:
    """The real pair of scikit-image at half size; the right view's own depth is not known, so what is hidden follows from the left's."""
    try:
        from skimage.data import stereo_motorcycle
    except ImportError:
        return
    left, right, disparity = stereo_motorcycle()
    known = torch.from_numpy(np.isfinite(disparity) & (disparity > 0))[None, None]
    # f, baseline and the offset of the disparity: calib.txt of the data set.
    values = torch.from_numpy(np.where(known[0, 0], disparity, np.nan)).float()[None, None]
    values = torch.where(known, values, float(np.nanpercentile(disparity[known[0, 0].numpy()], 5)))
    images = [torch.from_numpy(np.ascontiguousarray(each)).permute(2, 0, 1)[None].float() / 255 for each in (left, right)]
    intrinsics = torch.tensor([[[994.978, 0, 311.193], [0, 994.978, 254.877], [0, 0, 1]]])
    depth = 994.978 / values
    landed = torch.zeros_like(values)
    target = (torch.arange(values.shape[-1]) - values).round().long().clamp(0, values.shape[-1] - 1)
    landed.scatter_(3, target, 1.0)
    seen = F.max_pool2d(landed, 3, 1, 1) > 0
    yield Pair("motorcycle", *images, depth, intrinsics, 1.0, ~seen, torch.ones_like(seen))


def only_seen_by_the_other(depth: Tensor, other: Tensor, shift: float) -> Tensor:
    """Where the other camera sees what is hidden from the first, or beside its image: (1, 1, H, W) bool in the other's image."""
    width = depth.shape[-1]
    column = torch.arange(width) + shift / other
    nearest = depth.gather(3, column.round().long().clamp(0, width - 1))
    return (nearest < other * 0.97) | (column > width - 0.5)


def softened(pair: Pair) -> Tensor:
    """Depth whose inverse is smoothed, and displaced by a smooth field of a pixel or two."""
    height, width = pair.depth.shape[-2:]
    noise = torch.rand(1, 2, 6, 10, generator=torch.Generator().manual_seed(0)) * 2 - 1
    moves = F.interpolate(noise, (height, width), mode="bicubic", align_corners=True).permute(0, 2, 3, 1) * SHIFT
    rows, columns = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    grid = torch.stack((columns, rows), -1)[None] + moves * torch.tensor([2 / width, 2 / height])
    reach = round(3 * SOFTNESS)
    weights = torch.exp(-(torch.arange(-reach, reach + 1.0) ** 2) / (2 * SOFTNESS**2))
    inverse = F.grid_sample(1 / pair.depth, grid, padding_mode="border", align_corners=True)
    for axis, sides in ((2, (0, 0, reach, reach)), (3, (reach, reach, 0, 0))):
        shape = [1, 1, 1, 1]
        shape[axis] = 2 * reach + 1
        inverse = F.conv2d(F.pad(inverse, sides, mode="replicate"), (weights / weights.sum()).view(shape))
    return 1 / inverse


def score(view: Tensor, pair: Pair) -> tuple[float, float, float]:
    """PSNR, SSIM, and PSNR of what only the second camera sees."""
    from skimage.metrics import structural_similarity

    error = (view - pair.right).square().mean(1, keepdim=True)
    similar = structural_similarity(view[0].numpy(), pair.right[0].numpy(), channel_axis=0, data_range=1.0)
    return psnr(error), float(similar), psnr(error[pair.uncovered])


def psnr(error: Tensor) -> float:
    """Of squared errors."""
    return float(-10 * error.mean().log10())


def line(name: str, rows: np.ndarray) -> str:
    """One line of the table."""
    return f"{name:14}" + "".join(f"{whole:10.2f}{similar:8.4f}{hidden:12.2f}" for whole, similar, hidden in rows)


def write_images(path: Path, pair: Pair, views: list[Tensor]) -> None:
    """The true second view, then what each way made of the first."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    sheet = torch.cat([pair.right, *views], 2)[0].clamp(0, 1).permute(1, 2, 0)
    Image.fromarray((sheet * 255).round().byte().numpy()).save(path)


if __name__ == "__main__":
    main()
