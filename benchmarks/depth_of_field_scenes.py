"""Renders scenes through a pinhole and through a lens, for `depth_of_field.py`. Runs in a Python that has bpy (`pip install bpy`).

    python benchmarks/depth_of_field_scenes.py --out DIR [--scenes posts street] [--width 640 --height 360] [--samples 300]

DIR/<scene>.npz: `pinhole` (H, W, 3) uint8, what a network would see; `depth` (H, W) float32 metres, one ray a pixel; `intrinsics` (3, 3);
and for each focus `lens_<i>` (H, W, 3) uint8, what Cycles' lens sees, `node_<i>`, what Blender's own Defocus node makes of pinhole and
depth, and `settings_<i>`: focus in metres, f-number, focal length and sensor in millimetres, blades, rotation in degrees.

Every surface shines by itself, so that the only noise is the lens's own; lamps are far brighter than white, as in photographs.
"""

from __future__ import annotations

import argparse
import math
import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from blender_scene import add_head, add_size, as_bytes, empty_scene, geometry_of, new_material, options, rendered, rendered_to

LENS, SENSOR = 50.0, 36.0
# (focus in metres, f-number, blades, rotation in degrees)
SETTINGS = ((2.2, 0.6, 0, 0.0), (4.5, 0.6, 5, 20.0), (12.0, 0.7, 6, 0.0))


def main() -> None:
    """Renders every scene with every focus."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", nargs="+", default=list(SCENES), choices=SCENES)
    add_size(parser, 640, 360, 300)
    arguments, bpy = options(parser)
    for name in arguments.scenes:
        scene = _new_scene(bpy, arguments)
        SCENES[name](bpy, random.Random(7))
        np.savez_compressed(arguments.out / f"{name}.npz", **_views(bpy, scene))


def posts(bpy: Any, choose: random.Random) -> None:
    """An object nearby, posts in the middle, a brick wall and lamps behind, on a continuous floor."""
    _floor(bpy, choose)
    _wall(bpy, choose, 12)
    for place, size in (((-0.75, 2.2, -0.35), 0.7), ((0.95, 3.0, -0.5), 0.6)):
        add_head(bpy, size, place, choose.uniform(-0.5, 0.5))
        _shine(bpy, choose, 8)
    for _ in range(7):
        distance = choose.uniform(4, 6)
        place = (choose.uniform(-0.4, 0.4) * distance, distance, 0)
        bpy.ops.mesh.primitive_cylinder_add(radius=choose.uniform(0.02, 0.1), depth=8, location=place)
        bpy.context.object.rotation_euler = (choose.uniform(-0.2, 0.2), choose.choice((0, 0.3, 1.0)), 0)
        _shine(bpy, choose, 6)
    _lamps(bpy, choose, 14, 10.5)


def street(bpy: Any, choose: random.Random) -> None:
    """Boxes along both sides into the distance, leaves near the lens, lamps."""
    _floor(bpy, choose)
    _wall(bpy, choose, 25)
    for i in range(12):
        distance = 2.6 + 1.5 * i
        for side in (-1, 1):
            place = (side * (1.1 + choose.uniform(0, 0.5) + 0.12 * i), distance, -0.9 + choose.uniform(0.2, 0.9))
            bpy.ops.mesh.primitive_cube_add(size=choose.uniform(0.5, 1.2), location=place, rotation=(0, 0, choose.uniform(0, 1)))
            _shine(bpy, choose, 5)
    for _ in range(40):
        place = (choose.gauss(0.55, 0.25), choose.gauss(1.6, 0.15), choose.gauss(0.35, 0.15))
        bpy.ops.mesh.primitive_circle_add(vertices=7, radius=choose.uniform(0.03, 0.07), fill_type="NGON", location=place)
        bpy.context.object.rotation_euler = [choose.uniform(0, math.tau) for _ in range(3)]
        _shine(bpy, choose, 3)
    bpy.ops.mesh.primitive_uv_sphere_add(segments=64, ring_count=32, radius=0.35, location=(-0.15, 4.5, -0.6))
    _shine(bpy, choose, 8)
    _lamps(bpy, choose, 20, 18)


SCENES: dict[str, Callable[[Any, random.Random], None]] = {"posts": posts, "street": street}


def _new_scene(bpy: Any, arguments: argparse.Namespace) -> Any:
    scene = empty_scene(bpy, arguments, lens=LENS)
    scene.cycles.use_adaptive_sampling = False
    scene.camera.data.sensor_width = SENSOR
    return scene


def _views(bpy: Any, scene: Any) -> dict[str, Any]:
    """The pinhole's image and depth, and for each focus the lens's image and the Defocus node's."""
    with tempfile.TemporaryDirectory() as folder:
        lens, samples = scene.camera.data.dof, scene.cycles.samples
        scene.cycles.samples = 64
        views: dict[str, Any] = {"pinhole": as_bytes(rendered_to(bpy, scene, Path(folder) / "pinhole.png"))}
        views |= {name: each for name, each in geometry_of(scene).items() if name != "normals"}
        for i, (focus, f_number, blades, rotation) in enumerate(SETTINGS):
            lens.use_dof, scene.cycles.samples = True, samples
            lens.focus_distance, lens.aperture_fstop = focus, f_number
            lens.aperture_blades, lens.aperture_rotation = blades, math.radians(rotation)
            views[f"lens_{i}"] = as_bytes(rendered(bpy, scene))
            lens.use_dof, scene.cycles.samples = False, 1
            views[f"node_{i}"] = _with_defocus_node(bpy, scene, focus, f_number, blades, rotation, Path(folder) / "pinhole.png")
            views[f"settings_{i}"] = np.array((focus, f_number, LENS, SENSOR, blades, rotation))
    return views


def _with_defocus_node(bpy: Any, scene: Any, focus: float, f_number: float, blades: int, rotation: float, pinhole: Path) -> np.ndarray:
    """The compositor's Defocus node on the pinhole's depth and its image, clipped at white, as our node gets them."""
    layer = scene.view_layers[0]
    layer.use_pass_z = True
    scene.camera.data.dof.focus_distance, scene.camera.data.dof.aperture_fstop = focus, f_number
    tree, target = _compositing(bpy, scene)
    source, node = (tree.nodes.new(f"CompositorNode{kind}") for kind in ("RLayers", "Defocus"))
    node.use_zbuffer, node.f_stop, node.blur_max = True, f_number, 128
    if bpy.app.version < (5, 0, 0):
        node.use_preview, node.threshold = False, 1.0
    node.bokeh, node.angle = {5: "PENTAGON", 6: "HEXAGON"}.get(blades, "CIRCLE"), math.radians(rotation)
    image = tree.nodes.new("CompositorNodeImage")
    image.image = bpy.data.images.load(str(pinhole))
    tree.links.new(image.outputs["Image"], node.inputs["Image"])
    tree.links.new(source.outputs["Depth"], node.inputs["Z"])
    tree.links.new(node.outputs["Image"], target)
    result = as_bytes(rendered(bpy, scene))
    if bpy.app.version < (5, 0, 0):
        scene.use_nodes = False
    else:
        scene.compositing_node_group = None
    return result


def _compositing(bpy: Any, scene: Any) -> tuple[Any, Any]:
    if bpy.app.version < (5, 0, 0):
        scene.use_nodes = True
        scene.node_tree.nodes.clear()
        return scene.node_tree, scene.node_tree.nodes.new("CompositorNodeComposite").inputs["Image"]
    tree = scene.compositing_node_group = bpy.data.node_groups.new("Compositing", "CompositorNodeTree")
    tree.interface.new_socket("Image", in_out="OUTPUT", socket_type="NodeSocketColor")
    return tree, tree.nodes.new("NodeGroupOutput").inputs["Image"]


def _floor(bpy: Any, choose: random.Random) -> None:
    bpy.ops.mesh.primitive_plane_add(size=60, location=(0, 0, -0.9))
    _shine(bpy, choose, 150)


def _wall(bpy: Any, choose: random.Random, distance: float) -> None:
    bpy.ops.mesh.primitive_plane_add(size=60, location=(0, distance, 0), rotation=(math.pi / 2, 0, 0))
    _shine(bpy, choose, 60)


def _lamps(bpy: Any, choose: random.Random, count: int, distance: float) -> None:
    for _ in range(count):
        place = (choose.uniform(-0.35, 0.35) * distance, distance + choose.uniform(-1, 1), choose.uniform(0.0, 0.18) * distance)
        bpy.ops.mesh.primitive_uv_sphere_add(segments=16, ring_count=8, radius=0.004 * distance, location=place)
        _shine(bpy, choose, 1, choose.uniform(4, 12))


def _shine(bpy: Any, choose: random.Random, scale: float, strength: float = 1.0) -> None:
    """Makes the active object emissive: two colours in a pattern, or one for a lamp."""
    material, nodes, links = new_material(bpy, "Light")
    nodes.clear()
    emission, output = nodes.new("ShaderNodeEmission"), nodes.new("ShaderNodeOutputMaterial")
    emission.inputs["Strength"].default_value = strength
    links.new(emission.outputs[0], output.inputs["Surface"])
    low, high = ((*(choose.uniform(0.02, 0.75) for _ in range(3)), 1) for _ in range(2))
    emission.inputs["Color"].default_value = (1, choose.uniform(0.6, 1), choose.uniform(0.3, 0.9), 1)
    if strength == 1:
        pattern, ramp, coordinates = nodes.new("ShaderNodeTexNoise"), nodes.new("ShaderNodeValToRGB"), nodes.new("ShaderNodeTexCoord")
        pattern.inputs["Scale"].default_value = scale
        for stop, position, colour in zip(ramp.color_ramp.elements, (0.4, 0.6), (low, high), strict=True):
            stop.position, stop.color = position, colour
        links.new(coordinates.outputs["Generated"], pattern.inputs["Vector"])
        links.new(pattern.outputs[0], ramp.inputs[0])
        links.new(ramp.outputs[0], emission.inputs["Color"])
    bpy.context.object.data.materials.clear()
    bpy.context.object.data.materials.append(material)


if __name__ == "__main__":
    main()
