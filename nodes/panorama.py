"""The node for panoramas: distances and normals of the whole sphere."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from ..annotators.choices import BEST_FIRST
from ..annotators.registry import BUNDLED_MODEL, MODELS
from ..geometry.surfaces.derive import with_normals
from ..model_loader import DTYPE_CHOICES
from ..model_loader.comfy.feedback import progress_bar
from ..model_loader.inference.panorama import check_panorama
from ..options.checks import check_choice
from ..options.map_images import CODINGS, OPENGL, PER_IMAGE
from ..utils import to_images
from .batches import geometry_output
from .checks import check_network_side
from .depth_and_normals import CONTROLNET, DEPTH_MODELS, LOOK_TOOLTIPS, LOOKS, check_gives_depth, render_look, with_shown_maps
from .loading import choose_tiny, load_model
from .model_list import best_on_disk, by_location, model_widget
from .render import rendered_normals
from .sockets import ESTIMATE, GEOMETRY, Inputs
from .widgets import (
    AUTO,
    as_advanced,
    choice_widget,
    coding_widget,
    image_input,
    labelled,
    network_side_widget,
    precision_widget,
    switch_widget,
)

_MODELS = (*DEPTH_MODELS, *(spec.id for spec in MODELS.values() if spec.for_panoramas))


class EstimatePanorama:
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
    SEARCH_ALIASES: ClassVar = [
        "panorama",
        "360",
        "equirectangular",
        "depth map",
        "360 depth",
        "panorama depth",
        "vr180",
        "hdri depth",
        "skybox",
    ]

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        """ComfyUI's description of the inputs."""
        resolution = (
            "Size to which each of the twelve views is scaled for the network, in pixels; of da2 the width of the panorama. "
            "0: the model's own size. The result has the panorama's own size."
        )
        any_aspect = (
            "Takes images that are not twice as wide as high for the whole sphere as they are. Off: they are refused, as they are "
            "photos or show only a part of it."
        )
        return {
            "required": {"image": image_input("One panorama or a batch: 360 x 180 degrees, equirectangular, twice as wide as high.")},
            "optional": {
                "model": model_widget(by_location(_MODELS), LOOK_TOOLTIPS["model"], best_on_disk(BEST_FIRST, BUNDLED_MODEL)),
                "resolution": network_side_widget(resolution),
                "depth_look": labelled("depth look", choice_widget(LOOKS, LOOK_TOOLTIPS["depth_look"])),
                "coding": coding_widget(),
                "any_aspect": as_advanced(labelled("any aspect ratio", switch_widget(False, any_aspect))),
                "precision": as_advanced(precision_widget()),
            },
        }

    @classmethod
    def VALIDATE_INPUTS(cls, model: str | None = BUNDLED_MODEL) -> bool | str:  # noqa: N802
        """Reports a model that has no depth, or is unknown, before anything is downloaded; None: it comes from another node."""
        try:
            check_gives_depth(BUNDLED_MODEL if model is None else model)
        except (TypeError, ValueError) as error:
            return str(error)
        return True

    def execute(
        self,
        image: Tensor,
        model: str = BUNDLED_MODEL,
        resolution: int = 0,
        depth_look: str = CONTROLNET,
        coding: str = OPENGL,
        any_aspect: bool = False,
        precision: str = AUTO,
    ) -> Any:
        """Returns the depth map, the normal map, the mask and the geometry, and shows both maps on the node."""
        check_gives_depth(model)
        check_network_side(resolution)
        check_choice("depth_look", depth_look, LOOKS)
        check_choice("coding", coding, CODINGS)
        check_choice("precision", precision, DTYPE_CHOICES)
        images = to_images(image)
        check_panorama(images.shape[-2], images.shape[-1], any_aspect)
        loaded = load_model(model, precision, choose_tiny("model"))
        found = loaded.estimate_panorama(images, resolution or None, progress_bar(len(images)), any_aspect=any_aspect, derive=with_normals)
        estimate = geometry_output(found)
        depth, mask = render_look(estimate, depth_look, PER_IMAGE)
        return with_shown_maps((depth, rendered_normals(estimate, coding), mask, estimate))


NODES = (EstimatePanorama,)
