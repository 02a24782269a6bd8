"""The command `depth-normal`: depth and normal maps of pictures, the list of models, downloads.

Exit codes: 0 all done; 1 some pictures or downloads failed, the others are done; 2 nothing could be done.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import math
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..annotators.registry import BUNDLED_MODEL, DEFAULT_MODEL, MODELS, find_spec
from ..geometry.files import FORMATS, PLY_AXES
from ..model_loader import DEVICE_CHOICES, DTYPE_CHOICES, load_model
from .compare import compare_files
from .models import describe, find_or_download
from .outputs import plan_outputs
from .work import run

DEMO_PICTURE = Path(__file__).parent / "coffee.jpg"

DONE, SOME_FAILED, NOTHING_DONE = 0, 1, 2

# What a bad picture, file, model or machine raises; anything else is a fault of this program and shows its traceback.
EXPECTED_ERRORS = (ValueError, OSError, RuntimeError, ArithmeticError, MemoryError, ImportError)


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line.

    Args:
        arguments: The words after `depth-normal`; None = those the program was started with.

    Returns:
        The exit code.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A name that the console cannot show must not stop the work.
            stream.reconfigure(errors="backslashreplace")
    logging.basicConfig(format="%(message)s")
    logging.getLogger(__name__.partition(".")[0]).setLevel(logging.INFO)
    parsed = _parser().parse_args(arguments)
    try:
        with _terminable():
            return parsed.run(parsed)
    except EXPECTED_ERRORS as error:
        return _complain(str(error))
    except KeyboardInterrupt:
        return _complain("stopped")


@contextmanager
def _terminable() -> Iterator[None]:
    """Lets SIGTERM end the work as Ctrl-C does, so that files half written are removed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="depth-normal", description="Depth and normal maps from any picture.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_estimate(commands.add_parser("estimate", help="write depth and normal maps of pictures"))
    _add_demo(commands.add_parser("demo", help="depth and normals of a photograph that comes with the pack, without a download"))
    _add_models(commands.add_parser("models", help="list the models: what they give, size, licence, where the file is"))
    _add_compare(commands.add_parser("compare", help="how far two files of depth and/or normals of one view are apart"))
    _add_download(commands.add_parser("download", help="download the weights of models"))
    return parser


def _add_estimate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pictures", nargs="+", type=Path, metavar="IMAGE")
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
    extra = [extension.lstrip(".") for extension in FORMATS if extension not in (".png", ".npz")]
    parser.add_argument("--also", action="append", default=[], choices=extra, help="write <stem>.<format> too; may be given again")
    parser.add_argument("--ply-up", default="y", choices=PLY_AXES, help="what points up in a PLY: y (the default), or z as in Blender")
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
    parser.add_argument("found", type=Path, metavar="A", help="the file that is judged (.npz, .exr, .png, .pfm)")
    parser.add_argument("truth", type=Path, metavar="B", help="the file that it is judged by")
    parser.add_argument("--normals-from-depth", action="store_true", help="judge normals derived from A's depth, not those in the file")
    _add_json(parser)
    parser.set_defaults(run=_compare)


def _add_download(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("models", nargs="+", metavar="ID")
    parser.set_defaults(run=_download)


def _add_overwrite(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--overwrite", action="store_true", help="replace files of these names that this command did not make")


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
    planned = plan_outputs(arguments.pictures, arguments.out, arguments.also, arguments.overwrite)
    model = load_model(arguments.model, arguments.dtype, arguments.device, arguments.weights)
    arguments.out.mkdir(parents=True, exist_ok=True)
    from tqdm import tqdm

    failed = 0
    for outputs in tqdm(planned, unit="picture", disable=len(planned) == 1):
        try:
            written = run(model, outputs, arguments.size, arguments.fov, arguments.ply_up, arguments.near_far_ratio)
        except EXPECTED_ERRORS as error:
            failed += 1
            _complain(f"{outputs.picture}: skipped: {error}")
        else:
            tqdm.write(f"{outputs.picture}: {', '.join(str(each) for each in written)}")
    if failed:
        _complain(f"{failed} of {len(planned)} pictures failed")
    return SOME_FAILED if failed else DONE


def _demo(arguments: argparse.Namespace) -> int:
    (outputs,) = plan_outputs([DEMO_PICTURE], arguments.out, overwrite=arguments.overwrite)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for path in run(load_model(BUNDLED_MODEL), outputs):
        print(path)  # noqa: T201
    print(f"""
The photograph is {DEMO_PICTURE} (by Rachel Michetti, CC0).
These maps are a preview, by {BUNDLED_MODEL!r}, the small network that comes with the pack. Of your own picture, with a larger network:

    depth-normal estimate photo.jpg --out maps --model {DEFAULT_MODEL}

downloads {find_spec(DEFAULT_MODEL).size_in_words} once; `depth-normal models` lists all models with their sizes and licences.""")  # noqa: T201
    return DONE


def _models(arguments: argparse.Namespace) -> int:
    rows = [describe(spec) for spec in MODELS.values()]
    if arguments.json:
        print(json.dumps(rows, indent=2))  # noqa: T201
        return DONE
    header = {"id": "MODEL", "gives": "GIVES", "size": "SIZE", "licence": "LICENCE", "file": "FILE"}
    lines = [header]
    for spec, row in zip(MODELS.values(), rows, strict=True):
        lines.append({**row, "size": spec.size_in_words, "file": row["file"] or "not downloaded"})
    widths = {key: max(len(str(line[key])) for line in lines) for key in header}
    for line in lines:
        print("  ".join(str(line[key]).ljust(widths[key]) for key in header).rstrip())  # noqa: T201
    return DONE


def _compare(arguments: argparse.Namespace) -> int:
    errors = compare_files(arguments.found, arguments.truth, arguments.normals_from_depth)
    if arguments.json:
        print(json.dumps(errors, indent=2))  # noqa: T201
        return DONE
    for kind, row in errors.items():
        unit = " (degrees)" if kind == "normals" else ""
        print(f"{kind}{unit}: " + ", ".join(f"{name} {value:.4g}" for name, value in row.items()))  # noqa: T201
    return DONE


def _download(arguments: argparse.Namespace) -> int:
    failed = 0
    for spec in [find_spec(model_id) for model_id in arguments.models]:
        for file in spec.files:
            try:
                path = find_or_download(spec, file)
            except EXPECTED_ERRORS as error:
                failed += 1
                _complain(f"{spec.id}: {error}")
            else:
                print(f"{spec.id}: {path}")  # noqa: T201
    return SOME_FAILED if failed else DONE


def _complain(message: str) -> int:
    print(f"depth-normal: {message}", file=sys.stderr)  # noqa: T201
    return NOTHING_DONE


if __name__ == "__main__":
    sys.exit(main())
