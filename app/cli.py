"""The command `depth-normal`: depth and normal maps of pictures, the list of models, downloads.

Nothing large is imported before a command runs: `--help`, `--version` and mistyped words are answered at once.
"""

from __future__ import annotations

import argparse
import difflib
import io
import json
import logging
import re
import sys
from pathlib import Path
from typing import NoReturn

from .. import __version__
from ..annotators.choices import BUNDLED_MODEL, RECOMMENDED_FILM_MODEL, RECOMMENDED_MODEL
from .arguments import DOCS, DONE, EXIT_CODES, EXPECTED_ERRORS, INTERRUPTED, NOTHING_DONE, SOME_FAILED, TERMINATED, add_json
from .bench_command import add_bench
from .effect_command import add_effect
from .estimate_command import add_demo, add_estimate
from .export_command import add_export
from .mesh_command import add_mesh
from .refine_command import add_refine
from .relight_command import add_relight
from .stereo_command import add_stereo
from .terminal import ShownFormatter, TerminatedError, complain, open_closed_streams, say, shown, terminable
from .texture_command import add_texture
from .verify_command import add_verify
from .video_command import add_video

EXAMPLES = {
    "estimate": (
        "depth-normal estimate a.jpg b.png --out maps --model tiny        # a_depth.png, a_normals.png, ...; without a download",
        "depth-normal estimate photos --recursive --out maps --resume     # a folder; goes on where it was stopped",
        "depth-normal estimate a.jpg --out maps --write npz               # the raw numbers alone",
        "depth-normal estimate a.jpg --out maps --size 485                # MoGe-2 at its resolution level 0: 2.5 times as fast",
        "depth-normal estimate large.jpg --out maps --tiles auto          # more detail in a large picture",
    ),
    "video": (
        "depth-normal video clip.mp4 depth.mp4 --model tiny               # near = white, with clip.mp4's sound",
        "depth-normal video clip.mp4 maps.mp4 --what depth,normals        # maps_depth.mp4, maps_normals.mp4",
        "depth-normal video clip.mp4 depth_%05d.exr                       # the raw numbers, a file a frame",
        "depth-normal video clip.mp4 depth.mp4 --resume                   # after Ctrl-C",
    ),
    "stereo": ("depth-normal stereo photo.jpg --out maps --model tiny            # photo_LRF_Full_SBS.png",),
    "effect": (
        "depth-normal effect depth-of-field a.jpg --out soft.png --model tiny --point 0.5,0.4   # sharp where the point is",
        "depth-normal effect cutout a.jpg --out thing.png --far 35        # the nearest 35 percent, without their background",
        "depth-normal effect fog a.jpg --out fog.jpg --density 0.05       # 5 percent a metre",
        "depth-normal effect fog photos --out foggy --colour white        # a folder of pictures, each under its own name",
    ),
    "relight": (
        "depth-normal relight a.jpg --out lit.png --model tiny --light 180,20                # low from the left; without a download",
        'depth-normal relight a.jpg --out lit.png --point 0.3,0.4,0.7 --colour "#ffb46b" --light 45,30 --intensity 0.4',
    ),
    "texture": (
        "depth-normal texture pbr wall.jpg --out maps --borders seamless  # wall_height.png, _normal, _ao, _curvature",
        "depth-normal texture height normals.png --out height.png         # 16 bits; the pixels of its range are in the file",
        "depth-normal texture occlusion height.png --out ao.png",
    ),
    "mesh": (
        "depth-normal mesh photo.jpg --out photo.glb                      # with the photograph on it; opens in browsers and in Blender",
        "depth-normal mesh photo.jpg --out photo.stl --width 80 --relief 6 # a plate of 80 mm to print",
        "depth-normal mesh photo.jpg --out photo.ply --geometry maps.npz --max-points 0",
    ),
    "refine": ("depth-normal refine photo.jpg --geometry photo.npz --out refined.npz",),
    "download": ("depth-normal download moge-2-vits-normal",),
    "compare": ("depth-normal compare found.npz truth.exr",),
    "export": (
        "depth-normal export tiny tiny.onnx",
        "depth-normal export depth-anything-v2-small small.onnx --dtype float16 --size 686x518",
    ),
    "bench": (
        "depth-normal bench --model tiny                                  # without a download",
        "depth-normal bench --model tiny --runtime all                    # every runtime that is here; torch.compile, last, takes minutes",
        "depth-normal bench --model tiny --runtime onnx openvino          # these beside torch",
    ),
    "verify": (
        "depth-normal verify                                              # the models whose files are here",
        "depth-normal verify moge-2-vits-normal --device cuda             # downloads it if need be",
    ),
}
"""What a person types first, by the command; shown below its help."""


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line.

    Args:
        arguments: The words after `depth-normal`; None = those the program was started with.

    Returns:
        The exit code, as EXIT_CODES says.
    """
    open_closed_streams()
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
    log = logging.StreamHandler()
    log.setFormatter(ShownFormatter("%(message)s"))
    logging.basicConfig(handlers=[log])
    # The pack's name, also where this module runs as __main__.
    logging.getLogger(shown.__module__.partition(".")[0]).setLevel(logging.INFO)
    parsed = _parsed(arguments)
    try:
        return parsed.run(parsed)
    except EXPECTED_ERRORS as error:
        complain(_words(error))
        return NOTHING_DONE


def _parsed(arguments: list[str] | None) -> argparse.Namespace:
    """The words as options. Of one that no option is called, the command says so, not the program: its usage names those there are."""
    parser = _parser()
    first = next(iter(sys.argv[1:] if arguments is None else arguments), "")
    if first.startswith("-") and not any(option.startswith(first) for option in ("-h", "--help", "--version")):
        parser.error(f"{first} stands before the command; options follow it: depth-normal COMMAND {first}")
    parsed, unknown = parser.parse_known_args(arguments)
    if unknown:
        close = difflib.get_close_matches(unknown[0].partition("=")[0], re.findall(r"--[\w-]+", parsed.parser.format_usage()), 1)
        parsed.parser.error(f"unrecognized arguments: {' '.join(unknown)}" + (f"; did you mean {close[0]}?" if close else ""))
    return parsed


def _words(error: BaseException) -> str:
    """What an error says; the system's own without its number."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return str(error)


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints can be shown, whatever was typed."""

    def error(self, message: str) -> NoReturn:
        """See `argparse.ArgumentParser`."""
        super().error(shown(message))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="depth-normal",
        description="Depth and normal maps from any picture.",
        epilog=f"{EXIT_CODES}\n\nhelp and messages name pages below docs/: they lie in {DOCS}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"depth-normal {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, task: str) -> argparse.ArgumentParser:
        examples = "\n".join(("for example:", *(f"  {line}" for line in EXAMPLES.get(name, ()))))
        added = commands.add_parser(
            name,
            help=task,
            description=f"{task[0].upper()}{task[1:]}.",
            epilog=examples if name in EXAMPLES else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        added.set_defaults(parser=added)
        return added

    add_demo(command("demo", "write depth and normals of a photograph that comes with the pack, without a download"))
    add_estimate(command("estimate", "write depth and normal maps of pictures"))
    add_video(command("video", "write depth, normals, stereo, or depth beside the picture, of a film"))
    add_stereo(command("stereo", "make pictures three-dimensional: side by side, top and bottom, anaglyph"))
    add_effect(command("effect", "make masks, cut-outs, fog and depth of field of a picture"))
    add_relight(command("relight", "put a picture under other lamps, with shadows"))
    add_texture(command("texture", "make maps of a material: height, normals, curvature, occlusion, or all of one photograph"))
    add_mesh(command("mesh", "make a textured mesh (.glb, .ply) or a relief to print (.stl) of a picture"))
    add_refine(command("refine", "bring the edges of depth and normals to those of the picture"))
    _add_models(command("models", "list the models: what they give, size, licence, where the file is"))
    _add_download(command("download", "download the weights of models, to run later without a network"))
    _add_compare(command("compare", "say how far two files of depth and/or normals of one view are apart"))
    add_bench(command("bench", "measure how fast a model is on this machine, as a table to paste into an issue"))
    add_export(command("export", "write a model's network as an ONNX file, for programs without this pack"))
    add_verify(command("verify", "check models and their files on a photograph, as a table to paste into an issue"))
    return parser


def _add_models(parser: argparse.ArgumentParser) -> None:
    add_json(parser)
    parser.set_defaults(run=_models)


def _add_compare(parser: argparse.ArgumentParser) -> None:
    judged = "the file that is judged: .npz, .exr, .pfm, or a .png of the node Save Geometry (<stem>_depth.png has no range)"
    parser.add_argument("found", type=Path, metavar="A", help=judged)
    parser.add_argument("truth", type=Path, metavar="B", help="the file that it is judged by, of the same kinds")
    parser.add_argument("--normals-from-depth", action="store_true", help="judge normals derived from A's depth, not those in the file")
    add_json(parser)
    parser.set_defaults(run=_compare)


def _add_download(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("models", nargs="+", metavar="ID", help="as `depth-normal models` lists them")
    parser.set_defaults(run=_download)


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
        lines.append({**row, "size": spec.size_in_words, "licence": spec.terms, "file": row["file"] or "not downloaded"})
    widths = {key: max(len(str(line[key])) for line in lines) for key in header}
    for line in lines:
        say("  ".join(str(line[key]).ljust(widths[key]) for key in header).rstrip())
    say(f"without --model: {RECOMMENDED_MODEL} of pictures, {RECOMMENDED_FILM_MODEL} of films; {BUNDLED_MODEL} comes with the pack")
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
