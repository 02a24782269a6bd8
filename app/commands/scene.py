"""Inputs shared by commands that turn an image into another or a mesh: the image, and the source of its depth and normals."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ...annotators.choices import RECOMMENDED_MODEL
from ...options.fields import NeedsMetres
from ...options.outputs import READABLE_WORDS
from ...options.runs import SourcesOptions
from ..outcomes import EXPECTED_ERRORS
from .arguments import (
    NETWORK_OPTIONS,
    add_coding,
    add_map_kind,
    add_network,
    add_several,
    check_weights,
    chosen_quantity,
    chosen_spec,
    network_options,
)
from .option_table import refuse_options
from .result_paths import SOURCES, result_path, say_result, settle_result

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ...geometry.effects.makers import Made
    from ...geometry.estimate import Estimate
    from ...geometry.views.transparency import Layers
    from ..video.own_depth import DepthKind


T = TypeVar("T")

_JPEG_QUALITY = 95


@dataclass(frozen=True)
class Scene:
    """An image with its depth and normals.

    Attributes:
        layers: One image in [0, 1], on the estimate's device.
        known: Depth and/or normals at the image's size; invalid in fully transparent parts.
        bits: Bits per channel of the file: 8 or 16.
    """

    layers: Layers
    known: Estimate
    bits: int

    @property
    def image(self) -> Tensor:
        """(1, 3, H, W) in [0, 1], composited on white."""
        return self.layers.shown

    def to(self, device: torch.device | str) -> Scene:
        """A copy on another device."""
        return replace(self, layers=self.layers.to(device), known=self.known.to(device))


def add_scene(
    parser: argparse.ArgumentParser, several: bool = False, one: str = "an image", sources: type[SourcesOptions] = SourcesOptions
) -> None:
    """Adds the image, or several for `over_images` (described by `one`; options: `sources`), and depth and normals for `read_scene`."""
    if several:
        add_several(parser, one, sources)
    else:
        parser.add_argument("image", type=Path, metavar="IMAGE", help="the image")
    group = parser.add_argument_group("depth and normals", "They come from a model, or from files.")
    add_own_depth(group)
    normals = "a normal map of any program, beside or without --depth"
    group.add_argument("--normal-map", type=Path, metavar="FILE", help=normals)
    add_coding(group, reads=True, of="of --normal-map: ")
    add_network(group, RECOMMENDED_MODEL)


def add_own_depth(group: argparse._ArgumentGroup) -> None:
    """Adds the files that replace a model's depth, for `named_files` and `known_from_files`."""
    geometry = f"depth and/or normals of the image: {READABLE_WORDS}, or with --quantity; of .heic a phone's depth"
    group.add_argument("--geometry", type=Path, metavar="FILE", help=geometry)
    depth = "a depth image of any program, near = white, read as disparity"
    group.add_argument("--depth", type=Path, metavar="FILE", help=depth)
    add_map_kind(group)


def read_scene(arguments: argparse.Namespace, image: Tensor | None = None, fitted: bool = True) -> Scene:
    """Reads the image and its depth and normals, with the arguments of a parser with `add_scene`.

    Args:
        image: The image, if it is read already.
        fitted: Whether to resample a geometry file to the image's size; else depth edges stay sharp, and every pixel has a value.

    Raises:
        ValueError, OSError: A file cannot be read, sources conflict, or the file holds several images.
    """
    from ...geometry.files.image_files import image_bits
    from ...geometry.views.transparency import split_layers
    from ...model_loader.inference.memory_budget import check_effect_fits, on_device_or_cpu
    from ...model_loader.load import parse_device
    from ..batch.per_image import estimate, read_with_alpha

    files = named_files(arguments)
    image = read_with_alpha(arguments.image) if image is None else image
    height, width = image.shape[-2:]
    device = parse_device(arguments.device)
    check_effect_fits(height, width, device)

    def scene(here: Tensor, known: Estimate) -> Scene:
        layers = split_layers(here)
        return Scene(layers, layers.seen(known) if fitted else known, image_bits(arguments.image))

    if files:
        return scene(image.to(device), known_from_files(arguments, height, width, fitted).to(device))
    options = network_options(arguments)
    model = options.load(arguments.device)

    def on(device: torch.device) -> Scene:
        here = image.to(device)
        return scene(here, estimate(model, here, options))

    # Only on CUDA: effects are untested on other GPUs.
    return on_device_or_cpu(on, model.device if model.device.type == "cuda" else image.device, "the image and its maps are kept")


def made_of(scene: Scene, make: Callable[[Scene], T], what: str) -> T:
    """Calls `make` on the scene's device, or on the CPU if GPU memory is full; `what` names the result: "the fog"."""
    from ...model_loader.inference.memory_budget import on_device_or_cpu

    return on_device_or_cpu(lambda device: make(scene.to(device)), scene.image.device, f"{what} is computed")


def write_made(arguments: argparse.Namespace, make: Callable[[Scene], Made], image: Tensor | None = None, *, what: str) -> None:
    """Makes an effect of the scene, writes (a JPEG on white) and reports it; `what` as `made_of`, `image` as `read_scene`."""
    from ...utils import on_white

    settle_result(arguments)
    scene = read_scene(arguments, image)
    made = made_of(scene, make, what)
    with result_path(arguments) as path:
        write_image(path, made.result if path.suffix.lower() == ".png" else on_white(made.result), scene.bits)
    say_result(arguments, made.words)


def add_sky(group: argparse._ArgumentGroup, use: str) -> None:
    """Adds the options for the sky, for `sky_of`; `use` says how the effect treats sky."""
    sky = f"what looks like sky {use}, or (--no-sky) nothing is sky (default: --sky)"
    group.add_argument("--sky", action=argparse.BooleanOptionalAction, help=sky)
    mask = "in place of what looks like sky: an image, white = sky, such as one of `effect sky`"
    group.add_argument("--sky-mask", type=Path, metavar="FILE", help=mask)


def check_sky(arguments: argparse.Namespace) -> None:
    """Rejects a sky mask beside --sky or --no-sky, and one that is not an image, before a model is loaded; raises as `sky_of`."""
    from ...geometry.files.image_files import image_size
    from ...geometry.files.values import MASK, read_values

    if arguments.sky_mask is None:
        return
    if arguments.sky is not None:
        raise ValueError(f"{arguments.sky_mask} says where the sky is; leave out --{'no-' * (not arguments.sky)}sky, or the mask")
    try:
        image_size(arguments.sky_mask)
    except EXPECTED_ERRORS:
        read_values(arguments.sky_mask, MASK)  # raises the full reason, or succeeds: other formats have no such header


def sky_of(arguments: argparse.Namespace, image: Tensor) -> Tensor | bool:
    """An image's sky, a mask (1, 1, H, W) in [0, 1], or whether to detect it. ValueError or OSError: unreadable, or of another image."""
    from ...geometry.checks import check_alike
    from ...geometry.files.values import MASK, read_values
    from ...geometry.images.normal_map_image import stored_values
    from ...utils import resize_map

    if (path := arguments.sky_mask) is None:
        return arguments.sky is not False
    mask, (height, width) = read_values(path, MASK), image.shape[-2:]
    rows, columns = mask.planes.shape[-2:]
    check_alike(str(path), (rows, mask.square_width or columns), (height, width))
    stored, valid = stored_values(mask.planes, mask.known, str(path))
    share = stored.mean(1, keepdim=True).where(valid, 0)  # transparent = no sky
    low, high = (end.item() for end in share.aminmax())
    if low < -0.5 or high > 1.5:
        raise ValueError(f"the values of {path} go from {low:g} to {high:g}; a mask has 0 (no sky) to 1 (sky)")
    return resize_map(share.clamp(0, 1), height, width).to(image.device)


def check_model(arguments: argparse.Namespace, *, depth: bool = False, normals: bool = False, metres: NeedsMetres | None = None) -> None:
    """Rejects a model that does not predict what a command needs, before it is loaded. Files are checked when they are read.

    `metres` says why metric depth is needed; None if it is not. Normals may be derived from the model's depth. Raises ValueError for an
    unsuitable or unknown model, and as `named_files`.
    """
    from ...geometry.estimate import Quantity

    if files := named_files(arguments):
        if (depth or metres) and files == [arguments.normal_map]:
            raise ValueError(f"{files[0]} has normals alone, and depth is needed; add --depth FILE, or leave the depth to a model")
        return
    check_weights(arguments)
    spec = chosen_spec(arguments)
    if (depth or metres) and spec.quantity is None:
        raise ValueError(f"{spec.id} gives {spec.gives}, and depth is needed; choose another --model")
    if metres and spec.quantity is not Quantity.METRIC_DEPTH:
        raise ValueError(
            f"{spec.id} gives {spec.gives}, and {metres.option} needs depth in metres: {metres.instead}, or choose a model of metric "
            f"depth, such as --model {RECOMMENDED_MODEL}"
        )
    if normals and not spec.axes and spec.quantity is Quantity.RELATIVE_DEPTH:
        raise ValueError(f"{spec.id} gives {spec.gives}, whose slopes are not known, and normals are needed; choose another --model")


def named_files(arguments: argparse.Namespace) -> list[Path]:
    """The files with depth and normals. Raises ValueError if they conflict, or an option has no effect."""
    named = [(name, path) for name in SOURCES if (path := getattr(arguments, name, None)) is not None]
    if named:
        why = f"is for a model, and depth and normals come from {named[0][1]}; leave one of them out"
        refuse_options(arguments, NETWORK_OPTIONS, why)
    if "--normal-map" in arguments.parser.options and arguments.normal_map is None:
        refuse_options(arguments, ("--coding",), "says how a --normal-map stores its vectors, and none is named; leave it out")
    if "--quantity" in arguments.parser.options:
        names = {name for name, _ in named}
        if not names & {"geometry", "depth"}:
            files = " or ".join(f"{option} FILE" for option in ("--depth", "--geometry") if option in arguments.parser.options)
            refuse_options(arguments, ("--quantity", "--channel"), f"is of a file of depth: add {files}, or leave it out")
        if "depth" not in names or arguments.quantity:
            why = "--quantity says it already" if "depth" in names else "none is named"
            refuse_options(arguments, ("--depth-near",), f"says what is near in a --depth image, and {why}; leave it out")
    if len(named) > 1 and named[0][0] == "geometry":
        raise ValueError(f"--geometry and --{named[1][0].replace('_', '-')} both say where depth and normals come from; name one")
    return [path for _, path in named]


def known_from_files(arguments: argparse.Namespace, height: int, width: int, fitted: bool = True) -> Estimate:
    """Reads the estimate of an image of this size from files; `fitted` resamples it to that size.

    Raises ValueError, OSError or ImportError if a file cannot be read, holds several images, or has another aspect ratio.
    """
    from ...geometry.camera import intrinsics_from_fov
    from ...geometry.checks import check_alike
    from ...geometry.files import load_estimate
    from ...geometry.files.png import PlainImageError

    if arguments.geometry:
        try:
            estimate = load_estimate(arguments.geometry, chosen_quantity(arguments), channel=arguments.channel)
        except PlainImageError as error:
            if "--depth" not in arguments.parser.options:
                raise
            raise ValueError(f"{error}; a depth image goes behind --depth (near = white), a normal map behind --normal-map") from error
        if estimate.batch != 1:
            raise ValueError(f"{arguments.geometry} holds {estimate.batch} images; an image needs the one that is of it")
        estimate = _in_shape(estimate, height, width)
        check_alike(str(arguments.geometry), (estimate.height, estimate.width), (height, width))
    else:
        estimate = _from_images(arguments, height, width)
    camera = intrinsics_from_fov(arguments.fov, estimate.height, estimate.width) if arguments.fov else estimate.intrinsics
    estimate = replace(estimate, intrinsics=camera)
    return estimate.resized(height, width) if fitted else estimate


def _in_shape(estimate: Estimate, height: int, width: int) -> Estimate:
    """The estimate in square pixels, if its camera says that it has others, and the image has not."""
    from ...geometry.checks import are_shapes_alike

    if estimate.intrinsics is None:
        return estimate
    aspect = (estimate.intrinsics[0, 1, 1] / estimate.intrinsics[0, 0, 0]).item()
    own, square = (estimate.height, estimate.width), (estimate.height, max(1, round(estimate.width * aspect)))
    fits = not are_shapes_alike(own, (height, width)) and are_shapes_alike(square, (height, width))
    return estimate.resized(*square) if fits else estimate


def _from_images(arguments: argparse.Namespace, height: int, width: int) -> Estimate:
    """Reads the estimate from a depth map, a normal map or both."""
    from ...geometry.checks import check_alike
    from ...geometry.images.depth_image import joined_maps

    maps = {}
    for name, read in (("depth", _depth_map), ("normal_map", _normal_map)):
        if (path := getattr(arguments, name, None)) is not None:
            maps[name] = read(arguments, path)
            check_alike(str(path), (maps[name].height, maps[name].width), (height, width))
    return joined_maps(maps.get("depth"), maps.get("normal_map"), height, width)


def _depth_map(arguments: argparse.Namespace, path: Path) -> Estimate:
    from ...geometry.files.values import read_values

    kind = depth_kind(arguments)
    return kind.estimate(read_values(path, channel=kind.channel), str(path))


def depth_kind(arguments: argparse.Namespace) -> DepthKind:
    """The declared kind of --depth."""
    from ..video.own_depth import DepthKind

    return DepthKind(chosen_quantity(arguments), arguments.channel, arguments.depth_near)


def _normal_map(arguments: argparse.Namespace, path: Path) -> Estimate:
    from ...geometry.files.values import NORMALS, read_values
    from ...geometry.images.normal_map_image import normal_map_to_estimate

    values = read_values(path, NORMALS, None if arguments.depth else arguments.channel)
    coding = values.axes or arguments.coding
    return values.squared(normal_map_to_estimate(values.planes, coding, str(path), values.known))


def write_image(path: Path, image: Tensor, bits: int = 8) -> None:
    """Writes an image ([1,] C, H, W) in [0, 1]: C = 1 (grey), 3 (RGB) or 4 (RGBA; ValueError for a JPEG, which has 8 bits)."""
    from ...geometry.files import write_image_png

    if path.suffix.lower() == ".png":
        write_image_png(path, image, bits)
        return
    from PIL import Image

    planes = image[0] if image.ndim == 4 else image
    if planes.shape[0] == 4:
        raise ValueError(f"{path}: a JPEG has no alpha; write a .png")
    pixels = (planes.float().nan_to_num(0.0).clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(path, quality=_JPEG_QUALITY, subsampling=0)
