"""Where things stand in the scenes, how they are lit and from where they are seen; needs bpy."""

from __future__ import annotations

import math
from collections.abc import Callable

import bpy  # isort: skip  (first: it brings mathutils)
from mathutils import Matrix, Vector, noise

from .figures import car, glass, mirror, person, plant
from .places import (
    View,
    build_aerial,
    build_canyon,
    build_corridor,
    build_garden,
    build_glass,
    build_people,
    build_stairs,
    build_studio,
    build_surface,
)
from .shapes import Builder, rock
from .worlds import lamp


def build_room(builder: Builder) -> Callable[[], View]:
    """A furnished room, seen from within."""
    random = builder.random
    width, depth, height = random.uniform(3, 7), random.uniform(3, 8), random.uniform(2.3, 3.4)
    walls = builder.materials.make()
    for height_of, thick in ((-0.05, 0.1), (height + 0.05, 0.1)):
        builder.box((0, 0, height_of), (width, depth, thick))
    for side in (-1, 1):
        builder.box((side * width / 2, 0, height / 2), (0.1, depth, height), walls if random.random() < 0.75 else None)
        builder.box((0, side * depth / 2, height / 2), (width, 0.1, height), walls if random.random() < 0.75 else None)
    furnish(builder, width, depth, height)

    def view() -> View:
        eye = Vector((random.uniform(-0.35, 0.35) * width, random.uniform(-0.46, -0.3) * depth, random.uniform(0.8, min(2, height - 0.3))))
        return eye, Vector((random.uniform(-0.4, 0.4) * width, random.uniform(0.1, 0.5) * depth, random.uniform(0.3, 1.5)))

    return view


def furnish(builder: Builder, width: float, depth: float, height: float) -> None:
    """Tables, sofas, shelves, pictures, solids and lamps."""
    random = builder.random

    def across(share: float) -> float:
        return random.uniform(-share, share) * width

    for _ in range(random.randint(1, 3)):
        y = random.uniform(-0.2, 0.4) * depth
        builder.table(across(0.3), y, random.uniform(0.6, 2), random.uniform(0.5, 1), random.uniform(0.4, 0.9))
    for _ in range(random.randint(0, 2)):
        turn = random.choice((0, math.pi / 2, -math.pi / 2, random.uniform(0, 6)))
        builder.sofa(across(0.3), random.uniform(-0.1, 0.4) * depth, turn, random.uniform(0.8, 2.2))
    for side in (-1, 1):
        if random.random() < 0.5:
            y, long, tall = random.uniform(-0.2, 0.35) * depth, random.uniform(0.6, 1.8), random.uniform(0.8, height * 0.9)
            builder.shelf(side * (width / 2 - 0.2), y, -side * math.pi / 2, long, tall)
    if random.random() < 0.6:
        builder.shelf(across(0.3), depth / 2 - 0.2, 0, random.uniform(0.6, 1.8), random.uniform(0.8, height * 0.9))
    for _ in range(random.randint(0, 3)):
        size = (random.uniform(0.4, 1.4), 0.04, random.uniform(0.4, 1))
        builder.box((across(0.4), depth / 2 - 0.06, random.uniform(1.2, 1.9)), size)
    for _ in range(random.randint(1, 8)):
        builder.solid(across(0.42), random.uniform(-0.3, 0.42) * depth, 0, random.uniform(0.2, 0.8))
    if random.random() < 0.3:
        person(builder, across(0.35), random.uniform(-0.1, 0.35) * depth, 0)
    for _ in range(random.choice((0, 0, 1, 2))):
        plant(builder, across(0.42), random.uniform(-0.1, 0.42) * depth, 0, random.uniform(0.4, 1.6))
    if random.random() < 0.35:
        clear = mirror() if random.random() < 0.5 else glass(random)
        builder.box(
            (across(0.3), depth / 2 - 0.07, random.uniform(1, 1.6)), (random.uniform(0.5, 1.6), 0.04, random.uniform(0.6, 1.8)), clear
        )
    for _ in range(random.randint(1, 3)):
        lamp((across(0.35), random.uniform(-0.35, 0.35) * depth, height - 0.15), random.uniform(80, 260), random)


def build_table_top(builder: Builder) -> Callable[[], View]:
    """Things on a surface, near, with or without a wall behind."""
    random = builder.random
    builder.box((0, 0, -0.05), (random.uniform(1.2, 6), random.uniform(1, 3), 0.1))
    if random.random() < 0.6:
        builder.box((0, random.uniform(0.8, 3), 0.5), (12, 0.1, 6))
    else:
        builder.ground(60)
        bpy.context.scene.collection.objects[-1].location.z = -0.8
    for _ in range(random.randint(2, 9)):
        builder.solid(random.uniform(-0.8, 0.8), random.uniform(-0.5, 0.6), 0, random.uniform(0.12, 0.55))
    lamp((random.uniform(-2, 2), random.uniform(-2, 1), random.uniform(1.5, 3)), random.uniform(80, 260), random)

    def view() -> View:
        eye = Vector((random.uniform(-0.8, 0.8), random.uniform(-2.2, -0.9), random.uniform(0.15, 1.6)))
        return eye, Vector((random.uniform(-0.3, 0.3), random.uniform(-0.1, 0.4), random.uniform(0, 0.4)))

    return view


def build_solids(builder: Builder) -> Callable[[], View]:
    """Large solids on open ground up to the horizon."""
    random = builder.random
    builder.ground(random.choice((20, 300)))
    if random.random() < 0.3:
        builder.box((0, random.uniform(4, 9), 2), (40, 0.2, random.uniform(3, 9)))
    for _ in range(random.randint(4, 16)):
        builder.solid(random.uniform(-4, 4), random.uniform(-2, 7), 0, random.uniform(0.5, 2))

    def view() -> View:
        eye = Vector((random.uniform(-3, 3), random.uniform(-8, -4), random.uniform(0.8, 4)))
        return eye, Vector((random.uniform(-1, 1), random.uniform(0, 3), random.uniform(0.2, 1)))

    return view


def build_street(builder: Builder) -> Callable[[], View]:
    """Houses on both sides, things and trees between."""
    random = builder.random
    half = random.uniform(3, 9)
    builder.ground(500)
    builder.box((0, 60, 0.01), (half * 1.3, 160, 0.02))
    leaf, bark = builder.materials.make(), builder.materials.make()
    for side in (-1, 1):
        y = -6.0
        while y < random.uniform(30, 90):
            long, tall, deep = random.uniform(4, 12), random.uniform(3, 18), random.uniform(4, 10)
            material, frames = builder.materials.make(), builder.materials.make()
            if random.random() < 0.85:
                front = side * (half + random.uniform(0, 1.5))
                builder.box((front + side * deep / 2, y + long / 2, tall / 2), (deep, long * 0.97, tall), material)
                for row in range(int(min(tall, 9) // 3)):
                    for column in range(int(long // 3)):
                        builder.box((front, y + 1.5 + column * 3, 1.7 + row * 3), (0.2, 1.1, 1.4), frames)
            y += long
            if random.random() < 0.4:
                builder.tree(side * half * 0.85, y, 0, random.uniform(2, 6), leaf, bark)
        for _ in range(random.randint(0, 3)):
            x, y = side * half * random.uniform(0.2, 0.8), random.uniform(-2, 25)
            if random.random() < 0.5:
                car(builder, x, y, random.choice((0, math.pi, random.uniform(0, 6))))
            elif random.random() < 0.5:
                person(builder, x, y, 0)
            else:
                builder.solid(x, y, 0, random.uniform(0.4, 1.8))

    def view() -> View:
        eye = Vector((random.uniform(-0.7, 0.7) * half, random.uniform(-6, 2), random.uniform(1.2, 3)))
        return eye, Vector((random.uniform(-0.8, 0.8) * half, random.uniform(12, 25), random.uniform(0.5, 4)))

    return view


def build_nature(builder: Builder) -> Callable[[], View]:
    """Hills with rocks and trees."""
    random = builder.random
    offset, rise, wide = Vector((random.uniform(-99, 99), random.uniform(-99, 99), 0)), random.uniform(0.5, 14), random.uniform(10, 50)

    def height(x: float, y: float) -> float:
        far = min(1.0, math.hypot(x, y + 8) / 30)
        return far * rise * noise.fractal(Vector((x, y, 0)) / wide + offset, 1, 2, 5) + 0.15 * noise.noise(Vector((x, y, 5)) * 0.7 + offset)

    builder.ground(random.choice((120, 400)), height, 160, builder.materials.make(0.1))
    leaf, bark = builder.materials.make(), builder.materials.make()
    for _ in range(random.randint(3, 14)):
        x, y = random.uniform(-8, 8), random.uniform(-4, 20)
        stone = builder.mesh(lambda shape: rock(shape, random), smooth=True)
        size = random.uniform(0.3, 2.2)
        stone.matrix_world = Matrix.Translation((x, y, height(x, y) + 0.2 * size)) @ Matrix.Scale(size, 4)
    for _ in range(random.randint(0, 25)):
        x, y = random.uniform(-25, 25), random.uniform(0, 50)
        builder.tree(x, y, height(x, y) - 0.2, random.uniform(1.5, 6), leaf, bark)

    def view() -> View:
        x, y = random.uniform(-3, 3), random.uniform(-12, -6)
        eye = Vector((x, y, height(x, y) + random.uniform(1, 4)))
        return eye, Vector((random.uniform(-4, 4), random.uniform(5, 15), random.uniform(-0.5, 2.5)))

    return view


INDOORS = (build_room, build_corridor, build_stairs)
KINDS = (
    *(build_room,) * 6,
    *(build_table_top,) * 2,
    *(build_corridor, build_stairs, build_canyon, build_people) * 2,
    *(build_solids, build_street, build_nature, build_aerial, build_studio, build_glass, build_garden, build_surface),
)
