"""Skies and lights of the scenes: clear, clouded, low sun, night; needs bpy."""

from __future__ import annotations

from random import Random
from typing import Any

import bpy

DAY = ((0.1, 0.25, 0.7), (0.25, 0.45, 0.85), (0.35, 0.55, 0.9), (0.55, 0.65, 0.75))
HORIZON = ((0.75, 0.85, 0.95), (0.9, 0.9, 0.9), (1.0, 0.75, 0.5), (1.0, 0.5, 0.25), (0.6, 0.7, 0.8))
NIGHT = ((0.002, 0.004, 0.015), (0.01, 0.012, 0.03), (0.0, 0.0, 0.0), (0.03, 0.02, 0.04))


def light_scene(random: Random, indoors: bool) -> bool:
    """Sun and sky; says whether it is night."""
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
    """The output of nodes that go from the horizon's colour to the zenith's, with clouds before them."""
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
    """A round lamp that shines all round."""
    light = bpy.data.lights.new("lamp", "POINT")
    light.energy, light.shadow_soft_size = watts, random.uniform(0.05, 0.5)
    light.color = (1, random.uniform(0.75, 1), random.uniform(0.6, 1))
    thing = bpy.data.objects.new("lamp", light)
    thing.location = place
    bpy.context.scene.collection.objects.link(thing)
