"""Seconds an image of 1080p for what is done with maps: light, parallax, lens, heights, occlusion. On a GPU as well where there is one.

    python benchmarks/effects.py [PICTURE] [--only relight parallax] [--rounds 5] [--threads 1] [--against CHECKOUT]

Depth and normals are tiny's of the image (default: the pack's own photograph at 1920x1080); making them is not counted. Each figure
is the median of its rounds, in which all rows take turns; on a GPU each row waits for the device. Rows with `(node)` are whole nodes, with
the likely depth, its sharpened edges, the sky and the colours; the others are the bare function. --against: the node Relight of another
checkout, beside ours: seconds, and how far its images are from ours, and from ours without roll-off, in steps of 255.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

import depth_normal
from depth_normal.geometry.estimate import Estimate

FULL_HD = (1920, 1080)
Run = Callable[[], Any]
# What the node Relight is given, by row.
LIGHTS: dict[str, dict[str, Any]] = {
    "relight, sun": {"shadows": 0.5},
    "relight, low sun": {"azimuth": 180.0, "elevation": 15.0, "shadows": 0.5},
    "relight, candle": {"light": "point", "colour": "#ffb46b", "specular": 0.2, "shadows": 0.5},
    "relight, no shadow": {"shadows": 0.0},
}


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", nargs="?", type=Path, metavar="IMAGE")
    parser.add_argument("--only", nargs="+", metavar="WORDS", help="rows whose names begin so")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1, help="of torch and OpenCV on the CPU (default: %(default)s)")
    parser.add_argument("--width", type=int, default=FULL_HD[0])
    parser.add_argument("--height", type=int, default=FULL_HD[1])
    parser.add_argument("--against", type=Path, metavar="CHECKOUT", help="root of another version of the pack")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    cv2.setNumThreads(arguments.threads)
    image = read_image(
        arguments.image or Path(str(depth_normal.__file__)).parent / "app" / "coffee.jpg", (arguments.width, arguments.height)
    )
    known = depth_normal.load_model("tiny", "float32", torch.device("cpu")).estimate(image.movedim(-1, 1))
    devices = [torch.device("cpu"), *([torch.device("cuda")] if torch.cuda.is_available() else [])]
    names = ", ".join([f"CPU, {arguments.threads} thread(s)", *([torch.cuda.get_device_name()] if len(devices) > 1 else [])])
    print(f"{arguments.width}x{arguments.height}, median of {arguments.rounds}; {names}; torch {torch.__version__}\n")
    columns = {str(device): measured(chosen(rows(image, known, device), arguments.only), arguments.rounds, device) for device in devices}
    if not columns["cpu"]:
        parser.error(f"no row begins with {', '.join(arguments.only)}; known are {', '.join(rows(image, known, devices[0]))}")
    print(f"{'seconds':34}" + "".join(f"{name:>10}" for name in columns))
    for row in columns["cpu"]:
        print(f"{row:34}" + "".join(f"{column[row]:10.3f}" for column in columns.values()))
    if arguments.against:
        compare(arguments.against, image, known)


def read_image(path: Path, size: tuple[int, int]) -> Tensor:
    """An image of that size as a node gets it, (1, H, W, 3)."""
    pixels = cv2.imread(str(path))
    assert pixels is not None, f"{path} is no image"
    return torch.from_numpy(np.ascontiguousarray(cv2.resize(pixels, size)[..., ::-1])).float()[None] / 255


def rows(image: Tensor, known: Estimate, device: torch.device) -> dict[str, Run]:
    """What is measured, by its name; a row whose part the pack has not is left out."""
    image, known = image.to(device), known.to(device)
    made: dict[str, Run] = {}
    for add in (_relight_rows, _parallax_rows, _lens_rows, _texture_rows):
        try:
            made.update(add(image, known))
        except ImportError as absent:
            print(f"left out: {absent}")
    return made


def _relight_rows(image: Tensor, known: Estimate) -> dict[str, Run]:
    from depth_normal.geometry.effects.lights import Light, light_direction
    from depth_normal.geometry.effects.lit_scene import lit_scene
    from depth_normal.geometry.effects.shadows import cast_shadow
    from depth_normal.nodes.lights import Light as LightNode
    from depth_normal.nodes.relight import Relight

    (more,) = LightNode().execute(light_size=0.3)
    (more,) = LightNode().execute(lights=more, light="point")
    scene = lit_scene(image.movedim(-1, 1), known, ())
    lamps = {"hard": Light(light_direction(180, 20)), "soft": Light(light_direction(180, 20), size=0.3)}
    made: dict[str, Run] = {}
    for name, given in LIGHTS.items():
        made[f"{name} (node)"] = lambda given=given: Relight().execute(image, geometry=known, **given)
    made["relight, three lamps (node)"] = lambda: Relight().execute(image, geometry=known, lights=more)
    assert scene.depth is not None
    for name, lamp in lamps.items():
        made[f"cast_shadow, {name}"] = lambda lamp=lamp, depth=scene.depth: cast_shadow(depth, scene.intrinsics, lamp)
    return made


def _parallax_rows(image: Tensor, known: Estimate) -> dict[str, Run]:
    from depth_normal.geometry.assumptions import assumed_intrinsics, filled_depth
    from depth_normal.geometry.edges.depth_edges import depth_at_image_edges
    from depth_normal.geometry.views.parallax import camera_path, parallax_frames

    planar, intrinsics = image.movedim(-1, 1), assumed_intrinsics(known)
    depth = depth_at_image_edges(filled_depth(known), planar)
    path = camera_path("orbit", 8, 0.05)
    return {"parallax, 8 frames": lambda: list(parallax_frames(planar, depth, intrinsics, path))}


def _lens_rows(image: Tensor, known: Estimate) -> dict[str, Run]:
    lens = importlib.import_module("depth_normal.geometry.effects.depth_of_field")
    from depth_normal.geometry.assumptions import filled_depth

    planar = image.movedim(-1, 1)
    # Sharp in the middle of the disparities; the largest circle is a fiftieth of the longer side.
    inverse = 1 / filled_depth(known)
    circle = (inverse - (inverse.amin() + inverse.amax()) / 2) * (max(planar.shape[-2:]) / 25)
    return {"depth of field": lambda: lens.depth_of_field(planar, circle)}


def _texture_rows(image: Tensor, known: Estimate) -> dict[str, Run]:
    height = importlib.import_module("depth_normal.geometry.textures.height")
    occlusion = importlib.import_module("depth_normal.geometry.textures.occlusion")
    from depth_normal.geometry.effects.lit_scene import lit_scene

    scene = lit_scene(image.movedim(-1, 1), known, ())
    relief = height.normals_to_height(scene.normals)
    return {
        "normal to height": lambda: height.normals_to_height(scene.normals),
        "ambient occlusion of a height": lambda: occlusion.height_to_occlusion(relief),
    }


def chosen(made: dict[str, Run], only: list[str] | None) -> dict[str, Run]:
    """The rows whose names begin with what was asked for."""
    return {name: run for name, run in made.items() if not only or name.startswith(tuple(only))}


def measured(made: dict[str, Run], rounds: int, device: torch.device) -> dict[str, float]:
    """Median seconds of each row, after one round that does not count."""
    times: dict[str, list[float]] = {name: [] for name in made}
    for turn in range(rounds + 1):
        for name, run in made.items():
            start = time.perf_counter()
            run()
            if device.type == "cuda":
                torch.cuda.synchronize()
            if turn:
                times[name].append(time.perf_counter() - start)
    return {name: median(each) for name, each in times.items()}


def compare(root: Path, image: Tensor, known: Estimate) -> None:
    """The node Relight of another checkout and ours: seconds, and how far the images are apart."""
    spec = importlib.util.spec_from_file_location("other_depth_normal", root / "__init__.py", submodule_search_locations=[str(root)])
    assert spec is not None and spec.loader is not None
    sys.modules[spec.name] = other = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(other)
    theirs = importlib.import_module("other_depth_normal.nodes.relight").Relight()
    theirs_known = importlib.import_module("other_depth_normal.geometry.estimate").Estimate
    quantities = importlib.import_module("other_depth_normal.geometry.estimate").Quantity
    assert known.quantity is not None
    same = theirs_known(known.depth, quantities(known.quantity.value), normals=known.normals, mask=known.mask)
    from depth_normal.nodes.relight import Relight

    print(f"\n{'against ' + root.name:34}{'theirs s':>10}{'ours s':>10}{'apart':>10}{'clipped':>10}")
    for name, given in LIGHTS.items():
        start = time.perf_counter()
        (before,) = theirs.execute(image, geometry=same, **given)
        middle = time.perf_counter()
        (after,) = Relight().execute(image, geometry=known, **given)
        end = time.perf_counter()
        (clipped,) = Relight().execute(image, geometry=known, roll_off=False, **given)
        gaps = [float((before - each).abs().mean()) * 255 for each in (after, clipped)]
        print(f"{name:34}{middle - start:10.2f}{end - middle:10.2f}{gaps[0]:10.2f}{gaps[1]:10.2f}", flush=True)


if __name__ == "__main__":
    main()
