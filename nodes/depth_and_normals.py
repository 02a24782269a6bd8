"""The nodes to begin with: depth and normals of photos, or of panoramas, in one step, as images and as raw maps."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from torch import Tensor

from ..annotators.choices import BEST_FIRST
from ..annotators.registry import BUNDLED_MODEL, MODELS, RECOMMENDED_MODEL, find_spec
from ..geometry.estimate import Estimate
from ..geometry.images.render import METRIC_PERCENTILES
from ..geometry.kinds import ZERO_AT_CAMERA
from ..geometry.surfaces.derive import with_assumed_normals, with_normals
from ..model_loader.comfy.feedback import progress_bar
from ..model_loader.comfy.interrupt import throw_if_interrupted
from ..model_loader.inference.panorama import check_panorama, check_perspective_model
from ..options.estimate import AUTO, CONTROLNET, DISPARITY, FAR_WHITE, NEAR_WHITE, MapsOptions, PanoramaOptions
from ..options.map_images import PER_IMAGE, RUNNING
from ..utils import to_images
from .batches import geometry_output
from .geometry import estimate_images
from .live import in_comfyui, temporary_png
from .loading import FIRST_CHOICE, LoadsByName, best_on_disk, by_location, choose_tiny, load_model, model_widget
from .option_widgets import option_widgets, takes
from .render import rendered_depth, rendered_normals
from .saving import problem_of
from .widgets import ESTIMATE, GEOMETRY, image_input

MAX_SHOWN = 4
"""Images of a batch whose maps are shown on the node, at most."""


@dataclass(frozen=True)
class _Look:
    """A depth image's settings, as widgets of Render Depth; `clipped`: outliers at both ends of the range are."""

    near: str
    as_disparity: bool
    clipped: bool = False


# ControlNet's models were trained on disparity. In metric depth a single near speck would take most of its grey levels.
_LOOKS = {
    CONTROLNET: _Look("white", as_disparity=True, clipped=True),
    DISPARITY: _Look("white", as_disparity=True),
    NEAR_WHITE: _Look("white", as_disparity=False),
    FAR_WHITE: _Look("black", as_disparity=False),
}

_WITH_DEPTH = (spec.id for spec in MODELS.values() if spec.quantity and not spec.for_panoramas)
DEPTH_MODELS = tuple(dict.fromkeys((RECOMMENDED_MODEL, *BEST_FIRST, *_WITH_DEPTH)))
"""Models that Depth & Normals can run, the recommended ones first. Normals-only models have no depth to show."""

_PANORAMA_MODELS = (*DEPTH_MODELS, *(spec.id for spec in MODELS.values() if spec.for_panoramas))

_WHICH_MODEL = (
    f"Which model to run. tiny comes with the pack: a preview without a download. {FIRST_CHOICE} "
    "Models on this computer come first, and the best of those is the default. "
    "The others are downloaded once, when they first run."
)
"""Tooltip of the widget model."""


def check_depth_model(model: str) -> None:
    """Raises ValueError for a model without depth of photos: for panoramas or normals only, or unknown; TypeError if it is not text."""
    check_perspective_model(find_spec(model))
    check_gives_depth(model)


def check_gives_depth(model: str) -> None:
    """As `check_depth_model`, but accepts models for panoramas."""
    if find_spec(model).quantity is None:
        raise ValueError(
            f"{model} predicts normals and no depth; choose another model here, e.g. {BUNDLED_MODEL} or {RECOMMENDED_MODEL}, or run "
            f"{model} by Load Depth Model, Depth & Normals (advanced) and Render Normals"
        )


class _ShowsMaps(LoadsByName):
    """Base class: makes maps by the chosen model, and shows them on the node."""

    CATEGORY, OUTPUT_NODE = ESTIMATE, True
    check_model = staticmethod(check_depth_model)

    @classmethod
    def VALIDATE_INPUTS(cls, model: str | None = BUNDLED_MODEL) -> bool | str:  # noqa: N802
        """Reports a model without depth, or an unknown one, before anything is downloaded; None: it is linked from another node."""
        return model is None or problem_of(lambda: cls.check_model(model))


@takes(MapsOptions)
class DepthAndNormals(_ShowsMaps):
    """Makes a depth map and a normal map of images."""

    NODE_ID = "DepthNormal_DepthAndNormals"
    DISPLAY_NAME = "Depth & Normals"
    DESCRIPTION = (
        "Makes a depth map and a normal map of an image, a batch or a video's frames in one step, with a mask and the raw "
        "numbers for the other nodes. tiny works at once; better models are in the list."
    )
    OUTPUTS: ClassVar = {
        "depth": ("IMAGE", "The depth map at the image's own size; black where depth is unknown."),
        "normals": ("IMAGE", "The normal map at the image's own size; black where there is no normal."),
        "mask": ("MASK", "White where depth is valid."),
        "geometry": (GEOMETRY, "Raw depth, normals, mask and camera, for Relight, Depth of Field, Save Geometry and the other nodes."),
    }
    SEARCH_ALIASES = (
        "depth, depth map, normal, normals, normal map, controlnet depth, controlnet normal, controlnet preprocessor, depth estimation, "
        "normal estimation, depth and normal, image to depth, image to normal map, z depth, monocular depth, surface normals, moge, tiny"
    )
    INPUTS: ClassVar = {
        "required": {"image": image_input("One image, a batch, or the frames of a video.")},
        "optional": {
            "model": lambda: model_widget(by_location(DEPTH_MODELS), _WHICH_MODEL, best_on_disk(BEST_FIRST, BUNDLED_MODEL)),
            **option_widgets(MapsOptions),
        },
    }

    def execute(self, options: MapsOptions, image: Tensor, model: str = BUNDLED_MODEL) -> Any:
        self.check_model(model)
        load = partial(load_model, model, options.precision, choose_tiny("model"))
        estimate = estimate_images(load, image, options, with_assumed_normals)
        usual = RUNNING if options.film else PER_IMAGE
        return _shown(estimate, options, usual if options.normalisation == AUTO else options.normalisation)


def _shown(estimate: Estimate, options: MapsOptions | PanoramaOptions, normalisation: str) -> Any:
    """The outputs; in ComfyUI with the first images' maps for its image view."""
    look = _LOOKS[options.depth_look]
    percentiles = METRIC_PERCENTILES if look.clipped and estimate.quantity in ZERO_AT_CAMERA else (0.0, 100.0)
    depth, mask = rendered_depth(estimate, look.near, normalisation, look.as_disparity, percentiles)
    result = (depth, rendered_normals(estimate, options.coding), mask, estimate)
    if not in_comfyui():
        return result
    files = []
    for pair in zip(*(maps[:MAX_SHOWN] for maps in result[:2]), strict=True):
        throw_if_interrupted()
        files += [temporary_png(shown.movedim(-1, 0)) for shown in pair]
    return {"ui": {"images": files}, "result": result}


@takes(PanoramaOptions)
class EstimatePanorama(_ShowsMaps):
    """Makes a depth map and a normal map of panoramas."""

    NODE_ID = "DepthNormal_EstimatePanorama"
    DISPLAY_NAME = "Estimate Panorama"
    DESCRIPTION = (
        "Makes a depth map and a normal map of a 360° panorama (equirectangular, twice as wide as high), without a seam: the model runs "
        "on twelve views, which are merged on the sphere. DA² (da2) sees the whole panorama."
    )
    OUTPUTS: ClassVar = {
        "depth": (
            "IMAGE",
            "The depth map at the image's own size; black where depth is unknown. Depth is the distance from the camera in each direction.",
        ),
        "normals": (
            "IMAGE",
            "The normal map at the image's own size, in the axes of a level camera that looks at the panorama's middle: with opengl, "
            "floors are green.",
        ),
        "mask": ("MASK", "White where depth is valid."),
        "geometry": (
            GEOMETRY,
            "Raw distances, normals and mask of the panorama, for Save Geometry, Save Mesh and other nodes. Nodes that need a perspective "
            "camera refuse it.",
        ),
    }
    SEARCH_ALIASES = "panorama, 360, equirectangular, depth map, 360 depth, panorama depth, vr180, hdri depth, skybox"
    check_model = staticmethod(check_gives_depth)
    INPUTS: ClassVar = {
        "required": {"image": image_input("One panorama or a batch: 360 x 180 degrees, equirectangular, twice as wide as high.")},
        "optional": {
            "model": lambda: model_widget(by_location(_PANORAMA_MODELS), _WHICH_MODEL, best_on_disk(BEST_FIRST, BUNDLED_MODEL)),
            **option_widgets(PanoramaOptions),
        },
    }

    def execute(self, options: PanoramaOptions, image: Tensor, model: str = BUNDLED_MODEL) -> Any:
        self.check_model(model)
        images = to_images(image)
        check_panorama(images.shape[-2], images.shape[-1], options.any_aspect)
        loaded = load_model(model, options.precision, choose_tiny("model"))
        size, progress = options.resolution or None, progress_bar(len(images))
        panorama = loaded.estimate_panorama(images, size, progress, any_aspect=options.any_aspect, derive=with_normals)
        return _shown(geometry_output(panorama), options, PER_IMAGE)


NODES = (DepthAndNormals,)
