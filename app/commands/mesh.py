"""`depth-normal mesh`: an image as a textured mesh, as Gaussian splats, or as a relief to print."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ...options.mesh import ReliefOptions, SavedMeshOptions, SurfaceOptions
from ...options.outputs import PLY_UP, SURFACES
from ..console.parser import Parser
from ..console.terminal import echo_error
from ..outcomes import DONE
from .option_table import add_options, chosen_options, refuse_options
from .result_paths import add_result, result_path, say_result, settle_result
from .scene import Scene, add_scene, check_model, read_scene

if TYPE_CHECKING:
    from ...geometry.estimate import Estimate
    from ...geometry.files import SaveOptions

RELIEF, SPLATS = ".stl", ".ply"

# Advise if the file exceeds this many bytes.
_LARGE_FILE = 100_000_000
# Longer side in pixels of the reduced image whose share of sky is reported.
_SKY_SIDE = 512

_RESULT = ("--out", "--open", "--overwrite")
_OF_THE_DEPTH = ("--model", "--tiles", "--refine")
COMMON = (*_RESULT, *_OF_THE_DEPTH, "--sky", "--near-far-ratio", "--fill-behind", "--splats", "--width", "--relief", "--base", "--up")
"""The options that `--help` shows."""

_OF_MESHES = ("--max-jump", "--near-far-ratio", "--fill-behind", "--up")
_OF_RELIEFS = ("--width", "--relief", "--base", "--detail", "--curve", "--raised")


def add_mesh(parser: Parser) -> None:
    """Adds the options of `mesh`."""
    add_scene(parser)
    add_result(parser, ".glb", SURFACES)
    add_options(parser, SavedMeshOptions, skip=("max_jump", "fill_behind"))
    sky = "keep what looks like sky, or (--no-sky) leave it out, which in an stl makes it ground (default: --no-sky)"
    parser.add_argument("--sky", action=argparse.BooleanOptionalAction, help=sky)
    mesh = parser.add_argument_group("for .glb and .ply")
    add_options(mesh, SavedMeshOptions, skip=("max_points",))
    add_options(mesh, SurfaceOptions)
    relief = parser.add_argument_group("for .stl")
    add_options(relief, ReliefOptions)
    parser.common = frozenset(COMMON)
    parser.set_defaults(run=_mesh, kinds=("splats",))


def _mesh(arguments: argparse.Namespace) -> int:
    if arguments.splats:
        arguments.ending, arguments.extensions = SPLATS, (SPLATS,)
    settle_result(arguments, "with --splats " if arguments.splats else "")
    _refuse_useless(arguments)
    from ...geometry.files import save_surface
    from ...geometry.views.transparency import opaque_part

    options = _options(arguments)
    check_model(arguments, depth=True)
    scene = read_scene(arguments, fitted=False).to("cpu")  # meshes are made on the CPU
    image = scene.layers.with_alpha(scene.layers.colours)
    scene = replace(scene, known=opaque_part(scene.known, image)[0])
    with result_path(arguments) as path:
        said = save_surface(path, scene.known, replace(options, image=image))
    say_result(arguments, "; ".join(filter(None, (said, "" if arguments.sky else _left_out(scene)))))
    if advice := _advice_on_size(arguments, scene.known, options):
        echo_error(advice)
    return DONE


def _left_out(scene: Scene) -> str:
    """Describes the removed sky; measured on a reduced image, whose share is about the same."""
    from ...geometry.files.packed_maps import preview_size
    from ...geometry.regions.sky import describe_sky, sky_alpha
    from ...utils import resize_map

    height, width = preview_size(scene.known.height, scene.known.width, _SKY_SIDE)
    share = sky_alpha(resize_map(scene.image, height, width), scene.known.resized(height, width))
    return f"{words}, left out" if (words := describe_sky(float(share.mean()))) else ""


def _advice_on_size(arguments: argparse.Namespace, known: Estimate, options: SaveOptions) -> str:
    """Advice for oversized files; empty if the size is fine."""
    size = arguments.out.stat().st_size
    if size <= _LARGE_FILE:
        return ""
    most = (options.relief if arguments.out.suffix.lower() == RELIEF else options.mesh).max_points
    pixels = known.batch * known.height * known.width
    fewer = max(1, int(min(most or pixels, pixels) * _LARGE_FILE / size))
    leading = 10 ** (len(str(fewer)) - 1)
    return f"{arguments.out} has {size / 1e6:.0f} MB; --max-points {fewer // leading * leading} makes it smaller"


def _refuse_useless(arguments: argparse.Namespace) -> None:
    suffix = arguments.out.suffix.lower()
    useless = _OF_MESHES if suffix == RELIEF else _OF_RELIEFS if suffix == ".ply" else (*_OF_RELIEFS, "--up")
    other = {RELIEF: ".glb or .ply", ".ply": RELIEF, ".glb": ".stl (--up: .ply)"}[suffix]
    refuse_options(arguments, useless, f"has no effect on a {suffix}; leave it out, or name another kind of file with -o: {other}")
    if arguments.splats:
        refuse_options(arguments, ("--up", "--max-jump", "--fill-behind"), "has no effect on splats; leave it out")


def _options(arguments: argparse.Namespace) -> SaveOptions:
    """The options that were set; the others keep the functions' defaults. Validates before a model is loaded."""
    from ...geometry.files import SaveOptions
    from ...geometry.meshes.mesh import TO_LOOK_AT, MeshOptions

    def set_options(*names: str) -> dict[str, Any]:
        return {name: value for name in names if (value := getattr(arguments, name)) is not None}

    drop_sky = not arguments.sky
    if arguments.out.suffix.lower() == RELIEF:
        points = set_options("max_points")
        return SaveOptions(relief=replace(chosen_options(arguments, ReliefOptions), drop_sky=drop_sky, **points))
    points = chosen_options(arguments, SavedMeshOptions).max_points
    looks = set_options("max_jump", "near_far_ratio", "fill_behind")
    usual = MeshOptions() if arguments.out.suffix.lower() == ".ply" else TO_LOOK_AT
    looks["simplify"] = usual.simplify if points else 0.0
    mesh = replace(usual, max_points=points, fov=arguments.fov or 0.0, drop_sky=drop_sky, **looks)
    return SaveOptions(splats=arguments.splats, ply_up=arguments.up or PLY_UP[0], mesh=mesh)
