"""Renders large images with their depth and normals, for `tiles.py`. Runs in a Python that has bpy (`pip install bpy`).

    python benchmarks/tiles_scenes.py --out DIR [--scenes things posts leaves] [--seed 1] [--width 2560 --height 1920] [--samples 6]

DIR/<scene>_<seed>.npz: `rgb` (H, W, 3) uint8, `depth` (H, W) float32 metres, `normals` (H, W, 3) float32 in OpenGL axes, one ray a pixel,
`intrinsics` (3, 3), centre of the first pixel = (0, 0). The scenes are those of `stereo_scenes.py`, from the left camera.
"""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
from blender_scene import add_size, as_bytes, options, rendered
from stereo_scenes import SCENES, _new_scene


def main() -> None:
    """Renders every scene."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", nargs="+", default=list(SCENES), choices=SCENES)
    parser.add_argument("--seed", type=int, default=1)
    add_size(parser, 2560, 1920, 6, "rays a pixel; not denoised, which takes longer than rendering")
    arguments, bpy = options(parser)
    for name in arguments.scenes:
        scene = _new_scene(bpy, arguments)
        scene.cycles.use_denoising, scene.cycles.max_bounces = False, 1
        SCENES[name](bpy, random.Random(arguments.seed))
        np.savez_compressed(arguments.out / f"{name}_{arguments.seed}.npz", **_view(bpy, scene))


def _view(bpy: Any, scene: Any) -> dict[str, Any]:
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "blender"))
    from render_geometry import render_geometry

    rgb = as_bytes(rendered(bpy, scene))
    geometry = render_geometry(scene)
    return {"rgb": rgb, "depth": geometry.depth, "normals": geometry.normals, "intrinsics": geometry.intrinsics}


if __name__ == "__main__":
    main()
