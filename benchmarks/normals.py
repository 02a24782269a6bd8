"""Normals from depth on scenes with known normals: accuracy of our method beside others, and time, in one run.

    python benchmarks/normals.py [SCENES] [--threads N] [--device cpu|cuda] [--width 1920 --height 1080] [--repeats 5]

SCENES is a folder of .npz files. The default is four scenes of our own rendering (primitives, a room, terrain, monkey heads), which are not
part of the repository; others may be harder.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from depth_normal.geometry.camera import depth_to_points, intrinsics_from_fov
from depth_normal.geometry.conventions import convert_normals
from depth_normal.geometry.estimate import Axes
from depth_normal.geometry.surfaces.normals import depth_to_normals, disparity_to_normals, dmap2norm, midas_normals

SCENES = (
    "Each .npz file in the folder is a scene: `depth` (H, W) float32, metres along the axis; `normal` (H, W, 3) int16, OpenGL axes times "
    "32767; `mask` (H, W) bool; `K` = [fx, fy, cx, cy] in pixels"
)
DEFAULT_SCENES = Path(__file__).resolve().parents[2] / "shared" / "groundtruth" / "public"
CONDITIONS = ("clean", "noise 0.1 %", "noise 0.5 %", "16-bit", "8-bit", "half size", "relative", "sensor", "registered", "lidar")
# lidar: rows between its lines, and columns between its points
LIDAR_ROWS, LIDAR_COLUMNS = 12, 4
# structured-light camera: focal length in pixels times baseline in metres, and its disparity step in pixels
SENSOR_SCALE, SENSOR_STEP = 585 * 0.075, 1 / 8
SENSOR_DISTANCE = 2.0
# Such a camera registered to a colour camera, as in NYU Depth v2: the median distance in rooms, the baseline between both cameras in
# metres, and the sensor's pixels per colour pixel, before and after its lens correction.
ROOM_DISTANCE, CAMERA_DISTANCE, SENSOR_ZOOMS = 3.0, 0.025, (1.17, 1.13)
MIDAS_Z = tuple(2.0**k for k in range(-12, 5))


@dataclass(frozen=True)
class Scene:
    """A rendered image's depth (1, 1, H, W), mask, normals (1, 3, H, W) in OpenGL axes, and intrinsics (1, 3, 3)."""

    depth: Tensor
    mask: Tensor
    normals: Tensor
    intrinsics: Tensor


def main() -> int:
    """Prints both tables; 1 if there are no scenes."""
    parser = argparse.ArgumentParser(description=__doc__, epilog=SCENES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenes", nargs="?", type=Path, default=DEFAULT_SCENES)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--width", type=int, default=1920, help="of what is timed (default: %(default)s)")
    parser.add_argument("--height", type=int, default=1080, help="of what is timed (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    paths = sorted(arguments.scenes.glob("*.npz"))
    try:
        scenes = [load_scene(path) for path in paths]
    except ValueError as error:
        parser.error(f"{error}. {SCENES}")
    if scenes:
        print_accuracy(scenes)
    else:
        print(f"no accuracy table: {arguments.scenes} holds no scenes. {SCENES}", file=sys.stderr)
    print_times(arguments.device, arguments.height, arguments.width, arguments.repeats)
    return 0 if paths else 1


def load_scene(path: Path) -> Scene:
    """Reads one .npz file.

    Raises:
        ValueError: It lacks one of the arrays.
    """
    return scene_of(read_arrays(path, "depth", "normal", "mask", "K"))


def load_scene_and_image(path: Path) -> tuple[Scene, Tensor]:
    """Reads one .npz file that has `rgb` (H, W, 3) uint8 too: the scene, and its image (1, 3, H, W) in [0, 1].

    Raises:
        ValueError: It lacks one of the arrays.
    """
    arrays = read_arrays(path, "depth", "normal", "mask", "K", "rgb")
    return scene_of(arrays), torch.from_numpy(arrays["rgb"].astype(np.float32) / 255).movedim(-1, 0)[None]


def read_arrays(path: Path, *names: str) -> dict[str, np.ndarray]:
    """Reads some arrays of a .npz file.

    Raises:
        ValueError: It lacks one of them.
    """
    with np.load(path) as file:
        if missing := sorted(set(names) - set(file.files)):
            raise ValueError(f"{path} has no {', '.join(missing)}; found {', '.join(file.files)}")
        return {name: file[name] for name in names}


def scene_of(arrays: dict[str, np.ndarray]) -> Scene:
    """The scene in the arrays of a .npz file (see `SCENES`)."""
    fx, fy, cx, cy = (float(value) for value in arrays["K"])
    normals = torch.from_numpy(arrays["normal"].astype(np.float32) / 32767).movedim(-1, 0)[None]
    depth, mask = (torch.from_numpy(arrays[name])[None, None] for name in ("depth", "mask"))
    return Scene(depth, mask, normals, torch.tensor([[[fx, 0, cx], [0, fy, cy], [0, 0, 1]]]))


def measured(scene: Scene, condition: str) -> Scene:
    """The scene with the mask of measured pixels: all, except for a lidar."""
    if condition != "lidar":
        return scene
    points = torch.zeros_like(scene.mask)
    points[..., LIDAR_ROWS // 2 :: LIDAR_ROWS, LIDAR_COLUMNS // 2 :: LIDAR_COLUMNS] = True
    return replace(scene, mask=scene.mask & points)


def degraded(scene: Scene, condition: str) -> Tensor:
    """Inverse depth as from a sensor, a file or a network, float32; "relative": 0 to 1000. A lidar's is valid where `measured` says so."""
    depth = scene.depth.double()
    inverse = 1 / torch.where(scene.mask, depth, depth[scene.mask].max() * 4)
    low, high = inverse[scene.mask].min(), inverse[scene.mask].max()
    if condition.startswith("noise"):
        noise = torch.randn(inverse.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        inverse = inverse / (1 + float(condition.split()[1]) / 100 * noise)
    elif condition.endswith("-bit"):
        levels = 2 ** int(condition.split("-")[0]) - 1
        inverse = low + ((inverse - low).clamp(min=0) / (high - low) * levels).round() / levels * (high - low)
    elif condition == "half size":
        half = F.interpolate(inverse, scale_factor=0.5, mode="area")
        inverse = F.interpolate(half, size=inverse.shape[-2:], mode="bicubic", align_corners=False).clamp(min=float(low) * 0.25)
    elif condition == "relative":
        inverse = ((inverse - low) / (high - low)).clamp(0, 1) * 1000
    elif condition == "sensor":
        inverse = inverse + sensor_error(inverse, float(depth[scene.mask].median()))
        inverse = inverse.clamp(min=float(low) * 0.25)
    elif condition == "registered":
        unit = ROOM_DISTANCE / depth[scene.mask].median()
        inverse = unit / registered_depth(unit / inverse[0, 0], scene.intrinsics[0].double())[None, None]
    return inverse.float()


def sensor_error(inverse: Tensor, distance: float) -> Tensor:
    """A depth camera's error, to be added to inverse depth: spatially correlated matching noise, quantisation, then resampling.

    The scene is scaled so that its median `distance` is 2 m. Source: Khoshelham and Oude Elberink, Sensors 12, 2012.
    """
    pixels = SENSOR_SCALE * distance / SENSOR_DISTANCE
    seen = F.interpolate(inverse * pixels, scale_factor=0.93, mode="nearest-exact")
    error = matched(seen, 0.06, (3, 3)) - seen
    return F.interpolate(error, size=inverse.shape[-2:], mode="bilinear", align_corners=False) / pixels


def matched(disparity: Tensor, deviation: float, windows: Sequence[int]) -> Tensor:
    """Disparity (1, 1, H, W) as from a block matcher: noise (in pixels) shared within windows, in whole steps."""
    noise = torch.randn(disparity.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for window in windows:
        noise = F.avg_pool2d(noise, window, 1, window // 2)
    return ((disparity + noise * (deviation / noise.std())) / SENSOR_STEP).round() * SENSOR_STEP


def registered_depth(depth: Tensor, intrinsics: Tensor) -> Tensor:
    """Depth (H, W) in metres from a structured-light camera beside the colour camera, registered to the colour camera.

    The sensor's depth is resampled (lens correction), rounded to millimetres and projected; holes are filled from the farther side.
    """
    height, width = depth.shape
    sizes = [(round(zoom * height), round(zoom * width)) for zoom in SENSOR_ZOOMS]
    seen = (SENSOR_SCALE / depth_from_beside(depth, intrinsics, sizes[0]))[None, None]
    sensor = SENSOR_SCALE / matched(seen, 0.08, (9,)).clamp(min=SENSOR_STEP)
    sensor = F.interpolate(sensor, size=sizes[1], mode="bilinear", align_corners=True)[0, 0]
    sensor = (sensor * 1000).round() / 1000
    v, u = colour_grid(depth, sizes[1])
    columns, rows = (u - intrinsics[0, 0] * CAMERA_DISTANCE / sensor).round().long(), v.round().long()
    inside = (columns >= 0) & (columns < width)
    nearest = torch.full((height * width,), math.inf, dtype=torch.float64)
    nearest.scatter_reduce_(0, (rows * width + columns)[inside], sensor[inside], "amin")
    return fill_from_sides(nearest.view(height, width))


def colour_grid(depth: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Positions (row, column) in the colour image, at infinity, of the pixels of a sensor of this size and the same view."""
    axes = [torch.linspace(0, side - 1, count, dtype=torch.float64) for side, count in zip(depth.shape, size, strict=True)]
    v, u = torch.meshgrid(*axes, indexing="ij")
    return v, u


def depth_from_beside(depth: Tensor, intrinsics: Tensor, size: tuple[int, int]) -> Tensor:
    """Depth seen from `CAMERA_DISTANCE` to the left, with another number of pixels."""
    v, u = colour_grid(depth, size)
    seen = torch.full_like(u, float(depth.median()))
    for _ in range(20):
        columns = (u - intrinsics[0, 0] * CAMERA_DISTANCE / seen).round().long().clamp(0, depth.shape[1] - 1)
        seen = depth[v.round().long(), columns]
    return seen


def fill_from_sides(depth: Tensor) -> Tensor:
    """Replaces infinite depth (H, W) by the farther of the nearest finite pixels in the row."""
    places = torch.arange(depth.shape[1]).expand_as(depth)
    known = depth.isfinite()
    left = torch.where(known, places, -1).cummax(1).values
    right = torch.where(known, places, depth.shape[1]).flip(1).cummin(1).values.flip(1)
    sides = [depth.gather(1, side.clamp(0, depth.shape[1] - 1)) for side in (left, right)]
    return torch.stack([torch.where(side.isfinite(), side, 0) for side in sides]).amax(0)


def ours(scene: Scene, inverse: Tensor, condition: str) -> Tensor:
    """This pack's method; its only option is whether edges are soft."""
    if condition == "relative":
        return disparity_to_normals(inverse, scene.mask)
    return depth_to_normals(1 / inverse, scene.intrinsics, scene.mask, "soft" if condition == "half size" else "sharp")


def kornia_normals(scene: Scene, inverse: Tensor, condition: str) -> Tensor | None:
    """Sobel filter on points by kornia; None without a camera."""
    from kornia.geometry.depth import depth_to_normals as kornia_depth_to_normals

    if condition == "relative":
        return None
    # kornia's normals point away from the camera, in OpenCV axes.
    return convert_normals(-kornia_depth_to_normals(1 / inverse, scene.intrinsics), Axes.OPENCV, Axes.OPENGL)


def open3d_normals(scene: Scene, inverse: Tensor, condition: str) -> Tensor | None:
    """Open3D's PCA of the 30 nearest neighbours."""
    import open3d

    if condition == "relative":
        return None
    points = depth_to_points(1 / inverse, scene.intrinsics)[0].flatten(1).T[scene.mask.flatten()].double().numpy()
    cloud = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(points))
    cloud.estimate_normals(open3d.geometry.KDTreeSearchParamKNN(30))
    cloud.orient_normals_towards_camera_location(np.zeros(3))
    normals = torch.zeros(scene.mask.numel(), 3)
    normals[scene.mask.flatten()] = torch.from_numpy(np.asarray(cloud.normals)).float()
    return convert_normals(normals.T.reshape(scene.normals.shape), Axes.OPENCV, Axes.OPENGL)


def old_midas(scene: Scene, inverse: Tensor, condition: str) -> Tensor:
    """The old formula with the best `a` for this very image, unknown in practice."""
    span = inverse[scene.mask].max() - inverse[scene.mask].min()
    maps = [convert_normals(midas_normals(inverse, float(span) * z, 0.0), Axes.SCANNET, Axes.OPENGL) for z in MIDAS_Z]
    return min(maps, key=lambda normals: mean_error(normals, scene, condition))


def tutorial(scene: Scene, inverse: Tensor, condition: str) -> Tensor | None:
    """The Blender tutorial's formula, with corrected x."""
    if condition == "relative":
        return None
    return convert_normals(dmap2norm(1 / inverse), Axes.SCANNET, Axes.OPENGL)


METHODS: dict[str, Callable[[Scene, Tensor, str], Tensor | None]] = {
    "this pack": ours,
    "kornia": kornia_normals,
    "Open3D, knn 30": open3d_normals,
    "old MiDaS, best a": old_midas,
    "dmap2norm": tutorial,
}
# methods that accept missing pixels
SCATTERED = ("this pack", "Open3D, knn 30")
NEEDS = {"kornia": "kornia", "Open3D, knn 30": "open3d"}


def mean_error(normals: Tensor, scene: Scene, condition: str) -> float:
    """Mean angular error in degrees over the mask; NaN counts as 90.

    A sensor has limited range: its normals count up to three times the median depth.
    """
    reach = 3 * scene.depth[scene.mask].median() if condition in ("sensor", "registered") else math.inf
    judged = scene.mask & (scene.depth < reach)
    cross = torch.linalg.vector_norm(torch.linalg.cross(normals, scene.normals, dim=1), dim=1)
    angle = torch.rad2deg(torch.atan2(cross, (normals * scene.normals).sum(1))).nan_to_num(90.0)
    return float(angle[judged[:, 0]].mean())


def print_accuracy(scenes: list[Scene]) -> None:
    """Prints a row per method and a column per condition."""
    print(f"mean error in degrees on {len(scenes)} scenes")
    print(f"{'':20s}" + "".join(f"{condition:>13s}" for condition in CONDITIONS))
    for name, method in METHODS.items():
        if name in NEEDS and importlib.util.find_spec(NEEDS[name]) is None:
            print(f"{name:20s}  not installed")
            continue
        cells = []
        for condition in CONDITIONS:
            if condition == "lidar" and name not in SCATTERED:
                cells.append(f"{'':>13s}")
                continue
            given = [measured(scene, condition) for scene in scenes]
            found = [(scene, method(scene, degraded(full, condition), condition)) for scene, full in zip(given, scenes, strict=True)]
            errors = [mean_error(normals, scene, condition) for scene, normals in found if normals is not None]
            cells.append(f"{np.mean(errors):13.2f}" if errors else f"{'':>13s}")
        print(f"{name:20s}" + "".join(cells), flush=True)


def print_times(device: str, height: int, width: int, repeats: int) -> None:
    """Best of `repeats`, measured alternately, so that load affects all alike."""
    v, u = torch.meshgrid(torch.arange(float(height)), torch.arange(float(width)), indexing="ij")
    smooth = (3 + 0.3 * torch.sin(u / 200) * torch.cos(v / 150))[None, None]
    intrinsics = intrinsics_from_fov(60, height, width).to(device)
    depths = {f"noise {noise * 100:g} %": smooth * (1 + noise * torch.randn(smooth.shape)) for noise in (0.0, 0.001, 0.005, 0.02)}
    runs = {f"this pack, {name}": (depth_to_normals, depth.to(device)) for name, depth in depths.items()}
    if importlib.util.find_spec("kornia"):
        from kornia.geometry.depth import depth_to_normals as kornia_depth_to_normals

        runs = {"kornia": (kornia_depth_to_normals, smooth.to(device)), **runs}
    best = dict.fromkeys(runs, math.inf)
    for _ in range(repeats):
        for name, (method, depth) in runs.items():
            best[name] = min(best[name], seconds(lambda method=method, depth=depth: method(depth, intrinsics), device))
    print(f"time at {width}x{height} on {device}, {torch.get_num_threads()} thread(s)")
    for name, time_taken in best.items():
        ratio = f"  {time_taken / best['kornia']:5.2f} x kornia" if "kornia" in best else ""
        print(f"{name:24s} {time_taken * 1000:8.1f} ms{ratio}")


def seconds(function: Callable[[], Tensor], device: str) -> float:
    """Duration of one call; on a CPU its processor time, which excludes other processes."""
    if device == "cpu":
        start = time.process_time()
        function()
        return time.process_time() - start
    torch.cuda.synchronize()
    start = time.perf_counter()
    function()
    torch.cuda.synchronize()
    return time.perf_counter() - start


if __name__ == "__main__":
    sys.exit(main())
