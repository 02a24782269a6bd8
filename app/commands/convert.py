"""`depth-normal convert`: files of depth and normals in another format."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ...options.outputs import PLY_UP, READABLE, WRITTEN, ConvertOptions
from ..batch.overwriting import check_places, note_results, remove_outdated
from ..console.parser import Parser
from ..console.terminal import echo, shown
from ..console.viewer import show
from ..outcomes import DONE
from .arguments import add_map_kind, chosen_quantity
from .option_table import add_options, refuse_options
from .result_paths import add_overwrite, add_place, check_extension, place

if TYPE_CHECKING:
    from ...geometry.estimate import Estimate

ANOTHER = "choose another name"

_SHOW_AN_IMAGE = (".glb", ".ply", ".html")
# Of the formats that can be read back; in others nobody looks for it.
_NOT_KEPT = {".pfm": ("quantity", "intrinsics", "extrinsics", "confidence"), ".png": ("extrinsics", "confidence"), ".exr": ("extrinsics",)}


def add_convert(parser: Parser) -> None:
    """Adds the options of `convert`."""
    source = f"the file to read: {', '.join(READABLE)}; of .tif floats, of .heic a phone's depth"
    parser.add_argument("source", type=Path, metavar="A", help=source)
    result = f"the file to write: {', '.join(WRITTEN)}; of depth and normals, .png and .pfm are two files, the second B_normals"
    parser.add_argument("target", type=place, nargs="?", metavar="B", help=f"{result}; or a folder")
    add_place(parser, "B", "<A>.png, of a .png <A>.npz")
    add_map_kind(parser, near=False)
    image = f"the image that A is of, which {', '.join(_SHOW_AN_IMAGE)} show"
    parser.add_argument("--image", type=Path, metavar="IMAGE", help=image)
    add_options(parser, ConvertOptions)
    add_overwrite(parser, "file")
    parser.set_defaults(run=_convert)


def _convert(arguments: argparse.Namespace) -> int:
    source, to = arguments.source, arguments.target or arguments.place
    if arguments.target is not None:
        refuse_options(arguments, ("--out",), f"names a result, and so does {arguments.target.path}; leave one of them out")
    out = to.file(f"{source.stem}{'.npz' if source.suffix.lower() == '.png' and not arguments.as_image else '.png'}")
    suffix = out.suffix.lower()
    check_extension(out, WRITTEN)
    for option, endings in (("--as-image", (".png",)), ("--half", (".exr",)), ("--up", (".ply",)), ("--image", _SHOW_AN_IMAGE)):
        if suffix not in endings:
            refuse_options(arguments, (option,), f"is for {', '.join(endings)}, and {out} is a {suffix}; leave it out")
    if not arguments.as_image:
        refuse_options(arguments, ("--near",), "is for an image to look at; add --as-image, or leave it out")
    from ...geometry.files import SaveOptions, load_estimate, possible_paths, read_paths, save_estimate

    read = [*read_paths(source), *([] if arguments.image is None else [arguments.image])]
    command = "" if to.is_folder else f"{arguments.parser.prog}{' --as-image' * arguments.as_image}"
    check_places([out], read, arguments.overwrite, source, command, ANOTHER)
    from ..batch.per_image import read as read_photo
    from ..batch.staging import kept_if_used

    estimate = load_estimate(source, chosen_quantity(arguments), channel=arguments.channel)
    photo = None if arguments.image is None else read_photo(arguments.image)
    if estimate.depth is not None and estimate.normals is not None:
        check_places(possible_paths(out), read, arguments.overwrite, source, command, ANOTHER)
    up = arguments.up or PLY_UP[0]
    options = SaveOptions(half=arguments.half, image=photo, ply_up=up, as_image=arguments.as_image, near=arguments.near)
    with kept_if_used(out.parent):
        written = save_estimate(out, estimate, options)
    note_results(source, written, command)
    for outdated in set(possible_paths(out)) - {*written}:  # would be read as the normals of the new depth
        remove_outdated(source, outdated, command, of_others=False)  # `estimate` may have made it of a photo
    lost = "" if arguments.as_image else _lost(estimate, suffix)
    echo(shown(f"{' and '.join(map(str, read_paths(source)))}: {', '.join(map(str, written))} ({_words(estimate)}){lost}"))
    if arguments.open:
        show(written[0])
    return DONE


def _words(estimate: Estimate) -> str:
    maps = [str(estimate.quantity.value).replace("_", " ")] if estimate.quantity else []
    empty = "" if bool(estimate.valid.any()) else ", no pixel has a value"
    return f"{' and '.join([*maps, *(['normals'] if estimate.normals is not None else [])])}, {estimate.width}x{estimate.height}{empty}"


def _lost(estimate: Estimate, suffix: str) -> str:
    """Lists data that the format cannot store."""
    lost = [name for name in _NOT_KEPT.get(suffix, ()) if getattr(estimate, name) is not None]
    return f"; {suffix} does not keep {', '.join(lost)}" if lost else ""
