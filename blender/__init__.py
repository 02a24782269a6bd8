"""Blender add-on: renders true depth and normals of a scene, and imports depth and normal maps."""

from __future__ import annotations

from pathlib import Path

import bpy
from bpy.props import BoolProperty, EnumProperty, FloatProperty, IntProperty, PointerProperty, StringProperty

from .apply_maps import MAX_GRID_SIDE, apply_maps
from .geometry_files import MapFileError
from .render_geometry import GeometryError, default_name, render_geometry, write_geometry

bl_info = {
    "name": "Depth & Normals",
    "author": "ComfyUI-Depth-Normal",
    "version": (0, 1, 0),
    "blender": (4, 2, 0),
    "location": "3D View > Sidebar > Depth & Normals",
    "description": "Render true depth, normals, mask and camera of a scene to files; turn depth and normal maps into meshes and materials",
    "category": "Import-Export",
}


class DepthNormalSettings(bpy.types.PropertyGroup):
    """The panel's settings."""

    directory: StringProperty(name="Folder", description="Where the files go", subtype="DIR_PATH", default="//geometry")
    depth_path: StringProperty(
        name="Depth", description="NPZ or EXR of the node pack, or a depth image of 8 or 16 bits; becomes a mesh", subtype="FILE_PATH"
    )
    normals_path: StringProperty(
        name="Normals",
        description="Normal map (image, EXR or NPZ): the material of the mesh; without depth, of the active object or of a new plane",
        subtype="FILE_PATH",
    )
    axes: EnumProperty(
        name="Axes",
        description="Convention of the normal map; files that name theirs ignore it",
        items=[
            ("opengl", "OpenGL (Y up)", "Blender's own: green is up"),
            ("directx", "DirectX (Y down)", "Green is down and is flipped"),
            ("scannet", "ScanNet (X left)", "ControlNet's normalbae: red is left and is flipped"),
        ],
    )
    near_white: BoolProperty(name="Near Is White", description="In a depth image, bright means near", default=True)
    strength: FloatProperty(
        name="Relief",
        description="Height of the relief where the depth has no unit",
        default=0.5,
        soft_min=0,
        soft_max=5,
        subtype="DISTANCE",
    )
    max_side: IntProperty(name="Grid", description="Most vertices along a side of the mesh", default=MAX_GRID_SIDE, min=2, max=8192)
    at_camera: BoolProperty(name="At Camera", description="Put the mesh where the scene's camera is", default=False)


class DEPTH_NORMAL_OT_render(bpy.types.Operator):  # noqa: N801 (Blender wants this form)
    """Render depth, normals, mask and intrinsics of the current frame to EXR and NPZ."""

    bl_idname = "depth_normal.render"
    bl_label = "Render Depth & Normals"
    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Renders and writes the files."""
        directory = context.scene.depth_normal.directory
        if directory.startswith("//") and not bpy.data.filepath:
            self.report({"ERROR"}, "The folder is relative to the .blend file, which was never saved: save it, or choose another folder")
            return {"CANCELLED"}
        try:
            geometry = render_geometry(context.scene, context.view_layer.name)
            paths = write_geometry(geometry, bpy.path.abspath(directory), default_name())
        except (GeometryError, MapFileError) as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        self.report({"INFO"}, f"Wrote {', '.join(path.name for path in paths)} to {paths[0].parent}")
        return {"FINISHED"}


class DEPTH_NORMAL_OT_apply(bpy.types.Operator):  # noqa: N801
    """Turn the depth map into a mesh and the normal map into its material."""

    bl_idname = "depth_normal.apply"
    bl_label = "Apply Maps"
    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Reads the maps and adds their objects."""
        settings = context.scene.depth_normal
        depth_path, normals_path = (bpy.path.abspath(path) for path in (settings.depth_path, settings.normals_path))
        active = context.active_object
        try:
            added = apply_maps(
                depth_path,
                normals_path,
                axes=settings.axes,
                near_white=settings.near_white,
                strength=settings.strength,
                max_side=settings.max_side,
                at_camera=settings.at_camera,
                target=active if active is not None and active.type == "MESH" and active.select_get() else None,
            )
        except (GeometryError, MapFileError) as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        self.report({"INFO"}, f"Applied {', '.join(Path(path).name for path in (depth_path, normals_path) if path)} to '{added.name}'")
        return {"FINISHED"}


class DEPTH_NORMAL_PT_panel(bpy.types.Panel):  # noqa: N801
    """The tab in the 3D view's sidebar (N)."""

    bl_label = "Depth & Normals"
    bl_idname = "DEPTH_NORMAL_PT_panel"
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "Depth & Normals"

    def draw(self, context: bpy.types.Context) -> None:
        """Lays out the fields above their buttons."""
        settings = context.scene.depth_normal
        layout = self.layout
        layout.use_property_split = True
        layout.use_property_decorate = False
        layout.prop(settings, "directory")
        layout.operator(DEPTH_NORMAL_OT_render.bl_idname, icon="RENDER_STILL")
        layout.separator()
        for name in ("depth_path", "near_white", "strength", "max_side", "at_camera", "normals_path", "axes"):
            layout.prop(settings, name)
        layout.operator(DEPTH_NORMAL_OT_apply.bl_idname, icon="MESH_GRID")


_CLASSES = (DepthNormalSettings, DEPTH_NORMAL_OT_render, DEPTH_NORMAL_OT_apply, DEPTH_NORMAL_PT_panel)


def register() -> None:
    """Called by Blender when the add-on is switched on."""
    for each in _CLASSES:
        bpy.utils.register_class(each)
    bpy.types.Scene.depth_normal = PointerProperty(type=DepthNormalSettings)


def unregister() -> None:
    """Called by Blender when the add-on is switched off."""
    del bpy.types.Scene.depth_normal
    for each in reversed(_CLASSES):
        bpy.utils.unregister_class(each)
