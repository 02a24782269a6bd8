"""What Blender's views make of bright coloured light, for `roll_off.py`. Runs in a Python that has bpy, not in the pack's own.

    python benchmarks/roll_off_views.py --out DIR

DIR/views.npz: `base` (N, 3), linear colours of surfaces, each under each of the LIGHTS; `lit` (N, S, 3), their linear light as that
gets brighter, half a stop a step; and for each of VIEWS (N, S, 3) in [0, 1], sRGB, what Blender shows.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from blender_scene import options

VIEWS = ("Standard", "Filmic", "AgX", "Khronos PBR Neutral")
LIGHTS = ("ffb46b", "ff9d4d", "ff5020", "4070ff", "40ff60", "ffffff")
SURFACES = ((0.3, 0.3, 0.3), (0.5, 0.25, 0.15))
STOPS = np.arange(-2, 6.01, 0.5)


def main() -> None:
    """Writes the file."""
    arguments, bpy = options(argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter))
    colours = np.array([[_linear(int(light[i : i + 2], 16) / 255) for i in (0, 2, 4)] for light in LIGHTS])
    base = np.tile(SURFACES, (len(LIGHTS), 1))
    lit = (base * np.repeat(colours, len(SURFACES), 0))[:, None] * 2 ** STOPS[:, None]
    np.savez(arguments.out / "views.npz", base=base, lit=lit, **{view: _shown(bpy, lit, view) for view in VIEWS})


def _linear(coded: float) -> float:
    return coded / 12.92 if coded <= 0.04045 else ((coded + 0.055) / 1.055) ** 2.4


def _shown(bpy: Any, light: np.ndarray, view: str) -> np.ndarray:
    scene, (height, width, _) = bpy.context.scene, light.shape
    given = bpy.data.images.new("Light", width, height, float_buffer=True)
    given.colorspace_settings.name = "Linear Rec.709"
    given.pixels.foreach_set(np.dstack((light, np.ones((height, width)))).astype(np.float32).ravel())
    scene.view_settings.view_transform, scene.view_settings.look = view, "None"
    settings = scene.render.image_settings
    settings.file_format, settings.color_mode, settings.color_depth = "PNG", "RGB", "16"
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "shown.png")
        given.save_render(path, scene=scene)
        shown = bpy.data.images.load(path)
        shown.colorspace_settings.name = "Non-Color"
        pixels = np.empty(height * width * 4, np.float32)
        shown.pixels.foreach_get(pixels)
    return pixels.reshape(height, width, 4)[..., :3]


if __name__ == "__main__":
    main()
