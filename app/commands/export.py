"""`depth-normal export`: writes a model's network as an ONNX file."""

from __future__ import annotations

import argparse
import json
import re
from functools import partial
from pathlib import Path

from ..batch.overwriting import check_places, note_results
from ..console.option_types import whole_type
from ..console.parser import Parser
from ..console.terminal import displayed_steps, echo, shown
from ..console.viewer import show
from ..outcomes import DONE
from .arguments import add_json, add_model_to_name, named_model
from .result_paths import add_overwrite, add_place, check_extension, naming_command

DTYPES = ("float32", "float16")


def add_export(parser: Parser) -> None:
    """Adds the options of `export`."""
    add_model_to_name(parser, "to export")
    add_place(parser, "the .onnx file; weights beyond 1.8 GB lie beside it as FILE.onnx.data", "<model>.onnx")
    dtype = "what the network computes in; what goes in and comes out is float32 (default: %(default)s)"
    parser.add_argument("--dtype", default=DTYPES[0], choices=DTYPES, help=dtype)
    size = "WxH: the one size of the file's input, whatever the image; N: as `estimate --size`, stated in the file's metadata and compared"
    parser.add_argument("--size", type=_size, metavar="N|WxH", help=f"{size} (default: the model's)")
    batch = "the one batch size of the file (default: any, where the network allows)"
    parser.add_argument("--batch", type=whole_type("a batch size from 1 to 4096", 1, 4096), metavar="N", help=batch)
    parser.add_argument("--weights", type=Path, metavar="FILE", help="weights to use in place of the published file")
    add_overwrite(parser, "model")
    add_json(parser)
    parser.set_defaults(run=_export)


def _size(text: str) -> int | tuple[int, int]:
    """Parses a side, or WxH as (height, width)."""
    match = re.fullmatch(r"([1-9]\d{0,4})(?:[xX]([1-9]\d{0,4}))?", text, re.ASCII)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size; give pixels such as 518, or width x height such as 686x518")
    width, height = match.groups()
    return (int(height), int(width)) if height else int(width)


def _export(arguments: argparse.Namespace) -> int:
    model = named_model(arguments)
    out: Path = arguments.place.file(f"{model}.onnx")
    check_extension(out, (".onnx",))
    weights = [] if arguments.weights is None else [arguments.weights]
    command = naming_command(arguments)
    made_of = Path(model) if command else out
    files = [out, out.with_name(f"{out.name}.data")]
    check = partial(check_places, files, weights, arguments.overwrite, made_of, command)
    check()
    from ..onnx_export import export

    size, input_size = (None, arguments.size) if isinstance(arguments.size, tuple) else (arguments.size, None)
    with displayed_steps(model) as step:
        exported = export(model, out, arguments.dtype, size, input_size, arguments.batch, arguments.weights, step, check)
    note_results(made_of, exported.files, command)
    if arguments.open:
        show(exported.files[0])
    if arguments.json:
        checks = [each._asdict() for each in exported.checks]
        values = {"files": [*map(str, exported.files)], "bytes": exported.size, "seconds": exported.seconds, "checks": checks}
        echo(json.dumps(values, indent=2))
        return DONE
    echo(shown(f"{model}: {', '.join(map(str, exported.files))} ({exported.size / 1e6:.1f} MB, {exported.seconds:.0f} s)"))
    for each in exported.checks:
        echo(f"  {each.by} beside torch in float32, of {each.what}: at most {each.largest:.2g} of 255 apart, {each.mean:.2g} in the mean")
    return DONE
