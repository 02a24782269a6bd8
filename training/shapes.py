"""Materials, solids, skies and lights for the scenes; needs bpy."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import bpy  # isort: skip  (first: it brings bmesh and mathutils)
import bmesh
import numpy as np
from mathutils import Matrix, Vector, noise


class Materials:
    """Random procedural materials, and some with photographs."""

    def __init__(self, random: Random, photographs: list[Path]) -> None:
        self.random, self.photographs = random, photographs

    def colour(self) -> tuple[float, float, float, float]:
        """Linear RGBA, mostly muted, sometimes vivid."""
        random = self.random
        value, saturation = random.uniform(0.15, 0.95), random.choice((random.uniform(0, 0.3), random.uniform(0.2, 0.9)))
        hue = random.random() * 6
        channels = (value * (1 - saturation * max(0, min(1, abs((hue + shift) % 6 - 3) - 1))) for shift in (0, 2, 4))
        red, green, blue = channels
        return red**2, green**2, blue**2, 1.0

    def make(self, scale: float = 1.0) -> Any:
        """A random material. Its pattern repeats 0.7 to 6 times `scale` per unit of the object's own, unscaled coordinates."""
        random = self.random
        material = bpy.data.materials.new("material")
        material.use_nodes = True
        nodes, links = material.node_tree.nodes, material.node_tree.links
        shader = nodes["Principled BSDF"]
        shader.inputs["Roughness"].default_value = random.uniform(0.2, 1)
        shader.inputs["Metallic"].default_value = random.choice((0, 0, 0, 0, random.random()))
        shader.inputs["Base Color"].default_value = self.colour()
        kind = random.choice(("plain", "noise", "voronoi", "brick", "wave", "checker", "noise", "photograph"))
        if kind == "plain":
            return material
        position = nodes.new("ShaderNodeTexCoord").outputs["Object" if kind != "photograph" else "Generated"]
        if kind == "photograph":
            if self.photographs:
                texture = nodes.new("ShaderNodeTexImage")
                texture.image = bpy.data.images.load(str(random.choice(self.photographs)), check_existing=True)
                texture.projection = "BOX"
                links.new(position, texture.inputs["Vector"])
                links.new(texture.outputs["Color"], shader.inputs["Base Color"])
            return material
        texture = nodes.new(
            {
                "noise": "ShaderNodeTexNoise",
                "voronoi": "ShaderNodeTexVoronoi",
                "brick": "ShaderNodeTexBrick",
                "wave": "ShaderNodeTexWave",
                "checker": "ShaderNodeTexChecker",
            }[kind]
        )
        texture.inputs["Scale"].default_value = scale * random.uniform(0.7, 6)
        links.new(position, texture.inputs["Vector"])
        if kind in ("brick", "checker"):
            first = self.colour()
            texture.inputs["Color1"].default_value = first
            texture.inputs["Color2"].default_value = self.colour() if random.random() < 0.5 else (*(0.7 * c for c in first[:3]), 1.0)
            links.new(texture.outputs["Color"], shader.inputs["Base Color"])
            return material
        if kind == "wave":
            texture.inputs["Distortion"].default_value = random.uniform(0, 8)
        ramp = nodes.new("ShaderNodeValToRGB")
        for element in ramp.color_ramp.elements:
            element.color = self.colour()
        links.new(texture.outputs["Fac" if kind != "voronoi" else "Distance"], ramp.inputs["Fac"])
        links.new(ramp.outputs["Color"], shader.inputs["Base Color"])
        return material


class Builder:
    """Puts shapes into an empty scene. Metres, Z up."""

    def __init__(self, random: Random, materials: Materials) -> None:
        self.random, self.materials = random, materials

    def mesh(self, make: Callable[[Any], object], smooth: bool = False, material: Any = None) -> Any:
        """An object from the geometry that `make` adds to a bmesh."""
        mesh = bpy.data.meshes.new("mesh")
        shape = bmesh.new()
        make(shape)
        if smooth:
            for face in shape.faces:
                face.smooth = True
        shape.to_mesh(mesh)
        shape.free()
        mesh.materials.append(material or self.materials.make())
        thing = bpy.data.objects.new("thing", mesh)
        bpy.context.scene.collection.objects.link(thing)
        return thing

    def box(self, centre: Any, size: Any, material: Any = None, turn: float = 0.0) -> Any:
        """A box by its centre and edge lengths, rotated about the vertical."""
        thing = self.mesh(lambda shape: bmesh.ops.create_cube(shape, size=1), material=material)
        thing.matrix_world = Matrix.Translation(Vector(centre)) @ Matrix.Rotation(turn, 4, "Z") @ Matrix.Diagonal((*size, 1))
        return thing

    def solid(self, x: float, y: float, floor: float, size: float, upright: bool = True) -> None:
        """A random solid that stands or lies on the floor."""
        random = self.random
        kind = random.choice(("box", "box", "cylinder", "cylinder", "cone", "sphere", "torus", "monkey", "vase", "rock"))
        segments = random.choice((24, 40))
        turn = Matrix.Rotation(random.uniform(0, math.tau), 4, "Z")
        stretch = Matrix.Diagonal((random.uniform(0.6, 1.4), random.uniform(0.6, 1.4), random.uniform(0.6, 1.8), 1))
        if not upright or random.random() < 0.15:
            turn = turn @ Matrix.Rotation(math.pi / 2, 4, "X")
        makers: dict[str, Callable[[Any], object]] = {
            "box": lambda shape: bmesh.ops.create_cube(shape, size=1),
            "cylinder": lambda shape: bmesh.ops.create_cone(shape, cap_ends=True, segments=segments, radius1=0.5, radius2=0.5, depth=1),
            "cone": lambda shape: bmesh.ops.create_cone(
                shape, cap_ends=True, segments=segments, radius1=0.5, radius2=random.choice((0, 0.25)), depth=1
            ),
            "sphere": lambda shape: bmesh.ops.create_icosphere(shape, subdivisions=4, radius=0.5),
            "monkey": bmesh.ops.create_monkey,
            "torus": lambda shape: lathe(
                shape, [(0.35 + 0.15 * math.cos(a), 0.15 * math.sin(a)) for a in np.linspace(0, math.tau, 17)], 40
            ),
            "vase": lambda shape: lathe(shape, profile(random), 36),
            "rock": lambda shape: rock(shape, random),
        }
        smooth = kind in ("sphere", "torus", "vase", "rock") or (kind == "monkey" and random.random() < 0.8)
        thing = self.mesh(makers[kind], smooth, self.materials.make(2 / size))
        if kind == "monkey":
            stretch = Matrix.Diagonal((0.5, 0.5, 0.5, 1))
            if random.random() < 0.7:
                thing.modifiers.new("smooth", "SUBSURF").render_levels = 2
        thing.matrix_world = turn @ stretch @ Matrix.Scale(size, 4)
        lowest = min((thing.matrix_world @ vertex.co).z for vertex in thing.data.vertices)
        thing.matrix_world = Matrix.Translation((x, y, floor - lowest)) @ thing.matrix_world

    def table(self, x: float, y: float, width: float, depth: float, height: float) -> None:
        """Four legs and a top, sometimes with objects on it."""
        random, turn = self.random, self.random.choice((0, 0, math.pi / 2, self.random.uniform(0, math.pi)))
        material = self.materials.make()
        frame = Matrix.Translation((x, y, 0)) @ Matrix.Rotation(turn, 4, "Z")
        self.box(frame @ Vector((0, 0, height)), (width, depth, 0.05), material, turn)
        for side in (-1, 1):
            for end in (-1, 1):
                corner = frame @ Vector((side * (width / 2 - 0.05), end * (depth / 2 - 0.05), height / 2))
                self.box(corner, (0.06, 0.06, height), material, turn)
        for _ in range(random.randint(0, 4)):
            spot = frame @ Vector((random.uniform(-0.4, 0.4) * width, random.uniform(-0.4, 0.4) * depth, 0))
            self.solid(spot.x, spot.y, height + 0.025, random.uniform(0.1, 0.3))

    def sofa(self, x: float, y: float, turn: float, width: float) -> None:
        """Seat, back and arms; facing -Y before it is turned."""
        material = self.materials.make()
        frame = Matrix.Translation((x, y, 0)) @ Matrix.Rotation(turn, 4, "Z")
        for centre, size in (
            ((0, 0, 0.25), (width, 0.8, 0.4)),
            ((0, 0.35, 0.55), (width, 0.2, 0.6)),
            ((width / 2, 0, 0.35), (0.15, 0.8, 0.6)),
            ((-width / 2, 0, 0.35), (0.15, 0.8, 0.6)),
        ):
            self.box(frame @ Vector(centre), size, material, turn)

    def shelf(self, x: float, y: float, turn: float, width: float, height: float) -> None:
        """Boards with rows of books, its back to +Y before it is turned."""
        random, material = self.random, self.materials.make()
        frame = Matrix.Translation((x, y, 0)) @ Matrix.Rotation(turn, 4, "Z")
        rows = random.randint(2, 5)
        if random.random() < 0.6:
            for side in (-1, 1):
                self.box(frame @ Vector((side * width / 2, 0, height / 2)), (0.04, 0.3, height), material, turn)
        for row in range(rows + 1):
            level = height * row / rows
            self.box(frame @ Vector((0, 0, level)), (width, 0.3, 0.03), material, turn)
            place = -width / 2 + 0.05
            while row < rows and place < width / 2 - 0.1 and random.random() < 0.93:
                thick, tall = random.uniform(0.02, 0.12), random.uniform(0.4, 0.85) * height / rows
                centre = frame @ Vector((place + thick / 2, random.uniform(-0.03, 0.03), level + tall / 2 + 0.015))
                self.box(centre, (thick * 0.9, 0.2, tall), None, turn)
                place += thick * random.choice((1, 1, 1, 2.5))

    def ground(self, size: float, height: Callable[[float, float], float] | None = None, cells: int = 1, material: Any = None) -> None:
        """A square floor, flat or with a height for every (x, y)."""

        def make(shape: Any) -> None:
            bmesh.ops.create_grid(shape, x_segments=cells, y_segments=cells, size=size / 2)
            if height is not None:
                for vertex in shape.verts:
                    vertex.co.z = height(vertex.co.x, vertex.co.y)

        self.mesh(make, smooth=height is not None, material=material or self.materials.make())

    def tree(self, x: float, y: float, floor: float, size: float, leaf: Any, bark: Any) -> None:
        """A trunk with cones or a rough ball on top."""
        random = self.random
        self.box((x, y, floor + size * 0.2), (size * 0.06, size * 0.06, size * 0.45), bark, random.random())
        if random.random() < 0.5:
            for level in range(3):
                crown = self.mesh(
                    lambda shape: bmesh.ops.create_cone(shape, segments=14, radius1=0.5, radius2=0.02, depth=1), material=leaf
                )
                width = size * (0.5 - 0.12 * level)
                crown.matrix_world = Matrix.Translation((x, y, floor + size * (0.4 + 0.2 * level))) @ Matrix.Diagonal(
                    (width, width, size * 0.35, 1)
                )
        else:
            crown = self.mesh(lambda shape: rock(shape, random, 0.5), smooth=True, material=leaf)
            crown.matrix_world = Matrix.Translation((x, y, floor + size * 0.65)) @ Matrix.Scale(size * 0.6, 4)


def lathe(shape: Any, outline: list[tuple[float, float]], segments: int) -> None:
    """A surface of revolution about Z of (radius, height) points."""
    angles = np.arange(segments) * math.tau / segments
    rings = [[shape.verts.new((r * math.cos(a), r * math.sin(a), z)) for a in angles] for r, z in outline]
    for lower, upper in itertools.pairwise(rings):
        for i in range(segments):
            shape.faces.new((lower[i - 1], lower[i], upper[i], upper[i - 1]))


def profile(random: Random) -> list[tuple[float, float]]:
    """The outline of a vase, cup or bottle."""
    radii = [random.uniform(0.12, 0.5) for _ in range(4)]
    heights = np.linspace(-0.5, 0.5, 13)
    outline = [(float(np.interp(h, np.linspace(-0.5, 0.5, 4), radii)), float(h)) for h in heights]
    return [(0.001, -0.5), *outline, *((r * 0.9, h) for r, h in reversed(outline[3:])), (0.001, outline[3][1])]


def rock(shape: Any, random: Random, rough: float = 0.35) -> None:
    """A ball with bumps."""
    bmesh.ops.create_icosphere(shape, subdivisions=4, radius=0.5)
    offset, scale = Vector([random.uniform(-99, 99) for _ in range(3)]), random.uniform(1.5, 4)
    for vertex in shape.verts:
        vertex.co *= 1 + rough * noise.noise(vertex.co * scale + offset)


DAY = ((0.1, 0.25, 0.7), (0.25, 0.45, 0.85), (0.35, 0.55, 0.9), (0.55, 0.65, 0.75))
HORIZON = ((0.75, 0.85, 0.95), (0.9, 0.9, 0.9), (1.0, 0.75, 0.5), (1.0, 0.5, 0.25), (0.6, 0.7, 0.8))
NIGHT = ((0.002, 0.004, 0.015), (0.01, 0.012, 0.03), (0.0, 0.0, 0.0), (0.03, 0.02, 0.04))


def light_scene(random: Random, indoors: bool) -> bool:
    """Adds sun and sky; returns whether it is night."""
    night = random.random() < (0.15 if indoors else 0.1)
    world = bpy.data.worlds.new("world")
    bpy.context.scene.world = world
    world.use_nodes = True
    tree = world.node_tree
    background = tree.nodes["Background"]
    background.inputs["Strength"].default_value = 1.0 if night else random.uniform(0.6, 1.5) * (0.5 if indoors else 1)
    high = [c * random.uniform(0.7, 1.3) for c in random.choice(NIGHT if night else DAY)]
    low = [c * random.uniform(1, 2) for c in high] if night else list(random.choice(HORIZON))
    kind = random.choice(("plain", "gradient", "gradient", "clouds", "clouds", "clouds"))
    if kind == "plain":
        background.inputs["Color"].default_value = (*random.choice((high, low)), 1)
    else:
        tree.links.new(_sky(tree, random, high, low, kind == "clouds", night), background.inputs["Color"])
    sun = bpy.data.lights.new("sun", "SUN")
    sun.energy, sun.angle = random.uniform(0.5, 5) * (0.01 if night else 1), random.uniform(0.01, 0.3)
    thing = bpy.data.objects.new("sun", sun)
    thing.rotation_euler = (random.uniform(-1.1, 1.1), random.uniform(-1.1, 1.1), random.uniform(0, 6))
    bpy.context.scene.collection.objects.link(thing)
    return night


def _sky(tree: Any, random: Random, high: list[float], low: list[float], clouds: bool, night: bool) -> Any:
    """Shader nodes that blend from the horizon's to the zenith's colour, with clouds."""
    nodes, links = tree.nodes, tree.links
    direction = nodes.new("ShaderNodeTexCoord").outputs["Generated"]
    split = nodes.new("ShaderNodeSeparateXYZ")
    links.new(direction, split.inputs[0])
    ramp = nodes.new("ShaderNodeValToRGB")
    ramp.color_ramp.elements[0].color, ramp.color_ramp.elements[1].color = (*low, 1), (*high, 1)
    ramp.color_ramp.elements[1].position = random.uniform(0.15, 0.9)
    links.new(split.outputs[2], ramp.inputs["Fac"])
    if not clouds:
        return ramp.outputs["Color"]
    flat = nodes.new("ShaderNodeMapping")
    flat.inputs["Scale"].default_value = (1, 1, random.uniform(1, 5))
    flat.inputs["Location"].default_value = [random.uniform(-9, 9) for _ in range(3)]
    links.new(direction, flat.inputs["Vector"])
    texture = nodes.new("ShaderNodeTexNoise")
    texture.inputs["Scale"].default_value, texture.inputs["Detail"].default_value = random.uniform(1, 6), random.uniform(2, 9)
    links.new(flat.outputs[0], texture.inputs["Vector"])
    thick = nodes.new("ShaderNodeValToRGB")
    start = random.uniform(0.35, 0.6)
    thick.color_ramp.elements[0].position, thick.color_ramp.elements[1].position = start, start + random.uniform(0.05, 0.35)
    links.new(texture.outputs["Fac"], thick.inputs["Fac"])
    white = random.uniform(0.5, 1) * (0.03 if night else 1)
    mix = nodes.new("ShaderNodeMixRGB")
    mix.inputs["Color2"].default_value = (white, white * random.uniform(0.85, 1), white * random.uniform(0.75, 1.05), 1)
    links.new(thick.outputs["Color"], mix.inputs["Fac"])
    links.new(ramp.outputs["Color"], mix.inputs["Color1"])
    return mix.outputs["Color"]


def lamp(place: Any, watts: float, random: Random) -> None:
    """A spherical lamp."""
    light = bpy.data.lights.new("lamp", "POINT")
    light.energy, light.shadow_soft_size = watts, random.uniform(0.05, 0.5)
    light.color = (1, random.uniform(0.75, 1), random.uniform(0.6, 1))
    thing = bpy.data.objects.new("lamp", light)
    thing.location = place
    bpy.context.scene.collection.objects.link(thing)
