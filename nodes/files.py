"""Files of raw depth and normals in ComfyUI's own folders, and nowhere else."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterable, Sequence
from itertools import repeat
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, TypeVar

from torch import Tensor

from ..geometry.checks import check_alike, check_choice
from ..geometry.estimate import Axes, Estimate, Quantity
from ..geometry.files import FORMATS, SaveOptions, load_estimate, resolve_inside, save_estimate
from ..geometry.files.paths import move_to_free
from ..model_loader.folders import USER_FOLDERS, user_folder
from ..utils import to_rgb
from .batches import geometry_output, one_by_one
from .checks import check_geometry
from .sockets import CATEGORY, GEOMETRY, Inputs
from .widgets import AUTO, choice_widget, geometry_input, image_input, switch_widget

Item = TypeVar("Item")

FORMAT_NAMES = tuple(suffix.lstrip(".") for suffix in FORMATS)
READABLE = tuple(suffix for suffix, entry in FORMATS.items() if entry.read)
DEFAULT_PREFIX, DEFAULT_FORMAT = "geometry/geometry", "exr"
QUANTITIES = (AUTO, *(quantity.value for quantity in Quantity))
AXES = (AUTO, *(axes.value for axes in Axes))

# What ComfyUI's page shows of a node's results, by the key they come under.
_SHOWN_AS = {".png": "images", ".glb": "3d", ".stl": "3d"}
_ANNOTATED = re.compile(rf"(.*) \[({'|'.join(USER_FOLDERS)})\]", re.DOTALL)
_LISTED_DEPTH = 3


def _names(surface: bool) -> str:
    return ", ".join(suffix.lstrip(".") for suffix, entry in FORMATS.items() if entry.surface == surface)


class SaveGeometry:
    """Raw depth and normals into ComfyUI's output folder."""

    NODE_ID = "DepthNormal_SaveGeometry"
    DISPLAY_NAME = "Save Geometry"
    DESCRIPTION = (
        f"Writes raw depth and normals to ComfyUI's output folder: numbers ({_names(surface=False)}) or a mesh ({_names(surface=True)})."
    )
    CATEGORY, FUNCTION, OUTPUT_NODE = CATEGORY, "execute", True
    RETURN_TYPES: ClassVar = ()
    OUTPUT_TOOLTIPS: ClassVar = ()
    SEARCH_ALIASES: ClassVar = ["save depth", "save normals", "exr", "npz", "pfm", "16-bit png", "ply", "glb", "point cloud", "export mesh"]

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        """ComfyUI's description of the inputs."""
        prefix = "Folders below the output folder and the beginning of the name; a number is added: geometry/geometry_00001.exr."
        formats = "\n".join(f"{suffix.lstrip('.')}: {entry.description}" for suffix, entry in FORMATS.items())
        picture = "What a GLB wears and a PLY is coloured with: the picture that the geometry was made of."
        geometry = "Raw depth, normals or both. Each picture of a batch goes to its own file, except in npz and in a mesh of one scene."
        return {
            "required": {"geometry": geometry_input(geometry)},
            "optional": {
                "filename_prefix": ("STRING", {"default": DEFAULT_PREFIX, "tooltip": prefix}),
                "format": choice_widget(FORMAT_NAMES, formats, DEFAULT_FORMAT),
                "half": switch_widget(False, "EXR in 16-bit floats: half the size, 3 digits, up to 65504."),
                "image": image_input(picture),
            },
        }

    @classmethod
    def VALIDATE_INPUTS(cls, filename_prefix: str | None = DEFAULT_PREFIX) -> bool | str:  # noqa: N802
        """Refuses names that leave the output folder before anything runs.

        `None` means that the name comes from another node and is not known yet.
        """
        return prefix_problem(filename_prefix)

    def execute(
        self,
        geometry: Any,
        filename_prefix: str = DEFAULT_PREFIX,
        format: str = DEFAULT_FORMAT,
        half: bool = False,
        image: Tensor | None = None,
    ) -> dict[str, dict[str, list[dict[str, str]]]]:
        """Writes the files and names them to ComfyUI's page."""
        estimate = check_geometry(geometry)
        check_choice("format", format, FORMAT_NAMES)
        suffix = f".{format}"
        whole = FORMATS[suffix].holds(estimate)
        parts = [estimate] if whole else one_by_one(estimate)
        pictures = repeat(None) if image is None else pictures_of(estimate, image, whole)
        dressed = zip(parts, (SaveOptions(half, each) for each in pictures), strict=False)
        written = save_numbered(filename_prefix, suffix, dressed, lambda path, each: save_estimate(path, *each))
        return {"ui": shown(written)}


class LoadGeometry:
    """Raw depth and normals from ComfyUI's input or output folder."""

    NODE_ID = "DepthNormal_LoadGeometry"
    DISPLAY_NAME = "Load Geometry"
    DESCRIPTION = (
        "Reads raw depth and normals from ComfyUI's input or output folder: files of Save Geometry, Blender, renderers and datasets."
    )
    CATEGORY, FUNCTION = CATEGORY, "execute"
    RETURN_TYPES: ClassVar = (GEOMETRY,)
    RETURN_NAMES: ClassVar = ("geometry",)
    OUTPUT_TOOLTIPS: ClassVar = ("What the file holds, number by number.",)
    SEARCH_ALIASES: ClassVar = ["load depth", "load normals", "exr", "npz", "pfm", "16-bit png", "blender", "d.npz", "import depth"]

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        """ComfyUI's description of the inputs."""
        file = "A file in the input folder, or in the output folder where [output] follows the name (its PNGs are not listed: copy them)."
        quantity = "What the depth is, where the file does not say. auto: metres, as in exr and pfm; a png says it itself."
        axes = "The axes of the normals, where the file does not say. auto: OpenGL."
        return {
            "required": {"file": (_listed_files(), {"tooltip": file})},
            "optional": {
                "quantity": choice_widget(QUANTITIES, quantity),
                "axes": choice_widget(AXES, axes),
            },
        }

    @classmethod
    def VALIDATE_INPUTS(cls, file: str | None) -> bool | str:  # noqa: N802
        """Refuses names that leave the folders, and files that are not there, before anything runs.

        `None` means that the name comes from another node and is not known yet.
        """
        return file is None or _problem(lambda: _existing(file))

    @classmethod
    def IS_CHANGED(cls, file: str | None, quantity: str = AUTO, axes: str = AUTO) -> str | float:  # noqa: N802
        """Changes when the file does; a name that comes from another node is not known yet, and NaN equals nothing."""
        if file is None:
            return math.nan
        status = _existing(file).stat()
        return f"{status.st_mtime_ns} {status.st_size}"

    def execute(self, file: str, quantity: str = AUTO, axes: str = AUTO) -> tuple[Estimate]:
        """The estimate."""
        check_choice("quantity", quantity, QUANTITIES)
        check_choice("axes", axes, AXES)
        known_quantity = None if quantity == AUTO else Quantity(quantity)
        known_axes = None if axes == AUTO else Axes(axes)
        return (geometry_output(load_estimate(_existing(file), known_quantity, known_axes)),)


def save_numbered(filename_prefix: str, suffix: str, parts: Iterable[Item], save: Callable[[Path, Item], Sequence[Path]]) -> list[Path]:
    """Writes what there is into ComfyUI's output folder under the next free numbers. All files appear, or none does.

    Args:
        filename_prefix: Folders below the output folder and the beginning of the name.
        suffix: Of the format.
        parts: What goes to a file each.
        save: Writes one; returns its files.

    Returns:
        The files.

    Raises:
        ValueError: A name that leaves the folder, or what cannot be written.
    """
    root = user_folder("output")
    prefix = resolve_inside(root, filename_prefix)
    resolve_inside(root, f"{filename_prefix}_00000{suffix}")  # the name must not become too long by its number
    prefix.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".", dir=prefix.parent) as aside:
        finished = []
        for index, part in enumerate(parts):
            path = Path(aside, f"{index}{suffix}")
            finished.append((path.stem, save(path, part)))
        return _number(finished, prefix)


def shown(written: Sequence[Path]) -> dict[str, list[dict[str, str]]]:
    """What ComfyUI's page is told of files in the output folder."""
    root = user_folder("output")
    return {_SHOWN_AS.get(written[0].suffix, "files"): [_shown(path, root) for path in written]}


def prefix_problem(filename_prefix: str | None) -> bool | str:
    """ComfyUI's answer to a prefix: True, or what is wrong. `None` comes from another node and is not known yet."""
    return filename_prefix is None or _problem(lambda: resolve_inside(user_folder("output"), filename_prefix))


def _problem(check: Callable[[], object]) -> bool | str:
    """ComfyUI's answer: True, or what is wrong."""
    try:
        check()
    except (ValueError, OSError) as error:
        return str(error)
    return True


def _existing(file: str) -> Path:
    """The file that a name means: below the input folder, or below the one that follows it in brackets.

    Raises:
        ValueError: A name that leaves the folder, or an extension that is not read.
        FileNotFoundError: No such file.
    """
    match = _ANNOTATED.fullmatch(file)
    name, kind = match.groups() if match else (file, "input")
    folder = user_folder(kind)
    path = resolve_inside(folder, name)
    if path.suffix.lower() not in READABLE:
        raise ValueError(f"the file name {name!r} ends in '{path.suffix}'; depth and normals are read from {', '.join(READABLE)}")
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {name!r} in the {kind} folder ({folder})")
    return path


def _listed_files() -> list[str]:
    """Files of the input folder, and, marked, of the output folder, where PNGs are everybody's pictures. Empty outside ComfyUI."""
    try:
        outputs = [name for name in _files_below(user_folder("output")) if not name.lower().endswith(".png")]
        return [*_files_below(user_folder("input")), *(f"{name} [output]" for name in outputs)]
    except RuntimeError:
        return []


def _files_below(folder: Path) -> list[str]:
    found = []
    for root, folders, names in os.walk(folder):
        place = Path(root).relative_to(folder)
        folders[:] = [] if len(place.parts) >= _LISTED_DEPTH else [name for name in folders if not name.startswith(".")]
        found += [(place / name).as_posix() for name in names if name.lower().endswith(READABLE) and not name.startswith(".")]
    return sorted(found)


def _number(finished: Sequence[tuple[str, Sequence[Path]]], prefix: Path) -> list[Path]:
    """Gives finished files the next free numbers behind the prefix. All get their names or none does.

    Others may be saving behind the same prefix at this moment: a number belongs to whoever has its name first.

    Args:
        finished: For each picture the stem that its files have, and the files.
        prefix: Where they go: folder and beginning of the name.

    Returns:
        Where they are now.
    """
    placed: list[Path] = []
    number = _next_number(prefix)
    try:
        for stem, paths in finished:
            while (names := _claim(stem, paths, prefix.with_name(f"{prefix.name}_{number:05}"))) is None:
                number += 1
            placed += names
            number += 1
    except BaseException:
        for path in placed:
            path.unlink(missing_ok=True)
        raise
    return placed


def _claim(stem: str, paths: Sequence[Path], target: Path) -> list[Path] | None:
    """Moves one picture's files from names that begin with `stem` to the same that begin with `target`; None where one is taken."""
    placed: list[tuple[Path, Path]] = []
    for path in paths:
        name = target.with_name(target.name + path.name.removeprefix(stem))
        try:
            move_to_free(path, name)
        except FileExistsError:
            for moved, back in placed:
                moved.replace(back)
            return None
        placed.append((name, path))
    return [name for name, _ in placed]


def _next_number(prefix: Path) -> int:
    """One more than the highest number in use behind this prefix."""
    numbered = re.compile(rf"{re.escape(prefix.name)}_(\d+)", re.IGNORECASE)
    return 1 + max((int(match[1]) for path in prefix.parent.iterdir() if (match := numbered.match(path.name))), default=0)


def pictures_of(estimate: Estimate, image: Tensor, whole: bool) -> list[Tensor]:
    """(1, 3, h, w) for each picture of the estimate, at their own size, or all of them as one (B, 3, h, w).

    Raises:
        ValueError: Another number of pictures, or another shape.
    """
    pictures = to_rgb(image)
    if len(pictures) != estimate.batch:
        raise ValueError(f"{len(pictures)} pictures for a geometry of {estimate.batch}; give as many")
    check_alike("geometry", (estimate.height, estimate.width), (pictures.shape[-2], pictures.shape[-1]))
    return [pictures] if whole else list(pictures.split(1))


def _shown(path: Path, root: Path) -> dict[str, str]:
    place = path.relative_to(root.resolve())
    subfolder = "" if place.parent == Path() else place.parent.as_posix()
    return {"filename": place.name, "subfolder": subfolder, "type": "output"}


NODES = (SaveGeometry, LoadGeometry)
