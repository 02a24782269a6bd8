"""`depth-normal export`: a model's network as an ONNX file, for programs that have neither this pack nor torch."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

from .arguments import DONE, add_json
from .scene import check_folder
from .step_display import displayed_steps
from .terminal import say, shown

DTYPES = ("float32", "float16")


def add_export(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `export`."""
    parser.add_argument("model", metavar="MODEL", help="as `depth-normal models` lists them")
    parser.add_argument("out", type=Path, metavar="FILE.onnx", help="the file; weights beyond 1.8 GB lie beside it as FILE.onnx.data")
    dtype = "what the network computes in; what goes in and comes out is float32 (default: %(default)s)"
    parser.add_argument("--dtype", default=DTYPES[0], choices=DTYPES, help=dtype)
    size = "WxH: the one size of the file's input, whatever the image; N: as `estimate --size`, stated in the file's metadata and compared"
    parser.add_argument("--size", type=_size, metavar="N|WxH", help=f"{size} (default: the model's)")
    batch = "the one number of pictures that the file sees at once (default: any, where the network allows)"
    parser.add_argument("--batch", type=_count, metavar="N", help=batch)
    parser.add_argument("--weights", type=Path, metavar="FILE", help="weights to use in place of the published file")
    parser.add_argument("--overwrite", action="store_true", help="replace a file that is there already")
    add_json(parser)
    parser.set_defaults(run=_export)


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 4096:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of pictures from 1 to 4096")
    return int(text)


def _size(text: str) -> int | tuple[int, int]:
    """A side, or (height, width)."""
    found = re.fullmatch(r"([1-9]\d{0,4})(?:[xX]([1-9]\d{0,4}))?", text, re.ASCII)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; give pixels such as 518, or width x height such as 686x518")
    width, height = found.groups()
    return (int(height), int(width)) if height else int(width)


def _export(arguments: argparse.Namespace) -> int:
    out: Path = arguments.out
    if out.suffix.lower() != ".onnx":
        raise ValueError(f"{out}: the name ends in {out.suffix or 'no extension'}; this command writes .onnx")
    if out.is_dir():
        raise IsADirectoryError(f"{out} is a folder; name the file, such as {out / arguments.model}.onnx")
    if out.exists() and not arguments.overwrite:
        raise FileExistsError(f"{out} is there already; --overwrite replaces it")
    check_folder(out.parent)
    from .export import export

    size, sides = (None, arguments.size) if isinstance(arguments.size, tuple) else (arguments.size, None)
    with displayed_steps(arguments.model) as step:
        found = export(arguments.model, out, arguments.dtype, size, sides, arguments.batch, arguments.weights, step)
    if arguments.json:
        checks = [each._asdict() for each in found.checks]
        say(json.dumps({"files": list(map(str, found.files)), "bytes": found.size, "seconds": found.seconds, "checks": checks}, indent=2))
        return DONE
    say(shown(f"{arguments.model}: {', '.join(map(str, found.files))} ({found.size / 1e6:.1f} MB, {found.seconds:.0f} s)"))
    for each in found.checks:
        say(f"  {each.by} beside torch in float32, of {each.what}: at most {each.largest:.2g} of 255 apart, {each.mean:.2g} in the mean")
    return DONE
