"""The node for panoramas: distances and normals of the whole sphere."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from ..annotators.choices import BEST_FIRST
from ..annotators.registry import BUNDLED_MODEL, MODELS
from ..geometry.surfaces.derive import with_normals
from ..model_loader.comfy.feedback import progress_bar
from ..model_loader.inference.panorama import check_panorama
from ..options.estimate import PanoramaOptions
from ..options.map_images import PER_IMAGE
from ..utils import to_images
from .batches import geometry_output
from .depth_and_normals import DEPTH_MODELS, WHICH_MODEL, check_gives_depth, render_look, with_shown_maps
from .loading import LoadsByName, best_on_disk, by_location, choose_tiny, load_model, model_widget
from .option_widgets import option_widgets, takes
from .render import rendered_normals
from .widgets import ESTIMATE, GEOMETRY, Inputs, image_input

_MODELS = (*DEPTH_MODELS, *(spec.id for spec in MODELS.values() if spec.for_panoramas))


@takes(PanoramaOptions)
class EstimatePanorama(LoadsByName):
    """Makes a depth map and a normal map of panoramas."""

    NODE_ID = "DepthNormal_EstimatePanorama"
    DISPLAY_NAME = "Estimate Panorama"
    DESCRIPTION = (
        "Makes a depth map and a normal map of a 360° panorama (equirectangular, twice as wide as high), without a seam: the model runs "
        "on twelve views, which are merged on the sphere. DA² (da2) sees the whole panorama."
    )
    CATEGORY, FUNCTION, OUTPUT_NODE = ESTIMATE, "execute", True
    RETURN_TYPES: ClassVar = ("IMAGE", "IMAGE", "MASK", GEOMETRY)
    RETURN_NAMES: ClassVar = ("depth", "normals", "mask", "geometry")
    OUTPUT_TOOLTIPS: ClassVar = (
        "The depth map at the image's own size; black where depth is unknown. Depth is the distance from the camera in each direction.",
        "The normal map at the image's own size, in the axes of a level camera that looks at the panorama's middle: with opengl, floors "
        "are green.",
        "White where depth is valid.",
        "Raw distances, normals and mask of the panorama, for Save Geometry, Save Mesh and other nodes. Nodes that need a perspective "
        "camera refuse it.",
    )
    SEARCH_ALIASES = "panorama, 360, equirectangular, depth map, 360 depth, panorama depth, vr180, hdri depth, skybox"

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        return {
            "required": {"image": image_input("One panorama or a batch: 360 x 180 degrees, equirectangular, twice as wide as high.")},
            "optional": {
                "model": model_widget(by_location(_MODELS), WHICH_MODEL, best_on_disk(BEST_FIRST, BUNDLED_MODEL)),
                **option_widgets(PanoramaOptions),
            },
        }

    @classmethod
    def VALIDATE_INPUTS(cls, model: str | None = BUNDLED_MODEL) -> bool | str:  # noqa: N802
        """Reports a model without depth, or an unknown one, before anything is downloaded; None: it is linked from another node."""
        try:
            check_gives_depth(BUNDLED_MODEL if model is None else model)
        except (TypeError, ValueError) as error:
            return str(error)
        return True

    def execute(self, options: PanoramaOptions, image: Tensor, model: str = BUNDLED_MODEL) -> Any:
        """Returns the depth map, the normal map, the mask and the geometry, and shows both maps on the node."""
        check_gives_depth(model)
        images = to_images(image)
        check_panorama(images.shape[-2], images.shape[-1], options.any_aspect)
        loaded = load_model(model, options.precision, choose_tiny("model"))
        size, progress = options.resolution or None, progress_bar(len(images))
        panorama = loaded.estimate_panorama(images, size, progress, any_aspect=options.any_aspect, derive=with_normals)
        estimate = geometry_output(panorama)
        depth, mask = render_look(estimate, options.depth_look, PER_IMAGE)
        return with_shown_maps((depth, rendered_normals(estimate, options.coding), mask, estimate))


NODES = (EstimatePanorama,)
