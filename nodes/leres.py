"""The old pack's depth node of LeReS, with the same id, widgets, sizes and display."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from ..annotators.leres import LeresOptions
from ..annotators.preprocessing.resizing import SHORT_SIDE
from ..annotators.registry import BUNDLED_MODEL
from ..model_loader import Model
from ..options.checks import check_choice
from ..options.legacy import DISABLED, ENABLED, OLD_NODE, LeresNodeOptions
from .legacy import LegacyNode, annotate_depth, old_inputs
from .loading import TINY_CHOICE, choose_tiny, load_model
from .option_widgets import takes
from .widgets import Inputs, choice_widget

MODELS = {DISABLED: "leres", ENABLED: "leres-boost"}
LERES_OR_TINY = ("leres", BUNDLED_MODEL)


@takes(LeresNodeOptions)
class LeresDepthMap(LegacyNode):
    """Depth maps from LeReS's relative depth."""

    NODE_ID = "LeReS-DepthMapPreprocessor"
    DISPLAY_NAME = "LeReS Depth Map (enable boost for LeReS++)"
    DESCRIPTION = (
        "Makes a depth map from an image with LeReS or LeReS++, near = white. The weights are not for commercial use; "
        "LeReS++'s second file is for academic use only."
    )
    OUTPUT_TOOLTIPS: ClassVar = ("The depth map, near = white: short side = resolution.",)
    SEARCH_ALIASES = "depth map, leres, leres++, boost, relative depth, controlnet depth"

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        model = (
            f"Which model to run. leres: LeReS, or LeReS++ with boost. {TINY_CHOICE}; it gives disparity instead of depth and ignores "
            "boost and input."
        )
        return old_inputs(LeresNodeOptions, {"model": choice_widget(LERES_OR_TINY, model)})

    def execute(self, options: LeresNodeOptions, image: Tensor, model: str = LERES_OR_TINY[0]) -> tuple[Tensor]:
        """Returns one depth map for each image."""
        check_choice("model", model, LERES_OR_TINY)
        old, boosted = options.input == OLD_NODE, options.boost == ENABLED
        wanted = BUNDLED_MODEL if model == BUNDLED_MODEL else MODELS[options.boost]

        def load() -> Model:
            loaded = load_model(wanted, options.precision, choose_tiny("model"))
            return loaded.with_resizing(SHORT_SIDE) if old and not boosted else loaded

        size, own, at = options.network_size or None, LeresOptions(old_node=old), old or boosted
        images = annotate_depth(image, load, options.resolution, options.normalisation, size, at_resolution=at, options=own)
        return (without_ends(images, options.rm_nearest, options.rm_background),)


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
