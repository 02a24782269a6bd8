"""The second view of known pairs, from the first and its depth: how near it comes to what the second camera saw.

    python benchmarks/stereo.py [DIR] [--seeds 1 2] [--width 480] [--blur SIGMA] [--sharpen AMOUNT] [--shift PIXELS] [--softness SIGMA]
        [--raised FACTOR] [--pictures OUT]

Ray-traced scenes (`traced_views.py`) for three moves: to the right (stereo), to the right and down, and forward (parallax). Add DIR, pairs
that `stereo_scenes.py` rendered with Blender. The pair "motorcycle" of scikit-image (Middlebury 2014, with measured disparity) comes along
where that is installed. Each image is taken with its true depth, and with depth as a network gives it: soft edges that lie a pixel or
two beside those of the image.

--blur: silhouettes in traced and rendered images are one pixel wide, in photographs wider. Both views are blurred as by a lens, in linear
light, with a Gaussian of SIGMA pixels. "motorcycle" is a photograph and stays as it is.

--sharpen: cameras and editors leave a dark or bright fringe around things. Both views are sharpened by an unsharp mask of this amount,
after the lens, and go through a JPEG file. Scenes of people before a room that is out of focus come along: fringes show most on smooth
ground.

--shift: how far the soft depth's edges lie beside those of the image, at most.

--softness: the deviation in pixels of the soft depth's blur.

--raised: networks' maps often rise along silhouettes. In the depth that is given, rims of things are nearer by this factor, and the moves
are larger: a step between a rim and its thing opens, and what lies far behind both must not show there.

PSNR (dB) and SSIM of the whole view; PSNR of the part alone that only the second camera sees, of the pixels beside silhouettes that both
see, of all within 6 pixels of a silhouette ("rims", where doubled rims and halos are), and of what the first image shows within 6 pixels
of a silhouette and the second one farther away ("ghosts", where contours of the thing stay behind). Beside ours: the image read back
through its own depth with `grid_sample`.
"""

from __future__ import annotations

import argparse
import io
import math
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
import traced_views
from torch import Tensor

from depth_normal.geometry.edges.depth_edges import depth_at_image_edges
from depth_normal.geometry.images.srgb import linear_to_srgb, srgb_to_linear
from depth_normal.geometry.views.parallax import parallax_frames

Way = Callable[["Pair", Tensor], Tensor]
# standard deviation in pixels of soft depth's blur, and the displacement of its edges
SOFTNESS, SHIFT = 2.0, 1.5
# the unsharp mask's blur in pixels, and the JPEG quality
MASK, QUALITY = 1.5, 85
# metres to the right, down and forward
MOVES = {"right": (0.16, 0.0, 0.0), "orbit": (0.08, 0.1, 0.0), "dolly": (0.03, -0.05, 0.3)}
# The same for raised rims, and the background's distance relative to theirs.
LARGER_MOVES, BEHIND = {"right": (0.4, 0.0, 0.0), "orbit": (0.25, 0.25, 0.0)}, 1.3
# silhouettes extend this many pixels to each side of a depth edge
BESIDE = 3
# width of rims
RIM = 6


class Pair(NamedTuple):
    """Two images (1, 3, H, W), the first one's depth (1, 1, H, W) and camera, and the second camera's position.

    Then masks: visible to the second camera only, beside silhouettes and visible to both, all beside silhouettes, beside the first view's
    silhouettes but no longer in the second.
    """

    name: str
    left: Tensor
    right: Tensor
    depth: Tensor
    intrinsics: Tensor
    position: tuple[float, float, float]
    uncovered: Tensor
    silhouettes: Tensor
    rims: Tensor
    left_behind: Tensor


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, metavar="DIR")
    parser.add_argument("--seeds", type=int, nargs="*", default=[1, 2], help="of the ray-traced scenes (default: 1 2)")
    parser.add_argument("--width", type=int, default=480, help="pixels of the ray-traced images (default: %(default)s)")
    parser.add_argument("--blur", type=float, default=0, metavar="SIGMA", help="of a lens, in pixels (default: none)")
    parser.add_argument("--sharpen", type=float, default=0, metavar="AMOUNT", help="of an unsharp mask (default: none)")
    parser.add_argument("--shift", type=float, default=SHIFT, metavar="PIXELS", help="of the soft depth's edges (default: %(default)s)")
    parser.add_argument("--softness", type=float, default=SOFTNESS, metavar="SIGMA", help="of the soft depth (default: %(default)s)")
    parser.add_argument("--raised", type=float, default=1, metavar="FACTOR", help="by which rims are nearer (default: %(default)s)")
    parser.add_argument("--pictures", type=Path, metavar="OUT", help="folder for the views as images")
    arguments = parser.parse_args()
    if not 0 <= arguments.blur < math.inf:
        parser.error(f"--blur is {arguments.blur:g}; expected 0 or more pixels")
    if not (0 <= arguments.sharpen < math.inf and 0 <= arguments.shift < math.inf):
        parser.error(f"--sharpen is {arguments.sharpen:g} and --shift {arguments.shift:g}; expected 0 or more")
    if not 0 < arguments.softness < math.inf:
        parser.error(f"--softness is {arguments.softness:g}; expected more than 0 pixels")
    if not 1 <= arguments.raised < math.inf:
        parser.error(f"--raised is {arguments.raised:g}; expected 1 or more")
    ways: dict[str, Way] = {"grid_sample": plain, "ours": layered}
    scenes = {**traced_views.SCENES, "heads": traced_views.heads} if arguments.sharpen else traced_views.SCENES
    known = list(traced_pairs(scenes, arguments.seeds, arguments.width, LARGER_MOVES if arguments.raised > 1 else MOVES))
    if arguments.folder:
        rendered = list(rendered_pairs(arguments.folder))
        if not rendered:
            parser.error(f"no .npz in {arguments.folder}; render some with stereo_scenes.py")
        known += rendered
    if arguments.blur > 0:
        known = [through_lens(pair, arguments.blur) for pair in known]
    if arguments.sharpen > 0:
        known = [sharpened(pair, arguments.sharpen) for pair in known]
    pairs = [*known, *motorcycle()]
    if not pairs:
        parser.error("nothing to measure: no seeds, no DIR, and scikit-image is not installed")
    soft = partial(softened, shift=arguments.shift, softness=arguments.softness)
    for kind, depth_of in (("true depth", lambda pair: pair.depth), ("soft depth", soft)):
        print(f"{kind:15}" + "".join(f"{name:>58}" for name in ways))
        print(f"{'':15}" + "".join(f"{'PSNR':>10}{'SSIM':>8}{'uncovered':>12}{'silhouettes':>13}{'rims':>7}{'ghosts':>8}" for _ in ways))
        tables = []
        for pair in pairs:
            depth = with_raised_rims(depth_of(pair), arguments.raised)
            views = [way(pair, depth) for way in ways.values()]
            rows = np.array([score(view, pair) for view in views])
            tables.append(rows)
            print(line(pair.name, rows), flush=True)
            if arguments.pictures:
                write_images(arguments.pictures / f"{pair.name.replace(' ', '_')}_{kind[:4]}.png", pair, views)
        print(line("mean", np.nanmean(tables, 0)) + "\n")


def plain(pair: Pair, depth: Tensor) -> Tensor:
    """Warps the first image by its own depth, as if the second view had the same."""
    _, _, height, width = depth.shape
    columns, rows, _ = seen_from_first(depth, pair.intrinsics, pair.position)
    grid = torch.stack((columns / (width - 1) * 2 - 1, rows / (height - 1) * 2 - 1), -1)
    return F.grid_sample(pair.left, grid[None], padding_mode="reflection", align_corners=True)


def layered(pair: Pair, depth: Tensor) -> Tensor:
    """The layered renderer, as in its node."""
    stepped = depth_at_image_edges(depth, pair.left)
    return next(parallax_frames(pair.left, stepped, pair.intrinsics, torch.tensor([pair.position])))


def traced_pairs(
    scenes: dict[str, Callable[[np.random.Generator], list[traced_views.Thing]]],
    seeds: list[int],
    width: int,
    moves: dict[str, tuple[float, float, float]] = MOVES,
) -> Iterator[Pair]:
    """Ray-traced scenes and camera moves."""
    height = round(width * 9 / 16)
    camera = torch.from_numpy(traced_views.intrinsics(width, height))[None]
    for name, make in scenes.items():
        for seed in seeds:
            things = make(np.random.default_rng(seed))
            image, depth = as_maps(*traced_views.render(things, np.zeros(3), width, height))
            for move, position in moves.items():
                second = as_maps(*traced_views.render(things, np.array(position), width, height))
                yield pair_of(f"{name}_{seed} {move}", image, second[0], depth, second[1], camera, position)


def as_maps(image: np.ndarray, depth: np.ndarray) -> tuple[Tensor, Tensor]:
    """(1, 3, H, W) and (1, 1, H, W)."""
    return torch.from_numpy(image).permute(2, 0, 1)[None].contiguous(), torch.from_numpy(depth)[None, None]


def pair_of(
    name: str, left: Tensor, right: Tensor, depth: Tensor, other: Tensor, intrinsics: Tensor, position: tuple[float, float, float]
) -> Pair:
    """A pair with both depths known."""
    uncovered = only_seen_by_the_other(depth, other, intrinsics, position)
    silhouettes = near_silhouettes(other, BESIDE) & ~uncovered
    rims = near_silhouettes(other, RIM)
    column, row, _ = seen_from_first(other, intrinsics, position)
    height, width = depth.shape[-2:]
    before = near_silhouettes(depth, RIM)[0, 0, row.round().long().clamp(0, height - 1), column.round().long().clamp(0, width - 1)]
    left_behind = before & ~uncovered & ~rims
    return Pair(name, left, right, depth, intrinsics, position, uncovered, silhouettes, rims, left_behind)


def near_silhouettes(depth: Tensor, radius: int) -> Tensor:
    """Pixels at most `radius` from a depth step: (1, 1, H, W) bool."""
    nearest, farthest = (F.max_pool2d(values, 2 * radius + 1, 1, radius) for values in (1 / depth, -1 / depth))
    return -farthest * 1.05 < nearest


def rendered_pairs(folder: Path) -> Iterator[Pair]:
    """Reads the files of `stereo_scenes.py`."""
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as file:
            images = [torch.from_numpy(file[name]).permute(2, 0, 1)[None] / 255 for name in ("left", "right")]
            depth, other = (torch.from_numpy(file[f"depth_{name}"])[None, None] for name in ("left", "right"))
            intrinsics, baseline = torch.from_numpy(file["intrinsics"])[None], float(file["baseline"])
        yield pair_of(path.stem, *images, depth, other, intrinsics, (baseline, 0.0, 0.0))


def through_lens(pair: Pair, sigma: float) -> Pair:
    """Blurs both images in linear light."""
    left, right = (linear_to_srgb(blurred(srgb_to_linear(image), sigma)) for image in (pair.left, pair.right))
    return pair._replace(left=left, right=right)


def sharpened(pair: Pair, amount: float) -> Pair:
    """Sharpens both encoded images and passes them through JPEG."""
    return pair._replace(left=through_jpeg(unsharp(pair.left, amount)), right=through_jpeg(unsharp(pair.right, amount)))


def unsharp(image: Tensor, amount: float) -> Tensor:
    """Adds a multiple of the image's difference from a blurred one."""
    return (image + amount * (image - blurred(image, MASK))).clamp(0, 1)


def through_jpeg(image: Tensor) -> Tensor:
    """Round-trips the image (1, 3, H, W) through JPEG."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray((image[0].permute(1, 2, 0) * 255).round().byte().numpy()).save(file, "JPEG", quality=QUALITY)
    return torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1)[None].float() / 255


def blurred(values: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of maps (1, C, H, W)."""
    reach = math.ceil(3 * sigma)
    weights = torch.exp(-(torch.arange(-reach, reach + 1.0) ** 2) / (2 * sigma**2))
    values = F.pad(values.transpose(0, 1), (reach, reach, reach, reach), mode="replicate")
    for shape in ((1, 1, -1, 1), (1, 1, 1, -1)):
        values = F.conv2d(values, (weights / weights.sum()).view(shape))
    return values.transpose(0, 1)


def motorcycle() -> Iterator[Pair]:
    """scikit-image's real pair at half size; the right view's depth is unknown, so hidden regions follow from the left's."""
    try:
        from skimage.data import stereo_motorcycle
    except ImportError:
        return
    left, right, disparity = stereo_motorcycle()
    known = torch.from_numpy(np.isfinite(disparity) & (disparity > 0))[None, None]
    # f, baseline and disparity offset from the data set's calib.txt
    values = torch.from_numpy(np.where(known[0, 0], disparity, np.nan)).float()[None, None]
    values = torch.where(known, values, float(np.nanpercentile(disparity[known[0, 0].numpy()], 5)))
    images = [torch.from_numpy(np.ascontiguousarray(each)).permute(2, 0, 1)[None].float() / 255 for each in (left, right)]
    intrinsics = torch.tensor([[[994.978, 0, 311.193], [0, 994.978, 254.877], [0, 0, 1]]])
    depth = 994.978 / values
    landed = torch.zeros_like(values)
    target = (torch.arange(values.shape[-1]) - values).round().long().clamp(0, values.shape[-1] - 1)
    landed.scatter_(3, target, 1.0)
    seen = F.max_pool2d(landed, 3, 1, 1) > 0
    yield Pair("motorcycle", *images, depth, intrinsics, (1.0, 0.0, 0.0), ~seen, *(torch.zeros_like(seen),) * 3)


def only_seen_by_the_other(depth: Tensor, other: Tensor, intrinsics: Tensor, position: tuple[float, float, float]) -> Tensor:
    """What only the other camera sees, hidden from the first or outside its image: (1, 1, H, W) bool in the other's image."""
    height, width = depth.shape[-2:]
    column, row, distance = seen_from_first(other, intrinsics, position)
    nearest = depth[0, 0, row.round().long().clamp(0, height - 1), column.round().long().clamp(0, width - 1)]
    outside = (column < -0.5) | (column > width - 0.5) | (row < -0.5) | (row > height - 0.5)
    return ((nearest < distance * 0.97) | outside)[None, None]


def seen_from_first(depth: Tensor, intrinsics: Tensor, position: tuple[float, float, float]) -> tuple[Tensor, Tensor, Tensor]:
    """Column, row and depth (H, W) in the first image of the second camera's view at `depth`."""
    height, width = depth.shape[-2:]
    (focal_x, _, centre_x), (_, focal_y, centre_y), _ = intrinsics[0].tolist()
    rows, columns = torch.meshgrid(torch.arange(float(height)), torch.arange(float(width)), indexing="ij")
    right, down, forward = position
    distance = depth[0, 0] + forward
    column = ((columns - centre_x) * depth[0, 0] + focal_x * right) / distance + centre_x
    row = ((rows - centre_y) * depth[0, 0] + focal_y * down) / distance + centre_y
    return column, row, distance


def softened(pair: Pair, shift: float, softness: float) -> Tensor:
    """Depth with blurred, wavering inverse."""
    return 1 / wavering(1 / pair.depth, shift, softness)


def wavering(values: Tensor, shift: float, softness: float = SOFTNESS) -> Tensor:
    """Maps smoothed, and displaced by a smooth field of at most `shift` pixels per axis."""
    height, width = values.shape[-2:]
    noise = torch.rand(1, 2, 6, 10, generator=torch.Generator().manual_seed(0)) * 2 - 1
    moves = F.interpolate(noise, (height, width), mode="bicubic", align_corners=True).permute(0, 2, 3, 1) * shift
    rows, columns = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    grid = torch.stack((columns, rows), -1)[None] + moves * torch.tensor([2 / width, 2 / height])
    return blurred(F.grid_sample(values, grid, padding_mode="border", align_corners=True), softness)


def with_raised_rims(depth: Tensor, factor: float) -> Tensor:
    """Depth whose near objects are nearer by this factor within `RIM` pixels of their silhouettes."""
    farthest = -F.max_pool2d(-1 / depth, 2 * RIM + 1, 1, RIM)
    return torch.where(1 / depth > farthest * BEHIND, depth / factor, depth)


def score(view: Tensor, pair: Pair) -> tuple[float, ...]:
    """PSNR, SSIM, and PSNR of regions visible to the second camera only, silhouettes, rims, and regions beside the first's silhouettes."""
    from skimage.metrics import structural_similarity

    error = (view - pair.right).square().mean(1, keepdim=True)
    similar = structural_similarity(view[0].numpy(), pair.right[0].numpy(), channel_axis=0, data_range=1.0)
    parts = (pair.uncovered, pair.silhouettes, pair.rims, pair.left_behind)
    return psnr(error), float(similar), *(psnr(error[part]) for part in parts)


def psnr(error: Tensor) -> float:
    """PSNR from squared errors."""
    return float(-10 * error.mean().log10())


def line(name: str, rows: np.ndarray) -> str:
    """One line of the table."""
    widths = ("10.2f", "8.4f", "12.2f", "13.2f", "7.2f", "8.2f")
    return f"{name:15}" + "".join(f"{value:{width}}" for row in rows for value, width in zip(row, widths, strict=True))


def write_images(path: Path, pair: Pair, views: list[Tensor]) -> None:
    """Writes the true second view, then each method's."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    sheet = torch.cat([pair.right, *views], 2)[0].clamp(0, 1).permute(1, 2, 0)
    Image.fromarray((sheet * 255).round().byte().numpy()).save(path)


if __name__ == "__main__":
    main()
