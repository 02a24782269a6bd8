"""Renders one scene of our own with exact depth and normals; needs bpy."""

from __future__ import annotations

import math
import os
import tempfile
from pathlib import Path
from random import Random
from typing import Any

import bpy  # isort: skip  (first: it brings mathutils)
import numpy as np
from mathutils import Matrix

from .layouts import KINDS, View, build_room, light_scene
from .shapes import Builder, Materials

SHORT, LONG = 240, 320
CAMERAS = 3
SAMPLES = 4
SKY_DEPTH = 1e9


def configure(folder: Path) -> None:
    """Cycles on one thread, and a file for each of depth and normals."""
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    cycles = scene.cycles
    cycles.device, cycles.samples, cycles.use_adaptive_sampling = "CPU", SAMPLES, False
    cycles.use_denoising, cycles.denoiser = True, "OPENIMAGEDENOISE"
    cycles.max_bounces, cycles.diffuse_bounces, cycles.glossy_bounces = 3, 2, 1
    scene.render.threads_mode, scene.render.threads = "FIXED", 1
    scene.render.image_settings.file_format, scene.render.image_settings.color_mode = "PNG", "RGB"
    scene.render.filepath = str(folder / "rgb.png")
    layer = scene.view_layers[0]
    layer.use_pass_z = layer.use_pass_normal = True
    scene.use_nodes = True
    tree = scene.node_tree
    tree.nodes.clear()
    source, output = tree.nodes.new("CompositorNodeRLayers"), tree.nodes.new("CompositorNodeOutputFile")
    composite = tree.nodes.new("CompositorNodeComposite")
    tree.links.new(source.outputs["Image"], composite.inputs["Image"])
    output.base_path = str(folder)
    output.format.file_format, output.format.color_depth = "OPEN_EXR", "32"
    output.file_slots.clear()
    for name in ("Depth", "Normal"):
        output.file_slots.new(name)
        tree.links.new(source.outputs[name], output.inputs[name])


def read(path: Path) -> np.ndarray:
    """(H, W, 4) float32 of a picture file, first row on top, values as in the file."""
    image = bpy.data.images.load(str(path))
    image.colorspace_settings.name = "Non-Color"
    pixels = np.empty(4 * image.size[0] * image.size[1], np.float32)
    image.pixels.foreach_get(pixels)
    pixels = pixels.reshape(image.size[1], image.size[0], 4)[::-1].copy()
    bpy.data.images.remove(image)
    path.unlink()
    return pixels


def aim(camera: Any, view: View, random: Random) -> None:
    """Points the camera, with a little roll, and gives it a lens and an orientation of the picture."""
    eye, target = view
    roll = Matrix.Rotation(random.gauss(0, 0.03), 4, "Z")
    camera.matrix_world = Matrix.Translation(eye) @ (target - eye).to_track_quat("-Z", "Y").to_matrix().to_4x4() @ roll
    camera.data.angle = math.radians(random.uniform(35, 80))
    portrait = random.random() < 0.3
    render = bpy.context.scene.render
    render.resolution_x, render.resolution_y = (SHORT, LONG) if portrait else (LONG, SHORT)


def render(folder: Path, camera: Any) -> dict[str, Any] | None:
    """Colours, disparity and normals of the view; None where most of it shows nothing, or one thing right before the camera."""
    bpy.ops.render.render(write_still=True)
    frame = f"{bpy.context.scene.frame_current:04d}"
    rgb = read(folder / "rgb.png")[..., :3]
    depth = read(folder / f"Depth{frame}.exr")[..., 0].astype(np.float64)
    world = read(folder / f"Normal{frame}.exr")[..., :3]
    seen = depth < SKY_DEPTH
    normals = world @ np.array(camera.matrix_world.to_3x3().normalized())
    length = np.linalg.norm(normals, axis=-1, keepdims=True)
    normals = np.where(seen[..., None] & (length > 0.5), normals / np.maximum(length, 1e-6), 0)
    disparity = np.where(seen, 1 / np.maximum(depth, 1e-3), 0)
    if seen.mean() < 0.35 or np.percentile(depth[seen], 50) < 0.25 or rgb.std() < 0.03:
        return None
    disparity /= np.percentile(disparity, 98)
    return {
        "rgb": (rgb * 255).round().astype(np.uint8),
        "disparity": disparity.clip(0, 8).astype(np.float16),
        "normals": (normals * 127).round().astype(np.int8),
    }


def make_scene(number: int, data: Path, photographs: list[Path]) -> None:
    """Builds scene `number` and writes its views."""
    targets = [data / "renders" / f"{number:06d}_{index}.npz" for index in range(CAMERAS)]
    done = data / "renders" / f".{number:06d}.done"
    if done.exists():
        return
    random = Random(number)
    bpy.ops.wm.read_factory_settings(use_empty=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        configure(folder)
        build = random.choice(KINDS)
        light_scene(random, build is build_room)
        view = build(Builder(random, Materials(random, photographs)))
        camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
        camera.data.clip_start, camera.data.clip_end = 0.01, 5000
        bpy.context.scene.collection.objects.link(camera)
        bpy.context.scene.camera = camera
        bpy.context.scene.view_settings.exposure = random.uniform(-0.2, 1.2)
        for target in targets:
            aim(camera, view(), random)
            bpy.context.view_layer.update()
            maps = render(folder, camera)
            if maps is not None:
                temporary = target.with_name(f".{target.name}.{os.getpid()}")
                with temporary.open("wb") as file:
                    np.savez(file, **maps)
                temporary.replace(target)
    done.touch()
