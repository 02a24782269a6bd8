"""How meshes of depth maps look from the front and from 25 degrees beside it: holes, skins and cuts, on scenes whose surfaces are known.

    python benchmarks/mesh_views.py [--width 320] [--plain] [--pictures DIR]

Four computed scenes: a bumpy statue before a wall, boxes on a floor seen at a grazing angle, stairs, and thin rods before a slanted wall.
Each with its true depth, and as networks and files change it. Mean over the scenes, --plain beside it with a cut at 5 %:

holes    percent of the image's pixels that no triangle has a corner at, or where a surface is torn away from silhouettes
skins    percent of the pixels of three views (25 degrees left, right and above) that show a triangle between two surfaces
off      the distance from the cuts to the true silhouettes, mean over the silhouettes, in pixels

--behind: the ray-traced balls and posts of `traced_views.py`, two of each, from 10 and 25 degrees to the left, to the right and above, with
their true depth and with soft edges. Of the pixels that show what the first camera could not see, though it is within its image:

holes    percent where no triangle is
error    mean difference of the colour from the traced view, in levels of 255; holes have the image's mean colour

and of the front view at three times the size, of the pixels that show the mesh with cuts, the percent that another way shows otherwise
(front). Ways: cut, as without options; stretched, without cuts; continued, with `fill_behind` of that angle.

--rims: the ray-traced balls, posts and heads, two of each, from 15 and 25 degrees to the left, to the right and above. Depth is true, and
as networks predict it: ramps of several pixels that waver about the image's edges and along them, and smooth noise of 1 %; foliage is the
same, and near things are rough besides. Of each view:

wrong    pixels that show another thing than is there, divided by the length of the true silhouettes
torn     pixels without a triangle though the first camera sees what is there, divided by that length
ragged   the length of the borders of holes, relative to that of the mesh of the true depth
error    mean difference of the colour from the traced view, in levels of 255, of the pixels at most 5 from a silhouette that the first
         camera sees; where no triangle is, the image's mean colour
halo     pixels of the image that are more than 1.25 times as far as the mesh shows them, so that near things have the colour of what is
         behind them, divided by the length of the silhouettes in the image; the same from all sides
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
import traced_views
from torch import Tensor

from depth_normal.geometry.camera import intrinsics_from_fov
from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.geometry.meshes.mesh import Mesh, MeshOptions, depth_to_meshes, joined_meshes
from depth_normal.geometry.meshes.mesh_cuts import Joins, cut_grid, find_joins, grid_triangles

VIEWS = {"left": (25.0, 0.0), "right": (-25.0, 0.0), "above": (0.0, 25.0)}
JUMP, BETWEEN = 0.04, 0.15
FOV = 55.0
BACKGROUND = (40, 60, 160)
TINY_BOX = 3_000_000
RIM_DEGREES = (15.0, 25.0)
HALO = 1.25
# Errors of predicted depth: width of ramps in pixels, amplitudes and wavelengths of wavering edges in pixels, and smooth noise.
RAMP, WAVERS, ROUGH = 5.0, ((1.5, 48), (1.0, 12)), 0.01
# Foliage: roughness, leaf size in pixels, and nearness relative to the median.
LEAVES = (0.1, 2, 1.3)
BEHIND = {"cut": {}, "stretched": {"max_jump": 1e9}, "continued": {"fill_behind": 1.0}}


Make = Callable[[np.random.Generator], list[traced_views.Thing]]


class Traced(NamedTuple):
    """A traced scene: image (H, W, 3), depth (H, W), camera (3, 3), and the camera's pivot, halfway in inverse depth."""

    things: list[traced_views.Thing]
    image: np.ndarray
    depth: np.ndarray
    camera: np.ndarray
    pivot: np.ndarray


class Scene(NamedTuple):
    """Inverse depth (H, W), each pixel's surface index (H, W) int, and an image (3, H, W)."""

    inverse: Tensor
    surfaces: Tensor
    image: Tensor


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=320)
    parser.add_argument("--plain", action="store_true", help="also neighbours joined where they differ by at most 5 %%")
    parser.add_argument("--behind", action="store_true", help="what shows behind near things, in place of the table above")
    parser.add_argument("--rims", action="store_true", help="rims of predicted depth seen from aside, in place of the table above")
    parser.add_argument("--pictures", type=Path, help="write the views into this folder")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    width, height = arguments.width, arguments.width * 3 // 4
    if arguments.behind:
        print_behind(width, height, arguments.pictures)
        return 0
    if arguments.rims:
        print_rims(width, height, arguments.pictures)
        return 0
    scenes = {make.__name__: make(height, width) for make in (statue, boxes, stairs, rods)}
    ways: dict[str, Callable[[Tensor, Tensor], tuple[Tensor, Joins]]] = {"ours": ours}
    if arguments.plain:
        ways = {"plain": plain, **ways}
    print(f"{'':24}" + "".join(f"{name:>27}" for name in ways))
    print(f"{'':24}" + len(ways) * f"{'holes':>9}{'skins':>9}{'off':>9}")
    for condition, change in conditions(width).items():
        rows = {name: [] for name in ways}
        for scene_name, scene in scenes.items():
            disturbed, truth = change(scene)
            for name, way in ways.items():
                start = time.perf_counter()
                depth, joins = way(1 / disturbed, scene.image)
                seconds = time.perf_counter() - start
                values, pictures = figures(scene, truth, depth, joins, disturbed)
                rows[name].append(values)
                if arguments.pictures:
                    arguments.pictures.mkdir(parents=True, exist_ok=True)
                    path = arguments.pictures / f"{condition}_{scene_name}_{name}.png".replace(" ", "_")
                    cv2.imwrite(str(path), np.hstack(pictures)[..., ::-1])
                    print(f"  {scene_name:9} {name:6}" + "".join(f"{value:9.2f}" for value in values) + f" {seconds:6.2f} s")
        print(f"{condition:24}" + "".join(f"{value:9.2f}" for each in rows.values() for value in np.nanmean(each, 0)), flush=True)
    return 0


def print_behind(width: int, height: int, folder: Path | None) -> None:
    """Prints the figures of regions revealed behind near objects."""
    print(f"{'':10}{'depth':8}{'degrees':>8}" + "".join(f"{name:>27}" for name in BEHIND))
    print(f"{'':26}" + len(BEHIND) * f"{'holes':>9}{'error':>9}{'front':>9}")
    for depth_name in ("true", "soft"):
        for degrees in (10.0, 25.0):
            totals = []
            for name, make in traced_views.SCENES.items():
                rows = np.mean([behind_figures(make, seed, depth_name, degrees, (height, width), folder) for seed in (1, 2)], 0)
                totals.append(rows)
                print_row(name, depth_name, degrees, rows)
            print_row("mean", depth_name, degrees, np.mean(totals, 0))


def print_row(name: str, depth_name: str, degrees: float, rows: np.ndarray) -> None:
    """Prints one line of the table."""
    print(f"{name:10}{depth_name:8}{degrees:8g}" + "".join(f"{value:9.2f}" for row in rows for value in row), flush=True)


def traced_scene(make: Make, seed: int, size: tuple[int, int]) -> Traced:
    """A scene from the first camera."""
    height, width = size
    things = make(np.random.default_rng(seed))
    image, depth = traced_views.render(things, np.zeros(3), width, height)
    inverse = 1 / depth
    return Traced(things, image, depth, traced_views.intrinsics(width, height), np.array([0, 0, 2 / float(inverse.min() + inverse.max())]))


def behind_figures(make: Make, seed: int, depth_name: str, degrees: float, size: tuple[int, int], folder: Path | None) -> list[list[float]]:
    """Holes, error and front of each method; see the module."""
    height, width = size
    things, image, true, camera, pivot = traced_scene(make, seed, size)
    depth = true if depth_name == "true" else (1 / blurred(torch.from_numpy(1 / true), width / 120)).numpy()
    estimate = Estimate(torch.from_numpy(depth)[None, None], Quantity.METRIC_DEPTH, intrinsics=torch.from_numpy(camera)[None])
    picture = torch.from_numpy(image).movedim(-1, 0)[None]
    meshes = []
    for change in BEHIND.values():
        options = replace(MeshOptions(drop_sky=False), **change)
        options = replace(options, fill_behind=degrees) if options.fill_behind else options
        meshes.append(joined_meshes(depth_to_meshes(estimate, picture, options)))
    found, views = [], []
    for turn in ((degrees, 0.0), (-degrees, 0.0), (0.0, degrees)):
        truth, uncovered, _ = traced_aside(things, turn, pivot, true, camera)
        shown = [truth, truth * uncovered[..., None]]
        for mesh in meshes:
            seen, covered = view_of(mesh, camera, size, turn, pivot)
            seen = np.where(covered[..., None], seen, image.mean((0, 1)))
            error = np.abs(seen - truth)[uncovered].mean()
            found.append([100 * float((~covered)[uncovered].mean()), 255 * float(error)])
            shown.append(seen)
        views.append(np.hstack(shown))
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{make.__name__}_{seed}_{depth_name}_{degrees:g}.png"
        cv2.imwrite(str(path), (255 * np.vstack(views)[..., ::-1]).round().astype(np.uint8))
    large = np.array([[3, 0, 1], [0, 3, 1], [0, 0, 1]]) @ camera
    (first, there), *others = (view_of(mesh, large, (3 * height, 3 * width)) for mesh in meshes)
    front = [0.0, *(100 * float((np.abs(view - first).max(-1) > 1 / 255)[there].mean()) for view, _ in others)]
    return [[*row, share] for row, share in zip(np.reshape(found, (3, len(BEHIND), 2)).mean(0).tolist(), front, strict=True)]


def print_rims(width: int, height: int, folder: Path | None) -> None:
    """Prints the figures of near objects' rims seen from the side."""
    print(f"{'':10}{'depth':12}{'degrees':>8}{'wrong':>9}{'torn':>9}{'ragged':>9}{'error':>9}{'halo':>9}")
    for depth_name in ("true", "predicted", "foliage"):
        for degrees in RIM_DEGREES:
            totals = []
            for name, make in {**traced_views.SCENES, "heads": traced_views.heads}.items():
                rows = np.mean([rim_figures(make, seed, depth_name, degrees, (height, width), folder) for seed in (1, 2)], 0)
                totals.append(rows)
                print(f"{name:10}{depth_name:12}{degrees:8g}" + "".join(f"{value:9.2f}" for value in rows), flush=True)
            print(f"{'mean':10}{depth_name:12}{degrees:8g}" + "".join(f"{value:9.2f}" for value in np.mean(totals, 0)), flush=True)


def rim_figures(make: Make, seed: int, depth_name: str, degrees: float, size: tuple[int, int], folder: Path | None) -> list[float]:
    """Wrong, torn, ragged, error and halo; see the module."""
    height, width = size
    things, image, true, camera, pivot = traced_scene(make, seed, size)
    inverse = 1 / torch.from_numpy(true)
    depths = [inverse if depth_name == "true" else as_predicted(inverse, seed, depth_name == "foliage"), inverse]
    picture, options = torch.from_numpy(image).movedim(-1, 0)[None], MeshOptions(drop_sky=False)
    meshes = []
    for each in depths:
        estimate = Estimate((1 / each)[None, None], Quantity.METRIC_DEPTH, intrinsics=torch.from_numpy(camera)[None])
        meshes += depth_to_meshes(estimate, picture, options)
    mesh, best = meshes
    assert mesh.uvs is not None
    columns, rows = (mesh.uvs * [width, height]).astype(int).T
    ids = traced_views.seen_things(things, np.zeros(3), traced_views.directions(width, height)).reshape(height, width)
    halo = (true[rows, columns] > -HALO * mesh.points[:, 2]).sum() / border_length(ids)
    corners = ids[rows, columns][mesh.triangles]
    of_triangles = np.where(corners[:, 1] == corners[:, 2], corners[:, 1], corners[:, 0])
    found, views = [], []
    for turn in ((degrees, 0.0), (-degrees, 0.0), (0.0, degrees)):
        truth, uncovered, known = traced_aside(things, turn, pivot, true, camera)
        turned = turn_matrix(turn)
        there = traced_views.seen_things(things, pivot - pivot @ turned, traced_views.directions(width, height) @ turned)
        there = there.reshape(height, width)
        view, shown = rendered(mesh.points * [1, -1, -1], mesh.triangles, mesh.colours, camera, size, turn, pivot)
        wrong, torn = (shown >= 0) & (of_triangles[shown] != there), (shown < 0) & known
        length, ideal = border_length(there), border_length(view_of(best, camera, size, turn, pivot)[1])
        seen = np.where((shown >= 0)[..., None], view / 255, image.mean((0, 1)))
        beside = known & (cv2.dilate((_borders(there)).astype(np.uint8), np.ones((11, 11))) > 0)
        error = 255 * np.abs(seen - truth)[beside].mean()
        found.append((wrong.sum() / length, torn.sum() / length, border_length(shown >= 0) / ideal, error, halo))
        views.append(np.hstack((255 * np.where(uncovered[..., None], np.array(BACKGROUND) / 255, truth), view)))
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / f"rims_{make.__name__}_{seed}_{depth_name}_{degrees:g}.png"), np.vstack(views)[..., ::-1])
    return np.mean(found, 0).tolist()


def view_of(
    mesh: Mesh, camera: np.ndarray, size: tuple[int, int], turn: tuple[float, float] = (0.0, 0.0), pivot: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """As `rendered`: a view (H, W, 3) in [0, 1], and where the mesh covers it (H, W) bool."""
    assert mesh.colours is not None
    seen, triangles = rendered(mesh.points * [1, -1, -1], mesh.triangles, mesh.colours, camera, size, turn, pivot)
    return seen / 255, triangles >= 0


def traced_aside(
    things: list[traced_views.Thing], turn: tuple[float, float], pivot: np.ndarray, depth: np.ndarray, camera: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Traces the view of a camera rotated about `pivot` like the scene in `rendered`, and what the first camera sees of it.

    Returns:
        (H, W, 3) in [0, 1], and (H, W) bool each: points within the first image that are clearly behind its surface, and the other points
        within it.
    """
    height, width = depth.shape
    turned = turn_matrix(turn)
    place = pivot - pivot @ turned
    rays = traced_views.directions(width, height) @ turned
    colours, along = traced_views.shoot(things, place, rays)
    points = place + rays * along[:, None]
    across, down = (camera[axis, axis] * points[:, axis] / points[:, 2] + camera[axis, 2] for axis in (0, 1))
    inside = (across > 1) & (across < width - 2) & (down > 1) & (down < height - 2) & (points[:, 2] > 0)
    # hidden if all four surrounding pixels show something nearer
    column, row = (np.where(inside, each, 0).astype(int) for each in (across, down))
    farthest = np.max([depth[row + y, column + x] for y in (0, 1) for x in (0, 1)], 0)
    hidden = points[:, 2] > farthest * (1 + JUMP)
    return colours.reshape(height, width, 3), *((inside & each).reshape(height, width) for each in (hidden, ~hidden))


def conditions(width: int) -> dict[str, Callable[[Scene], tuple[Tensor, Tensor]]]:
    """Degradations of inverse depth: each returns the result, and the truth in the same values."""
    narrow, wide = width / 160, width / 80

    def noisy(inverse: Tensor) -> Tensor:
        """Network-like errors: smooth noise of 1 % and fine noise of 0.2 %."""
        generator = torch.Generator().manual_seed(1)
        coarse = torch.randn(1, 1, inverse.shape[0] // 8 + 1, inverse.shape[1] // 8 + 1, generator=generator)
        fine = torch.randn(inverse.shape, generator=generator)
        return inverse * (1 + 0.01 * F.interpolate(coarse, inverse.shape, mode="bicubic")[0, 0] + 0.002 * fine)

    def stretched(inverse: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
        """Disparity of unknown shift, as if the far end were 30 times as far."""
        low, high = (float(inverse.flatten().kthvalue(round(share * inverse.numel())).values) for share in (0.02, 0.98))
        disturbed, true = ((((each - low) / (high - low)) * (1 - 1 / 30) + 1 / 30).clamp(min=0.1 / 30) for each in (inverse, truth))
        return disturbed, true

    def steps_of_8_bits(inverse: Tensor) -> Tensor:
        return (inverse / inverse.max() * 255).round().clamp(min=1) / 255 * inverse.max()

    return {
        "true depth": lambda scene: (scene.inverse, scene.inverse),
        "fine noise of 1 %": lambda scene: (
            scene.inverse * (1 + 0.01 * torch.randn(scene.inverse.shape, generator=torch.Generator().manual_seed(2))),
            scene.inverse,
        ),
        "8 bits": lambda scene: (steps_of_8_bits(scene.inverse), scene.inverse),
        "half precision": lambda scene: ((1 / scene.inverse).half().float().reciprocal(), scene.inverse),
        "narrow ramps": lambda scene: (blurred(scene.inverse, narrow), scene.inverse),
        "wide ramps": lambda scene: (blurred(scene.inverse, wide), scene.inverse),
        "wide ramps, noise": lambda scene: (noisy(blurred(scene.inverse, wide)), scene.inverse),
        "wide ramps, 8 bits": lambda scene: (steps_of_8_bits(blurred(scene.inverse, wide)), scene.inverse),
        "wide ramps, 8 bits, 30": lambda scene: stretched(steps_of_8_bits(blurred(scene.inverse, wide)), scene.inverse),
        "wide ramps, noise, 30": lambda scene: stretched(noisy(blurred(scene.inverse, wide)), scene.inverse),
    }


def as_predicted(inverse: Tensor, seed: int, foliage: bool = False) -> Tensor:
    """Network-like inverse depth (H, W): RAMP, WAVERS and ROUGH, with `foliage` also LEAVES."""
    height, width = inverse.shape
    generator = torch.Generator().manual_seed(seed)

    def smooth(channels: int, cell: int) -> Tensor:
        noise = torch.rand(1, channels, height // cell + 2, width // cell + 2, generator=generator) * 2 - 1
        return F.interpolate(noise, (height, width), mode="bicubic", align_corners=True)

    moves = sum((smooth(2, cell) * pixels for pixels, cell in WAVERS), torch.zeros(()))
    x, y = torch.meshgrid(torch.linspace(-1, 1, width), torch.linspace(-1, 1, height), indexing="xy")
    places = torch.stack((x, y), -1)[None] + moves.movedim(1, -1) * torch.tensor([2 / width, 2 / height])
    moved = F.grid_sample(inverse[None, None], places, padding_mode="border", align_corners=True)[0, 0]
    soft = blurred(moved, RAMP) * (1 + ROUGH * smooth(1, 8)[0, 0])
    if not foliage:
        return soft
    rough, leaf, nearer = LEAVES
    return soft * (1 + rough * smooth(1, leaf)[0, 0] * (soft > nearer * soft.median()))


def _borders(areas: np.ndarray) -> np.ndarray:
    found = np.zeros(areas.shape, bool)
    found[:, 1:] |= areas[:, 1:] != areas[:, :-1]
    found[1:] |= areas[1:] != areas[:-1]
    return found


def border_length(areas: np.ndarray) -> int:
    """Number of differing neighbours in (H, W), along rows and columns."""
    return int((areas[:, 1:] != areas[:, :-1]).sum() + (areas[1:] != areas[:-1]).sum())


def blurred(inverse: Tensor, width: float) -> Tensor:
    """Turns steps into ramps of about `width` pixels: a box filter, then one half as wide."""
    for size in (round(width), max(1, round(width / 2))):
        before, after = size // 2, size - 1 - size // 2
        inverse = F.avg_pool2d(F.pad(inverse[None, None], (before, after, before, after), mode="replicate"), size, 1)[0, 0]
    return inverse


def grid(height: int, width: int) -> tuple[Tensor, Tensor]:
    """X in [-1, 1] and y downwards in the same unit: (H, W) each."""
    y, x = torch.meshgrid(torch.arange(height) - (height - 1) / 2, torch.arange(width) - (width - 1) / 2, indexing="ij")
    return x * 2 / width, y * 2 / width


def painted(surfaces: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """An image with a patterned colour per surface, and antialiased borders."""
    palette = torch.tensor([[0.75, 0.7, 0.6], [0.55, 0.25, 0.2], [0.25, 0.4, 0.3], [0.3, 0.3, 0.6], [0.6, 0.5, 0.2], [0.35, 0.2, 0.4]])
    pattern = 0.9 + 0.1 * ((40 * x).sin() * (53 * y + 3 * x).cos())
    image = palette[surfaces % len(palette)].movedim(-1, 0) * pattern
    return F.avg_pool2d(F.pad(image[None], (1, 1, 1, 1), mode="replicate"), 3, 1)[0] * 0.6 + image * 0.4


def statue(height: int, width: int) -> Scene:
    """A bumpy ellipsoid with a smaller one on top (torso and head), before a wall and a floor."""
    x, y = grid(height, width)
    wall, floor = torch.full_like(x, 1 / 5.0), 0.9 * y
    inverse, surfaces = torch.maximum(wall, floor), torch.zeros_like(x, dtype=torch.long)
    for label, (cx, cy, rx, ry, depth) in enumerate(((0.05, 0.25, 0.34, 0.42, 2.2), (0.02, -0.33, 0.15, 0.19, 2.1)), 1):
        inside = 1 - ((x - cx) / rx) ** 2 - ((y - cy) / ry) ** 2
        folds = 0.03 * (30 * x + 6 * (9 * y).sin()).sin() + 0.015 * (70 * y + 20 * x).sin()
        near = 1 / (depth - rx * 1.2 * inside.clamp(min=0).sqrt() + folds)
        shown = (inside > 0) & (near > inverse)
        inverse, surfaces = torch.where(shown, near, inverse), torch.where(shown, label, surfaces)
    return Scene(inverse, surfaces, painted(surfaces + (floor > wall) * (surfaces == 0) * 3, x, y))


def boxes(height: int, width: int) -> Scene:
    """Boxes on a floor that reaches almost to the horizon; the background is as far as the floor's end."""
    x, y = grid(height, width)
    horizon = -0.35
    floor = (1.1 * (y - horizon)).clamp(min=0.02)
    inverse, surfaces = floor, torch.zeros_like(x, dtype=torch.long)
    for label, (left, right, top, foot) in enumerate(((-0.7, -0.45, -0.3, 0.0), (-0.1, 0.25, -0.4, 0.35), (0.5, 0.62, -0.5, 0.1)), 1):
        shown = (x > left) & (x < right) & (y > top) & (y < foot)
        inverse, surfaces = torch.where(shown, 1.1 * (foot - horizon), inverse), torch.where(shown, label, surfaces)
    return Scene(inverse, surfaces, painted(surfaces + (y < horizon) * (surfaces == 0) * 5, x, y))


def stairs(height: int, width: int) -> Scene:
    """Ascending steps: one surface without silhouettes."""
    x, y = grid(height, width)
    focal = 1 / math.tan(math.radians(FOV) / 2)
    inverse, treads = torch.full_like(x, 1 / 4.8), torch.zeros_like(x, dtype=torch.long)
    for step in reversed(range(10)):
        # height below the camera of this tread, and its near and far end
        below, begins, ends = 1.6 - 0.15 * step, 1.8 + 0.3 * step, 2.1 + 0.3 * step
        tread = y / (focal * below)
        on_tread = (tread <= 1 / begins) & (tread > 1 / ends)
        riser = (y / focal * begins >= below) & (y / focal * begins < below + 0.15)
        for index, (where, value) in enumerate(((on_tread, tread), (riser, torch.full_like(x, 1 / begins)))):
            inverse, treads = torch.where(where, value, inverse), torch.where(where, 2 * step + index, treads)
    below = y / focal > 1.6 / 1.8
    inverse = torch.where(below & (inverse < 1 / 1.8), 1 / 1.8, inverse)
    return Scene(inverse, torch.zeros_like(treads), painted(treads, x, y))


def rods(height: int, width: int) -> Scene:
    """Rods of 1/160 to 1/20 of the width, upright and slanted, before a wall that recedes to the right."""
    x, y = grid(height, width)
    inverse, surfaces = 0.3 - 0.12 * x, torch.zeros_like(x, dtype=torch.long)
    for label, (at, lean, half, depth) in enumerate(
        (
            (-0.75, 0.0, 1 / 160, 1.6),
            (-0.4, 0.3, 1 / 80, 1.4),
            (0.05, 0.0, 1 / 40, 1.5),
            (0.45, -0.2, 1 / 100, 1.8),
            (0.8, 0.0, 1 / 20, 1.3),
        ),
        1,
    ):
        shown = (x - at - lean * y).abs() <= half
        inverse, surfaces = torch.where(shown, 1 / depth, inverse), torch.where(shown, label, surfaces)
    return Scene(inverse, surfaces, painted(surfaces, x, y))


def ours(depth: Tensor, image: Tensor) -> tuple[Tensor, Joins]:
    """As in `depth_to_mesh`."""
    cut, joins = cut_grid(depth[None, None], torch.ones_like(depth, dtype=torch.bool)[None, None], image[None])
    return cut[0, 0], joins


def plain(depth: Tensor, image: Tensor) -> tuple[Tensor, Joins]:
    """Cuts where neighbours differ by more than 5 %."""
    joins = find_joins(depth, torch.ones_like(depth, dtype=torch.bool))
    joined = [torch.maximum(a, b) <= 1.05 * torch.minimum(a, b) for a, b in ((depth[:, :-1], depth[:, 1:]), (depth[:-1], depth[1:]))]
    return depth, Joins(*(each & one for each, one in zip(joined, joins, strict=True)))


def figures(scene: Scene, truth: Tensor, depth: Tensor, joins: Joins, disturbed: Tensor) -> tuple[list[float], list[np.ndarray]]:
    """Holes, skins and off, see the module (off is NaN without silhouettes), and the views."""
    height, width = depth.shape
    used, triangles = grid_triangles(depth.numpy(), joins)
    reach = max(3, round(width / 50))
    inverse = 1 / depth
    silhouettes = _silhouettes(scene, truth)
    beside = F.max_pool2d(silhouettes[None, None].float(), 2 * reach + 1, 1, reach)[0, 0] > 0
    labels, between = _nearest_surfaces(scene, truth, inverse, reach)
    corners = np.nonzero(used.ravel())[0][triangles]
    values, ids = inverse.numpy().ravel()[corners], labels.numpy().ravel()[corners]
    stretched = values.max(1) > values.min(1) * (1 + JUMP)
    skins = stretched & ((ids.min(1) != ids.max(1)) | between.numpy().ravel()[corners].any(1)) & beside.numpy().ravel()[corners].any(1)

    torn = ~torch.from_numpy(used)
    whole = joins.across[:-1] & joins.across[1:] & joins.down[:, :-1] & joins.down[:, 1:]
    torn[:-1, :-1] |= ~whole & ~beside[:-1, :-1]
    camera = intrinsics_from_fov(FOV, height, width)[0].numpy()
    rows, columns = np.nonzero(used)
    distance = depth.numpy()[used]
    points = (
        np.stack(((columns - camera[0, 2]) / camera[0, 0], (rows - camera[1, 2]) / camera[1, 1], np.ones(len(rows))), 1) * distance[:, None]
    )
    colours = scene.image.movedim(0, -1).numpy()[used]
    pivot = np.array([0, 0, 2 / float(truth.min() + truth.max())])
    pictures, shares = [], []
    for turn in ((0.0, 0.0), *VIEWS.values()):
        picture, shown = rendered(points, triangles, colours, camera, (height, width), turn, pivot)
        if any(turn):
            shares.append(float(skins[shown[shown >= 0]].sum()) / shown.size)
        pictures.append(picture)
    length = int(silhouettes.sum())
    misplaced = float(((labels != scene.surfaces) & beside).sum())
    # a line of n pixels has 2 n pixels beside it
    return [100 * float(torn.float().mean()), 100 * float(np.mean(shares)), misplaced / (length / 2) if length else math.nan], pictures


def _silhouettes(scene: Scene, truth: Tensor) -> Tensor:
    """Pixels beside a surface at another depth: (H, W) bool."""
    found = torch.zeros_like(scene.surfaces, dtype=torch.bool)
    for dim in (0, 1):
        size = truth.shape[dim] - 1
        (a, b), (one, other) = ((each.narrow(dim, 0, size), each.narrow(dim, 1, size)) for each in (truth, scene.surfaces))
        edge = (one != other) & (torch.maximum(a, b) > torch.minimum(a, b) * (1 + JUMP))
        for start in (0, 1):
            found.narrow(dim, start, size).logical_or_(edge)
    return found


def _nearest_surfaces(scene: Scene, truth: Tensor, inverse: Tensor, reach: int) -> tuple[Tensor, Tensor]:
    """The surface within `reach` whose inverse depth is nearest to the mesh's at each pixel, and whether none is near enough."""
    size = 2 * reach + 1
    padded = F.pad(truth[None, None], (reach,) * 4, mode="replicate")[0, 0]
    ids = F.pad(scene.surfaces[None, None].double(), (reach,) * 4, mode="replicate")[0, 0].long()
    height, width = inverse.shape
    missed, labels = torch.full_like(inverse, torch.inf), scene.surfaces.clone()
    low, high = torch.full_like(inverse, torch.inf), torch.zeros_like(inverse)
    # its own surface first, which wins ties
    for top, left in sorted(
        ((t, s) for t in range(size) for s in range(size)), key=lambda each: abs(each[0] - reach) + abs(each[1] - reach)
    ):
        there = padded[top : top + height, left : left + width]
        misses = (there - inverse).abs()
        nearer = misses < missed - 0.002 * inverse
        labels = torch.where(nearer, ids[top : top + height, left : left + width], labels)
        missed, low, high = torch.where(nearer, misses, missed), torch.minimum(low, there), torch.maximum(high, there)
    return labels, (missed > BETWEEN * (high - low)) & (missed > JUMP * inverse)


def rendered(
    points: np.ndarray,
    triangles: np.ndarray,
    colours: np.ndarray,
    camera: np.ndarray,
    size: tuple[int, int],
    turn: tuple[float, float] = (0.0, 0.0),
    pivot: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Renders a mesh without lighting.

    Args:
        points: (N, 3) in OPENCV axes.
        triangles: (M, 3) indices.
        colours: (N, 3) in [0, 1].
        camera: (3, 3) intrinsics in pixels.
        size: Height and width of the view.
        turn: Rotation of the scene about `pivot` in degrees, about the upright axis and the horizontal one.
        pivot: (3,).

    Returns:
        (H, W, 3) uint8, and each pixel's triangle, -1 for none.
    """
    height, width = size
    centre = np.zeros(3) if pivot is None else pivot
    turned = (points.astype(np.float64) - centre) @ turn_matrix(turn).T + centre
    depth = np.maximum(turned[:, 2], 1e-3)
    across, down = (camera[axis, axis] * turned[:, axis] / depth + camera[axis, 2] for axis in (0, 1))
    corners = triangles.astype(np.int64)
    index = np.nonzero((turned[:, 2] > 1e-3)[corners].all(1))[0]
    u, v, inverse = across[corners[index]], down[corners[index]], 1 / depth[corners[index]]
    (left, right), (top, bottom) = (
        (np.ceil(each.min(1) - 1e-9).clip(0, end).astype(int), (np.floor(each.max(1) + 1e-9) + 1).clip(0, end).astype(int))
        for each, end in ((u, width), (v, height))
    )
    counts = np.maximum(right - left, 0) * np.maximum(bottom - top, 0)
    shown, nearest = np.full(height * width, -1), np.zeros(height * width)
    picture = np.tile(np.array(BACKGROUND, np.float64), (height * width, 1))
    filled = np.nonzero(counts)[0]
    ends = np.cumsum(counts[filled])
    for part in np.split(filled, np.searchsorted(ends, np.arange(TINY_BOX, ends[-1] if len(ends) else 0, TINY_BOX))):
        of = np.repeat(part, counts[part])
        place = np.arange(len(of)) - np.repeat(np.cumsum(counts[part]) - counts[part], counts[part])
        columns, rows = left[of] + place % (right - left)[of], top[of] + place // (right - left)[of]
        shares = _barycentric(u[of], v[of], columns, rows)
        inside = (shares >= -1e-6).all(1)
        of, pixels, shares = of[inside], (rows * width + columns)[inside], shares[inside] * inverse[of[inside]]
        nearness = shares.sum(1)
        order = np.argsort(nearness, kind="stable")
        last = np.full(height * width, -1)
        last[pixels[order]] = order  # the nearest is written last
        hit = np.nonzero(last >= 0)[0]
        hit = hit[nearness[last[hit]] > nearest[hit]]
        chosen = last[hit]
        nearest[hit], shown[hit] = nearness[chosen], index[of[chosen]]
        weights = shares[chosen] / nearness[chosen, None]
        picture[hit] = 255 * (colours[corners[index[of[chosen]]]] * weights[..., None]).sum(1)
    return picture.reshape(height, width, 3).clip(0, 255).astype(np.uint8), shown.reshape(height, width)


def turn_matrix(turn: tuple[float, float]) -> np.ndarray:
    """(3, 3): a rotation in degrees about the upright axis, then about the horizontal one."""
    yaw, pitch = np.radians(turn)
    about_y = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
    return about_x @ about_y


def _barycentric(u: np.ndarray, v: np.ndarray, column: np.ndarray, row: np.ndarray) -> np.ndarray:
    def area(a: int, b: int) -> np.ndarray:
        return (u[:, a] - column) * (v[:, b] - row) - (v[:, a] - row) * (u[:, b] - column)

    shares = np.stack((area(1, 2), area(2, 0), area(0, 1)), 1)
    total = shares.sum(1, keepdims=True)
    return np.divide(shares, total, out=np.full_like(shares, np.nan), where=np.abs(total) > 1e-12)


if __name__ == "__main__":
    raise SystemExit(main())
