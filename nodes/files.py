"""Loads and saves files of raw depth and normals, in ComfyUI's own folders only."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import repeat
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..geometry.estimate import Axes, Estimate, Quantity
from ..geometry.files import FORMATS, FileFormat, SaveOptions, load_estimate, save_estimate
from ..geometry.files.packed_maps import preview_maps, preview_size
from ..model_loader.comfy.host import user_folder
from ..options.checks import check_choice
from ..options.estimate import AUTO
from ..options.outputs import READABLE, UNITS, WRITTEN
from .batches import geometry_output, one_by_one, with_progress
from .checks import check_geometry, check_images_of
from .effect_inputs import with_alpha
from .listing import existing_file, file_state, geometry_files, split_name
from .live import KEY, MAX_IMAGES, Payload, image_payload
from .option_widgets import Node
from .preview import describe, map_tiles
from .saving import SavingNode, file_entries, fill_in, output_name, prefix_widget, problem_of, save_numbered
from .widgets import FILES, GEOMETRY, Inputs, as_advanced, choice_widget, geometry_input, image_input, switch_widget

FORMAT_NAMES = tuple(suffix.lstrip(".") for suffix in WRITTEN)
DEFAULT_PREFIX, DEFAULT_FORMAT = "geometry/geometry", "exr"
QUANTITIES = (AUTO, *(quantity.value for quantity in Quantity), *UNITS)
AXES = (AUTO, *(axes.value for axes in Axes))
NOTHING = "(choose a file)"
"""The list entry before a file is chosen."""

UPLOAD = "depth_normal_upload"
"""Option of a file list for `web/upload.mjs`: the extensions that may be uploaded."""


def _names(holds: Callable[[FileFormat], object]) -> str:
    return ", ".join(suffix.lstrip(".") for suffix, entry in FORMATS.items() if holds(entry))


class SaveGeometry(SavingNode):
    """Saves raw depth and normals to ComfyUI's output folder."""

    NODE_ID = "DepthNormal_SaveGeometry"
    DISPLAY_NAME = "Save Geometry"
    DESCRIPTION = (
        f"Saves raw depth and normals to ComfyUI's output folder as numbers ({_names(lambda entry: entry.read and entry.write)}), "
        f"a mesh ({_names(lambda entry: entry.surface)}) or a page for any browser (html)."
    )
    SEARCH_ALIASES = (
        "save depth, save normals, save exr, npz, pfm, 16-bit png, ply, glb, point cloud, pointcloud, export depth, export z pass, "
        "html viewer"
    )
    INPUTS: ClassVar = {
        "required": {
            "geometry": geometry_input(
                "Depth, normals or both as numbers, e.g. from Depth & Normals. Each image of a batch gets its own file, except "
                "in npz and in a mesh of one scene."
            )
        },
        "optional": {
            "filename_prefix": prefix_widget(DEFAULT_PREFIX, ".exr"),
            "format": choice_widget(
                FORMAT_NAMES, "\n".join(f"{suffix.lstrip('.')}: {FORMATS[suffix].description}" for suffix in WRITTEN), DEFAULT_FORMAT
            ),
            "half": switch_widget(False, "Saves EXR with 16-bit floats: half the size, 3 digits, up to 65504."),
            "image": image_input(
                "Texture of a GLB, colours of a PLY, and shown on a page: the image that the geometry was estimated from."
            ),
            "compositing": as_advanced(
                switch_widget(
                    False,
                    "Saves EXR with the image, positions and masks too, in the channels that Nuke, Fusion, After Effects and Blender know, "
                    "and the camera as a .chan file.",
                )
            ),
        },
    }

    def execute(
        self,
        geometry: Any,
        filename_prefix: str = DEFAULT_PREFIX,
        format: str = DEFAULT_FORMAT,
        half: bool = False,
        image: Tensor | None = None,
        compositing: bool = False,
        prompt: Mapping[str, Any] | None = None,
        extra_pnginfo: Mapping[str, Any] | None = None,
    ) -> dict[str, dict[str, Any]]:
        estimate = check_geometry(geometry)
        check_choice("format", format, FORMAT_NAMES)
        suffix = f".{format}"
        name = fill_in(filename_prefix, estimate.width, estimate.height, prompt, extra_pnginfo)
        options = SaveOptions(half, compositing=compositing, title=Path(name).name)
        dressed = ((part, replace(options, image=each)) for part, each in with_images(estimate, image, suffix))
        written = save_numbered(name, suffix, dressed, lambda path, each: save_estimate(path, *each))
        groups = 1 if FORMATS[suffix].holds(estimate) else estimate.batch
        return {"ui": {**_on_node(estimate, written, groups), **file_entries(written)}}


class LoadGeometry(Node):
    """Loads raw depth and normals from ComfyUI's input or output folder."""

    NODE_ID = "DepthNormal_LoadGeometry"
    DISPLAY_NAME = "Load Geometry"
    DESCRIPTION = (
        "Loads raw depth and normals from ComfyUI's input or output folder: files of Save Geometry, Blender, renderers and datasets."
    )
    CATEGORY = FILES
    OUTPUTS: ClassVar = {"geometry": (GEOMETRY, "The depth and normals of the file, unchanged.")}
    SEARCH_ALIASES = "load depth, load normals, load exr, npz, pfm, 16-bit png, blender, d.npz, import depth, import z pass, zpass"

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        file = (
            "A file in the input folder, or in the output folder if [output] follows its name. Only files with depth "
            "or normals are listed; upload others with the button below, or drop them on the node."
        )
        quantity = (
            "Kind of depth, if the file does not say it. auto: metres for exr and pfm; Save Geometry's png contains it. "
            "millimetres, kitti (1/256 m): png of depth cameras and of KITTI."
        )
        axes = "Axes of the normals, if the file does not say them. auto: OpenGL."
        return {
            "required": {"file": ([NOTHING, *_listed_files()], {"default": NOTHING, "tooltip": file, UPLOAD: list(READABLE)})},
            "optional": {"quantity": choice_widget(QUANTITIES, quantity), "axes": choice_widget(AXES, axes)},
        }

    @classmethod
    def VALIDATE_INPUTS(cls, file: str | None = NOTHING) -> bool | str:  # noqa: N802
        """Reports names outside the folders and missing files before anything runs; None: the name is linked from another node."""
        return file is None or problem_of(lambda: _existing(file))

    @classmethod
    def IS_CHANGED(cls, file: str | None = NOTHING, quantity: str = AUTO, axes: str = AUTO) -> str | float:  # noqa: N802
        """Returns a value that changes with the file; NaN, which never equals itself, if the name is linked from another node."""
        return math.nan if file is None else file_state(_existing(file))

    def execute(self, file: str, quantity: str = AUTO, axes: str = AUTO) -> tuple[Estimate]:
        check_choice("quantity", quantity, QUANTITIES)
        check_choice("axes", axes, AXES)
        known_quantity = None if quantity == AUTO else quantity
        known_axes = None if axes == AUTO else Axes(axes)
        return (geometry_output(load_estimate(_existing(file), known_quantity, known_axes)),)


def _existing(file: Any) -> Path:
    """Resolves a name to a file in the input folder, or in the folder that follows it in brackets."""
    if file in (NOTHING, "", None):
        raise ValueError(
            f"no file is chosen: choose one in the widget file, or upload one ({', '.join(READABLE)}); Save Geometry writes such files; "
            "for a depth map use Load Image and Depth Image to Geometry"
        )
    name, kind = split_name(file)
    if (suffix := Path(str(name)).suffix).lower() not in READABLE:
        raise ValueError(f"the file name {name!r} ends in '{suffix}'; depth and normals are read from {', '.join(READABLE)}")
    return existing_file(name, kind)


def _listed_files() -> list[str]:
    """Lists files that may hold geometry, in the input folder and, marked, in the output folder. Empty outside ComfyUI."""
    try:
        return [*geometry_files(user_folder("input")), *(f"{name} [output]" for name in geometry_files(user_folder("output")))]
    except RuntimeError:
        return []


def with_images(estimate: Estimate, image: Tensor | None, suffix: str) -> Iterator[tuple[Estimate, Tensor | None]]:
    """The content of each file of a format: an image with its colours (b, 3 or 4, h, w), or all at once, where the format holds them.

    Advances ComfyUI's progress bar. Raises as `check_images_of`, at once.
    """
    whole = FORMATS[suffix].holds(estimate)
    parts = [estimate] if whole else with_progress(one_by_one(estimate), estimate.batch)
    if image is None:
        return zip(parts, repeat(None), strict=False)
    images = with_alpha(image)
    check_images_of(estimate, images, one_for_all=False)
    return zip(parts, [images] if whole else images.split(1), strict=True)


def _on_node(estimate: Estimate, written: Sequence[Path], groups: int) -> dict[str, list[Any]]:
    """Makes the node's display of saved geometry: depth and normals side by side, file names and descriptions.

    `groups` is the number of images with files of their own, the same number each; 1 if all images share their files.
    """
    payloads: list[Payload] = []
    each = len(written) // groups
    for index, part in enumerate(one_by_one(estimate.slice(0, min(estimate.batch, MAX_IMAGES)))):
        small = preview_maps(part, *preview_size(part.height, part.width))
        first = each * min(index, groups - 1)
        names = ", ".join(output_name(path) for path in written[first : first + each])
        payloads.append(image_payload(torch.cat(map_tiles(small)[:-1], 3), text=f"{names}: {describe(part, in_file=True)}"))
    return {KEY: payloads, "images": [each["image"] for each in payloads], "text": [each["text"] for each in payloads]}


NODES = (SaveGeometry, LoadGeometry)
