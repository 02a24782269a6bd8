"""The command `depth-normal`: depth and normal maps of pictures, the list of models, downloads.

Exit codes: 0 all done; 1 some pictures or downloads failed, the others are done; 2 nothing could be done.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import signal
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..annotators.base import ModelSpec
from ..annotators.fov import with_fov
from ..annotators.registry import BUNDLED_MODEL, DEFAULT_MODEL, MODELS, find_spec
from ..geometry.compare import compare_depth, compare_normals
from ..geometry.derive import with_normals
from ..geometry.files import (
    FORMATS,
    PLY_AXES,
    SaveOptions,
    load_estimate,
    read_picture,
    save_estimate,
    write_depth_png,
    write_normal_png,
    write_npz,
)
from ..geometry.render import depth_to_image, normals_to_image
from ..model_loader import DEVICE_CHOICES, DTYPE_CHOICES, Model, load_model
from ..model_loader.download import download_weights
from ..model_loader.find import find_weights
from ..utils import as_batch

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

    estimate = commands.add_parser("estimate", help="write depth and normal maps of pictures")
    estimate.add_argument("pictures", nargs="+", type=Path, metavar="IMAGE")
    estimate.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder for the results; made if absent")
    estimate.add_argument("--model", default=DEFAULT_MODEL, metavar="ID", help=f"see `depth-normal models` (default: {DEFAULT_MODEL})")
    estimate.add_argument("--weights", type=Path, metavar="FILE", help="weights to use in place of the published file")
    estimate.add_argument("--size", type=_positive, metavar="N", help="network's side in pixels, as its authors count (default: theirs)")
    fov = "field of view of the pictures' longer side, where the camera is known (makes Depth Anything 3's metres right)"
    estimate.add_argument("--fov", type=_degrees, default=0.0, metavar="DEGREES", help=fov)
    estimate.add_argument("--device", default="auto", choices=DEVICE_CHOICES)
    estimate.add_argument("--dtype", default="auto", choices=DTYPE_CHOICES, help="what the network computes in")
    extra = [extension.lstrip(".") for extension in FORMATS if extension not in (".png", ".npz")]
    estimate.add_argument("--also", action="append", default=[], choices=extra, help="write <stem>.<format> too; may be given again")
    estimate.add_argument("--ply-up", default="y", choices=PLY_AXES, help="what points up in a PLY: y (the default), or z as in Blender")
    estimate.set_defaults(run=_estimate)

    demo = commands.add_parser("demo", help="depth and normals of a photograph that comes with the pack, without a download")
    out = "folder for the results (default: %(default)s)"
    demo.add_argument("--out", type=Path, default=Path("depth-normal-demo"), metavar="DIR", help=out)
    demo.set_defaults(run=_demo)

    models = commands.add_parser("models", help="list the models: what they give, size, licence, where the file is")
    models.add_argument("--json", action="store_true", help="as JSON")
    models.set_defaults(run=_models)

    compare = commands.add_parser("compare", help="how far two files of depth and/or normals of one view are apart")
    compare.add_argument("found", type=Path, metavar="A", help="the file that is judged (.npz, .exr, .png, .pfm)")
    compare.add_argument("truth", type=Path, metavar="B", help="the file that it is judged by")
    compare.add_argument("--normals-from-depth", action="store_true", help="judge normals derived from A's depth, not those in the file")
    compare.add_argument("--json", action="store_true", help="as JSON")
    compare.set_defaults(run=_compare)

    download = commands.add_parser("download", help="download the weights of models")
    download.add_argument("models", nargs="+", metavar="ID")
    download.set_defaults(run=_download)
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of pixels above 0")
    return int(text)


def _degrees(text: str) -> float:
    try:
        degrees = float(text)
    except ValueError:
        degrees = math.nan
    if not 0 < degrees < 180:
        raise argparse.ArgumentTypeError(f"{text!r} is not an angle between 0 and 180 degrees")
    return degrees


def _estimate(arguments: argparse.Namespace) -> int:
    _refuse_same_stems(arguments.pictures)
    model = load_model(arguments.model, arguments.dtype, arguments.device, arguments.weights)
    arguments.out.mkdir(parents=True, exist_ok=True)
    from tqdm import tqdm

    failed = 0
    for path in tqdm(arguments.pictures, unit="picture", disable=len(arguments.pictures) == 1):
        try:
            written = estimate_file(model, path, arguments.out, arguments.size, arguments.also, arguments.fov, arguments.ply_up)
        except EXPECTED_ERRORS as error:
            failed += 1
            _complain(f"{path}: skipped: {error}")
        else:
            tqdm.write(f"{path}: {', '.join(str(each) for each in written)}")
    if failed:
        _complain(f"{failed} of {len(arguments.pictures)} pictures failed")
    return SOME_FAILED if failed else DONE


def estimate_file(
    model: Model, path: Path, folder: Path, size: int | None = None, also: Sequence[str] = (), fov: float = 0.0, ply_up: str = "y"
) -> list[Path]:
    """Writes `<stem>_depth.png`, `<stem>_normals.png` and `<stem>.npz` for one picture: what of these the model gives.

    Args:
        model: The model to run.
        path: The picture.
        folder: An existing folder.
        size: Side of the network's input in pixels; None = the model's default.
        also: Further formats of `geometry.files.FORMATS`, without their dot.
        fov: Degrees that the longer side of the picture spans; 0 = not known.
        ply_up: What points up in a PLY: "y" or "z".

    Returns:
        The files written. Each is written whole or not at all.

    Raises:
        ValueError, OSError: The picture cannot be read, or the results cannot be written.
    """
    picture = as_batch(read_picture(path))
    height, width = picture.shape[-2:]
    estimate = model.estimate(picture, size, derive=lambda part: with_normals(with_fov(part, fov, height, width)))
    written = []
    if estimate.depth is not None and estimate.quantity is not None:
        written.append(folder / f"{path.stem}_depth.png")
        write_depth_png(written[-1], depth_to_image(estimate.depth, estimate.quantity, mask=estimate.mask))
    if estimate.normals is not None:
        written.append(folder / f"{path.stem}_normals.png")
        write_normal_png(written[-1], normals_to_image(estimate.normals, source=estimate.axes, mask=estimate.mask)[0])
    written.append(folder / f"{path.stem}.npz")
    write_npz(written[-1], estimate)
    for extension in also:
        written += save_estimate(folder / f"{path.stem}.{extension}", estimate, SaveOptions(picture=picture, ply_up=ply_up))
    return written


def _demo(arguments: argparse.Namespace) -> int:
    arguments.out.mkdir(parents=True, exist_ok=True)
    written = estimate_file(load_model(BUNDLED_MODEL), DEMO_PICTURE, arguments.out)
    for path in written:
        print(path)  # noqa: T201
    print(f"""
The photograph is {DEMO_PICTURE} (by Rachel Michetti, CC0).
These maps are a preview, by {BUNDLED_MODEL!r}, the small network that comes with the pack. Of your own picture, with a larger network:

    depth-normal estimate photo.jpg --out maps --model {DEFAULT_MODEL}

downloads {find_spec(DEFAULT_MODEL).size_in_words} once; `depth-normal models` lists all models with their sizes and licences.""")  # noqa: T201
    return DONE


def _models(arguments: argparse.Namespace) -> int:
    rows = [_model_row(spec) for spec in MODELS.values()]
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


def _model_row(spec: ModelSpec) -> dict[str, Any]:
    path = find_weights(spec.file)
    return {
        "id": spec.id,
        "gives": spec.gives,
        "size": spec.size,
        "size_is_exact": all(file.size for file in spec.files),
        "licence": spec.licence,
        "commercial_use": not spec.non_commercial,
        "file": str(path) if path else None,
    }


def _compare(arguments: argparse.Namespace) -> int:
    found, truth = load_estimate(arguments.found), load_estimate(arguments.truth)
    if arguments.normals_from_depth:
        found = with_normals(replace(found, normals=None), edges="sharp")
    errors = {}
    if found.depth is not None and truth.depth is not None:
        errors["depth"] = compare_depth(found, truth)
    if found.normals is not None and truth.normals is not None:
        errors["normals"] = compare_normals(found, truth)
    if not errors:
        raise ValueError(f"{arguments.found} and {arguments.truth} hold nothing of the same kind: one has depth, the other normals")
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
                path = find_weights(file) or download_weights(file, spec.licence, spec.licence_url)
            except EXPECTED_ERRORS as error:
                failed += 1
                _complain(f"{spec.id}: {error}")
            else:
                print(f"{spec.id}: {path}")  # noqa: T201
    return SOME_FAILED if failed else DONE


def _refuse_same_stems(pictures: list[Path]) -> None:
    by_stem = defaultdict(set)
    for path in pictures:
        by_stem[path.stem].add(path)
    for paths in by_stem.values():
        if len(paths) > 1:
            raise ValueError(f"these pictures would write the same files: {', '.join(map(str, sorted(paths)))}; give them in separate runs")


def _complain(message: str) -> int:
    print(f"depth-normal: {message}", file=sys.stderr)  # noqa: T201
    return NOTHING_DONE


if __name__ == "__main__":
    sys.exit(main())
