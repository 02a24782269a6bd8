"""`depth-normal compare`: measures how far two files of one view are apart."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ..console.terminal import echo
from ..outcomes import DONE
from .arguments import add_json


def add_compare(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `compare`."""
    found = "the file to evaluate: .npz, .exr, .pfm, or a .png of the node Save Geometry (<image>_depth.png has no range)"
    parser.add_argument("found", type=Path, metavar="A", help=found)
    parser.add_argument("truth", type=Path, metavar="B", help="the file to compare it with, of the same kinds")
    derived = "evaluate normals derived from A's depth, not those in the file"
    parser.add_argument("--normals-from-depth", action="store_true", help=derived)
    add_json(parser)
    parser.set_defaults(run=_compare)


def _compare(arguments: argparse.Namespace) -> int:
    from ..differences import compare_files

    errors = compare_files(arguments.found, arguments.truth, arguments.normals_from_depth)
    if arguments.json:
        echo(json.dumps(errors, indent=2))
        return DONE
    for kind, row in errors.items():
        unit = " (degrees)" if kind == "normals" else ""
        echo(f"{kind}{unit}: " + ", ".join(f"{name} {value:.4g}" for name, value in row.items()))
    return DONE
