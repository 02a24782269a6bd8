"""The cost at 1080p of effects that need maps: light, parallax, stereo, lens, fog, cut-outs, heights. On a GPU where there is one.

    python benchmarks/effects.py [IMAGE] [--only relight parallax] [--rounds 5] [--threads 1] [--against CHECKOUT]

Depth and normals are tiny's of the image (default: the pack's own photograph at 1920x1080); making them is not counted. Each figure
is the median of its rounds, in which all rows take turns; on a GPU each row waits for the device. On the CPU seconds are those of the
processor, which other work on the machine does not change. `samples`: the same in bilinear `grid_sample`s of the image, measured in turn
with the rows. Rows with `(node)` are whole nodes, with the assumed depth, its sharpened edges, the sky and the colours; the others are the
bare function. On a CPU there are also the steps of the node Relight, in samples. --against: the node Relight of another checkout, beside
ours: seconds, how far its images are from ours, and from ours without roll-off, in steps of 255, and the 99.9th percentile of the first.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

import depth_normal
from depth_normal.geometry.estimate import Estimate

FULL_HD = (1920, 1080)
Run = Callable[[], Any]
UNIT = "grid_sample"
FRAMES = 8
PARALLAX = f"parallax, a frame of {FRAMES}"
# Functions of a step of the node Relight, by the calling module; time in a nested watched function counts for the inner one only.
STEPS: dict[str, tuple[str, tuple[str, ...]]] = {
    "assumptions": ("lit_scene", ("filled_inverse", "assumed_intrinsics")),
    "edges": ("lit_scene", ("sharpened_inverse", "_outside_ramps")),
    "sky": ("lit_scene", ("sky_alpha", "predicted_sky")),
    "normals": ("lit_scene", ("with_normals", "unit_normals", "convert_normals", "_facing_where")),
    "shadows": ("relight", ("_light_left",)),
    "light": ("relight", ("_shaded",)),
    "colours": ("relight", ("srgb_to_linear", "linear_to_srgb", "roll_off")),
}
CUP = {"box_left": 0.11, "box_top": 0.02, "box_right": 0.82, "box_bottom": 0.98}  # in the bundled photograph
# arguments of the node Relight, by row
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
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")  # as the nodes choose it
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {arguments.threads} thread(s)"
    print(f"{arguments.width}x{arguments.height}, median of {arguments.rounds}; {name}; torch {torch.__version__}\n")
    seconds = measured(chosen(rows(image, known, device), arguments.only), arguments.rounds, device)
    if not seconds:
        parser.error(f"no row begins with {', '.join(arguments.only)}; known are {', '.join(rows(image, known, device))}")
    print(f"{'':34}{f'{device}, s':>10}{'samples':>10}")
    for row, each in seconds.items():
        one = each / (FRAMES if row == PARALLAX else 1)  # per frame for a parallax
        print(f"{row:34}{one:10.4f}{one / seconds[UNIT]:10.1f}")
    lights = {name: given for name, given in LIGHTS.items() if f"{name} (node)" in seconds and device.type == "cpu"}
    if lights:
        print(f"\n{'samples':34}" + "".join(f"{step:>12}" for step in (*STEPS, "the rest")))
    for name, given in lights.items():
        steps = measure_steps(image, known, given, arguments.rounds)
        print(f"{name:34}" + "".join(f"{each / seconds[UNIT]:12.1f}" for each in steps.values()))
    if arguments.against:
        compare(arguments.against, image, known)


def read_image(path: Path, size: tuple[int, int]) -> Tensor:
    """An image of this size as nodes get it, (1, H, W, 3)."""
    pixels = cv2.imread(str(path))
    assert pixels is not None, f"{path} is no image"
    return torch.from_numpy(np.ascontiguousarray(cv2.resize(pixels, size)[..., ::-1])).float()[None] / 255


def rows(image: Tensor, known: Estimate, device: torch.device) -> dict[str, Run]:
    """The measured calls by name; omits rows that this version of the pack lacks."""
    image, known = image.to(device), known.to(device)
    planar = image.movedim(-1, 1).contiguous()
    # slightly rotated and enlarged
    grid = F.affine_grid(torch.eye(2, 3, device=device)[None] + 0.01, list(planar.shape), align_corners=False)
    made: dict[str, Run] = {UNIT: lambda: F.grid_sample(planar, grid, align_corners=False)}
    for add in (_relight_rows, _parallax_rows, _edge_rows, _lens_rows, _texture_rows):
        try:
            made.update(add(image, known))
        except ImportError as absent:
            print(f"left out: {absent}")
    return made


def _relight_rows(image: Tensor, known: Estimate) -> dict[str, Run]:
    from depth_normal.geometry.effects.lights import Light, light_direction
    from depth_normal.geometry.effects.lit_scene import lit_scene
    from depth_normal.geometry.effects.shadows import cast_shadow
    from depth_normal.nodes.relight import Light as LightNode
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
    from depth_normal.geometry.views.stereo import stereo_pair

    planar, intrinsics = image.movedim(-1, 1), assumed_intrinsics(known)
    depth = depth_at_image_edges(filled_depth(known), planar)
    path = camera_path("orbit", FRAMES, 0.05)
    return {
        PARALLAX: lambda: list(parallax_frames(planar, depth, intrinsics, path)),
        "stereo, both eyes": lambda: stereo_pair(planar, known),
    }


def _edge_rows(image: Tensor, known: Estimate) -> dict[str, Run]:
    from depth_normal.geometry.edges.refine import refine_geometry

    planar, small = image.movedim(-1, 1), known.resized(image.shape[1] // 4, image.shape[2] // 4)
    return {"refine, four times as large": lambda: refine_geometry(small, planar)}


def _lens_rows(image: Tensor, known: Estimate) -> dict[str, Run]:
    lens = importlib.import_module("depth_normal.geometry.effects.depth_of_field")
    from depth_normal.geometry.assumptions import filled_depth
    from depth_normal.nodes.effects import NODE_OF

    planar = image.movedim(-1, 1)
    # In focus at the middle of the range of disparity; if that range is 1, the largest circle is a fiftieth of the longer side.
    inverse = 1 / filled_depth(known)
    circle = (inverse - (inverse.amin() + inverse.amax()) / 2) * (max(planar.shape[-2:]) / 25)
    assert known.depth is not None
    land = (torch.arange(planar.shape[-2], device=planar.device) > planar.shape[-2] // 3)[:, None].expand_as(known.depth).clone()
    before_sky = replace(known, depth=torch.where(land, known.depth, known.depth.amin()), mask=land)
    return {
        "depth of field": lambda: lens.depth_of_field(planar, circle),
        "fog (node)": lambda: NODE_OF["fog"]().execute(image, geometry=known),
        "sky (node)": lambda: NODE_OF["sky"]().execute(image=image, geometry=before_sky),
        "cut-out, by distance (node)": lambda: NODE_OF["cutout"]().execute(image, geometry=known),
        "cut-out, in a box (node)": lambda: NODE_OF["cutout"]().execute(image, geometry=known, **CUP),
    }


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
    """The rows with a requested prefix, and the unit; empty if only the unit remains."""
    found = {name: run for name, run in made.items() if not only or name.startswith(tuple(only))}
    return {UNIT: made[UNIT], **found} if found else {}


def measured(made: dict[str, Run], rounds: int, device: torch.device) -> dict[str, float]:
    """Median seconds of each row, after a warm-up round."""
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    times: dict[str, list[float]] = {name: [] for name in made}
    for turn in range(rounds + 1):
        for name, run in made.items():
            start = clock()
            run()
            if device.type == "cuda":
                torch.cuda.synchronize()
            if turn:
                times[name].append(clock() - start)
    return {name: median(each) for name, each in times.items()}


def measure_steps(image: Tensor, known: Estimate, given: dict[str, Any], rounds: int) -> dict[str, float]:
    """Median CPU seconds of each step of the node Relight, and of the rest."""
    from depth_normal.nodes.relight import Relight

    rows = []
    for _ in range(rounds):
        watch = Watch()
        with ExitStack() as stack:
            for step, (module, names) in STEPS.items():
                caller = importlib.import_module(f"depth_normal.geometry.effects.{module}")
                for name in names:
                    stack.enter_context(patch.object(caller, name, watch.watched(step, getattr(caller, name))))
            start = time.process_time()
            Relight().execute(image, geometry=known, **given)
            whole = time.process_time() - start
        rows.append({**watch.seconds, "the rest": whole - sum(watch.seconds.values())})
    return {step: median(row[step] for row in rows) for step in rows[0]}


class Watch:
    """Sums up functions' CPU time, each without nested watched functions."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(STEPS, 0.0)
        self._inner = [0.0]

    def watched(self, step: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Wraps a function to count its time for a step."""

        def run(*given: Any, **named: Any) -> Any:
            self._inner.append(0.0)
            start = time.process_time()
            try:
                return function(*given, **named)
            finally:
                taken = time.process_time() - start
                self.seconds[step] += taken - self._inner.pop()
                self._inner[-1] += taken

        return run


def compare(root: Path, image: Tensor, known: Estimate) -> None:
    """Compares the node Relight with another checkout's: seconds, and the images' difference."""
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

    print(f"\n{'against ' + root.name:34}{'theirs s':>10}{'ours s':>10}{'apart':>10}{'clipped':>10}{'99.9 %':>10}")
    for name, given in LIGHTS.items():
        start = time.process_time()
        (before,) = theirs.execute(image, geometry=same, **given)
        middle = time.process_time()
        (after,) = Relight().execute(image, geometry=known, **given)
        end = time.process_time()
        (clipped,) = Relight().execute(image, geometry=known, roll_off=False, **given)
        gaps = [float((before - each).abs().mean()) * 255 for each in (after, clipped)]
        most = float(np.quantile((before - after).abs().numpy(), 0.999)) * 255
        print(f"{name:34}{middle - start:10.2f}{end - middle:10.2f}{gaps[0]:10.2f}{gaps[1]:10.2f}{most:10.4f}", flush=True)


if __name__ == "__main__":
    main()
