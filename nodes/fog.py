"""Fog."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from ..geometry.checks import check_choice
from ..geometry.effects.fog import FogBank, add_fog, fog_of
from ..geometry.estimate import Estimate
from ..geometry.images.srgb import colour_to_linear
from ..geometry.views.transparency import Layers, split_layers
from .batches import for_all, join_outputs, mask_output, unclamped_output, with_progress
from .effect_inputs import (
    MAX_DISTANCE,
    check_depth_linked,
    check_numbers,
    chosen_skies,
    depth_input,
    effect_geometry,
    number_widgets,
    sized_layers,
    sky_mask_input,
    with_alpha,
)
from .live import shown_on_node
from .previews import NodePreviews
from .sockets import EFFECTS, Inputs
from .widgets import choice_widget, colour_widget, geometry_input, image_input

SKIES = ("auto", "none")
MORNING = "#c4ccd4"

# name: ((default, lowest, highest, step), tooltip)
_FOG_NUMBERS = {
    "density": (
        (0.1, 0.0, 100.0, 0.01),
        "How thick the fog is: exp(-density) of the light is left after each metre. 0.1: 37 % are left after 10 m. Without "
        "metres the near end of the scene is at 1.",
    ),
    "start": ((0.0, 0.0, MAX_DISTANCE, 0.1), "Distance from the camera at which the fog begins."),
    "height_falloff": (
        (0.0, 0.0, 10.0, 0.01),
        "How fast the fog thins with height above the camera: by exp(-height_falloff) a metre. 0: equally thick everywhere. "
        "Above 0: it lies in hollows.",
    ),
}


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
        sky = (
            "How the sky is treated. auto: regions that look like sky are infinitely far, so they are all fog. none: "
            "there is no sky; choose it indoors."
        )
        return {
            "required": {"image": image_input("The image, or a batch. Values above 1 (HDR) stay above 1 where they shine through.")},
            "optional": {
                "geometry": geometry_input("Depth as numbers and the camera, e.g. from Depth & Normals. If linked, depth is ignored."),
                "depth": depth_input(),
                "colour": colour_widget("Colour of the fog: #c4ccd4 morning, #d9b38c dust, #20242c night.", MORNING),
                **number_widgets(_FOG_NUMBERS),
                "sky": choice_widget(SKIES, sky, advanced=True),
                "sky_mask": sky_mask_input("it is infinitely far, so it is all fog."),
            },
        }

    def execute(
        self,
        image: Tensor,
        geometry: Any = None,
        depth: Tensor | None = None,
        colour: str = MORNING,
        density: float = 0.1,
        start: float = 0.0,
        height_falloff: float = 0.0,
        sky: str = SKIES[0],
        sky_mask: Tensor | None = None,
    ) -> Any:
        """Returns each image in fog, and the share of fog as a mask."""
        check_choice("sky", sky, SKIES)
        check_numbers(_FOG_NUMBERS, {"density": density, "start": start, "height_falloff": height_falloff})
        fog, light = FogBank(density, start, height_falloff), colour_to_linear(colour)
        layers = split_layers(for_all(with_alpha(image), geometry, (depth,), sky_mask))
        images = layers.shown
        check_depth_linked(geometry, depth)
        previews = NodePreviews()

        def made(layer: Layers, estimate: Estimate, where: Tensor | bool) -> tuple[Tensor, Tensor]:
            through, line = fog_of(estimate, layer.shown, fog, where, layer.alpha)
            result = layer.with_alpha(add_fog(layer.colours, through, light))
            previews.add(lambda: result, estimate, line)
            return unclamped_output(result), mask_output(1 - through)

        pairs = with_progress(sized_layers(layers, effect_geometry(images, geometry, depth)), len(images))
        skies = chosen_skies(sky_mask, images, find=sky == "auto")
        parts = (made(*pair, where) for pair, where in zip(pairs, skies, strict=True))
        return shown_on_node(join_outputs(parts, len(images)), previews.payloads, text=previews.lines)


NODES = (Fog,)
