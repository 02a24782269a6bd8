"""`depth-normal stereo`: stereo pairs. `depth-normal estimate` with other options for the outputs."""

from __future__ import annotations

import argparse

from ...options.map_images import CODINGS
from ...options.outputs import HOLES
from ...options.stereo import AROUND_LAYOUTS, LAYOUTS, StereoOptions
from ..console.option_types import degrees, several_of
from ..console.parser import Parser
from .estimate import add_images, add_panorama, run_images
from .option_table import add_options

COMMON = (
    *("--out", "--open", "--layout", "--divergence", "--convergence", "--eye-distance", "--panorama"),
    *("--model", "--size", "--tiles", "--refine", "--recursive", "--resume", "--overwrite"),
)
"""The options that `--help` shows."""


def add_stereo(parser: Parser) -> None:
    """Adds the options of `stereo`."""
    add_images(parser)
    layout = (
        f"one or more of {', '.join(LAYOUTS)}, with commas (default: {LAYOUTS[0]}, of panoramas {AROUND_LAYOUTS[0]}); "
        "sbs: side by side, tb: top and bottom, anaglyph: for red-cyan glasses, vr180: half spheres for headsets; may be given again"
    )
    parser.add_argument("--layout", type=several_of(LAYOUTS), action="extend", metavar="LAYOUTS", help=layout)
    add_options(parser, StereoOptions)
    fov = "field of view of the images' longer side, where the camera is known: how large vr180 shows them"
    parser.add_argument("--fov", type=degrees, default=0.0, metavar="DEGREES", help=fov)
    add_panorama(parser)
    parser.add_argument("--holes", action="store_true", help="also write <image>..._holes.png: the mask of the pixels that were filled in")
    parser.common = frozenset(COMMON)
    parser.set_defaults(
        run=_stereo,
        near_far_ratio=None,
        up=None,
        coding=CODINGS[0],
        normal_bits=8,
        half=False,
        engine="local",
    )


def _stereo(arguments: argparse.Namespace) -> int:
    usual = AROUND_LAYOUTS[:1] if arguments.panorama else LAYOUTS[:1]
    layouts = tuple(dict.fromkeys(arguments.layout or usual))
    holes = (f"{layout}{HOLES}" for layout in layouts) if arguments.holes else ()
    return run_images(arguments, (*layouts, *holes))
