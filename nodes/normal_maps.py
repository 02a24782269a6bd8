"""The old pack's BAE node, with the same id, widgets, sizes and display, and code shared by the old nodes of normal models."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..annotators.preprocessing.resizing import scale_short_side
from ..geometry.estimate import Estimate
from ..geometry.images.render import normals_to_image
from ..model_loader import Model
from ..model_loader.comfy.feedback import progress_bar
from ..model_loader.inference.memory_budget import check_result_fits
from ..options.legacy import NormalsOptions
from ..utils import to_images
from .batches import to_output
from .legacy import LegacyNode, network_side, old_inputs
from .loading import OTHER_NODE, load_model, options_for
from .option_widgets import takes
from .widgets import Inputs


class NormalMapNode(LegacyNode):
    """Base class of the old nodes of normal models."""

    OUTPUT_TOOLTIPS: ClassVar = ("The normal map in the chosen coding: short side = resolution, aspect ratio kept.",)


def normal_map(
    options: NormalsOptions,
    image: Tensor,
    load: Callable[[], Model],
    *,
    at_resolution: bool = False,
    fov: float = 0.0,
    of_family: Any = None,
) -> tuple[Tensor]:
    """Makes one normal map per image. Resizes vectors, not colours, so that they stay unit vectors.

    Args:
        options: The node's options; network size 0 = `resolution` or the authors' size, by `at_resolution`.
        image: ComfyUI's IMAGE.
        load: Loads a model that predicts normals; called after all other checks.
        at_resolution: As `legacy.annotate`.
        fov: Field of view of the longer side in degrees; 0 = unknown.
        of_family: Options of the model family; None = its defaults.

    Raises:
        ValueError: As `utils.to_images`.
    """
    resolution = options.resolution
    images = to_images(image)
    size = scale_short_side(images.shape[-2], images.shape[-1], resolution)
    check_result_fits(images.shape[0], *size)
    model = load()
    progress = progress_bar(images.shape[0])
    side = options.network_size or (network_side(model, resolution) if at_resolution else None)
    estimates = model.estimates(images, side, progress, fov=fov, options=options_for(model, of_family))
    return (torch.cat([to_output(_encoded(estimate.resized(*size), options.coding)) for estimate in estimates]),)


def _encoded(estimate: Estimate, coding: str) -> Tensor:
    assert estimate.normals is not None and estimate.axes is not None
    return normals_to_image(estimate.normals, coding, estimate.axes, estimate.mask)


@takes(NormalsOptions)
class BaeNormalMap(NormalMapNode):
    """Normal maps from BAE."""

    NODE_ID = "BAE-NormalMapPreprocessor"
    DISPLAY_NAME = "BAE Normal Map"
    DESCRIPTION = (
        "Makes a normal map from an image with BAE's network, in the format of ControlNet 1.1's normal model "
        "(control_v11p_sd15_normalbae). Choose another coding for Blender or a game engine. The code is MIT; it is "
        "unclear whether the weights may be used commercially."
    )
    SEARCH_ALIASES = "bae, normalbae, controlnet normal, surface normals"

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        return old_inputs(NormalsOptions)

    def execute(self, options: NormalsOptions, image: Tensor) -> tuple[Tensor]:
        """Returns one normal map for each image."""
        return normal_map(options, image, partial(load_model, "bae-normal", options.precision, OTHER_NODE), at_resolution=True)


NODES = (BaeNormalMap,)
