"""Materials from photographs: seamless geometry, detail normals, PBR sets, and files of 16 bits and more."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from ..annotators.registry import MATERIAL_MODELS
from ..geometry.checks import check_alike
from ..geometry.conventions import NormalMapCoding, encode_normal_map
from ..geometry.estimate import Estimate
from ..geometry.files import write_image_exr, write_image_png
from ..geometry.surfaces.derive import with_normals
from ..geometry.textures.detail import PhotoRelief
from ..geometry.textures.height import height_to_image
from ..geometry.textures.materials import Materials, pack_orm, remove_light, uniform_materials
from ..geometry.textures.pbr import check_source, height_map, is_in_doubt, material_normals, pbr_maps, relief_of_photo
from ..geometry.textures.seamless import margins, seamless_estimate, tileable, wrap
from ..model_loader import Model
from ..model_loader.comfy.devices import default_device, image_placement
from ..model_loader.comfy.feedback import progress_bar
from ..model_loader.comfy.interrupt import throw_if_interrupted
from ..options.checks import check_choice
from ..options.diffusion import MaterialOptions
from ..options.map_images import CODINGS
from ..options.textures import (
    AUTO,
    BOTH,
    HIGH,
    LOW,
    NORMALS,
    PHOTO,
    PNG,
    SEAMLESS,
    SIMPLE,
    DetailNodeOptions,
    DetailOptions,
    PbrOptions,
    PhotoOptions,
    SavedTextureOptions,
    SeamlessOptions,
)
from ..utils import check_levels, resize_image, to_planar
from .batches import geometry_output, join_outputs, one_by_one, to_output, with_progress
from .checks import check_count, check_images_of, check_model
from .diffusion import WHICH_MODEL, of_marigold
from .live import in_comfyui, temporary_png
from .loading import LoadsByName, best_on_disk, by_location, load_model, model_widget
from .option_widgets import Node, option_widgets, takes
from .saving import SavingNode, file_entries, fill_in, prefix_widget, save_numbered
from .texture_inputs import normal_map_input, planar, surface_normals
from .textures import HEIGHT_OUTPUT, RANGE_OUTPUT
from .widgets import DEPTH_NORMAL_MODEL, GEOMETRY, TEXTURES, geometry_input, image_input

DEFAULT_PREFIX = "textures/texture"


@takes(SeamlessOptions)
class SeamlessGeometry(Node):
    """Estimates depth and normals that tile."""

    NODE_ID = "DepthNormal_SeamlessGeometry"
    DISPLAY_NAME = "Estimate Seamless Texture"
    DESCRIPTION = (
        "Runs a depth or normal model so that its maps tile. The texture is continued at its borders before the model "
        "runs, the overlap is blended, and the slope that would not meet at the borders is removed."
    )
    CATEGORY = TEXTURES
    OUTPUTS: ClassVar = {
        "geometry": (GEOMETRY, "Depth and normals whose opposite borders meet, seen straight on (no camera)."),
        "image": ("IMAGE", "The image; with even_borders, after its borders were evened."),
    }
    SEARCH_ALIASES = "seamless texture, tileable texture, tiling texture, wrap, repeat, pbr texture"
    INPUTS: ClassVar = {
        "required": {
            "model": (DEPTH_NORMAL_MODEL, {"tooltip": "Any model from Load Depth Model."}),
            "image": image_input("A texture that tiles, or a batch."),
        }
    }

    def execute(self, options: SeamlessOptions, model: Model, image: Tensor) -> tuple[Estimate, Tensor]:
        check_model(model)
        images = planar(image)
        images = tileable(images).clamp(0, 1) if options.even_borders else images
        beyond = margins(images.shape[-2], images.shape[-1], options.margin)
        derive = with_normals if options.normals == AUTO else None
        estimate = model.estimate(wrap(images, beyond), options.resolution or None, progress_bar(len(images)), derive=derive)
        seamless = (geometry_output(seamless_estimate(each, beyond)) for each in one_by_one(estimate))
        return Estimate.cat(seamless, estimate.batch), to_output(images)


@takes(PhotoOptions, DetailNodeOptions)
class DetailNormals(Node):
    """Makes normals of fine relief without the large shape."""

    NODE_ID = "DepthNormal_DetailNormals"
    DISPLAY_NAME = "Detail Normals from Photo"
    DESCRIPTION = (
        "Makes normals of a material's fine relief without the shape it lies on. They come from a model's normals, from the light "
        "and dark of the photograph, or both, above a chosen fineness. Convert Normal Map adds them to another surface."
    )
    CATEGORY = TEXTURES
    OUTPUTS: ClassVar = {
        "normal_map": ("IMAGE", "The detail as a normal map."),
        "geometry": (GEOMETRY, "The detail as normals in numbers."),
    }
    SEARCH_ALIASES = (
        "detail normal map, high pass, flatten normals, photo to normal map, image to normal map, crazybump, materialize, pbr texture, "
        "rnm, micro detail"
    )
    INPUTS: ClassVar = {
        "optional": {
            "image": image_input("The photograph of the material."),
            "geometry": geometry_input(
                "Normals of the photograph as numbers, e.g. from Depth & Normals; if it has only depth, normals are computed."
            ),
            "normal_map": normal_map_input("A normal map of the photograph to use instead."),
            **option_widgets(DetailNodeOptions, until="coding"),
            **option_widgets(PhotoOptions, until="bright"),
            **option_widgets(DetailNodeOptions, since="coding"),
            **option_widgets(PhotoOptions, since="bright"),
        }
    }

    def execute(
        self,
        relief: PhotoOptions,
        chosen: DetailNodeOptions,
        image: Tensor | None = None,
        geometry: Any = None,
        normal_map: Tensor | None = None,
    ) -> Any:
        """Returns one normal map for each image; in ComfyUI with `shown_in_doubt`."""
        has_normals = geometry is not None or normal_map is not None
        if not has_normals and image is None:
            raise ValueError("no input has relief: link geometry or a normal map, the photograph, or both")
        source = chosen.source
        if source == AUTO:
            source = NORMALS if image is None else BOTH if has_normals else PHOTO
        check_source(source, has_normals, image is not None)
        options = DetailOptions(**vars(relief), source=source)
        whole = surface_normals(normal_map, chosen.normal_coding, geometry) if has_normals and source != PHOTO else None
        images = _photos(image, whole) if image is not None and source != NORMALS else None
        total = whole.batch if whole is not None else 0 if images is None else len(images)
        estimates = [None] * total if whole is None else one_by_one(whole, default_device())
        first = None if images is None else photo_relief(images, 0, options)

        def parts() -> Any:
            for index, estimate in with_progress(enumerate(estimates), total):
                photo = first if images is None or index == 0 else photo_relief(images, index, options)
                yield (material_normals(estimate, photo, options).to(image_placement()[0]),)

        (normals,) = join_outputs(parts(), total)
        result = to_output(encode_normal_map(normals, NormalMapCoding(chosen.coding))), geometry_output(Estimate(normals=normals))
        return shown_in_doubt(result, first, whole, options)


@takes(SavedTextureOptions)
class SaveTexture(SavingNode):
    """Saves images with 16 bits or floats."""

    NODE_ID = "DepthNormal_SaveTexture"
    DISPLAY_NAME = "Save Texture"
    DESCRIPTION = "Saves images to ComfyUI's output folder as 16-bit PNG or 32-bit float EXR, so that heights keep their fine steps."
    SEARCH_ALIASES = "save 16-bit png, save 16-bit height, save displacement map, save exr, export texture, export pbr, 16 bit"
    INPUTS: ClassVar = {
        "required": {"image": image_input("Height maps, normal maps or any images.")},
        "optional": {"filename_prefix": prefix_widget(DEFAULT_PREFIX, ".png"), **option_widgets(SavedTextureOptions)},
    }

    def execute(
        self, options: SavedTextureOptions, image: Tensor, filename_prefix: str = DEFAULT_PREFIX, **hidden: Any
    ) -> dict[str, dict[str, list[dict[str, str]]]]:
        images = to_planar(image)
        if options.format == PNG:  # which has no other levels
            check_levels(images.nan_to_num(0, 1, 0), hdr=True)

        def save(path: Path, image: Tensor) -> tuple[Path, ...]:
            planes = image[:1] if options.grey and bool((image[1:3] == image[:1]).all()) else image
            if options.format == PNG:
                write_image_png(path, planes.float(), 16)
            else:
                write_image_exr(path, planes)
            return (path,)

        name = fill_in(filename_prefix, images.shape[-1], images.shape[-2], **hidden)
        return {"ui": file_entries(save_numbered(name, f".{options.format}", with_progress(images, len(images)), save))}


def photo_relief(photos: Tensor, index: int, options: DetailOptions) -> PhotoRelief:
    """The relief of one of the photographs (B, 3, H, W), on the device."""
    return relief_of_photo(photos[index : index + 1].to(default_device()), options)


def shown_in_doubt(result: tuple[Any, ...], photo: PhotoRelief | None, known: Estimate | None, options: DetailOptions) -> Any:
    """If "auto" cannot decide, adds the first photo and its heights with bright parts high and low, for ComfyUI's image view.

    `photo` is the relief of the first photo, None without one; `known` are the normals in use, one for all or one for each photo. Outside
    ComfyUI and without doubt the plain `result` is returned.
    """
    if photo is None or not in_comfyui() or not is_in_doubt(photo, options):
        return result
    image = photo.image
    first = None if known is None else known.slice(0, 1).to(default_device()).resized(image.shape[-2], image.shape[-1])
    heights = [height_map(material_normals(first, photo, replace(options, bright=each)), options) for each in (HIGH, LOW)]
    return {"ui": {"images": [temporary_png(each[0].expand(3, -1, -1)) for each in (image, *heights)]}, "result": result}


def _photos(image: Tensor, whole: Estimate | None) -> Tensor:
    """The photos (B, 3, H, W), at the size and number of the normals, if any."""
    images = planar(image)
    if whole is None:
        return images
    check_images_of(whole, images, "the normals")
    return resize_image(images, whole.height, whole.width).expand(whole.batch, -1, -1, -1)


MODELS = list(MATERIAL_MODELS)
_CHOICES = (*MODELS, SIMPLE)
_MARGIN = 0.25
"""Wrapped margin around a photo that tiles, as a share of its sides."""

_ADVICE = (
    "Choose the model simple, which needs no download: it takes light and relief out of the colour, and makes everything equally rough"
)


@takes(PhotoOptions, MaterialOptions)
class MaterialFromPhoto(LoadsByName):
    """Makes the maps of a material."""

    NODE_ID = "DepthNormal_MaterialFromPhoto"
    DISPLAY_NAME = "Material from Photo (Marigold)"
    DESCRIPTION = (
        "Makes a PBR material of a photograph. Marigold IID estimates albedo without light, roughness and metallic; normals, height and "
        "occlusion are those of its relief. Without a model the albedo is simpler, and the roughness one number."
    )
    CATEGORY = TEXTURES
    OUTPUTS: ClassVar = {
        "albedo": ("IMAGE", "The base colour without light and shadow, in sRGB."),
        "normal_map": ("IMAGE", "The normal map of the relief."),
        "roughness": ("IMAGE", "The roughness, linear: black = a mirror, white = matt."),
        "metallic": ("IMAGE", "Where the material is metal, linear: white = metal."),
        "height": ("IMAGE", HEIGHT_OUTPUT),
        "occlusion": ("IMAGE", "The ambient occlusion, linear: white = open."),
        "orm": ("IMAGE", "Occlusion, roughness and metallic in red, green and blue, as glTF, Unreal and Godot read them; linear."),
        "height_range": ("FLOAT", RANGE_OUTPUT),
    }
    SEARCH_ALIASES = (
        "pbr material, pbr from photo, albedo, delight, remove lighting, base color, roughness map, metallic map, metallicity, orm, "
        "intrinsic image decomposition, iid, marigold"
    )
    INPUTS: ClassVar = {
        "required": {"image": image_input("The photograph of the material, or a batch.")},
        "optional": {
            "geometry": geometry_input(
                "Normals of the photograph as numbers, whose relief is added to that of its light and dark; if it has only depth, "
                "normals are computed."
            ),
            "model": lambda: model_widget(
                [*by_location(MODELS), SIMPLE],
                f"{WHICH_MODEL} {SIMPLE}: no model, the light that the photograph and its relief show is taken out of the colour.",
                best_on_disk(MODELS, MODELS[0]),
            ),
            **option_widgets(MaterialOptions, until="coding"),
            **option_widgets(PhotoOptions, until="bright"),
            **option_widgets(MaterialOptions, since="coding", until="roughness"),
            **option_widgets(PhotoOptions, since="bright"),
            **option_widgets(MaterialOptions, since="roughness"),
        },
    }

    def execute(
        self, settings: PhotoOptions, material: MaterialOptions, image: Tensor, geometry: Any = None, model: str = MODELS[0]
    ) -> Any:
        """Returns seven maps for each image, and the height range; in ComfyUI with `shown_in_doubt`."""
        check_choice("model", model, _CHOICES)
        options = PbrOptions(settings.radius, settings.relief, settings.borders, settings.bright, PHOTO if geometry is None else BOTH)
        photos = planar(image).clamp(0, 1)
        estimates = None if geometry is None else _normals_of(geometry, photos)
        materials = None if model == SIMPLE else _materials(photos, model, material, settings.borders)
        first = photo_relief(photos, 0, options)

        def parts() -> Iterator[tuple[Tensor, ...]]:
            for index, surface in enumerate(_surfaces(estimates, len(photos))):
                throw_if_interrupted()
                photo = photo_relief(photos, index, options) if index else first
                whole = None if surface is None else surface.resized(photos.shape[-2], photos.shape[-1])
                maps = pbr_maps(material_normals(whole, photo, options), options)
                height = maps.height * maps.height_range
                normals = encode_normal_map(maps.normals, NormalMapCoding(material.coding))
                albedo = () if materials else (remove_light(photo.image, maps.normals, maps.occlusion, borders=settings.borders),)
                yield tuple(each.to(image_placement()[0]) for each in (normals, height - height.mean(), maps.occlusion, *albedo))

        normals, heights, occlusion, *albedo = join_outputs(parts(), len(photos))
        levels, span = height_to_image(heights)
        surface_maps = materials.to(occlusion.device) if materials else uniform_materials(albedo[0], material.roughness)
        orm = pack_orm(occlusion, surface_maps.roughness, surface_maps.metallic)
        images = (surface_maps.albedo, normals, surface_maps.roughness, surface_maps.metallic, levels, occlusion, orm)
        return shown_in_doubt((*map(to_output, images), span.item()), first, estimates, options)


def _materials(photos: Tensor, model: str, options: MaterialOptions, borders: str) -> Materials:
    """Runs the model; a photo that tiles is wrapped around for it."""
    loaded, own = load_model(model, options.precision, _ADVICE, stand_in=False), of_marigold(options)
    beyond = margins(photos.shape[-2], photos.shape[-1], _MARGIN if borders == SEAMLESS else 0)
    estimated = loaded.estimate_materials(wrap(photos, beyond), options.resolution or None, progress_bar(len(photos)), options=own)
    return estimated.folded(beyond)


def _normals_of(geometry: Any, photos: Tensor) -> Estimate:
    """The normals of the photos, one for all or one for each."""
    whole = surface_normals(None, CODINGS[0], geometry)
    check_count("geometry", whole.batch, "image", len(photos))
    check_alike("the geometry", (whole.height, whole.width), (photos.shape[-2], photos.shape[-1]))
    return whole


def _surfaces(known: Estimate | None, total: int) -> Iterator[Estimate | None]:
    """Yields the normals for each photo, on the device."""
    if known is None:
        yield from (None for _ in range(total))
    elif known.batch == 1:
        single = known.to(default_device())
        yield from (single for _ in range(total))
    else:
        yield from one_by_one(known, default_device())


NODES = (SeamlessGeometry, DetailNormals, SaveTexture, MaterialFromPhoto)
