"""Layouts, lighting and viewpoints of the scenes; needs bpy."""

from __future__ import annotations

import math
from collections.abc import Callable

import bpy  # isort: skip  (first: it brings bmesh and mathutils)
import bmesh
from mathutils import Matrix, Vector, noise

from .figures import car, fence, glass, goblet, leaves, mirror, person, plain, plant, rod, street_lamp, wire
from .shapes import Builder, lamp, rock

View = tuple[Vector, Vector]  # the camera's position and target


def build_corridor(builder: Builder) -> Callable[[], View]:
    """A passage with doors, columns, pipes and rows of lamps."""
    random = builder.random
    wide, long, tall = random.uniform(1.4, 5), random.uniform(8, 40), random.uniform(2.3, 5)
    walls, doors = builder.materials.make(), builder.materials.make()
    for level in (-0.05, tall + 0.05):
        builder.box((0, long / 2, level), (wide, long, 0.1))
    for side in (-1, 1):
        builder.box((side * (wide / 2 + 0.05), long / 2, tall / 2), (0.1, long, tall), walls)
    builder.box((0, long, tall / 2), (wide, 0.1, tall))
    builder.box((0, -1, tall / 2), (wide, 0.1, tall), walls)
    step = random.uniform(1.5, 4)
    columns, pipes = random.random() < 0.4, random.randint(0, 3)
    for i in range(int(long / step)):
        y = 1 + i * step
        for side in (-1, 1):
            if random.random() < 0.7:
                builder.box((side * (wide / 2 - 0.01), y, 1.02), (0.06, 0.9, 2.04), doors)
            if columns:
                builder.box((side * (wide / 2 - 0.12), y + step / 2, tall / 2), (0.25, 0.3, tall), walls)
        if random.random() < 0.6:
            builder.box((0, y, tall - 0.02), (0.3, 1, 0.03), plain((0.9, 0.9, 0.85)))
        if i < 6:
            lamp((0, y, tall - 0.25), random.uniform(20, 80), random)
    for i in range(pipes):
        x, z = (wide / 2 - 0.12) * random.choice((-1, 1)), tall - 0.2 - 0.2 * i
        rod(builder, (x, -1, z), (x, long, z), random.uniform(0.02, 0.09))
    for _ in range(random.randint(0, 5)):
        x, y = random.uniform(-0.4, 0.4) * wide, random.uniform(2, min(14, long))
        if random.random() < 0.5:
            person(builder, x, y, 0)
        else:
            builder.solid(x, y, 0, random.uniform(0.2, 0.8))

    def view() -> View:
        eye = Vector((random.uniform(-0.35, 0.35) * wide, random.uniform(-0.8, 0.3 * long), random.uniform(0.6, min(2.0, tall - 0.4))))
        return eye, Vector((random.uniform(-0.5, 0.5) * wide, long * random.uniform(0.6, 1), random.uniform(0.4, 2)))

    return view


def build_stairs(builder: Builder) -> Callable[[], View]:
    """Steps between walls or open, with rails, seen from below, above or the side."""
    random = builder.random
    wide, rise, tread, count = random.uniform(1, 6), random.uniform(0.14, 0.2), random.uniform(0.25, 0.42), random.randint(6, 22)
    material = builder.materials.make()
    top, end = rise * count, tread * count
    for i in range(count):
        builder.box((0, tread * (i + 0.5), rise * (i + 1) / 2), (wide, tread, rise * (i + 1)), material)
    floor = builder.materials.make()
    builder.box((0, -5, -0.05), (wide + 8, 10, 0.1), floor)
    builder.box((0, end + 4, top - 0.1), (wide + 4, 8, 0.2), floor)
    indoors = random.random() < 0.6
    for side in (-1, 1):
        edge = side * wide / 2
        if random.random() < 0.65 or indoors:
            builder.box((edge + side * 0.1, end / 2, (top + 3) / 2), (0.2, end + 14, top + 3))
        if random.random() < 0.6:
            x = edge - side * 0.08
            rail = plain(builder.materials.colour()[:3], 0.3)
            rod(builder, (x, 0, 0.95 + rise), (x, end, top + 0.95), 0.025, rail)
            for i in range(0, count, random.choice((1, 2, 4))):
                foot = Vector((x, tread * (i + 0.5), rise * (i + 1)))
                rod(builder, foot, foot + Vector((0, 0, 0.92)), 0.012, rail)
    if indoors:
        builder.box((0, end + 3, top + 1.5), (wide + 4, 0.1, 3.2))
        builder.box((0, end / 2, top + 3), (wide + 4, end + 14, 0.1))
        for y in (-1.0, end / 2, end + 1.5):
            lamp((random.uniform(-0.3, 0.3) * wide, y, top + 2.5), random.uniform(80, 260), random)
    if random.random() < 0.5:
        step = random.randrange(count)
        person(builder, random.uniform(-0.3, 0.3) * wide, tread * (step + 0.5), rise * (step + 1))

    def view() -> View:
        if random.random() < 0.6:
            eye = Vector((random.uniform(-0.4, 0.4) * wide, random.uniform(-4.5, -0.8), random.uniform(0.8, 2)))
            return eye, Vector((random.uniform(-0.3, 0.3) * wide, end * random.uniform(0.3, 1), top * random.uniform(0.2, 0.9)))
        eye = Vector((random.uniform(-0.4, 0.4) * wide, end + random.uniform(0.2, 2), top + random.uniform(1, 2)))
        return eye, Vector((random.uniform(-0.3, 0.3) * wide, end * random.uniform(-0.3, 0.6), top * random.uniform(0, 0.5)))

    return view


def build_canyon(builder: Builder) -> Callable[[], View]:
    """A street between tall closed rows of houses, with cars, people, lamps and wires."""
    random = builder.random
    half, long = random.uniform(2, 8), random.uniform(40, 120)
    builder.ground(600)
    builder.box((0, long / 2, 0.005), (2 * half, long + 40, 0.01), builder.materials.make(0.4))
    for side in (-1, 1):
        builder.box((side * half * 0.85, long / 2, 0.06), (half * 0.3, long + 40, 0.12), builder.materials.make())
        y = -15.0
        while y < long:
            deep, high = random.uniform(5, 16), random.uniform(6, 35)
            front = side * (half + random.uniform(0, 0.6))
            builder.box((front + side * 5, y + deep / 2, high / 2), (10, deep, high))
            pane = plain((0.03, 0.04, 0.05), 0.1) if random.random() < 0.7 else builder.materials.make()
            storeys, columns = min(7, int(high // 3)), max(1, int(deep // 2.5))
            out = random.choice((-0.12, 0.05, 0.3))
            for row in range(storeys):
                for column in range(columns if y < 40 else 0):
                    place = (front - side * max(0, out), y + deep * (column + 0.5) / columns, 1.8 + 3 * row)
                    builder.box(place, (0.1 + abs(out), deep / columns * 0.5, 1.6), pane)
            y += deep
    if random.random() < 0.5:
        builder.box((0, long + 5, 8), (4 * half, 6, random.uniform(10, 40)))
    for _ in range(random.randint(0, 6)):
        side = random.choice((-1, 1))
        car(builder, side * half * 0.55, random.uniform(2, 35), random.choice((0, math.pi)))
    for _ in range(random.randint(0, 7)):
        person(builder, random.uniform(-0.9, 0.9) * half, random.uniform(1, 25), 0)
    for i in range(random.randint(0, 4)):
        street_lamp(builder, half * 0.75 * random.choice((-1, 1)), 4 + 9 * i, random.uniform(3.5, 7))
    for _ in range(random.randint(0, 3)):
        y, z = random.uniform(2, 25), random.uniform(4, 9)
        wire(builder, (-half, y, z), (half, y + random.uniform(-4, 4), z + random.uniform(-1, 1)), random.uniform(0.1, 0.8), 0.015)

    def view() -> View:
        above = random.random() < 0.2
        eye = Vector((random.uniform(-0.7, 0.7) * half, random.uniform(-6, 2), random.uniform(6, 12) if above else random.uniform(1, 2.5)))
        aside = random.uniform(-1, 1) * half * random.choice((0.5, 0.5, 2.5))
        return eye, Vector((aside, random.uniform(10, 25), random.uniform(-1, 3) if above else random.choice((1.5, 2.5, 6, 10))))

    return view


def build_aerial(builder: Builder) -> Callable[[], View]:
    """Blocks of houses, fields and trees from above."""
    random = builder.random
    builder.ground(900, material=builder.materials.make(0.03))
    pitch, spread = random.uniform(12, 40), random.randint(2, 5)
    town = random.random() < 0.7
    paints = [builder.materials.make(0.2) for _ in range(8)]
    leaf = [plain((0.04, 0.1, 0.02)), plain((0.1, 0.13, 0.03))]
    for i in range(-spread, spread + 1):
        for j in range(-spread, spread + 1):
            x, y = i * pitch + random.gauss(0, 1), j * pitch + random.gauss(0, 1)
            if town and random.random() < 0.85:
                high = random.choice((random.uniform(4, 12), random.uniform(8, 60)))
                size = (pitch * random.uniform(0.35, 0.8), pitch * random.uniform(0.35, 0.8), high)
                builder.box((x, y, high / 2), size, random.choice(paints), random.gauss(0, 0.05))
                if random.random() < 0.4:
                    builder.box((x, y, high + 1), (size[0] * 0.3, size[1] * 0.3, 2), random.choice(paints))
            elif not town:
                field = (pitch * random.uniform(0.7, 1), pitch * random.uniform(0.7, 1), 0.3)
                builder.box((x, y, 0.1), field, random.choice(paints), random.gauss(0, 0.1))
                if random.random() < 0.5:
                    builder.tree(x, y, 0, random.uniform(4, 12), leaf[0], leaf[1])
            if random.random() < 0.4:
                builder.tree(x + pitch * 0.45, y + pitch * 0.45, 0, random.uniform(3, 8), random.choice(leaf), leaf[1])
    for _ in range(random.randint(0, 8)):
        car(builder, pitch * (random.randint(-2, 2) + 0.5), random.uniform(-2, 2) * pitch, 0)

    def view() -> View:
        high, turn, tip = random.uniform(25, 140), random.uniform(0, 6.3), random.choice((0.0, 0.3, 0.8, 1.5, 2.5))
        target = Vector((random.uniform(-1, 1) * pitch, random.uniform(-1, 1) * pitch, 0))
        away = Vector((math.cos(turn), math.sin(turn), 0)) * high * (tip + 0.02)
        return target + away + Vector((0, 0, high)), target

    return view


def build_people(builder: Builder) -> Callable[[], View]:
    """People near the camera, as in portraits and groups, before a plain backdrop, a wall, a garden or a room."""
    random = builder.random
    behind = random.uniform(0.5, 5)
    place = random.choice(("cove", "wall", "garden", "open"))
    if place == "cove":
        cove(builder, behind, builder.materials.colour()[:3])
    elif place == "wall":
        builder.box((0, behind, 2), (14, 0.1, 5))
        builder.box((0, 0, -0.05), (14, 12, 0.1))
    else:
        builder.ground(200)
        for _ in range(random.randint(2, 10) if place == "garden" else 0):
            plant(builder, random.uniform(-5, 5), random.uniform(0.8, 8), 0, random.uniform(0.5, 2.5))
    count = random.choice((1, 1, 1, 2, 3, 5))
    for i in range(count):
        person(
            builder,
            (i - (count - 1) / 2) * random.uniform(0.55, 0.9),
            random.uniform(-0.4, 0.4),
            0,
            random.uniform(1.4, 1.9),
            random.gauss(0, 0.5),
        )
    for x in (-1.5, 1.5):
        lamp((x, -2, random.uniform(1.5, 3)), random.uniform(20, 120), random)

    def view() -> View:
        near = random.random() < 0.55
        away, level = (random.uniform(0.8, 1.6), random.uniform(1.2, 1.55)) if near else (random.uniform(2, 5), random.uniform(0.7, 1.2))
        turn = random.gauss(0, 0.35)
        eye = Vector((math.sin(turn) * away, -math.cos(turn) * away, level + random.gauss(0, 0.2)))
        return eye, Vector((random.gauss(0, 0.15), 0, level))

    return view


def cove(builder: Builder, behind: float, colour: tuple[float, ...]) -> None:
    """A floor that curves into a wall without an edge, in one colour."""
    radius = min(0.6, behind * 0.5)
    outline = [(-8.0, 0.0), (behind - radius, 0.0)]
    outline += [(behind - radius + radius * math.sin(a), radius - radius * math.cos(a)) for a in (0.3, 0.6, 0.9, 1.2, 1.5708)]
    outline.append((behind, 8.0))

    def make(shape: bmesh.types.BMesh) -> None:
        sides = [[shape.verts.new((x, y, z)) for y, z in outline] for x in (-12, 12)]
        for i in range(len(outline) - 1):
            shape.faces.new((sides[0][i], sides[1][i], sides[1][i + 1], sides[0][i + 1]))

    builder.mesh(make, smooth=True, material=plain(colour, 0.9))


def build_studio(builder: Builder) -> Callable[[], View]:
    """Things, glasses and plants before a plain backdrop."""
    random = builder.random
    cove(builder, random.uniform(0.5, 2.5), builder.materials.colour()[:3])
    for _ in range(random.randint(1, 5)):
        x, y, size = random.uniform(-0.6, 0.6), random.uniform(-0.5, 0.4), random.uniform(0.12, 0.5)
        kind = random.random()
        if kind < 0.6:
            builder.solid(x, y, 0, size)
        elif kind < 0.8:
            goblet(builder, x, y, 0, size, glass(random))
        else:
            plant(builder, x, y, 0, size)
    for x in (-1, 1):
        lamp((x * random.uniform(0.5, 2), random.uniform(-2, 0), random.uniform(1, 2.5)), random.uniform(20, 100), random)

    def view() -> View:
        eye = Vector((random.uniform(-0.6, 0.6), random.uniform(-2.4, -0.9), random.uniform(0.1, 1.3)))
        return eye, Vector((random.uniform(-0.2, 0.2), random.uniform(-0.1, 0.2), random.uniform(0.05, 0.3)))

    return view


def build_glass(builder: Builder) -> Callable[[], View]:
    """Transparent and mirroring objects on a table, before a window or a mirror."""
    random = builder.random
    builder.box((0, 0, -0.05), (random.uniform(1.5, 5), 1.6, 0.1), mirror() if random.random() < 0.1 else None)
    builder.box((0, random.uniform(1.5, 3), 0.5), (12, 0.1, 7))
    builder.ground(60)
    bpy.context.scene.collection.objects[-1].location.z = -0.8
    if random.random() < 0.4:
        builder.box(
            (random.uniform(-0.5, 0.5), 0.9, 0.6), (random.uniform(0.7, 2), 0.03, 1.2), mirror() if random.random() < 0.6 else glass(random)
        )
    for _ in range(random.randint(2, 6)):
        clear = glass(random) if random.random() < 0.75 else mirror()
        goblet(builder, random.uniform(-0.7, 0.7), random.uniform(-0.4, 0.4), 0, random.uniform(0.12, 0.5), clear)
    for _ in range(random.randint(1, 5)):
        builder.solid(random.uniform(-0.8, 0.8), random.uniform(-0.4, 0.6), 0, random.uniform(0.12, 0.4))
    lamp((random.uniform(-2, 2), random.uniform(-2, 1), random.uniform(1.5, 3)), random.uniform(80, 260), random)

    def view() -> View:
        eye = Vector((random.uniform(-0.8, 0.8), random.uniform(-2, -0.9), random.uniform(0.15, 1.2)))
        return eye, Vector((random.uniform(-0.3, 0.3), random.uniform(-0.1, 0.4), random.uniform(0, 0.35)))

    return view


def build_garden(builder: Builder) -> Callable[[], View]:
    """Bushes, grass, pots, fences and wires, nearby and against the sky."""
    random = builder.random
    builder.ground(300, material=builder.materials.make(0.3))
    for _ in range(random.randint(4, 16)):
        plant(builder, random.uniform(-6, 6), random.uniform(-2, 12), 0, random.uniform(0.4, 2.5))
    for _ in range(random.randint(0, 12)):
        leaves(builder, (random.uniform(-3, 3), random.uniform(-3, 3), 0), random.uniform(0.2, 0.7), 60, True)
    for _ in range(random.randint(0, 2)):
        y = random.uniform(0, 10)
        fence(builder, (random.uniform(-9, -2), y, 0), (random.uniform(2, 9), y + random.uniform(-4, 4), 0), random.uniform(0.8, 2))
    for _ in range(random.randint(0, 2)):
        z = random.uniform(3, 7)
        wire(builder, (-15, random.uniform(3, 12), z), (15, random.uniform(3, 12), z), random.uniform(0.2, 1.5), 0.02)
    if random.random() < 0.5:
        builder.box((random.uniform(-6, 6), random.uniform(9, 20), 2.5), (random.uniform(5, 12), 6, random.uniform(3, 7)))
    for _ in range(random.randint(0, 3)):
        person(builder, random.uniform(-3, 3), random.uniform(-1, 6), 0)
    for _ in range(random.randint(0, 4)):
        street_lamp(builder, random.uniform(-5, 5), random.uniform(2, 14), random.uniform(3, 7))

    def view() -> View:
        eye = Vector((random.uniform(-3, 3), random.uniform(-6, -3), random.uniform(0.4, 2)))
        return eye, Vector((random.uniform(-2, 2), random.uniform(2, 6), random.uniform(0.3, 3.5)))

    return view


def build_surface(builder: Builder) -> Callable[[], View]:
    """A wall or pavement that fills the image, frontal or oblique, flat or with slight relief."""
    random = builder.random
    rough, wide = random.choice((0, 0, 0.02, 0.08)), random.uniform(0.2, 1)

    def make(shape: bmesh.types.BMesh) -> None:
        bmesh.ops.create_grid(shape, x_segments=120, y_segments=120, size=6)
        for vertex in shape.verts if rough else ():
            vertex.co.z = rough * math.sin(vertex.co.x / wide) * math.sin(vertex.co.y / wide + 1)

    floor = random.random() < 0.5
    wall = builder.mesh(make, smooth=True, material=builder.materials.make(random.choice((1, 3))))
    wall.matrix_world = Matrix() if floor else Matrix.Rotation(math.pi / 2, 4, "X")
    for _ in range(random.choice((0, 0, 1, 3))):
        builder.solid(random.uniform(-0.7, 0.7), random.uniform(-0.7, 0.7) if floor else -0.2, 0, random.uniform(0.05, 0.25))

    def view() -> View:
        tip, turn, away = random.choice((0.05, 0.3, 0.7, 1.1)) * random.uniform(0.5, 1.2), random.uniform(0, 6.3), random.uniform(0.5, 2)
        aslant = Vector((math.sin(tip) * math.cos(turn), math.sin(tip) * math.sin(turn), math.cos(tip))) * away
        target = Vector((random.uniform(-0.5, 0.5), random.uniform(-0.5, 0.5), 0))
        turned = wall.matrix_world.to_3x3()
        return turned @ (target + aslant), turned @ target

    return view


def build_room(builder: Builder) -> Callable[[], View]:
    """A furnished room, seen from inside."""
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
    """Objects on a nearby surface, with or without a wall behind."""
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
    """Large solids on open ground that extends to the horizon."""
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
    """Houses on both sides, objects and trees between."""
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
