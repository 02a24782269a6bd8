"""Fog."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from ..options.fog import FogOptions
from ..options.sky import AUTO
from .effect_inputs import depth_input, sky_mask_input
from .effect_runs import effect_layers, effect_of, shown_effect
from .option_widgets import option_widgets, takes
from .sockets import EFFECTS, Inputs
from .widgets import geometry_input, image_input


@takes(FogOptions)
class Fog:
    """Adds fog to images."""

    NODE_ID = "DepthNormal_Fog"
    DISPLAY_NAME = "Fog"
    DESCRIPTION = (
        "Fills a scene with fog, haze or smoke: light is lost with distance as in real air, in linear light. Takes "
        "any pack's depth map, or this pack's geometry; distances are metres if the depth is metric."
    )
    CATEGORY, FUNCTION, OUTPUT_NODE = EFFECTS, "execute", True
    RETURN_TYPES: ClassVar = ("IMAGE", "MASK")
    RETURN_NAMES: ClassVar = ("image", "fog")
    OUTPUT_TOOLTIPS: ClassVar = ("The image in fog.", "Share of fog in each pixel.")
    SEARCH_ALIASES: ClassVar = ["fog", "mist", "haze", "smoke", "atmosphere", "aerial perspective", "weather", "depth fog"]

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        """ComfyUI's description of the inputs."""
        return {
            "required": {"image": image_input("The image, or a batch. Values above 1 (HDR) stay above 1 where they shine through.")},
            "optional": {
                "geometry": geometry_input("Depth as numbers and the camera, e.g. from Depth & Normals. If linked, depth is ignored."),
                "depth": depth_input(),
                **option_widgets(FogOptions),
                "sky_mask": sky_mask_input("it is infinitely far, so it is all fog."),
            },
        }

    def execute(
        self, fog: FogOptions, image: Tensor, geometry: Any = None, depth: Tensor | None = None, sky_mask: Tensor | None = None
    ) -> Any:
        """Returns each image in fog, and the share of fog as a mask."""
        layers = effect_layers(image, geometry, depth, sky_mask)
        parts = effect_of("fog", fog, layers, geometry, depth, sky_mask, find_sky=fog.sky == AUTO)
        return shown_effect(self.RETURN_TYPES, parts, len(layers.shown))


NODES = (Fog,)
