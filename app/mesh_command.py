"""`depth-normal mesh`: a picture as a textured mesh, or as a relief to print."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .arguments import DONE, near_far_ratio, number
from .scene import add_result, add_scene, check_model, check_result, read_scene, result_path, say_result

if TYPE_CHECKING:
    from ..geometry.files import SaveOptions

EXTENSIONS = (".glb", ".ply", ".stl")
RELIEF = ".stl"
DEFAULT_POINTS, DEFAULT_RELIEF_POINTS = 1_000_000, 500_000
UP_CHOICES, RAISED_CHOICES = ("y", "z"), ("near", "far")

_OF_MESHES = ("max_jump", "near_far_ratio", "up")
_OF_RELIEFS = ("width", "relief", "base", "detail", "curve", "raised")


def add_mesh(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `mesh`."""
    add_scene(parser)
    add_result(parser, EXTENSIONS)
    points = (
        f"most points; of larger maps every second, third, ... pixel is taken; 0: all (default: {DEFAULT_POINTS}, of an stl "
        f"{DEFAULT_RELIEF_POINTS}, whose maps are averaged)"
    )
    parser.add_argument("--max-points", type=_count, metavar="N", help=points)
    parser.add_argument(
        "--keep-sky", action="store_true", help="keep what looks like the sky; else it is left out, and is ground in an stl"
    )
    mesh = parser.add_argument_group("for .glb and .ply")
    jump = "share by which depth may differ between neighbours beyond what the plane there explains (default: 0.05)"
    mesh.add_argument("--max-jump", type=number, metavar="SHARE", help=jump)
    ratio = "how many times farther the far end is than the near end, above 1, where depth is not metric (default: 3, or 30 with a sky)"
    mesh.add_argument("--near-far-ratio", type=near_far_ratio, metavar="N", help=ratio)
    mesh.add_argument("--up", choices=UP_CHOICES, help="what points up in a ply: y (the default), or z as in Blender")
    relief = parser.add_argument_group("for .stl")
    relief.add_argument("--width", type=number, metavar="MM", help="width of the plate in mm (default: 100)")
    relief.add_argument("--relief", type=number, metavar="MM", help="from the lowest point to the highest, in mm (default: 10)")
    relief.add_argument("--base", type=number, metavar="MM", help="thickness below the lowest point, in mm (default: 2)")
    detail = "lowers the jumps between things for the sake of what is fine, 0 to 0.95 (default: 0.3)"
    relief.add_argument("--detail", type=number, metavar="SHARE", help=detail)
    curve = "exponent of the heights: below 1 what is far rises, above 1 it sinks (default: 1)"
    relief.add_argument("--curve", type=number, metavar="POWER", help=curve)
    relief.add_argument("--raised", choices=RAISED_CHOICES, help="what stands out: near (the default), or far, for a mould")
    parser.set_defaults(run=_mesh)


def _mesh(arguments: argparse.Namespace) -> int:
    check_result(arguments)
    _refuse_useless(arguments)
    from ..geometry.files import save_surface

    options = _options(arguments)
    check_model(arguments, depth=True)
    scene = read_scene(arguments, fitted=False)
    with result_path(arguments) as path:
        said = save_surface(path, scene.known, replace(options, picture=scene.picture))
    say_result(arguments, said)
    return DONE


def _refuse_useless(arguments: argparse.Namespace) -> None:
    """Refuses options that the result's kind does not know."""
    suffix = arguments.out.suffix.lower()
    useless = _OF_MESHES if suffix == RELIEF else _OF_RELIEFS
    useless = useless if suffix != ".glb" else (*useless, "up")
    if given := [name for name in useless if getattr(arguments, name) is not None]:
        raise ValueError(f"--{given[0].replace('_', '-')} says nothing of a {suffix}; leave it out, or write another kind of file")


def _options(arguments: argparse.Namespace) -> SaveOptions:
    """What was asked for; the rest is the functions' own choice. Refused before a model is loaded."""
    from ..geometry.bas_relief import ReliefOptions
    from ..geometry.files import SaveOptions
    from ..geometry.mesh import MeshOptions

    def given(*names: str) -> dict[str, Any]:
        return {name: value for name in names if (value := getattr(arguments, name)) is not None}

    drop_sky = not arguments.keep_sky
    if arguments.out.suffix.lower() == RELIEF:
        return SaveOptions(relief=ReliefOptions(drop_sky=drop_sky, **given("max_points", *_OF_RELIEFS)))
    points = DEFAULT_POINTS if arguments.max_points is None else arguments.max_points
    mesh = MeshOptions(max_points=points, fov=arguments.fov, drop_sky=drop_sky, **given("max_jump", "near_far_ratio"))
    return SaveOptions(ply_up=arguments.up or UP_CHOICES[0], mesh=mesh)


def _count(text: str) -> int:
    """A whole number, 0 included."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number; 0 means all points")
    return int(text)
