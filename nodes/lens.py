"""Depth of field."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from ..options.lens import LensOptions
from .effect_inputs import depth_input
from .effect_runs import effect_layers, effect_of, shown_effect
from .option_widgets import option_widgets, takes
from .sockets import EFFECTS, Inputs
from .widgets import geometry_input, image_input


@takes(LensOptions)
class DepthOfField:
    """Adds the depth of field of a large lens to images."""

    NODE_ID = "DepthNormal_DepthOfField"
    DISPLAY_NAME = "Depth of Field"
    DESCRIPTION = (
        "Gives an image the depth of field of a large lens: sharp at a point or a distance, soft in front of and "
        "behind it, lights as discs or polygons. Near things blur over those behind them, and sharp things keep a "
        "clean outline. Takes any pack's depth map, or geometry."
    )
    CATEGORY, FUNCTION, OUTPUT_NODE = EFFECTS, "execute", True
    RETURN_TYPES: ClassVar = ("IMAGE",)
    OUTPUT_TOOLTIPS: ClassVar = ("The image through the lens. Parts in focus do not change.",)
    SEARCH_ALIASES: ClassVar = [
        "depth of field",
        "dof",
        "bokeh",
        "lens blur",
        "blur background",
        "portrait mode",
        "defocus",
        "aperture",
        "tilt shift",
    ]

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        """ComfyUI's description of the inputs."""
        return {
            "required": {
                "image": image_input("The image, or a batch. Values above 1 (HDR) are treated as brighter than white and are kept.")
            },
            "optional": {
                "geometry": geometry_input(
                    "Depth as numbers, and its camera if f_number is used, e.g. from Depth & Normals. If linked, depth is ignored."
                ),
                "depth": depth_input(),
                **option_widgets(LensOptions),
            },
        }

    def execute(self, lens: LensOptions, image: Tensor, geometry: Any = None, depth: Tensor | None = None) -> Any:
        """Returns each image through the lens."""
        layers = effect_layers(image, geometry, depth)
        return shown_effect(self.RETURN_TYPES, effect_of("depth-of-field", lens, layers, geometry, depth), len(layers.shown))


NODES = (DepthOfField,)
