"""Renders scenes under one lamp after another, for `relight.py`. Runs in a Python that has bpy (`pip install bpy`), not in the pack's own.

    python benchmarks/relight_scenes.py --out DIR [--seeds 1 2] [--width 640 --height 360] [--samples 32] [--relief]

DIR/scene_<seed>.npz: `even` (H, W, 3) linear light under even light without shadows; `depth` (H, W) float32 metres and `normals`
(H, W, 3), OPENGL axes, one ray a pixel; `intrinsics` (3, 3), centre of the first pixel = (0, 0); for each lamp of LAMPS `<lamp>`, linear
light that comes straight from it, and `<lamp>_bare`, the same where it casts no shadows. `lamps`: LAMPS as JSON.

--relief: instead, dented and glossy things as a photograph shows them. DIR/relief_<seed>.npz: `photo`, under an even sky; `depth` and
`normals` without the dents, as a network sees them; the lamps of GLOSSY, with GLOSS of their light mirrored, without shadows.
"""

from __future__ import annotations

import argparse
import json
import math
import random
from typing import Any

import numpy as np
from blender_scene import add_size, empty_scene, geometry_of, new_material, options, rendered

# Positions in OPENGL camera axes and metres, as in `Light`.
LAMPS: dict[str, dict[str, Any]] = {
    "sun": {"position": (-0.66, 0.62, 0.42), "is_point": False, "size": 0.0},
    "evening": {"position": (0.85, 0.3, 0.43), "is_point": False, "size": 0.0},
    "softbox": {"position": (-0.66, 0.62, 0.42), "is_point": False, "size": 0.3},
    "lamp": {"position": (0.9, 0.9, -2.2), "is_point": True, "size": 0.0, "intensity": 6.0},
    "globe": {"position": (0.9, 0.9, -2.2), "is_point": True, "size": 0.5, "intensity": 6.0},
}


# For --relief: without shadows, as these scenes test normals.
GLOSSY = {name: LAMPS[name] for name in ("sun", "softbox", "globe")}
# Specular share of glossy surfaces, and the Blinn-Phong exponent of their highlights.
GLOSS, SHININESS = 0.2, 32.0
# height of the dents in metres
_DENTS = 0.012


def main() -> None:
    """Renders every seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    add_size(parser, 640, 360, 32)
    parser.add_argument("--relief", action="store_true", help="dented, glossy things")
    arguments, bpy = options(parser)
    for seed in arguments.seeds:
        scene = _new_scene(bpy, arguments)
        _things(bpy, random.Random(seed))
        if arguments.relief:
            looks = {"specular": GLOSS, "shininess": SHININESS}
            np.savez_compressed(
                arguments.out / f"relief_{seed}.npz", lamps=json.dumps(GLOSSY), looks=json.dumps(looks), **_relief_views(bpy, scene, seed)
            )
        else:
            np.savez_compressed(arguments.out / f"scene_{seed}.npz", lamps=json.dumps(LAMPS), **_views(bpy, scene))


def _new_scene(bpy: Any, arguments: argparse.Namespace) -> Any:
    scene = empty_scene(bpy, arguments, tilt=84, view_transform="Raw")
    scene.render.image_settings.file_format, scene.render.image_settings.color_depth = "OPEN_EXR", "32"
    return scene


def _things(bpy: Any, choose: random.Random) -> None:
    for place, turn in (((0, 8, 0), (math.pi / 2, 0, 0)), ((0, 0, -1.2), (0, 0, 0))):
        bpy.ops.mesh.primitive_plane_add(size=40, location=place, rotation=turn)
        _paint(bpy, choose)
    for i in range(12):
        size, distance = choose.uniform(0.3, 0.7), choose.uniform(2.6, 6.5)
        place = (choose.uniform(-0.45, 0.45) * distance, distance, -1.2 + size / 2)
        if i % 4 == 0:
            bpy.ops.mesh.primitive_uv_sphere_add(segments=64, ring_count=32, radius=size / 2, location=place)
            bpy.ops.object.shade_smooth()
        elif i % 4 == 1:
            bpy.ops.mesh.primitive_cube_add(size=size, location=place, rotation=(0, 0, choose.uniform(0, 3)))
        elif i % 4 == 2:
            bpy.ops.mesh.primitive_cone_add(vertices=64, radius1=size / 2, depth=size, location=place)
        else:
            post = (place[0], place[1], -0.2)
            bpy.ops.mesh.primitive_cylinder_add(vertices=32, radius=0.06, depth=2, location=post)
        _paint(bpy, choose)


def _paint(bpy: Any, choose: random.Random) -> None:
    material, nodes, links = new_material(bpy, "Paint")
    nodes.remove(nodes["Principled BSDF"])
    surface, noise, ramp = (nodes.new(kind) for kind in ("ShaderNodeBsdfDiffuse", "ShaderNodeTexNoise", "ShaderNodeValToRGB"))
    noise.inputs["Scale"].default_value = choose.uniform(3, 12)
    for stop, position in zip(ramp.color_ramp.elements, (0.3, 0.7), strict=True):
        stop.position, stop.color = position, (*(choose.uniform(0.1, 0.6) for _ in range(3)), 1)
    links.new(noise.outputs[0], ramp.inputs[0])
    links.new(ramp.outputs[0], surface.inputs["Color"])
    links.new(surface.outputs[0], nodes["Material Output"].inputs["Surface"])
    bpy.context.object.data.materials.append(material)


def _views(bpy: Any, scene: Any) -> dict[str, Any]:
    views = geometry_of(scene)
    for name, values in LAMPS.items():
        lamp = _lamp(bpy, scene, values)
        for suffix, casts in (("", True), ("_bare", False)):
            lamp.data.use_shadow = casts
            views[name + suffix] = rendered(bpy, scene, ".exr")
        bpy.data.objects.remove(lamp)
    views["even"] = _even(bpy, scene)
    return views


def _relief_views(bpy: Any, scene: Any, seed: int) -> dict[str, Any]:
    views = geometry_of(scene)
    _dent(bpy, random.Random(seed))
    scene.render.use_persistent_data = True
    for material in bpy.data.materials:
        _gloss(material)
    for name, values in GLOSSY.items():
        lamp = _lamp(bpy, scene, values)
        lamp.data.use_shadow = False
        views[name] = rendered(bpy, scene, ".exr")
        bpy.data.objects.remove(lamp)
    world = bpy.data.worlds.new("Sky")
    if bpy.app.version < (5, 0, 0):
        world.use_nodes = True
    world.node_tree.nodes["Background"].inputs["Color"].default_value = (1, 1, 1, 1)
    scene.world, scene.cycles.max_bounces, scene.cycles.use_denoising = world, 2, True
    views["photo"] = rendered(bpy, scene, ".exr")
    return views


def _dent(bpy: Any, choose: random.Random) -> None:
    """Dents every object: real knobs, stones or ripples, so that uniform ambient light darkens crevices."""
    coarser = max(0, round(math.log2(640 / bpy.context.scene.render.resolution_x)))  # no shape is smaller than a pixel
    for thing in [each for each in bpy.context.scene.objects if each.type == "MESH"]:
        texture = bpy.data.textures.new("Dents", choose.choice(("VORONOI", "CLOUDS", "STUCCI")))
        texture.noise_scale = choose.uniform(0.04, 0.1)
        finer = thing.modifiers.new("Finer", "SUBSURF")
        finer.subdivision_type = "SIMPLE"
        levels = 9 if len(thing.data.polygons) == 1 else 8 if len(thing.data.polygons) < 10 else 4
        finer.levels = finer.render_levels = levels - coarser
        dents = thing.modifiers.new("Dents", "DISPLACE")
        dents.texture, dents.texture_coords, dents.strength, dents.mid_level = texture, "GLOBAL", _DENTS, 0.5


def _gloss(material: Any) -> None:
    """Mixes in a microfacet lobe as wide as Blinn-Phong's: alpha^2 = 2 / (exponent + 2)."""
    nodes, links = material.node_tree.nodes, material.node_tree.links
    mirror, mix = nodes.new("ShaderNodeBsdfAnisotropic"), nodes.new("ShaderNodeMixShader")
    mirror.distribution = "BECKMANN"
    mirror.inputs["Color"].default_value = (1, 1, 1, 1)
    mirror.inputs["Roughness"].default_value = math.sqrt(math.sqrt(2 / (SHININESS + 2)))
    mix.inputs["Fac"].default_value = GLOSS
    links.new(next(node for node in nodes if node.type == "BSDF_DIFFUSE").outputs[0], mix.inputs[1])
    links.new(mirror.outputs[0], mix.inputs[2])
    links.new(mix.outputs[0], nodes["Material Output"].inputs["Surface"])


def _lamp(bpy: Any, scene: Any, values: dict[str, Any]) -> Any:
    """A lamp in world axes. A matt surface that faces it (a point light of intensity 1: at 1 m) is as bright as its colour."""
    from mathutils import Vector

    camera = scene.camera
    bpy.context.view_layer.update()
    place = Vector(values["position"])
    lamp = bpy.data.objects.new("Lamp", bpy.data.lights.new("Lamp", "POINT" if values["is_point"] else "SUN"))
    if values["is_point"]:
        lamp.data.energy, lamp.data.shadow_soft_size = 4 * math.pi**2 * values["intensity"], values["size"] / 2
        lamp.location = camera.matrix_world @ place
    else:
        lamp.data.energy, lamp.data.angle = math.pi, 2 * math.atan(values["size"] / 2)
        lamp.rotation_euler = (camera.matrix_world.to_3x3() @ place).to_track_quat("Z", "Y").to_euler()
    scene.collection.objects.link(lamp)
    return lamp


def _even(bpy: Any, scene: Any) -> np.ndarray:
    """The surfaces' colours: uniform ambient light, without interreflection and occlusion."""
    for material in bpy.data.materials:
        nodes, links = material.node_tree.nodes, material.node_tree.links
        shine = nodes.new("ShaderNodeEmission")
        links.new(next(node for node in nodes if node.type == "VALTORGB").outputs[0], shine.inputs["Color"])
        links.new(shine.outputs[0], nodes["Material Output"].inputs["Surface"])
    return rendered(bpy, scene, ".exr")


if __name__ == "__main__":
    main()
