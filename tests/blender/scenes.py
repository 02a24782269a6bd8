"""The scenes that the tests of the Blender room render, built inside Blender. Not a test file."""

import math

import bpy
import numpy as np


def new_scene(width=64, height=48):
    """An empty scene with a 50 mm perspective camera at the origin that looks down."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    scene.render.resolution_x, scene.render.resolution_y = width, height
    camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    scene.collection.objects.link(camera)
    scene.camera = camera
    return scene, camera


def place(thing, location, rotation=(0, 0, 0)):
    thing.location, thing.rotation_euler = location, rotation


def tilted_plane(scene, camera):
    bpy.ops.mesh.primitive_plane_add(size=100)
    place(camera, (0.5, -1, 4), (0.4, 0.2, 0.7))


def cube(scene, camera):
    bpy.ops.mesh.primitive_cube_add(size=2)
    place(camera, (3, -4, 2.5), (math.radians(65), 0, math.radians(37)))


def cube_shifted(scene, camera):
    cube(scene, camera)
    camera.data.shift_x, camera.data.shift_y = 0.15, -0.08


def cube_vertical_fit(scene, camera):
    cube(scene, camera)
    camera.data.sensor_fit, camera.data.sensor_height, camera.data.lens = "VERTICAL", 18, 30
    camera.data.shift_x, camera.data.shift_y = -0.1, 0.05
    scene.render.pixel_aspect_x, scene.render.pixel_aspect_y = 1.0, 1.5
    scene.render.resolution_x, scene.render.resolution_y, scene.render.resolution_percentage = 131, 97, 50


def cube_portrait(scene, camera):
    cube(scene, camera)
    scene.render.resolution_x, scene.render.resolution_y = 40, 64
    scene.render.pixel_aspect_x, scene.render.pixel_aspect_y = 2.0, 1.0
    camera.data.shift_y = 0.1


def cube_in_centimetres(scene, camera):
    cube(scene, camera)
    scene.unit_settings.scale_length = 0.01


def cube_moved_camera(scene, camera):
    """The same view, but the camera gets there by a scaled parent, and depth of field, border, blur and a marker are in the way."""
    cube(scene, camera)
    parent = bpy.data.objects.new("Parent", None)
    scene.collection.objects.link(parent)
    parent.location, parent.scale = (1, 1, 1), (2, 2, 2)
    camera.parent = parent
    camera.location = (np.array(camera.location) - 1) / 2
    camera.data.dof.use_dof, camera.data.dof.aperture_fstop, camera.data.dof.focus_distance = True, 0.1, 2
    render = scene.render
    render.use_border, render.border_max_x, render.use_crop_to_border = True, 0.5, True
    render.use_motion_blur = render.use_multiview = True
    scene.timeline_markers.new("other", frame=1).camera = camera
    scene.view_layers[0].name = "Odd näme.001"
    scene.view_layers.new("Second")


def sphere(scene, camera):
    bpy.ops.mesh.primitive_uv_sphere_add(segments=256, ring_count=128, radius=1)
    bpy.ops.object.shade_smooth()
    place(camera, (0, -4, 0), (math.pi / 2, 0, 0))


def inside_box(scene, camera):
    """Walls seen from within: their faces point outwards, the normals must still come towards the viewer."""
    bpy.ops.mesh.primitive_cube_add(size=6)
    place(camera, (0.3, 0.2, 0.1), (1.2, 0.1, 0.5))


def cube_mirrored_camera(scene, camera):
    """The camera's own scale is uneven and its parent mirrors: both leave its axes at right angles."""
    cube(scene, camera)
    parent = bpy.data.objects.new("Mirror", None)
    scene.collection.objects.link(parent)
    parent.scale, camera.scale = (-1, 1, 1), (3, 0.5, 2)
    camera.parent = parent


def new_material(name, alpha=None, density=None):
    """A principled surface of that alpha, a principled volume of that density, or both."""
    material = bpy.data.materials.new(name)
    if bpy.app.version < (5, 0, 0):
        material.use_nodes = True
    nodes, links = material.node_tree.nodes, material.node_tree.links
    nodes.clear()
    output = nodes.new("ShaderNodeOutputMaterial")
    for kind, field, value in (("BsdfPrincipled", "Alpha", alpha), ("VolumePrincipled", "Density", density)):
        if value is not None:
            shader = nodes.new(f"ShaderNode{kind}")
            shader.inputs[field].default_value = value
            links.new(shader.outputs[0], output.inputs["Volume" if kind == "VolumePrincipled" else "Surface"])
    return material


def paint(thing, **kwargs):
    thing.data.materials.append(new_material(thing.name, **kwargs))


def cube_in_a_foggy_world(scene, camera):
    cube(scene, camera)
    scene.world = bpy.data.worlds.new("World")
    if bpy.app.version < (5, 0, 0):
        scene.world.use_nodes = True
    tree = scene.world.node_tree
    scatter, output = tree.nodes.new("ShaderNodeVolumeScatter"), tree.get_output_node("CYCLES")
    scatter.inputs["Density"].default_value = 0.2
    tree.links.new(scatter.outputs["Volume"], output.inputs["Volume"])


def cube_in_fog(scene, camera):
    """Camera and cube are inside two boxes of fog; the outer one's material has an output of its own for Cycles."""
    cube(scene, camera)
    for size, density in ((20, 0.1), (30, 0.05)):
        bpy.ops.mesh.primitive_cube_add(size=size)
        paint(bpy.context.object, density=density)
    tree = bpy.context.object.active_material.node_tree
    volume = tree.nodes["Material Output"].inputs["Volume"].links[0].from_socket
    other = tree.nodes.new("ShaderNodeOutputMaterial")
    other.target, other.is_active_output = "CYCLES", True
    tree.links.new(volume, other.inputs["Volume"])


def cube_behind_a_cloud(scene, camera):
    """A Volume object as geometry nodes make it, without a material."""
    cube(scene, camera)
    bpy.ops.mesh.primitive_uv_sphere_add(radius=1, location=(1.5, -2, 1.2))
    group = bpy.data.node_groups.new("Cloud", "GeometryNodeTree")
    for side in ("INPUT", "OUTPUT"):
        group.interface.new_socket("Geometry", in_out=side, socket_type="NodeSocketGeometry")
    start, cloud, end = (group.nodes.new(kind) for kind in ("NodeGroupInput", "GeometryNodeMeshToVolume", "NodeGroupOutput"))
    cloud.inputs["Density"].default_value = 5
    group.links.new(start.outputs[0], cloud.inputs[0])
    group.links.new(cloud.outputs[0], end.inputs[0])
    bpy.context.object.modifiers.new("Cloud", "NODES").node_group = group


def cube_half_transparent(scene, camera):
    """Something is behind the cube, and fog in it."""
    cube(scene, camera)
    paint(bpy.context.object, alpha=0.4, density=1)
    bpy.ops.mesh.primitive_plane_add(size=1.8, location=(0, 0, -1.01))


def cube_behind_leaves(scene, camera):
    """Twelve planes that an alpha texture would have cut away here: more than Cycles' default of eight."""
    cube(scene, camera)
    for i in range(12):
        bpy.ops.mesh.primitive_plane_add(size=1, location=camera.location * (0.5 + 0.01 * i), rotation=camera.rotation_euler)
        paint(bpy.context.object, alpha=0.0)


SCENES = (
    *(tilted_plane, sphere, inside_box, cube, cube_shifted, cube_vertical_fit, cube_portrait, cube_in_centimetres, cube_moved_camera),
    *(cube_mirrored_camera, cube_in_a_foggy_world, cube_in_fog, cube_behind_a_cloud, cube_half_transparent, cube_behind_leaves),
)
