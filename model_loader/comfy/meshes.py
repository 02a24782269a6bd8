"""Creates ComfyUI's MESH, SPLAT, 3D files and cameras from this pack's meshes and splats."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...geometry.assumptions import assumed_intrinsics
from ...geometry.camera import fov_from_intrinsics
from ...geometry.estimate import Estimate
from ...geometry.files.mesh_files import linear_colours
from ...geometry.kinds import Projection
from ...geometry.meshes.mesh import Mesh
from ...geometry.meshes.splats import SH_0, Splats, quaternions_of
from .host import blocked, temporary_file

_FITTED_SIZE = 5.0
_FOV_INSIDE = 75.0
"""Vertical field of view, in degrees, of the camera at the centre of a panorama's mesh."""

_UPDATE = "update ComfyUI, or use Save Mesh"


def comfy_mesh(mesh: Mesh) -> Any:
    """Creates ComfyUI's MESH: a batch of one, on the CPU, without normals, which MESH lacks.

    The image becomes the texture; without uvs, or if this version's MESH has no texture, vertex colours are used if possible. If this
    ComfyUI has no MESH, returns a blocker that stops the nodes behind this output and says why.

    Raises:
        RuntimeError: ComfyUI is not running.
    """
    mesh_type = _type("MESH")
    if mesh_type is None:
        return blocked(f"this ComfyUI has no MESH; {_UPDATE}")
    parameters = inspect.signature(mesh_type).parameters
    extra: dict[str, Any] = {}
    if mesh.uvs is not None and mesh.texture is not None and {"uvs", "texture"} <= parameters.keys():
        texture = torch.from_numpy(mesh.texture)[None].float() / 255
        extra = {"uvs": torch.from_numpy(mesh.uvs)[None], "texture": texture}
    elif mesh.colours is not None and "vertex_colors" in parameters:
        # ComfyUI writes vertex colours unchanged to glTF, where they are linear. A photograph already contains its lighting: unlit.
        extra = {"vertex_colors": torch.from_numpy(linear_colours(mesh.colours))[None]} | ({"unlit": True} if "unlit" in parameters else {})
    return mesh_type(torch.from_numpy(mesh.points)[None], torch.from_numpy(mesh.triangles.astype(np.int64))[None], **extra)


def comfy_splats(splats: Splats) -> Any:
    """Creates ComfyUI's SPLAT: a batch of one, on the CPU, in the axes of splats. Returns and raises as `comfy_mesh`."""
    splat_type = _type("SPLAT")
    if splat_type is None or "positions" not in inspect.signature(splat_type).parameters:
        return blocked("this ComfyUI has no splats; update ComfyUI, or use Save Mesh with the format splats")
    colours = (splats.colours - 0.5) / SH_0
    parts = (splats.points, splats.scales, splats.rotations, splats.opacities[:, None], colours[:, None])
    return splat_type(*(torch.from_numpy(np.ascontiguousarray(part))[None] for part in parts))


def comfy_file_3d(suffix: str, write: Callable[[Path], None]) -> Any:
    """Creates a file, by `write`, in ComfyUI's temporary folder, as the 3D files (".glb" or ".ply") that its nodes save and preview.

    Returns and raises as `comfy_mesh`; if blocked, nothing is written.
    """
    file_type = _type("File3D")
    if file_type is None:
        return blocked(f"this ComfyUI has no 3D files; {_UPDATE}")
    path = temporary_file(suffix)
    write(path)
    return file_type(str(path))


def load_3d_camera(view: Estimate, meshes: Sequence[Mesh], fov: float = 0.0) -> dict[str, Any]:
    """The camera that makes ComfyUI's 3D viewers show meshes as the image does.

    The viewers scale a model to size 5, centre it on the vertical axis and put its lowest point on the ground; the camera is in these
    units. The viewers' own camera has a centred principal point and no roll: those of the estimate are lost.

    Args:
        view: The estimate of one image. With extrinsics, meshes and camera are in world axes.
        meshes: The meshes shown.
        fov: As in `assumed_intrinsics`.

    Returns:
        ComfyUI's LOAD3D_CAMERA: `position`, `target` and `quaternion` in OPENGL axes, vertical `fov` in degrees, `aspect`.
    """
    low = np.min([mesh.points.min(0) for mesh in meshes if len(mesh.points)], 0).astype(np.float64)
    high = np.max([mesh.points.max(0) for mesh in meshes if len(mesh.points)], 0).astype(np.float64)
    scale = _FITTED_SIZE / max(float((high - low).max()), 1e-12)
    ground = np.array([(low[0] + high[0]) / 2, low[1], (low[2] + high[2]) / 2])
    position, rotation = _pose(view)
    points = np.concatenate([mesh.points[:: max(1, len(mesh.points) // 10_000)] for mesh in meshes])
    away = (points - position) @ -rotation[:, 2]  # the camera looks along its -Z
    distance = float(np.median(away[away > 0])) if (away > 0).any() else 1.0
    if view.projection is Projection.PERSPECTIVE:
        intrinsics = assumed_intrinsics(view.slice(0, 1), fov).cpu()
        vertical = float(fov_from_intrinsics(intrinsics, view.height, view.width, side="vertical"))
    else:
        vertical = _FOV_INSIDE
    return _camera(view, (position - ground) * scale, (position - rotation[:, 2] * distance - ground) * scale, rotation, vertical)


def splat_camera(view: Estimate, splats: Splats, fov: float = 0.0) -> dict[str, Any]:
    """The camera that makes ComfyUI's *Render Splat* show splats as the image does.

    Args:
        view: The estimate of one image, or views of one scene, whose first is used. The principal point is centred, as Render Splat needs.
        splats: The splats shown.
        fov: As in `assumed_intrinsics`.

    Returns:
        ComfyUI's LOAD3D_CAMERA as from `load_3d_camera`, in the unit of the depth; `fov` spans the shorter side, as Render Splat expects.
    """
    intrinsics = assumed_intrinsics(view.slice(0, 1), fov).cpu()
    position, rotation = _pose(view)
    away = (splats.points * [1, -1, -1] - position) @ -rotation[:, 2]
    shorter = float(fov_from_intrinsics(intrinsics, view.height, view.width, side="shorter"))
    return _camera(view, position, position - rotation[:, 2] * float(np.median(away)), rotation, shorter)


def _camera(view: Estimate, position: np.ndarray, target: np.ndarray, rotation: np.ndarray, fov: float) -> dict[str, Any]:
    w, *axis = quaternions_of(torch.from_numpy(rotation)[None])[0].tolist()
    return {
        "position": _xyz(position),
        "target": _xyz(target),
        "zoom": 1,
        "cameraType": "perspective",
        "quaternion": {**_xyz(axis), "w": w},
        "fov": fov,
        "aspect": view.width / view.height,
        "near": 0.01,
        "far": 1000.0,
    }


def _pose(view: Estimate) -> tuple[np.ndarray, np.ndarray]:
    """Position (3,) and rotation (3, 3) of the first image's camera, in OPENGL axes."""
    if view.extrinsics is None:
        return np.zeros(3), np.eye(3)
    flip = np.diag([1.0, -1.0, -1.0])  # OPENCV to OPENGL
    pose = view.extrinsics[0].detach().cpu().double().numpy()
    return flip @ -(pose[:, :3].T @ pose[:, 3]), flip @ pose[:, :3].T @ flip


def _xyz(values: Iterable[float]) -> dict[str, float]:
    return dict(zip("xyz", map(float, values), strict=True))


def _type(name: str) -> Any:
    """A class of ComfyUI's API; None if this version lacks it. Raises a RuntimeError if ComfyUI is not running."""
    if "comfy_api" not in sys.modules and "comfy_execution.graph_utils" not in sys.modules:
        raise RuntimeError("this node gives ComfyUI's own meshes, and ComfyUI is not running; use depth_normal.geometry.meshes.mesh")
    return getattr(getattr(sys.modules.get("comfy_api.latest"), "Types", None), name, None)
