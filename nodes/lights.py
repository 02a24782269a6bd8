"""Lamps for Relight: their widgets, and the node that adds one."""

from __future__ import annotations

from typing import Any, ClassVar

from ..geometry.effects.lights import LightPlan
from ..options.lights import MAX_LIGHTS, LightOptions
from .option_widgets import option_widgets, takes
from .widgets import EFFECTS, Inputs, Widget

LIGHTS = "DEPTH_NORMAL_LIGHTS"
"""Lamps: a tuple of `LightPlan`."""


def lights_input() -> Widget:
    """Input for lamps of the node Light."""
    return LIGHTS, {"tooltip": "More lamps, from the node Light. Their light is added."}


def check_lights(lights: Any) -> tuple[LightPlan, ...]:
    """Checks the lamps of a lights input; None = no lamps.

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


@takes(LightOptions)
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
    SEARCH_ALIASES = "light, lamp, relight, area light, softbox, rim light, fill light, lighting"

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        return {
            "required": {},
            "optional": {
                "lights": (LIGHTS, {"tooltip": ("Lamps of other Light nodes, which are passed on together with this one.")}),
                **option_widgets(LightOptions),
            },
        }

    def execute(self, lamp: LightOptions, lights: Any = None) -> tuple[tuple[LightPlan, ...]]:
        """Returns the input's lamps plus this one."""
        return (check_lights((*check_lights(lights), LightPlan.of(lamp))),)


NODES = (Light,)
