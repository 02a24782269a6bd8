"""Saves raw depth as textured meshes, splats or printable reliefs, and converts it for core ComfyUI's 3D nodes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import repeat
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from ..geometry.estimate import Estimate
from ..geometry.files import FORMATS, SaveOptions, save_surface
from ..geometry.files.mesh_files import write_glb, write_ply
from ..geometry.meshes.mesh import (
    MOST_BEHIND,
    TO_LOOK_AT,
    Mesh,
    MeshOptions,
    depth_to_meshes,
    joined_meshes,
    with_common_texture,
)
from ..geometry.meshes.mesh_cuts import MAX_JUMP
from ..geometry.meshes.splats import depth_to_splats
from ..geometry.views.transparency import opaque_part
from ..model_loader.comfy.meshes import comfy_file_3d, comfy_mesh, comfy_splats, load_3d_camera, splat_camera
from ..options.checks import check_choice, check_range
from ..options.files import PLY_UP
from ..options.mesh import MAX_POINTS
from ..options.relief import ReliefOptions
from .batches import one_by_one, with_progress
from .checks import check_camera, check_geometry
from .files import images_of
from .option_widgets import option_widgets, takes
from .saving import HIDDEN, SavingNode, file_entries, fill_in, output_name, prefix_widget, save_numbered
from .sockets import CONVERT, FILE_3D_GLB, FILE_3D_PLY, FILES, LOAD3D_CAMERA, MESH, SPLAT, Inputs, Widget
from .widgets import (
    choice_widget,
    count_widget,
    fov_widget,
    geometry_input,
    image_input,
    near_far_ratio_widget,
    number_widget,
    switch_widget,
)

SPLATS = "splats"
MESH_FORMATS = ("glb", "ply", SPLATS)
MESH_PREFIX, RELIEF_PREFIX = "3d/mesh", "3d/relief"
MAX_MESH_POINTS = 2**27
MAX_JUMP_WIDGET = (0.0, 1.0)

_FILE_TOOLTIPS = (
    "Path of the file in the output folder, for the model_file of Preview 3D.",
    "Number of points and triangles, bytes, and the depth that was used.",
)


_WITHOUT_SKY = "Leaves out regions that look like sky"


def _sky_widget(treatment: str) -> Widget:
    return switch_widget(True, f"{treatment}. Needs the image.")


_IMAGE = "Texture of the mesh: the image that the geometry was estimated from, at any size. Without it the mesh has no colours."
_POINTS = (
    "Largest number of points. Larger maps are subsampled: every second, third, ... pixel is used; the "
    "texture keeps its detail. 0: all pixels."
)
_EVEN = " Unless this is 0, a glb has fewer points where surfaces are even."
_SPLATS = "Largest number of splats. Of larger maps every second, third, ... pixel becomes one. 0: all pixels."
_JUMP = (
    "Largest jump of depth between neighbouring pixels that is not cut, as a share of the depth, beyond the "
    "slope of the surface there. Smaller: more cuts."
)


_BEHIND = (
    "Continues the surfaces behind near things, where the image does not show them, so that no gap appears while the view turns by up to "
    "so many degrees. 0: off. Nothing is added to panoramas and to several views of one scene."
)


def _behind_widget(more: str = "") -> Widget:
    return number_widget(TO_LOOK_AT.fill_behind, 0.0, MOST_BEHIND, 1.0, _BEHIND + more)


def _mesh_options(
    max_points: int, max_jump: float, drop_sky: bool, fov: float, near_far_ratio: float, fill_behind: float = 0.0
) -> MeshOptions:
    """Checks the widgets that the nodes of meshes and splats share."""
    check_range("max_points", max_points, 0, MAX_MESH_POINTS)
    check_range("max_jump", max_jump, *MAX_JUMP_WIDGET)
    check_camera(fov, near_far_ratio)
    return MeshOptions(max_jump, max_points, fov=fov, near_far_ratio=near_far_ratio, drop_sky=drop_sky, fill_behind=fill_behind)


class SaveMesh(SavingNode):
    """Saves textured meshes to ComfyUI's output folder."""

    NODE_ID = "DepthNormal_SaveMesh"
    DISPLAY_NAME = "Save Mesh"
    DESCRIPTION = (
        "Saves depth as a mesh with the image on it (GLB for browsers, Blender, game engines; PLY). It is cut between things that "
        "stand behind each other; floors stay whole to the horizon. Takes metric depth, relative depth and disparity."
    )
    CATEGORY, FUNCTION, OUTPUT_NODE = FILES, "execute", True
    RETURN_TYPES: ClassVar = ("STRING", "STRING")
    RETURN_NAMES: ClassVar = ("model_file", "text")
    OUTPUT_IS_LIST: ClassVar = (True, True)
    OUTPUT_TOOLTIPS: ClassVar = _FILE_TOOLTIPS
    SEARCH_ALIASES: ClassVar = [
        "export mesh",
        "3d mesh",
        "glb",
        "ply",
        "gaussian splat",
        "obj",
        "3d model",
        "export 3d",
        "image to 3d",
        "textured mesh",
        "gltf",
        "depth to mesh",
        "depth to 3d",
        "point cloud",
        "pointcloud",
    ]

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        """ComfyUI's description of the inputs."""
        geometry = (
            "Depth as numbers, e.g. from Depth & Normals. Each image of a batch gets its own file, the views of one scene a common one."
        )
        formats = (
            "File format. glb: the image as texture. ply: coloured points. splats: a PLY of Gaussian splats, for programs for 3D Gaussian "
            "splatting."
        )
        up = "Axis that points up in a ply: y in most viewers, z in Blender. A glb needs no choice."
        return {
            "required": {"geometry": geometry_input(geometry)},
            "optional": {
                "image": image_input(_IMAGE),
                "filename_prefix": prefix_widget(MESH_PREFIX, ".glb"),
                "format": choice_widget(MESH_FORMATS, formats),
                "max_points": count_widget(MAX_POINTS, 0, MAX_MESH_POINTS, _POINTS + _EVEN),
                "max_jump": number_widget(0.05, *MAX_JUMP_WIDGET, 0.01, _JUMP, advanced=True),
                "drop_sky": _sky_widget(_WITHOUT_SKY),
                "fov": fov_widget(),
                "near_far_ratio": near_far_ratio_widget(),
                "ply_up": choice_widget(PLY_UP, up, advanced=True),
                "fill_behind": _behind_widget(" Splats stay as they are."),
            },
            "hidden": dict(HIDDEN),
        }

    def execute(
        self,
        geometry: Any,
        image: Tensor | None = None,
        filename_prefix: str = MESH_PREFIX,
        format: str = MESH_FORMATS[0],
        max_points: int = MAX_POINTS,
        max_jump: float = 0.05,
        drop_sky: bool = True,
        fov: float = 0.0,
        near_far_ratio: float = 0.0,
        ply_up: str = "y",
        fill_behind: float = TO_LOOK_AT.fill_behind,
        prompt: Mapping[str, Any] | None = None,
        extra_pnginfo: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Saves the files."""
        estimate = check_geometry(geometry)
        check_choice("format", format, MESH_FORMATS)
        mesh = _mesh_options(max_points, max_jump, drop_sky, fov, near_far_ratio, fill_behind)
        mesh = replace(mesh, simplify=TO_LOOK_AT.simplify if max_points else 0.0)
        name = fill_in(filename_prefix, estimate.width, estimate.height, prompt, extra_pnginfo)
        splats = format == SPLATS
        return _saved(estimate, image, name, ".ply" if splats else f".{format}", SaveOptions(splats=splats, ply_up=ply_up, mesh=mesh))


@takes(ReliefOptions)
class SaveRelief(SavingNode):
    """Saves printable reliefs to ComfyUI's output folder."""

    NODE_ID = "DepthNormal_SaveRelief"
    DISPLAY_NAME = "Geometry to Relief (STL)"
    DESCRIPTION = (
        "Saves depth as a plate with raised relief, closed on all sides, in millimetres: for 3D printers and mills. "
        "Takes any kind of depth."
    )
    CATEGORY, FUNCTION, OUTPUT_NODE = FILES, "execute", True
    RETURN_TYPES: ClassVar = ("STRING", "STRING")
    RETURN_NAMES: ClassVar = ("model_file", "text")
    OUTPUT_IS_LIST: ClassVar = (True, True)
    OUTPUT_TOOLTIPS: ClassVar = _FILE_TOOLTIPS
    SEARCH_ALIASES: ClassVar = [
        "stl",
        "3d print",
        "relief",
        "bas-relief",
        "cnc",
        "engraving",
        "lithophane",
        "heightmap to stl",
        "height map to stl",
        "mould",
    ]

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        """ComfyUI's description of the inputs."""
        geometry = "Depth as numbers, e.g. from Depth & Normals. Each image of a batch becomes its own plate."
        return {
            "required": {"geometry": geometry_input(geometry)},
            "optional": {
                "image": image_input("The image that the geometry was estimated from; it is used only to find the sky."),
                "filename_prefix": prefix_widget(RELIEF_PREFIX, ".stl"),
                **option_widgets(ReliefOptions),
            },
            "hidden": dict(HIDDEN),
        }

    def execute(
        self,
        options: ReliefOptions,
        geometry: Any,
        image: Tensor | None = None,
        filename_prefix: str = RELIEF_PREFIX,
        prompt: Mapping[str, Any] | None = None,
        extra_pnginfo: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Saves the files."""
        estimate = check_geometry(geometry)
        name = fill_in(filename_prefix, estimate.width, estimate.height, prompt, extra_pnginfo)
        return _saved(estimate, image, name, ".stl", SaveOptions(relief=options))


def _saved(estimate: Estimate, image: Tensor | None, name: str, suffix: str, options: SaveOptions) -> dict[str, Any]:
    """Saves each image, or all views of a scene, and returns the node's outputs and display."""
    whole = FORMATS[suffix].holds(estimate)
    parts = [estimate] if whole else with_progress(one_by_one(estimate), estimate.batch)
    images: Iterable[Tensor | None] = repeat(None) if image is None else images_of(estimate, image, whole)
    lines: list[str] = []

    def save(path: Path, part: tuple[Estimate, SaveOptions]) -> tuple[Path, ...]:
        lines.append(save_surface(path, *part))
        return (path,)

    textured = ((part, replace(options, image=image)) for part, image in zip(parts, images, strict=False))
    written = save_numbered(name, suffix, textured, save)
    names = [output_name(path) for path in written]
    return {"ui": {**file_entries(written), "text": lines}, "result": (names, lines)}


class GeometryToMesh:
    """Converts geometry for core's 3D nodes."""

    NODE_ID = "DepthNormal_GeometryToMesh"
    DISPLAY_NAME = "Geometry to Mesh"
    DESCRIPTION = (
        "Converts depth to a mesh, a GLB file and a point cloud for ComfyUI's own 3D nodes: Save 3D Model, Preview 3D, Preview Point "
        "Cloud. It is cut between things that stand behind each other. Takes metric depth, relative depth and disparity."
    )
    CATEGORY, FUNCTION = CONVERT, "execute"
    RETURN_TYPES: ClassVar = (MESH, FILE_3D_GLB, FILE_3D_PLY, LOAD3D_CAMERA)
    RETURN_NAMES: ClassVar = ("mesh", "model_3d", "point_cloud", "camera_info")
    OUTPUT_IS_LIST: ClassVar = (True, True, True, True)
    OUTPUT_TOOLTIPS: ClassVar = (
        "Mesh with the image as texture, for Save 3D Model and mesh tools. One for each image, or one for all views of a scene.",
        "The mesh as a GLB file, as Save Mesh writes it: with normals, shown without lighting. For Preview 3D and Save 3D Model.",
        "The coloured points as a PLY file, y up. For Preview Point Cloud.",
        "The camera of the image, in the units of the 3D viewers: they start with the image's view.",
    )
    SEARCH_ALIASES: ClassVar = [
        "depth to mesh",
        "image to mesh",
        "image to 3d",
        "mesh",
        "3d model",
        "glb",
        "ply",
        "point cloud",
        "camera",
        "convert geometry",
    ]

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        """ComfyUI's description of the inputs."""
        geometry = (
            "Depth as numbers, e.g. from Depth & Normals. Each image of a batch becomes its own mesh, the views of one scene a common one."
        )
        return {
            "required": {"geometry": geometry_input(geometry)},
            "optional": {
                "image": image_input(_IMAGE),
                "max_points": count_widget(MAX_POINTS, 0, MAX_MESH_POINTS, _POINTS),
                "max_jump": number_widget(0.05, *MAX_JUMP_WIDGET, 0.01, _JUMP, advanced=True),
                "drop_sky": _sky_widget(_WITHOUT_SKY),
                "fov": fov_widget(),
                "near_far_ratio": near_far_ratio_widget(),
                "fill_behind": _behind_widget(),
            },
        }

    def execute(
        self,
        geometry: Any,
        image: Tensor | None = None,
        max_points: int = MAX_POINTS,
        max_jump: float = 0.05,
        drop_sky: bool = True,
        fov: float = 0.0,
        near_far_ratio: float = 0.0,
        fill_behind: float = TO_LOOK_AT.fill_behind,
    ) -> tuple[list[Any], ...]:
        """Returns core's values, one of each kind for each mesh."""
        estimate = check_geometry(geometry)
        options = _mesh_options(max_points, max_jump, drop_sky, fov, near_far_ratio, fill_behind)
        whole = FORMATS[".glb"].holds(estimate)
        parts = [estimate] if whole else with_progress(one_by_one(estimate), estimate.batch)
        images: Iterable[Tensor | None] = repeat(None) if image is None else images_of(estimate, image, whole)
        made = [_for_core(*pair, options) for pair in zip(parts, images, strict=False)]
        return tuple(map(list, zip(*made, strict=True)))


def _for_core(estimate: Estimate, image: Tensor | None, options: MeshOptions) -> tuple[Any, Any, Any, dict[str, Any]]:
    """One mesh as all that core's nodes take."""
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


class GeometryToSplats:
    """Converts geometry to Gaussian splats for core's nodes."""

    NODE_ID = "DepthNormal_GeometryToSplats"
    DISPLAY_NAME = "Geometry to Splats"
    DESCRIPTION = (
        "Converts depth to 3D Gaussian splats, one flat disc for each pixel, for ComfyUI's own nodes: Render Splat, Create 3D File (from "
        "Splat), Transform Splat. Takes metric depth, relative depth and disparity."
    )
    CATEGORY, FUNCTION = CONVERT, "execute"
    RETURN_TYPES: ClassVar = (SPLAT, LOAD3D_CAMERA)
    RETURN_NAMES: ClassVar = ("splat", "camera_info")
    OUTPUT_IS_LIST: ClassVar = (True, True)
    OUTPUT_TOOLTIPS: ClassVar = (
        "Splats, one set for each image, or one for all views of a scene.",
        "The camera of the image, for Render Splat: it starts with the image's view.",
    )
    SEARCH_ALIASES: ClassVar = [
        "gaussian splat",
        "gaussian splatting",
        "3dgs",
        "splats",
        "image to splat",
        "depth to splat",
        "spz",
        "ksplat",
        "convert geometry",
    ]

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        """ComfyUI's description of the inputs."""
        geometry = (
            "Depth as numbers, e.g. from Depth & Normals; its normals tilt the splats. Each image of a batch becomes its own splats, the "
            "views of one scene common ones."
        )
        return {
            "required": {"geometry": geometry_input(geometry)},
            "optional": {
                "image": image_input("Colours of the splats: the image that the geometry was estimated from. Without it they are grey."),
                "max_points": count_widget(MAX_POINTS, 0, MAX_MESH_POINTS, _SPLATS),
                "drop_sky": _sky_widget(_WITHOUT_SKY),
                "fov": fov_widget(),
                "near_far_ratio": near_far_ratio_widget(),
            },
        }

    def execute(
        self,
        geometry: Any,
        image: Tensor | None = None,
        max_points: int = MAX_POINTS,
        drop_sky: bool = True,
        fov: float = 0.0,
        near_far_ratio: float = 0.0,
    ) -> tuple[list[Any], ...]:
        """Returns core's values, one of each kind for each set of splats."""
        estimate = check_geometry(geometry)
        options = _mesh_options(max_points, MAX_JUMP, drop_sky, fov, near_far_ratio)
        whole = FORMATS[".ply"].holds(estimate)
        parts = [estimate] if whole else with_progress(one_by_one(estimate), estimate.batch)
        images: Iterable[Tensor | None] = repeat(None) if image is None else images_of(estimate, image, whole)
        made = []
        for part, texture in zip(parts, images, strict=False):
            splats = depth_to_splats(*opaque_part(part, texture), options)
            made.append((comfy_splats(splats), splat_camera(part, splats, fov)))
        return tuple(map(list, zip(*made, strict=True)))


NODES = (SaveMesh, SaveRelief, GeometryToMesh, GeometryToSplats)
