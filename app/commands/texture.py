"""`depth-normal texture`: maps of a material, one by one or all from one photo."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...annotators.choices import RECOMMENDED_MODEL
from ...options.textures import (
    DEFAULT_RANGE,
    LOW,
    NORMALS,
    PHOTO,
    SEAMLESS,
    SIMPLE,
    CurvatureOptions,
    DepthOcclusionOptions,
    DetailOptions,
    HeightOptions,
    MaterialsOptions,
    OcclusionOptions,
    PbrOptions,
    SeamlessOptions,
    ShownCurvatureOptions,
    SlopesOptions,
)
from ..batch.overwriting import remove_outdated
from ..batch.sources import EXTENSIONS, FileKind
from ..console.option_types import number
from ..console.parser import Parser, did_you_mean
from .arguments import NETWORK_OPTIONS, add_coding, add_map_kind, add_network, add_several, chosen_quantity, network_options
from .for_each_image import COMMON, Work, over_images
from .option_table import add_options, chosen_options, common_options, refuse_options
from .result_paths import (
    Place,
    add_folder,
    add_overwrite,
    add_result,
    check_results,
    naming_command,
    result_path,
    results_folder,
    say_result,
    settle_result,
    stem_of,
)
from .scene import check_model, read_scene

if TYPE_CHECKING:
    from torch import Tensor

    from ...geometry.estimate import Estimate
    from ...geometry.textures.detail import PhotoRelief
    from ...geometry.textures.materials import Materials
    from ...geometry.textures.pbr import PbrMaps

MAPS = (".png", ".exr")
ESTIMATES = (".npz", ".exr", ".pfm", ".png")
PBR_NAMES = ("height", "normal", "ao", "curvature")
MATERIAL_NAMES, ORM_NAME = ("albedo", "roughness", "metallic"), "orm"
"""Additional maps of `pbr --materials`, and of `--orm`."""

HEIGHT_RANGE = "depth_normal.height_range"
"""The PNG metadata key for a height map's range in pixels, from black to white."""
_NUMBERS = (".npz", ".exr", ".pfm")
_HEIGHTS = (*_NUMBERS, ".npy")
# The share of pixels below 0 that other programs' depth may have, where they stand for holes.
_HOLES = 0.1
# Levels overshoot by this where they were resampled.
_OVERSHOOT = 0.1
_MAP_FILES = FileKind("images or files of numbers", EXTENSIONS | {*_HEIGHTS})

CHOICE_NAME = "choice"
"""The additional preview of `pbr`, for photos whose bright parts may be high or low."""
_MIRRORED = 0.125
"""Mirrored margin around a photo that does not tile, as a share of its sides."""

logger = logging.getLogger(__name__)


def add_texture(parser: Parser) -> None:
    """Adds the commands of `texture`."""
    of_maps = partial(Work, reads_ahead=False, kind=_MAP_FILES)
    of_photos = partial(Work, reads_ahead=False, needs_model=lambda chosen: getattr(chosen, "source", None) != PHOTO)
    normals = "a normal map, or raw normals (.npz, .exr)"
    heights = f"a height map, white = high, or raw heights in pixels ({', '.join(_HEIGHTS)})"
    with_depth = f"{heights}, or --from-depth"
    photo = "the photo"
    to_height = "integrate normals to a height (16-bit PNG, or pixels as EXR)"
    to_normals = "make a normal map of a height: the inverse of `height`"
    bent = "show where a surface is convex (white) and concave (black)"
    dark = "compute the ambient occlusion of a height, or of depth"
    tiled = "estimate depth and normals that tile, of a photo that tiles"
    fine = "make normals of fine relief, without the shape that it lies on"
    maps = "make height, normal, ambient occlusion and curvature maps of one photo"
    commands = (
        ("height", to_height, normals, of_maps(_height, partial(chosen_options, options=HeightOptions)), _add_height),
        ("normals", to_normals, heights, of_maps(_normals, partial(chosen_options, options=SlopesOptions)), _add_normals),
        ("curvature", bent, normals, of_maps(_curvature, _curvature_options), _add_curvature),
        ("occlusion", dark, with_depth, of_maps(_occlusion, _occlusion_options), _add_occlusion),
        ("seamless", tiled, photo, of_photos(_seamless, check_model), _add_seamless),
        ("detail", fine, photo, of_photos(_detail, _checked_options), _add_detail),
        ("pbr", maps, photo, of_photos(_pbr, _checked_pbr, names=lambda *of: [*_pbr_files(*of).values()]), _add_pbr),
    )
    parser.usual_command = "pbr"
    parser.add_commands("MAP", ((name, task, partial(_add_map, source, work, add)) for name, task, source, work, add in commands))


def _add_map(source: str, work: Work, add: Callable[[Parser], None], parser: Parser) -> None:
    add_several(parser, source)
    parser.set_defaults(run=over_images(work), refine=False)
    add(parser)


def _add_height(parser: Parser) -> None:
    add_coding(parser, reads=True)
    add_options(parser, HeightOptions)
    add_result(parser, "_height.png", MAPS)


def _add_normals(parser: argparse.ArgumentParser) -> None:
    add_coding(parser)
    add_options(parser, SlopesOptions)
    add_result(parser, "_normals.png", MAPS)


def _add_curvature(parser: argparse.ArgumentParser) -> None:
    add_coding(parser, reads=True)
    add_options(parser, CurvatureOptions, skip=("height_range",))
    add_options(parser, ShownCurvatureOptions)
    parser.set_defaults(kinds=("show",))
    add_result(parser, "_curvature.png", MAPS)


def _add_occlusion(parser: argparse.ArgumentParser) -> None:
    add_options(parser, DepthOcclusionOptions)
    add_map_kind(parser, near=False)
    add_options(parser, OcclusionOptions, skip=("strength",))
    add_result(parser, "_ao.png", MAPS)


def _add_seamless(parser: Parser) -> None:
    _add_network(parser)
    add_result(parser, "_seamless.npz", ESTIMATES)
    parser.common = COMMON | {"--size", "--tiles", "--margin"}


def _add_detail(parser: Parser) -> None:
    _add_material(parser, DetailOptions)
    add_result(parser, "_detail.png", MAPS)


def _add_pbr(parser: Parser) -> None:
    _add_material(parser, PbrOptions)
    add_options(parser, MaterialsOptions)
    add_folder(
        parser, ", which gets <photo>_height.png, _normal, _ao and _curvature, those of --materials, and _choice in doubt of --bright"
    )
    add_overwrite(parser, default_names=False)
    parser.common |= {"--materials"}


def _add_network(parser: argparse.ArgumentParser) -> None:
    add_network(parser, RECOMMENDED_MODEL, skip=("fov",))
    add_options(parser, SeamlessOptions, only=("margin",))
    parser.set_defaults(geometry=None, depth=None, normal_map=None, quantity=None, channel=None, fov=None)


def _add_material(parser: Parser, options: type[DetailOptions]) -> None:
    _add_network(parser)
    parser.add_argument("--geometry", type=Path, metavar="FILE", help="normals of the photo (.npz, .exr) in place of a model's")
    add_options(parser, options)
    parser.set_defaults(options=options)
    parser.common = COMMON - {"--recursive"} | {"--size", "--tiles", "--coding"} | common_options(options)
    add_coding(parser)


def _height(arguments: argparse.Namespace, options: HeightOptions) -> None:
    from ...geometry.textures.height import height_to_image, normals_to_height

    settle_result(arguments)
    surface = _read_normals(arguments)
    assert surface.normals is not None
    height = normals_to_height(surface.normals, surface.axes, weight=surface.normals_valid, **vars(options))
    image, span = height_to_image(height, surface.normals_valid)
    with result_path(arguments) as path:
        _write_height(path, height, image, span.item())
    say_result(arguments, _height_words(span.item()))


def _normals(arguments: argparse.Namespace, options: SlopesOptions) -> None:
    from ...geometry.textures.height import height_to_normals

    settle_result(arguments)
    normals = height_to_normals(_read_height(arguments), borders=options.borders, derivative=options.derivative)
    _write_normals(arguments, normals)


def _curvature_options(arguments: argparse.Namespace) -> CurvatureOptions:
    arguments.ending = f"_{arguments.show}.png"
    return chosen_options(arguments, CurvatureOptions)


def _curvature(arguments: argparse.Namespace, options: CurvatureOptions) -> None:
    from ...geometry.textures.curvature import curvature_maps, mean_curvature

    settle_result(arguments)
    surface = _read_normals(arguments)
    assert surface.normals is not None
    valid, scale = surface.normals_valid, options.scale
    bend = mean_curvature(surface.normals, surface.axes, scale=scale, weight=valid, borders=options.borders)
    maps = curvature_maps(bend, scale=scale, strength=options.strength, weight=valid)
    _write_map(arguments, getattr(maps, arguments.show))


def _occlusion_options(arguments: argparse.Namespace) -> OcclusionOptions:
    if not arguments.from_depth:
        refuse_options(arguments, ("--quantity", "--channel"), "is of a file of depth: add --from-depth, or leave it out")
    return chosen_options(arguments, OcclusionOptions)


def _occlusion(arguments: argparse.Namespace, chosen: OcclusionOptions) -> None:
    from ...geometry.textures.occlusion import height_to_occlusion

    settle_result(arguments)
    options = {"radius": chosen.radius, "directions": chosen.directions}
    if not arguments.from_depth:
        _write_map(arguments, height_to_occlusion(_read_height(arguments), borders=arguments.borders, **options))
        return
    from ...geometry.files import load_estimate
    from ...geometry.textures.occlusion import estimate_to_occlusion

    surface = load_estimate(arguments.image, chosen_quantity(arguments), channel=arguments.channel)
    _write_map(arguments, estimate_to_occlusion(surface, **options))


def _seamless(arguments: argparse.Namespace, _: object) -> None:
    from ...geometry.files import possible_paths, save_estimate
    from ..batch.per_image import read

    settle_result(arguments)
    check_results(arguments, possible_paths(arguments.out), naming_command(arguments))
    surface = _estimated(arguments, read(arguments.image), tiles=True)
    with result_path(arguments) as path:
        names = [each.name for each in save_estimate(path, surface)]
    say_result(arguments, paths=[arguments.out.with_name(name) for name in names])


def _detail(arguments: argparse.Namespace, options: DetailOptions) -> None:
    settle_result(arguments)
    from ...geometry.textures.pbr import material_normals

    image, photo = _photo(arguments, options)
    _say_bright(photo, options)
    _write_normals(arguments, material_normals(_known(arguments, image), photo, options))


def _checked_pbr(arguments: argparse.Namespace) -> Any:
    from ...annotators.registry import FAMILIES, MATERIAL_MODELS, find_material_spec
    from ...options.checks import InvalidArgumentError

    if not hasattr(arguments, "place"):
        arguments.place = Place(arguments.out, is_folder=True)
    options = _checked_options(arguments)
    chosen, accepted = chosen_options(arguments, MaterialsOptions).materials, (SIMPLE, *MATERIAL_MODELS)
    if chosen is not None and chosen not in accepted:
        meant = did_you_mean(chosen.replace("_", "-"), accepted)
        raise InvalidArgumentError("materials", f"is {chosen!r}; accepted: {', '.join(accepted)}{meant}")
    if chosen not in (None, SIMPLE):
        spec = find_material_spec(chosen)
        FAMILIES[spec.family].check_requirements(spec)  # before the model of depth is downloaded
    return options


def _pbr_files(arguments: argparse.Namespace, image: Path) -> dict[str, str]:
    """The file names of a photo's maps; the last, CHOICE_NAME, is written only in doubt."""
    materials = () if arguments.materials is None else (*MATERIAL_NAMES, ORM_NAME) if arguments.orm else MATERIAL_NAMES
    return {name: f"{stem_of(arguments, image)}_{name}.png" for name in (*PBR_NAMES, *materials, CHOICE_NAME)}


def _pbr(arguments: argparse.Namespace, options: PbrOptions) -> None:
    import torch

    from ...geometry.conventions import encode_normal_map
    from ...geometry.textures.pbr import height_map, is_in_doubt, material_normals, pbr_maps
    from .scene import write_image

    image, photo = _photo(arguments, options)
    in_doubt = is_in_doubt(photo, options)
    paths = {name: arguments.place.path / file for name, file in _pbr_files(arguments, arguments.image).items()}
    outdated = None if in_doubt else paths.pop(CHOICE_NAME)
    check_results(arguments, list(paths.values()))
    _say_bright(photo, options, paths.get(CHOICE_NAME))
    surface = _known(arguments, image)
    maps = pbr_maps(material_normals(surface, photo, options), options)
    further = _materials(arguments, image, maps) if arguments.materials is not None else {}
    images = {"normal": encode_normal_map(maps.normals, arguments.coding), "ao": maps.occlusion, "curvature": maps.bend.curvature}
    if in_doubt:
        other = height_map(material_normals(surface, photo, replace(options, bright=LOW)), options)
        images[CHOICE_NAME] = torch.cat([each.expand(-1, 3, -1, -1).cpu() for each in (image, maps.height, other)], 3)
    with results_folder(arguments, paths["height"]) as folder:
        _write_height(folder / paths["height"].name, None, maps.height, maps.height_range.item())
        for name, written in {**images, **further}.items():
            write_image(folder / paths[name].name, written, 16)
    if outdated is not None:
        remove_outdated(arguments.image, outdated)
    words = f"{', '.join(paths)}; {_height_words(maps.height_range.item())}"
    if not further:
        words += f"; no albedo, roughness and metallic, which relief does not tell: add --materials {SIMPLE}, or a model's"
    say_result(arguments, words, paths.values())


def _materials(arguments: argparse.Namespace, image: Tensor, maps: PbrMaps) -> dict[str, Tensor]:
    """The maps of --materials and --orm: albedo in sRGB, the others linear."""
    from ...geometry.textures.materials import pack_orm, remove_light, uniform_materials

    if arguments.materials == SIMPLE:
        albedo = remove_light(image.to(maps.normals), maps.normals, maps.occlusion, borders=arguments.borders)
        surface = uniform_materials(albedo, arguments.roughness)
    else:
        surface = _estimated_materials(arguments, image)
    packed = {ORM_NAME: pack_orm(maps.occlusion.cpu(), surface.roughness.cpu(), surface.metallic.cpu())} if arguments.orm else {}
    return {**surface.maps, **packed}


def _estimated_materials(arguments: argparse.Namespace, image: Tensor) -> Materials:
    """The materials predicted by the model of --materials; a photo that tiles is wrapped around for it."""
    from ...geometry.textures.seamless import margins, wrap
    from ...model_loader import load_model

    seamless = arguments.borders == SEAMLESS
    beyond = margins(image.shape[-2], image.shape[-1], arguments.margin if seamless else 0)
    model = load_model(arguments.materials, arguments.dtype, arguments.device)
    return model.estimate_materials(wrap(image, beyond), arguments.materials_size).folded(beyond)


def _checked_options(arguments: argparse.Namespace) -> Any:
    """The options of relief from normals and the photo."""
    options = chosen_options(arguments, arguments.options)
    if arguments.source == PHOTO:
        needless = (*NETWORK_OPTIONS, "--margin", "--geometry")
        refuse_options(arguments, needless, f"says where normals come from, and --source {PHOTO} takes none; leave it out")
        return options
    check_model(arguments, normals=True)
    if arguments.geometry is not None or arguments.borders != SEAMLESS:
        why = f"says how far a model sees beyond the borders of a photo that tiles; add --borders {SEAMLESS}, or leave it out"
        refuse_options(arguments, ("--margin",), why)
    return options


def _photo(arguments: argparse.Namespace, options: DetailOptions) -> tuple[Tensor, PhotoRelief | None]:
    """The photo, and its relief on the device of the normals; the relief is None if the source is normals only."""
    from ...geometry.textures.pbr import relief_of_photo
    from ...model_loader.inference.memory_budget import check_effect_fits
    from ...model_loader.load import parse_device
    from ..batch.per_image import read

    image = read(arguments.image)
    if options.source == PHOTO:
        return image, relief_of_photo(image, options)
    device = parse_device(arguments.device)
    check_effect_fits(image.shape[-2], image.shape[-1], device)
    return image, None if options.source == NORMALS else relief_of_photo(image.to(device), options)


def _known(arguments: argparse.Namespace, image: Tensor) -> Estimate | None:
    """The normals for `material_normals`; None if the source is the photo only."""
    from ...geometry.surfaces.derive import with_normals
    from ...model_loader.load import parse_device

    if arguments.source == PHOTO:
        return None
    if arguments.geometry is not None:
        surface = read_scene(arguments, image).known
    else:
        surface = _estimated(arguments, image, tiles=arguments.borders == SEAMLESS)
    return with_normals(surface).to(parse_device(arguments.device))


def _say_bright(photo: PhotoRelief | None, options: DetailOptions, choice: Path | None = None) -> None:
    """Logs whether bright parts of the photo are treated as raised. `choice`: the file that shows both heights, if any."""
    if photo is None or not options.asks_pattern:
        return
    if bool(photo.joints.any()):
        logger.info("grey joints between coloured fields are treated as recessed; change this with --bright high or low")
    if bool(photo.is_low):
        logger.info("bright lines between darker fields are treated as recessed; --bright high is the opposite")
    elif bool(photo.is_in_doubt):
        shown = f"; {choice} shows from left to right: the photo, the height as written, and that of --bright low" if choice else ""
        logger.info("brightness hardly shows what is recessed: dark parts are treated as recessed; --bright low is the opposite%s", shown)


def _estimated(arguments: argparse.Namespace, image: Tensor, tiles: bool) -> Estimate:
    """The estimate of a photo with margins: wrapped around if it tiles; else mirrored, which gives normals alone."""
    from ...geometry.surfaces.derive import with_normals
    from ...geometry.textures.seamless import margins, mirror, seamless_estimate, unmirrored_normals, wrap
    from ..batch.per_image import estimate

    options = network_options(arguments)
    beyond = margins(image.shape[-2], image.shape[-1], arguments.margin if tiles else _MIRRORED)
    surface = estimate(options.load(arguments.device), (wrap if tiles else mirror)(image, beyond), options)
    return seamless_estimate(surface, beyond) if tiles else unmirrored_normals(with_normals(surface), beyond)


def _read_normals(arguments: argparse.Namespace) -> Estimate:
    from ...geometry.files import load_estimate
    from ...geometry.files.exr import holds_colours_alone
    from ...geometry.files.values import DEPTH, NORMALS, read_values
    from ...geometry.images.normal_map_image import normal_map_to_estimate
    from ...geometry.projections import need_perspective
    from ...geometry.surfaces.derive import with_normals

    suffix = arguments.image.suffix.lower()
    if suffix not in _NUMBERS or (suffix == ".exr" and holds_colours_alone(arguments.image)):
        values = read_values(arguments.image, NORMALS)
        if suffix != ".exr" or values.planes.shape[1] > 1:  # equal R, G, B are depth
            return normal_map_to_estimate(values.planes, arguments.coding, str(arguments.image), values.known)
    refuse_options(arguments, ("--coding",), f"says how an image stores normals, and {arguments.image} holds numbers; leave it out")
    loaded = load_estimate(arguments.image)
    need_perspective(loaded, "a texture map")
    if loaded.normals is None and loaded.depth is not None:
        below = loaded.depth[loaded.depth < 0]
        many = len(below) > _HOLES * loaded.depth.numel() and bool(below.min() < below.max())  # holes have one number
        if many and read_values(arguments.image, DEPTH).quantity is None:
            raise ValueError(
                f"{arguments.image} has numbers below 0, as heights have and depth has not; `texture normals` makes normals of heights"
            )
    surface = with_normals(loaded)
    if surface.normals is None:
        raise ValueError(f"{arguments.image} holds relative depth and no normals; its slopes are not known")
    return surface


def _read_height(arguments: argparse.Namespace) -> Tensor:
    import torch

    from ...geometry.estimate import Quantity
    from ...geometry.files import load_estimate
    from ...geometry.files.formats import png_holds_maps
    from ...geometry.files.image_files import decode_image
    from ...geometry.files.paths import read_bytes
    from ...geometry.files.values import read_values
    from ...geometry.images.normal_map_image import stored_values
    from ...geometry.kinds import ZERO_AT_CAMERA
    from ...geometry.projections import need_perspective
    from ...geometry.textures.height import grey_heights, image_to_height

    path: Path = arguments.image
    if path.suffix.lower() in _HEIGHTS or png_holds_maps(path):
        refuse_options(
            arguments, ("--height-range",), f"says what the grey levels of an image mean, and {path} holds numbers; leave it out"
        )
        known = load_estimate(path, Quantity.DISPARITY)  # where the file does not say: large = near, as heights are
        need_perspective(known, "a texture map")
        if known.depth is None or known.depth_valid is None:
            raise ValueError(f"{path} holds normals and no heights; integrate them with `depth-normal texture height`")
        if known.quantity in ZERO_AT_CAMERA:
            raise ValueError(
                f"{path} holds depth and no heights; `texture occlusion --from-depth` takes it, "
                "and `depth-normal convert --as-image` makes an image of it that is a height map"
            )
        seen = known.depth[known.depth_valid]
        if seen.numel() and 0 <= seen.min() < seen.max() <= 1:
            logger.warning(
                "%s: all heights lie within 0..1, as an image's grey levels do, and are taken for pixels: almost flat; "
                "save a displacement map as a PNG or TIFF, whose range --height-range names",
                path,
            )
        height = -known.depth if known.quantity is Quantity.RELATIVE_DEPTH else known.depth  # Normal to Height's geometry is large = far
        return torch.where(known.depth_valid, height, torch.nan)
    height_range = arguments.height_range
    if height_range is None and path.suffix.lower() == ".png":
        height_range = number(decode_image(path, read_bytes(path)).text.get(HEIGHT_RANGE, str(DEFAULT_RANGE)))
    values = read_values(path)
    image, known = stored_values(values.planes, values.known, str(path))
    low, high = (end.item() for end in image[known.expand_as(image)].aminmax())
    if low < -_OVERSHOOT or high > 1 + _OVERSHOOT:
        raise ValueError(
            f"the values of {path} go from {low:g} to {high:g}; a height map's lie in 0..1, heights in pixels in {', '.join(_HEIGHTS)}"
        )
    return image_to_height(grey_heights(image, known, str(path)), DEFAULT_RANGE if height_range is None else height_range)


def _height_words(span: float) -> str:
    return f"white is {float(f'{span:.4g}'):g} pixels higher than black"


def _write_height(path: Path, height: Tensor | None, image: Tensor, span: float) -> None:
    from ...geometry.files import write_depth_png, write_image_exr

    if path.suffix.lower() == ".exr" and height is not None:
        write_image_exr(path, height)
    else:
        write_depth_png(path, image, {HEIGHT_RANGE: repr(span)})


def _write_normals(arguments: argparse.Namespace, normals: Tensor) -> None:
    """Writes a 16-bit normal map, or an EXR of vectors, in the axes of the coding."""
    from ...geometry.conventions import encode_normal_map

    image = encode_normal_map(normals, arguments.coding)
    _write_map(arguments, image if arguments.out.suffix.lower() == ".png" else 2 * image - 1)


def _write_map(arguments: argparse.Namespace, image: Tensor) -> None:
    from ...geometry.files import write_image_exr, write_image_png

    with result_path(arguments) as path:
        if arguments.out.suffix.lower() == ".exr":
            write_image_exr(path, image)
        else:
            write_image_png(path, image, 16)
    say_result(arguments)
