"""Shared by the scripts that render benchmark scenes: command line, an empty scene with a camera, materials, images."""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np


def options(parser: argparse.ArgumentParser) -> tuple[argparse.Namespace, Any]:
    """Parses a script's command line with --out, creates that folder, and imports bpy."""
    parser.add_argument("--out", required=True, type=Path, metavar="DIR")
    arguments = parser.parse_args()
    try:
        import bpy
    except ImportError:
        parser.error("this Python has no bpy; install it (pip install bpy) in one of its own, or run the script in Blender")
    arguments.out.mkdir(parents=True, exist_ok=True)
    return arguments, bpy


def add_size(parser: argparse.ArgumentParser, width: int, height: int, samples: int, help_text: str = "rays a pixel") -> None:
    """Adds the options that `empty_scene` reads."""
    parser.add_argument("--width", type=int, default=width)
    parser.add_argument("--height", type=int, default=height)
    parser.add_argument("--samples", type=int, default=samples, help=help_text)


def empty_scene(bpy: Any, arguments: argparse.Namespace, lens: float = 32, tilt: float = 90, view_transform: str = "Standard") -> Any:
    """A scene with only a camera, for Cycles on the CPU, without denoising and indirect light.

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


def add_head(bpy: Any, size: float, location: Any, turn: float) -> None:
    """Adds Blender's monkey as the active object, with faces that in a small image are no smaller than its pixels."""
    bpy.ops.mesh.primitive_monkey_add(size=size, location=location, rotation=(0, 0, turn))
    levels = round(math.log2(bpy.context.scene.render.resolution_x / 80))
    bpy.context.object.modifiers.new("Subdivision", "SUBSURF").render_levels = max(0, min(3, levels))


def new_material(bpy: Any, name: str) -> tuple[Any, Any, Any]:
    """A material with nodes, its nodes and its links."""
    material = bpy.data.materials.new(name)
    if bpy.app.version < (5, 0, 0):
        material.use_nodes = True
    return material, material.node_tree.nodes, material.node_tree.links


def rendered(bpy: Any, scene: Any, suffix: str = ".png") -> np.ndarray:
    """The camera's image, (H, W, 3) float32, as stored in the scene's file format with this `suffix`."""
    with tempfile.TemporaryDirectory() as folder:
        return rendered_to(bpy, scene, Path(folder) / f"view{suffix}")


def rendered_to(bpy: Any, scene: Any, path: Path) -> np.ndarray:
    """As `rendered`, keeping the file."""
    scene.render.filepath = str(path)
    bpy.ops.render.render(write_still=True)
    image = bpy.data.images.load(scene.render.filepath)
    levels = np.empty(len(image.pixels), np.float32)
    image.pixels.foreach_get(levels)
    width, height = image.size
    bpy.data.images.remove(image)
    return levels.reshape(height, width, 4)[::-1, :, :3].copy()


def geometry_of(scene: Any) -> dict[str, Any]:
    """Depth (H, W) in metres, normals (H, W, 3) in OPENGL axes, one ray a pixel, and intrinsics (3, 3), as the add-on renders them."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "blender"))
    from render_geometry import render_geometry

    found = render_geometry(scene)
    return {"depth": found.depth, "normals": found.normals, "intrinsics": found.intrinsics}


def as_bytes(levels: np.ndarray) -> np.ndarray:
    """Levels in [0, 1] as uint8."""
    return (levels * 255).round().astype(np.uint8)
