"""Depth edges and normals before and after `refine_geometry`, on scenes with known depth, normals and image, in one run.

    python benchmarks/refine.py [SCENES] [--threads N] [--device cpu|cuda] [--width 1920 --height 1080]

SCENES is a folder of .npz files as in `normals.py`, with `rgb` (H, W, 3) uint8 too. The depth is what a network gives: of a half or a
quarter of the size, blurred or not. "near" is within 3 pixels of jumps, "thin" on things of up to 6 pixels.

- normals: mean degrees to the truth, everywhere, near jumps, and on thin things.
- AbsRel: mean |d - t| / t in percent, and near jumps. Beside the sky a pixel on the wrong side weighs as much as the sky is far.
- off: percent of pixels near jumps whose depth is off by more than 5 %, or lost.
- lost: percent of pixels near jumps that have no depth any more.
- accuracy, completeness: how far in pixels edges found are from true ones, and true ones from those found (to 10), as in iBims-1 (T. Koch
  et al., "Evaluation of CNN-based single-image depth estimation methods", 2018).
- print-through: how depth of a steep plane under a checkerboard changes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from normals import DEFAULT_SCENES, Scene, load_scene_and_image, seconds
from torch import Tensor

from depth_normal.geometry.camera import intrinsics_from_fov, resize_intrinsics
from depth_normal.geometry.edges.depth_edges import EDGE, depth_at_image_edges
from depth_normal.geometry.edges.refine import refine_geometry
from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.geometry.filters.extremes import largest_within
from depth_normal.geometry.surfaces.derive import with_normals
from depth_normal.utils import resize_map

# reduction factor of the source, and its blur's standard deviation in its own pixels
SOURCES = {"1/2": (2, 0.0), "1/4": (4, 0.0), "1/2, blurred": (2, 1.0), "1/4, blurred": (4, 1.0)}
NEAR_JUMP, THIN, FAR_OFF = 3, 3, 10


@dataclass(frozen=True)
class Case:
    """A scene with its image (1, 3, H, W), its jumps (1, 1, H, W), their neighbourhood and thin objects."""

    scene: Scene
    image: Tensor
    jumps: Tensor
    near_jumps: Tensor
    thin: Tensor


def load(path: Path) -> Case:
    """Reads one .npz file."""
    scene, image = load_scene_and_image(path)
    inverse = true_inverse(scene)
    jumps = edges_of(inverse)
    near_jumps = largest_within(jumps.float(), NEAR_JUMP - 1) > 0
    # Removed by an opening: nearer than the surroundings, and at most 2 THIN pixels wide.
    opened = largest_within(-largest_within(-inverse, THIN), THIN)
    return Case(scene, image, jumps, near_jumps & scene.mask, (inverse > opened * EDGE) & scene.mask)


def true_inverse(scene: Scene) -> Tensor:
    """Inverse depth, with the sky four times as far as the farthest object."""
    return 1 / torch.where(scene.mask, scene.depth, scene.depth[scene.mask].max() * 4)


def edges_of(inverse: Tensor) -> Tensor:
    """Pixels beside a jump: neighbours whose depths differ by more than the slope explains."""
    edges = torch.zeros_like(inverse, dtype=torch.bool)
    for axis in (-1, -2):
        length = inverse.shape[axis]
        before, here, there, after = (inverse.narrow(axis, start, length - 3) for start in range(4))
        rise = there - here
        slope = torch.maximum((here - before).abs(), (after - there).abs())
        jump = (rise.abs() > 0.04 * torch.minimum(here, there)) & (rise.abs() > 2.5 * slope)
        edges.narrow(axis, 1, length - 3).logical_or_(jump)
        edges.narrow(axis, 2, length - 3).logical_or_(jump)
    return edges


def as_networks_give(case: Case, source: str) -> Estimate:
    """Depth at reduced size, blurred, with the camera."""
    factor, blur = SOURCES[source]
    small = F.interpolate(true_inverse(case.scene).double(), scale_factor=1 / factor, mode="area")
    if blur:
        taps = torch.exp(-0.5 * (torch.arange(-4, 5, dtype=small.dtype, device=small.device) / blur) ** 2)
        taps = taps / taps.sum()
        small = F.conv2d(F.pad(small, (4, 4, 4, 4), mode="replicate"), taps.view(1, 1, 1, -1))
        small = F.conv2d(small, taps.view(1, 1, -1, 1))
    intrinsics = resize_intrinsics(case.scene.intrinsics, case.image.shape[-2:], small.shape[-2:])
    return Estimate((1 / small).float(), Quantity.METRIC_DEPTH, intrinsics=intrinsics)


def enlarged(case: Case, given: Estimate) -> Estimate:
    """Inverse depth enlarged by bicubic interpolation."""
    assert given.depth is not None
    inverse = 1 / given.depth
    grown = resize_map(inverse, *case.image.shape[-2:], "bicubic").clamp(min=float(inverse.min()) / 4)
    return Estimate(1 / grown, Quantity.METRIC_DEPTH, intrinsics=case.scene.intrinsics)


def before(case: Case, given: Estimate) -> Estimate:
    """Without refinement: normals from depth, both enlarged."""
    return with_normals(given).resized(*case.image.shape[-2:], "bicubic")


def large_first(case: Case, given: Estimate) -> Estimate:
    """Depth enlarged, then normals with soft edges: the half-size case of `normals.py`."""
    return with_normals(enlarged(case, given), edges="soft")


def guided(case: Case, given: Estimate) -> Estimate:
    """Inverse depth as a local linear function of grey. Source: He et al., "Fast guided filter" (2015)."""
    assert given.depth is not None
    small = resize_map(case.image.mean(1, keepdim=True), *given.depth.shape[-2:])
    inverse = 1 / given.depth
    mean, value = _means(small), _means(inverse)
    slope = (_means(small * inverse) - mean * value) / (_means(small * small) - mean * mean + 1e-4)
    fit = resize_map(torch.cat((_means(slope), _means(value - slope * mean)), 1), *case.image.shape[-2:])
    grown = fit[:, :1] * case.image.mean(1, keepdim=True) + fit[:, 1:]
    found = Estimate(1 / grown.clamp(min=float(inverse.min()) / 4), Quantity.METRIC_DEPTH, intrinsics=case.scene.intrinsics)
    return with_normals(found, edges="soft")


def joint_bilateral(case: Case, given: Estimate) -> Estimate:
    """Means over neighbours of similar colour. Source: Kopf et al., "Joint bilateral upsampling" (2007)."""
    assert given.depth is not None
    grown = enlarged(case, given).depth
    assert grown is not None
    radius = 2 * case.image.shape[-1] // given.width
    total, weights = torch.zeros_like(grown), torch.zeros_like(grown)
    padded = F.pad(torch.cat((1 / grown, case.image), 1), (radius,) * 4, mode="replicate")
    for dy in range(2 * radius + 1):
        for dx in range(2 * radius + 1):
            there = padded[..., dy : dy + grown.shape[-2], dx : dx + grown.shape[-1]]
            distance = ((dy - radius) ** 2 + (dx - radius) ** 2) / radius**2
            weight = torch.exp(-2 * distance - (there[:, 1:] - case.image).square().sum(1, keepdim=True) / (2 * 0.1**2))
            total, weights = total + weight * there[:, :1], weights + weight
    return with_normals(Estimate(weights / total, Quantity.METRIC_DEPTH, intrinsics=case.scene.intrinsics), edges="soft")


def sharpened(case: Case, given: Estimate) -> Estimate:
    """Parallax's preprocessing of depth: `depth_at_image_edges`."""
    depth = enlarged(case, given).depth
    assert depth is not None
    sharp = depth_at_image_edges(depth, case.image)
    return with_normals(Estimate(sharp, Quantity.METRIC_DEPTH, intrinsics=case.scene.intrinsics), edges="soft")


def refined(case: Case, given: Estimate) -> Estimate:
    """This pack's refinement, from the network's size."""
    return refine_geometry(given, case.image, derive=with_normals)


def refined_large(case: Case, given: Estimate) -> Estimate:
    """The same for depth that was enlarged before."""
    return refine_geometry(enlarged(case, given), case.image, derive=with_normals)


METHODS: dict[str, Callable[[Case, Estimate], Estimate]] = {
    "before": before,
    "large, then normals": large_first,
    "guided filter": guided,
    "joint bilateral": joint_bilateral,
    "depth_at_image_edges": sharpened,
    "refined, given large": refined_large,
    "refined": refined,
}
COLUMNS = ("normals", "near", "thin", "AbsRel", "near", "off", "lost", "accuracy", "completeness")


def _means(values: Tensor) -> Tensor:
    return F.avg_pool2d(values, 5, 1, 2, count_include_pad=False)


def figures(case: Case, found: Estimate) -> list[float]:
    """A figure for each of COLUMNS."""
    assert found.depth is not None and found.normals is not None and found.depth_valid is not None
    scene, truth = case.scene, true_inverse(case.scene)
    angle, error = angles(found.normals, scene), (found.depth * truth - 1).abs()
    edges = edges_of(1 / found.depth)
    places = (scene.mask, case.near_jumps, case.thin)
    means = [float(angle[place].mean()) for place in places]
    means += [float(error[place].mean()) * 100 for place in places[:2]]
    lost = ~found.depth_valid
    means += [float(wrong[case.near_jumps].float().mean()) * 100 for wrong in ((error > 0.05) | lost, lost)]
    return [*means, _distance(edges, case.jumps), _distance(case.jumps, edges)]


def _distance(ones: Tensor, others: Tensor) -> float:
    """Mean distance in pixels from edges to the nearest other edges, at most FAR_OFF."""
    if not bool(ones.any()):
        return float("nan")
    away = cv2.distanceTransform((~others[0, 0]).cpu().numpy().astype(np.uint8), cv2.DIST_L2, 5)
    return float(np.minimum(away, FAR_OFF)[ones[0, 0].cpu().numpy()].mean())


def angles(normals: Tensor, scene: Scene) -> Tensor:
    """(1, 1, H, W): angles to the true normals in degrees."""
    cross = torch.linalg.vector_norm(torch.linalg.cross(normals, scene.normals, dim=1), dim=1)
    return torch.rad2deg(torch.atan2(cross, (normals * scene.normals).sum(1))).nan_to_num(90.0)[:, None]


def print_through(radius: int) -> tuple[float, float]:
    """For a steep plane under a checkerboard: the largest change of depth, and the changed pixels in percent."""
    v, u = torch.meshgrid(torch.arange(480.0), torch.arange(640.0), indexing="ij")
    inverse = (0.2 + 0.002 * v - 0.0001 * u)[None, None]
    checks = (((u // 9 + v // 9) % 2) * 0.8 + 0.1).expand(1, 3, 480, 640)
    depth = refine_geometry(Estimate(1 / inverse, Quantity.METRIC_DEPTH), checks, radius=radius).depth
    assert depth is not None
    change = (depth * inverse - 1).abs()
    return float(change.max()) * 100, float((change > 1e-4).float().mean()) * 100


def print_times(device: str, height: int, width: int) -> None:
    """Prints the seconds to resize and to refine depth of at most 518 lines, as from networks, to this height and width."""
    rows = min(518, height)
    columns = round(rows * width / height / 14) * 14
    v, u = torch.meshgrid(torch.arange(float(rows)), torch.arange(float(columns)), indexing="ij")
    blobs = torch.sin(u / 40) * torch.sin(v / 30) > 0.3
    depth = torch.where(blobs, 2.0, 4.0 + v / 500)[None, None].to(device)
    image = torch.rand(1, 3, height, width, device=device)
    given = Estimate(depth, Quantity.METRIC_DEPTH, intrinsics=intrinsics_from_fov(60, rows, columns).to(device))
    whole = with_normals(given)

    def run() -> Tensor:
        found = refine_geometry(whole, image).depth
        assert found is not None
        return found

    def plain() -> Tensor:
        found = whole.resized(height, width).depth
        assert found is not None
        return found

    run()
    times = [min(seconds(each, device) for _ in range(3)) for each in (plain, run)]
    print(f"{width}x{height} on {device}, {torch.get_num_threads()} thread(s): resized {times[0]:.2f} s, refined {times[1]:.2f} s")


def main() -> int:
    """Prints all tables; 1 if there are no scenes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenes", nargs="?", type=Path, default=DEFAULT_SCENES)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--width", type=int, default=1920, help="of what is timed (default: %(default)s)")
    parser.add_argument("--height", type=int, default=1080, help="of what is timed (default: %(default)s)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    scenes = [load(path) for path in sorted(arguments.scenes.glob("*.npz"))]
    print(f"{'':14s}{'':24s}" + "".join(f"{name:>13s}" for name in COLUMNS))
    for source in SOURCES if scenes else ():
        for name, method in METHODS.items():
            rows = [figures(each, method(each, as_networks_give(each, source))) for each in scenes]
            print(f"{source:14s}{name:24s}" + "".join(f"{value:13.2f}" for value in np.nanmean(rows, 0)), flush=True)
    for radius in (0, 3, 8):
        largest, changed = print_through(radius)
        print(f"print-through, radius {radius or 'measured'}: depth changes by up to {largest:.3f} %, in {changed:.3f} % of the pixels")
    print_times(arguments.device, arguments.height, arguments.width)
    return 0 if scenes else 1


if __name__ == "__main__":
    sys.exit(main())
