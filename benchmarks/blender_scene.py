"""What the scripts that render scenes for benchmarks share: their command line, and an empty scene with a camera."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any


def options(parser: argparse.ArgumentParser) -> tuple[argparse.Namespace, Any]:
    """Reads the command line of a script with --out, whose folder is made, and imports bpy."""
    parser.add_argument("--out", required=True, type=Path, metavar="DIR")
    arguments = parser.parse_args()
    try:
        import bpy
    except ImportError:
        parser.error("this Python has no bpy; install it (pip install bpy) in one of its own, or run the script in Blender")
    arguments.out.mkdir(parents=True, exist_ok=True)
    return arguments, bpy


def empty_scene(bpy: Any, arguments: argparse.Namespace, lens: float = 32, tilt: float = 90, view_transform: str = "Standard") -> Any:
    """A scene with nothing but a camera, for Cycles on the CPU, without denoising, light by one bounce alone.

    Args:
        bpy: Blender's module.
        arguments: With `width`, `height` and `samples`.
        lens: In millimetres.
        tilt: Of the camera in degrees: 0 looks down, 90 ahead.
        view_transform: Blender's name.
    """
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    scene.render.resolution_x, scene.render.resolution_y = arguments.width, arguments.height
    scene.render.engine, scene.cycles.device = "CYCLES", "CPU"
    scene.cycles.samples, scene.cycles.use_denoising = arguments.samples, False
    scene.cycles.max_bounces, scene.cycles.seed = 0, 1
    scene.view_settings.view_transform = view_transform
    camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    camera.rotation_euler, camera.data.lens = (math.radians(tilt), 0, 0), lens
    scene.collection.objects.link(camera)
    scene.camera = camera
    return scene
