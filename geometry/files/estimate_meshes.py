"""Writes an estimate as a mesh or a relief, and describes the result."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import Tensor

from ...options.files import SURFACES
from ...options.relief import ReliefOptions
from ...utils import on_white
from ..estimate import Estimate
from ..meshes.mesh import Mesh, MeshOptions, depth_to_meshes, describe_source, grid_step, joined_meshes
from ..meshes.relief import depth_to_relief
from ..meshes.splats import depth_to_splats
from ..views.transparency import opaque_part
from .mesh_files import GLB_LIMIT, write_glb, write_ply, write_splats, write_stl


@dataclass(frozen=True)
class SaveOptions:
    """Options that only some formats use.

    Attributes:
        half: EXR in 16-bit instead of 32-bit floats.
        image: (B, 3, h, w) RGB in [0, 1], or with alpha as a fourth channel: the texture of a GLB, the colours of a PLY, the image of an
            HTML page, where the sky is. Surfaces leave out what is less than half opaque.
        splats: A PLY of Gaussian splats (`write_splats`) in place of a mesh; `ply_up` has no effect on it.
        ply_up: What points up in a PLY: "y", or "z" as in Blender. A GLB is Y up by its standard.
        mesh: How a PLY or GLB is made; a PLY, whose points have the colours, is never simplified.
        relief: How an STL is made.
        compositing: EXR as `write_compositing_exr`, with its camera in a second file.
        title: Of an HTML page; None = the file's stem.
        as_image: PNG to look at, near = white and normals in 8 bits, in place of one from which the numbers come back.
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

    @property
    def shown(self) -> Tensor | None:
        """The image, what is transparent laid on white."""
        return None if self.image is None else on_white(self.image)


def save_surface(path: str | os.PathLike[str], estimate: Estimate, options: SaveOptions) -> str:
    """Writes depth as a surface: a mesh (.glb, .ply), splats (.ply) or a relief (.stl), atomically.

    Args:
        path: The file, which ends as one of SURFACES.
        estimate: As `depth_to_meshes` or `depth_to_relief`.

    Returns:
        One line for people: how many points and triangles, how many bytes, and which depth was taken.

    Raises:
        ValueError: An estimate of which no surface can be made, another extension, or a file beyond its format's limits.
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
    mesh = replace(options.mesh, simplify=0.0) if suffix == ".ply" else options.mesh  # its colours are those of its points
    meshes = depth_to_meshes(estimate, image, mesh)
    if suffix == ".ply":
        meshes = [joined_meshes(meshes)]
        write_ply(path, meshes[0], options.ply_up)
    else:
        write_glb(path, meshes)
    return f"{_size(path, meshes)}; {describe_source(estimate, options.mesh)}"


def _check_size(path: Path, estimate: Estimate, options: SaveOptions) -> None:
    """Refuses what a GLB cannot hold before memory is taken for it."""
    valid = estimate.known_depth()[2]
    step = grid_step(estimate.height, estimate.width, options.mesh.max_points / estimate.batch)
    points = int(valid.sum()) / step**2
    # A place, two triangles, and what else a point has.
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
