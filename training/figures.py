"""Shapes of people, vehicles, plants, thin and transparent objects for the scenes; needs bpy."""

from __future__ import annotations

import math
from random import Random
from typing import Any

import bpy  # isort: skip  (first: it brings bmesh and mathutils)
import bmesh
from mathutils import Matrix, Vector

from .shapes import Builder

GREENS = ((0.02, 0.09, 0.01), (0.06, 0.14, 0.02), (0.12, 0.16, 0.03), (0.2, 0.12, 0.03), (0.03, 0.1, 0.05))
SKINS = ((0.6, 0.35, 0.25), (0.35, 0.18, 0.1), (0.1, 0.045, 0.025), (0.75, 0.5, 0.4))


def plain(colour: tuple[float, ...], roughness: float = 0.6, metallic: float = 0.0, clear: float = 0.0) -> Any:
    """A material of a single linear colour; `clear` 1 is glass."""
    material = bpy.data.materials.new("plain")
    material.use_nodes = True
    inputs = material.node_tree.nodes["Principled BSDF"].inputs
    inputs["Base Color"].default_value = (*colour, 1.0)
    inputs["Roughness"].default_value, inputs["Metallic"].default_value = roughness, metallic
    inputs["Transmission Weight"].default_value, inputs["IOR"].default_value = clear, 1.45
    return material


def glass(random: Random) -> Any:
    """Transparent, slightly tinted glass."""
    return plain(tuple(random.uniform(0.75, 1) for _ in range(3)), random.choice((0.0, 0.0, 0.15)), clear=1.0)


def mirror() -> Any:
    """A mirror material."""
    return plain((0.9, 0.9, 0.9), 0.02, 1.0)


def shade(random: Random, colours: tuple[tuple[float, ...], ...]) -> tuple[float, ...]:
    """One of the colours, slightly lighter or darker."""
    light = random.uniform(0.6, 1.5)
    return tuple(min(1.0, channel * light) for channel in random.choice(colours))


def rod(builder: Builder, start: Any, end: Any, radius: float, material: Any = None) -> Any:
    """A round bar between two points."""
    start, end = Vector(start), Vector(end)
    along = end - start
    thing = builder.mesh(
        lambda shape: bmesh.ops.create_cone(shape, cap_ends=True, segments=10, radius1=1, radius2=1, depth=1), True, material
    )
    turn = along.to_track_quat("Z", "Y").to_matrix().to_4x4()
    thing.matrix_world = Matrix.Translation((start + end) / 2) @ turn @ Matrix.Diagonal((radius, radius, along.length, 1))
    return thing


def ball(builder: Builder, centre: Any, size: Any, material: Any, frame: Any = None) -> Any:
    """An ellipsoid by its centre and half axes, in a frame."""
    thing = builder.mesh(lambda shape: bmesh.ops.create_icosphere(shape, subdivisions=3, radius=1), True, material)
    thing.matrix_world = (frame or Matrix()) @ Matrix.Translation(Vector(centre)) @ Matrix.Diagonal((*size, 1))
    return thing


def person(builder: Builder, x: float, y: float, floor: float, tall: float = 1.7, turn: float | None = None) -> None:
    """A rough person: standing, walking or with arms held out."""
    random = builder.random
    frame = Matrix.Translation((x, y, floor)) @ Matrix.Rotation(random.uniform(0, 6.3) if turn is None else turn, 4, "Z")
    frame = frame @ Matrix.Scale(tall / 1.7, 4)
    skin, hair = plain(shade(random, SKINS)), plain(tuple(random.choice((0.02, 0.05, 0.3)) * c for c in (1, 0.8, 0.5)), 0.8)
    top, legs = builder.materials.make(3), builder.materials.make(3)
    step, wide = random.uniform(-0.3, 0.3), random.uniform(0.9, 1.3)

    def limb(start: tuple[float, ...], end: tuple[float, ...], radius: float, material: Any) -> None:
        rod(builder, frame @ Vector(start), frame @ Vector(end), radius * tall / 1.7, material)
        ball(builder, end, (radius,) * 3, material, frame)

    for side in (-1, 1):
        hip, knee = (side * 0.1 * wide, 0, 0.85), (side * 0.11 * wide, side * step * 0.6, 0.48)
        limb(hip, knee, 0.085 * wide, legs)
        limb(knee, (side * 0.12 * wide, side * step, 0.06), 0.06, legs)
        ball(builder, (side * 0.12 * wide, side * step - 0.06, 0.04), (0.05, 0.13, 0.04), hair, frame)
        shoulder = (side * 0.2 * wide, 0, 1.4)
        elbow = (side * random.uniform(0.24, 0.5), random.uniform(-0.25, 0.1), random.uniform(1.05, 1.3))
        limb(shoulder, elbow, 0.055, top)
        hand = (elbow[0] + side * random.uniform(-0.2, 0.1), elbow[1] - random.uniform(0, 0.25), elbow[2] + random.uniform(-0.25, 0.25))
        limb(elbow, hand, 0.042, random.choice((top, skin)))
        ball(builder, hand, (0.05, 0.05, 0.06), skin, frame)
    ball(builder, (0, 0, 1.15), (0.2 * wide, 0.13 * wide, 0.34), top, frame)
    ball(builder, (0, 0, 0.88), (0.17 * wide, 0.13 * wide, 0.16), legs, frame)
    rod(builder, frame @ Vector((0, 0, 1.4)), frame @ Vector((0, 0, 1.56)), 0.055 * tall / 1.7, skin)
    ball(builder, (0, -0.01, 1.62), (0.085, 0.1, 0.12), skin, frame)
    ball(builder, (0, -0.11, 1.61), (0.015, 0.03, 0.025), skin, frame)
    ball(builder, (0, 0.025, 1.655), (0.1, 0.11, 0.115 if random.random() < 0.6 else 0.2), hair, frame)


def car(builder: Builder, x: float, y: float, turn: float) -> None:
    """A car, van or lorry: body, cabin with dark windows, wheels; along Y before it is turned."""
    random = builder.random
    frame = Matrix.Translation((x, y, 0)) @ Matrix.Rotation(turn, 4, "Z")
    wide, long = random.uniform(1.6, 2.1), random.uniform(3.4, 5)
    body, window = plain(builder.materials.colour()[:3], 0.25), plain((0.02, 0.025, 0.03), 0.08)
    tyre = plain((0.015, 0.015, 0.015), 0.7)
    tall = random.choice((0.6, 0.65, 0.7, 1.6))
    builder.box(frame @ Vector((0, 0, 0.3 + tall / 2)), (wide, long, tall), body, turn)
    cabin, high = (long * 0.55, 0.55) if tall < 1 else (long * 0.2, 0.1)
    for material, grow, part in ((window, 0.0, high), (body, 0.01, 0.08)):
        thing = builder.mesh(
            lambda shape: bmesh.ops.create_cone(shape, cap_ends=True, segments=4, radius1=0.71, radius2=0.55, depth=1), material=material
        )
        lift = 0.3 + tall + (high / 2 if material is window else high)
        thing.matrix_world = (
            frame
            @ Matrix.Translation((0, random.uniform(0, 0.1) * long, lift))
            @ Matrix.Diagonal((wide * (0.93 if material is window else 0.75) + grow, cabin * (1 if material is window else 0.8), part, 1))
            @ Matrix.Rotation(math.pi / 4, 4, "Z")
        )
    for side in (-1, 1):
        for end in (-0.32, 0.32):
            centre = frame @ Vector((side * wide / 2, end * long, 0.32))
            across = (frame.to_3x3() @ Vector((0.12, 0, 0))) * side
            rod(builder, centre - across, centre + across * 0.3, 0.32, tyre)
        for end, colour in ((-1, (0.9, 0.9, 0.8)), (1, (0.5, 0.02, 0.02))):
            builder.box(frame @ Vector((side * wide * 0.38, end * long / 2, 0.65)), (0.25, 0.05, 0.13), plain(colour, 0.2), turn)


def leaves(builder: Builder, place: Any, size: float, count: int, blades: bool, material: Any = None) -> None:
    """Many small leaves around a point, or blades rising from it, as one mesh."""
    random = builder.random

    def make(shape: Any) -> None:
        for _ in range(count):
            turn = Matrix.Rotation(random.uniform(0, math.tau), 4, "Z") @ Matrix.Rotation(
                random.uniform(0.05, 0.9 if blades else 3), 4, "X"
            )
            if blades:
                base, length, wide = Vector(), random.uniform(0.5, 1), random.uniform(0.01, 0.05)
                steps = [Vector((0, -bend * length * t * t, length * t)) for t in (0, 0.5, 1) for bend in (0.4,)]
            else:
                base = Vector([random.gauss(0, 0.4) for _ in range(3)])
                length, wide = random.uniform(0.1, 0.25), random.uniform(0.03, 0.08)
                steps = [Vector((0, 0, length * t)) for t in (0, 0.5, 1)]
            sides = [
                [
                    shape.verts.new(base + turn @ (point + Vector((side * wide * share, 0, 0))))
                    for point, share in zip(steps, (0.3, 1, 0.1), strict=True)
                ]
                for side in (-1, 1)
            ]
            for i in (0, 1):
                shape.faces.new((sides[0][i], sides[1][i], sides[1][i + 1], sides[0][i + 1]))

    thing = builder.mesh(make, material=material or plain(shade(random, GREENS), 0.5))
    thing.matrix_world = Matrix.Translation(Vector(place)) @ Matrix.Scale(size, 4)


def plant(builder: Builder, x: float, y: float, floor: float, size: float) -> None:
    """A pot with leaves or blades, or a bush."""
    random = builder.random
    if random.random() < 0.6:
        pot = builder.mesh(lambda shape: bmesh.ops.create_cone(shape, cap_ends=True, segments=24, radius1=0.35, radius2=0.5, depth=1), True)
        pot.matrix_world = Matrix.Translation((x, y, floor + size * 0.15)) @ Matrix.Scale(size * 0.3, 4)
        floor += size * 0.28
    blades = random.random() < 0.5
    leaves(builder, (x, y, floor if blades else floor + size * 0.4), size * (1 if blades else 0.6), 40 if blades else 300, blades)


def fence(builder: Builder, start: Any, end: Any, tall: float) -> None:
    """Posts with rails or bars between."""
    random, start, end = builder.random, Vector(start), Vector(end)
    material, radius = builder.materials.make(), random.uniform(0.01, 0.04)
    step = random.choice((0.12, 0.15, 1.2, 2))
    count = min(60, max(2, round((end - start).length / step)))
    for i in range(count + 1):
        foot = start.lerp(end, i / count)
        rod(builder, foot, foot + Vector((0, 0, tall)), radius, material)
    for level in (1.0, random.uniform(0.1, 0.6)):
        rod(builder, start + Vector((0, 0, tall * level)), end + Vector((0, 0, tall * level)), radius * 1.3, material)


def wire(builder: Builder, start: Any, end: Any, sag: float, radius: float) -> None:
    """A cable hanging between two points."""
    start, end, material = Vector(start), Vector(end), plain((0.02, 0.02, 0.02))
    points = [start.lerp(end, t) - Vector((0, 0, 4 * sag * t * (1 - t))) for t in (i / 8 for i in range(9))]
    for i in range(8):
        rod(builder, points[i], points[i + 1], radius, material)


def street_lamp(builder: Builder, x: float, y: float, tall: float) -> None:
    """A pole with an arm, or with a sign."""
    random, material = builder.random, plain((0.1, 0.1, 0.1), 0.4)
    rod(builder, (x, y, 0), (x, y, tall), random.uniform(0.03, 0.09), material)
    if random.random() < 0.6:
        rod(builder, (x, y, tall), (x * 0.6, y, tall * 1.03), 0.04, material)
        builder.box((x * 0.6, y, tall * 1.02), (0.6, 0.25, 0.1), material)
    else:
        builder.box((x, y - 0.06, tall - 0.4), (0.7, 0.04, 0.7))


def goblet(builder: Builder, x: float, y: float, floor: float, size: float, material: Any) -> None:
    """A drinking glass, bottle, ball or pane of a transparent or mirroring material."""
    random = builder.random
    kind = random.choice(("tumbler", "ball", "pane", "bottle"))
    if kind == "ball":
        ball(builder, (x, y, floor + size / 2), (size / 2,) * 3, material)
        return
    if kind == "pane":
        turn = random.uniform(-0.8, 0.8)
        builder.box((x, y, floor + size / 2), (size * random.uniform(0.6, 1.6), 0.02, size), material, turn)
        return
    thing = builder.mesh(
        lambda shape: bmesh.ops.create_cone(
            shape, cap_ends=True, segments=32, radius1=0.32, radius2=0.4 if kind == "tumbler" else 0.3, depth=1
        ),
        True,
        material,
    )
    tall = size * (1 if kind == "tumbler" else 0.7)
    thing.matrix_world = Matrix.Translation((x, y, floor + tall / 2)) @ Matrix.Diagonal((size * 0.8, size * 0.8, tall, 1))
    if kind == "bottle":
        rod(builder, (x, y, floor + tall), (x, y, floor + size), size * 0.08, material)
