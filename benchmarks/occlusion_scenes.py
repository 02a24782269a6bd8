"""Renders ambient occlusion with Cycles, for `textures.py --scenes`. Runs in a Python that has bpy (`pip install bpy`).

    python benchmarks/occlusion_scenes.py --out DIR [--side 128] [--samples 256] [--radius 24]

DIR/height_<name>.npz, a tile that is displaced, seen straight on and surrounded by itself: `height` (H, W) in pixels, `normals` (H, W, 3)
of the displaced surface in OPENGL axes, `open` (H, W), the share of the sky that it sees. DIR/view_<seed>.npz, things on a floor before a
wall, those of relight.py: `depth`, `normals`, `intrinsics` as `relight_scenes.py` has them, and `near`, the share of the sky that is left
by what stands nearer than `radius` pixels.
"""

from __future__ import annotations

import argparse
import random
from typing import Any

import numpy as np
from blender_scene import add_size, geometry_of, new_material, options, rendered
from relight_scenes import _new_scene, _things

NAMES = ("bumps", "bricks", "pebbles")
# vertices of the displaced mesh per pixel, so that it is smooth
FINER = 3


def main() -> None:
    """Renders the tiles and two views."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=128, help="of the tiles (default: %(default)s)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2], help="of the views")
    add_size(parser, 640, 360, 256)
    parser.add_argument("--radius", type=float, default=24.0, help="pixels, of the views")
    arguments, bpy = options(parser)
    for name in NAMES:
        height = tile(name, arguments.side)
        middles = height[FINER // 2 :: FINER, FINER // 2 :: FINER]
        np.savez_compressed(arguments.out / f"height_{name}.npz", height=middles, **_seen_from_above(bpy, arguments, height))
    for seed in arguments.seeds:
        np.savez_compressed(arguments.out / f"view_{seed}.npz", radius=arguments.radius, **_view(bpy, arguments, seed))


def tile(name: str, side: int) -> np.ndarray:
    """Tileable heights in pixels, float32, FINER times as fine as (side, side) pixels."""
    chosen = np.random.default_rng(1)
    y, x = (np.mgrid[: side * FINER, : side * FINER] + 0.5) / FINER - 0.5
    if name == "bumps":
        return _blurred(80 * FINER * chosen.random(x.shape), 3.0)
    if name == "bricks":
        return _blurred(6.0 * ((x % 32 > 3) & ((y + 4) % 16 > 3)), 1.0)
    height = np.zeros(x.shape)
    for _ in range(side * side // 150):
        radius, (row, column) = chosen.uniform(4, 11), chosen.uniform(0, side, 2)
        apart = np.hypot(*((each + side / 2) % side - side / 2 for each in (x - column, y - row)))
        height = np.maximum(height, np.sqrt(np.maximum(radius**2 - apart**2, 0)))
    return _blurred(height, 0.7)


def _blurred(values: np.ndarray, sigma: float) -> np.ndarray:
    fade = [np.exp(-0.5 * (sigma * FINER * 2 * np.pi * np.fft.fftfreq(length)) ** 2) for length in values.shape]
    return np.fft.ifft2(np.fft.fft2(values) * fade[0][:, None] * fade[1]).real.astype(np.float32)


def _seen_from_above(bpy: Any, arguments: argparse.Namespace, height: np.ndarray) -> dict[str, Any]:
    """One tile surrounded by its eight copies."""
    side = arguments.side
    scene = _new_scene(bpy, arguments)
    scene.render.resolution_x = scene.render.resolution_y = side
    scene.cycles.pixel_filter_type, scene.cycles.filter_width = "BOX", 0.01
    camera = scene.camera
    camera.data.type, camera.data.ortho_scale, camera.data.clip_end = "ORTHO", side, 1000
    camera.location, camera.rotation_euler = (side / 2, side / 2, 500), (0, 0, 0)
    around = np.tile(height, (3, 3))
    rows, columns = (np.mgrid[: len(around), : len(around)] + 0.5) / FINER
    points = np.stack((columns - side, 2 * side - rows, around), -1).reshape(-1, 3)
    corner = np.arange(around.size).reshape(around.shape)
    faces = np.stack((corner[:-1, :-1], corner[1:, :-1], corner[1:, 1:], corner[:-1, 1:]), -1).reshape(-1, 4)
    mesh = bpy.data.meshes.new("Tile")
    mesh.vertices.add(len(points))
    mesh.vertices.foreach_set("co", points.astype(np.float32).ravel())
    mesh.loops.add(faces.size)
    mesh.loops.foreach_set("vertex_index", faces.astype(np.int32).ravel())
    mesh.polygons.add(len(faces))
    mesh.polygons.foreach_set("loop_start", np.arange(0, faces.size, 4, dtype=np.int32))
    mesh.update(calc_edges=True)
    scene.collection.objects.link(bpy.data.objects.new("Tile", mesh))
    mesh.shade_smooth()
    mesh.materials.append(_shining(bpy, lambda nodes: nodes.new("ShaderNodeNewGeometry").outputs["Normal"]))
    normals = rendered(bpy, scene, ".exr")
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    mesh.materials[0] = _shining(bpy, lambda nodes: _occlusion(nodes).outputs["AO"])
    return {"normals": normals, "open": rendered(bpy, scene, ".exr")[..., 0]}


def _view(bpy: Any, arguments: argparse.Namespace, seed: int) -> dict[str, Any]:
    scene = _new_scene(bpy, arguments)
    scene.cycles.pixel_filter_type, scene.cycles.filter_width = "BOX", 0.01
    _things(bpy, random.Random(seed))
    geometry = geometry_of(scene)
    reach = arguments.radius / float(geometry["intrinsics"][0, 0])

    def nearest(nodes: Any) -> Any:
        occlusion, camera, times = _occlusion(nodes), nodes.new("ShaderNodeCameraData"), nodes.new("ShaderNodeMath")
        times.operation, times.inputs[1].default_value = "MULTIPLY", reach
        nodes.id_data.links.new(camera.outputs["View Z Depth"], times.inputs[0])
        nodes.id_data.links.new(times.outputs[0], occlusion.inputs["Distance"])
        return occlusion.outputs["AO"]

    scene.view_layers[0].material_override = _shining(bpy, nearest)
    return {**geometry, "near": rendered(bpy, scene, ".exr")[..., 0]}


def _occlusion(nodes: Any) -> Any:
    """Unlimited ambient occlusion with cosine-weighted rays."""
    node = nodes.new("ShaderNodeAmbientOcclusion")
    node.samples, node.inputs["Distance"].default_value = 1, 1e6
    return node


def _shining(bpy: Any, value: Any) -> Any:
    material, nodes, links = new_material(bpy, "Shown")
    nodes.remove(nodes["Principled BSDF"])
    shine = nodes.new("ShaderNodeEmission")
    links.new(value(nodes), shine.inputs["Color"])
    links.new(shine.outputs[0], nodes["Material Output"].inputs["Surface"])
    return material


if __name__ == "__main__":
    main()
