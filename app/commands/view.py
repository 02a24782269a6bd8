"""`depth-normal view`: files of depth and normals as pages for any browser."""

from __future__ import annotations

import argparse
from pathlib import Path

from ...options.outputs import READABLE, READABLE_WORDS
from ..batch.overwriting import check_places, note_results
from ..batch.records import image_of_result
from ..batch.sources import EXTENSIONS, expanded
from ..console.terminal import echo, echo_error, program, quoted, shown
from ..console.viewer import show
from ..outcomes import DEFAULT_FOLDER, DONE, EXPECTED_ERRORS, NOTHING_DONE, SOME_FAILED
from .arguments import add_map_kind, chosen_quantity
from .result_paths import Place, add_overwrite, check_extension, folder_or_file, name_a_folder


def add_view(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `view`."""
    files = f"files of depth and normals: {READABLE_WORDS}, or with --quantity"
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help=files)
    image = "the image that the file is of (default: the one that `estimate` made it of)"
    parser.add_argument("--image", type=Path, metavar="IMAGE", help=image)
    add_map_kind(parser, near=False)
    where = "folder for the pages, made if absent; or the file of a single page (default: %(default)s)"
    parser.add_argument("-o", "--out", type=folder_or_file, default=DEFAULT_FOLDER, metavar="PATH", help=where)
    opened = "open the page when it is done, of several the folder, or (--no-open) only write it (default: --open)"
    parser.add_argument("--open", action=argparse.BooleanOptionalAction, default=True, help=opened)
    add_overwrite(parser, "file")
    parser.set_defaults(run=_view)


def _view(arguments: argparse.Namespace) -> int:
    files = [file for each in arguments.files for file in expanded(each)]
    if arguments.image is not None and len(files) > 1:
        raise ValueError(f"--image is of one file, and {len(files)} are named; leave it out, or name one file")
    if isinstance(arguments.out, Place):
        check_extension(arguments.out.path, [".html"])
        if len(files) > 1:
            raise ValueError(f"{arguments.out.path} is the name of one file, and {len(files)} are named; {name_a_folder(arguments.out)}")
    pages = [_page(files[0], arguments)] if len(files) == 1 else list(filter(None, (_page_or_none(each, arguments) for each in files)))
    if arguments.open and pages:
        show(pages[0] if len(pages) == 1 else pages[0].parent)
    return DONE if len(pages) == len(files) else SOME_FAILED if pages else NOTHING_DONE


def _page_or_none(file: Path, arguments: argparse.Namespace) -> Path | None:
    """The page of one of several files; prints the error and returns None on failure."""
    try:
        return _page(file, arguments)
    except EXPECTED_ERRORS as error:
        from ..batch.failures import failure_of

        echo_error(shown(failure_of(str(file), error).reason))
        return None


def _page(file: Path, arguments: argparse.Namespace) -> Path:
    if file.suffix.lower() in EXTENSIONS - set(READABLE):
        raise ValueError(f"{file} is an image; `{program()} {quoted(file)} --write html --open` makes a page of its depth and normals")
    image = arguments.image or image_of_result(file)
    is_named, made_of = isinstance(arguments.out, Place), image or file
    page = arguments.out.path if is_named else arguments.out / f"{file.stem}.html"
    command = arguments.parser.prog if is_named else ""
    check_places([page], [file, *([image] if image else [])], arguments.overwrite, made_of, command)
    from ...geometry.files import load_estimate, write_html
    from ...geometry.surfaces.derive import with_assumed_normals
    from ..batch.per_image import read
    from ..batch.staging import kept_if_used

    estimate = load_estimate(file, chosen_quantity(arguments), channel=arguments.channel)
    photo = None if image is None else read(image)
    with kept_if_used(page.parent):
        write_html(page, estimate, photo, derive=with_assumed_normals)  # for shading
    note_results(made_of, [page], command)
    echo(shown(f"{file}: {page} ({page.stat().st_size / 1e6:.1f} MB)"))
    return page
