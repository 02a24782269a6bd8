"""The old pack's depth node of LeReS, with the same id, widgets, sizes and display."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from ..annotators.leres import LeresOptions
from ..annotators.preprocessing.resizing import SHORT_SIDE
from ..annotators.registry import BUNDLED_MODEL
from ..model_loader import Model
from ..options.checks import check_choice, check_range
from ..options.map_images import CLIP_NORMALISATIONS, PER_IMAGE
from .checks import check_network_size
from .legacy import LegacyNode, annotate_depth
from .loading import choose_tiny, load_model
from .model_list import TINY_CHOICE
from .sockets import Inputs
from .widgets import (
    choice_widget,
    clip_normalisation_widget,
    image_input,
    network_size_widget,
    number_widget,
    precision_widget,
    short_side_widget,
)

MODELS = {"disable": "leres", "enable": "leres-boost"}
LERES_OR_TINY = ("leres", BUNDLED_MODEL)
AUTHORS, OLD_NODE = INPUTS = ("authors", "old node")


class LeresDepthMap(LegacyNode):
    """Depth maps from LeReS's relative depth."""

    NODE_ID = "LeReS-DepthMapPreprocessor"
    DISPLAY_NAME = "LeReS Depth Map (enable boost for LeReS++)"
    DESCRIPTION = (
        "Makes a depth map from an image with LeReS or LeReS++, near = white. The weights are not for commercial use; "
        "LeReS++'s second file is for academic use only."
    )
    OUTPUT_TOOLTIPS: ClassVar = ("The depth map, near = white: short side = resolution.",)
    SEARCH_ALIASES: ClassVar = ["depth map", "leres", "leres++", "boost", "relative depth", "controlnet depth"]

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        """ComfyUI's description of the inputs."""
        nearest = "Removes the foreground: this percentage of the grey levels, at the near end, becomes white."
        background = "Removes the background: this percentage of the grey levels, at the far end, becomes black."
        boost = (
            "Whether to run LeReS++. enable: LeReS++, which runs the network on the image at several sizes and on patches. It is finer and "
            "many times slower. It needs a second file (318 MB), for academic use only. disable: LeReS, 531 MB, not "
            "for commercial use."
        )
        fed = (
            "How the image is prepared for the network. authors: as in its training, RGB in [0, 1], stretched to 448 x 448. "
            "old node: as in the old ControlNet nodes, with reversed channels, values 255 times too large, and at the "
            "resolution; choose it to get the same images as before."
        )
        model = (
            f"Which model to run. leres: LeReS, or LeReS++ with boost. {TINY_CHOICE}; it gives disparity instead of depth and ignores "
            "boost and input."
        )
        size = (
            "Side of the network's input in pixels; with boost, the short side of the image that it works on. 0: set by the other widgets."
        )
        return {
            "required": {"image": image_input()},
            "optional": {
                "rm_nearest": number_widget(0.0, 0.0, 100.0, 0.01, nearest),
                "rm_background": number_widget(0.0, 0.0, 100.0, 0.01, background),
                "boost": choice_widget(list(MODELS), boost),
                "resolution": short_side_widget(
                    "Short side of the result in pixels. Boost and the old node's input also process the image at this size."
                ),
                "input": choice_widget(INPUTS, fed),
                "network_size": network_size_widget(size, step=2),
                "precision": precision_widget(),
                "normalisation": clip_normalisation_widget(),
                "model": choice_widget(LERES_OR_TINY, model),
            },
        }

    def execute(
        self,
        image: Tensor,
        rm_nearest: float = 0.0,
        rm_background: float = 0.0,
        boost: str = "disable",
        resolution: int = 512,
        input: str = AUTHORS,
        network_size: int = 0,
        precision: str = "auto",
        normalisation: str = PER_IMAGE,
        model: str = LERES_OR_TINY[0],
    ) -> tuple[Tensor]:
        """Returns one depth map for each image."""
        check_range("rm_nearest", rm_nearest, 0, 100)
        check_range("rm_background", rm_background, 0, 100)
        check_choice("boost", boost, list(MODELS))
        check_choice("input", input, INPUTS)
        check_choice("model", model, LERES_OR_TINY)
        check_network_size(network_size)
        check_choice("normalisation", normalisation, CLIP_NORMALISATIONS)
        old, boosted = input == OLD_NODE, boost == "enable"
        wanted = BUNDLED_MODEL if model == BUNDLED_MODEL else MODELS[boost]

        def load() -> Model:
            loaded = load_model(wanted, precision, choose_tiny("model"))
            return loaded.with_resizing(SHORT_SIDE) if old and not boosted else loaded

        options, at = LeresOptions(old_node=old), old or boosted
        images = annotate_depth(image, load, resolution, normalisation, network_size or None, at_resolution=at, options=options)
        return (without_ends(images, rm_nearest, rm_background),)


def without_ends(images: Tensor, nearest: float, background: float) -> Tensor:
    """Makes the nearest grey levels of depth maps white and the farthest black.

    Args:
        images: Depth maps in [0, 1], near = white, of any shape.
        nearest: Percentage of the range that becomes white.
        background: Percentage of the range that then becomes black.

    Source:
        `LeresDetector` of the ControlNet nodes, which compares 8-bit levels; the other values stay floats here.
    """
    if nearest:
        images = torch.where(255 - _levels(images) <= nearest / 100 * 255, 1, images)
    if background:
        images = torch.where(_levels(images) <= background / 100 * 255, 0, images)
    return images


def _levels(images: Tensor) -> Tensor:
    return (images.float() * 255).round()


NODES = (LeresDepthMap,)
