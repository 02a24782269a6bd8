"""Renders large images with their depth and normals, for `tiles.py`. Runs in a Python that has bpy (`pip install bpy`).

    python benchmarks/tiles_scenes.py --out DIR [--scenes things posts leaves] [--seed 1] [--width 2560 --height 1920] [--samples 6]

DIR/<scene>_<seed>.npz: `rgb` (H, W, 3) uint8, `depth` (H, W) float32 metres, `normals` (H, W, 3) float32 in OpenGL axes, one ray a pixel,
`intrinsics` (3, 3), centre of the first pixel = (0, 0). The scenes are those of `stereo_scenes.py`, from the left camera.
"""

from __future__ import annotations

import argparse
import random

import numpy as np
from blender_scene import add_size, as_bytes, geometry_of, options, rendered
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
        rgb = as_bytes(rendered(bpy, scene))
        np.savez_compressed(arguments.out / f"{name}_{arguments.seed}.npz", rgb=rgb, **geometry_of(scene))


if __name__ == "__main__":
    main()
