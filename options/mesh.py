"""The options of meshes and splats."""

from __future__ import annotations

from dataclasses import dataclass

from .estimate import known_fov, near_far_ratio
from .fields import Options, choice, number, switch, whole
from .files import PLY_UP
from .outputs import assumed_ratio, ply_up
from .relief import RELIEF_POINTS

MAX_POINTS = 1_000_000
"""Default number of points of meshes for display: viewers still rotate them smoothly."""

MOST_POINTS = 2**27
MAX_TEXTURE_SIDE = 4096
"""Longer side of a texture in pixels: supported by all browsers and phones."""

MAX_JUMP = 0.05
"""Largest relative difference of depth between neighbouring pixels, beyond the slope of the surface there."""

MOST_BEHIND = 45.0
"""Largest view rotation in degrees for which far surfaces are extended behind near ones."""

GLB, PLY, SPLATS = FORMATS = ("glb", "ply", "splats")

_POINTS = (
    "Largest number of points. Larger maps are subsampled: every second, third, ... pixel is used; the texture keeps its detail. 0: all "
    "pixels."
)
_BEHIND = (
    "Continues the surfaces behind near things, where the image does not show them, so that no gap appears while the view turns by up to "
    "so many degrees. 0: off. Nothing is added to panoramas and to several views of one scene."
)


def _behind(help_text: str = _BEHIND) -> float:
    return number(20.0, 0, MOST_BEHIND, help_text, step=1, metavar="DEGREES", otherwise="20; ply: 0")


@dataclass(frozen=True)
class SplatOptions(Options):
    """Gaussian splats from depth."""

    max_points: int = whole(
        MAX_POINTS,
        0,
        MOST_POINTS,
        "Largest number of splats. Of larger maps every second, third, ... pixel becomes one. 0: all pixels.",
        flag=None,
    )
    drop_sky: bool = switch(True, "Leaves out regions that look like sky. Needs the image.", flag=None)
    fov: float = known_fov()
    near_far_ratio: float = near_far_ratio()


@dataclass(frozen=True)
class ShownMeshOptions(SplatOptions):
    """A mesh for display."""

    max_points: int = whole(MAX_POINTS, 0, MOST_POINTS, _POINTS, flag=None)
    max_jump: float = number(
        MAX_JUMP,
        0,
        1,
        "Largest jump of depth between neighbouring pixels that is not cut, as a share of the depth, beyond the slope of the surface "
        "there. Smaller: more cuts.",
        step=0.01,
        metavar="SHARE",
        otherwise=f"{MAX_JUMP:g}",
        advanced=True,
        before="drop_sky",
    )
    fill_behind: float = _behind()


@dataclass(frozen=True)
class SavedMeshOptions(ShownMeshOptions):
    """A mesh file."""

    max_points: int = whole(
        MAX_POINTS,
        0,
        MOST_POINTS,
        f"{_POINTS} Unless this is 0, a glb has fewer points where surfaces are even.",
        on_page=f"The texture is at most {MAX_TEXTURE_SIDE} pixels wide and high.",
        metavar="N",
        otherwise=f"{MAX_POINTS}, of an stl {RELIEF_POINTS}, whose maps are averaged",
    )
    format: str = choice(
        FORMATS,
        "File format. glb: the image as texture. ply: coloured points. splats: a PLY of Gaussian splats, for programs for 3D Gaussian "
        "splatting.",
        flag=None,
        before="max_points",
    )
    ply_up: str = choice(
        PLY_UP,
        "Axis that points up in a ply: y in most viewers, z in Blender. A glb needs no choice.",
        flag=None,
        advanced=True,
        before="fill_behind",
    )
    fill_behind: float = _behind(f"{_BEHIND} Splats stay as they are.")


@dataclass(frozen=True)
class SurfaceOptions(Options):
    """Additional options of commands for a .glb or .ply."""

    near_far_ratio: float | None = assumed_ratio("Where depth is not metric; a smaller one is flatter.")
    up: str | None = ply_up()
    splats: bool = switch(
        False, "Write 3D Gaussian splats, a flat disc for each pixel, in place of a mesh: for programs for Gaussian splatting; a .ply."
    )
