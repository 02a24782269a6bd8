"""Point clouds and meshes from depth and intrinsics: PLY and GLB, written only."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from ..camera import camera_to_world_points, depth_to_points
from ..checks import check_extrinsics, check_intrinsics
from ..conventions import camera_to_world_normals, convert_normals
from ..estimate import Axes, Estimate, Quantity
from .foreign import FAR_AWAY
from .paths import one_picture, write_bytes

MAX_JUMP = 0.05
"""Share by which depth may differ between the corners of a triangle."""

PLY_AXES = {"y": ((1, 0), (1, 1), (1, 2)), "z": ((1, 0), (-1, 2), (1, 1))}
"""Sign and OPENGL axis of a PLY's x, y and z, by what points up: "y" in most viewers, "z" in Blender, where the camera looks along +Y."""

_GLB_LIMIT = 2**32 - 1
_FLOAT, _USHORT, _UINT = 5126, 5123, 5125
_DTYPES = {_FLOAT: "<f4", _USHORT: "<u2", _UINT: "<u4"}


@dataclass(frozen=True)
class Mesh:
    """A surface as numbers, in OPENGL axes: what glTF, Blender (after its import) and most viewers expect.

    Attributes:
        points: (N, 3) float32, the unit of the depth.
        triangles: (M, 3) uint32 indices, counter-clockwise seen from the camera.
        normals: (N, 3) float32 unit vectors, or None.
        colours: (N, 3) float32 in [0, 1], sRGB, or None.
    """

    points: np.ndarray
    triangles: np.ndarray
    normals: np.ndarray | None = None
    colours: np.ndarray | None = None


def depth_to_mesh(estimate: Estimate, picture: Tensor | None = None, max_jump: float = MAX_JUMP) -> Mesh:
    """The surface that a picture shows, or that all views of one scene show together, where the estimate has extrinsics.

    A point for each trusted pixel, two triangles for each 2x2 pixels of a picture without a jump in depth. Where views overlap, each
    gives its own points.

    Args:
        estimate: Metric or relative depth (large = far, positive) and intrinsics; one picture, or with extrinsics any number of them.
            Normals become the points' normals.
        picture: (B, 3, H, W) RGB in [0, 1], the points' colours.
        max_jump: A triangle is left out where its farthest corner is more than this share farther than its nearest.

    Returns:
        The mesh, in the axes of the camera, with extrinsics in those of the world. Pixels that are masked, not positive or FAR_AWAY give
        no point.

    Raises:
        ValueError: Several pictures without extrinsics, no such depth, no intrinsics, or no pixel with a value.
    """
    if estimate.extrinsics is None:
        one_picture(estimate, "a mesh")
    else:
        check_extrinsics(estimate.extrinsics)
    if estimate.depth is None or estimate.quantity is Quantity.DISPARITY or estimate.intrinsics is None:
        depth = estimate.quantity.value if estimate.quantity else "no depth"
        camera = "no intrinsics" if estimate.intrinsics is None else "intrinsics"
        raise ValueError(f"a mesh needs metric_depth or relative_depth and intrinsics; found {depth} and {camera}")
    check_intrinsics(estimate.intrinsics)
    expected = (estimate.batch, 3, estimate.height, estimate.width)
    if picture is not None and picture.shape != expected:
        raise ValueError(f"the picture has shape {tuple(picture.shape)}; expected {expected}, as the depth")
    views = (estimate.pictures(index, index + 1).to("cpu") for index in range(estimate.batch))
    pictures = [None] * estimate.batch if picture is None else picture.split(1)
    mesh = _joined([_surface(*seen, max_jump) for seen in zip(views, pictures, strict=True)])
    if not len(mesh.points):
        raise ValueError("no pixel has a depth to make a mesh of (all are masked, not positive or infinitely far)")
    return mesh


def _surface(view: Estimate, picture: Tensor | None, max_jump: float) -> Mesh:
    """What one picture shows; without points where no pixel counts."""
    depth, normals = view.depth, view.normals
    assert depth is not None and view.intrinsics is not None
    valid = ((depth > 0) & (depth < FAR_AWAY))[0, 0]
    if view.mask is not None:
        valid &= view.mask[0, 0]
    points = depth_to_points(depth, view.intrinsics)
    normals = None if normals is None else convert_normals(normals, view.axes, Axes.OPENCV)
    if view.extrinsics is not None:
        points = camera_to_world_points(points.where(valid, 0), view.extrinsics)  # a product with infinity is NaN
        normals = None if normals is None else camera_to_world_normals(normals, view.extrinsics[:, :, :3].mT)

    def chosen(values: Tensor) -> np.ndarray:
        return np.ascontiguousarray(values.detach().cpu().float()[0].movedim(0, -1)[valid].numpy())

    return Mesh(
        points=chosen(convert_normals(points, Axes.OPENCV, Axes.OPENGL)),
        triangles=_triangles(depth[0, 0].detach().numpy(), valid.numpy(), max_jump),
        normals=None if normals is None else chosen(convert_normals(normals, Axes.OPENCV, Axes.OPENGL)),
        colours=None if picture is None else chosen(picture.clamp(0, 1)),
    )


def _joined(meshes: Sequence[Mesh]) -> Mesh:
    """One mesh of several that all have normals, or none has; the same of colours."""
    firsts = np.cumsum([0, *(len(mesh.points) for mesh in meshes[:-1])])
    triangles = [mesh.triangles + np.uint32(first) for mesh, first in zip(meshes, firsts, strict=True)]

    def together(parts: Sequence[np.ndarray | None]) -> np.ndarray | None:
        known = [part for part in parts if part is not None]
        return np.concatenate(known) if known else None

    return Mesh(
        points=np.concatenate([mesh.points for mesh in meshes]),
        triangles=np.concatenate(triangles),
        normals=together([mesh.normals for mesh in meshes]),
        colours=together([mesh.colours for mesh in meshes]),
    )


def write_ply(path: str | os.PathLike[str], mesh: Mesh, up: str = "y") -> None:
    """Writes a point cloud, or with triangles a mesh, as binary little-endian PLY, atomically.

    Colours are 8-bit sRGB, as PLY viewers expect.

    Args:
        path: The file.
        mesh: The surface.
        up: What points up in the file, which cannot say it: a key of PLY_AXES.

    Raises:
        ValueError: Another `up`.
    """
    if up not in PLY_AXES:
        raise ValueError(f"up is {up!r}; accepted: {', '.join(PLY_AXES)}")
    fields: list[tuple[str, str, str, np.ndarray]] = []
    for names, values in (("xyz", mesh.points), (("nx", "ny", "nz"), mesh.normals)):
        if values is not None:
            fields += [(name, "<f4", "float", sign * values[:, i]) for name, (sign, i) in zip(names, PLY_AXES[up], strict=True)]
    if mesh.colours is not None:
        levels = np.round(mesh.colours * 255).astype(np.uint8)
        fields += [(name, "u1", "uchar", levels[:, i]) for i, name in enumerate(("red", "green", "blue"))]
    vertices = np.empty(len(mesh.points), [(name, kind) for name, kind, _, _ in fields])
    for name, _, _, values in fields:
        vertices[name] = values
    faces = np.empty(len(mesh.triangles), [("count", "u1"), ("corners", "<u4", 3)])
    faces["count"], faces["corners"] = 3, mesh.triangles
    lines = ["ply", "format binary_little_endian 1.0", f"element vertex {len(vertices)}"]
    lines += [f"property {word} {name}" for name, _, word, _ in fields]
    if len(faces):
        lines += [f"element face {len(faces)}", "property list uchar uint vertex_indices"]
    write_bytes(path, "\n".join([*lines, "end_header", ""]).encode(), vertices.tobytes(), faces.tobytes())


def write_glb(path: str | os.PathLike[str], mesh: Mesh) -> None:
    """Writes a mesh (without triangles: a point cloud) as binary glTF 2.0, atomically.

    Colours are kept linear in 16 bits, as glTF wants, and shown unlit.

    Raises:
        ValueError: Beyond the format's 4 GiB.

    Source:
        https://registry.khronos.org/glTF/specs/2.0/glTF-2.0.html
    """
    views: list[tuple[np.ndarray, dict[str, Any]]] = []
    attributes = {}

    def add(values: np.ndarray, component: int, kind: str, **extra: Any) -> int:
        views.append((values.astype(_DTYPES[component]), {"componentType": component, "type": kind, "count": len(values)} | extra))
        return len(views) - 1

    extent = {"min": mesh.points.min(0).tolist(), "max": mesh.points.max(0).tolist()}
    attributes["POSITION"] = add(mesh.points, _FLOAT, "VEC3", **extent)
    if mesh.normals is not None:
        attributes["NORMAL"] = add(mesh.normals, _FLOAT, "VEC3")
    if mesh.colours is not None:
        opaque = np.concatenate([_srgb_to_linear(mesh.colours), np.ones((len(mesh.points), 1), np.float32)], 1)
        attributes["COLOR_0"] = add(np.round(opaque * 65535), _USHORT, "VEC4", normalized=True)
    primitive: dict[str, Any] = {"attributes": attributes, "material": 0, "mode": 0}
    if len(mesh.triangles):
        primitive |= {"mode": 4, "indices": add(mesh.triangles.reshape(-1), _UINT, "SCALAR")}
    _write_glb(path, primitive, views, unlit=mesh.colours is not None)


def _write_glb(
    path: str | os.PathLike[str], primitive: dict[str, Any], views: list[tuple[np.ndarray, dict[str, Any]]], unlit: bool
) -> None:
    """The container: a JSON chunk and a binary chunk. Every array's length is a multiple of 4 bytes."""
    blocks = [values.tobytes() for values, _ in views]
    offsets = [sum(len(block) for block in blocks[:i]) for i in range(len(blocks))]
    material: dict[str, Any] = {"doubleSided": True, "pbrMetallicRoughness": {"metallicFactor": 0.0, "roughnessFactor": 1.0}}
    document: dict[str, Any] = {
        "asset": {"version": "2.0", "generator": "ComfyUI-Depth-Normal"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [primitive]}],
        "materials": [material],
        "buffers": [{"byteLength": sum(map(len, blocks))}],
        "bufferViews": [{"buffer": 0, "byteOffset": at, "byteLength": len(block)} for at, block in zip(offsets, blocks, strict=True)],
        "accessors": [{"bufferView": i} | accessor for i, (_, accessor) in enumerate(views)],
    }
    if unlit:
        material["extensions"] = {"KHR_materials_unlit": {}}
        document["extensionsUsed"] = ["KHR_materials_unlit"]
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    length = document["buffers"][0]["byteLength"]
    total = 12 + 8 + len(text) + 8 + length
    if total > _GLB_LIMIT:
        raise ValueError(f"{path}: {total / 2**30:.1f} GiB, a GLB holds 4; scale the depth down or write PLY")
    write_bytes(
        path,
        struct.pack("<4sII", b"glTF", 2, total),
        struct.pack("<I4s", len(text), b"JSON"),
        text,
        struct.pack("<I4s", length, b"BIN\0"),
        *blocks,
    )


def _triangles(depth: np.ndarray, valid: np.ndarray, max_jump: float) -> np.ndarray:
    """Triangles of the pixel grid (M, 3), indices among the valid pixels, counter-clockwise seen from the camera."""
    indices = np.cumsum(valid, dtype=np.int64).reshape(valid.shape) - 1
    corners = [
        (slice(None, -1), slice(None, -1)),
        (slice(None, -1), slice(1, None)),
        (slice(1, None), slice(None, -1)),
        (slice(1, None), slice(1, None)),
    ]
    top_left, top_right, bottom_left, bottom_right = corners
    parts = []
    for triangle in ((top_left, bottom_left, top_right), (top_right, bottom_left, bottom_right)):
        usable = np.logical_and.reduce([valid[corner] for corner in triangle])
        distances = np.stack([np.where(valid[corner], depth[corner], 1.0) for corner in triangle])
        usable &= distances.max(0) <= distances.min(0) * (1 + max_jump)
        parts.append(np.stack([indices[corner][usable] for corner in triangle], -1))
    return np.concatenate(parts).astype(np.uint32)


def _srgb_to_linear(colours: np.ndarray) -> np.ndarray:
    """IEC 61966-2-1."""
    return np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4).astype(np.float32)
