"""Jobs that the tests of the Blender room run inside Blender: python inside_blender.py JOB FOLDER. Not a test file."""

import importlib
import json
import math
import os
import sys
import traceback
from pathlib import Path

import bpy
import numpy as np
from scenes import SCENES, cube, cube_half_transparent, cube_in_a_foggy_world, cube_in_fog, cube_moved_camera, new_scene, place

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "blender")]


def render(folder):
    """Every scene of SCENES to FOLDER/<name>.npz (and .exr, d.npz)."""
    from render_geometry import render_geometry, write_geometry

    cameras = {}
    for build in SCENES:
        scene, camera = new_scene()
        build(scene, camera)
        bpy.context.view_layer.update()
        cameras[build.__name__] = [list(row) for row in camera.matrix_world.normalized()]
        write_geometry(render_geometry(scene), folder, build.__name__)
    return cameras


def save(folder):
    """FOLDER/start.blend: the cube."""
    cube(*new_scene())
    bpy.ops.wm.save_as_mainfile(filepath=str(Path(folder) / "start.blend"))
    return {}


def _snapshot():
    """Every plain setting that the renderer could touch, and how many data-blocks of each kind there are."""

    def settings(struct):
        found = {}
        for prop in struct.bl_rna.properties:
            if prop.type in ("BOOLEAN", "INT", "FLOAT", "STRING", "ENUM"):
                value = getattr(struct, prop.identifier)
                found[prop.identifier] = repr(list(value) if getattr(prop, "is_array", False) else value)
        return found

    scene = bpy.context.scene
    tree = scene.compositing_node_group if bpy.app.version >= (5, 0, 0) else scene.node_tree
    kinds = [prop.identifier for prop in bpy.data.bl_rna.properties if prop.type == "COLLECTION" and prop.identifier != "images"]
    return {
        "scene": settings(scene),
        "render": settings(scene.render),
        "image": settings(scene.render.image_settings),
        "cycles": settings(scene.cycles),
        "layers": [settings(layer) for layer in scene.view_layers],
        "camera": settings(scene.camera.data),
        "dof": settings(scene.camera.data.dof),
        "camera_name": scene.camera.name,
        "nodes": [(node.bl_idname, node.name, node.mute) for node in tree.nodes],
        "links": [(link.from_node.name, link.to_node.name) for link in tree.links],
        "markers": [(marker.name, marker.frame, marker.camera.name) for marker in scene.timeline_markers],
        "world": scene.world.name,
        "materials": {material.name: _tree(material.node_tree) for material in bpy.data.materials},
        "blocks": {kind: sorted(block.name for block in getattr(bpy.data, kind)) for kind in kinds},
    }


def _tree(tree):
    nodes = [(node.name, node.select, node == tree.nodes.active, getattr(node, "is_active_output", None)) for node in tree.nodes]
    return {"nodes": nodes, "links": [(link.from_socket.path_from_id(), link.to_socket.path_from_id()) for link in tree.links]}


def _user_compositor(scene):
    if bpy.app.version >= (5, 0, 0):
        tree = bpy.data.node_groups.new("Mine", "CompositorNodeTree")
        scene.compositing_node_group = tree
    else:
        scene.use_nodes = True
        tree = scene.node_tree
    layers, blur = tree.nodes.new("CompositorNodeRLayers"), tree.nodes.new("CompositorNodeBlur")
    tree.links.new(layers.outputs["Image"], blur.inputs["Image"])


def restore(folder):
    """Snapshots before and after a render, and after one that fails halfway."""
    import render_geometry

    scene, camera = new_scene()
    for build in (cube_in_a_foggy_world, cube_in_fog, cube_half_transparent, cube_moved_camera):
        build(scene, camera)
    _user_compositor(scene)
    scene.render.engine = "BLENDER_WORKBENCH"
    scene.render.filepath = "//mine"
    before = _snapshot()
    render_geometry.render_geometry(scene)
    after = _snapshot()

    def fail(path):
        raise OSError("disk full")

    render_geometry.read_exr = fail
    try:
        render_geometry.render_geometry(scene)
    except OSError as error:
        failed = str(error)
    return {"before": before, "after": after, "after_failure": _snapshot(), "failed": failed}


def errors(folder):
    """The message of each thing that cannot be done; none leaves an object."""
    from apply_maps import apply_maps
    from render_geometry import GeometryError, render_geometry, write_geometry

    messages, path = {}, Path(folder) / "flat.npz"
    np.savez(path, depth=np.ones((4, 4), np.float32), quantity="disparity")

    def attempt(name, prepare, act=lambda scene: write_geometry(render_geometry(scene), folder, "scene")):
        scene, camera = new_scene()
        prepare(scene, camera)
        before = len(bpy.data.objects), len(bpy.data.meshes)
        try:
            act(scene)
        except GeometryError as error:
            messages[name] = str(error)
        assert (len(bpy.data.objects), len(bpy.data.meshes)) == before, name

    attempt("no camera", lambda scene, camera: bpy.data.objects.remove(camera))
    attempt("light as camera", lambda scene, camera: setattr(scene, "camera", _light(scene)))
    attempt("orthographic", lambda scene, camera: setattr(camera.data, "type", "ORTHO"))
    attempt("panoramic", lambda scene, camera: setattr(camera.data, "type", "PANO"))
    attempt("no pixels", lambda scene, camera: setattr(scene.render, "resolution_percentage", 1))
    attempt("layer", lambda scene, camera: None, lambda scene: render_geometry(scene, "Nowhere"))
    attempt("sheared", _shear)
    attempt("mesh at a sheared camera", _shear, lambda scene: apply_maps(path, at_camera=True))
    attempt("no scale", lambda scene, camera: setattr(camera, "scale", (0, 1, 1)))
    return messages


def refusals(folder):
    """What the scripts of FOLDER/asked.json end with, each [script, arguments]."""
    said = []
    for script, arguments in json.loads((Path(folder) / "asked.json").read_text()):
        bpy.ops.wm.read_homefile(use_factory_startup=True)
        try:
            importlib.import_module(script).main(arguments)
        except SystemExit as end:
            said.append(end.code)
    return said


def _shear(scene, camera):
    """Under an unevenly scaled rig, and with depth of field, for which a copy of the camera is rendered."""
    cube(scene, camera)
    rig = bpy.data.objects.new("Rig", None)
    scene.collection.objects.link(rig)
    rig.scale = (1, 2, 1)
    camera.parent, camera.data.dof.use_dof = rig, True


def imported(folder):
    """World coordinates of the vertices of FOLDER/*.ply and *.glb, as Blender's own importers bring them in."""
    bpy.ops.preferences.addon_enable(module="io_scene_gltf2")
    found = {}
    for path in sorted(Path(folder).glob("*.[pg]l[yb]")):
        new_scene()
        if path.suffix == ".ply":
            bpy.ops.wm.ply_import(filepath=str(path))
        else:
            bpy.ops.import_scene.gltf(filepath=str(path))
        vertices, matrix = _world_vertices(next(thing for thing in bpy.data.objects if thing.type == "MESH"))
        found[path.name] = (vertices @ matrix[:3, :3].T + matrix[:3, 3]).tolist()
    return found


def composited(folder):
    """What the compositor's Image node finds in FOLDER/comp.exr, as large as size.json says: the pixels of each output, from the top."""
    scene, _ = new_scene()
    image, size = bpy.data.images.load(str(Path(folder) / "comp.exr")), json.loads((Path(folder) / "size.json").read_text())
    if bpy.app.version >= (5, 0, 0):
        tree = scene.compositing_node_group = bpy.data.node_groups.new("Compositing", "CompositorNodeTree")
        tree.interface.new_socket("Image", in_out="OUTPUT", socket_type="NodeSocketColor")
        end = tree.nodes.new("NodeGroupOutput")
    else:
        scene.use_nodes = True
        tree = scene.node_tree
        tree.nodes.clear()
        end = tree.nodes.new("CompositorNodeComposite")
    node = tree.nodes.new("CompositorNodeImage")
    node.image = image
    names = [output.name for output in node.outputs if output.enabled]
    scene.render.resolution_x, scene.render.resolution_y, scene.render.resolution_percentage = *size, 100
    scene.render.image_settings.file_format, scene.render.image_settings.color_depth = "OPEN_EXR", "32"
    scene.view_settings.view_transform = "Raw"
    found = {}
    for name in names:
        tree.links.new(node.outputs[name], end.inputs[0])
        scene.render.filepath = str(Path(folder) / f"seen_{name}.exr")
        bpy.ops.render.render(write_still=True)
        seen = bpy.data.images.load(scene.render.filepath)
        found[name] = np.array(seen.pixels).reshape(seen.size[1], seen.size[0], 4)[::-1].tolist()
    return found


def _light(scene):
    light = bpy.data.objects.new("Lamp", bpy.data.lights.new("Lamp", "POINT"))
    scene.collection.objects.link(light)
    return light


def _world_vertices(thing):
    bpy.context.view_layer.update()
    vertices = np.empty(len(thing.data.vertices) * 3, np.float32)
    thing.data.vertices.foreach_get("co", vertices)
    return vertices.reshape(-1, 3), np.array(thing.matrix_world)


def meshes(folder):
    """The maps that the test wrote to FOLDER as meshes: vertices and faces to FOLDER/mesh_<name>.npz."""
    from apply_maps import apply_maps

    for path in sorted(Path(folder).glob("map_*")):
        scene, camera = new_scene()
        place(camera, (1, 2, 3), (0.3, 0.4, 0.5))
        scene.unit_settings.scale_length = 0.5
        thing = apply_maps(path, strength=0.25, at_camera="camera" in path.stem)
        vertices, matrix = _world_vertices(thing)
        loops = np.array([list(face.vertices) for face in thing.data.polygons], int)
        normals = np.array([face.normal[:] for face in thing.data.polygons])
        uvs = np.zeros((len(vertices), 2))
        for loop, uv in zip(thing.data.loops, thing.data.uv_layers[0].data, strict=True):
            uvs[loop.vertex_index] = uv.uv
        valid = not thing.data.validate(verbose=True)
        np.savez(
            Path(folder) / f"mesh_{path.name}.npz", vertices=vertices, matrix=matrix, faces=loops, normals=normals, uvs=uvs, valid=valid
        )
    return {}


def shading(folder):
    """What Cycles sees of the normal maps FOLDER/normals_<axes>_*, on a plane that fills the view: FOLDER/seen_<name>.npz."""
    from apply_maps import apply_maps
    from render_geometry import render_geometry, write_geometry

    for path in sorted(Path(folder).glob("normals_*")):
        scene, camera = new_scene(32, 32)
        camera.data.lens = 36
        place(camera, (0, -2, 0), (math.pi / 2, 0, 0))
        apply_maps(normals_path=path, axes=path.stem.split("_")[1])
        write_geometry(render_geometry(scene), folder, f"seen_{path.name}")
    return {}


def archives(folder):
    """What is read from the archives FOLDER/*.npz: the quantity of depth, or the normals' lower left corner and axes; or the error."""
    from apply_maps import load_normal_image, read_depth
    from geometry_files import MapFileError

    def read(path):
        if "dmap" in np.load(path):
            return read_depth(path).quantity
        image, axes = load_normal_image(path)
        return [*np.round(image.pixels[:3], 2).tolist(), axes]

    found = {}
    for path in Path(folder).glob("*.npz"):
        try:
            found[path.stem] = read(path)
        except MapFileError as error:
            found[path.stem] = str(error)
    return found


def addon(folder):
    """The add-on as a user meets it: switched on, both buttons, an error, undo, switched off."""
    import blender as package

    module = importlib.reload(package)
    module.register()
    scene, camera = new_scene()
    cube(scene, camera)
    settings = bpy.context.scene.depth_normal

    settings.depth_path, settings.normals_path = str(Path(folder) / "flat.npz"), "/no/such.exr"
    np.savez(settings.depth_path, depth=np.ones((4, 4), np.float32), quantity="disparity")
    said = {"objects": len(bpy.data.objects)}
    for name in ("render", "apply"):
        try:
            getattr(bpy.ops.depth_normal, name)()
        except RuntimeError as error:
            said[name] = str(error)
    said["objects after errors"] = len(bpy.data.objects)
    settings.directory, settings.at_camera = folder, True
    said["rendered"] = sorted(bpy.ops.depth_normal.render())
    settings.depth_path, settings.normals_path = (str(Path(folder) / f"scene.{suffix}") for suffix in ("npz", "exr"))
    said["applied"] = sorted(bpy.ops.depth_normal.apply())
    mesh = bpy.data.objects["scene"]
    vertices, matrix = _world_vertices(mesh)
    said["world"] = (vertices @ matrix[:3, :3].T + matrix[:3, 3]).tolist()
    said["material"] = mesh.active_material.name
    said["undo"] = all("UNDO" in each.bl_options for each in (module.DEPTH_NORMAL_OT_render, module.DEPTH_NORMAL_OT_apply))
    module.unregister()
    said["gone"] = not hasattr(bpy.types.Scene, "depth_normal")
    return said


if __name__ == "__main__":
    job, out = sys.argv[1:]
    code = 0
    try:
        (Path(out) / "result.json").write_text(json.dumps(globals()[job](out)))
    except Exception:  # noqa: BLE001
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    # Where a traceback keeps hold of its data, bpy lists every block of memory when the interpreter ends, for minutes; that of 4.2 crashes
    # there once a glTF file was imported.
    os._exit(code)
