"""`depth-normal compare`: measures how far two files of one view are apart."""

from __future__ import annotations

import argparse
import json
import logging
import math
from pathlib import Path

from ...options.outputs import READABLE_WORDS
from ..batch.overwriting import check_places
from ..console.terminal import echo, shown
from ..outcomes import DONE
from .arguments import add_json, add_map_kind, add_quantity, chosen_quantity
from .option_table import refuse_options
from .result_paths import add_overwrite

WRITTEN = (".png", ".html")
"""Extensions of the heat maps."""

_SWAPPED = -0.5
_UP_TO_SCALE = 3
"""How many times less the error must be after scaling, for depth to be called right but for its unit."""

logger = logging.getLogger(__name__)


def add_compare(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `compare`."""
    help_of_file = f"the file to evaluate: {READABLE_WORDS} (<image>_depth.png has no range), or with --quantity"
    parser.add_argument("found", type=Path, metavar="A", help=help_of_file)
    parser.add_argument("truth", type=Path, metavar="B", help="the file to compare it with, of the same kinds")
    add_map_kind(parser, near=False)
    add_quantity(parser, "--quantity-b", "as --quantity, but of B alone (default: that of --quantity)")
    parser.add_argument("--channel-b", metavar="NAME", help="as --channel, which is of A, but of B")
    derived = "evaluate normals derived from A's depth, not those in the file"
    parser.add_argument("--normals-from-depth", action="store_true", help=derived)
    out = f"also write heat maps of the differences, with their scale: {' or '.join(WRITTEN)}"
    parser.add_argument("-o", "--out", type=Path, metavar="PATH", help=out)
    add_overwrite(parser, "")
    add_json(parser)
    parser.set_defaults(run=_compare)


def _compare(arguments: argparse.Namespace) -> int:
    out: Path | None = arguments.out
    if out is None:
        refuse_options(arguments, ("--overwrite",), "is for heat maps, and none are asked for: add --out PATH, or leave it out")
    else:
        if out.suffix.lower() not in WRITTEN:
            raise ValueError(f"{out}: heat maps are written to {' or '.join(WRITTEN)}")
        check_places([out], [arguments.found, arguments.truth], arguments.overwrite)
    from ...geometry.estimate import Quantity
    from ...geometry.kinds import ZERO_AT_CAMERA
    from ..differences import errors_of, heat_maps, read_both, write_heat_maps

    quantity = chosen_quantity(arguments)
    quantities = quantity, chosen_quantity(arguments, "quantity_b") or quantity
    channels = arguments.channel, arguments.channel_b
    evaluated, truth = read_both(arguments.found, arguments.truth, arguments.normals_from_depth, quantities, channels)
    errors = errors_of(evaluated, truth)
    depth = errors.get("depth", {})
    if depth.get("AbsRel", 0) > max(0.05, _UP_TO_SCALE * depth.get("scaled AbsRel", math.inf)):
        logger.warning(
            "the depth of A is %.4g times that of B: one of them has no unit (some models' depth is up to scale), or another unit or focal "
            'length; see "scaled AbsRel", the error after division by this ratio',
            depth["median ratio"],
        )
    if depth.get("correlation", 0) < _SWAPPED:
        logger.warning(
            "near and far of A are those of B exchanged; --quantity and --quantity-b say what a file holds that does not state it"
        )
    if depth and "median ratio" not in depth:
        inverse = Quantity.DISPARITY in (evaluated.quantity, truth.quantity)
        limit = " and limited to B's largest depth" if inverse and truth.quantity in ZERO_AT_CAMERA else ""
        unit = "disparity (1 / depth)" if inverse else "depth"
        logger.info("the depth of A was first fitted to B's by a scale and a shift in %s%s; the errors are what is left", unit, limit)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        names = arguments.found.name, arguments.truth.name
        # Results of two runs have the same name in different folders.
        write_heat_maps(
            out, heat_maps(evaluated, truth), errors, names if names[0] != names[1] else (str(arguments.found), str(arguments.truth))
        )
    if arguments.json:
        echo(json.dumps(errors, indent=2))
        return DONE
    for kind, row in errors.items():
        unit = " (degrees)" if kind == "normals" else ""
        echo(f"{kind}{unit}: " + ", ".join(f"{name} {value:.4g}" for name, value in row.items()))
    if out is not None:
        echo(shown(f"heat maps: {out}"))
    return DONE
