"""A PBR set from one photo: albedo, roughness and metallic by Marigold; normals, height and occlusion from its relief."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from torch import Tensor

from ..annotators.registry import MATERIAL_MODELS
from ..geometry.checks import check_alike
from ..geometry.conventions import NormalMapCoding, encode_normal_map
from ..geometry.estimate import Estimate
from ..geometry.textures.height import height_to_image
from ..geometry.textures.materials import Materials, pack_orm, remove_light, uniform_materials
from ..geometry.textures.pbr import material_normals, pbr_maps
from ..geometry.textures.seamless import margins, wrap
from ..model_loader.comfy.devices import default_device, image_placement
from ..model_loader.comfy.feedback import progress_bar
from ..model_loader.comfy.interrupt import throw_if_interrupted
from ..options.checks import check_choice
from ..options.diffusion import MaterialOptions
from ..options.map_images import CODINGS
from ..options.textures import BOTH, PHOTO, SEAMLESS, SIMPLE, PbrOptions, PhotoOptions
from .batches import join_outputs, one_by_one, to_output
from .checks import check_count
from .diffusion import WHICH_MODEL, of_marigold
from .loading import LoadsByName, best_on_disk, by_location, load_model, model_widget
from .materials import photo_relief, shown_in_doubt
from .option_widgets import option_widgets, takes
from .texture_inputs import planar, surface_normals
from .textures import HEIGHT_OUTPUT, RANGE_OUTPUT
from .widgets import TEXTURES, Inputs, geometry_input, image_input

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
    CATEGORY, FUNCTION = TEXTURES, "execute"
    RETURN_TYPES: ClassVar = ("IMAGE", "IMAGE", "IMAGE", "IMAGE", "IMAGE", "IMAGE", "IMAGE", "FLOAT")
    RETURN_NAMES: ClassVar = ("albedo", "normal_map", "roughness", "metallic", "height", "occlusion", "orm", "height_range")
    OUTPUT_TOOLTIPS: ClassVar = (
        "The base colour without light and shadow, in sRGB.",
        "The normal map of the relief.",
        "The roughness, linear: black = a mirror, white = matt.",
        "Where the material is metal, linear: white = metal.",
        HEIGHT_OUTPUT,
        "The ambient occlusion, linear: white = open.",
        "Occlusion, roughness and metallic in red, green and blue, as glTF, Unreal and Godot read them; linear.",
        RANGE_OUTPUT,
    )
    SEARCH_ALIASES = (
        "pbr material, pbr from photo, albedo, delight, remove lighting, base color, roughness map, metallic map, metallicity, orm, "
        "intrinsic image decomposition, iid, marigold"
    )

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        which = f"{WHICH_MODEL} {SIMPLE}: no model, the light that the photograph and its relief show is taken out of the colour."
        return {
            "required": {"image": image_input("The photograph of the material, or a batch.")},
            "optional": {
                "geometry": geometry_input(
                    "Normals of the photograph as numbers, whose relief is added to that of its light and dark; if it has only depth, "
                    "normals are computed."
                ),
                "model": model_widget([*by_location(MODELS), SIMPLE], which, best_on_disk(MODELS, MODELS[0])),
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


NODES = (MaterialFromPhoto,)
