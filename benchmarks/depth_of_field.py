"""Depth of field from an image and its depth: how near it comes to what Cycles' lens sees, and how long it takes.

    python benchmarks/depth_of_field.py DIR [--pictures OUT] [--seconds]

DIR: scenes that `depth_of_field_scenes.py` rendered. PSNR (dB) and SSIM against the lens, of the pinhole's image itself; of each pixel
blurred by a Gaussian of its own circle (what most depth blurs do); of Blender's Defocus node on the same view; and of ours, from the true
depth and from depth as a network gives it, with soft edges beside those of the image.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from depth_normal.geometry.effects.depth_of_field import depth_of_field
from depth_normal.geometry.effects.lens import aperture_scale, circle_of_confusion, focused
from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.options.effects import LensOptions

SOFTNESS, SHIFT = 2.0, 1.5
STOPS = 1.0


class View(NamedTuple):
    """A scene at one focus: images (1, 3, H, W), depth (1, 1, H, W), and `settings` as in depth_of_field_scenes.py."""

    name: str
    pinhole: Tensor
    depth: Tensor
    lens: Tensor
    node: Tensor
    settings: list[float]


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--pictures", type=Path, metavar="OUT", help="folder for the results as images")
    parser.add_argument("--seconds", action="store_true", help="how long ours takes at 1920x1080 with one thread, from depth to image")
    arguments = parser.parse_args()
    views = [*rendered(arguments.folder)]
    if not views:
        parser.error(f"no .npz in {arguments.folder}; render some with depth_of_field_scenes.py")
    rows = []
    for view in views:
        results = {
            "pinhole": view.pinhole,
            "Gaussian": gaussian(view),
            "Defocus node": view.node,
            "ours, no lift": ours(view, view.depth, 0.0),
            "ours": ours(view, view.depth, STOPS),
            "ours, soft depth": ours(view, softened(view.depth), STOPS),
        }
        if not rows:
            print(f"{'':22}" + "".join(f"{name:>18}" for name in results))
        rows.append([(psnr(each, view.lens), ssim(each, view.lens)) for each in results.values()])
        print(line(view.name, rows[-1]), flush=True)
        if arguments.pictures:
            write_images(arguments.pictures / f"{view.name}.png", [view.lens, *results.values()])
    print(line("mean", np.mean(rows, 0)))
    if arguments.seconds:
        print(f"1920x1080, one thread: {seconds(views):.2f} s of processor time (median of the views)")


def ours(view: View, depth: Tensor, stops: float) -> Tensor:
    """The pack's depth of field, as in the node."""
    distance, f_number, focal_length, sensor, blades, rotation = view.settings
    focus = LensOptions(focus=distance, unit="metres", f_number=f_number, focal_length=focal_length, sensor=sensor)
    circle = focused(Estimate(depth, Quantity.METRIC_DEPTH), view.pinhole, focus).circle
    return depth_of_field(view.pinhole, circle, blades=int(blades), rotation=rotation, highlights=stops)


def circles(view: View, depth: Tensor) -> Tensor:
    """Signed circle-of-confusion diameters in pixels."""
    focus, f_number, focal_length, sensor, _, _ = view.settings
    return circle_of_confusion(depth, focus, aperture_scale(focus, f_number, focal_length, sensor, depth.shape[-1]))


def gaussian(view: View) -> Tensor:
    """Per-pixel Gaussian blur as wide as the circle of confusion, blended from images of growing blur."""
    sigma = circles(view, view.depth).abs() / 4
    widths = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0]
    blurred = [_blurred(view.pinhole, width) for width in widths]
    result = blurred[-1]
    for low, high, near, far in reversed([*zip(widths, widths[1:], blurred, blurred[1:], strict=False)]):
        share = ((sigma - low) / (high - low)).clamp(0, 1)
        result = torch.where(sigma < high, torch.lerp(near, far, share), result)
    return result


def softened(depth: Tensor) -> Tensor:
    """Network-like depth: smooth edges, a pixel or two beside the image's."""
    inverse = _blurred(1 / depth, SOFTNESS)
    height, width = depth.shape[-2:]
    rows, columns = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    wave = SHIFT * torch.stack((torch.sin(9 * rows) * 2 / width, torch.sin(9 * columns) * 2 / height), -1)
    grid = torch.stack((columns, rows), -1) + wave
    return 1 / F.grid_sample(inverse, grid[None], padding_mode="border", align_corners=True)


def _blurred(values: Tensor, sigma: float) -> Tensor:
    if sigma == 0:
        return values
    reach = math.ceil(3 * sigma)
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
    kernel = (kernel / kernel.sum()).expand(values.shape[1], 1, 1, -1)
    for axis, sides in ((3, (reach, reach, 0, 0)), (2, (0, 0, reach, reach))):
        weight = kernel if axis == 3 else kernel.mT
        values = F.conv2d(F.pad(values, sides, mode="replicate"), weight, groups=values.shape[1])
    return values


def rendered(folder: Path) -> Iterator[View]:
    """Reads the files of `depth_of_field_scenes.py`."""
    for path in sorted(folder.glob("*.npz")):
        scene = np.load(path)
        depth = torch.from_numpy(scene["depth"]).float()[None, None]
        depth = torch.where(depth > 0, depth, depth.amax())
        images = {name: torch.from_numpy(scene[name]).movedim(-1, 0)[None] / 255 for name in scene.files if scene[name].ndim == 3}
        for i in range(sum(name.startswith("lens_") for name in images)):
            settings = scene[f"settings_{i}"].tolist()
            yield View(f"{path.stem} {settings[0]:g} m", images["pinhole"], depth, images[f"lens_{i}"], images[f"node_{i}"], settings)


def psnr(found: Tensor, truth: Tensor) -> float:
    """In decibels, for values in [0, 1]."""
    return float(-10 * torch.log10((found - truth).square().mean()))


def ssim(found: Tensor, truth: Tensor) -> float:
    """Structural similarity with the authors' Gaussian window (Wang et al. 2004)."""
    mean_a, mean_b = _blurred(found, 1.5), _blurred(truth, 1.5)
    var_a, var_b = _blurred(found * found, 1.5) - mean_a**2, _blurred(truth * truth, 1.5) - mean_b**2
    both = _blurred(found * truth, 1.5) - mean_a * mean_b
    similar = (2 * mean_a * mean_b + 1e-4) * (2 * both + 9e-4) / ((mean_a**2 + mean_b**2 + 1e-4) * (var_a + var_b + 9e-4))
    return float(similar.mean())


def seconds(views: list[View]) -> float:
    """The median time over the views, enlarged to 1920x1080, one run each."""
    torch.set_num_threads(1)
    times = []
    for view in views:
        big = {name: F.interpolate(getattr(view, name), (1080, 1920), mode="nearest-exact") for name in ("pinhole", "depth")}
        enlarged = view._replace(**big)
        start = time.process_time()
        ours(enlarged, enlarged.depth, STOPS)
        times.append(time.process_time() - start)
    return statistics.median(times)


def line(name: str, row: object) -> str:
    """Formats a line of the table."""
    return f"{name:22}" + "".join(f"{decibels:11.2f}{similar:7.3f}" for decibels, similar in np.asarray(row))


def write_images(path: Path, images: list[Tensor]) -> None:
    """Stacks the lens's image and the others vertically."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((torch.cat(images, 2)[0].clamp(0, 1) * 255).round().byte().movedim(0, -1).numpy()).save(path)


if __name__ == "__main__":
    main()
