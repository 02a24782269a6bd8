"""Renders large images with their depth and normals, for `tiles.py`. Runs in a Python that has bpy (`pip install bpy`).

    python benchmarks/tiles_scenes.py --out DIR [--scenes things posts leaves] [--seed 1] [--width 2560 --height 1920] [--samples 6]

DIR/<scene>_<seed>.npz: `rgb` (H, W, 3) uint8, `depth` (H, W) float32 metres, `normals` (H, W, 3) float32 in OpenGL axes, one ray a pixel,
`intrinsics` (3, 3), centre of the first pixel = (0, 0). The scenes are those of `stereo_scenes.py`, from the left camera.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from blender_scene import options
from stereo_scenes import SCENES, _new_scene


def main() -> None:
    """Renders every scene."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", nargs="+", default=list(SCENES), choices=SCENES)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--width", type=int, default=2560)
    parser.add_argument("--height", type=int, default=1920)
    parser.add_argument("--samples", type=int, default=6, help="rays a pixel; not denoised, which takes longer than rendering")
    arguments, bpy = options(parser)
    for name in arguments.scenes:
        scene = _new_scene(bpy, arguments)
        scene.cycles.use_denoising, scene.cycles.max_bounces = False, 1
        SCENES[name](bpy, random.Random(arguments.seed))
        np.savez_compressed(arguments.out / f"{name}_{arguments.seed}.npz", **_view(bpy, scene))


def _view(bpy: Any, scene: Any) -> dict[str, Any]:
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "blender"))
    from render_geometry import render_geometry

    with tempfile.TemporaryDirectory() as folder:
        scene.render.filepath = str(Path(folder) / "view.png")
        bpy.ops.render.render(write_still=True)
        image = bpy.data.images.load(scene.render.filepath)
        levels = np.empty(len(image.pixels), np.float32)
        image.pixels.foreach_get(levels)
        width, height = image.size
    rgb = (levels.reshape(height, width, 4)[::-1, :, :3] * 255).round().astype(np.uint8)
    geometry = render_geometry(scene)
    return {"rgb": rgb, "depth": geometry.depth, "normals": geometry.normals, "intrinsics": geometry.intrinsics}


if __name__ == "__main__":
    main()
