"""Renders still lifes with their true depth and normals, for `make_scene_thumbnails.py`, in a Python that has bpy (`pip install bpy`).

    python docs/thumbnail_scenes.py --out DIR [--samples 48]

What is there already stays. DIR/<seed>.npz: `picture` (H, W, 3) uint8, `depth` (H, W) float32 metres, `normals` (H, W, 3), OPENGL axes.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT / "blender")]

from blender_scene import as_bytes, empty_scene, new_material, options, rendered  # noqa: E402

SEEDS = range(1, 9)
# Floor and wall, then things: one palette a scene, in turn.
PALETTES = (
    ((0.55, 0.42, 0.3), (0.75, 0.72, 0.66), (0.7, 0.12, 0.08), (0.9, 0.6, 0.15), (0.12, 0.25, 0.35)),
    ((0.25, 0.3, 0.33), (0.5, 0.6, 0.62), (0.85, 0.75, 0.55), (0.75, 0.3, 0.12), (0.08, 0.2, 0.15)),
    ((0.6, 0.55, 0.5), (0.35, 0.2, 0.18), (0.85, 0.8, 0.75), (0.2, 0.35, 0.5), (0.8, 0.5, 0.2)),
)


def main() -> None:
    """Renders every scene."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=48, help="rays a pixel")
    parser.set_defaults(width=480, height=480)
    arguments, bpy = options(parser)
    from render_geometry import render_geometry

    for seed in SEEDS:
        if (arguments.out / f"{seed}.npz").exists():
            continue
        scene = empty_scene(bpy, arguments, lens=52, tilt=70)
        scene.camera.location = (0, 0, 1.25)
        scene.cycles.max_bounces = 3
        _light(bpy, scene)
        _things(bpy, random.Random(seed), PALETTES[seed % len(PALETTES)])
        geometry = render_geometry(scene)
        np.savez_compressed(
            arguments.out / f"{seed}.npz", picture=as_bytes(rendered(bpy, scene)), depth=geometry.depth, normals=geometry.normals
        )


def _light(bpy: Any, scene: Any) -> None:
    """A low window on the left, and a grey room."""
    scene.world = bpy.data.worlds.new("Room")
    scene.world.color = (0.25, 0.27, 0.3)
    lamp = bpy.data.objects.new("Window", bpy.data.lights.new("Window", "AREA"))
    lamp.data.energy, lamp.data.size = 260, 2.0
    lamp.location, lamp.rotation_euler = (-3.2, 1.2, 3.0), (math.radians(40), 0, math.radians(-60))
    scene.collection.objects.link(lamp)


def _things(bpy: Any, choose: random.Random, palette: tuple[tuple[float, float, float], ...]) -> None:
    """Bowls, balls, boxes and a ring on a table before a wall."""
    for colour, place, turn in ((palette[0], (0, 4, 0), (0, 0, 0)), (palette[1], (0, 5.6, 0), (math.pi / 2, 0, 0))):
        bpy.ops.mesh.primitive_plane_add(size=30, location=place, rotation=turn)
        _paint(bpy, colour)
    for i in range(9):
        column, row = i % 3, i // 3
        size = choose.uniform(0.3, 0.52)
        x, y = (column - 1) * 0.85 + choose.uniform(-0.2, 0.2), 2.3 + row * 0.85 + choose.uniform(-0.15, 0.15)
        kind = choose.choice(("ball", "box", "cone", "ring", "post", "head"))
        turn = choose.uniform(0, 3)
        if kind == "ball":
            bpy.ops.mesh.primitive_uv_sphere_add(segments=96, ring_count=48, radius=size / 2, location=(x, y, size / 2))
        elif kind == "box":
            bpy.ops.mesh.primitive_cube_add(size=size * 0.8, location=(x, y, size * 0.4), rotation=(0, 0, turn))
        elif kind == "cone":
            bpy.ops.mesh.primitive_cone_add(vertices=96, radius1=size / 2, radius2=size / 8, depth=size, location=(x, y, size / 2))
        elif kind == "ring":
            upright = (math.pi / 2, 0, turn)
            bpy.ops.mesh.primitive_torus_add(
                major_radius=size / 2, minor_radius=size / 8, major_segments=96, location=(x, y, size * 0.62), rotation=upright
            )
        elif kind == "post":
            bpy.ops.mesh.primitive_cylinder_add(vertices=96, radius=size / 4, depth=size * 1.8, location=(x, y, size * 0.9))
        else:
            bpy.ops.mesh.primitive_monkey_add(size=size, location=(x, y, size * 0.5), rotation=(-0.6, 0, choose.uniform(-0.7, 0.7)))
            bpy.ops.object.modifier_add(type="SUBSURF")
        if kind in ("ball", "ring", "head"):
            bpy.ops.object.shade_smooth()
        _paint(bpy, choose.choice(palette[2:]))


def _paint(bpy: Any, colour: tuple[float, float, float]) -> None:
    """Gives the active thing a colour."""
    material, nodes, _ = new_material(bpy, "Paint")
    surface = nodes["Principled BSDF"]
    surface.inputs["Base Color"].default_value, surface.inputs["Roughness"].default_value = (*colour, 1), 0.45
    bpy.context.object.data.materials.append(material)


if __name__ == "__main__":
    main()
