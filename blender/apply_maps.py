"""Turns depth and normal maps (NPZ, EXR, images) into Blender objects: a displaced grid and a normal-mapped material.

Blender:          blender -b scene.blend -P apply_maps.py -- --depth depth.npz --normals normals.png --out result.blend
bpy as a module:  python apply_maps.py scene.blend --depth depth.npz --normals normals.png --out result.blend
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType

import bpy
import numpy as np
from mathutils import Matrix

if not __package__:
    # As a script, the file has no package, and Blender does not search beside it for modules.
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    __package__ = "depth_normal_beside"
    sys.modules[__package__] = ModuleType(__package__)
    sys.modules.update({f"{__package__}.{name}": import_module(name) for name in ("geometry_files", "render_geometry")})

from .geometry_files import (
    AXES_ATTRIBUTE,
    INTRINSICS_ATTRIBUTE,
    PROJECTION_ATTRIBUTE,
    QUANTITY_ATTRIBUTE,
    MapFileError,
    read_exr,
    read_npz,
    read_png_notes,
)
from .render_geometry import (
    LARGEST_OF_16_BITS,
    NOTHING_HIT,
    GeometryError,
    metres_per_unit,
    open_blend,
    script_arguments,
    unscaled_matrix,
    writable_folder,
)

ZERO_AT_CAMERA = ("metric_depth", "scale_invariant_depth")
QUANTITIES = (*ZERO_AT_CAMERA, "relative_depth", "disparity")
_OF_WORLD = (
    "holds vectors, as Blender's Normal pass does, which is in world axes, and the camera's are needed: "
    "use Render Depth & Normals, or state the axes in the file ('axes', such as 'opengl') if they are its"
)
# Vectors of unit length up to rounding, in most pixels that have one.
_EXACT, _MOST = 0.02, 0.8


@dataclass(frozen=True)
class DepthMap:
    """A depth map read from a file.

    Attributes:
        values: (H, W) float32, as `quantity` says, top line first.
        quantity: "metric_depth" (metres along the optical axis), "scale_invariant_depth" (the same in an unknown
            unit), "relative_depth" (large = far) or "disparity" (large = near).
        mask: (H, W) bool, False where there is no surface.
        intrinsics: (3, 3) in pixels, centre of the first pixel = (0, 0); None = unknown camera.
    """

    values: np.ndarray
    quantity: str
    mask: np.ndarray
    intrinsics: np.ndarray | None = None


def read_depth(path: str | os.PathLike[str], near_white: bool = True) -> DepthMap:
    """Reads depth from an NPZ (key `depth` or `dmap`), an EXR (channel `Z`, else `Y` or `R` as of an image) or an 8- or 16-bit image.

    Args:
        near_white: Whether white means near in an image; ignored if the file states its quantity.

    Raises:
        MapFileError: The file cannot be read, is of a panorama, holds no depth or one of unknown quantity, or has no valid pixel.
    """
    path = _existing(path)
    image_quantity = "disparity" if near_white else "relative_depth"
    if path.suffix.lower() == ".npz":
        depth = _depth_from_npz(path)
    elif path.suffix.lower() == ".exr":
        depth = _depth_from_exr(path, image_quantity)
    else:
        depth = _depth_from_image(path, image_quantity)
    return _checked(path, depth)


def load_normal_image(path: str | os.PathLike[str]) -> tuple[bpy.types.Image, str | None]:
    """Loads normals as a Non-Color image: n * 0.5 + 0.5 in red, green and blue, packed into the .blend.

    Args:
        path: An image (PNG, ...), an EXR with `N.X`, `N.Y`, `N.Z`, or an NPZ with `normals` or `nmap`.

    Returns:
        The image, and the axes stated in the file, or None.

    Raises:
        MapFileError: The file cannot be read, is of a panorama, or holds no normals.
    """
    path = _existing(path)
    if path.suffix.lower() not in (".npz", ".exr"):
        return _load_image(path), read_png_notes(path).get("axes")
    normals, axes = _normals_from_npz(path) if path.suffix.lower() == ".npz" else _normals_from_exr(path)
    if normals.ndim != 3 or normals.shape[-1] != 3 or min(normals.shape) < 1:
        raise MapFileError(f"{path}: the normals have shape {normals.shape}; expected (H, W, 3)")
    height, width = normals.shape[:2]
    image = bpy.data.images.new(path.stem, width, height, float_buffer=True, is_data=True)
    pixels = np.ones((height, width, 4), np.float32)
    # Zero vectors (sky) become "straight at the viewer": shaders cannot use zero normals.
    pixels[..., :3] = np.where(np.abs(normals).sum(-1, keepdims=True) > 0, np.nan_to_num(normals), (0, 0, 1)) * 0.5 + 0.5
    image.pixels.foreach_set(pixels[::-1].ravel())
    image.pack()
    return image, axes


def _existing(path: str | os.PathLike[str]) -> Path:
    path = Path(path)
    if not path.is_file():
        raise MapFileError(f"no such file: {path}")
    return path


def _checked(path: Path, depth: DepthMap) -> DepthMap:
    """The map with all invalid values masked; raises as `read_depth`."""
    values, mask, intrinsics = depth.values, depth.mask, depth.intrinsics
    if depth.quantity not in QUANTITIES:
        raise MapFileError(f"{path}: quantity {depth.quantity!r} is unknown; it must be one of {', '.join(QUANTITIES)}")
    if values.ndim != 2 or min(values.shape) < 2:
        raise MapFileError(f"{path}: the depth has shape {values.shape}; one map of at least 2x2 pixels is needed")
    if mask.shape != values.shape or mask.dtype.kind != "b":
        raise MapFileError(
            f"{path}: the mask has shape {mask.shape} and dtype {mask.dtype}; expected bool of the depth's shape {values.shape}"
        )
    if intrinsics is not None and not _are_intrinsics(intrinsics):
        raise MapFileError(f"{path}: the intrinsics are not a 3x3 matrix with positive focal lengths: {intrinsics.tolist()}")
    valid = np.isfinite(values) & mask
    if depth.quantity in ZERO_AT_CAMERA:
        valid &= (values > 0) & (values < NOTHING_HIT) & ~np.isin(values, LARGEST_OF_16_BITS)
    if not valid.any():
        raise MapFileError(f"{path}: no pixel has a valid depth")
    return DepthMap(values.astype(np.float32), depth.quantity, valid, intrinsics)


def _are_intrinsics(values: np.ndarray) -> bool:
    plain = values.shape == (3, 3) and values.dtype.kind in "fiu"
    return plain and bool(np.isfinite(values).all()) and min(np.diag(values)) > 0


def _check_projection(path: Path, projection: str) -> None:
    if projection not in ("", "perspective"):
        raise MapFileError(f"{path} is of a panorama ({projection}), and the camera takes perspective maps; save a mesh (glb) instead")


def _depth_from_npz(path: Path) -> DepthMap:
    arrays = read_npz(path)
    _check_projection(path, str(arrays.get("projection", "")))
    key = next((key for key in ("depth", "dmap") if key in arrays), None)
    if key is None:
        raise MapFileError(f"{path} has neither 'depth' nor 'dmap'; it has {', '.join(arrays) or 'nothing'}")
    values = _plane(arrays[key])
    if values.dtype.kind not in "fiu":
        raise MapFileError(f"{path}: '{key}' has dtype {values.dtype}; numbers are expected")
    mask = arrays["mask"] if "mask" in arrays else np.ones(values.shape, bool)
    if "quantity" in arrays:
        quantity = str(arrays["quantity"])
    elif key == "dmap" and values.dtype.kind == "f":
        fits = mask.shape == values.shape and mask.dtype.kind == "b"
        seen = values[np.isfinite(values) & (mask if fits else True)]
        if not seen.any():
            problem = "'dmap' holds no depth: all values are 0, NaN or infinite"
            raise MapFileError(f"{path}: {problem}; render it again")
        # The tutorial scales its dmap to [0, 1]; a raw one is in metres.
        quantity = "relative_depth" if seen.min() >= 0 and seen.max() <= 1 else "metric_depth"
    else:
        found = "'depth'" if key == "depth" else "a 'dmap' of whole numbers"
        raise MapFileError(f"{path}: {found} without 'quantity'; add one of {', '.join(QUANTITIES)}")
    return DepthMap(values, quantity, mask, arrays.get("intrinsics"))


def _plane(values: np.ndarray) -> np.ndarray:
    """(H, W); of a grey image (H, W, 1, 3 or 4), such as the viewer's pixels, the first channel."""
    if values.ndim != 3 or values.shape[-1] not in (1, 3, 4):
        return values
    is_grey = values.shape[-1] == 1 or np.array_equal(values[..., :2], values[..., 1:3], equal_nan=True)
    return values[..., 0] if is_grey else values


def _depth_from_exr(path: Path, image_quantity: str) -> DepthMap:
    channels, attributes = read_exr(path)
    _check_projection(path, attributes.get(PROJECTION_ATTRIBUTE, b"").decode("utf-8", "replace"))
    images = () if "N.X" in channels else ("Y", "R")
    key = next((key for key in ("Z", *images) if key in channels), None)
    if key is None:
        raise MapFileError(f"{path} has no depth: channels {', '.join(channels)}; 'Z' (metres) or a grey image ('Y', 'R') is expected")
    quantity = attributes.get(QUANTITY_ATTRIBUTE, b"metric_depth" if key == "Z" else image_quantity.encode())
    mask = channels["mask"] > 0.5 if "mask" in channels else np.ones(channels[key].shape, bool)
    raw = attributes.get(INTRINSICS_ATTRIBUTE)
    intrinsics = None if raw is None or len(raw) != 36 else np.frombuffer(raw, "<f4").reshape(3, 3)
    return DepthMap(channels[key], quantity.decode("utf-8", "replace"), mask, intrinsics)


def _depth_from_image(path: Path, image_quantity: str) -> DepthMap:
    """An image's first channel; for a PNG with the node pack's metadata, the original values."""
    values = _image_values(path)
    notes = read_png_notes(path)
    if "quantity" not in notes:
        return DepthMap(values, image_quantity, np.ones(values.shape, bool))
    try:
        white, black = float(notes["white"]), float(notes["black"])
        numbers = [float(word) for word in notes.get("intrinsics", "").split()]
        intrinsics = np.array(numbers).reshape(3, 3) if numbers else None
    except (KeyError, ValueError) as error:
        raise MapFileError(f"{path}: the notes on its range are damaged: {error}; save the depth again") from error
    # Such a file has 16 bits; if it has holes, level 0 marks them and level 1 is the darkest value.
    levels = np.rint(values.astype(np.float64) * 65535)
    first = 1 if "invalid" in notes else 0
    return DepthMap(black + (white - black) * (levels - first) / (65535 - first), notes["quantity"], levels >= first, intrinsics)


def _normals_from_npz(path: Path) -> tuple[np.ndarray, str | None]:
    arrays = read_npz(path)
    _check_projection(path, str(arrays.get("projection", "")))
    axes = str(arrays["axes"]) if "axes" in arrays else None
    key = next((key for key in ("normals", "nmap") if key in arrays), None)
    if key is not None and arrays[key].dtype.kind not in "fiu":
        raise MapFileError(f"{path}: '{key}' has dtype {arrays[key].dtype}; numbers are expected")
    if key is None:
        raise MapFileError(f"{path} has neither 'normals' nor 'nmap'; it has {', '.join(arrays) or 'nothing'}")
    values = arrays[key]
    if values.dtype.kind in "iu":
        values = values / np.float32(np.iinfo(values.dtype).max)
    if axes is None and not _are_vectors(values):
        # Without axes, the tutorial's own nmap is a BGR image with X to the left.
        return (values[..., ::-1] * 2 - 1, "scannet") if key == "nmap" else (values * 2 - 1, None)
    if axes is None and key == "nmap":
        raise MapFileError(f"{path}: 'nmap' {_OF_WORLD}")
    return values, axes


def _are_vectors(values: np.ndarray) -> bool:
    """Whether normals (H, W, 3) are stored as vectors, not as colours in [0, 1]."""
    lengths = np.linalg.norm(values, axis=-1)
    lengths = lengths[lengths > 0]
    return bool((values < 0).any() or (np.abs(lengths - 1) < _EXACT).mean() > _MOST)


def _normals_from_exr(path: Path) -> tuple[np.ndarray, str | None]:
    channels, attributes = read_exr(path)
    _check_projection(path, attributes.get(PROJECTION_ATTRIBUTE, b"").decode("utf-8", "replace"))
    if missing := {"N.X", "N.Y", "N.Z"} - channels.keys():
        raise MapFileError(f"{path} lacks the channels {', '.join(sorted(missing))}; it has {', '.join(channels)}")
    axes = attributes[AXES_ATTRIBUTE].decode("utf-8", "replace") if AXES_ATTRIBUTE in attributes else None
    if axes is None and "BlenderMultiChannel" in attributes:
        raise MapFileError(f"{path}: N {_OF_WORLD}")
    return np.stack([channels[f"N.{axis}"] for axis in "XYZ"], axis=-1), axes


def _load_image(path: Path) -> bpy.types.Image:
    """The image without colour management or alpha premultiplication, packed."""
    try:
        image = bpy.data.images.load(str(path.resolve()), check_existing=False)
    except RuntimeError as error:
        raise MapFileError(f"cannot read {path} as an image: {error}") from error
    image.colorspace_settings.name = "Non-Color"
    image.alpha_mode = "CHANNEL_PACKED"
    if not all(image.size) or not image.channels:
        bpy.data.images.remove(image)
        raise MapFileError(f"{path} is damaged or not an image that Blender reads; use PNG, EXR or NPZ")
    image.pack()
    return image


def _image_values(path: Path) -> np.ndarray:
    """(H, W): the first channel in [0, 1], top line first."""
    image = _load_image(path)
    try:
        width, height = image.size
        pixels = np.empty(width * height * image.channels, np.float32)
        image.pixels.foreach_get(pixels)
        return pixels.reshape(height, width, image.channels)[::-1, :, 0].copy()
    finally:
        bpy.data.images.remove(image)


FLIPPED_CHANNELS = {"opengl": (), "directx": ("Green",), "opencv": ("Green", "Blue"), "scannet": ("Red",)}
"""Colour channels of a normal map that are opposite to Blender's axes, by convention."""

PLANE_SIZE = 2.0
"""Longer side, in Blender units, of a plane of unknown size; as Blender's default plane."""

MAX_GRID_SIDE = 1024
"""Default maximum number of vertices along a side of a mesh."""


def points_from_depth(depth: DepthMap, step: int = 1) -> np.ndarray:
    """Back-projects every `step`-th pixel of metric depth.

    Returns:
        (h, w, 3) points in metres; arbitrary where the mask is False.

    Convention:
        The camera's OpenGL axes: +X right, +Y up, -Z into the image, origin at the camera.

    Raises:
        ValueError: The depth has an unknown zero or lacks intrinsics.
    """
    if depth.quantity not in ZERO_AT_CAMERA or depth.intrinsics is None:
        accepted = " or ".join(ZERO_AT_CAMERA)
        raise ValueError(f"only {accepted} with intrinsics has points; found {depth.quantity}, intrinsics {depth.intrinsics is not None}")
    (fx, _, cx), (_, fy, cy), _ = depth.intrinsics.astype(np.float64)
    rows, columns = _grid(depth.values.shape, step)
    z = depth.values[rows, columns].astype(np.float64)
    return np.stack(((columns - cx) / fx * z, (cy - rows) / fy * z, -z), axis=-1)


def relief_from_depth(depth: DepthMap, strength: float, step: int = 1) -> np.ndarray:
    """A plane of the image's aspect, its longer side PLANE_SIZE, displaced towards the viewer.

    The farthest point is at 0, the nearest at `strength` Blender units.

    Returns:
        (h, w, 3) points in Blender units, +X right, +Y up, +Z towards the viewer; arbitrary where the mask is False.
    """
    height, width = depth.values.shape
    rows, columns = _grid(depth.values.shape, step)
    valid = depth.values[depth.mask].astype(np.float64)
    far, near = (valid.min(), valid.max()) if depth.quantity == "disparity" else (valid.max(), valid.min())
    span = near - far if near != far else 1.0
    pitch = PLANE_SIZE / max(height, width)
    z = (depth.values[rows, columns] - far) / span * strength
    return np.stack(((columns - (width - 1) / 2) * pitch, ((height - 1) / 2 - rows) * pitch, z), axis=-1)


def add_depth_mesh(
    depth: DepthMap, name: str, strength: float = 0.5, max_side: int = MAX_GRID_SIDE, at_camera: bool = False
) -> bpy.types.Object:
    """Adds a depth map to the scene as a grid with a vertex per pixel, or per n-th pixel to stay within `max_side`.

    Depth from the camera with intrinsics becomes its true surface, seen from the object's origin along -Z: metric
    depth in scene units, scale-invariant depth with its own unit as a metre. Anything else becomes a displaced plane
    (`relief_from_depth`). Scale the object along Z to change the relief. UVs span the image.

    Args:
        name: Of the object.
        strength: Height of the relief in Blender units; ignored for true surfaces.
        max_side: Maximum number of vertices along the longer side.
        at_camera: Place the object at the scene's camera, so that a true surface fills its view; else upright at the world's origin.

    Raises:
        GeometryError: `at_camera` without a camera in the scene, or with a sheared one.
    """
    step = max(1, math.ceil(max(depth.values.shape) / max_side))
    if depth.quantity in ZERO_AT_CAMERA and depth.intrinsics is not None:
        points = points_from_depth(depth, step) / metres_per_unit(bpy.context.scene)
    else:
        points = relief_from_depth(depth, strength, step)
    mesh = _grid_mesh(name, points, depth.mask[::step, ::step], _uvs(depth.values.shape, step))
    return _add_object(name, mesh, at_camera)


def add_plane(name: str, height: int, width: int) -> bpy.types.Object:
    """Adds an upright flat plane with an image's aspect, its longer side PLANE_SIZE, with UVs from corner to corner."""
    x, y = (PLANE_SIZE / 2 * side / max(height, width) for side in (width, height))
    points = np.array([[[-x, y, 0], [x, y, 0]], [[-x, -y, 0], [x, -y, 0]]])
    uvs = np.array([[[0, 1], [1, 1]], [[0, 0], [1, 0]]], np.float64)
    return _add_object(name, _grid_mesh(name, points, np.ones((2, 2), bool), uvs))


def normal_material(image: bpy.types.Image, axes: str = "opengl", space: str = "TANGENT") -> bpy.types.Material:
    """A material with the shading normals of a normal map.

    Args:
        image: n * 0.5 + 0.5, Non-Color.
        axes: The map's convention: a key of FLIPPED_CHANNELS.
        space: "TANGENT" for any surface with UVs; "OBJECT" for meshes of this module, whose axes are the map's camera axes: shading
            normals then equal the map's, independent of the mesh's relief.

    Raises:
        GeometryError: Unknown axes.
    """
    if axes not in FLIPPED_CHANNELS:
        raise GeometryError(f"normal maps with axes {axes!r} are not supported; accepted are {', '.join(FLIPPED_CHANNELS)}")
    material = bpy.data.materials.new(image.name)
    if bpy.app.version < (5, 0, 0):
        material.use_nodes = True
    nodes, links = material.node_tree.nodes, material.node_tree.links
    nodes.clear()
    texture = nodes.new("ShaderNodeTexImage")
    texture.image = image
    normal_map = nodes.new("ShaderNodeNormalMap")
    normal_map.space = space
    shader = nodes.new("ShaderNodeBsdfPrincipled")
    output = nodes.new("ShaderNodeOutputMaterial")
    links.new(_flipped(nodes, links, texture.outputs["Color"], FLIPPED_CHANNELS[axes]), normal_map.inputs["Color"])
    links.new(normal_map.outputs["Normal"], shader.inputs["Normal"])
    links.new(shader.outputs["BSDF"], output.inputs["Surface"])
    for place, node in enumerate((texture, normal_map, shader, output)):
        node.location = (300 * place, 0)
    return material


def apply_maps(
    depth_path: str | os.PathLike[str] | None = None,
    normals_path: str | os.PathLike[str] | None = None,
    *,
    axes: str = "opengl",
    near_white: bool = True,
    strength: float = 0.5,
    max_side: int = MAX_GRID_SIDE,
    at_camera: bool = False,
    target: bpy.types.Object | None = None,
) -> bpy.types.Object:
    """Adds a depth map, a normal map or both to the scene.

    Args:
        depth_path: Becomes a mesh (`read_depth`, `add_depth_mesh`).
        normals_path: Becomes a material (`load_normal_image`) of that mesh; without depth, of `target` or of a new flat plane.
        axes: Convention of the normal map, unless the file states it.
        near_white: Whether white means near in a depth image.
        strength: Height of the relief for depth without a unit.
        max_side: Maximum number of vertices along a side.
        at_camera: Place the mesh at the scene's camera.
        target: A mesh object with UVs that gets the material, if there is no depth.

    Returns:
        The new object, or `target`.

    Raises:
        GeometryError: Neither path is given, unknown axes, no camera to place the mesh at or a sheared one, a grid below 2, or a target
            without UVs.
        MapFileError: A file cannot be read.
    """
    if not depth_path and not normals_path:
        raise GeometryError("there is nothing to apply; choose a depth map, a normal map or both")
    if max_side < 2:
        raise GeometryError(f"a grid of {max_side} vertices a side was asked for; at least 2 are needed")
    if not depth_path and target is not None and (target.type != "MESH" or not target.data.uv_layers):
        raise GeometryError(f"the object '{target.name}' is no mesh with UVs, which a normal map needs; unwrap it first")
    if depth_path and at_camera:
        _camera_place()
    # Read everything before changing the scene, so that errors leave it as it was.
    depth = read_depth(depth_path, near_white) if depth_path else None
    image, own_axes = load_normal_image(normals_path) if normals_path else (None, None)
    space = "TANGENT" if depth is None and target is not None else "OBJECT"
    material = normal_material(image, own_axes or axes, space) if image is not None else None
    if depth is not None:
        target = add_depth_mesh(depth, Path(depth_path).stem, strength, max_side, at_camera)
    elif target is None:
        target = add_plane(image.name, image.size[1], image.size[0])
    if material is not None:
        target.active_material = material
    return target


def _grid(shape: Sequence[int], step: int) -> tuple[np.ndarray, np.ndarray]:
    return tuple(np.mgrid[0 : shape[0] : step, 0 : shape[1] : step])


def _uvs(shape: Sequence[int], step: int) -> np.ndarray:
    """(h, w, 2) texture coordinates of the pixels' centres; v grows upwards."""
    rows, columns = _grid(shape, step)
    return np.stack(((columns + 0.5) / shape[1], 1 - (rows + 0.5) / shape[0]), axis=-1)


def _grid_mesh(name: str, points: np.ndarray, mask: np.ndarray, uvs: np.ndarray) -> bpy.types.Mesh:
    """A mesh of (h, w) points: quads whose four corners are valid, their front towards +Z; without invalid vertices."""
    index = np.cumsum(mask.ravel()).reshape(mask.shape) - 1
    whole = mask[1:, :-1] & mask[1:, 1:] & mask[:-1, 1:] & mask[:-1, :-1]
    corners = np.stack((index[1:, :-1], index[1:, 1:], index[:-1, 1:], index[:-1, :-1]), axis=-1)[whole]
    mesh = bpy.data.meshes.new(name)
    mesh.vertices.add(int(mask.sum()))
    mesh.vertices.foreach_set("co", points[mask].astype(np.float32).ravel())
    mesh.loops.add(corners.size)
    mesh.loops.foreach_set("vertex_index", corners.astype(np.int32).ravel())
    mesh.polygons.add(len(corners))
    mesh.polygons.foreach_set("loop_start", np.arange(0, corners.size, 4, dtype=np.int32))
    mesh.polygons.foreach_set("use_smooth", np.ones(len(corners), bool))
    layer = mesh.uv_layers.new(name="UVMap")
    layer.data.foreach_set("uv", uvs[mask][corners.ravel()].astype(np.float32).ravel())
    mesh.update(calc_edges=True)
    return mesh


def _camera_place() -> Matrix:
    """World matrix of an object in camera axes at the scene's camera."""
    camera = bpy.context.scene.camera
    if camera is None:
        raise GeometryError("the scene has no camera to place the mesh at; add one, or place the mesh at the origin")
    bpy.context.view_layer.update()
    return unscaled_matrix(camera, camera.matrix_world)


def _add_object(name: str, mesh: bpy.types.Mesh, at_camera: bool = False) -> bpy.types.Object:
    """Adds an object in camera axes: at the scene's camera, or upright at the origin, seen along the world's +Y."""
    added = bpy.data.objects.new(name, mesh)
    if at_camera:
        added.matrix_world = _camera_place()
    else:
        added.rotation_euler = (math.pi / 2, 0, 0)
    bpy.context.scene.collection.objects.link(added)
    return added


def _flipped(
    nodes: bpy.types.Nodes, links: bpy.types.NodeLinks, color: bpy.types.NodeSocket, channels: Sequence[str]
) -> bpy.types.NodeSocket:
    if not channels:
        return color
    parts, whole = nodes.new("ShaderNodeSeparateColor"), nodes.new("ShaderNodeCombineColor")
    links.new(color, parts.inputs["Color"])
    for channel in ("Red", "Green", "Blue"):
        value = parts.outputs[channel]
        if channel in channels:
            invert = nodes.new("ShaderNodeMath")
            invert.operation = "SUBTRACT"
            invert.inputs[0].default_value = 1.0
            links.new(value, invert.inputs[1])
            value = invert.outputs["Value"]
        links.new(value, whole.inputs[channel])
    return whole.outputs["Color"]


def save_blend(path: str | os.PathLike[str]) -> None:
    """Saves a copy of the open file, atomically.

    Raises:
        MapFileError: The folder is not writable, or Blender cannot save there.
    """
    path = Path(path).resolve()
    writable_folder(path.parent)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.blend")
    try:
        bpy.ops.wm.save_as_mainfile(filepath=str(temporary), copy=True, check_existing=False)
        temporary.replace(path)
    except (RuntimeError, OSError) as error:
        raise MapFileError(f"cannot write {path}: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def main(arguments: Sequence[str]) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="apply_maps.py", description="Bring a depth map, a normal map or both into a scene.")
    parser.add_argument("scene", nargs="?", help=".blend file; without it, the scene that is open")
    parser.add_argument("--depth", help="NPZ, EXR, or an image of 8 or 16 bits: becomes a mesh")
    parser.add_argument("--normals", help="image, EXR or NPZ: becomes a material")
    parser.add_argument("--axes", choices=sorted(FLIPPED_CHANNELS), default="opengl", help="convention of the normal map")
    parser.add_argument("--far-white", action="store_true", help="in the depth image far is white")
    parser.add_argument("--strength", type=float, default=0.5, help="height of the relief in Blender units, where the depth has no unit")
    parser.add_argument("--max-side", type=int, default=MAX_GRID_SIDE, help="most vertices along a side")
    parser.add_argument("--at-camera", action="store_true", help="put the mesh where the scene's camera is")
    parser.add_argument("--out", required=True, help=".blend file to write")
    options = parser.parse_args(arguments)
    try:
        if options.scene:
            open_blend(options.scene)
        apply_maps(
            options.depth,
            options.normals,
            axes=options.axes,
            near_white=not options.far_white,
            strength=options.strength,
            max_side=options.max_side,
            at_camera=options.at_camera,
        )
        save_blend(options.out)
        print(options.out)
    except (GeometryError, MapFileError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main(script_arguments())
