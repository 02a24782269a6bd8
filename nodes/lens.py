"""Depth of field and fog."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from ..geometry.checks import check_choice, check_whole
from ..geometry.effects.bokeh import MAX_BLADES
from ..geometry.effects.depth_of_field import MAX_STOPS, depth_of_field
from ..geometry.effects.depths import UNITS
from ..geometry.effects.focus import MAX_BLUR, Focus, focused
from ..geometry.effects.fog import FogBank, add_fog, fog_of
from ..geometry.estimate import Estimate
from ..geometry.images.srgb import colour_to_linear
from ..model_loader.comfy.devices import image_placement
from ..utils import to_planar, to_rgb
from .batches import join_outputs, mask_output, with_progress
from .effect_inputs import check_depth_linked, check_numbers, depth_input, effect_geometry, number_widgets
from .effects import MAX_DISTANCE, NO_POINT, NodePreviews, chosen_point, point_widgets, sized_pairs
from .live import shown_on_node
from .sockets import EFFECTS, Inputs
from .widgets import choice_widget, colour_widget, count_widget, geometry_input, image_input

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
_LENS_NUMBERS = {
    "focus": ((30.0, 0.0, MAX_DISTANCE, 0.1), "Distance that is in focus, in the unit below; ignored if a point is set."),
    "blur": (
        (2.0, 0.0, MAX_BLUR, 0.1),
        "Strength of the blur if f_number is 0: diameter of a far point's circle with the near end in focus, in percent of the "
        "longer side.",
    ),
    "f_number": (
        (0.0, 0.0, 64.0, 0.1),
        "F-number of a real lens, for metric depth: 1.4 wide open, 16 almost everything sharp. 0: blur sets the strength.",
    ),
    "focal_length": (
        (0.0, 0.0, 2000.0, 1.0),
        "Focal length of the real lens in millimetres. 0: computed from the camera's field of view and the sensor.",
    ),
    "sensor": ((36.0, 1.0, 200.0, 0.1), "Longer side of the real camera's sensor in millimetres: 36 full frame, 23.5 APS-C, 9.8 a phone."),
    "rotation": ((0.0, -360.0, 360.0, 1.0), "Rotation of the aperture blades in degrees."),
    "highlights": (
        (1.0, 0.0, MAX_STOPS, 0.1),
        "How many stops brighter than white clipped highlights are assumed to be: lights out of focus become bright discs "
        "instead of grey ones.",
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
    ) -> Any:
        """Returns each image in fog, and the share of fog as a mask."""
        check_choice("sky", sky, SKIES)
        check_numbers(_FOG_NUMBERS, {"density": density, "start": start, "height_falloff": height_falloff})
        fog, light = FogBank(density, start, height_falloff), colour_to_linear(colour)
        images = bright_images(image)
        check_depth_linked(geometry, depth)
        previews = NodePreviews()

        def made(image: Tensor, estimate: Estimate) -> tuple[Tensor, Tensor]:
            through, line = fog_of(estimate, image, fog, sky == "auto")
            result = add_fog(image, through, light)
            previews.add(lambda: result, estimate, line)
            return _unclamped(result), mask_output(1 - through)

        pairs = with_progress(sized_pairs(images, effect_geometry(images, geometry, depth)), len(images))
        return shown_on_node(join_outputs((made(*pair) for pair in pairs), len(images)), previews.payloads, text=previews.lines)


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
        unit = "Unit of focus. percent: 0 the near end of the scene, 100 its far end, for any depth. metres: for metric depth."
        blades = "Number of aperture blades: 5 to 9 make highlights polygons, 0 makes them discs."
        numbers = number_widgets(_LENS_NUMBERS)
        return {
            "required": {
                "image": image_input("The image, or a batch. Values above 1 (HDR) are treated as brighter than white and are kept.")
            },
            "optional": {
                "geometry": geometry_input(
                    "Depth as numbers, and its camera if f_number is used, e.g. from Depth & Normals. If linked, depth is ignored."
                ),
                "depth": depth_input(),
                "focus": numbers["focus"],
                "unit": choice_widget(UNITS, unit),
                **point_widgets("Point in focus, set by a click on the node; focus is then ignored."),
                **{name: numbers[name] for name in ("blur", "f_number", "focal_length", "sensor")},
                "blades": count_widget(0, 0, MAX_BLADES, blades),
                "rotation": numbers["rotation"],
                "highlights": numbers["highlights"],
            },
        }

    def execute(
        self,
        image: Tensor,
        geometry: Any = None,
        depth: Tensor | None = None,
        focus: float = 30.0,
        unit: str = UNITS[0],
        point_x: float = NO_POINT,
        point_y: float = NO_POINT,
        blur: float = 2.0,
        f_number: float = 0.0,
        focal_length: float = 0.0,
        sensor: float = 36.0,
        blades: int = 0,
        rotation: float = 0.0,
        highlights: float = 1.0,
    ) -> Any:
        """Returns each image through the lens."""
        numbers = (focus, blur, f_number, focal_length, sensor, rotation, highlights)
        check_whole("blades", blades, 0, MAX_BLADES)
        check_numbers(_LENS_NUMBERS, dict(zip(_LENS_NUMBERS, numbers, strict=True)))
        lens = Focus(focus, unit, chosen_point(point_x, point_y), blur, f_number, focal_length, sensor)
        images = bright_images(image)
        check_depth_linked(geometry, depth)
        previews = NodePreviews()

        def made(image: Tensor, estimate: Estimate) -> tuple[Tensor]:
            circle, line = focused(estimate, image, lens)
            result = depth_of_field(image, circle, blades=int(blades), rotation=rotation, highlights=highlights)
            previews.add(lambda: result, estimate, line)
            return (_unclamped(result),)

        pairs = with_progress(sized_pairs(images, effect_geometry(images, geometry, depth)), len(images))
        return shown_on_node(join_outputs((made(*pair) for pair in pairs), len(images)), previews.payloads, text=previews.lines)


def _unclamped(image: Tensor) -> Tensor:
    """Converts (B, 3, H, W) to ComfyUI's IMAGE, with values above 1."""
    return image.movedim(1, -1).contiguous().to(*image_placement())


def bright_images(image: Tensor) -> Tensor:
    """Converts an IMAGE to (B, 3, H, W) in [0, 1]; values of an HDR image stay above 1.

    Raises:
        ValueError, TypeError: As `to_rgb`.
    """
    images, planar = to_rgb(image), to_planar(image)
    if planar.shape[1] == 4 or not bool((planar > 1).any()):
        return images
    return planar.to(torch.float32).clamp(min=0).expand(-1, 3, -1, -1)


NODES = (Fog, DepthOfField)
