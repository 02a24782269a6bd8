"""Renders the demo images and the frames of the demo clip, for `make_demo_media.py`, in a Python that has bpy (`pip install bpy`).

    python docs/demo_scene.py --out DIR [--still-samples 40] [--clip-samples 12] [--panorama-samples 14] [--preview]

A breakfast table in a room, of our own: every shape is computed here, every texture is procedural. DIR/still.png is the image,
DIR/clip/0001.png to 0024.png are the frames: the camera passes the table while an orange rolls over it. DIR/panorama.png is the same room
all around, with the walls that the other images do not show. What is there stays.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import bpy

FRAMES = 24
STILL, CLIP, PANORAMA = (960, 640), (448, 304), (1536, 768)
Point = tuple[float, float, float]
Colour = tuple[float, float, float]
CHOOSE = random.Random(7)


def main() -> None:
    """Renders what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--still-samples", type=int, default=40)
    parser.add_argument("--clip-samples", type=int, default=12)
    parser.add_argument("--panorama-samples", type=int, default=14)
    parser.add_argument("--preview", action="store_true", help="a small still, and three frames of the clip")
    arguments = parser.parse_args(sys.argv[1:])
    scene = build()
    share = 50 if arguments.preview else 100
    render(scene, arguments.out / "still.png", STILL, arguments.still_samples, share)
    for number in range(1, FRAMES + 1, 11 if arguments.preview else 1):
        scene.frame_set(number)
        pose(scene, (number - 1) / (FRAMES - 1))
        render(scene, arguments.out / "clip" / f"{number:04}.png", CLIP, arguments.clip_samples, share)
    all_around(scene)
    render(scene, arguments.out / "panorama.png", PANORAMA, arguments.panorama_samples, share)


def render(scene: Any, path: Path, size: tuple[int, int], samples: int, share: int) -> None:
    """Renders one image, unless it is there."""
    if path.exists():
        return
    scene.render.resolution_x, scene.render.resolution_y = size
    scene.render.resolution_percentage = share
    scene.cycles.samples = samples
    scene.render.filepath = str(path)
    bpy.ops.render.render(write_still=True)


def build() -> Any:
    """The scene, as the still shows it."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.cycles.use_denoising, scene.cycles.max_bounces, scene.render.use_persistent_data = True, 4, True
    scene.view_settings.view_transform, scene.view_settings.look = "AgX", "AgX - Medium High Contrast"
    scene.view_settings.exposure = 0.35
    light(scene)
    room()
    table()
    chair((0.62, 1.45, -0.74), -0.5)
    plant((-0.95, 1.75, -0.74))
    vase((-0.36, 0.28, 0))
    fruit_bowl((0.06, 0.2, 0))
    books((0.46, 0.27, 0))
    cup((-0.14, -0.12, 0))
    candlestick((0.26, 0.42, 0))
    napkin((0.34, -0.2, 0.004))
    rolling = orange((0.2, -0.06, 0.042), 0.042)
    rolling.name = "Rolling"
    camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    scene.collection.objects.link(camera)
    scene.camera = camera
    camera.data.lens, camera.data.dof.use_dof, camera.data.dof.aperture_fstop = 34, True, 6.3
    pose(scene, 0.55)
    return scene


def pose(scene: Any, time: float) -> None:
    """Camera and rolling orange at a time between 0 and 1."""
    eased = time * time * (3 - 2 * time)
    x = -0.36 + 0.62 * eased
    target = (0.04 + 0.06 * eased, 0.35, 0.1)
    look(scene.camera, (x, -1.02 + 0.08 * eased, 0.42 - 0.05 * eased), target)
    scene.camera.data.dof.focus_distance = 1.2
    rolling = bpy.data.objects["Rolling"]
    rolling.location.x = -0.32 + 0.62 * time
    rolling.location.y = -0.27 + 0.04 * time
    rolling.rotation_euler = (0.3, rolling.location.x / 0.042, 0.4)


def look(thing: Any, place: Point, target: Point) -> None:
    """Puts a camera or lamp at a place, towards a target."""
    from mathutils import Vector

    thing.location = place
    thing.rotation_euler = (Vector(target) - Vector(place)).to_track_quat("-Z", "Y").to_euler()


def light(scene: Any) -> None:
    """A low morning sun through a window with bars, and the sky."""
    scene.world = bpy.data.worlds.new("Sky")
    scene.world.use_nodes = True
    background = scene.world.node_tree.nodes["Background"]
    background.inputs["Color"].default_value, background.inputs["Strength"].default_value = (0.62, 0.75, 1.0, 1), 0.32
    sun = bpy.data.objects.new("Sun", bpy.data.lights.new("Sun", "SUN"))
    sun.data.energy, sun.data.angle, sun.data.color = 7.5, math.radians(0.9), (1.0, 0.82, 0.58)
    scene.collection.objects.link(sun)
    look(sun, (-3.6, -0.3, 2.3), (0.02, 0.32, 0))
    soft = bpy.data.objects.new("Window", bpy.data.lights.new("Window", "AREA"))
    soft.data.energy, soft.data.size, soft.data.color = 26, 1.6, (0.86, 0.93, 1.0)
    scene.collection.objects.link(soft)
    look(soft, (-1.9, -0.2, 1.3), (0.1, 0.3, 0))
    # The wall beside the camera's left, with the window's opening, shades the sun.
    paint = plain((0.7, 0.68, 0.62), 0.9)
    for low, high in (
        ((-2.4, -2.6, -0.74), (-2.3, -0.75, 2.6)),
        ((-2.4, 0.75, -0.74), (-2.3, 2.6, 2.6)),
        ((-2.4, -0.75, 1.95), (-2.3, 0.75, 2.6)),
    ):
        box(low, high, paint)
    box((-2.4, -0.75, -0.74), (-2.3, 0.75, 0.62), paint)
    for y in (-0.26, 0.24):
        box((-2.38, y, 0.62), (-2.33, y + 0.05, 1.95), paint)
    box((-2.38, -0.75, 1.28), (-2.33, 0.75, 1.33), paint)


def room() -> None:
    """Floor of boards, a plastered wall with panelling, a doorway to the next room, a picture and a curtain."""
    floor = wood((0.2, 0.105, 0.05), (0.36, 0.2, 0.1), 0.35, planks=(0.14, 1.9))
    plane((-3.2, -2.6, -0.74), (3.4, 5.6), floor)
    plaster = rough((0.16, 0.27, 0.25), (0.24, 0.36, 0.32), 34, 0.35)
    panel = plain((0.78, 0.77, 0.72), 0.5)
    box((-2.4, 2.35, -0.74), (0.72, 2.5, 2.6), plaster)
    box((1.62, 2.35, -0.74), (3.6, 2.5, 2.6), plaster)
    box((0.72, 2.35, 1.38), (1.62, 2.5, 2.6), plaster)
    box((-3.2, 5.5, -0.74), (3.6, 5.6, 2.6), rough((0.62, 0.5, 0.36), (0.68, 0.56, 0.42), 20, 0.2))
    box((3.3, 2.5, -0.74), (3.4, 5.5, 2.6), panel)
    for x in (0.64, 1.62):
        box((x, 2.32, -0.74), (x + 0.08, 2.52, 1.38), panel)
    box((0.64, 2.31, 1.38), (1.7, 2.52, 1.47), panel)
    # Panelling: a rail, a skirting and raised fields.
    for left, right in ((-2.4, 0.64), (1.7, 3.6)):
        box((left, 2.325, 0.12), (right, 2.36, 0.17), panel)
        box((left, 2.33, -0.74), (right, 2.36, -0.6), panel)
        box((left, 2.342, -0.6), (right, 2.355, 0.12), panel)
        x = left + 0.08
        while x + 0.42 < right:
            box((x, 2.328, -0.52), (x + 0.42, 2.345, 0.04), panel, bevel=0.008)
            x += 0.5
    frame = wood((0.09, 0.045, 0.02), (0.16, 0.08, 0.035), 0.3)
    box((-0.66, 2.29, 0.42), (0.12, 2.35, 1.02), frame, bevel=0.01)
    box((-0.61, 2.284, 0.47), (0.07, 2.3, 0.97), painting())
    curtain()
    # In the next room: a cupboard and a bright lamp, far away.
    box((0.5, 5.0, -0.74), (1.35, 5.5, 0.2), wood((0.16, 0.08, 0.035), (0.28, 0.15, 0.07), 0.4), bevel=0.01)
    lathe([(0.0, 0), (0.09, 0), (0.1, 0.02), (0.025, 0.05), (0.02, 0.3), (0.0, 0.3)], (0.95, 5.2, 0.2), metal((0.75, 0.55, 0.25), 0.3))
    lathe([(0.17, 0.28), (0.11, 0.52)], (0.95, 5.2, 0.2), glowing((1.0, 0.72, 0.4), 5))


def all_around(scene: Any) -> None:
    """Closes the room, and puts a level panoramic camera beside the table."""
    plaster = rough((0.16, 0.27, 0.25), (0.24, 0.36, 0.32), 34, 0.35)
    white = plain((0.78, 0.77, 0.72), 0.7)
    oak = wood((0.09, 0.045, 0.02), (0.16, 0.08, 0.035), 0.3)
    box((-2.4, -2.7, -0.74), (3.4, -2.6, 2.6), plaster)
    box((3.3, -2.7, -0.74), (3.4, 2.5, 2.6), plaster)
    box((-2.4, -2.7, 2.6), (3.6, 5.6, 2.7), white)
    for low, high in (((-2.4, -2.6, -0.74), (3.3, -2.57, -0.6)), ((3.27, -2.6, -0.74), (3.3, 2.35, -0.6))):
        box(low, high, white)
    # Behind the camera: a bookcase, a door and a second picture.
    for x in (0.5, 1.9):
        box((x, -2.6, -0.74), (x + 0.04, -2.25, 1.3), oak)
    for level in range(5):
        height = -0.7 + 0.49 * level
        box((0.5, -2.6, height), (1.94, -2.25, height + 0.04), oak)
        x = 0.56
        while level < 4 and x < 1.8:
            thick, tall = CHOOSE.uniform(0.03, 0.07), CHOOSE.uniform(0.25, 0.4)
            tone = CHOOSE.random()
            colour = (0.15 + 0.5 * tone, 0.12 + 0.25 * CHOOSE.random(), 0.1 + 0.3 * (1 - tone))
            box((x, -2.55, height + 0.04), (x + thick, -2.3, height + 0.04 + tall), plain(colour, 0.6))
            x += thick + 0.004
    box((-1.3, -2.6, -0.74), (-0.4, -2.56, 1.4), oak, bevel=0.01)
    ball((-0.48, -2.52, 0.3), 0.035, metal((0.75, 0.55, 0.25), 0.3))
    box((3.26, -0.9, 0.4), (3.3, 0.5, 1.3), oak, bevel=0.01)
    box((3.25, -0.85, 0.45), (3.27, 0.45, 1.25), painting())
    lamp = bpy.data.objects.new("Ceiling", bpy.data.lights.new("Ceiling", "AREA"))
    lamp.data.energy, lamp.data.size, lamp.data.color = 40, 1.5, (1.0, 0.9, 0.75)
    scene.collection.objects.link(lamp)
    look(lamp, (1.0, -1.0, 2.5), (1.0, -1.0, 0))
    camera = scene.camera
    camera.data.type = "PANO"
    place = camera.data if hasattr(camera.data, "panorama_type") else camera.data.cycles  # where Blender 5 and 4 keep it
    place.panorama_type = "EQUIRECTANGULAR"
    camera.location, camera.rotation_euler = (0.1, -0.75, 0.55), (math.pi / 2, 0, 0)


def table() -> None:
    """A table of oak, with legs."""
    oak = wood((0.27, 0.13, 0.055), (0.47, 0.26, 0.12), 0.32, planks=(0.16, 4))
    box((-0.85, -0.45, -0.035), (0.85, 0.55, 0), oak, bevel=0.006)
    for x in (-0.78, 0.72):
        for y in (-0.38, 0.42):
            box((x, y, -0.74), (x + 0.06, y + 0.06, -0.035), oak)


def chair(place: Point, turn: float) -> None:
    """A wooden chair whose back has slats."""
    beech = wood((0.3, 0.14, 0.06), (0.44, 0.23, 0.1), 0.35)
    parts = [box((-0.22, -0.22, 0.43), (0.22, 0.22, 0.47), beech, bevel=0.012)]
    for x in (-0.21, 0.17):
        parts.append(box((x, -0.21, 0), (x + 0.04, -0.17, 0.44), beech))
        parts.append(box((x, 0.17, 0), (x + 0.04, 0.21, 1.02), beech, bevel=0.008))
    parts += [box((-0.18, 0.178, z), (0.18, 0.2, z + 0.055), beech, bevel=0.006) for z in (0.62, 0.74, 0.86, 0.96)]
    move(parts, place, turn)


def plant(place: Point) -> None:
    """A plant with long leaves in a pot of clay."""
    clay = rough((0.5, 0.2, 0.1), (0.62, 0.28, 0.15), 12, 0.15)
    lathe([(0, 0), (0.14, 0), (0.19, 0.3), (0.21, 0.3), (0.21, 0.36), (0.185, 0.36), (0.17, 0.3), (0, 0.3)], place, clay)
    x, y, z = place
    for i in range(34):
        angle, reach, height = i * 2.4, CHOOSE.uniform(0.2, 0.52), CHOOSE.uniform(0.45, 1.15)
        leaf((x, y, z + 0.3), angle, reach, height, CHOOSE.uniform(0.035, 0.06), leafy(CHOOSE.uniform(0, 1)))


def vase(place: Point) -> None:
    """A glazed vase with twigs and blossoms."""
    profile = [(0, 0), (0.045, 0), (0.05, 0.01), (0.078, 0.07), (0.085, 0.12), (0.066, 0.18), (0.036, 0.225), (0.034, 0.25), (0.044, 0.275)]
    lathe([*profile, (0.039, 0.272), (0.03, 0.25), (0, 0.24)], place, glaze((0.03, 0.1, 0.2), (0.12, 0.32, 0.42)))
    x, y, z = place
    bark, petal = plain((0.12, 0.07, 0.04), 0.8), plain((0.9, 0.52, 0.5), 0.55)
    for i in range(9):
        angle, lean, height = i * 2.4, CHOOSE.uniform(0.05, 0.2), CHOOSE.uniform(0.22, 0.42)
        points = []
        for step in range(7):
            t = step / 6
            points.append((x + math.cos(angle) * lean * t * t, y + math.sin(angle) * lean * t * t, z + 0.2 + height * t))
        twig(points, 0.0026, bark)
        for px, py, pz in points[2:]:
            for _ in range(2):
                at = (px + CHOOSE.gauss(0, 0.012), py + CHOOSE.gauss(0, 0.012), pz + CHOOSE.gauss(0, 0.012))
                if CHOOSE.random() < 0.55:
                    ball(at, CHOOSE.uniform(0.007, 0.013), petal, rings=8)
                else:
                    leaf(at, CHOOSE.uniform(0, 6.3), 0.05, 0.02, 0.011, leafy(CHOOSE.uniform(0, 1)))


def fruit_bowl(place: Point) -> None:
    """A bowl of stoneware with oranges, lemons and a pear."""
    x, y, z = place
    profile = [
        (0, 0),
        (0.06, 0),
        (0.062, 0.012),
        (0.1, 0.03),
        (0.138, 0.066),
        (0.15, 0.094),
        (0.145, 0.096),
        (0.13, 0.068),
        (0.09, 0.036),
        (0, 0.022),
    ]
    lathe(profile, place, glaze((0.52, 0.47, 0.38), (0.75, 0.71, 0.62)))
    for angle, reach, height in ((0.3, 0.068, 0.07), (1.75, 0.07, 0.072), (3.2, 0.066, 0.07), (4.7, 0.07, 0.072), (0, 0.012, 0.118)):
        orange((x + math.cos(angle) * reach, y + math.sin(angle) * reach, z + height), CHOOSE.uniform(0.036, 0.041))
    pear = [
        (0, 0),
        (0.022, 0.002),
        (0.034, 0.018),
        (0.036, 0.034),
        (0.029, 0.056),
        (0.018, 0.076),
        (0.014, 0.088),
        (0.006, 0.096),
        (0, 0.094),
    ]
    turned = lathe(pear, (0, 0, 0), rough((0.42, 0.5, 0.08), (0.62, 0.55, 0.14), 60, 0.05))
    turned.location, turned.rotation_euler = (x + 0.07, y - 0.055, z + 0.085), (0.5, 0.75, 0)


def books(place: Point) -> None:
    """A pile of books, and one that leans on it."""
    x, y, z = place
    covers = ((0.32, 0.05, 0.04), (0.05, 0.13, 0.2), (0.55, 0.4, 0.15))
    for number, (colour, thick) in enumerate(zip(covers, (0.035, 0.028, 0.024), strict=True)):
        move(book((0.24 - number * 0.02, 0.17 - number * 0.012, thick), colour), (x, y, z), (0.2, -0.15, 0.35)[number])
        z += thick


def book(size: Point, colour: Colour) -> list[Any]:
    """A book that lies on its back."""
    width, depth, thick = size[0] / 2, size[1] / 2, size[2]
    red, green, blue = (min(1.0, each * 1.35) for each in colour)
    cloth, paper = rough(colour, (red, green, blue), 300, 0.12), pages()
    return [
        box((-width, -depth, 0), (width, depth, 0.003), cloth, bevel=0.001),
        box((-width, -depth, thick - 0.003), (width, depth, thick), cloth, bevel=0.001),
        box((-width, depth - 0.003, 0), (width, depth, thick), cloth, bevel=0.001),
        box((-width + 0.005, -depth + 0.005, 0.003), (width - 0.005, depth - 0.003, thick - 0.003), paper),
    ]


def cup(place: Point) -> None:
    """A cup of coffee on its saucer, with a spoon."""
    x, y, z = place
    china = glaze((0.72, 0.7, 0.66), (0.82, 0.8, 0.75))
    lathe([(0, 0.004), (0.035, 0.004), (0.05, 0.008), (0.078, 0.018), (0.077, 0.021), (0.04, 0.011), (0, 0.01)], place, china)
    profile = [
        (0, 0.012),
        (0.025, 0.012),
        (0.034, 0.03),
        (0.041, 0.055),
        (0.043, 0.075),
        (0.0405, 0.075),
        (0.038, 0.055),
        (0.03, 0.03),
        (0, 0.022),
    ]
    lathe(profile, place, china)
    lathe([(0, 0.064), (0.0385, 0.064)], place, plain((0.05, 0.018, 0.006), 0.08))
    ring = [
        (x + 0.046 + 0.016 * math.cos(a), y - 0.006 + 0.012 * math.cos(a), z + 0.045 + 0.02 * math.sin(a))
        for a in (i * 0.42 - 3.0 for i in range(16))
    ]
    twig(ring, 0.0042, china)
    twig(
        [(x - 0.07, y - 0.055, z + 0.024), (x - 0.02, y - 0.062, z + 0.019), (x + 0.03, y - 0.06, z + 0.018)],
        0.0026,
        metal((0.8, 0.78, 0.74), 0.22),
    )


def candlestick(place: Point) -> None:
    """Brass, with a candle."""
    x, y, z = place
    profile = [
        (0, 0),
        (0.055, 0),
        (0.057, 0.008),
        (0.02, 0.022),
        (0.012, 0.05),
        (0.02, 0.075),
        (0.011, 0.1),
        (0.012, 0.15),
        (0.03, 0.165),
        (0.03, 0.17),
    ]
    lathe([*profile, (0.0125, 0.17), (0.0125, 0.2), (0, 0.2)], place, metal((0.75, 0.5, 0.18), 0.24))
    lathe([(0.0105, 0.17), (0.0105, 0.33), (0.004, 0.334), (0, 0.332)], place, plain((0.88, 0.83, 0.7), 0.45))
    twig([(x, y, z + 0.33), (x + 0.001, y, z + 0.342)], 0.001, plain((0.02, 0.02, 0.02), 0.9))


def napkin(place: Point) -> None:
    """A checked cloth with folds, half over the table's edge."""
    count, width, depth = 90, 0.34, 0.34
    points, faces = [], []
    for row in range(count + 1):
        for column in range(count + 1):
            u, v = column / count, row / count
            x, y = (u - 0.5) * width, (v - 0.5) * depth
            along = 0.35 * x + y
            fold = 0.007 * math.sin(along * 42 + 3 * x) + 0.004 * math.sin(x * 60 + 2 * math.sin(y * 18))
            hang = max(0.0, -0.1 - y)
            # What is beyond the edge hangs down.
            points.append(
                (x + 0.02 * math.sin(y * 14), -0.1 - 0.018 * min(1.0, hang * 30) if hang else y, max(fold, -0.003) + 0.004 - hang * 0.96)
            )
            if row < count and column < count:
                corner = row * (count + 1) + column
                faces.append((corner, corner + 1, corner + count + 2, corner + count + 1))
    cloth = mesh("Napkin", points, faces, checked())
    cloth.location, cloth.rotation_euler = (place[0], -0.36, place[2]), (0, 0, 0.0)


def curtain() -> None:
    """A curtain in folds at the left."""
    linen = rough((0.72, 0.62, 0.45), (0.8, 0.7, 0.53), 260, 0.12)
    columns, rows = 160, 30
    points, faces = [], []
    for row in range(rows + 1):
        for column in range(columns + 1):
            u, v = column / columns, row / rows
            depth = 0.045 * math.sin(u * 44 + 0.7 * math.sin(v * 3)) * (0.55 + 0.45 * (1 - v))
            points.append((-1.95 + 0.8 * u + 0.02 * math.sin(v * 5 + u * 9), 2.2 + depth, -0.7 + 3.2 * v))
            if row < rows and column < columns:
                corner = row * (columns + 1) + column
                faces.append((corner, corner + 1, corner + columns + 2, corner + columns + 1))
    mesh("Curtain", points, faces, linen)


# Shapes


def mesh(name: str, points: Sequence[Point], faces: Sequence[Sequence[int]], material: Any, smooth: bool = True) -> Any:
    """An object of points and faces."""
    data = bpy.data.meshes.new(name)
    data.from_pydata(list(points), [], [list(face) for face in faces])
    if smooth:
        data.polygons.foreach_set("use_smooth", [True] * len(data.polygons))
    data.materials.append(material)
    thing = bpy.data.objects.new(name, data)
    bpy.context.scene.collection.objects.link(thing)
    return thing


def box(low: Point, high: Point, material: Any, bevel: float = 0.0) -> Any:
    """A box between two corners."""
    points = [(x, y, z) for z in (low[2], high[2]) for y in (low[1], high[1]) for x in (low[0], high[0])]
    faces = [(0, 2, 3, 1), (4, 5, 7, 6), (0, 1, 5, 4), (2, 6, 7, 3), (0, 4, 6, 2), (1, 3, 7, 5)]
    thing = mesh("Box", points, faces, material, smooth=False)
    if bevel:
        rounded = thing.modifiers.new("Bevel", "BEVEL")
        rounded.width, rounded.segments = bevel, 3
    return thing


def plane(corner: Point, opposite: tuple[float, float], material: Any) -> Any:
    """A level plane from a corner to its opposite."""
    x, y, z = corner
    right, far = opposite
    return mesh("Plane", [(x, y, z), (right, y, z), (right, far, z), (x, far, z)], [(0, 1, 2, 3)], material, smooth=False)


def lathe(profile: Sequence[tuple[float, float]], place: Point, material: Any, around: int = 72) -> Any:
    """Turns a profile of (radius, height) around the vertical axis."""
    points = [
        (radius * math.cos(turn), radius * math.sin(turn), height)
        for radius, height in profile
        for turn in (2 * math.pi * step / around for step in range(around))
    ]
    faces = []
    for ring in range(len(profile) - 1):
        for step in range(around):
            near, beside = ring * around + step, ring * around + (step + 1) % around
            faces.append((near, beside, beside + around, near + around))
    thing = mesh("Turned", points, faces, material)
    thing.location = place
    smooth = thing.modifiers.new("Smooth", "SUBSURF")
    smooth.levels = smooth.render_levels = 2
    return thing


def ball(place: Point, radius: float, material: Any, rings: int = 32) -> Any:
    """A ball."""
    profile = [(radius * math.sin(math.pi * i / rings), -radius * math.cos(math.pi * i / rings)) for i in range(rings + 1)]
    thing = lathe(profile, place, material, around=rings * 2)
    thing.modifiers.clear()
    return thing


def orange(place: Point, radius: float) -> Any:
    """An orange, with its pores and its stalk's end."""
    fruit = ball(place, radius, peel(CHOOSE.uniform(0, 1)), rings=40)
    fruit.rotation_euler = (CHOOSE.uniform(-0.6, 0.6), CHOOSE.uniform(-0.6, 0.6), CHOOSE.uniform(0, 6))
    return fruit


def leaf(root: Point, angle: float, reach: float, height: float, width: float, material: Any) -> Any:
    """A leaf that rises from its root and bends outwards."""
    points, faces = [], []
    for step in range(11):
        t = step / 10
        out, up = reach * t**1.4, height * (t - 0.35 * t**3)
        half = width * math.sin(math.pi * min(1.0, 0.06 + t * 0.94)) ** 0.8
        for side in (-1, 0, 1):
            x, y = out, side * half
            points.append(
                (
                    root[0] + x * math.cos(angle) - y * math.sin(angle),
                    root[1] + x * math.sin(angle) + y * math.cos(angle),
                    root[2] + up + abs(side) * half * 0.35,
                )
            )
        if step:
            last = 3 * step
            faces += [(last - 3, last - 2, last + 1, last), (last - 2, last - 1, last + 2, last + 1)]
    return mesh("Leaf", points, faces, material)


def twig(points: Sequence[Point], radius: float, material: Any) -> Any:
    """A round bent rod through points."""
    data = bpy.data.curves.new("Twig", "CURVE")
    data.dimensions, data.bevel_depth, data.bevel_resolution, data.use_fill_caps = "3D", radius, 4, True
    spline = data.splines.new("NURBS")
    spline.points.add(len(points) - 1)
    for point, place in zip(spline.points, points, strict=True):
        point.co = (*place, 1)
    spline.use_endpoint_u, spline.order_u = True, 3
    data.materials.append(material)
    thing = bpy.data.objects.new("Twig", data)
    bpy.context.scene.collection.objects.link(thing)
    return thing


def move(parts: Sequence[Any], place: Point, turn: float) -> None:
    """Places what was built around the origin."""
    for part in parts:
        part.location, part.rotation_euler = place, (0, 0, turn)


# Materials


def material(build_nodes: Callable[[Any, Any], None]) -> Any:
    """A material whose nodes a function adds: it is given the nodes' helper and the surface."""
    made = bpy.data.materials.new("Material")
    made.use_nodes = True
    build_nodes(Nodes(made.node_tree), made.node_tree.nodes["Principled BSDF"])
    return made


class Nodes:
    """Adds shader nodes in a line."""

    def __init__(self, tree: Any) -> None:
        self.tree = tree

    def add(self, kind: str, inputs: dict[Any, Any] | None = None, **settings: Any) -> Any:
        """A node; an input is a value or another node's output."""
        node = self.tree.nodes.new(kind)
        for name, value in settings.items():
            setattr(node, name, value)
        for name, value in (inputs or {}).items():
            self.set(node.inputs[name], value)
        return node

    def set(self, socket: Any, value: Any) -> None:
        """Links or sets an input."""
        if isinstance(value, bpy.types.NodeSocket):
            self.tree.links.new(value, socket)
        else:
            socket.default_value = (*value, 1) if isinstance(value, tuple) and socket.type == "RGBA" and len(value) == 3 else value

    def place(self, scale: Point = (1, 1, 1)) -> Any:
        """The object's own coordinates in metres, scaled."""
        coordinates = self.add("ShaderNodeTexCoord")
        return self.add("ShaderNodeMapping", {"Vector": coordinates.outputs["Object"], "Scale": scale}).outputs["Vector"]

    def noise(self, vector: Any, scale: float, detail: float = 6, distortion: float = 0.0) -> Any:
        """Noise in [0, 1]."""
        return self.add("ShaderNodeTexNoise", {"Vector": vector, "Scale": scale, "Detail": detail, "Distortion": distortion}).outputs["Fac"]

    def between(self, share: Any, dark: Colour, bright: Colour, low: float = 0.3, high: float = 0.7) -> Any:
        """A colour between two."""
        ramp = self.add("ShaderNodeValToRGB", {"Fac": share})
        ramp.color_ramp.elements[0].position, ramp.color_ramp.elements[0].color = low, (*dark, 1)
        ramp.color_ramp.elements[1].position, ramp.color_ramp.elements[1].color = high, (*bright, 1)
        return ramp.outputs["Color"]

    def bump(self, height: Any, strength: float, distance: float) -> Any:
        """Normals of a height."""
        return self.add("ShaderNodeBump", {"Height": height, "Strength": strength, "Distance": distance}).outputs["Normal"]


def plain(colour: Colour, roughness: float) -> Any:
    """One colour."""

    def nodes(make: Nodes, surface: Any) -> None:
        make.set(surface.inputs["Base Color"], colour)
        make.set(surface.inputs["Roughness"], roughness)

    return material(nodes)


def metal(colour: Colour, roughness: float) -> Any:
    """Polished metal."""

    def nodes(make: Nodes, surface: Any) -> None:
        make.set(surface.inputs["Base Color"], colour)
        make.set(surface.inputs["Metallic"], 1.0)
        make.set(
            surface.inputs["Roughness"],
            make.add("ShaderNodeMath", {0: make.noise(make.place(), 40), 1: roughness}, operation="MULTIPLY").outputs[0],
        )

    return material(nodes)


def glowing(colour: Colour, strength: float) -> Any:
    """A lampshade."""

    def nodes(make: Nodes, surface: Any) -> None:
        make.set(surface.inputs["Emission Color"], colour)
        make.set(surface.inputs["Emission Strength"], strength)

    return material(nodes)


def rough(dark: Colour, bright: Colour, scale: float, strength: float) -> Any:
    """Plaster, clay, cloth: two colours in noise, and its bumps."""

    def nodes(make: Nodes, surface: Any) -> None:
        noise = make.noise(make.place(), scale, 10)
        make.set(surface.inputs["Base Color"], make.between(make.noise(make.place(), scale / 12, 8), dark, bright))
        make.set(surface.inputs["Roughness"], 0.75)
        make.set(surface.inputs["Normal"], make.bump(noise, strength, 0.01))

    return material(nodes)


def wood(dark: Colour, bright: Colour, roughness: float, planks: tuple[float, float] | None = None) -> Any:
    """Grain along X; with planks, boards of a width and length in metres with joints between them."""

    def nodes(make: Nodes, surface: Any) -> None:
        here = make.place()
        if planks:
            width, length = planks
            boards = make.add(
                "ShaderNodeTexBrick",
                {
                    "Vector": here,
                    "Color1": (0.0, 0.0, 0.0),
                    "Color2": (1.0, 1.0, 1.0),
                    "Mortar": (0.5, 0.5, 0.5),
                    "Scale": 1.0,
                    "Mortar Size": 0.0016,
                    "Mortar Smooth": 0.2,
                    "Brick Width": length,
                    "Row Height": width,
                },
            )
            # Each board is cut from another place of the tree.
            offset = make.add("ShaderNodeVectorMath", {0: boards.outputs["Color"], 1: (7.0, 5.0, 3.0)}, operation="MULTIPLY").outputs[0]
            here = make.add("ShaderNodeVectorMath", {0: here, 1: offset}, operation="ADD").outputs[0]
        stretched = make.add("ShaderNodeMapping", {"Vector": here, "Scale": (1.1, 14.0, 14.0)}).outputs["Vector"]
        grain = make.noise(stretched, 2.2, 9, 1.1)
        fine = make.noise(make.add("ShaderNodeMapping", {"Vector": here, "Scale": (6.0, 160.0, 160.0)}).outputs["Vector"], 1.0, 4)
        mixed = make.add(
            "ShaderNodeMath", {0: grain, 1: make.add("ShaderNodeMath", {0: fine, 1: 0.3}, operation="MULTIPLY").outputs[0]}, operation="ADD"
        )
        colour = make.between(mixed.outputs[0], dark, bright, 0.45, 0.85)
        if planks:
            # A tone for each board, and dark joints.
            tone = make.add("ShaderNodeMath", {0: boards.outputs["Color"], 1: 0.35}, operation="MULTIPLY").outputs[0]
            tone = make.add("ShaderNodeMath", {0: tone, 1: 0.75}, operation="ADD").outputs[0]
            joint = make.add("ShaderNodeMath", {0: 1.0, 1: boards.outputs["Fac"]}, operation="SUBTRACT").outputs[0]
            tone = make.add("ShaderNodeMath", {0: tone, 1: joint}, operation="MULTIPLY").outputs[0]
            colour = make.add("ShaderNodeVectorMath", {0: colour, 1: tone}, operation="MULTIPLY").outputs[0]
            mixed = make.add("ShaderNodeMath", {0: mixed.outputs[0], 1: joint}, operation="MULTIPLY")
        make.set(surface.inputs["Base Color"], colour)
        make.set(surface.inputs["Roughness"], roughness)
        make.set(surface.inputs["Normal"], make.bump(mixed.outputs[0], 0.25, 0.004))

    return material(nodes)


def glaze(dark: Colour, bright: Colour) -> Any:
    """Glazed stoneware."""

    def nodes(make: Nodes, surface: Any) -> None:
        share = make.noise(make.place((1, 1, 2.5)), 16, 5, 0.6)
        speckles = make.noise(make.place(), 210, 2)
        make.set(surface.inputs["Base Color"], make.between(share, dark, bright, 0.38, 0.66))
        make.set(surface.inputs["Roughness"], 0.16)
        make.set(surface.inputs["Normal"], make.bump(speckles, 0.08, 0.002))

    return material(nodes)


def peel(tone: float) -> Any:
    """An orange's peel."""

    def nodes(make: Nodes, surface: Any) -> None:
        pores = make.add("ShaderNodeTexVoronoi", {"Vector": make.place(), "Scale": 460.0}).outputs["Distance"]
        share = make.noise(make.place(), 22, 4)
        make.set(surface.inputs["Base Color"], make.between(share, (0.72, 0.19 + 0.05 * tone, 0.012), (0.86, 0.34 + 0.06 * tone, 0.03)))
        make.set(surface.inputs["Roughness"], 0.38)
        make.set(surface.inputs["Subsurface Weight"], 0.12)
        make.set(surface.inputs["Normal"], make.bump(pores, 0.35, 0.0015))

    return material(nodes)


def leafy(tone: float) -> Any:
    """A leaf's green."""
    return plain((0.05 + 0.06 * tone, 0.16 + 0.1 * tone, 0.035), 0.42)


def pages() -> Any:
    """The edges of a book's pages."""

    def nodes(make: Nodes, surface: Any) -> None:
        lines = make.noise(make.place((2, 2, 900)), 1, 2)
        make.set(surface.inputs["Base Color"], make.between(lines, (0.5, 0.44, 0.33), (0.82, 0.77, 0.65), 0.35, 0.6))
        make.set(surface.inputs["Roughness"], 0.8)

    return material(nodes)


def checked() -> Any:
    """Linen with a woven check in blue."""

    def nodes(make: Nodes, surface: Any) -> None:
        place = make.add("ShaderNodeSeparateXYZ", {"Vector": make.place()})
        stripes = []
        for axis, shift in (("X", 5.0), ("Y", 5.0)):
            moved = make.add("ShaderNodeMath", {0: place.outputs[axis], 1: shift}, operation="ADD").outputs[0]
            part = make.add("ShaderNodeMath", {0: moved, 1: 0.044}, operation="MODULO").outputs[0]
            stripes.append(make.add("ShaderNodeMath", {0: part, 1: 0.022}, operation="LESS_THAN").outputs[0])
        both = make.add("ShaderNodeMath", {0: stripes[0], 1: stripes[1]}, operation="ADD").outputs[0]
        share = make.add("ShaderNodeMath", {0: both, 1: 0.5}, operation="MULTIPLY").outputs[0]
        weave = make.add("ShaderNodeTexNoise", {"Vector": make.place(), "Scale": 900.0, "Detail": 1.0}).outputs["Fac"]
        make.set(surface.inputs["Base Color"], make.between(share, (0.78, 0.75, 0.68), (0.07, 0.16, 0.32), 0.0, 1.0))
        make.set(surface.inputs["Roughness"], 0.9)
        make.set(surface.inputs["Normal"], make.bump(weave, 0.3, 0.001))

    return material(nodes)


def painting() -> Any:
    """A landscape in oil: sky, hills and a field, roughly."""

    def nodes(make: Nodes, surface: Any) -> None:
        here = make.place()
        height = make.add("ShaderNodeSeparateXYZ", {"Vector": here}).outputs["Z"]
        waves = make.noise(make.place((3, 1, 1)), 1.6, 8, 0.4)
        level = make.add(
            "ShaderNodeMath",
            {0: make.add("ShaderNodeMath", {0: waves, 1: 0.35}, operation="MULTIPLY").outputs[0], 1: height},
            operation="ADD",
        )
        ramp = make.add("ShaderNodeValToRGB", {"Fac": level.outputs[0]})
        stops = (
            (0.62, (0.16, 0.13, 0.03)),
            (0.78, (0.4, 0.3, 0.07)),
            (0.83, (0.07, 0.12, 0.08)),
            (0.93, (0.14, 0.2, 0.22)),
            (0.96, (0.8, 0.6, 0.38)),
        )
        for position, colour in stops:
            ramp.color_ramp.elements.new(position).color = (*colour, 1)
        ramp.color_ramp.elements[-1].color = (0.3, 0.45, 0.62, 1)
        strokes = make.noise(make.place((1, 1, 3)), 42, 3, 2)
        make.set(surface.inputs["Base Color"], ramp.outputs["Color"])
        make.set(surface.inputs["Roughness"], 0.35)
        make.set(surface.inputs["Normal"], make.bump(strokes, 0.5, 0.004))

    return material(nodes)


if __name__ == "__main__":
    main()
