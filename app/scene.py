"""What every command that makes one picture or surface of another asks: the picture, what is known of it, and where the result goes."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..annotators.choices import RECOMMENDED_MODEL
from .arguments import CODING_CHOICES, SIZE, add_device, add_model, chosen_model, degrees, positive
from .terminal import say, shown

if TYPE_CHECKING:
    from torch import Tensor

    from ..geometry.estimate import Estimate
    from .work import Options


PICTURES = (".png", ".jpg", ".jpeg")
"""Extensions of the pictures that `write_picture` writes."""

_SOURCES = ("geometry", "depth", "normal_map")
_JPEG_QUALITY = 95
_PNG_BITS_AT, _TIFF_BITS = 24, 258


@dataclass(frozen=True)
class Scene:
    """A picture and what is known of it.

    Attributes:
        picture: (1, 3, H, W) in [0, 1], as coded in the file, where the estimate is.
        known: Depth and/or normals at the picture's size.
        bits: Of the file's channels: 8 or 16.
    """

    picture: Tensor
    known: Estimate
    bits: int


def add_scene(parser: argparse.ArgumentParser, several: bool = False) -> None:
    """Adds the picture, or several for `over_pictures`, and where its depth and normals come from; `read_scene` takes them."""
    if several:
        sources = "the picture; or several, folders, patterns, @list.txt, -: then --out is a folder, and depth comes from a model"
        parser.add_argument("pictures", nargs="+", metavar="PICTURE", help=sources)
        recursive = "look into folders in folders too; the tree is kept below --out"
        parser.add_argument("--recursive", action="store_true", help=recursive)
    else:
        parser.add_argument("picture", type=Path, metavar="PICTURE", help="the picture, as `estimate` takes it")
    group = parser.add_argument_group("where depth and normals come from: files, or else a model")
    geometry = "depth and/or normals of the picture: .npz, .exr, .pfm, or a .png of the node Save Geometry"
    group.add_argument("--geometry", type=Path, metavar="FILE", help=geometry)
    depth = "a depth picture of any program, near = white, read as disparity"
    group.add_argument("--depth", type=Path, metavar="FILE", help=depth)
    normals = "a normal map of any program, beside or without --depth"
    group.add_argument("--normal-map", type=Path, metavar="FILE", help=normals)
    group.add_argument("--coding", choices=CODING_CHOICES, default=CODING_CHOICES[0], help="of --normal-map (default: %(default)s)")
    add_model(group, RECOMMENDED_MODEL)
    group.add_argument("--size", type=positive, metavar="N", help=SIZE)
    fov = "field of view of the picture's longer side, where the camera is known"
    group.add_argument("--fov", type=degrees, default=0.0, metavar="DEGREES", help=fov)
    add_device(group)


def add_result(parser: argparse.ArgumentParser, extensions: Sequence[str] = PICTURES, several: bool = False) -> None:
    """Adds --out and --overwrite; `check_result` and `result_path` take them."""
    result = f"the result: {', '.join(extensions)}{'; of several pictures, a folder' * several}"
    parser.add_argument("--out", required=True, type=Path, metavar="FILE", help=result)
    parser.add_argument("--overwrite", action="store_true", help="replace a file that is there already")
    parser.set_defaults(extensions=tuple(extensions))


def check_result(arguments: argparse.Namespace) -> None:
    """Refuses a result that cannot be written, or would replace what is read, before anything is read or loaded.

    Args:
        arguments: Of a parser with `add_result`.

    Raises:
        ValueError: An extension that is not written, or the result is what is read.
        FileExistsError: A file is there, and nobody said that it may be replaced.
    """
    out: Path = arguments.out
    if out.suffix.lower() not in arguments.extensions:
        raise ValueError(f"{out}: the name ends in {out.suffix or 'no extension'}; this command writes {', '.join(arguments.extensions)}")
    if out.is_dir():
        raise IsADirectoryError(f"{out} is a folder; name the file, such as {out / 'result'}{arguments.extensions[0]}")
    check_folder(out.parent)
    if not out.exists():
        return
    sources = (getattr(arguments, name, None) for name in ("picture", *_SOURCES))
    for source in sources:
        if source is not None and source.exists() and out.samefile(source):
            raise ValueError(f"{out} is what is read; choose another name for the result")
    if not arguments.overwrite:
        raise FileExistsError(f"{out} is there already; move it, choose another name, or replace it with --overwrite")


def check_folder(folder: Path) -> None:
    """Refuses a folder that cannot be made, as a file stands in its place.

    Raises:
        NotADirectoryError: Says which file.
    """
    there = next((each for each in (folder, *folder.parents) if each.exists()), None)
    if there is not None and not there.is_dir():
        raise NotADirectoryError(f"{there} is a file, not a folder that results could be written into; choose another one")


def read_scene(arguments: argparse.Namespace, fitted: bool = True) -> Scene:
    """The picture and what is known of it.

    Args:
        arguments: Of a parser with `add_scene`.
        fitted: Bring a geometry file to the picture's size; else it keeps its own, and steps of depth stay steps.

    Raises:
        ValueError, OSError: A file cannot be read, two sources are named for one thing, or the file holds several pictures.
    """
    from ..model_loader.load import parse_device
    from ..model_loader.room import check_effect_room
    from .work import estimate, read

    files = named_files(arguments)
    picture = read(arguments.picture)
    height, width = picture.shape[-2:]
    device = parse_device(arguments.device)
    check_effect_room(height, width, device)
    if files:
        return Scene(picture.to(device), _from_files(arguments, height, width, fitted).to(device), bits_of(arguments.picture))
    options = scene_options(arguments)
    known = estimate(options.load(arguments.device), picture, options)
    return Scene(picture.to(known.device), known, bits_of(arguments.picture))


def scene_options(arguments: argparse.Namespace) -> Options:
    """The model that depth and normals come from, of a parser with `add_scene`."""
    from .work import Options

    return Options(chosen_model(arguments), arguments.weights, arguments.dtype, arguments.size, arguments.fov)


def check_model(arguments: argparse.Namespace, *, depth: bool = False, normals: bool = False, metres: str = "") -> None:
    """Refuses a model that does not give what a command needs, before it is loaded. What files hold is seen when they are read.

    Args:
        arguments: Of a parser with `add_scene`.
        depth: Whether depth is needed.
        normals: Whether normals are needed, its own or those of its depth.
        metres: Why depth in metres is needed, in words; empty where it is not.

    Raises:
        ValueError: The model gives something else, an unknown model, or as `named_files`.
    """
    from ..annotators.registry import find_spec
    from ..geometry.estimate import Quantity

    if named_files(arguments):
        return
    spec = find_spec(chosen_model(arguments))
    if (depth or metres) and spec.quantity is None:
        raise ValueError(f"{spec.id} gives {spec.gives}, and depth is needed; choose another model")
    if metres and spec.quantity is not Quantity.METRIC_DEPTH:
        raise ValueError(
            f"{spec.id} gives {spec.gives}, and {metres} needs depth in metres: leave it out, or choose a model of metric depth"
        )
    if normals and not spec.axes and spec.quantity is Quantity.RELATIVE_DEPTH:
        raise ValueError(f"{spec.id} gives {spec.gives}, whose slopes are not known, and normals are needed; choose another model")


def named_files(arguments: argparse.Namespace) -> list[Path]:
    """The files that depth and normals come from."""
    named = [(name, path) for name in _SOURCES if (path := getattr(arguments, name)) is not None]
    if named and (arguments.model or arguments.weights):
        option = "--model" if arguments.model else "--weights"
        raise ValueError(f"{named[0][1]} already says where depth and normals come from; leave out {option}")
    if len(named) > 1 and named[0][0] == "geometry":
        raise ValueError(f"--geometry and --{named[1][0].replace('_', '-')} both say where depth and normals come from; name one")
    return [path for _, path in named]


def _from_files(arguments: argparse.Namespace, height: int, width: int, fitted: bool) -> Estimate:
    """What files say, at a picture's size."""
    from ..geometry.camera import intrinsics_from_fov
    from ..geometry.checks import check_alike
    from ..geometry.files import load_estimate

    if arguments.geometry:
        known = load_estimate(arguments.geometry)
        if known.batch != 1:
            raise ValueError(f"{arguments.geometry} holds {known.batch} pictures; a picture needs the one that is of it")
        check_alike(str(arguments.geometry), (known.height, known.width), (height, width))
    else:
        known = _from_pictures(arguments, height, width)
    camera = intrinsics_from_fov(arguments.fov, known.height, known.width) if arguments.fov else known.intrinsics
    known = replace(known, intrinsics=camera)
    return known.resized(height, width) if fitted else known


def _from_pictures(arguments: argparse.Namespace, height: int, width: int) -> Estimate:
    """What a depth picture, a normal map or both say."""
    from ..geometry.checks import check_alike
    from ..geometry.depth_image import maps_to_estimate
    from .work import read

    paths = {name: getattr(arguments, name) for name in ("depth", "normal_map")}
    maps = {name: None if path is None else read(path) for name, path in paths.items()}
    for name, image in maps.items():
        if image is not None:
            check_alike(str(paths[name]), (image.shape[-2], image.shape[-1]), (height, width))
    return maps_to_estimate(maps["depth"], maps["normal_map"], arguments.coding, height, width, str(paths["normal_map"]))


def bits_of(path: Path) -> int:
    """Of a picture's channels, 8 or 16, so that a result can have as many."""
    from PIL import Image

    with Image.open(path) as image:
        if image.format == "PNG":
            with path.open("rb") as file:
                return 16 if file.read(_PNG_BITS_AT + 1)[_PNG_BITS_AT] == 16 else 8
        return 16 if max(_tiff_bits(image), default=8) > 8 else 8


def _tiff_bits(image: Any) -> tuple[int, ...]:
    return tuple(getattr(image, "tag_v2", {}).get(_TIFF_BITS, ()))


@contextmanager
def result_path(arguments: argparse.Namespace) -> Iterator[Path]:
    """A path to write the result to, moved to its place when the block ends well; the folder is made where it is absent.

    Args:
        arguments: Of a parser with `add_result`, checked by `check_result`.

    Raises:
        OSError: The system refuses to write.
    """
    from ..geometry.files import atomic_path

    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    try:
        with atomic_path(arguments.out) as path:
            yield path
    except OSError as error:
        if error.filename is not None or not error.strerror:
            raise
        raise OSError(error.errno, error.strerror, str(arguments.out)) from error


def say_result(arguments: argparse.Namespace, words: str = "", paths: Iterable[Path] = ()) -> None:
    """Says what was made of the picture, as `estimate` does.

    Args:
        arguments: Of a parser with `add_result`.
        words: What there is to know of it.
        paths: The files, where they are others than --out.
    """
    names = ", ".join(map(str, paths)) or str(arguments.out)
    say(shown(f"{arguments.picture}: {names}" + (f" ({words})" if words else "")))


def write_picture(path: Path, picture: Tensor, bits: int = 8) -> None:
    """Writes a picture as its extension says.

    Args:
        path: One of PICTURES.
        picture: (C, H, W) or (1, C, H, W) in [0, 1], 1 (grey), 3 (RGB) or 4 channels (RGB and alpha, a PNG only).
        bits: 8 or 16 a channel; a JPEG has 8.

    Raises:
        ValueError: Alpha in a JPEG.
    """
    from ..geometry.files import write_picture_png

    if path.suffix.lower() == ".png":
        write_picture_png(path, picture, bits)
        return
    from PIL import Image

    planes = picture[0] if picture.ndim == 4 else picture
    if planes.shape[0] == 4:
        raise ValueError(f"{path}: a JPEG has no alpha; write a .png")
    pixels = (planes.float().nan_to_num(0.0).clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(path, quality=_JPEG_QUALITY, subsampling=0)
