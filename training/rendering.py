"""Renders the procedural scenes with exact depth and normals, as stills and as videos; needs bpy."""

from __future__ import annotations

import math
import os
import tempfile
from pathlib import Path
from random import Random
from typing import Any

import bpy  # isort: skip  (first: it brings mathutils)
import numpy as np
from mathutils import Matrix, Vector

from .figures import leaves, person
from .layouts import INDOORS, KINDS, View, build_garden, build_room, build_street
from .shapes import Builder, Materials, light_scene

SHORT, LONG = 240, 320
CAMERAS = 3
SAMPLES = 4
SKY_DEPTH = 1e9
NEAR_SHARE = 0.35  # share of views with a near object cut by the border
VIDEO_SHARE, VIDEO_FRAMES = 0.5, 3  # share of scenes with a video, and its length
FIRST_KEPT, KEPT_SCENES = 1_000_000, 30  # numbers of the kept-out scenes
CLIPS = (("still camera", build_room), ("pan", build_street), ("walk", build_garden))
CLIP_FRAMES = 12


def configure(folder: Path) -> None:
    """Sets up Cycles on one thread, with a file each for depth and normals."""
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    cycles = scene.cycles
    cycles.device, cycles.samples, cycles.use_adaptive_sampling = "CPU", SAMPLES, False
    cycles.use_denoising, cycles.denoiser = True, "OPENIMAGEDENOISE"
    cycles.max_bounces, cycles.diffuse_bounces, cycles.glossy_bounces, cycles.transmission_bounces = 6, 2, 2, 5
    scene.render.threads_mode, scene.render.threads = "FIXED", 1
    scene.render.use_persistent_data = True  # later views of a scene take half the time
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
    """(H, W, 4) float32 of an image file, top row first, values as stored. Deletes the file."""
    image = bpy.data.images.load(str(path))
    image.colorspace_settings.name = "Non-Color"
    pixels = np.empty(4 * image.size[0] * image.size[1], np.float32)
    image.pixels.foreach_get(pixels)
    pixels = pixels.reshape(image.size[1], image.size[0], 4)[::-1].copy()
    bpy.data.images.remove(image)
    path.unlink()
    return pixels


def aim(camera: Any, view: View, random: Random) -> None:
    """Points the camera with a slight roll, and sets its lens and the image's orientation."""
    eye, target = view
    roll = Matrix.Rotation(random.gauss(0, 0.03), 4, "Z")
    camera.matrix_world = Matrix.Translation(eye) @ (target - eye).to_track_quat("-Z", "Y").to_matrix().to_4x4() @ roll
    camera.data.angle = math.radians(random.uniform(35, 80))
    portrait = random.random() < 0.3
    render = bpy.context.scene.render
    render.resolution_x, render.resolution_y = (SHORT, LONG) if portrait else (LONG, SHORT)


def near_things(builder: Builder, camera: Any, view: View) -> list[Any]:
    """Puts objects close to the camera at the image's border, and returns them."""
    random, objects = builder.random, bpy.context.scene.collection.objects
    before = set(objects)
    for _ in range(random.choice((1, 1, 2))):
        away = random.uniform(0.12, 0.35) * (view[1] - view[0]).length
        half = math.tan(camera.data.angle / 2) * away
        size = half * random.uniform(0.4, 1.2)
        corner = Vector((random.choice((-1, 1)) * half * random.uniform(0.75, 1.15), random.uniform(-1, 0.4) * half, -away))
        if random.random() < 0.75:
            builder.solid(0, 0, 0, size, upright=random.random() < 0.5)
        else:
            leaves(builder, (0, 0, 0), size, 150, False)
        objects[-1].matrix_world = Matrix.Translation(camera.matrix_world @ corner) @ objects[-1].matrix_world
    return [thing for thing in objects if thing not in before]


def render(folder: Path, camera: Any) -> dict[str, Any] | None:
    """Colours, disparity (0 in the sky) and normals of the view; None if it is mostly empty, blocked by one object or of one colour."""
    bpy.context.view_layer.update()
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
    if seen.mean() < 0.25 or np.percentile(depth[seen], 50) < 0.25 or rgb.std() < 0.02:
        return None
    return {"rgb": (rgb * 255).round().astype(np.uint8), "disparity": disparity, "normals": (normals * 127).round().astype(np.int8)}


def save(target: Path, views: list[dict[str, Any]]) -> None:
    """Writes one view, or a video's, with disparity in one unit: its 98th percentile."""
    maps = {name: np.stack([view[name] for view in views]) for name in views[0]}
    maps["disparity"] = (maps["disparity"] / np.percentile(maps["disparity"], 98)).clip(0, 8).astype(np.float16)
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    with temporary.open("wb") as file:
        np.savez(file, **(maps if len(views) > 1 else {name: values[0] for name, values in maps.items()}))
    temporary.replace(target)


def move(camera: Any, reach: float, random: Random) -> Matrix:
    """The camera's motion per frame: a short way, a small turn, or none."""
    way, turn = random.choice(((0.0, 0.0), (0.01, 0.002), (0.03, 0.006), (0.005, 0.015)))
    step = Matrix.Translation([random.gauss(0, way) * reach for _ in range(3)])
    return step @ Matrix.Rotation(random.gauss(0, turn), 4, "Y") @ Matrix.Rotation(random.gauss(0, turn / 2), 4, "X")


def render_frames(folder: Path, camera: Any, frames: int, step: Matrix, mover: Any, stride: Vector) -> list[dict[str, Any]] | None:
    """The views of a camera that repeats one step while the objects `mover` move by `stride`; None if `render` returns None."""
    views: list[dict[str, Any]] = []
    for _ in range(frames):
        view = render(folder, camera)
        if view is None:
            return None
        views.append(view)
        camera.matrix_world = camera.matrix_world @ step
        for part in mover:
            part.matrix_world = Matrix.Translation(stride) @ part.matrix_world
    return views


def begin(build: Any, random: Random, photographs: list[Path], folder: Path) -> tuple[Builder, Any, Any]:
    """An empty scene with a layout, its light and a camera: the builder, the layout's views and the camera."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    configure(folder)
    night = light_scene(random, build in INDOORS)
    builder = Builder(random, Materials(random, photographs))
    view = build(builder)
    camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
    camera.data.clip_start, camera.data.clip_end = 0.01, 5000
    bpy.context.scene.collection.objects.link(camera)
    bpy.context.scene.camera = camera
    dark = random.uniform(1, 4) if night and build not in INDOORS else 0
    bpy.context.scene.view_settings.exposure = random.uniform(-0.2, 1.2) + dark
    return builder, view, camera


def make_scene(number: int, data: Path, photographs: list[Path]) -> None:
    """Builds scene `number` and writes its views and sometimes a video.

    From `FIRST_KEPT` on, it writes only views, of outdoor layouts, to a separate folder.
    """
    kept = number >= FIRST_KEPT
    renders = data / ("kept" if kept else "renders")
    done = renders / f".{number:06d}.done"
    if done.exists():
        return
    random = Random(number)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        build = random.choice([kind for kind in KINDS if not kept or kind not in INDOORS])
        builder, view, camera = begin(build, random, photographs, folder)
        for index in range(CAMERAS):
            seen = view()
            aim(camera, seen, random)
            near = near_things(builder, camera, seen) if random.random() < NEAR_SHARE else []
            maps = render(folder, camera)
            if maps is not None:
                save(renders / f"{number:06d}_{index}.npz", [maps])
            for thing in near:
                bpy.data.objects.remove(thing)
        if not kept and random.random() < VIDEO_SHARE:
            reach = (seen[1] - seen[0]).length
            things = [thing for thing in bpy.context.scene.collection.objects if thing.type == "MESH"]
            mover = random.sample(things, min(3, len(things))) if random.random() < 0.5 else []
            stride = Vector((random.gauss(0, 0.02), random.gauss(0, 0.02), 0)) * reach
            if (views := render_frames(folder, camera, VIDEO_FRAMES, move(camera, reach, random), mover, stride)) is not None:
                save(data / "films" / f"{number:06d}.npz", views)
    done.touch()


def make_clips(data: Path, photographs: list[Path]) -> None:
    """Writes the clips for measuring flicker: a still camera with a walking person, a pan, a walk."""
    for number, (title, build) in enumerate(CLIPS, FIRST_KEPT - len(CLIPS)):
        target = data / "clips" / f"{title.replace(' ', '_')}.npz"
        random = Random(number)
        while not target.exists():
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                builder, view, camera = begin(build, random, photographs, folder)
                aim(camera, (seen := view()), random)
                bpy.context.scene.render.resolution_x, bpy.context.scene.render.resolution_y = LONG, SHORT
                reach, before = (seen[1] - seen[0]).length, set(bpy.context.scene.collection.objects)
                if title == "still camera":
                    person(builder, *(seen[0].lerp(seen[1], 0.45) - Vector((0.3, 0, 0))).xy, 0)
                mover = [thing for thing in bpy.context.scene.collection.objects if thing not in before]
                steps = {"pan": Matrix.Rotation(0.006, 4, "Y"), "walk": Matrix.Translation((0, 0, -0.008 * reach))}
                views = render_frames(folder, camera, CLIP_FRAMES, steps.get(title, Matrix()), mover, Vector((0.05, 0, 0)))
                if views is not None:
                    save(target, views)
