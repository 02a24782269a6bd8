"""Lamps for Relight: their widgets, and the node that adds one."""

from __future__ import annotations

from typing import Any, ClassVar

from ..geometry.checks import check_choice
from ..geometry.effects.lights import KINDS, LightPlan
from ..geometry.images.srgb import colour_to_linear
from .effect_inputs import check_numbers, number_widgets
from .sockets import EFFECTS, Inputs, Widget
from .widgets import choice_widget, colour_widget

LIGHTS = "DEPTH_NORMAL_LIGHTS"
"""Lamps: a tuple of `LightPlan`."""

MAX_LIGHTS = 64
WHITE = "#ffffff"

# name: ((default, lowest, highest, step), tooltip)
PLACE_NUMBERS = {
    "azimuth": (
        (135.0, -360.0, 360.0, 1.0),
        "Direction of a directional light in degrees: 0 from the right, 90 from above, 180 from the left, 270 from below.",
    ),
    "elevation": (
        (40.0, -90.0, 90.0, 1.0),
        "Elevation of a directional light above the image plane in degrees: 0 grazing, 90 from the viewer, below 0 from behind.",
    ),
    "light_x": ((0.3, -2.0, 3.0, 0.01), "Position of a point light from left (0) to right (1) of the image."),
    "light_y": ((0.25, -2.0, 3.0, 0.01), "Position of a point light from top (0) to bottom (1) of the image."),
    "light_depth": (
        (0.6, 0.05, 100.0, 0.05),
        "Distance of a point light from the viewer: 1 is the near end of the scene, larger values are farther inside it.",
    ),
    "intensity": (
        (1.0, 0.0, 100.0, 0.05),
        "Brightness of the light: at 1, a surface that faces it is as bright as in the image. A point light fades with distance.",
    ),
}
SIZE = {
    "light_size": (
        (0.0, 0.0, 10.0, 0.01),
        "Size of the lamp: larger lamps cast softer shadows, and their light ends more softly where a surface turns away. It is the "
        "diameter, where 1 is the distance of the near end; for a directional light, the diameter seen from distance 1. 0 hard, 0.01 the "
        "sun, 0.3 a window.",
    )
}
SHADOWS = {
    "shadows": ((0.5, 0.0, 1.0, 0.05), "How dark cast shadows are. They are computed from the depth; without depth nothing casts shadows.")
}


def kind_widget() -> Widget:
    """Widget for the kind of lamp: directional or point."""
    return choice_widget(KINDS, "Kind of light. directional: parallel rays, like the sun. point: a lamp in the scene.")


def lamp_colour_widget() -> Widget:
    """Widget for the colour of a lamp."""
    return colour_widget("Colour of the light: #ffb46b a candle, #9ec3ff the sky.", WHITE)


def lights_input() -> Widget:
    """Input for lamps of the node Light."""
    return LIGHTS, {"tooltip": "More lamps, from the node Light. Their light is added."}


def light_plan(light: str, colour: str, numbers: dict[str, float], shadow: float | None = None) -> LightPlan:
    """Makes a lamp from the widgets' values.

    Raises:
        ValueError: An unknown kind or colour, or a number out of range.
    """
    check_choice("light", light, KINDS)
    check_numbers({**PLACE_NUMBERS, **SIZE}, numbers)
    places = {name.removeprefix("light_"): value for name, value in numbers.items()}
    return LightPlan(light, colour=colour_to_linear(colour), shadow=shadow, **places)


def check_lights(lights: Any) -> tuple[LightPlan, ...]:
    """Checks the lamps of a lights input; None: no lamp.

    Raises:
        TypeError: Not lamps.
        ValueError: Too many.
    """
    lights = lights or ()
    if not isinstance(lights, tuple) or not all(isinstance(each, LightPlan) for each in lights):
        raise TypeError(f"the lights input is {type(lights).__name__}; link the output of the node Light")
    if len(lights) > MAX_LIGHTS:
        raise ValueError(f"there are {len(lights)} lights; accepted: at most {MAX_LIGHTS}")
    return lights


class Light:
    """Adds a lamp for Relight."""

    NODE_ID = "DepthNormal_Light"
    DISPLAY_NAME = "Light"
    DESCRIPTION = (
        "A lamp for Relight, in addition to its own: directional or point, of any colour and size. Chain several with their lights input."
    )
    CATEGORY, FUNCTION = EFFECTS, "execute"
    RETURN_TYPES: ClassVar = (LIGHTS,)
    RETURN_NAMES: ClassVar = ("lights",)
    OUTPUT_TOOLTIPS: ClassVar = ("The input's lamps and this one, for Relight or for the next Light.",)
    SEARCH_ALIASES: ClassVar = ["light", "lamp", "relight", "area light", "softbox", "rim light", "fill light", "lighting"]

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        """ComfyUI's description of the inputs."""
        return {
            "required": {},
            "optional": {
                "lights": (LIGHTS, {"tooltip": ("Lamps of other Light nodes, which are passed on together with this one.")}),
                "light": kind_widget(),
                "colour": lamp_colour_widget(),
                **number_widgets({**PLACE_NUMBERS, **SIZE, **SHADOWS}),
            },
        }

    def execute(
        self,
        lights: Any = None,
        light: str = KINDS[0],
        colour: str = WHITE,
        azimuth: float = 135.0,
        elevation: float = 40.0,
        light_x: float = 0.3,
        light_y: float = 0.25,
        light_depth: float = 0.6,
        intensity: float = 1.0,
        light_size: float = 0.0,
        shadows: float = 0.5,
    ) -> tuple[tuple[LightPlan, ...]]:
        """Returns the input's lamps and one more."""
        check_numbers(SHADOWS, {"shadows": shadows})
        values = (azimuth, elevation, light_x, light_y, light_depth, intensity, light_size)
        numbers = dict(zip((*PLACE_NUMBERS, *SIZE), values, strict=True))
        return (check_lights((*check_lights(lights), light_plan(light, colour, numbers, shadows))),)


NODES = (Light,)
