"""The command `depth-normal`: depth and normal maps of pictures, the list of models, downloads.

Nothing large is imported before a command runs: `--help`, `--version` and mistyped words are answered at once.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from .. import __version__
from ..annotators.choices import BUNDLED_MODEL, DEFAULT_MODEL, DEVICE_CHOICES, DTYPE_CHOICES
from .pictures import find_pictures
from .terminal import TerminatedError, complain, say, terminable

if TYPE_CHECKING:
    from .outputs import Outputs

DEMO_PICTURE = Path(__file__).parent / "coffee.jpg"

DONE, SOME_FAILED, NOTHING_DONE, INTERRUPTED, TERMINATED = 0, 1, 2, 130, 143
EXIT_CODES = """exit codes: 0 all done; 1 some failed, the others are done; 2 nothing could be done;
130 stopped by Ctrl-C, 143 by SIGTERM: what was finished before stays"""

FURTHER_FORMATS = ("exr", "pfm", "ply", "glb")
PLY_UP_CHOICES = ("y", "z")

# What a bad picture, file, model or machine raises; anything else is a fault of this program and shows its traceback.
EXPECTED_ERRORS = (ValueError, OSError, RuntimeError, ArithmeticError, MemoryError, ImportError)


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line.

    Args:
        arguments: The words after `depth-normal`; None = those the program was started with.

    Returns:
        The exit code, as EXIT_CODES says.
    """
    try:
        with terminable():
            return _run(arguments)
    except KeyboardInterrupt as stop:
        complain("stopped")
        return TERMINATED if isinstance(stop, TerminatedError) else INTERRUPTED


def _run(arguments: list[str] | None) -> int:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A name that the console cannot show must not stop the work.
            stream.reconfigure(errors="backslashreplace")
    logging.basicConfig(format="%(message)s")
    logging.getLogger(__name__.partition(".")[0]).setLevel(logging.INFO)
    parsed = _parser().parse_args(arguments)
    try:
        return parsed.run(parsed)
    except EXPECTED_ERRORS as error:
        complain(str(error))
        return NOTHING_DONE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="depth-normal",
        description="Depth and normal maps from any picture.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"depth-normal {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_estimate(commands.add_parser("estimate", help="write depth and normal maps of pictures"))
    _add_demo(commands.add_parser("demo", help="depth and normals of a photograph that comes with the pack, without a download"))
    _add_models(commands.add_parser("models", help="list the models: what they give, size, licence, where the file is"))
    _add_compare(commands.add_parser("compare", help="how far two files of depth and/or normals of one view are apart"))
    _add_download(commands.add_parser("download", help="download the weights of models"))
    return parser


def _add_estimate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pictures", nargs="+", type=Path, metavar="IMAGE", help="pictures, or a pattern such as 'photos/*.jpg'")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder for the results; made if absent")
    parser.add_argument("--model", default=DEFAULT_MODEL, metavar="ID", help=f"see `depth-normal models` (default: {DEFAULT_MODEL})")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="weights to use in place of the published file")
    parser.add_argument("--size", type=_positive, metavar="N", help="network's side in pixels, as its authors count (default: theirs)")
    fov = "field of view of the pictures' longer side, where the camera is known (makes Depth Anything 3's metres right)"
    parser.add_argument("--fov", type=_degrees, default=0.0, metavar="DEGREES", help=fov)
    ratio = (
        "how many times farther the far end of the scene is than the near end, above 1, for normals of depth that is not metric "
        "(default: 3, or 30 where the model itself marks the sky; 30 suits landscapes)"
    )
    parser.add_argument("--near-far-ratio", type=_ratio, metavar="N", help=ratio)
    parser.add_argument("--device", default="auto", choices=DEVICE_CHOICES)
    parser.add_argument("--dtype", default="auto", choices=DTYPE_CHOICES, help="what the network computes in")
    also = "write <stem>.<format> too; may be given again"
    parser.add_argument("--also", action="append", default=[], choices=FURTHER_FORMATS, help=also)
    parser.add_argument("--ply-up", choices=PLY_UP_CHOICES, help="what points up in a PLY: y (the default), or z as in Blender")
    _add_overwrite(parser)
    parser.set_defaults(run=_estimate)


def _add_demo(parser: argparse.ArgumentParser) -> None:
    out = "folder for the results (default: %(default)s)"
    parser.add_argument("--out", type=Path, default=Path("depth-normal-demo"), metavar="DIR", help=out)
    _add_overwrite(parser)
    parser.set_defaults(run=_demo)


def _add_models(parser: argparse.ArgumentParser) -> None:
    _add_json(parser)
    parser.set_defaults(run=_models)


def _add_compare(parser: argparse.ArgumentParser) -> None:
    judged = "the file that is judged: .npz, .exr, .pfm, or a .png of the node Save Geometry (<stem>_depth.png has no range)"
    parser.add_argument("found", type=Path, metavar="A", help=judged)
    parser.add_argument("truth", type=Path, metavar="B", help="the file that it is judged by, of the same kinds")
    parser.add_argument("--normals-from-depth", action="store_true", help="judge normals derived from A's depth, not those in the file")
    _add_json(parser)
    parser.set_defaults(run=_compare)


def _add_download(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("models", nargs="+", metavar="ID")
    parser.set_defaults(run=_download)


def _add_overwrite(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--overwrite", action="store_true", help="replace also what this command did not make, or made of another picture")


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="as JSON")


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of pixels above 0")
    return int(text)


def _degrees(text: str) -> float:
    if not 0 < (degrees := _number(text)) < 180:
        raise argparse.ArgumentTypeError(f"{text!r} is not an angle between 0 and 180 degrees")
    return degrees


def _ratio(text: str) -> float:
    if not 1 < (ratio := _number(text)) < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 1")
    return ratio


def _number(text: str) -> float:
    """NaN where it is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _estimate(arguments: argparse.Namespace) -> int:
    pictures, problems = find_pictures(arguments.pictures)
    for problem in problems:
        complain(problem)
    if not pictures:
        return NOTHING_DONE
    if arguments.ply_up and "ply" not in arguments.also:
        raise ValueError(f"--ply-up {arguments.ply_up} says how a PLY stands, and none is asked for: add --also ply, or leave it out")
    from ..annotators.registry import find_spec
    from .outputs import plan_outputs
    from .work import check_formats

    planned = plan_outputs(pictures, arguments.out, arguments.also, arguments.overwrite)
    check_formats(arguments.also, find_spec(arguments.model), arguments.fov)
    failed = len(problems) + _estimate_all(planned, arguments)
    total = len(problems) + len(planned)
    if failed and total > 1:
        complain(f"{failed} of {total} pictures failed")
    return (NOTHING_DONE if failed == total else SOME_FAILED) if failed else DONE


def _estimate_all(planned: list[Outputs], arguments: argparse.Namespace) -> int:
    """Returns how many pictures failed."""
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    from ..model_loader import load_model
    from .work import run

    model = load_model(arguments.model, arguments.dtype, arguments.device, arguments.weights)
    failed = 0
    with logging_redirect_tqdm():
        for outputs in tqdm(planned, unit="picture", disable=len(planned) == 1):
            try:
                written = run(model, outputs, arguments.size, arguments.fov, arguments.ply_up or "y", arguments.near_far_ratio)
            except EXPECTED_ERRORS as error:
                failed += 1
                complain(_about(str(outputs.picture), error))
            else:
                say(f"{outputs.picture}: {', '.join(str(each) for each in written)}")
    return failed


def _about(name: str, error: Exception) -> str:
    """An error with the name of what it is about, once."""
    text = str(error) or type(error).__name__
    return text if name in text else f"{name}: {text}"


def _demo(arguments: argparse.Namespace) -> int:
    from ..annotators.registry import find_spec
    from ..model_loader import load_model
    from .outputs import plan_outputs
    from .work import run

    (outputs,) = plan_outputs([DEMO_PICTURE], arguments.out, overwrite=arguments.overwrite)
    for path in run(load_model(BUNDLED_MODEL), outputs):
        say(str(path))
    say(f"""
The photograph is {DEMO_PICTURE} (by Rachel Michetti, CC0).
These maps are a preview, by {BUNDLED_MODEL!r}, the small network that comes with the pack. Of your own picture, with a larger network:

    depth-normal estimate photo.jpg --out maps --model {DEFAULT_MODEL}

downloads {find_spec(DEFAULT_MODEL).size_in_words} once; `depth-normal models` lists all models with their sizes and licences.""")
    return DONE


def _models(arguments: argparse.Namespace) -> int:
    from ..annotators.registry import MODELS
    from .models import describe

    rows = [describe(spec) for spec in MODELS.values()]
    if arguments.json:
        say(json.dumps(rows, indent=2))
        return DONE
    header = {"id": "MODEL", "gives": "GIVES", "size": "SIZE", "licence": "LICENCE", "file": "FILE"}
    lines = [header]
    for spec, row in zip(MODELS.values(), rows, strict=True):
        lines.append({**row, "size": spec.size_in_words, "file": row["file"] or "not downloaded"})
    widths = {key: max(len(str(line[key])) for line in lines) for key in header}
    for line in lines:
        say("  ".join(str(line[key]).ljust(widths[key]) for key in header).rstrip())
    return DONE


def _compare(arguments: argparse.Namespace) -> int:
    from .compare import compare_files

    errors = compare_files(arguments.found, arguments.truth, arguments.normals_from_depth)
    if arguments.json:
        say(json.dumps(errors, indent=2))
        return DONE
    for kind, row in errors.items():
        unit = " (degrees)" if kind == "normals" else ""
        say(f"{kind}{unit}: " + ", ".join(f"{name} {value:.4g}" for name, value in row.items()))
    return DONE


def _download(arguments: argparse.Namespace) -> int:
    from ..annotators.registry import find_spec
    from ..model_loader.download_errors import NoNetworkError
    from .models import find_or_download

    files = [(spec, file) for spec in map(find_spec, arguments.models) for file in spec.files]
    failed, no_network = 0, False
    for spec, file in files:
        try:
            say(f"{spec.id}: {find_or_download(spec, file)}")
        except EXPECTED_ERRORS as error:
            failed += 1
            no_network |= isinstance(error, NoNetworkError)
            complain(f"{spec.id}: {error}")
    if no_network:
        complain(f"without a network, the model {BUNDLED_MODEL!r} works at once: it comes with the pack")
    return (NOTHING_DONE if failed == len(files) else SOME_FAILED) if failed else DONE


if __name__ == "__main__":
    sys.exit(main())
