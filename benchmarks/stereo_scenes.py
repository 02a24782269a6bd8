"""Renders scenes with two cameras side by side, for `stereo.py`. Runs in a Python that has bpy (`pip install bpy`), not in the pack's own.

    python benchmarks/stereo_scenes.py --out DIR [--scenes things posts leaves] [--seeds 1 2] [--width 640 --height 360] [--samples 48]

DIR/<scene>_<seed>.npz: `left` and `right` (H, W, 3) uint8; `depth_left` and `depth_right` (H, W) float32 metres, one ray a pixel;
`intrinsics` (3, 3), centre of the first pixel = (0, 0); `baseline`, how many metres the right camera stands to the right of the left one.
"""

from __future__ import annotations

import argparse
import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np
from blender_scene import add_head, add_size, as_bytes, empty_scene, geometry_of, new_material, options, rendered

BASELINE = 0.16


def main() -> None:
    """Renders every scene with every seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", nargs="+", default=list(SCENES), choices=SCENES)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    add_size(parser, 640, 360, 48, "rays a pixel; the images are denoised")
    arguments, bpy = options(parser)
    for name in arguments.scenes:
        for seed in arguments.seeds:
            scene = _new_scene(bpy, arguments)
            SCENES[name](bpy, random.Random(seed))
            np.savez_compressed(arguments.out / f"{name}_{seed}.npz", **_two_views(bpy, scene))


def things(bpy: Any, choose: random.Random) -> None:
    """A dozen textured shapes on a floor before a wall."""
    _room(bpy, choose)
    shapes = (_cube, _ball, _cone, _ring, _head)
    for i in range(12):
        shape = shapes[i % len(shapes)]
        size = choose.uniform(0.35, 0.8)
        turn = [choose.uniform(0, math.tau) for _ in range(3)]
        shape(bpy, (choose.uniform(-2.6, 2.6), choose.uniform(2.6, 7), choose.uniform(-0.7, 1.1)), size, turn)
        _paint(bpy, choose)


def posts(bpy: Any, choose: random.Random) -> None:
    """Thin posts and cables before a brick wall: straight lines, in front and behind."""
    _room(bpy, choose, "ShaderNodeTexBrick")
    for _ in range(9):
        distance = choose.uniform(2.2, 6)
        place = (choose.uniform(-0.45, 0.45) * distance, distance, 0)
        bpy.ops.mesh.primitive_cylinder_add(radius=choose.uniform(0.02, 0.12), depth=8, location=place)
        bpy.context.object.rotation_euler = (choose.uniform(-0.2, 0.2), choose.choice((0, 0, 0.3, 1.2)), 0)
        _paint(bpy, choose)


def leaves(bpy: Any, choose: random.Random) -> None:
    """About two hundred small leaves in three heaps, and a head behind them."""
    _room(bpy, choose)
    _head(bpy, (0.3, 4.5, 0.1), 1.2, (0, 0, choose.uniform(-0.6, 0.6)))
    _paint(bpy, choose)
    materials = [_paint(bpy, choose) for _ in range(4)]
    for i in range(210):
        middle = ((-1.0, 2.6, -0.4), (1.1, 3.2, 0.5), (0.2, 3.0, -0.8))[i % 3]
        place = [axis + choose.gauss(0, 0.28) for axis in middle]
        bpy.ops.mesh.primitive_circle_add(vertices=6, radius=choose.uniform(0.04, 0.12), fill_type="NGON", location=place)
        bpy.context.object.rotation_euler = [choose.uniform(0, math.tau) for _ in range(3)]
        bpy.context.object.scale.x = 0.5
        bpy.context.object.data.materials.append(materials[i % 4])


SCENES: dict[str, Callable[[Any, random.Random], None]] = {"things": things, "posts": posts, "leaves": leaves}


def _new_scene(bpy: Any, arguments: argparse.Namespace) -> Any:
    scene = empty_scene(bpy, arguments)
    scene.cycles.use_denoising, scene.cycles.max_bounces = True, 3
    for place, power in (((-3, -1, 4), 500), ((4, 1, 3), 250)):
        lamp = bpy.data.objects.new("Lamp", bpy.data.lights.new("Lamp", "AREA"))
        lamp.data.energy, lamp.data.size, lamp.location = power, 3, place
        lamp.rotation_euler = (-math.atan2(place[1] - 4, place[2]), math.atan2(place[0], place[2]), 0)
        scene.collection.objects.link(lamp)
    return scene


def _two_views(bpy: Any, scene: Any) -> dict[str, Any]:
    """Both cameras' views, with the same lamps, objects and noise seed."""
    views: dict[str, Any] = {"baseline": BASELINE}
    for name, x in (("left", 0.0), ("right", BASELINE)):
        scene.camera.location.x = x
        views[name] = as_bytes(rendered(bpy, scene))
        geometry = geometry_of(scene)
        views[f"depth_{name}"], views["intrinsics"] = geometry["depth"], geometry["intrinsics"]
    return views


def _room(bpy: Any, choose: random.Random, pattern: str = "ShaderNodeTexVoronoi") -> None:
    for place, turn in (((0, 9, 0), (math.pi / 2, 0, 0)), ((0, 0, -1.3), (0, 0, 0))):
        bpy.ops.mesh.primitive_plane_add(size=30, location=place, rotation=turn)
        _paint(bpy, choose, pattern, scale=30)


def _cube(bpy: Any, place: Any, size: float, turn: Any) -> None:
    bpy.ops.mesh.primitive_cube_add(size=1.4 * size, location=place, rotation=turn)


def _ball(bpy: Any, place: Any, size: float, turn: Any) -> None:
    bpy.ops.mesh.primitive_uv_sphere_add(segments=64, ring_count=32, radius=0.7 * size, location=place, rotation=turn)
    bpy.ops.object.shade_smooth()


def _cone(bpy: Any, place: Any, size: float, turn: Any) -> None:
    bpy.ops.mesh.primitive_cone_add(vertices=48, radius1=0.7 * size, depth=1.4 * size, location=place, rotation=turn)


def _ring(bpy: Any, place: Any, size: float, turn: Any) -> None:
    bpy.ops.mesh.primitive_torus_add(major_radius=0.6 * size, minor_radius=0.15 * size, location=place, rotation=turn)


def _head(bpy: Any, place: Any, size: float, turn: Any) -> None:
    add_head(bpy, 1.3 * size, place, turn[2])
    bpy.ops.object.shade_smooth()


def _paint(bpy: Any, choose: random.Random, pattern: str | None = None, scale: float = 1.0) -> Any:
    material, nodes, links = new_material(bpy, "Paint")
    surface = nodes["Principled BSDF"]
    texture = nodes.new(pattern or choose.choice(("ShaderNodeTexNoise", "ShaderNodeTexVoronoi", "ShaderNodeTexChecker")))
    ramp, noise, mix = nodes.new("ShaderNodeValToRGB"), nodes.new("ShaderNodeTexNoise"), nodes.new("ShaderNodeMixRGB")
    coordinates = nodes.new("ShaderNodeTexCoord")
    for node, frequency in ((texture, choose.uniform(2, 7)), (noise, choose.uniform(10, 40))):
        node.inputs["Scale"].default_value = frequency * scale
        links.new(coordinates.outputs["Generated"], node.inputs["Vector"])
    for stop, position in zip(ramp.color_ramp.elements, (0.3, 0.7), strict=True):
        stop.position, stop.color = position, (*(choose.uniform(0.03, 0.9) for _ in range(3)), 1)
    mix.blend_type, mix.inputs["Fac"].default_value = "OVERLAY", 0.5
    links.new(texture.outputs[0 if pattern == "ShaderNodeTexBrick" else "Fac" if "Fac" in texture.outputs else 0], ramp.inputs[0])
    links.new(ramp.outputs[0], mix.inputs[1])
    links.new(noise.outputs["Color"], mix.inputs[2])
    links.new(mix.outputs[0], surface.inputs["Base Color"])
    surface.inputs["Roughness"].default_value = 0.9
    if bpy.context.object is not None:
        bpy.context.object.data.materials.clear()
        bpy.context.object.data.materials.append(material)
    return material


if __name__ == "__main__":
    main()
