"""`depth-normal refine`: aligns the depth edges of geometry with those of its image."""

from __future__ import annotations

import argparse
from pathlib import Path

from ...options.effects import RefineOptions
from ...options.outputs import READABLE_WORDS
from ..outcomes import DONE
from .arguments import add_map_kind, chosen_quantity
from .option_table import add_options, chosen_options
from .result_paths import add_result, result_path, say_result, settle_result

WRITTEN = (".npz", ".exr")


def add_refine(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `refine`."""
    parser.add_argument("image", type=Path, metavar="IMAGE", help="the image that the geometry is of; the result has its size")
    geometry = f"depth, with or without normals, of the image, of any size: {READABLE_WORDS}, or with --quantity"
    parser.add_argument("--geometry", required=True, type=Path, metavar="FILE", help=geometry)
    add_map_kind(parser, near=False)
    add_result(parser, "_refined.npz", WRITTEN)
    add_options(parser, RefineOptions)
    parser.set_defaults(run=_refine)


def _refine(arguments: argparse.Namespace) -> int:
    options = chosen_options(arguments, RefineOptions)
    settle_result(arguments)
    from ...geometry.edges.refine import refine_geometry
    from ...geometry.files import load_estimate, save_estimate
    from ...geometry.surfaces.derive import with_normals
    from ..batch.per_image import read

    image = read(arguments.image)
    estimate = load_estimate(arguments.geometry, chosen_quantity(arguments), channel=arguments.channel)
    refined = refine_geometry(estimate, image, options.strength, options.radius, derive=with_normals)
    with result_path(arguments) as path:
        save_estimate(path, refined)
    say_result(arguments)
    return DONE
