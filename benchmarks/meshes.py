"""Where meshes of depth maps are cut, against scenes whose surfaces are known, by the plain rule and by ours; their time and memory.

    python benchmarks/meshes.py [DIR] [--tiny] [--large]

The plain rule joins neighbours whose depths differ by at most 5 %. Each scene is taken with its true depth, with that depth made smaller
and large again (soft edges, as networks give), and with --tiny also with the bundled network's depth, brought to the truth's scale and
shift. Of each, in percent:

floors       of the pairs of neighbours on one surface whose depths differ by more than 5 %, those that are joined (recall)
surfaces     of all pairs of neighbours on one surface and not beside a silhouette, those that are joined
cut          of the silhouettes, those with a cut within the width of a soft edge; of true depth, exactly there
hanging      of the mesh's points, those that lie more than 5 % off every true depth within a pixel (not of the network)
curtains     not in percent: joined pairs around silhouettes whose depths differ by more than 5 %, per pair across a silhouette
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import torch.nn.functional as F
from normals import DEFAULT_SCENES, load_scene_and_image
from torch import Tensor

from depth_normal.geometry.alignment.scale_shift import fit_scale_shift
from depth_normal.geometry.camera import pixel_rays
from depth_normal.geometry.edges.depth_edges import edge_radius
from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.geometry.files import SaveOptions, save_surface
from depth_normal.geometry.meshes.mesh import MeshOptions
from depth_normal.geometry.meshes.mesh_cuts import Joins, cut_grid
from depth_normal.options.mesh import MAX_POINTS

SCENES = (
    "Each .npz file in the folder is a scene: `rgb` (H, W, 3) uint8; `depth` (H, W) float32, metres along the axis; "
    "`normal` (H, W, 3) int16, OpenGL axes times 32767; `mask` (H, W) bool; `K` = [fx, fy, cx, cy] in pixels"
)
JUMP, ON_PLANE, OFF_PLANE = 0.05, 0.02, 0.05
COLUMNS = ("floors", "surfaces", "cut", "hanging", "curtains")
LARGE = (4000, 6000)
WAYS = (".glb", ".ply", ".stl")

Arrays = dict[str, Tensor]


def main() -> int:
    """Prints the tables; 1 if there are no scenes."""
    parser = argparse.ArgumentParser(description=__doc__, epilog=SCENES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenes", nargs="?", type=Path, default=DEFAULT_SCENES)
    parser.add_argument("--tiny", action="store_true", help="also the bundled network's depth")
    parser.add_argument("--large", action="store_true", help="seconds and memory of 24 megapixels, instead of the scenes")
    parser.add_argument(
        "--one", choices=[f"{suffix}{points}" for suffix in WAYS for points in ("0", str(MAX_POINTS))], help=argparse.SUPPRESS
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.one:
        print(*measure(arguments.one[:4], int(arguments.one[4:])))
        return 0
    if arguments.large:
        print_large()
        return 0
    scenes = {path.stem: load_scene(path) for path in sorted(arguments.scenes.glob("*.npz"))}
    if not scenes:
        print(f"{arguments.scenes} holds no scenes. {SCENES}", file=sys.stderr)
        return 1
    conditions: dict[str, Callable[[Arrays], Tensor]] = {"true depth": lambda scene: scene["inverse"]}
    conditions |= {f"size / {by}": lambda scene, by=by: softened(scene, by) for by in (2, 4)}
    if arguments.tiny:
        conditions["tiny"] = estimated()
    print(f"{'':28} {'plain rule':>45} {'ours':>45}")
    print(f"{'':28}" + 2 * (" " + "".join(f"{name:>9}" for name in COLUMNS)))
    for condition, disturb in conditions.items():
        for name, scene in scenes.items():
            inverse = disturb(scene)
            rows = [figures(scene, way(scene, inverse), condition) for way in (plain, ours)]
            print(f"{condition:12} {name:15}" + "".join(" " + "".join(f"{value:9.2f}" for value in row) for row in rows), flush=True)
    return 0


def load_scene(path: Path) -> Arrays:
    """A scene's maps, (1, C, H, W), and masks of neighbouring pairs along rows and columns.

    Raises:
        SystemExit: It lacks one of the arrays.
    """
    try:
        scene, image = load_scene_and_image(path)
    except ValueError as error:
        raise SystemExit(f"{error}. {SCENES}") from error
    valid = scene.mask & (scene.depth > 0)
    inverse = torch.where(valid, 1 / scene.depth, 0)
    rays = pixel_rays(scene.intrinsics, *scene.depth.shape[-2:]) * torch.tensor([1, -1, -1]).view(1, 3, 1, 1)
    maps = {"inverse": inverse, "valid": valid, "image": image}
    for name, dim in (("across", 3), ("down", 2)):
        maps[f"off {name}"], maps[f"pair {name}"] = off_plane(inverse, scene.normals, rays, dim), both(valid, dim)
        maps[f"jump {name}"] = jumps(inverse, dim)
    return maps


def off_plane(inverse: Tensor, normals: Tensor, rays: Tensor, dim: int) -> Tensor:
    """Relative distance of neighbours from the true tangent plane of the better of the two."""
    (a, b), (n, m), (r, s) = (pairs(each.double(), dim) for each in (inverse, normals, rays))

    def meets(value: Tensor, normal: Tensor, ray: Tensor, other: Tensor) -> Tensor:
        along = (normal * ray).sum(1, keepdim=True)
        return value * (normal * other).sum(1, keepdim=True) / torch.where(along.abs() < 1e-6, 1e-6, along)

    missed = torch.minimum((meets(a, n, r, s) - b).abs(), (meets(b, m, s, r) - a).abs())
    return missed / torch.maximum(a, b).clamp(min=1e-9)


def pairs(maps: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Each pixel's value, and its neighbour's."""
    return maps.narrow(dim, 0, maps.shape[dim] - 1), maps.narrow(dim, 1, maps.shape[dim] - 1)


def both(valid: Tensor, dim: int) -> Tensor:
    """Pairs of valid pixels."""
    first, second = pairs(valid, dim)
    return first & second


def jumps(inverse: Tensor, dim: int) -> Tensor:
    """Relative difference of neighbours' depths."""
    first, second = pairs(inverse, dim)
    return (first - second).abs() / torch.minimum(first, second).clamp(min=1e-9)


def softened(scene: Arrays, by: int) -> Tensor:
    """Inverse depth reduced and enlarged again."""
    inverse, valid = scene["inverse"], scene["valid"]
    filled = torch.where(valid, inverse, inverse[valid].min() / 2)
    return F.interpolate(F.interpolate(filled, scale_factor=1 / by, mode="area"), inverse.shape[-2:], mode="bilinear")


def estimated() -> Callable[[Arrays], Tensor]:
    """The bundled network's prediction for a scene, with the truth's scale and shift."""
    from depth_normal import load_model

    model = load_model("tiny")

    def estimate(scene: Arrays) -> Tensor:
        disparity = model.estimate(scene["image"]).depth
        assert disparity is not None
        scale, shift = fit_scale_shift(disparity, scene["inverse"], scene["valid"])
        return (disparity * scale + shift).clamp(min=float(scene["inverse"][scene["valid"]].min()) / 2)

    return estimate


def plain(scene: Arrays, inverse: Tensor) -> tuple[Tensor, Joins]:
    """Unchanged inverse depth, joined across small differences."""
    joined = [(both(scene["valid"], dim) & (jumps(inverse, dim) <= JUMP))[0, 0] for dim in (3, 2)]
    return inverse, Joins(*joined)


def ours(scene: Arrays, inverse: Tensor) -> tuple[Tensor, Joins]:
    """As in `depth_to_mesh`."""
    depth = torch.where(scene["valid"], 1 / inverse, 1)
    depth, joins = cut_grid(depth, scene["valid"], scene["image"])
    return torch.where(scene["valid"], 1 / depth, 0), joins


def figures(scene: Arrays, meshed: tuple[Tensor, Joins], condition: str) -> list[float]:
    """A figure for each of COLUMNS."""
    inverse, joins = meshed
    true = condition == "true depth"
    reach = 0 if true else edge_radius(*inverse.shape[-2:])
    used, counts = torch.zeros_like(scene["valid"]), dict.fromkeys(("floor", "kept floor", "surface", "kept", "edge", "cut", "curtain"), 0)
    for name, dim, joined in (("across", 3, joins.across[None, None]), ("down", 2, joins.down[None, None])):
        pair, off, jump = scene[f"pair {name}"], scene[f"off {name}"], scene[f"jump {name}"]
        edge, surface = pair & (off > OFF_PLANE) & (jump > JUMP), pair & (off <= ON_PLANE)
        beside = widened(edge, reach)
        floor = surface & (jump > JUMP)
        surface = surface & ~beside
        found = {"floor": floor, "kept floor": floor & joined, "surface": surface, "kept": surface & joined, "edge": edge}
        found |= {"cut": edge & widened(pair & ~joined, reach), "curtain": beside & joined & ~floor & (jumps(inverse, dim) > JUMP)}
        counts = {key: counts[key] + int(where.sum()) for key, where in found.items()}
        for half in pairs(used, dim):
            half |= joined
    hanging = float("nan") if condition == "tiny" else 100 * float((used & off_truth(scene, inverse)).sum() / used.sum())
    share = [100 * counts[a] / max(1, counts[b]) for a, b in (("kept floor", "floor"), ("kept", "surface"), ("cut", "edge"))]
    return [share[0] if counts["floor"] > 100 else float("nan"), *share[1:], hanging, counts["curtain"] / max(1, counts["edge"])]


def widened(where: Tensor, reach: int) -> Tensor:
    """A boolean map dilated by `reach` pixels."""
    return F.max_pool2d(where.float(), 2 * reach + 1, 1, reach) > 0


def off_truth(scene: Arrays, inverse: Tensor) -> Tensor:
    """Depths that differ from all true ones within a pixel."""
    around = F.unfold(F.pad(scene["inverse"], (1, 1, 1, 1), mode="replicate"), 3).view(1, 9, *inverse.shape[-2:])
    return ((around - inverse).abs() / around.clamp(min=1e-9)).amin(1, keepdim=True) > JUMP


def print_large() -> None:
    """Prints seconds and memory at 24 megapixels, each in a fresh process."""
    print(f"{LARGE[1]}x{LARGE[0]} pixels, 1 thread; the maps themselves are not counted")
    for suffix in WAYS:
        for points in (0, MAX_POINTS) if suffix != ".stl" else (MAX_POINTS,):
            command = [sys.executable, __file__, "--one", f"{suffix}{points}"]
            run = subprocess.run(command, capture_output=True, text=True, check=True)
            megabytes, seconds, size = map(float, run.stdout.split())
            print(f"{suffix} {points or 'all':>8} points: {seconds:6.1f} s, {megabytes:6.0f} MB at most, file {size:5.0f} MB", flush=True)


def measure(suffix: str, points: int) -> tuple[float, float, float]:
    """MB, seconds, and the file's MB."""
    rows, columns = torch.linspace(1, 2, LARGE[0])[:, None], torch.linspace(0, 40, LARGE[1])[None]
    depth = (rows + 0.5 * (columns.sin() > 0.9))[None, None].contiguous()
    estimate, image = Estimate(depth, Quantity.METRIC_DEPTH), torch.rand(1, 3, *LARGE)
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    with TemporaryDirectory() as folder:
        path = Path(folder, f"mesh{suffix}")
        save_surface(path, estimate, SaveOptions(image=image, mesh=MeshOptions(max_points=points)))
        size = path.stat().st_size
    seconds = time.perf_counter() - start
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024, seconds, size / 1e6


if __name__ == "__main__":
    sys.exit(main())
