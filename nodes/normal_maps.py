"""The old pack's BAE node: same id, widgets, sizes and looks; and what the old nodes of normal models share."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..annotators.preprocessing.resizing import scale_short_side
from ..geometry.checks import check_choice
from ..geometry.estimate import Estimate
from ..geometry.images.render import normals_to_image
from ..model_loader import Model
from ..model_loader.comfy.feedback import progress_bar
from ..model_loader.inference.memory_budget import check_result_fits
from ..utils import to_images
from .batches import to_output
from .checks import check_network_size, check_short_side
from .legacy import LEGACY_CATEGORY
from .loading import OTHER_NORMALS, load_model, options_for
from .sockets import Inputs
from .widgets import (
    CODINGS,
    NORMALBAE,
    Widget,
    image_input,
    network_size_widget,
    old_coding_widget,
    precision_widget,
    short_side_widget,
)


class NormalMapNode:
    """What all of them have in common."""

    CATEGORY, FUNCTION = LEGACY_CATEGORY, "execute"
    RETURN_TYPES: ClassVar = ("IMAGE",)
    OUTPUT_TOOLTIPS: ClassVar = ("Unit vectors as colours, coded as chosen: short side = resolution, aspect kept.",)


def normal_map_inputs(network_size: Widget, before: dict[str, Widget] | None = None, own: dict[str, Widget] | None = None) -> Inputs:
    """The inputs of such a node: the old widgets, which graphs store by position, and behind `resolution` the new ones.

    Args:
        network_size: How large the image is that the network sees.
        before: The old widgets before `resolution`.
        own: New widgets that no other node has.
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
    usual_size: int | None = None,
    fov: float = 0.0,
    options: Any = None,
) -> tuple[Tensor]:
    """One normal map an image. The vectors are resized, and not their colours: they stay unit vectors.

    Args:
        image: ComfyUI's IMAGE.
        load: Loads the model, one that gives normals; called once everything else is known to be right.
        resolution: Short side of the result in pixels.
        network_size: Side of the network's input in pixels; 0 = `usual_size`.
        coding: One of `CODINGS`.
        usual_size: Side of the network's input where nobody chooses it; None = the size of the model's authors.
        fov: Degrees that the longer side spans; 0 = not known.
        options: The model family's own, where it has any.

    Raises:
        ValueError: What the widgets of `normal_map_inputs` cannot say, or images that `utils.to_images` refuses.
    """
    check_short_side(resolution)
    check_network_size(network_size)
    check_choice("coding", coding, CODINGS)
    images = to_images(image)
    size = scale_short_side(images.shape[-2], images.shape[-1], resolution)
    check_result_fits(images.shape[0], *size)
    model = load()
    progress = progress_bar(images.shape[0])
    estimates = model.estimates(images, network_size or usual_size, progress, fov=fov, options=options_for(model, options))
    return (torch.cat([to_output(_encoded(estimate.resized(*size), coding)) for estimate in estimates]),)


def _encoded(estimate: Estimate, coding: str) -> Tensor:
    assert estimate.normals is not None and estimate.axes is not None
    return normals_to_image(estimate.normals, coding, estimate.axes, estimate.mask)


class BaeNormalMap(NormalMapNode):
    """BAE's normals as an image."""

    NODE_ID = "BAE-NormalMapPreprocessor"
    DISPLAY_NAME = "BAE Normal Map"
    DESCRIPTION = (
        "Normal map from BAE's network, as ControlNet 1.1's normal model (control_v11p_sd15_normalbae) was trained on. Choose another "
        "coding for Blender or a game engine. The code is MIT; whether the weights may be used commercially is unclear."
    )
    SEARCH_ALIASES: ClassVar = ["normal map", "bae", "normalbae", "controlnet normal", "surface normals"]

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        """ComfyUI's description of the inputs."""
        size = "Short side of the picture that the network sees; 0: the resolution, as in the old node. It was trained at 480."
        return normal_map_inputs(network_size_widget(size))

    def execute(
        self, image: Tensor, resolution: int = 512, network_size: int = 0, precision: str = "auto", coding: str = NORMALBAE
    ) -> tuple[Tensor]:
        """One normal map an image."""
        load = partial(load_model, "bae-normal", precision, OTHER_NORMALS)
        return normal_map(image, load, resolution, network_size, coding, usual_size=resolution)


NODES = (BaeNormalMap,)
