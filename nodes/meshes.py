"""Saves raw depth as textured meshes, splats or printable reliefs, and converts it for core ComfyUI's 3D nodes."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from ..geometry.estimate import Estimate
from ..geometry.files import SaveOptions, save_surface
from ..geometry.files.mesh_files import write_glb, write_ply
from ..geometry.meshes.mesh import TO_LOOK_AT, Mesh, MeshOptions, depth_to_meshes, joined_meshes, with_common_texture
from ..geometry.meshes.splats import depth_to_splats
from ..geometry.views.transparency import opaque_part
from ..model_loader.comfy.meshes import comfy_file_3d, comfy_mesh, comfy_splats, load_3d_camera, splat_camera
from ..options.mesh import SPLATS, ReliefOptions, SavedMeshOptions, ShownMeshOptions, SplatOptions
from .batches import for_each
from .checks import check_geometry
from .files import with_images
from .option_widgets import Node, option_widgets, takes
from .saving import SavingNode, file_entries, fill_in, output_name, prefix_widget, save_numbered
from .widgets import CONVERT, FILE_3D_GLB, FILE_3D_PLY, LOAD3D_CAMERA, MESH, SPLAT, geometry_input, image_input

MESH_PREFIX, RELIEF_PREFIX = "3d/mesh", "3d/relief"

_FILE_OUTPUTS = {
    "model_file": ("STRING", "Path of the file in the output folder, for the model_file of Preview 3D."),
    "text": ("STRING", "Number of points and triangles, bytes, and the depth that was used."),
}

_IMAGE = "Texture of the mesh: the image that the geometry was estimated from, at any size. Without it the mesh has no colours."


def _mesh_options(options: SplatOptions) -> MeshOptions:
    """The mesh options of a node; options that splats lack have their defaults."""
    return MeshOptions(**{each.name: getattr(options, each.name) for each in fields(MeshOptions) if hasattr(options, each.name)})


@takes(SavedMeshOptions)
class SaveMesh(SavingNode):
    """Saves textured meshes to ComfyUI's output folder."""

    NODE_ID = "DepthNormal_SaveMesh"
    DISPLAY_NAME = "Save Mesh"
    DESCRIPTION = (
        "Saves depth as a mesh with the image on it (GLB for browsers, Blender, game engines; PLY). It is cut between things that "
        "stand behind each other; floors stay whole to the horizon. Takes metric depth, relative depth and disparity."
    )
    OUTPUTS, OUTPUT_IS_LIST = _FILE_OUTPUTS, (True, True)
    SEARCH_ALIASES = (
        "export mesh, 3d mesh, glb, ply, gaussian splat, obj, 3d model, export 3d, image to 3d, textured mesh, gltf, depth to mesh, "
        "depth to 3d, point cloud, pointcloud"
    )
    INPUTS: ClassVar = {
        "required": {
            "geometry": geometry_input(
                "Depth as numbers, e.g. from Depth & Normals. Each image of a batch gets its own file, the views of one scene a common one."
            )
        },
        "optional": {
            "image": image_input(_IMAGE),
            "filename_prefix": prefix_widget(MESH_PREFIX, ".glb"),
            **option_widgets(SavedMeshOptions),
        },
    }

    def execute(
        self, options: SavedMeshOptions, geometry: Any, image: Tensor | None = None, filename_prefix: str = MESH_PREFIX, **hidden: Any
    ) -> dict[str, Any]:
        estimate = check_geometry(geometry)
        mesh = replace(_mesh_options(options), simplify=TO_LOOK_AT.simplify if options.max_points else 0.0)
        name = fill_in(filename_prefix, estimate.width, estimate.height, **hidden)
        splats = options.format == SPLATS
        saved = SaveOptions(splats=splats, ply_up=options.ply_up, mesh=mesh)
        return _saved(estimate, image, name, ".ply" if splats else f".{options.format}", saved)


@takes(ReliefOptions)
class SaveRelief(SavingNode):
    """Saves printable reliefs to ComfyUI's output folder."""

    NODE_ID = "DepthNormal_SaveRelief"
    DISPLAY_NAME = "Geometry to Relief (STL)"
    DESCRIPTION = (
        "Saves depth as a plate with raised relief, closed on all sides, in millimetres: for 3D printers and mills. "
        "Takes any kind of depth."
    )
    OUTPUTS, OUTPUT_IS_LIST = _FILE_OUTPUTS, (True, True)
    SEARCH_ALIASES = (
        "stl, 3d print, 3d printing, relief, bas-relief, cnc, engraving, lithophane, heightmap to stl, height map to stl, mould"
    )
    INPUTS: ClassVar = {
        "required": {
            "geometry": geometry_input("Depth as numbers, e.g. from Depth & Normals. Each image of a batch becomes its own plate.")
        },
        "optional": {
            "image": image_input("The image that the geometry was estimated from; it is used only to find the sky."),
            "filename_prefix": prefix_widget(RELIEF_PREFIX, ".stl"),
            **option_widgets(ReliefOptions),
        },
    }

    def execute(
        self, options: ReliefOptions, geometry: Any, image: Tensor | None = None, filename_prefix: str = RELIEF_PREFIX, **hidden: Any
    ) -> dict[str, Any]:
        estimate = check_geometry(geometry)
        name = fill_in(filename_prefix, estimate.width, estimate.height, **hidden)
        return _saved(estimate, image, name, ".stl", SaveOptions(relief=options))


def _saved(estimate: Estimate, image: Tensor | None, name: str, suffix: str, options: SaveOptions) -> dict[str, Any]:
    """Saves each image, or all views of a scene, and returns the node's outputs and display."""
    lines: list[str] = []

    def save(path: Path, part: tuple[Estimate, SaveOptions]) -> tuple[Path, ...]:
        lines.append(save_surface(path, *part))
        return (path,)

    textured = ((part, replace(options, image=texture)) for part, texture in with_images(estimate, image, suffix))
    written = save_numbered(name, suffix, textured, save)
    names = [output_name(path) for path in written]
    return {"ui": {**file_entries(written), "text": lines}, "result": (names, lines)}


@takes(ShownMeshOptions)
class GeometryToMesh(Node):
    """Converts geometry for core's 3D nodes."""

    NODE_ID = "DepthNormal_GeometryToMesh"
    DISPLAY_NAME = "Geometry to Mesh"
    DESCRIPTION = (
        "Converts depth to a mesh, a GLB file and a point cloud for ComfyUI's own 3D nodes: Save 3D Model, Preview 3D, Preview Point "
        "Cloud. It is cut between things that stand behind each other. Takes metric depth, relative depth and disparity."
    )
    CATEGORY = CONVERT
    OUTPUT_IS_LIST: ClassVar = (True, True, True, True)
    OUTPUTS: ClassVar = {
        "mesh": (
            MESH,
            "Mesh with the image as texture, for Save 3D Model and mesh tools. One for each image, or one for all views of a scene.",
        ),
        "model_3d": (
            FILE_3D_GLB,
            "The mesh as a GLB file, as Save Mesh writes it: with normals, shown without lighting. For Preview 3D and Save 3D Model.",
        ),
        "point_cloud": (FILE_3D_PLY, "The coloured points as a PLY file, y up. For Preview Point Cloud."),
        "camera_info": (LOAD3D_CAMERA, "The camera of the image, in the units of the 3D viewers: they start with the image's view."),
    }
    SEARCH_ALIASES = "depth to mesh, image to mesh, image to 3d, mesh, 3d model, glb, ply, point cloud, camera, convert geometry"
    INPUTS: ClassVar = {
        "required": {
            "geometry": geometry_input(
                "Depth as numbers, e.g. from Depth & Normals. Each image of a batch becomes its own mesh, the views of one scene a "
                "common one."
            )
        },
        "optional": {"image": image_input(_IMAGE), **option_widgets(ShownMeshOptions)},
    }

    def execute(self, options: ShownMeshOptions, geometry: Any, image: Tensor | None = None) -> tuple[list[Any], ...]:
        estimate, mesh = check_geometry(geometry), _mesh_options(options)
        made = for_each(with_images(estimate, image, ".glb"), lambda part, texture: _for_core(part, texture, mesh))
        return tuple(map(list, zip(*made, strict=True)))


def _for_core(estimate: Estimate, image: Tensor | None, options: MeshOptions) -> tuple[Any, Any, Any, dict[str, Any]]:
    estimate, image = opaque_part(estimate, image)
    meshes = depth_to_meshes(estimate, image, options)
    join = with_common_texture if len(meshes) > estimate.batch else joined_meshes
    common = meshes[0] if len(meshes) == 1 else join(meshes)
    visible = joined_meshes(meshes[: estimate.batch])
    points = Mesh(visible.points, np.empty((0, 3), np.uint32), visible.normals, visible.colours)
    return (
        comfy_mesh(common),
        comfy_file_3d(".glb", lambda path: write_glb(path, meshes)),
        comfy_file_3d(".ply", lambda path: write_ply(path, points)),
        load_3d_camera(estimate, meshes, options.fov),
    )


@takes(SplatOptions)
class GeometryToSplats(Node):
    """Converts geometry to Gaussian splats for core's nodes."""

    NODE_ID = "DepthNormal_GeometryToSplats"
    DISPLAY_NAME = "Geometry to Splats"
    DESCRIPTION = (
        "Converts depth to 3D Gaussian splats, one flat disc for each pixel, for ComfyUI's own nodes: Render Splat, Create 3D File (from "
        "Splat), Transform Splat. Takes metric depth, relative depth and disparity."
    )
    CATEGORY = CONVERT
    OUTPUT_IS_LIST: ClassVar = (True, True)
    OUTPUTS: ClassVar = {
        "splat": (SPLAT, "Splats, one set for each image, or one for all views of a scene."),
        "camera_info": (LOAD3D_CAMERA, "The camera of the image, for Render Splat: it starts with the image's view."),
    }
    SEARCH_ALIASES = "gaussian splat, gaussian splatting, 3dgs, splats, image to splat, depth to splat, spz, ksplat, convert geometry"
    INPUTS: ClassVar = {
        "required": {
            "geometry": geometry_input(
                "Depth as numbers, e.g. from Depth & Normals; its normals tilt the splats. Each image of a batch becomes its own splats, "
                "the views of one scene common ones."
            )
        },
        "optional": {
            "image": image_input("Colours of the splats: the image that the geometry was estimated from. Without it they are grey."),
            **option_widgets(SplatOptions),
        },
    }

    def execute(self, options: SplatOptions, geometry: Any, image: Tensor | None = None) -> tuple[list[Any], ...]:
        estimate, mesh = check_geometry(geometry), _mesh_options(options)

        def splats_of(part: Estimate, texture: Tensor | None) -> tuple[Any, dict[str, Any]]:
            splats = depth_to_splats(*opaque_part(part, texture), mesh)
            return comfy_splats(splats), splat_camera(part, splats, options.fov)

        made = for_each(with_images(estimate, image, ".ply"), splats_of)
        return tuple(map(list, zip(*made, strict=True)))


NODES = (SaveMesh, SaveRelief, GeometryToMesh, GeometryToSplats)
