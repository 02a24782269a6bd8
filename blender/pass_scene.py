"""A copy of a scene in which one ray a pixel finds one surface: the first that is not fully transparent, volumes left out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import bpy

LEAST_ALPHA = 1e-6
"""Alpha from which on a surface counts. At 0 the cards that leaves are cut out of would count as well."""

MAX_TRANSPARENT = 1024
"""Fully transparent surfaces that a ray passes before it gives up: the most that Cycles takes."""


class GeometryError(RuntimeError):
    """The scene cannot be rendered as it is; the message says what to change."""


@contextmanager
def pass_scene(scene: bpy.types.Scene, layer_name: str) -> Iterator[bpy.types.Scene]:
    """A copy of the scene set up for exact depth and normal passes of one view layer, removed at the end.

    Objects and materials are shared with the scene. A material with a volume has two more nodes meanwhile (`_without_volume`); no other
    thing of the user's is changed.

    Raises:
        GeometryError: Cycles is not there.
    """
    copy = scene.copy()
    camera = None
    try:
        # A marker can bind another camera to the frame, which would replace the sharp copy below.
        copy.timeline_markers.clear()
        # The world can be fog. Nothing else of it is in the passes.
        copy.world = None
        _set_sampling(copy)
        for layer in copy.view_layers:
            layer.use = layer.name == layer_name
        _set_layer(copy.view_layers[layer_name])
        if scene.camera.data.dof.use_dof:
            camera = _sharp_camera(scene.camera)
            copy.camera = camera
        with ExitStack() as stack:
            for material in bpy.data.materials:
                if material.node_tree is not None:
                    stack.enter_context(_without_volume(material.node_tree))
            yield copy
    finally:
        bpy.data.scenes.remove(copy)
        if camera is not None:
            bpy.data.cameras.remove(camera.data)


def _set_layer(layer: bpy.types.ViewLayer) -> None:
    """The passes of the first surface; without Volume objects, and without a world of the layer's own (Blender 4.3)."""
    layer.use_pass_z = layer.use_pass_normal = True
    layer.pass_alpha_threshold = LEAST_ALPHA
    layer.samples = 0
    layer.use_volumes = False
    if hasattr(layer, "world_override"):
        layer.world_override = None


def _sharp_camera(camera: bpy.types.Object) -> bpy.types.Object:
    """A copy of a camera without depth of field; removing its data removes both."""
    sharp = camera.copy()
    sharp.data = camera.data.copy()
    sharp.data.dof.use_dof = False
    return sharp


@contextmanager
def _without_volume(tree: bpy.types.NodeTree) -> Iterator[None]:
    """Hides a material's volume from Cycles: light scatters in a volume and never reaches what is behind.

    A second output, for Cycles alone, takes the place of the one that has the volume. Without a surface it gets a transparent one, as a
    material with neither surface nor volume is an opaque black.
    """
    output = tree.get_output_node("CYCLES")
    if output is None or not output.inputs["Volume"].is_linked:
        yield
        return
    active = [node for node in tree.nodes if node.bl_idname == output.bl_idname and node.is_active_output]
    added = [tree.nodes.new(output.bl_idname)]
    try:
        added[0].target = "CYCLES"
        added[0].is_active_output = True
        for name in ("Surface", "Displacement"):
            for link in output.inputs[name].links:
                tree.links.new(link.from_socket, added[0].inputs[name])
        if not output.inputs["Surface"].is_linked:
            added.append(tree.nodes.new("ShaderNodeBsdfTransparent"))
            tree.links.new(added[1].outputs["BSDF"], added[0].inputs["Surface"])
        yield
    finally:
        for node in added:
            tree.nodes.remove(node)
        for node in active:
            node.is_active_output = True


def _set_sampling(copy: bpy.types.Scene) -> None:
    """One ray through each pixel's centre: the first sample of a narrow box filter; more would average the normals."""
    render = copy.render
    try:
        render.engine = "CYCLES"
    except TypeError as error:
        raise GeometryError("Cycles is not available; enable it in Edit > Preferences > Add-ons ('Cycles Render Engine')") from error
    for name in (
        "use_border",
        "use_multiview",
        "use_motion_blur",
        "use_freestyle",
        "use_compositing",
        "use_sequencer",
        "use_persistent_data",
    ):
        setattr(render, name, False)
    cycles = copy.cycles
    cycles.device = "CPU"
    cycles.samples = 1
    cycles.max_bounces = 0
    cycles.transparent_max_bounces = MAX_TRANSPARENT
    cycles.time_limit = 0
    cycles.use_adaptive_sampling = cycles.use_denoising = False
    cycles.pixel_filter_type = "BOX"
    cycles.filter_width = 0.01
