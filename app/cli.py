"""The command `depth-normal`: subcommands, examples, parsing. Heavy packages load when a command runs: `--help` answers at once."""

from __future__ import annotations

import argparse
import gc
import io
import logging
import os
import sys
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import NoReturn

from .._version import __version__
from ..annotators.choices import COMMAND_LINE, worded
from .commands.shorthand import UnknownCommandError, dashed_file, misplaced_command, model_among, with_command
from .console.parser import SHELLS, Parser, PrintCompletion, did_you_mean
from .console.terminal import NAME, ShownFormatter, TerminatedError, echo_error, exit_with, open_closed_streams, shown, terminable
from .outcomes import DEFAULT_FOLDER, DOCS, EXIT_CODES, EXPECTED_ERRORS, INTERRUPTED, NOTHING_DONE, TERMINATED

# Spins before a waiting OpenMP thread sleeps: some microseconds, longer than the gap between two operations.
_SPINS = "1000"

GROUPS = {
    "start here": (
        ("demo", "write depth and normals of a photo that comes with the package, without a download"),
        ("ui", "open a page in the browser to drop images and videos on"),
        ("estimate", "write depth and normal maps of images (the command that is meant if none is named)"),
        ("video", "write depth, normals, stereo, a camera move, or depth beside the image, of videos"),
    ),
    "more from an image": (
        ("stereo", "make images for both eyes: side by side, top and bottom, anaglyph, VR180"),
        ("parallax", "make a video of a small camera move through an image, or through a video"),
        ("effect", "make masks, cut-outs, fog and depth of field of an image"),
        ("relight", "put an image under other lamps, with shadows"),
        ("texture", "make maps of a material: height, normals, curvature, occlusion, or all of one photo"),
        ("mesh", "make a textured mesh (.glb, .ply) or a relief to print (.stl) of an image"),
    ),
    "models": (
        ("models", "say which model to take, or list all: what they give, size, licence, and place"),
        ("download", "download the weights of models, to run later without a network"),
        ("export", "write a model's network as an ONNX file, for programs without this package"),
    ),
    "files and this machine": (
        ("convert", "write depth and normals of a file in another format: NPZ, EXR, PNG, PFM, a mesh, a page"),
        ("refine", "move the edges of depth and normals in a file to the edges of the image"),
        ("view", "show depth and normals in a file in any browser: one page that can be sent"),
        ("compare", "measure how far two files of depth and/or normals of one view are apart"),
        ("bench", "measure how fast a model is on this machine, as a table to paste into an issue"),
        ("verify", "check models and their files on a photo, as a table to paste into an issue"),
        ("clean", "remove what this program keeps for itself; never results or weights"),
    ),
}
"""The commands as the help groups them: name and task."""

# Commands outside commands/NAME.py. Those of a folder of their own are not listed where it was taken away.
_MODULES = {"demo": "commands.estimate", "download": "commands.models"}
_FOLDERS = {"ui", "bench", "verify"}

EXAMPLES = {
    "ui": (
        "depth-normal ui                           # opens the browser; results go to depth-normal/",
        "depth-normal ui --no-browser --port 8080  # over ssh -L 8080:127.0.0.1:8080",
    ),
    "estimate": (
        "depth-normal photo.jpg --model tiny           # photo_depth.png, photo_normals.png; no download",
        "depth-normal photos --recursive --resume      # a folder; goes on where it was stopped",
        "depth-normal photo.jpg --also npz,glb         # also the raw numbers, and a mesh",
        "depth-normal photo.jpg --tiles auto --refine  # more detail, and sharper edges",
        "depth-normal photo.jpg --size 485             # MoGe-2 at resolution level 0: faster, less detail",
    ),
    "video": (
        "depth-normal video clip.mp4 --model tiny              # depth-normal/clip_depth.mp4, with sound",
        "depth-normal video clip.mp4 --what depth,normals      # clip_depth.mp4, clip_normals.mp4",
        "depth-normal video clip.mp4 -o frames/depth_%05d.exr  # the raw numbers, a file for each frame",
        "depth-normal video clips -o maps/                     # every video of a folder",
        "depth-normal video clips -o maps/ --resume            # after Ctrl-C; what is finished stays",
    ),
    "stereo": (
        "depth-normal stereo photo.jpg                           # photo_LRF_Full_SBS.png",
        "depth-normal stereo photo.jpg --layout anaglyph --open  # for red-cyan glasses",
        "depth-normal stereo photo.jpg --layout vr180            # for headsets: photo_180x180_LR.png",
    ),
    "parallax": (
        "depth-normal parallax photo.jpg  # photo_parallax.mp4, two seconds that loop",
        "depth-normal parallax photo.jpg --move dolly --seconds 4 --open",
        "depth-normal parallax clip.mp4   # the same while a video plays, with its sound",
    ),
    "effect": (
        "depth-normal effect depth-of-field photo.jpg --point 0.5,0.4  # sharp where the point is",
        "depth-normal effect cutout photo.jpg --far 35                 # the nearest 35 percent",
        "depth-normal effect fog photo.jpg -o fog.jpg --density 0.05   # 5 percent per metre",
        "depth-normal effect fog photos -o foggy/ --resume             # a folder; goes on after a stop",
    ),
    "relight": (
        "depth-normal relight photo.jpg --light left --intensity 1.5",
        "depth-normal relight photo.jpg --point 0.3,0.4,0.7 --colour candle --intensity 0.4",
    ),
    "texture": (
        "depth-normal texture pbr wall.jpg --borders seamless  # wall_height.png, _normal, _ao, ...",
        "depth-normal texture height normals.png               # 16 bits; the file says its range",
        "depth-normal texture occlusion height.png -o ao.png",
    ),
    "mesh": (
        "depth-normal mesh photo.jpg                                         # photo.glb, for Blender",
        "depth-normal mesh photo.jpg -o photo.stl --width 80mm --relief 6mm  # a relief to print",
        "depth-normal mesh photo.jpg -o photo.ply --geometry maps.npz --max-points 0",
    ),
    "convert": (
        "depth-normal convert photo.npz photo.png             # 16 bits; the numbers come back from it",
        "depth-normal convert photo.npz depth.png --as-image  # near = white, as ControlNet takes it",
        "depth-normal convert depthpro.npz photo.exr --quantity metric-depth",
        "depth-normal convert render.exr depth.npz --channel ViewLayer.Depth.Z",
    ),
    "refine": ("depth-normal refine photo.jpg --geometry photo.npz      # photo_refined.npz",),
    "models": (
        "depth-normal models            # which one to take",
        "depth-normal models --all      # every model and its licence",
        "depth-normal models --on-disk  # and where their weights are",
        "depth-normal models --licence commercial",
    ),
    "download": ("depth-normal download moge-2-vits-normal",),
    "view": (
        "depth-normal view depth-normal/photo.npz             # depth-normal/photo.html, opened",
        "depth-normal view maps/*.exr -o pages/ --no-open",
    ),
    "compare": (
        "depth-normal compare estimated.npz truth.exr",
        "depth-normal compare estimated.npz truth.exr -o diff.png  # where they differ, as colours",
    ),
    "export": (
        "depth-normal export tiny  # tiny.onnx",
        "depth-normal export depth-anything-v2-small -o small.onnx --dtype float16 --size 686x518",
    ),
    "bench": (
        "depth-normal bench tiny                          # without a download",
        "depth-normal bench tiny --runtime all            # every runtime on this machine",
        "depth-normal bench tiny --runtime onnx openvino  # these beside torch",
    ),
    "verify": (
        "depth-normal verify                                   # the models whose files are here",
        "depth-normal verify moge-2-vits-normal --device cuda  # downloads it if needed",
    ),
    "clean": (
        "depth-normal clean             # lists it, and asks",
        "depth-normal clean maps --yes  # the records in maps/ too, without asking",
    ),
}
"""Examples by command, shown below its help."""

# Allocations between garbage collections. With Python's 700, importing torch and the pack triggers some 390 useless collections. An image
# leaves some 400 such objects, none of them a tensor.
_NEW_OBJECTS = 20_000

_FIRST = """\
depth-normal demo                        # a photo of the package; no download
depth-normal photo.jpg --model tiny      # your photo, by the model in the package
depth-normal photo.jpg                   # the same by MoGe-2, in metres; downloads 141 MB once
depth-normal video clip.mp4"""


def run() -> NoReturn:
    """Entry point of `depth-normal`: runs the command line and exits."""
    gc.set_threshold(_NEW_OBJECTS)
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")  # the package's own errors say what cannot be decoded
    exit_with(main())


def main(arguments: list[str] | None = None) -> int:
    """Runs the words after `depth-normal`, by default `sys.argv[1:]`; returns the exit code, see EXIT_CODES."""
    open_closed_streams()
    _wait_without_spinning()
    try:
        with terminable(), worded(COMMAND_LINE):
            return _run(arguments)
    except KeyboardInterrupt as stop:
        # After an interrupt inside exec() of source text (dataclasses and torch's exporter use it) Python dies by the signal whatever the
        # exit status, until the next exec().
        exec("")
        echo_error("stopped")
        return TERMINATED if isinstance(stop, TerminatedError) else INTERRUPTED


def _wait_without_spinning() -> None:
    """Limits the spinning of torch's OpenMP threads, unless torch is imported already.

    By default GNU's OpenMP spins for a millisecond. If another program takes a core, the spinning keeps the awaited thread off its core,
    and small operations take ten times as long. On an idle machine the limit costs a network some percent.
    """
    if "torch" not in sys.modules and "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)


def _run(arguments: list[str] | None) -> int:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A name that the console cannot encode must not abort the run.
            stream.reconfigure(errors="backslashreplace")
    log = logging.StreamHandler()
    log.setFormatter(ShownFormatter("%(message)s"))
    logging.basicConfig(handlers=[log])
    # The package's own logger, also when this module runs as __main__.
    logging.getLogger(shown.__module__.partition(".")[0]).setLevel(logging.INFO)
    parsed = _parsed(arguments)
    try:
        return parsed.run(parsed)
    except EXPECTED_ERRORS as error:
        echo_error(parsed.parser.message_of(error))
        return NOTHING_DONE


def _parsed(words: list[str] | None) -> argparse.Namespace:
    """Parses the words. Unknown options are reported by the command, whose usage lists the valid ones."""
    words = sys.argv[1:] if words is None else words
    parser = _parser()
    commands = parser.commands
    try:
        typed = with_command(words or ["--help"], commands)
    except UnknownCommandError as error:
        parser.error(str(error))
    if dashed := dashed_file(typed, parser):
        parser.error(f"{dashed} begins with a dash and so is taken for an option; a file of this name is typed ./{dashed}")
    parsed, unknown = parser.parse_known_args(typed)
    if len(typed) > len(words) and (command := misplaced_command(parsed.images, commands)):
        parser.error(f"{words[0]} stands before the command; options follow it: {NAME} {command} {words[0]}")
    options = [word for word in unknown if word.startswith("-") and word != "-"]
    if unknown and not options and isinstance(several := getattr(parsed, "images", getattr(parsed, "videos", None)), list):
        several.extend(unknown)  # images or videos after options
    elif unknown and not options and "--out" in parsed.parser.options:
        parsed.parser.error(f"{unknown[0]} is one word too many; the name of the result follows -o")
    elif unknown:
        parsed.parser.error(f"unrecognized arguments: {' '.join(unknown)}{_meant(options[0], parsed.parser, commands) if options else ''}")
    if isinstance(several := getattr(parsed, "images", None), list) and (model := model_among(several)):
        parsed.parser.error(f"{model!r} is a model; name it behind --model: --model {model}")
    return parsed


def _meant(option: str, parser: Parser, commands: dict[str, Parser]) -> str:
    name = option.partition("=")[0]
    if owners := [owner for other in commands.values() for owner in other.owners(name)]:
        return f"; that is an option of {', '.join(owners)}"
    return did_you_mean(name, parser.options)


def _parser() -> Parser:
    listed, groups = [], _groups()
    for title, group in groups.items():
        listed += ["", f"{title}:", *(f"  {name:<10}{task}" for name, task in group.items())]
    parser = Parser(
        prog=NAME,
        usage=f"{NAME} IMAGE... [options]\n       {NAME} COMMAND ... [options]",
        description="Depth and normal maps from any image, folder or video.\n\n" + _FIRST + "\n" + "\n".join(listed),
        epilog=f"Results go to {DEFAULT_FOLDER}/ in the working directory; -o names another place.\n"
        f"{NAME} COMMAND --help says more. Pages below docs/ lie in {DOCS}\n\n{EXIT_CODES}",
        add=_add_program,
    )
    commands = parser.commands
    for name in commands.keys() & EXAMPLES.keys():
        commands[name].epilog = "\n".join(("for example:", *(f"  {line}" for line in EXAMPLES[name])))
    return parser


def _add_program(parser: Parser) -> None:
    parser.add_argument("--version", action="version", version=f"{NAME} {__version__}", help="show the version and exit")
    completion = "print a script that completes commands, options and models in this shell; needs shtab"
    parser.add_argument("--print-completion", action=PrintCompletion, choices=SHELLS, help=completion)
    every = ((name, task, partial(_add_command, name)) for group in _groups().values() for name, task in group.items())
    parser.add_commands("COMMAND", every, prog=NAME, help=argparse.SUPPRESS)


def _groups() -> dict[str, dict[str, str]]:
    """`GROUPS`, of the commands that are here: tasks by name."""
    here = {path.parent.name for path in Path(__file__).parent.glob("*/command.py")}
    return {title: {name: task for name, task in group if name in here or name not in _FOLDERS} for title, group in GROUPS.items()}


def _add_command(name: str, parser: Parser) -> None:
    module = import_module(f".{name}.command" if name in _FOLDERS else f".{_MODULES.get(name, f'commands.{name}')}", __package__)
    getattr(module, f"add_{name}")(parser)


if __name__ == "__main__":
    sys.exit(main())
