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
from ..options.checks import check_choice
from ..options.map_images import CODINGS, NORMALBAE
from ..utils import to_images
from .batches import to_output
from .checks import check_network_size, check_short_side
from .legacy import LegacyNode, network_side
from .loading import OTHER_NODE, load_model, options_for
from .sockets import Inputs
from .widgets import Widget, image_input, network_size_widget, old_coding_widget, precision_widget, short_side_widget


class NormalMapNode(LegacyNode):
    """Base class of the old nodes of normal models."""

    OUTPUT_TOOLTIPS: ClassVar = ("The normal map in the chosen coding: short side = resolution, aspect ratio kept.",)


def normal_map_inputs(network_size: Widget, before: dict[str, Widget] | None = None, own: dict[str, Widget] | None = None) -> Inputs:
    """Returns the inputs: the old widgets in their order, because graphs store them by position, and the new ones after `resolution`.

    Args:
        network_size: Widget for the size of the network's input.
        before: The old widgets before `resolution`.
        own: New widgets of this node alone.
    """
    return {
        "required": {"image": image_input()},
        "optional": {
            **(before or {}),
            "resolution": short_side_widget(),
            **(own or {}),
            "network_size": network_size,
            "precision": precision_widget(),
            "coding": old_coding_widget(NORMALBAE),
        },
    }


def normal_map(
    image: Tensor,
    load: Callable[[], Model],
    resolution: int,
    network_size: int,
    coding: str,
    *,
    at_resolution: bool = False,
    fov: float = 0.0,
    options: Any = None,
) -> tuple[Tensor]:
    """Returns one normal map for each image. It resizes the vectors, not their colours, so that they stay unit vectors.

    Args:
        image: ComfyUI's IMAGE.
        load: Loads a model that predicts normals; called after all other checks.
        resolution: Short side of the result in pixels.
        network_size: Side of the network's input in pixels; 0 = `resolution` or the authors' size, by `at_resolution`.
        coding: One of `CODINGS`.
        at_resolution: As `legacy.annotate`.
        fov: Field of view of the longer side in degrees; 0 = unknown.
        options: Options of the model family; None = its defaults.

    Raises:
        ValueError: Values out of the widgets' ranges, or images that `utils.to_images` refuses.
    """
    check_short_side(resolution)
    check_network_size(network_size)
    check_choice("coding", coding, CODINGS)
    images = to_images(image)
    size = scale_short_side(images.shape[-2], images.shape[-1], resolution)
    check_result_fits(images.shape[0], *size)
    model = load()
    progress = progress_bar(images.shape[0])
    side = network_size or (network_side(model, resolution) if at_resolution else None)
    estimates = model.estimates(images, side, progress, fov=fov, options=options_for(model, options))
    return (torch.cat([to_output(_encoded(estimate.resized(*size), coding)) for estimate in estimates]),)


def _encoded(estimate: Estimate, coding: str) -> Tensor:
    assert estimate.normals is not None and estimate.axes is not None
    return normals_to_image(estimate.normals, coding, estimate.axes, estimate.mask)


class BaeNormalMap(NormalMapNode):
    """Normal maps from BAE."""

    NODE_ID = "BAE-NormalMapPreprocessor"
    DISPLAY_NAME = "BAE Normal Map"
    DESCRIPTION = (
        "Makes a normal map from an image with BAE's network, in the format of ControlNet 1.1's normal model "
        "(control_v11p_sd15_normalbae). Choose another coding for Blender or a game engine. The code is MIT; it is "
        "unclear whether the weights may be used commercially."
    )
    SEARCH_ALIASES: ClassVar = ["bae", "normalbae", "controlnet normal", "surface normals"]

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        """ComfyUI's description of the inputs."""
        size = "Short side of the network's input in pixels. 0: the same as resolution, as in the old node. The network was trained at 480."
        return normal_map_inputs(network_size_widget(size))

    def execute(
        self, image: Tensor, resolution: int = 512, network_size: int = 0, precision: str = "auto", coding: str = NORMALBAE
    ) -> tuple[Tensor]:
        """Returns one normal map for each image."""
        load = partial(load_model, "bae-normal", precision, OTHER_NODE)
        return normal_map(image, load, resolution, network_size, coding, at_resolution=True)


NODES = (BaeNormalMap,)
