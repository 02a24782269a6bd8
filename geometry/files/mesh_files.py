"""Writes meshes as PLY, GLB and STL, and Gaussian splats as PLY."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ...options.map_images import WHITE
from ...options.mesh import MAX_TEXTURE_SIDE, ReliefOptions
from ...options.outputs import SURFACES, Y_UP, Z_UP
from ...utils import on_white
from ..estimate import Estimate
from ..meshes.mesh import Mesh, MeshOptions, depth_to_meshes, describe_source, grid_step, joined_meshes
from ..meshes.relief import depth_to_relief
from ..meshes.splats import SH_0, Splats, depth_to_splats
from ..views.transparency import opaque_part
from .paths import write_bytes

PLY_AXES = {Y_UP: ((1, 0), (1, 1), (1, 2)), Z_UP: ((1, 0), (-1, 2), (1, 1))}
"""Sign and OPENGL axis of a PLY's x, y and z by up axis: "y" in most viewers, "z" in Blender, where the camera looks along +Y."""

GLB_LIMIT = 2**32 - 1
"""Bytes of the largest GLB."""

_FLOAT, _USHORT, _UINT = 5126, 5123, 5125
_DTYPES = {_FLOAT: "<f4", _USHORT: "<u2", _UINT: "<u4"}
_VERTICES, _INDICES = 34962, 34963
_CLAMPED, _REPEATED, _LINEAR, _SMOOTH = 33071, 10497, 9729, 9987
_JPEG_QUALITY = 92
_STL_HEADER = b"ComfyUI-Depth-Normal, millimetres".ljust(80)
_STL_TRIANGLES = 2**18


def write_ply(path: str | os.PathLike[str], mesh: Mesh, up: str = Y_UP) -> None:
    """Writes a point cloud, or with triangles a mesh, as binary little-endian PLY, atomically. Colours are 8-bit sRGB.

    `up` is a key of PLY_AXES, else ValueError; PLY does not record it.
    """
    if up not in PLY_AXES:
        raise ValueError(f"up is {up!r}; accepted: {', '.join(PLY_AXES)}")
    columns: dict[str, np.ndarray] = {}
    for names, values in (("xyz", mesh.points), (("nx", "ny", "nz"), mesh.normals)):
        if values is not None:
            columns |= {name: sign * values[:, i] for name, (sign, i) in zip(names, PLY_AXES[up], strict=True)}
    if mesh.colours is not None:
        columns |= _columns("red green blue", np.round(mesh.colours * 255).astype(np.uint8))
    _write_ply(path, columns, mesh.triangles)


def write_splats(path: str | os.PathLike[str], splats: Splats) -> None:
    """Writes Gaussian splats as binary little-endian PLY, as 3D Gaussian splatting programs read it, atomically.

    Colours are only the constant term of spherical harmonics: independent of the view.

    Source:
        B. Kerbl et al., "3D Gaussian Splatting for Real-Time Radiance Field Rendering" (2023): logit of opacity, logarithms of scales.
    """
    columns = {
        **_columns("x y z", splats.points),
        **_columns("nx ny nz", np.zeros_like(splats.points)),
        **_columns("f_dc_0 f_dc_1 f_dc_2", (splats.colours - 0.5) / SH_0),
        "opacity": np.log(splats.opacities / (1 - splats.opacities)),
        **_columns("scale_0 scale_1 scale_2", np.log(splats.scales)),
        **_columns("rot_0 rot_1 rot_2 rot_3", splats.rotations),
    }
    _write_ply(path, columns, np.empty((0, 3), np.uint32))


def _columns(names: str, values: np.ndarray) -> dict[str, np.ndarray]:
    return dict(zip(names.split(), values.T, strict=True))


def _write_ply(path: str | os.PathLike[str], columns: dict[str, np.ndarray], triangles: np.ndarray) -> None:
    """Writes vertices by the columns (N,) of their properties, uint8 or as float32, and triangles (M, 3)."""
    kinds = {name: ("u1", "uchar") if values.dtype == np.uint8 else ("<f4", "float") for name, values in columns.items()}
    vertices = np.empty(len(columns["x"]), [(name, kind) for name, (kind, _) in kinds.items()])
    for name, values in columns.items():
        vertices[name] = values
    faces = np.empty(len(triangles), [("count", "u1"), ("corners", "<u4", 3)])
    faces["count"], faces["corners"] = 3, triangles
    lines = ["ply", "format binary_little_endian 1.0", f"element vertex {len(vertices)}"]
    lines += [f"property {word} {name}" for name, (_, word) in kinds.items()]
    if len(faces):
        lines += [f"element face {len(faces)}", "property list uchar uint vertex_indices"]
    write_bytes(path, "\n".join([*lines, "end_header", ""]).encode(), _bytes(vertices), _bytes(faces))


def write_stl(path: str | os.PathLike[str], mesh: Mesh) -> None:
    """Writes a mesh's triangles as binary STL, atomically. STL has no colours; programs assume millimetres.

    Raises ValueError: no triangles.
    """
    if not len(mesh.triangles):
        raise ValueError("an STL holds triangles, and the mesh has points alone (an image of one row or column?)")
    header = _STL_HEADER + struct.pack("<I", len(mesh.triangles))
    parts = (mesh.triangles[at : at + _STL_TRIANGLES] for at in range(0, len(mesh.triangles), _STL_TRIANGLES))
    write_bytes(path, header, *(_bytes(_facets(mesh.points, part)) for part in parts))


def _facets(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """STL facets: a normal and three corners per triangle."""
    facets = np.zeros(len(triangles), [("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("more", "<u2")])
    facets["corners"] = corners = points[triangles]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    facets["normal"] = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), np.float32(1e-30))
    return facets


def write_glb(path: str | os.PathLike[str], meshes: Mesh | Sequence[Mesh]) -> None:
    """Writes meshes (without triangles: point clouds), one or the views of one scene, as binary glTF 2.0, atomically.

    A mesh has its texture, or else its points' colours as linear 16-bit values, as glTF requires. Materials are unlit, as a photograph
    already contains its light, and double-sided. Raises ValueError: beyond the format's 4 GiB.

    Source:
        https://registry.khronos.org/glTF/specs/2.0/glTF-2.0.html
    """
    document = _Document()
    for mesh in [meshes] if isinstance(meshes, Mesh) else meshes:
        if len(mesh.points):
            document.add_mesh(mesh)
    document.write(path)


class _Document:
    """Collects a GLB's JSON and the blocks of its binary chunk, each padded to 4 bytes."""

    def __init__(self) -> None:
        self.blocks: list[memoryview | bytes] = []
        self.length = 0
        self.parts: dict[str, list[dict[str, Any]]] = {
            name: [] for name in ("bufferViews", "accessors", "images", "textures", "samplers", "materials")
        }
        self.primitives: list[dict[str, Any]] = []

    def add_mesh(self, mesh: Mesh) -> None:
        """Adds a primitive with its own points and material."""
        extent = {"min": mesh.points.min(0).tolist(), "max": mesh.points.max(0).tolist()}
        attributes = {"POSITION": self._array(mesh.points, _FLOAT, "VEC3", **extent)}
        if mesh.normals is not None:
            attributes["NORMAL"] = self._array(mesh.normals, _FLOAT, "VEC3")
        textured = mesh.texture is not None and len(mesh.triangles) > 0
        if textured and mesh.uvs is not None:
            attributes["TEXCOORD_0"] = self._array(mesh.uvs, _FLOAT, "VEC2")
        elif mesh.colours is not None:
            levels = np.full((len(mesh.colours), 4), 65535, np.uint16)  # opaque
            levels[:, :3] = np.round(linear_colours(mesh.colours) * 65535)
            attributes["COLOR_0"] = self._array(levels, _USHORT, "VEC4", normalized=True)
        primitive: dict[str, Any] = {"attributes": attributes, "material": self._material(mesh, textured), "mode": 0}
        if len(mesh.triangles):
            numbers = _USHORT if len(mesh.points) < 2**16 else _UINT  # 65535 is the primitive restart value
            primitive |= {"mode": 4, "indices": self._array(mesh.triangles.reshape(-1), numbers, "SCALAR")}
        self.primitives.append(primitive)

    def _array(self, values: np.ndarray, component: int, kind: str, **extra: Any) -> int:
        target = _INDICES if kind == "SCALAR" else _VERTICES
        place = self._block(_bytes(np.ascontiguousarray(values, _DTYPES[component])), target=target)
        return self._add("accessors", {"bufferView": place, "componentType": component, "type": kind, "count": len(values)} | extra)

    def _material(self, mesh: Mesh, textured: bool) -> int:
        surface: dict[str, Any] = {"metallicFactor": 0.0, "roughnessFactor": 1.0}
        material: dict[str, Any] = {"doubleSided": True, "pbrMetallicRoughness": surface}
        if textured:
            assert mesh.texture is not None
            image = self._add("images", {"bufferView": self._block(_jpeg(mesh.texture)), "mimeType": "image/jpeg"})
            # A panorama's texture wraps around.
            around = mesh.uvs is not None and len(mesh.uvs) > 0 and float(mesh.uvs[:, 0].max()) > 1
            filters = {"magFilter": _LINEAR, "minFilter": _SMOOTH, "wrapS": _REPEATED if around else _CLAMPED, "wrapT": _CLAMPED}
            texture = {"source": image, "sampler": self._add("samplers", filters)}
            surface["baseColorTexture"] = {"index": self._add("textures", texture)}
        if textured or mesh.colours is not None:
            material["extensions"] = {"KHR_materials_unlit": {}}
        return self._add("materials", material)

    def _block(self, block: memoryview | bytes, **extra: Any) -> int:
        place = self._add("bufferViews", {"buffer": 0, "byteOffset": self.length, "byteLength": len(block)} | extra)
        padding = bytes(-len(block) % 4)
        self.blocks += [block, padding]
        self.length += len(block) + len(padding)
        return place

    def _add(self, kind: str, entry: dict[str, Any]) -> int:
        self.parts[kind].append(entry)
        return len(self.parts[kind]) - 1

    def write(self, path: str | os.PathLike[str]) -> None:
        """Writes the container: a JSON chunk and a binary chunk."""
        document: dict[str, Any] = {
            "asset": {"version": "2.0", "generator": "ComfyUI-Depth-Normal"},
            "scene": 0,
            "scenes": [{"nodes": [0]}],
            "nodes": [{"mesh": 0}],
            "meshes": [{"primitives": self.primitives}],
            "buffers": [{"byteLength": self.length}],
            **{name: entries for name, entries in self.parts.items() if entries},
        }
        if any("extensions" in material for material in self.parts["materials"]):
            document["extensionsUsed"] = ["KHR_materials_unlit"]
        text = json.dumps(document, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 4)
        total = 12 + 8 + len(text) + 8 + self.length
        if total > GLB_LIMIT:
            raise ValueError(f"{path}: {total / 2**30:.1f} GiB, a GLB holds 4; ask for fewer points, or write PLY")
        head = struct.pack("<4sII", b"glTF", 2, total) + struct.pack("<I4s", len(text), b"JSON")
        write_bytes(path, head, text, struct.pack("<I4s", self.length, b"BIN\0"), *self.blocks)


def _bytes(values: np.ndarray) -> memoryview:
    """An array's memory without a copy."""
    return np.ascontiguousarray(values).reshape(-1).view(np.uint8).data


def _jpeg(texture: np.ndarray) -> bytes:
    """JPEG of a texture that all viewers accept: at most MAX_TEXTURE_SIDE long, without chroma subsampling."""
    from PIL import Image

    image = Image.fromarray(texture)
    image.thumbnail((MAX_TEXTURE_SIDE, MAX_TEXTURE_SIDE), Image.Resampling.LANCZOS)
    packed = BytesIO()
    image.save(packed, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
    return packed.getvalue()


def linear_colours(colours: np.ndarray) -> np.ndarray:
    """Converts sRGB (..., 3) in [0, 1] to linear light, as glTF's vertex colours. IEC 61966-2-1."""
    return np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)


@dataclass(frozen=True)
class SaveOptions:
    """Options for some formats.

    Attributes:
        half: EXR in 16-bit instead of 32-bit floats.
        image: (B, 3, h, w) RGB in [0, 1], or with alpha: the texture of a GLB, the colours of a PLY, the image of an HTML page, a
            source for the sky. Pixels less than half opaque are left out of surfaces.
        splats: A PLY of Gaussian splats (`write_splats`) instead of a mesh; ignores `ply_up`.
        ply_up: The up axis of a PLY: "y", or "z" as in Blender. A GLB is Y up by its standard.
        mesh: For PLY and GLB; a PLY, whose points have the colours, is never simplified.
        relief: For STL.
        compositing: EXR as `write_compositing_exr`, with its camera in a second file.
        title: Of an HTML page; None = the file's stem.
        as_image: A PNG for viewing, with normals in 8 bits, instead of one with recoverable values.
        near: The grey level of its near end, "white" or "black".
    """

    half: bool = False
    image: Tensor | None = None
    splats: bool = False
    ply_up: str = "y"
    mesh: MeshOptions = field(default_factory=MeshOptions)
    relief: ReliefOptions = field(default_factory=ReliefOptions)
    compositing: bool = False
    title: str | None = None
    as_image: bool = False
    near: str = WHITE

    @property
    def shown(self) -> Tensor | None:
        """The image composited over white."""
        return None if self.image is None else on_white(self.image)


def save_surface(path: str | os.PathLike[str], estimate: Estimate, options: SaveOptions) -> str:
    """Writes depth as a surface: a mesh (.glb, .ply), splats (.ply) or a relief (.stl), one of SURFACES, atomically.

    Returns one line of text: points, triangles, bytes, and the kind of depth. Raises ValueError: an estimate without a surface, another
    extension, or a file beyond its format's limits.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in SURFACES:
        raise ValueError(f"{path}: surfaces are written to {', '.join(SURFACES)}")
    estimate, image = opaque_part(estimate, options.image)
    if suffix == ".stl":
        plate = depth_to_relief(estimate, image, options.relief)
        write_stl(path, plate)
        extents = " x ".join(f"{side:.4g}" for side in plate.points.max(0).tolist())
        return f"{_size(path, [plate])}; {extents} mm, of {estimate.known_depth()[1].value.replace('_', ' ')}"
    if suffix == ".ply" and options.splats:
        splats = depth_to_splats(estimate, image, options.mesh)
        write_splats(path, splats)
        return f"{len(splats.points):,} splats, {_megabytes(path)}; {describe_source(estimate, options.mesh)}"
    if suffix == ".glb":
        _check_size(path, estimate, options)
    mesh = replace(options.mesh, simplify=0.0) if suffix == ".ply" else options.mesh  # a PLY's colours are those of its points
    meshes = depth_to_meshes(estimate, image, mesh)
    if suffix == ".ply":
        meshes = [joined_meshes(meshes)]
        write_ply(path, meshes[0], options.ply_up)
    else:
        write_glb(path, meshes)
    return f"{_size(path, meshes)}; {describe_source(estimate, options.mesh)}"


def _check_size(path: Path, estimate: Estimate, options: SaveOptions) -> None:
    """Refuses what a GLB cannot hold before allocating memory."""
    valid = estimate.known_depth()[2]
    step = grid_step(estimate.height, estimate.width, options.mesh.max_points / estimate.batch)
    points = int(valid.sum()) / step**2
    # Bytes of a point: position, two triangles, and its other attributes.
    each = 12 + 24 + (8 if options.image is not None else 0) + (12 if estimate.normals is not None else 0)
    if points * each > GLB_LIMIT:
        raise ValueError(
            f"{path}: {points:,.0f} points make a GLB of about {points * each / 2**30:.1f} GiB, and it holds {GLB_LIMIT / 2**30:.3g}; "
            f"ask for at most {int(0.9 * GLB_LIMIT / each):,} points, or write PLY"
        )


def _size(path: Path, meshes: Sequence[Mesh]) -> str:
    points, triangles = (sum(len(part) for part in parts) for parts in zip(*((m.points, m.triangles) for m in meshes), strict=True))
    return f"{points:,} points, {triangles:,} triangles, {_megabytes(path)}"


def _megabytes(path: Path) -> str:
    return f"{path.stat().st_size / 1e6:.3g} MB"
