"""Depth of field."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

from torch import Tensor

from ..geometry.checks import check_whole
from ..geometry.effects.bokeh import MAX_BLADES
from ..geometry.effects.depth_of_field import MAX_STOPS, depth_of_field
from ..geometry.effects.depths import UNITS
from ..geometry.effects.focus import MAX_BLUR, Focus, focused
from ..geometry.estimate import Estimate
from ..geometry.views.transparency import Layers, split_layers
from .batches import for_all, join_outputs, unclamped_output, with_progress
from .effect_inputs import (
    MAX_DISTANCE,
    NO_POINT,
    check_depth_linked,
    check_numbers,
    chosen_point,
    depth_input,
    effect_geometry,
    number_widgets,
    point_widgets,
    sized_layers,
    with_alpha,
)
from .live import shown_on_node
from .previews import NodePreviews
from .sockets import EFFECTS, Inputs
from .widgets import choice_widget, count_widget, geometry_input, image_input

# name: ((default, lowest, highest, step), tooltip)
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
        layers = split_layers(for_all(with_alpha(image), geometry, (depth,)))
        check_depth_linked(geometry, depth)
        previews = NodePreviews()

        def made(layer: Layers, estimate: Estimate) -> tuple[Tensor]:
            circle, line = focused(estimate, layer.shown, lens)
            blurred = partial(depth_of_field, circle=circle, blades=int(blades), rotation=rotation)
            result = layer.through(partial(blurred, highlights=highlights), blurred)
            previews.add(lambda: result, estimate, line)
            return (unclamped_output(result),)

        total = len(layers.shown)
        pairs = with_progress(sized_layers(layers, effect_geometry(layers.shown, geometry, depth)), total)
        return shown_on_node(join_outputs((made(*pair) for pair in pairs), total), previews.payloads, text=previews.lines)


NODES = (DepthOfField,)
