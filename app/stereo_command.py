"""`depth-normal stereo`: pictures for both eyes. `depth-normal estimate` with other words for what is written."""

from __future__ import annotations

import argparse

from .arguments import CODING_CHOICES, HOLES, LAYOUT_CHOICES, add_depth_of_stereo, several_of
from .estimate_command import add_pictures, run_pictures


def add_stereo(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `stereo`."""
    add_pictures(parser)
    layout = (
        f"one or more of {', '.join(LAYOUT_CHOICES)}, with commas (default: {LAYOUT_CHOICES[0]}); sbs: side by side, tb: top and bottom, "
        "anaglyph: for red-cyan glasses; may be given again"
    )
    parser.add_argument("--layout", type=several_of(LAYOUT_CHOICES), action="extend", metavar="LAYOUTS", help=layout)
    add_depth_of_stereo(parser)
    parser.add_argument("--holes", action="store_true", help="write <stem>..._holes.png too: what was filled in is white")
    parser.set_defaults(
        run=_stereo, fov=0.0, near_far_ratio=None, tiles=None, refine=False, ply_up=None, coding=CODING_CHOICES[0], engine="local"
    )


def _stereo(arguments: argparse.Namespace) -> int:
    layouts = tuple(dict.fromkeys(arguments.layout or LAYOUT_CHOICES[:1]))
    holes = (f"{layout}{HOLES}" for layout in layouts) if arguments.holes else ()
    return run_pictures(arguments, (*layouts, *holes))
