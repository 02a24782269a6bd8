"""`depth-normal stereo`: stereo pairs. `depth-normal estimate` with other options for the outputs."""

from __future__ import annotations

import argparse

from ...options.outputs import HOLES, ImagesOptions
from ...options.views import AROUND_LAYOUTS, LAYOUTS, StereoImagesOptions, StereoOptions
from ..console.parser import Parser
from .estimate import add_images, run_images
from .option_table import add_options

COMMON = (
    *("--out", "--open", "--layout", "--divergence", "--convergence", "--eye-distance", "--panorama"),
    *("--model", "--size", "--tiles", "--refine", "--recursive", "--resume", "--overwrite"),
)
"""The options that `--help` shows."""


def add_stereo(parser: Parser) -> None:
    """Adds the options of `stereo`."""
    add_images(parser)
    add_options(parser, StereoImagesOptions, only=("layout",))
    add_options(parser, StereoOptions)
    add_options(parser, ImagesOptions, only=("panorama", "any_aspect"))
    add_options(parser, StereoImagesOptions, only=("holes",))
    parser.common = frozenset(COMMON)
    parser.set_defaults(run=_stereo)


def _stereo(arguments: argparse.Namespace) -> int:
    usual = AROUND_LAYOUTS[:1] if arguments.panorama else LAYOUTS[:1]
    layouts = tuple(dict.fromkeys(arguments.layout or usual))
    holes = (f"{layout}{HOLES}" for layout in layouts) if arguments.holes else ()
    arguments.write = [*layouts, *holes]
    return run_images(arguments)
