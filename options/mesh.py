"""The options of meshes, splats and printable reliefs."""

from __future__ import annotations

from dataclasses import dataclass

from .estimate import known_fov, near_far_ratio
from .fields import Options, choice, number, switch, whole
from .outputs import PLY_UP, assumed_ratio, ply_up

NEAR, FAR = RAISED = ("near", "far")
"""The end of the depth that is raised; "far" makes a mould."""

RELIEF_POINTS = 500_000


@dataclass(frozen=True)
class ReliefOptions(Options):
    """A plate with raised relief."""

    width: float = number(
        100.0,
        (1, 10_000),
        "Width of the plate in mm; its height follows from the image.",
        on_command="As 80mm or 8cm.",
        step=1,
        unit="mm",
        metavar="LENGTH",
    )
    relief: float = number(
        10.0, (0.01, 1000), "Height of the relief in mm, from the lowest to the highest point.", unit="mm", metavar="LENGTH"
    )
    base: float = number(2.0, (0.1, 1000), "Thickness of the plate below the lowest point in mm.", unit="mm", metavar="LENGTH")
    detail: float = number(
        0.3, (0, 0.95), "How much jumps between things are lowered, so that fine relief stands out. 0: unchanged heights.", step=0.05
    )
    curve: float = number(
        1.0, (0.1, 10), "Exponent of the heights: below 1 raises far things, above 1 lowers them.", step=0.05, metavar="POWER"
    )
    raised: str = choice(RAISED, "Which end stands out of the plate. far: for a mould.")
    max_points: int = whole(
        RELIEF_POINTS,
        (4, 4_000_000),
        "Largest number of points on the upper side; larger maps are averaged. An STL takes 100 bytes a point.",
        flag=None,
    )
    drop_sky: bool = switch(True, "Lays regions that look like sky on the ground. Needs the image.", flag=None)


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
    return number(20.0, (0, MOST_BEHIND), help_text, step=1, metavar="DEGREES", otherwise="20; ply: 0")


@dataclass(frozen=True)
class SplatOptions(Options):
    """Gaussian splats from depth."""

    max_points: int = whole(
        MAX_POINTS,
        (0, MOST_POINTS),
        "Largest number of splats. Of larger maps every second, third, ... pixel becomes one. 0: all pixels.",
        flag=None,
    )
    drop_sky: bool = switch(True, "Leaves out regions that look like sky. Needs the image.", flag=None)
    fov: float = known_fov()
    near_far_ratio: float = near_far_ratio()


@dataclass(frozen=True)
class ShownMeshOptions(SplatOptions):
    """A mesh for display."""

    max_points: int = whole(MAX_POINTS, (0, MOST_POINTS), _POINTS, flag=None)
    max_jump: float = number(
        MAX_JUMP,
        (0, 1),
        "Neighbouring pixels are cut apart where their depths differ by more than this share, beyond the slope of the surface there. "
        "Smaller: more cuts.",
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
        (0, MOST_POINTS),
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
